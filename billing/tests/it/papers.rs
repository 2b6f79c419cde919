//! Statements, receipts and the journal they are made of.

use std::time::Duration;

use billing::document::{self, Document, Papers, Subject};
use billing::store::journal::{self, JournalLine};
use billing::store::{documents, transfers};
use billing::{Booked, GrantKind, Month, NewGrant};
use protocol::{Env, NanoUsd, OrganizationId, SignedNanoUsd, Timestamp, TopupId};
use uuid::Uuid;

use crate::fixture::{World, fold_all, id, nano};

const DAY: Duration = Duration::from_secs(86_400);

fn account() -> OrganizationId {
    id(1)
}

/// A replica whose clock shows the time, which bookings are dated by as well.
async fn world(seed: u64) -> World {
    let world = World::new(seed).await;
    world.clock.set(Env::system().now());
    billing::run::ensure_partitions(&world.db, world.env.now()).await.unwrap();
    world
}

async fn issue(world: &World, now: Timestamp) {
    while document::issue(&world.db, &world.env, "Steelyard Inc.", now).await.unwrap() == platform::worker::Next::Again
    {
    }
}

/// Papers of an account with their bytes, newest first.
async fn issued(world: &World, account: OrganizationId) -> Vec<(Document, Papers)> {
    let mut conn = world.db.acquire().await.unwrap();
    let mut found = Vec::new();
    for document in documents::list(&mut conn, account, None, None, 100).await.unwrap() {
        found.push(documents::find(&mut conn, account, document.id).await.unwrap().unwrap());
    }
    found
}

/// The last field of each line of a table.
fn amounts(csv: &str) -> Vec<(String, SignedNanoUsd)> {
    let fields = |line: &str| line.split(',').map(str::to_owned).collect::<Vec<_>>();
    let read = csv.lines().skip(1).map(fields);
    read.map(|fields| (fields[1].clone(), fields.last().unwrap().parse().unwrap())).collect()
}

#[tokio::test]
async fn a_month_is_stated_once_an_hour_after_its_end_and_adds_up() {
    let world = world(300).await;
    world.fund(account(), 1_000_000).await;
    world.fund(id(2), 7).await;
    assert_eq!(world.spend(10_000, 4_000).await, Booked::Durable);
    assert_eq!(world.spend(10_000, 500).await, Booked::Durable);
    let month = Month::of(world.env.now());
    issue(&world, month.ends_at().plus(Duration::from_secs(3_599))).await;
    assert_eq!(issued(&world, account()).await, []);
    for after in [1, 2] {
        issue(&world, month.ends_at().plus(after * Duration::from_secs(3_600))).await;
        let [(document, papers)] = &issued(&world, account()).await[..] else { panic!("not one paper") };
        assert_eq!(document.subject, Subject::Statement(month));
        let told = amounts(&papers.csv);
        let expected =
            [("opening_balance", 0), ("goodwill", 1_000_000), ("usage", -4_500), ("closing_balance", 995_500)];
        let expected = expected.map(|(kind, amount)| (kind.to_owned(), SignedNanoUsd::new(amount)));
        assert_eq!(told, expected);
        assert!(papers.pdf.starts_with(b"%PDF-") && String::from_utf8_lossy(&papers.pdf).contains("(Steelyard Inc.)"));
        world.assert_green().await;
        // What is added up meanwhile does not change what is stated.
        fold_all(&world.db).await;
    }
    // The next month begins with what this one ended with; an organization without anything has no statement.
    issue(&world, month.next().ends_at().plus(DAY)).await;
    let next = &issued(&world, account()).await[0];
    assert_eq!(next.0.subject, Subject::Statement(month.next()));
    let told: Vec<i64> = amounts(&next.1.csv).iter().map(|(_, amount)| amount.nano()).collect();
    assert_eq!(told, [995_500, 995_500]);
    assert_eq!(issued(&world, id(3)).await, []);
    assert_eq!(issued(&world, id(2)).await.len(), 2);
    world.assert_green().await;
}

#[tokio::test]
async fn replicas_that_state_at_once_issue_each_paper_once() {
    let world = world(301).await;
    for n in 1..=20 {
        world.fund(id(n), 100).await;
    }
    let now = Month::of(world.env.now()).ends_at().plus(DAY);
    tokio::join!(issue(&world, now), issue(&world, now), issue(&world, now));
    assert_eq!(world.count("documents").await, 20);
    let finished: i64 = sqlx::query_scalar("select count(*) from statement_months where finished_at is not null")
        .fetch_one(world.db.pool())
        .await
        .unwrap();
    assert_eq!(finished, 1);
    world.assert_green().await;
}

#[tokio::test]
async fn a_month_whose_usage_and_bookings_differ_is_not_stated() {
    let world = world(302).await;
    world.fund(account(), 1_000_000).await;
    assert_eq!(world.spend(10_000, 4_000).await, Booked::Durable);
    fold_all(&world.db).await;
    sqlx::query("update usage_hours set charge_nano_usd = charge_nano_usd + 1").execute(world.db.pool()).await.unwrap();
    issue(&world, Month::of(world.env.now()).ends_at().plus(DAY)).await;
    assert_eq!(issued(&world, account()).await, []);
}

#[tokio::test]
async fn a_payment_gets_one_receipt_that_can_be_built_again() {
    let world = world(303).await;
    let topup: TopupId = id(77);
    let mut tx = world.db.begin().await.unwrap();
    let new = NewGrant {
        account: account(),
        kind: GrantKind::Goodwill,
        cause: "opens the account".to_owned(),
        amount: nano(1),
        expires_at: None,
    };
    billing::grant(&mut tx, &world.env, &new).await.unwrap();
    let (amount, tax) = (NanoUsd::from_dollars(50), NanoUsd::from_dollars(4));
    sqlx::query(
        "insert into topups (topup_id, account_id, amount_nano_usd, tax_nano_usd, state, is_first, payment_intent,
                             created_at, expires_at, paid_at)
         values ($1, $2, $3, $4, 'paid', true, 'pi_77', $5, $5, $5)",
    )
    .bind(topup)
    .bind(account())
    .bind(amount)
    .bind(tax)
    .bind(world.env.now())
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    for _ in 0..2 {
        issue(&world, world.env.now()).await;
    }
    let [(document, papers)] = &issued(&world, account()).await[..] else { panic!("not one paper") };
    assert_eq!(document.subject, Subject::Receipt(topup));
    let told: Vec<String> =
        papers.csv.lines().skip(1).map(|line| line.split_once("pi_77,").unwrap().1.to_owned()).collect();
    assert_eq!(told, ["prepaid_credit,50.00", "tax,4.00", "total,54.00"]);
    assert!(String::from_utf8_lossy(&papers.pdf).contains(&format!("(Receipt {topup})")));
    let report = billing::reconcile(&world.db).await.unwrap();
    let built = report.checks.iter().find(|check| check.name.contains("can be built again")).unwrap();
    assert_eq!((built.examined, built.differences.len()), (1, 0));
}

async fn lines(world: &World, after: Option<&JournalLine>, limit: i64) -> Vec<JournalLine> {
    let mut conn = world.db.acquire().await.unwrap();
    journal::list(&mut conn, account(), after.map(|line| line.place), limit).await.unwrap().unwrap()
}

#[tokio::test]
async fn the_journal_is_read_in_pages_with_a_running_balance() {
    let world = world(304).await;
    world.fund(account(), 1_000_000).await;
    world.fund(id(2), 5).await;
    for cost in 1..=9 {
        assert_eq!(world.spend(100, cost).await, Booked::Durable);
    }
    fold_all(&world.db).await;
    let all = lines(&world, None, 100).await;
    let told: Vec<_> = all.iter().map(|line| (line.amount.nano(), line.balance.nano())).collect();
    let mut expected = vec![(1_000_000, 1_000_000)];
    for cost in 1..=9 {
        let before = expected.last().unwrap().1;
        expected.push((-cost, before - cost));
    }
    assert_eq!(told, expected);
    assert_eq!((all[0].counter.as_str(), all[1].counter.as_str()), ("goodwill_expense", "revenue"));
    let mut paged: Vec<JournalLine> = Vec::new();
    loop {
        let page = lines(&world, paged.last(), 3).await;
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
    // Another organization's line is no place to go on from.
    let mut conn = world.db.acquire().await.unwrap();
    assert_eq!(journal::list(&mut conn, id(2), Some(all[0].place), 10).await.unwrap(), None);
}

#[tokio::test]
async fn debt_is_a_balance_below_zero_and_its_repayment_no_line() {
    let world = world(305).await;
    world.fund(account(), 1_000).await;
    let hold = world.hold(1_000).await.unwrap();
    sqlx::query("update leases set expires_at = now() - interval '1 h'").execute(world.db.pool()).await.unwrap();
    billing::run::reap(&world.db, &crate::fixture::quiet().lease).await.unwrap();
    let other = world.hold(800).await.unwrap();
    assert_eq!(other.settle(world.settlement(800)).await, Booked::Durable);
    assert_eq!(hold.settle(world.settlement(1_000)).await, Booked::Durable);
    world.fund(account(), 5_000).await;
    fold_all(&world.db).await;
    let balances: Vec<_> = lines(&world, None, 100).await.iter().map(|line| line.balance.nano()).collect();
    assert_eq!(balances, [1_000, 200, -800, 4_200]);
    world.assert_green().await;
}

#[tokio::test]
async fn the_trial_balance_is_zero_and_can_be_had_of_one_owner() {
    let world = world(306).await;
    world.fund(account(), 1_000_000_000).await;
    world.fund(id(2), 500_000_000).await;
    assert_eq!(world.spend(10_000, 4_000).await, Booked::Durable);
    let mut conn = world.db.acquire().await.unwrap();
    let whole = transfers::trial_balance(&mut conn, None).await.unwrap();
    let total = whole.last().unwrap();
    assert_eq!((total.kind.as_deref(), &total.debited, total.balance.as_str()), (None, &total.credited, "0.000000000"));
    let credits = whole.iter().find(|line| line.kind.as_deref() == Some("credits")).unwrap();
    assert_eq!((credits.accounts, credits.balance.as_str(), credits.side.as_str()), (2, "1.499996000", "credit"));
    let own = transfers::trial_balance(&mut conn, Some(Uuid::from_u128(2))).await.unwrap();
    let told: Vec<_> = own.iter().map(|line| (line.kind.as_deref(), line.balance.as_str())).collect();
    assert_eq!(told, [(Some("credits"), "0.500000000"), (None, "0.500000000")]);
}

//! Grants, the ledger, and what may never change.

use billing::account::{AccountKind, LedgerAccount};
use billing::ledger::{Cause, Posting, Transfer};
use billing::{Booked, GrantKind, Granted, NewGrant, ReceiptsConfig};
use protocol::receipt::{BodyDigest, ReportStatus, SignedReport, UsageReport};
use protocol::{OrganizationId, Timestamp, Units};

use crate::fixture::{World, id, nano, settlement};

fn account() -> OrganizationId {
    id(1)
}

async fn give(world: &World, kind: GrantKind, cause: &str, amount: i64, expires_at: Option<Timestamp>) -> Granted {
    let mut tx = world.db.begin().await.unwrap();
    let new = NewGrant { account: account(), kind, cause: cause.into(), amount: nano(amount), expires_at };
    let granted = billing::grant(&mut tx, &world.env, &new).await.unwrap();
    tx.commit().await.unwrap();
    granted
}

async fn remaining(world: &World) -> Vec<(String, i64)> {
    sqlx::query_as("select cause, remaining_nano_usd from grants order by cause")
        .fetch_all(world.db.pool())
        .await
        .unwrap()
}

async fn burn(world: &World) -> i64 {
    billing::run::burn(&world.db, &world.env).await.unwrap().nano()
}

#[tokio::test]
async fn an_occasion_gives_once() {
    let world = World::new(80).await;
    let first = give(&world, GrantKind::Promo, "welcome", 500, None).await;
    let Granted::New(grant) = first else { panic!("{first:?}") };
    assert_eq!(give(&world, GrantKind::Promo, "welcome", 500, None).await, Granted::Earlier(grant));
    assert_eq!(world.available(account()).await, 500);
    let mut conn = world.db.acquire().await.unwrap();
    let expense = LedgerAccount::platform(AccountKind::PromoExpense);
    let turnover = billing::store::transfers::turnover(&mut conn, expense).await.unwrap();
    assert_eq!(turnover.balance(AccountKind::PromoExpense), 500);
    world.assert_green().await;
}

#[tokio::test]
async fn an_occasion_gives_every_account_and_each_one_amount() {
    let world = World::new(79).await;
    let ask = async |account, amount| {
        let mut tx = world.db.begin().await.unwrap();
        let cause = "welcome".to_owned();
        let new = NewGrant { account, kind: GrantKind::Promo, cause, amount: nano(amount), expires_at: None };
        let granted = billing::grant(&mut tx, &world.env, &new).await;
        tx.commit().await.unwrap();
        granted
    };
    assert!(matches!(ask(id(1), 500).await, Ok(Granted::New(_))));
    assert!(matches!(ask(id(2), 700).await, Ok(Granted::New(_))), "another account has its own welcome");
    assert_eq!((world.available(id(1)).await, world.available(id(2)).await), (500, 700));
    let refused = ask(id(1), 600).await.unwrap_err();
    assert!(matches!(refused, billing::Error::OccasionDiffers { .. }), "{refused}");
    assert!(refused.to_string().contains("name another occasion"), "{refused}");
    assert_eq!(world.available(id(1)).await, 500);
    world.assert_green().await;
}

#[tokio::test]
async fn promo_burns_first_and_the_earliest_expiry_before_later_ones() {
    let world = World::new(81).await;
    let at = |s| Some(world.env.now().plus(std::time::Duration::from_secs(s)));
    give(&world, GrantKind::Goodwill, "a sorry", 1_000, at(50)).await;
    give(&world, GrantKind::Promo, "b for ever", 1_000, None).await;
    give(&world, GrantKind::Promo, "c late", 1_000, at(900)).await;
    give(&world, GrantKind::Promo, "d soon", 1_000, at(100)).await;
    assert_eq!(world.spend(1_500, 1_500).await, Booked::Durable);
    assert_eq!(burn(&world).await, 1_500);
    let left = async || remaining(&world).await.into_iter().map(|(_, left)| left).collect::<Vec<_>>();
    assert_eq!(left().await, [1_000, 1_000, 500, 0]);
    assert_eq!(burn(&world).await, 0, "burning again burns nothing");
    assert_eq!(world.spend(2_000, 1_800).await, Booked::Durable);
    assert_eq!(burn(&world).await, 1_800);
    assert_eq!(left().await, [700, 0, 0, 0]);
    world.assert_green().await;
}

#[tokio::test]
async fn expired_promo_credit_goes_as_far_as_it_is_not_lent() {
    let world = World::new(82).await;
    give(&world, GrantKind::Promo, "welcome", 1_000, Some(world.env.now())).await;
    let hold = world.hold(300).await.unwrap();
    burn(&world).await;
    assert_eq!(world.available(account()).await, 0);
    world.assert_green().await;
    assert_eq!(hold.settle(world.settlement(100)).await, Booked::Durable);
    world.clock.advance(std::time::Duration::from_secs(61));
    world
        .until("the rest is back", async || {
            world.billing.renew().await.unwrap();
            world.available(account()).await == 200
        })
        .await;
    burn(&world).await;
    assert_eq!((world.available(account()).await, remaining(&world).await[0].1), (0, 0));
    let mut conn = world.db.acquire().await.unwrap();
    let credits = billing::store::views::credits(&mut conn, account()).await.unwrap();
    assert_eq!((credits.total_credits, credits.total_usage), (nano(100), nano(100)));
    world.assert_green().await;
}

#[tokio::test]
async fn an_expired_gift_in_use_is_not_taken_back_from_other_credit() {
    let world = World::new(84).await;
    give(&world, GrantKind::Promo, "a welcome", 1_000, Some(world.env.now())).await;
    give(&world, GrantKind::Goodwill, "b for ever", 99_000, None).await;
    let hold = world.hold(800).await.unwrap();
    assert_eq!(world.available(account()).await, 99_200);
    burn(&world).await;
    let left = async || remaining(&world).await.into_iter().map(|(_, left)| left).collect::<Vec<_>>();
    assert_eq!(left().await, [800, 99_000], "what is lent burns the gift first");
    assert_eq!(hold.settle(world.settlement(800)).await, Booked::Durable);
    burn(&world).await;
    assert_eq!((left().await, world.available(account()).await), (vec![0, 99_000], 99_000));
    world.assert_green().await;
}

#[tokio::test]
async fn the_books_are_only_added_to() {
    let world = World::new(83).await;
    world.fund(account(), 1_000).await;
    assert_eq!(world.spend(100, 10).await, Booked::Durable);
    for table in ["transfers", "postings", "usage", "attempts", "prices"] {
        let statements = [
            format!("delete from {table}"),
            format!("truncate {table} cascade"),
            match table {
                "transfers" => "update transfers set cause_id = 'x'".to_owned(),
                "postings" => "update postings set amount = 1".to_owned(),
                "usage" => "update usage set charge_nano_usd = 0".to_owned(),
                "attempts" => "update attempts set earn_nano_usd = 0".to_owned(),
                _ => "update prices set prompt = 0".to_owned(),
            },
        ];
        for statement in statements {
            let refused = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.clone())).execute(world.db.pool()).await;
            assert!(refused.is_err(), "{statement}");
        }
    }
    // Naming a partition is no way around it.
    let partition: String =
        sqlx::query_scalar("select tableoid::regclass::text from usage").fetch_one(world.db.pool()).await.unwrap();
    for statement in [format!("delete from {partition}"), format!("truncate {partition}")] {
        let refused = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.clone())).execute(world.db.pool()).await;
        assert!(refused.is_err(), "{statement}");
    }
    world.assert_green().await;
}

#[tokio::test]
async fn a_booking_with_the_same_cause_is_a_no_op() {
    let world = World::new(84).await;
    let book = async |amount: i64| {
        let posting = Posting::new(
            LedgerAccount::platform(AccountKind::GoodwillExpense),
            LedgerAccount::platform(AccountKind::Revenue),
            nano(amount),
        );
        let transfer = Transfer {
            id: world.env.mint(),
            cause: Cause::Goodwill(account(), "once".into()),
            postings: posting.into_iter().collect(),
        };
        let mut tx = world.db.begin().await.unwrap();
        let new = billing::store::transfers::book(&mut tx, &transfer).await.unwrap();
        tx.commit().await.unwrap();
        new
    };
    assert!(book(5).await);
    assert!(!book(5).await);
    let revenue = async || {
        let mut conn = world.db.acquire().await.unwrap();
        let account = LedgerAccount::platform(AccountKind::Revenue);
        billing::store::transfers::turnover(&mut conn, account).await.unwrap().credited
    };
    assert_eq!(revenue().await, 5);
    billing::run::fold(&world.db).await.unwrap();
    billing::run::fold(&world.db).await.unwrap();
    assert_eq!(revenue().await, 5);
}

#[tokio::test]
async fn a_fold_skips_what_an_older_transaction_may_still_add() {
    let world = World::new(85).await;
    world.fund(account(), 1_000).await;
    // An open transaction that has taken its number holds the watermark down.
    let mut open = world.db.begin().await.unwrap();
    sqlx::query("select pg_current_xact_id()").execute(&mut *open).await.unwrap();
    world.fund(account(), 1_000).await;
    billing::run::fold(&world.db).await.unwrap();
    let credits = async || {
        let mut conn = world.db.acquire().await.unwrap();
        let turnover = billing::store::transfers::turnover(&mut conn, LedgerAccount::credits(account())).await.unwrap();
        turnover.balance(AccountKind::Credits)
    };
    assert_eq!(credits().await, 2_000, "the tail has what the fold has not");
    world.assert_green().await;
    open.commit().await.unwrap();
    billing::run::fold(&world.db).await.unwrap();
    assert_eq!(credits().await, 2_000);
    world.assert_green().await;
}

#[tokio::test]
async fn a_nodes_own_count_is_kept_beside_ours_and_judged_once() {
    use billing::store::reports::{Judged, Kept, judge, judged_since, keep};
    let world = World::new(87).await;
    world.fund(account(), 100_000).await;
    let mut conn = world.db.acquire().await.unwrap();
    // The node counts 30 tokens of 1 000 too many, then one too many of 1 000, then never says anything.
    for (n, reported) in [Some(1_030), Some(1_001), None].into_iter().enumerate() {
        let hold = world.hold(5_000).await.unwrap();
        let settled = settlement(&world.env, &world.price, billing::Outcome::Completed, 1_000);
        if let Some(completion) = reported {
            let signed = signed(&settled, hold.request(), completion);
            assert_eq!(keep(&mut conn, id(5), &signed, world.env.now()).await.unwrap(), Kept::New, "it may come first");
            assert_eq!(hold.settle(settled).await, Booked::Durable);
            assert_eq!(keep(&mut conn, id(5), &signed, world.env.now()).await.unwrap(), Kept::Earlier);
            assert_eq!(keep(&mut conn, id(66), &signed, world.env.now()).await.unwrap(), Kept::NotYours);
        } else {
            assert_eq!(hold.settle(settled).await, Booked::Durable, "{n}");
        }
    }
    let began = world.env.now();
    assert_eq!(judge(&mut conn, began).await.unwrap(), Judged::default(), "a node has its time");
    world.clock.advance(std::time::Duration::from_secs(1_561));
    let judged = judge(&mut conn, world.env.now()).await.unwrap();
    assert_eq!(judged, Judged { attempts: 3, apart: 1, unsigned: 1, is_full: false });
    assert_eq!(judge(&mut conn, world.env.now()).await.unwrap(), Judged::default(), "each is judged once");
    assert_eq!(judged_since(&mut conn, id(5), began).await.unwrap(), judged);
    assert_eq!(judged_since(&mut conn, id(5), world.env.now().plus(DAY)).await.unwrap(), Judged::default());
    let flags: Vec<i64> =
        sqlx::query_scalar("select apart_permille from report_flags").fetch_all(&mut *conn).await.unwrap();
    assert_eq!(flags, [30]);
}

#[tokio::test]
async fn reports_are_judged_beside_requests() {
    let mut config = crate::fixture::quiet();
    config.loops.reports_ms = 20;
    let world = World::with(88, config).await;
    world.fund(account(), 100_000).await;
    assert_eq!(world.spend(1_000, 10).await, Booked::Durable);
    world.clock.advance(DAY);
    world.until("it is judged", async || world.count("report_days").await == 1).await;
}

const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

fn signed(settled: &billing::Settlement, request: protocol::RequestId, completion: u32) -> SignedReport {
    let report = UsageReport {
        attempt: settled.attempts[0].attempt,
        request,
        node: id(6),
        offer: id(9),
        price_version: 1,
        units: Units { completion, request: 1, ..Units::default() },
        started_at_ms: 0,
        finished_at_ms: 1,
        status: ReportStatus::Completed,
        request_sha256: BodyDigest::default(),
        response_sha256: BodyDigest::default(),
    };
    report.sign(&crate::fixture::wallet(6), &ReceiptsConfig::default().domain(), None)
}

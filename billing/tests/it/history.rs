//! What an owner reads of their credit is what the books say.

use std::time::Duration;

use billing::account::{AccountKind, LedgerAccount};
use billing::history::{Entry, Kind};
use billing::{Billing, Booked, GrantKind, NewGrant, Outcome};
use fake_stripe::form::Form;
use fake_stripe::objects;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use protocol::{Env, OrganizationId, Timestamp};
use sqlx::PgPool;

use crate::cards::support::{Shop, usd};
use crate::fixture::{World, ask, id, nano, post, quiet, settlement};

/// Histories tried; each has a database of its own.
const CASES: u32 = 6;
const HOUR: Duration = Duration::from_secs(3_600);

fn account() -> OrganizationId {
    id(1)
}

/// All lines, newest first, read in pages of three.
async fn lines(db: &PgPool, now: Timestamp) -> Vec<Entry> {
    let (mut conn, mut found): (_, Vec<Entry>) = (db.acquire().await.unwrap(), Vec::new());
    loop {
        let after = found.last().map(|entry| entry.id.clone());
        let page = billing::store::history::list(&mut conn, account(), after.as_ref(), now, 3).await.unwrap();
        if page.is_empty() {
            return found;
        }
        found.extend(page);
    }
}

/// Each line's balance is the one before and what it moved, and the newest is what there is: by the ledger and by
/// what was credited and used.
async fn assert_adds_up(db: &PgPool, now: Timestamp) -> Vec<Entry> {
    let lines = lines(db, now).await;
    let mut sum = 0;
    for line in lines.iter().rev() {
        sum += line.amount.nano();
        assert_eq!(line.balance.nano(), sum, "{lines:#?}");
        assert!(line.at <= now, "{line:?}");
    }
    let mut conn = db.acquire().await.unwrap();
    let (credits, owed) = (LedgerAccount::credits(account()), LedgerAccount::receivable(account()));
    let booked = billing::store::transfers::turnover(&mut conn, credits).await.unwrap().balance(AccountKind::Credits);
    let owed = billing::store::transfers::turnover(&mut conn, owed).await.unwrap().balance(AccountKind::Receivable);
    let shown = billing::store::views::credits(&mut conn, account()).await.unwrap();
    assert_eq!(sum, booked, "{lines:#?}");
    assert_eq!(sum - owed, shown.total_credits.nano() - shown.total_usage.nano(), "{lines:#?}");
    lines
}

async fn give(db: &PgPool, env: &Env, kind: GrantKind, amount: i64, expires_at: Option<Timestamp>) {
    let cause = env.mint::<protocol::GrantId>().to_string();
    let new = NewGrant { account: account(), kind, cause, amount: nano(amount), expires_at };
    let mut tx = db.begin().await.unwrap();
    billing::grant(&mut tx, env, &new).await.unwrap();
    tx.commit().await.unwrap();
}

#[derive(Debug, Clone)]
enum Step {
    Give(GrantKind, i64, Option<u32>),
    Spend(u32),
    Wait(u32),
    Burn,
    Fold,
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![Just(GrantKind::Promo), Just(GrantKind::Goodwill)];
    prop_oneof![
        (kind, 1..10_000_i64, prop::option::of(1..72_u32)).prop_map(|(kind, much, ends)| Step::Give(kind, much, ends)),
        (1..2_000_u32).prop_map(Step::Spend),
        (1..40_u32).prop_map(Step::Wait),
        Just(Step::Burn),
        Just(Step::Fold),
    ]
}

async fn run(steps: &[Step]) {
    let world = World::new(86).await;
    for step in steps {
        match step {
            Step::Give(kind, amount, hours) => {
                let ends = hours.map(|hours| world.env.now().plus(hours * HOUR));
                give(&world.db, &world.env, *kind, *amount, ends).await;
            }
            Step::Spend(cost) => {
                // What an account can't cover is refused, and moves nothing.
                if let Ok(hold) = world.hold(i64::from(*cost)).await {
                    assert_eq!(hold.settle(world.settlement(*cost)).await, Booked::Durable);
                }
            }
            Step::Wait(hours) => {
                world.clock.advance(*hours * HOUR);
                billing::run::ensure_partitions(&world.db, world.env.now()).await.unwrap();
            }
            Step::Burn => drop(billing::run::burn(&world.db, &world.env).await.unwrap()),
            Step::Fold => billing::run::fold(&world.db).await.unwrap(),
        }
        assert_adds_up(&world.db, world.env.now()).await;
    }
    world.assert_green().await;
}

#[test]
fn whatever_happens_the_newest_line_is_the_balance() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = Config { cases: CASES, failure_persistence: None, max_shrink_iters: 16, ..Config::default() };
    TestRunner::new(config)
        .run(&prop::collection::vec(step(), 1..25), |steps| {
            runtime.block_on(run(&steps));
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn each_kind_has_its_name_its_source_and_its_place() {
    let shop = Shop::open().await;
    let topup = shop.bought(5).await;
    shop.clock.advance(HOUR);
    give(&shop.db, &shop.env, GrantKind::Promo, 1_000, Some(shop.env.now().plus(HOUR))).await;
    let price = post(&shop.db, &shop.env).await;
    let billing = Billing::start(shop.db.pool().clone(), shop.env.clone(), quiet(), "one").await.unwrap();
    // Four dollars; a dollar of them is settled on the next day.
    for (cost, later) in [(3_000_000_000_u32, 24 * HOUR), (1_000_000_000, HOUR)] {
        let hold = billing.hold(ask(&shop.env, account(), i64::from(cost))).await.unwrap();
        hold.settle(settlement(&shop.env, &price, Outcome::Completed, cost)).await;
        shop.clock.advance(later);
        billing::run::ensure_partitions(&shop.db, shop.env.now()).await.unwrap();
    }
    billing.stop().await.unwrap();
    billing::run::burn(&shop.db, &shop.env).await.unwrap();
    shop.clock.advance(HOUR);
    let part = billing::refund::request(&shop.cards, account(), None, usd(1)).await.unwrap().remove(0);
    shop.clock.advance(HOUR);
    // The rest of the card's money goes back by hand: of what was spent nothing is there to take.
    let form = Form::parse(format!("payment_intent={}", topup.payment_intent.clone().unwrap()).as_bytes());
    shop.fake.with(|books| objects::refunds::create(books, &form)).unwrap();
    shop.hear_all().await;
    shop.clock.advance(HOUR);
    give(&shop.db, &shop.env, GrantKind::Goodwill, 5_000_000_000, None).await;

    let lines = assert_adds_up(&shop.db, shop.env.now()).await;
    let shown: Vec<_> = lines.iter().rev().map(|line| (line.kind, line.amount.nano())).collect();
    let dollar = 1_000_000_000;
    assert_eq!(
        shown,
        [
            (Kind::Topup, 5 * dollar),
            (Kind::Promo, 1_000),
            (Kind::Usage, -3 * dollar),
            (Kind::Refund, -dollar),
            (Kind::Receivable, 4 * dollar - 1_000),
            (Kind::Refund, -4 * dollar),
            (Kind::Adjustment, 5 * dollar),
            (Kind::Receivable, 1_000 - 4 * dollar),
            (Kind::Usage, -dollar),
        ],
        "{lines:#?}"
    );
    assert_eq!(lines.last().unwrap().source.as_deref(), Some(topup.id.to_string().as_str()));
    assert_eq!(lines[5].source.as_deref(), Some(part.id.to_string().as_str()));
    assert!(lines[0].id.as_str().starts_with("usage-2026-01-02"), "{:?}", lines[0]);
    shop.assert_green().await;
}

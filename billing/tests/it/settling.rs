//! From a settled request to the books.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use billing::{AckMode, Booked, HoldRequest, Outcome};
use protocol::env::SeededEntropy;
use protocol::time::{Clock, ManualClock};
use protocol::{Env, Id as _, OrganizationId, Timestamp};

use crate::fixture::{self, World, id, nano, quiet, settlement};

fn account() -> OrganizationId {
    id(1)
}

#[tokio::test]
async fn a_durable_ack_means_the_books_have_it() {
    let world = World::new(20).await;
    world.fund(account(), 1_000_000).await;
    let hold = world.hold(5_000).await.unwrap();
    let request = hold.request();
    assert_eq!(hold.settle(world.settlement(1_234)).await, Booked::Durable);
    let mut conn = world.db.acquire().await.unwrap();
    let seen = billing::store::views::find_generation(&mut conn, account(), request).await.unwrap().unwrap();
    assert_eq!((seen.charge, seen.units.completion), (nano(1_234), 1_234));
    assert_eq!(seen.attempts.len(), 1);
    assert_eq!(seen.attempts[0].earned, nano(1_234));
    assert!(billing::store::views::find_generation(&mut conn, id(2), request).await.unwrap().is_none());
    let credits = billing::store::views::credits(&mut conn, account()).await.unwrap();
    assert_eq!((credits.total_credits, credits.total_usage), (nano(1_000_000), nano(1_234)));
    assert_eq!(billing::store::views::accrued(&mut conn, id(5)).await.unwrap(), nano(1_234));
    world.assert_green().await;
}

#[tokio::test]
async fn a_request_settles_once_however_often_it_is_settled() {
    let world = World::new(21).await;
    world.fund(account(), 1_000_000).await;
    let ask = world.ask(5_000);
    let first = world.billing.hold(ask).await.unwrap();
    let second = world.billing.hold(ask).await.unwrap();
    let third = world.billing.hold(ask).await.unwrap();
    // The first two may share a flush, the third comes after.
    let (a, b) = (first.settle(world.settlement(100)), second.settle(world.settlement(200)));
    let (a, b) = (a.await, b.await);
    assert_eq!((a, b), (Booked::Durable, Booked::Duplicate));
    assert_eq!(third.settle(world.settlement(300)).await, Booked::Duplicate);
    assert_eq!((world.count("usage").await, world.count("attempts").await), (1, 1));
    world.billing.stop().await.unwrap();
    assert_eq!(world.available(account()).await, 1_000_000 - 100, "what did not count was not charged");
    world.assert_green().await;
}

#[tokio::test]
async fn failures_and_faults_leave_rows_and_cost_the_user_nothing() {
    let world = World::new(22).await;
    world.fund(account(), 1_000_000).await;
    for outcome in [Outcome::ProviderFailed, Outcome::GatewayFault, Outcome::Cancelled, Outcome::Canary, Outcome::Probe]
    {
        let hold = world.hold(5_000).await.unwrap();
        let ack = hold.settle(settlement(&world.env, &world.price, outcome, 10));
        assert!(ack.charge().is_zero());
        assert_eq!(ack.await, Booked::Durable);
    }
    assert_eq!((world.count("usage").await, world.count("attempts").await), (5, 5));
    let mut conn = world.db.acquire().await.unwrap();
    // A fault, a cancelled attempt and a canary are paid for.
    assert_eq!(billing::store::views::accrued(&mut conn, id(5)).await.unwrap(), nano(30));
    world.assert_green().await;
}

#[tokio::test]
async fn a_row_the_books_refuse_is_parked_and_holds_up_nobody() {
    let world = World::new(23).await;
    world.fund(account(), 1_000_000).await;
    let mut acks = Vec::new();
    for n in 0..40 {
        let hold = world.hold(1_000).await.unwrap();
        let mut settlement = world.settlement(10);
        if n == 17 {
            // No partition holds an attempt of 1970.
            settlement.attempts[0].attempt = id(3);
        }
        acks.push(hold.settle(settlement));
    }
    let mut parked = 0;
    for ack in acks {
        match ack.await {
            Booked::Durable => {}
            Booked::Quarantined => parked += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(parked, 1);
    assert_eq!((world.count("usage").await, world.count("settle_quarantine").await), (39, 1));
    world.billing.stop().await.unwrap();
    assert_eq!(world.available(account()).await, 1_000_000 - 390);
    let report = billing::reconcile(&world.db).await.unwrap();
    let wrong: Vec<_> = report.checks.iter().filter(|check| !check.differences.is_empty()).collect();
    assert_eq!(wrong.len(), 1, "{wrong:#?}");
}

#[tokio::test]
async fn a_batch_is_booked_once_whatever_its_order_and_repeats() {
    let world = Arc::new(World::new(24).await);
    world.fund(account(), 1_000_000).await;
    let asks: Vec<HoldRequest> = (0..60).map(|_| world.ask(1_000)).collect();
    let mut acks = Vec::new();
    for round in 0..3 {
        for n in 0..asks.len() {
            // A different order each round.
            let at = (n * 7 + round * 13) % asks.len();
            let hold = world.billing.hold(asks[at]).await.unwrap();
            acks.push(hold.settle(world.settlement(u32::try_from(at).unwrap())));
        }
    }
    let mut durable = 0;
    for ack in acks {
        durable += usize::from(ack.await == Booked::Durable);
    }
    assert_eq!(durable, asks.len());
    world.billing.stop().await.unwrap();
    let expected: i64 = (0..60).sum();
    assert_eq!(world.available(account()).await, 1_000_000 - expected);
    world.assert_green().await;
}

#[tokio::test]
async fn a_whole_batch_is_not_held_up_by_the_flush_before_it() {
    const ROWS: usize = 8;
    let mut config = quiet();
    config.settlement.batch_rows = ROWS;
    let world = World::with(32, config).await;
    let other = id(2);
    world.fund(account(), 1_000).await;
    world.fund(other, 100_000).await;
    // The provider's account comes with its first attempt, and that flush has it to itself.
    world.spend(100, 10).await;
    let slow = world.hold(100).await.unwrap();
    let mut holds = Vec::new();
    for _ in 0..ROWS {
        holds.push(world.billing.hold(fixture::ask(&world.env, other, 100)).await.unwrap());
    }
    // Whoever has the lease keeps the first flush waiting.
    let mut blocker = world.db.begin().await.unwrap();
    let locked = sqlx::query("select from leases where account_id = $1 for update").bind(account().uuid());
    locked.execute(&mut *blocker).await.unwrap();
    let slow = slow.settle(world.settlement(10));
    world.until("the first flush waits", async || world.waiting_for_a_lock().await.is_some()).await;
    let quick: Vec<_> = holds.into_iter().map(|hold| hold.settle(world.settlement(10))).collect();
    for ack in quick {
        assert_eq!(ack.await, Booked::Durable);
    }
    assert_eq!(world.billing.queued(), 1);
    blocker.rollback().await.unwrap();
    assert_eq!(slow.await, Booked::Durable);
    world.billing.stop().await.unwrap();
    world.assert_green().await;
}

#[tokio::test]
async fn settling_survives_the_loss_of_every_connection() {
    let world = Arc::new(World::new(25).await);
    world.fund(account(), 10_000_000).await;
    // One loan up front; later ones may fail while connections are cut, which a user would retry.
    for _ in 0..20 {
        let _ = world.spend(10_000, 1).await;
    }
    let stop = tokio_util::sync::CancellationToken::new();
    let cutter = tokio::spawn({
        let (url, name) = (world.db.admin_url().to_owned(), world.db.name().to_owned());
        let stop = stop.clone();
        async move {
            let admin = sqlx::PgPool::connect(&url).await.unwrap();
            let mut cut = 0_i64;
            while !stop.is_cancelled() {
                cut += sqlx::query_scalar::<_, i64>(
                    "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = $1",
                )
                .bind(&name)
                .fetch_one(&admin)
                .await
                .unwrap();
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
            cut
        }
    });
    let (mut acks, mut asked) = (Vec::new(), 20);
    for _ in 0..150 {
        if let Ok(hold) = world.hold(10_000).await {
            asked += 1;
            acks.push(hold.settle(world.settlement(7)));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    stop.cancel();
    assert!(cutter.await.unwrap() > 0);
    for ack in acks {
        assert!(matches!(ack.await, Booked::Durable | Booked::TimedOut));
    }
    world.until("all is written", async || world.billing.queued() == 0).await;
    let usage = world.count("usage").await;
    assert_eq!(usage, asked);
    let mut stopped = world.billing.stop().await;
    if stopped.is_err() {
        // A pooled connection that was cut is noticed on first use.
        stopped = Ok(());
    }
    stopped.unwrap();
    let mut conn = world.db.acquire().await.unwrap();
    let credits = billing::store::views::credits(&mut conn, account()).await.unwrap();
    assert_eq!(credits.total_usage, nano(20 + (usage - 20) * 7));
    world.assert_green().await;
}

#[tokio::test]
async fn a_fast_ack_waits_for_nothing_and_is_booked_all_the_same() {
    let mut config = quiet();
    config.settlement.ack = AckMode::Fast;
    let world = World::with(26, config).await;
    world.fund(account(), 1_000).await;
    assert_eq!(world.spend(100, 10).await, Booked::Unawaited);
    world.billing.stop().await.unwrap();
    assert_eq!(world.available(account()).await, 990);
}

#[tokio::test]
async fn an_ack_gives_up_after_its_time_and_the_row_is_booked_later() {
    let mut config = quiet();
    config.settlement.ack_timeout_ms = 100;
    config.settlement.max_queued_ms = 0;
    let world = World::with(27, config).await;
    world.fund(account(), 1_000).await;
    let hold = world.hold(100).await.unwrap();
    // Usage is locked against inserts: the writer waits.
    let mut blocker = world.db.begin().await.unwrap();
    sqlx::query("lock table usage in exclusive mode").execute(&mut *blocker).await.unwrap();
    assert_eq!(hold.settle(world.settlement(10)).await, Booked::TimedOut);
    world.clock.advance(Duration::from_secs(1));
    assert!(matches!(world.hold(1).await, Err(billing::Error::Overloaded { queued: 1 })));
    blocker.rollback().await.unwrap();
    world.until("the row is written", async || world.billing.queued() == 0).await;
    assert!(world.hold(1).await.is_ok());
    assert_eq!(world.count("usage").await, 1);
}

#[tokio::test]
async fn what_was_settled_is_on_the_books_after_a_stop() {
    let world = World::new(28).await;
    world.fund(account(), 1_000_000).await;
    for _ in 0..700 {
        let hold = world.hold(100).await.unwrap();
        drop(hold.settle(world.settlement(1)));
    }
    world.billing.stop().await.unwrap();
    assert_eq!(world.count("usage").await, 700);
    assert_eq!(world.available(account()).await, 1_000_000 - 700);
    assert!(matches!(world.hold(1).await, Err(billing::Error::Overloaded { .. })));
    let open: i64 = sqlx::query_scalar("select count(*) from leases where closed_at is null")
        .fetch_one(world.db.pool())
        .await
        .unwrap();
    assert_eq!(open, 0);
    world.assert_green().await;
}

#[tokio::test]
async fn a_jump_of_the_clock_past_all_partitions_costs_nobody() {
    let days = |days: u64| Duration::from_secs(days * 86_400);
    let world = World::new(29).await;
    world.fund(account(), 1_000_000).await;
    world.clock.advance(days(40));
    assert_eq!(world.spend(1_000, 10).await, Booked::Durable);
    world.clock.set(platform::testing::START.minus(days(20)));
    assert_eq!(world.spend(1_000, 10).await, Booked::Durable);
    assert_eq!((world.count("usage").await, world.count("settle_quarantine").await), (2, 0));
    world.assert_green().await;
}

/// A clock that panics at one look.
#[derive(Clone)]
struct Startling {
    clock: ManualClock,
    /// Looks until then.
    looks: Arc<AtomicI64>,
}

impl Clock for Startling {
    fn now(&self) -> Timestamp {
        assert!(self.looks.fetch_sub(1, Ordering::SeqCst) != 1, "a panic on purpose");
        self.clock.now()
    }
}

#[tokio::test]
async fn a_panic_while_writing_loses_no_settled_request() {
    let world = World::new(30).await;
    world.fund(account(), 1_000_000).await;
    let clock = Startling { clock: world.clock.clone(), looks: Arc::new(AtomicI64::new(i64::MAX)) };
    let env = Env::new(clock.clone(), SeededEntropy::new(31));
    let billing = billing::Billing::start(world.db.pool().clone(), env, quiet(), "startled").await.unwrap();
    // Looks after this: when a request is settled, when its flush is named, when it is written.
    for look in [2, 3] {
        let hold = billing.hold(world.ask(1_000)).await.unwrap();
        let settlement = world.settlement(10);
        clock.looks.store(look, Ordering::SeqCst);
        assert_eq!(hold.settle(settlement).await, Booked::Durable);
    }
    // Two in one batch, behind one that is held up.
    let mut holds = Vec::new();
    for _ in 0..3 {
        holds.push((billing.hold(world.ask(1_000)).await.unwrap(), world.settlement(10)));
    }
    let mut blocker = world.db.begin().await.unwrap();
    sqlx::query("lock table usage in exclusive mode").execute(&mut *blocker).await.unwrap();
    let mut acks = Vec::new();
    for (n, (hold, settlement)) in holds.into_iter().enumerate() {
        acks.push(hold.settle(settlement));
        if n == 0 {
            world.until("the writer waits", async || world.waiting_for_a_lock().await.is_some()).await;
            clock.looks.store(3, Ordering::SeqCst);
        }
    }
    blocker.rollback().await.unwrap();
    for ack in acks {
        assert_eq!(ack.await, Booked::Durable);
    }
    assert!(clock.looks.load(Ordering::SeqCst) < 1, "it did panic");
    assert_eq!((world.count("usage").await, world.count("settle_quarantine").await), (5, 0));
    billing.stop().await.unwrap();
    world.assert_green().await;
}

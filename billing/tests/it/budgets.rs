//! Limits of keys, projects and organizations.

use std::sync::Arc;
use std::time::Duration;

use billing::{Booked, BudgetScope, Error, Reset};
use protocol::{Id, KeyId, OrganizationId, ProjectId};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::fixture::{World, id, nano};

fn account() -> OrganizationId {
    id(1)
}

fn scopes() -> [BudgetScope; 3] {
    [BudgetScope::Key(id::<KeyId>(1)), BudgetScope::Project(id::<ProjectId>(1)), BudgetScope::Organization(account())]
}

async fn set(world: &World, scope: BudgetScope, limit: i64, reset: Option<Reset>) {
    let mut tx = world.db.begin().await.unwrap();
    let new = Uuid::from_u128(world.env.mint::<KeyId>().uuid().as_u128());
    billing::store::budgets::set(&mut tx, scope, nano(limit), reset, new, world.env.now()).await.unwrap();
    tx.commit().await.unwrap();
}

fn is_refusal_of(scope: BudgetScope, error: &Error) -> bool {
    match scope {
        BudgetScope::Key(_) => matches!(error, Error::KeyLimit { .. }),
        BudgetScope::Project(_) => matches!(error, Error::ProjectLimit { .. }),
        BudgetScope::Organization(_) => matches!(error, Error::OrganizationLimit { .. }),
    }
}

#[tokio::test]
async fn five_hundred_parallel_holds_pass_no_limit() {
    for (n, scope) in scopes().into_iter().enumerate() {
        let world = Arc::new(World::new(60 + n as u64).await);
        world.fund(account(), 1_000_000_000).await;
        set(&world, scope, 30 * 1_000 + 500, Some(Reset::Daily)).await;
        let mut holds = JoinSet::new();
        for _ in 0..500 {
            let world = Arc::clone(&world);
            holds.spawn(async move { world.hold(1_000).await });
        }
        let (mut admitted, mut refused) = (Vec::new(), 0);
        while let Some(result) = holds.join_next().await {
            match result.unwrap() {
                Ok(hold) => admitted.push(hold),
                Err(error) if is_refusal_of(scope, &error) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!((admitted.len(), refused), (30, 470), "{scope:?}");
        world.assert_green().await;
    }
}

#[tokio::test]
async fn a_hold_refused_by_one_limit_takes_from_none() {
    let world = World::new(65).await;
    world.fund(account(), 1_000_000).await;
    let [key, project, organization] = scopes();
    set(&world, key, 10_000, None).await;
    set(&world, project, 5_000, None).await;
    set(&world, organization, 900, None).await;
    for _ in 0..3 {
        assert!(matches!(world.hold(1_000).await, Err(Error::OrganizationLimit { .. })));
    }
    world.billing.stop().await.unwrap();
    let windows: Vec<(i64, i64)> =
        sqlx::query_as("select limit_nano_usd, available_nano_usd from budget_windows order by 1")
            .fetch_all(world.db.pool())
            .await
            .unwrap();
    assert_eq!(windows, [(900, 900), (5_000, 5_000), (10_000, 10_000)]);
    world.assert_green().await;
}

#[tokio::test]
async fn a_limit_starts_anew_with_its_window() {
    let world = World::new(66).await;
    world.fund(account(), 1_000_000).await;
    let key = scopes()[0];
    set(&world, key, 1_000, Some(Reset::Daily)).await;
    assert_eq!(world.spend(1_000, 1_000).await, Booked::Durable);
    assert!(matches!(world.hold(1).await, Err(Error::KeyLimit { held: None, .. })));
    // A request in flight over midnight counts where it was taken.
    world.clock.advance(Duration::from_secs(86_400 - 1));
    set(&world, key, 1_500, Some(Reset::Daily)).await;
    world.until("the raised limit is known", async || world.hold(1).await.is_ok()).await;
    let over_midnight = world.hold(400).await.unwrap();
    world.clock.advance(Duration::from_secs(1));
    let today = world.hold(1_500).await.unwrap();
    assert!(world.hold(1).await.is_err());
    assert_eq!(over_midnight.settle(world.settlement(400)).await, Booked::Durable);
    assert_eq!(today.settle(world.settlement(600)).await, Booked::Durable);
    let mut conn = world.db.acquire().await.unwrap();
    let usage = billing::store::views::key_usage(&mut conn, id(1), world.env.now()).await.unwrap();
    assert_eq!((usage.limit, usage.limit_remaining), (Some(nano(1_500)), Some(nano(900))));
    assert_eq!(usage.limit_reset, Some(Reset::Daily));
    assert_eq!((usage.usage, usage.usage_daily), (nano(2_000), nano(1_000)), "charges count when they are settled");
    world.assert_green().await;
}

#[tokio::test]
async fn hourly_sums_and_their_tail_tell_the_same() {
    let world = World::new(67).await;
    world.fund(account(), 1_000_000).await;
    let usage = async || {
        let mut conn = world.db.acquire().await.unwrap();
        billing::store::views::key_usage(&mut conn, id(1), world.env.now()).await.unwrap()
    };
    assert_eq!(world.spend(1_000, 100).await, Booked::Durable);
    let before = usage().await;
    billing::run::fold(&world.db).await.unwrap();
    assert_eq!(usage().await, before);
    assert_eq!(world.spend(1_000, 11).await, Booked::Durable);
    assert_eq!(usage().await.usage, nano(111));
    assert_eq!(usage().await.limit, None);
    world.assert_green().await;
}

#[tokio::test]
async fn a_lowered_limit_is_made_up_for_before_more_is_lent() {
    let world = World::new(68).await;
    world.fund(account(), 1_000_000).await;
    let key = scopes()[0];
    set(&world, key, 10_000, None).await;
    assert_eq!(world.spend(6_000, 6_000).await, Booked::Durable);
    world
        .until("what is idle is back", async || {
            world.billing.renew().await.unwrap();
            world.available(account()).await > 0
        })
        .await;
    set(&world, key, 2_000, None).await;
    world.assert_green().await;
    world.until("the lowered limit acts", async || matches!(world.hold(100).await, Err(Error::KeyLimit { .. }))).await;
    set(&world, key, 7_000, None).await;
    world.until("the raised limit acts", async || world.hold(1_000).await.is_ok()).await;
    assert!(world.hold(1_001).await.is_err());
    world.assert_green().await;
    // Without a limit, only the account counts.
    let mut tx = world.db.begin().await.unwrap();
    billing::store::budgets::remove(&mut tx, key).await.unwrap();
    tx.commit().await.unwrap();
    world.until("the limit is gone", async || world.hold(100_000).await.is_ok()).await;
    world.assert_green().await;
}

#[tokio::test]
async fn late_usage_counts_in_its_window() {
    let world = World::new(69).await;
    world.fund(account(), 1_000_000).await;
    set(&world, scopes()[1], 5_000, Some(Reset::Monthly)).await;
    let hold = world.hold(5_000).await.unwrap();
    sqlx::query("update budget_leases set expires_at = now() - interval '1 h'").execute(world.db.pool()).await.unwrap();
    assert_eq!(billing::run::reap(&world.db, &crate::fixture::quiet().lease).await.unwrap(), 1);
    world.clock.advance(Duration::from_secs(3_600));
    let again = world.hold(3_000).await.unwrap();
    assert_eq!(hold.settle(world.settlement(4_000)).await, Booked::Durable);
    assert_eq!(again.settle(world.settlement(3_000)).await, Booked::Durable);
    world.assert_green().await;
    let (late, over): (i64, i64) = sqlx::query_as("select late_nano_usd, over_nano_usd from budget_windows")
        .fetch_one(world.db.pool())
        .await
        .unwrap();
    assert_eq!(late, 4_000);
    assert!(over >= 2_000, "7 000 were charged where 5 000 may be");
    assert!(world.hold(1).await.is_err());
}

#[tokio::test]
async fn a_window_does_not_open_with_the_limit_before_a_lower_one() {
    let world = Arc::new(World::new(70).await);
    world.fund(account(), 1_000_000).await;
    let key = scopes()[0];
    set(&world, key, 10_000, Some(Reset::Daily)).await;
    // A lower limit is on its way when the first request of the day opens the window.
    let mut tx = world.db.begin().await.unwrap();
    let id = Uuid::from_u128(77);
    billing::store::budgets::set(&mut tx, key, nano(500), Some(Reset::Daily), id, world.env.now()).await.unwrap();
    let held = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.hold(1_000).await.map(|hold| hold.amount()) }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    tx.commit().await.unwrap();
    assert!(matches!(held.await.unwrap(), Err(Error::KeyLimit { .. })));
    assert!(world.hold(400).await.is_ok());
    world.assert_green().await;
}

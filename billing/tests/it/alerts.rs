//! Spend alerts: each part of a limit, once per window, whatever dies in between.

use std::time::Duration;

use billing::{Booked, BudgetScope, Reset};
use protocol::event::{Event, Spender};
use protocol::{Id, KeyId, OrganizationId, ProjectId, Timestamp};
use sqlx::types::Json;
use uuid::Uuid;

use crate::fixture::{World, fold_all, id, nano, quiet};

fn account() -> OrganizationId {
    id(1)
}

async fn limit(world: &World, scope: BudgetScope, limit: i64, reset: Option<Reset>) {
    let mut tx = world.db.begin().await.unwrap();
    let new = world.env.mint::<KeyId>().uuid();
    billing::store::budgets::set(&mut tx, scope, nano(limit), reset, new, world.env.now()).await.unwrap();
    tx.commit().await.unwrap();
}

async fn charge(world: &World, cost: u32) {
    assert_eq!(world.spend(i64::from(cost), cost).await, Booked::Durable);
    fold_all(&world.db).await;
    billing::run::tell(&world.db, &world.env, world.env.now()).await.unwrap();
}

/// What the outbox holds: whose limit, which part, what was spent, and the window.
async fn told(world: &World) -> Vec<(Spender, u8, i64, Option<Timestamp>)> {
    let bodies: Vec<Json<Event>> =
        sqlx::query_scalar("select body from outbox_events order by seq").fetch_all(world.db.pool()).await.unwrap();
    let read = bodies.into_iter().filter_map(|body| match body.0 {
        Event::SpendThresholdReached { organization, spender, threshold_percent, spent, window_starts_at, .. } => {
            assert_eq!(organization, account());
            Some((spender, threshold_percent, spent.nano(), window_starts_at))
        }
        _ => None,
    });
    read.collect()
}

fn key() -> Spender {
    Spender::Key(id(1))
}

#[tokio::test]
async fn each_part_of_a_limit_is_told_once_in_each_window() {
    let world = World::new(200).await;
    world.fund(account(), 1_000_000).await;
    limit(&world, BudgetScope::Key(id(1)), 1_000, Some(Reset::Daily)).await;
    charge(&world, 499).await;
    assert_eq!(told(&world).await, []);
    charge(&world, 1).await;
    charge(&world, 1).await;
    let today = Some(world.env.now());
    let mut expected = vec![(key(), 50, 500, today)];
    assert_eq!(told(&world).await, expected);
    charge(&world, 499).await;
    expected.extend([(key(), 80, 1_000, today), (key(), 100, 1_000, today)]);
    assert_eq!(told(&world).await, expected);
    // A raised limit is the same window: what was told of it is not told again.
    limit(&world, BudgetScope::Key(id(1)), 2_000, Some(Reset::Daily)).await;
    world.until("the raised limit is known", async || world.hold(500).await.is_ok()).await;
    charge(&world, 500).await;
    assert_eq!(told(&world).await, expected);
    world.clock.advance(Duration::from_secs(86_400));
    charge(&world, 1_700).await;
    let tomorrow = Some(world.env.now());
    expected.extend([(key(), 50, 1_700, tomorrow), (key(), 80, 1_700, tomorrow)]);
    assert_eq!(told(&world).await, expected);
    world.assert_green().await;
}

#[tokio::test]
async fn every_limit_above_a_request_tells_of_itself() {
    let world = World::new(201).await;
    world.fund(account(), 1_000_000).await;
    let (project, organization) = (id::<ProjectId>(1), account());
    limit(&world, BudgetScope::Key(id(1)), 10_000, None).await;
    limit(&world, BudgetScope::Project(project), 1_200, Some(Reset::Monthly)).await;
    limit(&world, BudgetScope::Organization(organization), 2_000, Some(Reset::Weekly)).await;
    charge(&world, 1_000).await;
    let mut told: Vec<_> = told(&world).await.into_iter().map(|(spender, part, ..)| (spender, part)).collect();
    told.sort_by_key(|(spender, part)| (format!("{spender:?}"), *part));
    let expected =
        [(Spender::Organization(organization), 50), (Spender::Project(project), 50), (Spender::Project(project), 80)];
    assert_eq!(told, expected);
    // Over a whole life there is no window to name.
    let mut tx = world.db.begin().await.unwrap();
    billing::store::budgets::remove(&mut tx, BudgetScope::Project(project)).await.unwrap();
    billing::store::budgets::remove(&mut tx, BudgetScope::Organization(organization)).await.unwrap();
    tx.commit().await.unwrap();
    world.until("the limits are gone", async || world.hold(4_000).await.is_ok()).await;
    charge(&world, 4_000).await;
    let whole_life = self::told(&world).await.into_iter().find(|(spender, ..)| *spender == key());
    assert_eq!(whole_life, Some((key(), 50, 5_000, None)));
}

#[tokio::test]
async fn late_usage_reaches_a_part_as_well() {
    let world = World::new(202).await;
    world.fund(account(), 1_000_000).await;
    limit(&world, BudgetScope::Key(id(1)), 5_000, Some(Reset::Monthly)).await;
    let hold = world.hold(5_000).await.unwrap();
    sqlx::query("update budget_leases set expires_at = now() - interval '1 h'").execute(world.db.pool()).await.unwrap();
    assert_eq!(billing::run::reap(&world.db, &quiet().lease).await.unwrap(), 1);
    assert_eq!(hold.settle(world.settlement(4_000)).await, Booked::Durable);
    fold_all(&world.db).await;
    billing::run::tell(&world.db, &world.env, world.env.now()).await.unwrap();
    let parts: Vec<_> = told(&world).await.into_iter().map(|(_, part, spent, _)| (part, spent)).collect();
    assert_eq!(parts, [(50, 4_000), (80, 4_000)]);
}

#[tokio::test]
async fn a_teller_that_dies_and_two_that_race_tell_once() {
    let world = World::new(203).await;
    world.fund(account(), 1_000_000).await;
    limit(&world, BudgetScope::Key(id(1)), 1_000, Some(Reset::Daily)).await;
    assert_eq!(world.spend(1_000, 1_000).await, Booked::Durable);
    fold_all(&world.db).await;
    // Dies with everything written and nothing committed.
    let mut blocker = world.db.begin().await.unwrap();
    sqlx::query("lock table outbox_events in share mode").execute(&mut *blocker).await.unwrap();
    let dying = {
        let (db, env) = (world.db.pool().clone(), world.env.clone());
        tokio::spawn(async move { billing::run::tell(&db, &env, env.now()).await.map(drop) })
    };
    world.until("it waits at the outbox", async || world.waiting_for_a_lock().await.is_some()).await;
    let pid = world.waiting_for_a_lock().await.unwrap();
    sqlx::query("select pg_terminate_backend($1)").bind(pid).execute(world.db.pool()).await.unwrap();
    assert!(dying.await.unwrap().is_err());
    blocker.rollback().await.unwrap();
    assert_eq!(told(&world).await, []);
    let tell = || billing::run::tell(&world.db, &world.env, world.env.now());
    let (one, other, third) = tokio::join!(tell(), tell(), tell());
    for done in [one, other, third] {
        done.unwrap();
    }
    tell().await.unwrap();
    let parts: Vec<_> = told(&world).await.into_iter().map(|(_, part, ..)| part).collect();
    assert_eq!(parts, [50, 80, 100]);
    let facts: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "select a.event_id, e.event_id from spend_alerts a join outbox_events e using (event_id) order by 1",
    )
    .fetch_all(world.db.pool())
    .await
    .unwrap();
    assert_eq!(facts.len(), 3);
}

//! Several replicas on one account, and what they know of each other.

use std::time::Duration;

use billing::{Billing, Booked, BudgetScope, Error};
use protocol::{Env, OrganizationId};
use sqlx::postgres::PgPoolOptions;
use tokio::task::JoinSet;

use crate::fixture::{World, ask, fund, id, nano, quiet};

fn account() -> OrganizationId {
    id(1)
}

/// Another replica that waits long enough for the slowest machine.
async fn second(world: &World, seed: u64) -> (Billing, Env) {
    let mut config = quiet();
    config.lease.recall_wait_ms = 5_000;
    config.lease.borrow_timeout_ms = 10_000;
    let heard = world.listeners().await;
    let env = platform::testing::env(seed).0;
    let billing = Billing::start(world.db.pool().clone(), env.clone(), config, "two").await.unwrap();
    world.until("it hears hints", async || world.listeners().await > heard).await;
    (billing, env)
}

/// Makes a replica borrow ahead by asking for much at once, and leaves what it borrowed idle.
async fn borrow_ahead(billing: &Billing, env: &Env) {
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(billing.hold(ask(env, account(), 1_000)).await.unwrap());
    }
}

#[tokio::test]
async fn idle_money_of_another_replica_is_called_back_for_a_hold() {
    let world = World::new(50).await;
    world.until("the first hears hints", async || world.listeners().await == 1).await;
    world.fund(account(), 1_000_000).await;
    let (second, env) = second(&world, 51).await;
    borrow_ahead(&world.billing, &world.env).await;
    let available = world.available(account()).await;
    assert!(available < 990_000, "{available}: nothing would have to be called back");
    // Neither loops nor a low balance give it back here: only the second's asking does.
    let hold = second.hold(ask(&env, account(), 990_000)).await.unwrap();
    assert_eq!(hold.amount(), nano(990_000));
    world.assert_green().await;
}

#[tokio::test]
async fn a_replica_knows_of_one_that_started_after_it() {
    let mut config = quiet();
    config.lease.recall_wait_ms = 5_000;
    config.lease.borrow_timeout_ms = 10_000;
    let world = World::with(52, config).await;
    world.until("the first hears hints", async || world.listeners().await == 1).await;
    world.fund(account(), 1_000_000).await;
    let (second, env) = second(&world, 53).await;
    borrow_ahead(&second, &env).await;
    assert!(world.available(account()).await < 990_000);
    assert_eq!(world.hold(990_000).await.unwrap().amount(), nano(990_000));
    world.assert_green().await;
}

#[tokio::test]
async fn three_replicas_admit_no_more_than_the_money_and_the_limits_are_for() {
    let limited = [
        None,
        Some(BudgetScope::Key(id(1))),
        Some(BudgetScope::Project(id(1))),
        Some(BudgetScope::Organization(account())),
    ];
    for (seed, scope) in (54..).zip(limited) {
        let world = World::new(seed * 10).await;
        let money_for_forty = 40 * 1_000 + 999;
        fund(&world.db, &world.env, account(), if scope.is_some() { 1_000_000_000 } else { money_for_forty }).await;
        if let Some(scope) = scope {
            let mut conn = world.db.acquire().await.unwrap();
            let (limit, now) = (nano(money_for_forty), world.env.now());
            billing::store::budgets::set(&mut conn, scope, limit, None, uuid::Uuid::from_u128(8), now).await.unwrap();
        }
        let mut replicas = Vec::new();
        for n in 0..3_u64 {
            let pool = PgPoolOptions::new().max_connections(5).connect(world.db.url()).await.unwrap();
            let env = platform::testing::env(seed * 10 + 1 + n).0;
            let name = format!("replica {n}");
            replicas.push((Billing::start(pool, env.clone(), quiet(), &name).await.unwrap(), env));
        }
        let mut holds = JoinSet::new();
        for n in 0..500 {
            let (billing, env) = replicas[n % 3].clone();
            holds.spawn(async move { billing.hold(ask(&env, account(), 1_000)).await });
        }
        let (mut admitted, mut refused) = (Vec::new(), 0);
        while let Some(result) = holds.join_next().await {
            match result.unwrap() {
                Ok(hold) => admitted.push(hold),
                Err(Error::Database(error)) => panic!("{error}"),
                Err(_) => refused += 1,
            }
        }
        assert_eq!(admitted.len() + refused, 500);
        assert!((1..=40).contains(&admitted.len()), "{scope:?}: {} were admitted", admitted.len());
        assert!(admitted.iter().all(|hold| hold.amount() == nano(1_000)), "each in full");
        world.assert_green().await;
        drop(admitted);
        for (billing, _) in &replicas {
            billing.stop().await.unwrap();
        }
        world.assert_green().await;
    }
}

#[tokio::test]
async fn a_ledger_that_changes_under_every_try_is_not_taken_for_money_in_flight() {
    let world = World::new(58).await;
    world.fund(account(), 10_000_000_000).await;
    drop(world.hold(10).await.unwrap());
    // Whoever lends finds the number used up, and the next one on re-reading.
    let statements = "
        create function get_ahead() returns trigger language plpgsql as $$
        begin
          if pg_trigger_depth() > 1 then return new; end if;
          update leases set lend_seq = lend_seq + 1 where lease_id = old.lease_id;
          return null;
        end $$;
        create trigger get_ahead before update on leases for each row execute function get_ahead()";
    sqlx::raw_sql(statements).execute(world.db.pool()).await.unwrap();
    let refused = world.hold(500_000).await.err().unwrap();
    assert!(matches!(refused, Error::Database(_)), "{refused:?}");
}

#[tokio::test]
async fn a_name_lost_with_its_connection_is_taken_again() {
    let world = World::new(59).await;
    world.fund(account(), 1_000_000).await;
    let hold = world.hold(5_000).await.unwrap();
    let name_is_held = async || {
        let locks = "select count(*) from pg_locks where locktype = 'advisory' and granted
                        and database = (select oid from pg_database where datname = $1)";
        let admin = sqlx::PgPool::connect(world.db.admin_url()).await.unwrap();
        sqlx::query_scalar::<_, i64>(locks).bind(world.db.name()).fetch_one(&admin).await.unwrap() == 1
    };
    assert!(name_is_held().await);
    let admin = sqlx::PgPool::connect(world.db.admin_url()).await.unwrap();
    sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1")
        .bind(world.db.name())
        .execute(&admin)
        .await
        .unwrap();
    world.until("the name was lost", async || !name_is_held().await).await;
    world.until("the name is held again", name_is_held).await;
    // A second process under the name finds it taken, and leaves the leases of the first alone.
    let env = platform::testing::env(60).0;
    let pool = PgPoolOptions::new().max_connections(4).connect(world.db.url()).await.unwrap();
    let impostor = Billing::start(pool, env, quiet(), "one").await.unwrap();
    let closed: i64 = sqlx::query_scalar("select count(*) from leases where closed_at is not null")
        .fetch_one(&admin_of(&world).await)
        .await
        .unwrap();
    assert_eq!(closed, 0);
    assert_eq!(hold.settle(world.settlement(1_000)).await, Booked::Durable);
    impostor.stop().await.unwrap();
    world.assert_green().await;
}

/// A pool of its own: the world's may hold connections that were cut.
async fn admin_of(world: &World) -> sqlx::PgPool {
    PgPoolOptions::new().acquire_timeout(Duration::from_secs(10)).connect(world.db.url()).await.unwrap()
}

//! Leases that end in other ways than an orderly stop.

use std::time::Duration;

use billing::{Billing, Booked};
use protocol::OrganizationId;

use crate::fixture::{World, id, nano, quiet};

fn account() -> OrganizationId {
    id(1)
}

async fn expire(world: &World) {
    for table in ["leases", "budget_leases"] {
        let statement = format!("update {table} set expires_at = now() - interval '1 h' where closed_at is null");
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(world.db.pool()).await.unwrap();
    }
    world.clock.advance(Duration::from_secs(3_600));
}

#[tokio::test]
async fn usage_that_comes_after_the_reaper_hits_the_account() {
    let world = World::new(40).await;
    world.fund(account(), 1_000_000).await;
    let hold = world.hold(5_000).await.unwrap();
    expire(&world).await;
    assert_eq!(billing::run::reap(&world.db, &quiet().lease).await.unwrap(), 1);
    assert_eq!(world.available(account()).await, 1_000_000);
    assert_eq!(hold.settle(world.settlement(3_000)).await, Booked::Durable);
    assert_eq!(world.available(account()).await, 997_000);
    world.assert_green().await;
    // The replica borrows anew.
    assert!(world.hold(10).await.is_ok());
}

#[tokio::test]
async fn late_usage_beyond_the_balance_becomes_a_debt_that_a_grant_pays_first() {
    let world = World::new(41).await;
    world.fund(account(), 5_000).await;
    let first = world.hold(5_000).await.unwrap();
    expire(&world).await;
    billing::run::reap(&world.db, &quiet().lease).await.unwrap();
    let second = world.hold(4_000).await.unwrap();
    assert_eq!(first.settle(world.settlement(5_000)).await, Booked::Durable);
    assert_eq!(second.settle(world.settlement(4_000)).await, Booked::Durable);
    assert_eq!(world.available(account()).await, 0);
    world.assert_green().await;
    let owed = async || {
        let mut conn = world.db.acquire().await.unwrap();
        let receivable = billing::account::LedgerAccount::receivable(account());
        let turnover = billing::store::transfers::turnover(&mut conn, receivable).await.unwrap();
        turnover.balance(billing::account::AccountKind::Receivable)
    };
    assert_eq!(owed().await, 4_000, "of 9 000 charged, 5 000 were there");
    assert!(world.hold(1).await.is_err(), "lending stops");
    world.fund(account(), 3_000).await;
    assert_eq!((owed().await, world.available(account()).await), (1_000, 0));
    world.fund(account(), 3_000).await;
    assert_eq!((owed().await, world.available(account()).await), (0, 2_000));
    world.assert_green().await;
}

#[tokio::test]
async fn a_lease_within_its_grace_is_not_reaped() {
    let world = World::new(42).await;
    world.fund(account(), 1_000_000).await;
    let hold = world.hold(5_000).await.unwrap();
    sqlx::query("update leases set expires_at = now() - interval '900 s'").execute(world.db.pool()).await.unwrap();
    assert_eq!(billing::run::reap(&world.db, &quiet().lease).await.unwrap(), 0);
    // Expired, and renewed in time.
    world.clock.advance(Duration::from_secs(56));
    world.billing.renew().await.unwrap();
    assert!(world.hold(10).await.is_ok());
    drop(hold);
}

#[tokio::test]
async fn a_new_boot_closes_the_leases_of_a_dead_one() {
    let world = World::new(43).await;
    world.fund(account(), 1_000_000).await;
    let other = platform::testing::env(44).0;
    // A second process under the same name leaves a living one alone.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (url, env) = (world.db.url().to_owned(), other.clone());
    let hold = runtime
        .spawn(async move {
            let db = sqlx::PgPool::connect(&url).await.unwrap();
            let dying = Billing::start(db, env.clone(), quiet(), "two").await.unwrap();
            dying.hold(crate::fixture::ask(&env, account(), 5_000)).await.unwrap()
        })
        .await
        .unwrap();
    assert!(world.available(account()).await < 1_000_000);
    // Its process dies with everything in it.
    runtime.shutdown_background();
    drop(hold);
    let env = platform::testing::env(45).0;
    let reborn = Billing::start(world.db.pool().clone(), env, quiet(), "two").await.unwrap();
    assert_eq!(world.available(account()).await, 1_000_000);
    world.assert_green().await;
    reborn.stop().await.unwrap();
}

#[tokio::test]
async fn idle_leases_go_back_and_their_purses_with_them() {
    let world = World::new(46).await;
    world.fund(account(), 1_000_000_000).await;
    for _ in 0..10 {
        assert_eq!(world.spend(1_000, 10).await, Booked::Durable);
    }
    assert!(world.available(account()).await < 1_000_000_000 - 100);
    world.clock.advance(Duration::from_secs(61));
    world
        .until("all is back", async || {
            world.billing.renew().await.unwrap();
            world.available(account()).await == 1_000_000_000 - 100
        })
        .await;
    world.assert_green().await;
    assert_eq!(world.hold(1_000).await.unwrap().amount(), nano(1_000));
}

#[tokio::test]
async fn two_replicas_share_one_account_down_to_its_last_hold() {
    let world = World::new(47).await;
    world.fund(account(), 10_000).await;
    let env = platform::testing::env(48).0;
    let second = Billing::start(world.db.pool().clone(), env.clone(), quiet(), "two").await.unwrap();
    world.billing.renew().await.unwrap();
    second.renew().await.unwrap();
    let held = world.hold(6_000).await.unwrap();
    let ask = crate::fixture::ask(&env, account(), 6_000);
    let refused = second.hold(ask).await.err().unwrap();
    assert!(matches!(refused, billing::Error::CreditExhausted { held: Some(_), .. }), "{refused}");
    // What the first gives up, the second finds within its wait.
    drop(held);
    let mut got = None;
    for _ in 0..20 {
        got = second.hold(crate::fixture::ask(&env, account(), 6_000)).await.ok();
        if got.is_some() {
            break;
        }
    }
    assert!(got.is_some());
    world.assert_green().await;
}

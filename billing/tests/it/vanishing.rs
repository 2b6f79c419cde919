//! A database that is gone without a word: no connection is closed, none answers.

use std::sync::Arc;

use billing::{Billing, Booked, Outcome};
use protocol::{Env, OrganizationId};

use crate::fixture::{World, ask, id, quiet, settlement};
use crate::wire::Wire;

fn account() -> OrganizationId {
    id(1)
}

/// A replica at the end of a wire, with one connection for hints and one for everything else.
async fn far(world: &World, seed: u64) -> (Billing, Env, Wire) {
    let wire = Wire::to(&world.db);
    let env = platform::testing::env(seed).0;
    let billing = Billing::start(wire.pool(2).await, env.clone(), quiet(), "far").await.unwrap();
    world.until("hints are heard", async || world.listeners().await == 2).await;
    (billing, env, wire)
}

/// The session that waits for a lock ends, and whoever waits for its answer is never told.
async fn lose_the_waiting(world: &World, wire: &Wire) {
    world.until("a statement waits", async || world.waiting_for_a_lock().await.is_some()).await;
    wire.vanish();
    let pid = world.waiting_for_a_lock().await.unwrap();
    sqlx::query("select pg_terminate_backend($1)").bind(pid).execute(world.db.pool()).await.unwrap();
}

#[tokio::test]
async fn settling_goes_on_when_the_other_end_vanished_in_the_middle_of_a_flush() {
    let world = World::new(90).await;
    world.fund(account(), 1_000_000).await;
    let (billing, env, wire) = far(&world, 91).await;
    let hold = billing.hold(ask(&env, account(), 5_000)).await.unwrap();
    let mut blocker = world.db.begin().await.unwrap();
    sqlx::query("lock table usage in exclusive mode").execute(&mut *blocker).await.unwrap();
    let ack = hold.settle(settlement(&env, &world.price, Outcome::Completed, 1_000));
    lose_the_waiting(&world, &wire).await;
    blocker.rollback().await.unwrap();
    assert_eq!(ack.await, Booked::TimedOut);
    world.until("it is written over another connection", async || billing.queued() == 0).await;
    assert_eq!(world.count("usage").await, 1);
    world.assert_green().await;
}

#[tokio::test]
async fn money_is_lent_again_when_the_other_end_vanished_in_the_middle_of_a_loan() {
    let world = Arc::new(World::new(92).await);
    world.fund(account(), 1_000_000).await;
    let (billing, env, wire) = far(&world, 93).await;
    let mut blocker = world.db.begin().await.unwrap();
    sqlx::query("select from accounts for update").execute(&mut *blocker).await.unwrap();
    let first = tokio::spawn({
        let (billing, ask) = (billing.clone(), ask(&env, account(), 5_000));
        async move { billing.hold(ask).await.map(drop) }
    });
    lose_the_waiting(&world, &wire).await;
    blocker.rollback().await.unwrap();
    assert!(matches!(first.await.unwrap(), Err(billing::Error::Database(_))));
    world.until("a loan succeeds", async || billing.hold(ask(&env, account(), 5_000)).await.is_ok()).await;
    world.assert_green().await;
}

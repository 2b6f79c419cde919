//! What may be set aside, and what may not.

use std::sync::Arc;
use std::time::Duration;

use billing::Error;
use protocol::{NanoUsd, OrganizationId, RequestId};
use tokio::task::JoinSet;

use crate::fixture::{World, id, nano};

const ACCOUNT: u128 = 1;

fn account() -> OrganizationId {
    id(ACCOUNT)
}

#[tokio::test]
async fn five_hundred_parallel_holds_on_money_for_forty_admit_forty() {
    let world = Arc::new(World::new(1).await);
    world.fund(account(), 40 * 1_000 + 999).await;
    let mut holds = JoinSet::new();
    for _ in 0..500 {
        let world = Arc::clone(&world);
        holds.spawn(async move { world.hold(1_000).await });
    }
    let (mut admitted, mut refused) = (Vec::new(), 0);
    while let Some(result) = holds.join_next().await {
        match result.unwrap() {
            Ok(hold) => admitted.push(hold),
            Err(Error::CreditExhausted { held, .. }) => {
                assert!(held.is_some(), "requests in flight hold the missing amount");
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((admitted.len(), refused), (40, 460));
    assert!(world.available(account()).await >= 0);
    world.assert_green().await;
    drop(admitted);
    world.billing.stop().await.unwrap();
    assert_eq!(world.available(account()).await, 40 * 1_000 + 999);
    world.assert_green().await;
}

#[tokio::test]
async fn a_freed_hold_serves_a_waiting_request() {
    let world = Arc::new(World::new(2).await);
    world.fund(account(), 1_000).await;
    let first = world.hold(1_000).await.unwrap();
    let second = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.hold(800).await.map(|hold| hold.amount()) }
    });
    // Long enough for the second to be refused at once, were it not to wait.
    tokio::time::sleep(Duration::from_millis(30)).await;
    drop(first);
    assert_eq!(second.await.unwrap().unwrap(), nano(800));
}

#[tokio::test]
async fn a_hold_nothing_in_flight_could_cover_is_refused_at_once() {
    let world = World::new(3).await;
    world.fund(account(), 1_000).await;
    let started = std::time::Instant::now();
    let error = world.hold(1_001).await.err().unwrap();
    assert!(matches!(error, Error::CreditExhausted { held: None, .. }), "{error}");
    assert!(started.elapsed() < Duration::from_millis(200), "nothing to wait for");
    // An organization without an account has nothing either.
    let mut ask = world.ask(1);
    ask.organization = id(77);
    assert!(matches!(world.billing.hold(ask).await, Err(Error::CreditExhausted { held: None, .. })));
}

#[tokio::test]
async fn steady_state_asks_the_database_nothing() {
    let world = World::new(4).await;
    world.fund(account(), 1_000_000_000).await;
    for _ in 0..20 {
        let _ = world.spend(1_000, 10).await;
    }
    // With every connection taken, only what is lent already can serve.
    let mut taken = Vec::new();
    while let Ok(conn) = tokio::time::timeout(Duration::from_millis(500), world.db.acquire()).await {
        taken.push(conn.unwrap());
    }
    let held = tokio::time::timeout(Duration::from_millis(100), world.hold(1_000)).await;
    assert!(held.unwrap().is_ok());
}

#[tokio::test]
async fn an_extension_comes_from_what_is_lent_and_is_settled() {
    let world = World::new(5).await;
    world.fund(account(), 10_000).await;
    let mut hold = world.hold(1_000).await.unwrap();
    world.until("an extension succeeds or money is there", async || hold.extend(nano(500))).await;
    assert_eq!(hold.amount(), nano(1_500));
    assert!(!hold.extend(nano(1_000_000)));
    assert_eq!(hold.amount(), nano(1_500), "a failed extension changes nothing");
    let ack = hold.settle(world.settlement(1_400));
    assert_eq!(ack.charge(), nano(1_400));
    let _ = ack.await;
    world.billing.stop().await.unwrap();
    assert_eq!(world.available(account()).await, 8_600);
    world.assert_green().await;
}

#[tokio::test]
async fn a_suspended_account_is_refused_and_comes_back() {
    let world = World::new(6).await;
    world.fund(account(), 1_000_000).await;
    drop(world.hold(100).await.unwrap());
    let set = async |suspended| {
        let mut conn = world.db.acquire().await.unwrap();
        assert!(billing::store::accounts::set_suspended(&mut conn, account(), suspended).await.unwrap());
    };
    set(true).await;
    world
        .until("the suspension is heard", async || matches!(world.hold(100).await, Err(Error::Suspended { .. })))
        .await;
    // What idle money the replica has goes back even now.
    world.billing.renew().await.unwrap();
    set(false).await;
    world.until("the account may borrow again", async || world.hold(100).await.is_ok()).await;
    world.assert_green().await;
}

#[tokio::test]
async fn request_ids_must_be_dated_near_now() {
    let world = World::new(7).await;
    world.fund(account(), 1_000).await;
    let hours = |h: u64| Duration::from_secs(h * 3_600);
    let dated = |at| billing::HoldRequest { request: world.env.mint_at::<RequestId>(at), ..world.ask(1) };
    let now = world.env.now();
    for at in [now.minus(hours(49)), now.plus(hours(1))] {
        assert!(matches!(world.billing.hold(dated(at)).await, Err(Error::RequestIdDate { .. })));
    }
    let other = billing::HoldRequest { request: id(12), ..world.ask(1) };
    assert!(matches!(world.billing.hold(other).await, Err(Error::RequestIdDate { .. })));
    let old = world.billing.hold(dated(now.minus(hours(47)))).await.unwrap();
    assert_eq!(old.settle(world.settlement(1)).await, billing::Booked::Durable);
}

#[tokio::test]
async fn a_low_account_keeps_nothing_idle() {
    let world = World::new(8).await;
    world.fund(account(), 1_500).await;
    let hold = world.hold(1_000).await.unwrap();
    assert_eq!(world.available(account()).await, 500);
    drop(hold);
    world.until("the money is back", async || world.available(account()).await == 1_500).await;
    assert_eq!(world.hold(0).await.unwrap().amount(), NanoUsd::new(1).unwrap(), "a free request needs an account");
    world.assert_green().await;
}

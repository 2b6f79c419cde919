//! Connections served on threads of their own.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::Signal;

use super::spawn::until;
use super::world::{PATIENCE, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_with_lanes_lets_answers_finish_and_books_them_when_it_stops() {
    let mut world = World::start("lanes = 2\n").await;
    let _node = world.node("first", "ttft_ms = 50.0, tpot_ms = 40.0, tokens = 400").await;
    let customer = world.customer().await;
    let caller = world.caller(&customer);
    world.until_served(&caller).await;

    let caller = caller.counted();
    let streams: Vec<_> = (0..20).map(|_| caller.spawn_stream(40)).collect();
    until("all run", PATIENCE, async || (caller.progress.begun.load(Ordering::SeqCst) == 20).then_some(())).await;
    world.broker.signal(Signal::TERM);
    let answers: Vec<_> = join_all(streams).await.into_iter().map(Result::unwrap).collect();
    assert!(world.broker.ended(Duration::from_secs(30)).await.success());
    let charges = world.charges().await;
    for answer in &answers {
        assert!(answer.is_whole(), "{answer:?}");
        assert_eq!(charges.get(&answer.request.unwrap()), Some(&answer.cost()));
    }
    let open = "select count(*) from leases where closed_at is null";
    assert_eq!(world.count(open).await, 0, "what was borrowed is handed back");
    world.assert_reconciled().await;
}

//! The broker dies by kill -9 under load and comes back on the same database.

use std::sync::atomic::Ordering;
use std::time::Instant;

use futures_util::future::join_all;

use super::spawn::until;
use super::world::{PATIENCE, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_leaves_books_that_add_up() {
    let mut world = World::start("").await;
    let _node = world.node("first", "ttft_ms = 50.0, tpot_ms = 40.0, tokens = 400").await;
    let customer = world.customer().await;
    let caller = world.caller(&customer);
    world.until_served(&caller).await;

    // From under a second to eight seconds each: some are whole when the broker dies, most are not.
    let caller = caller.counted();
    let streams: Vec<_> = (0..50).map(|turn| caller.spawn_stream(10 + 4 * turn)).collect();
    let progress = &caller.progress;
    until("all run and some are done", PATIENCE, async || {
        let (begun, done) = (progress.begun.load(Ordering::SeqCst), progress.done.load(Ordering::SeqCst));
        (begun == 50 && done >= 10).then_some(())
    })
    .await;
    let open = world.count("select count(*) from leases where closed_at is null").await;
    assert!(open > 0, "the broker runs on borrowed credit");
    world.broker.kill().await;
    let answers = join_all(streams).await.into_iter().map(Result::unwrap).collect::<Vec<_>>();
    let (whole, cut): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.is_whole());
    assert!(whole.len() >= 10 && cut.len() >= 10, "{} whole, {} cut", whole.len(), cut.len());
    for answer in cut {
        assert!(!answer.is_closed_cleanly, "a cut answer must not look complete: {answer:?}");
    }

    let killed = Instant::now();
    world.restart().await;
    let restarted = killed.elapsed();
    let boots = "select count(*) from leases l where closed_at is null and boot_id <>
                   (select boot_id from replicas order by started_at desc limit 1)";
    assert_eq!(world.count(boots).await, 0, "what earlier boots had borrowed is given back at the start");
    world.assert_reconciled().await;
    let charges = world.charges().await;
    for answer in &whole {
        let request = answer.request.unwrap();
        assert_eq!(charges.get(&request), Some(&answer.cost()), "{request} was told its cost and has [DONE]");
    }
    let asked: std::collections::HashSet<_> = answers.iter().filter_map(|answer| answer.request).collect();
    assert_eq!(asked.len(), 50);
    // Booked, but its last bytes were lost with the broker: possible, and charged once like all others.
    let booked = charges.keys().filter(|request| asked.contains(request)).count();
    assert!(booked >= whole.len());

    let (_, served) = world.until_served(&caller).await;
    println!(
        "{} of 50 whole, {booked} booked; listening {restarted:?} after the kill, node back and serving {served:?} later",
        whole.len(),
    );
    let waiting = "select count(*) from settle_quarantine";
    assert_eq!(world.count(waiting).await, 0);
    world.assert_reconciled().await;
}

//! A node goes away without a word: killed, or frozen with its sockets open.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use protocol::NanoUsd;
use rustix::process::Signal;

use super::caller::{Answer, Caller};
use super::spawn::until;
use super::world::{PATIENCE, World};

/// A frozen machine sends no reset: it is silence that gives it away, at the latest the ping's.
const FROZEN_LIMIT: Duration = Duration::from_secs(12);

/// A request that was not refused by now is with a node.
const SETTLED: Duration = Duration::from_millis(400);

/// Streams in the middle of their answers.
async fn in_the_middle(caller: &Caller, count: usize) -> Vec<tokio::task::JoinHandle<Answer>> {
    let streams = (0..count).map(|_| caller.spawn_stream(400)).collect();
    until("all have begun", PATIENCE, async || (caller.progress.begun.load(Ordering::SeqCst) == count).then_some(()))
        .await;
    streams
}

/// Every answer ended in an error that says so, nothing is charged; how long the last one waited.
async fn assert_broken(world: &World, answers: &[Answer], gone: Instant) -> Duration {
    for answer in answers {
        let code = answer.code().unwrap_or_else(|| panic!("no error in the stream: {answer:?}"));
        assert!(["provider_disconnected", "provider_timeout"].contains(&code), "{code}");
        assert!(answer.is_closed_cleanly, "{answer:?}");
    }
    // Nobody waits for the books to be told of a failure, so they may hear of it a moment later.
    let ids = || answers.iter().map(|answer| answer.request.unwrap());
    let (charges, _) = until("all are in the books", PATIENCE, async || {
        let charges = world.charges().await;
        ids().all(|id| charges.contains_key(&id)).then_some(charges)
    })
    .await;
    for id in ids() {
        assert_eq!(charges[&id], NanoUsd::ZERO, "a broken answer was charged");
    }
    world.assert_reconciled().await;
    answers.iter().map(|answer| answer.ended.unwrap() - gone).max().unwrap()
}

async fn joined(streams: Vec<tokio::task::JoinHandle<Answer>>) -> Vec<Answer> {
    join_all(streams).await.into_iter().map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_killed_in_mid_stream_ends_its_answers_in_band() {
    let world = World::start("").await;
    let mut node = world.node("first", "ttft_ms = 50.0, tpot_ms = 40.0, tokens = 400").await;
    let caller = world.caller(&world.customer().await);
    world.until_served(&caller).await;
    let caller = caller.counted();
    let streams = in_the_middle(&caller, 10).await;
    let gone = Instant::now();
    node.kill().await;
    let answers = joined(streams).await;
    let noticed = assert_broken(&world, &answers, gone).await;
    assert!(noticed < Duration::from_secs(3), "{noticed:?}");
    println!("10 answers of a killed node ended in band within {noticed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_node_is_noticed_in_seconds() {
    let world = World::start("").await;
    let node = world.node("first", "ttft_ms = 50.0, tpot_ms = 40.0, tokens = 400").await;
    let caller = world.caller(&world.customer().await);
    world.until_served(&caller).await;
    let caller = caller.counted();
    let streams = in_the_middle(&caller, 5).await;
    let gone = Instant::now();
    node.signal(Signal::STOP);
    let answers = joined(streams).await;
    let noticed = assert_broken(&world, &answers, gone).await;
    assert!(noticed < FROZEN_LIMIT, "{noticed:?}");
    println!("5 answers of a frozen node ended in band within {noticed:?}");
    // It thaws, dials again and serves.
    node.signal(Signal::CONT);
    let (_, back) = world.until_served(&caller).await;
    println!("serving again {back:?} after the thaw");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_killed_before_the_first_token_is_replaced_in_silence() {
    // The slow one may take its time: only its death makes anybody look elsewhere.
    let world = World::start("[scheduler.attempt]\nfirst_content_min_ms = 30000\n").await;
    let mut slow = world.node("slow", "ttft_ms = 60000.0, tpot_ms = 1.0, tokens = 20").await;
    let caller = world.caller(&world.customer().await);
    // The first that is not refused at once is with the slow node, so the others will be too.
    let (first, _) = until("the slow node takes a request", PATIENCE, async || {
        let stream = caller.spawn_stream(20);
        tokio::time::sleep(SETTLED).await;
        (!stream.is_finished()).then_some(stream)
    })
    .await;
    let mut streams: Vec<_> = (0..4).map(|_| caller.spawn_stream(20)).collect();
    streams.push(first);
    let plain = caller.clone();
    streams.push(tokio::spawn(async move { plain.plain(20).await }));
    tokio::time::sleep(SETTLED).await;
    let _quick = world.node("quick", "ttft_ms = 20.0, tpot_ms = 1.0, tokens = 20").await;
    until("the quick node is given work", PATIENCE, async || {
        // Dropped when it went to the slow one.
        let asked = caller.counted();
        tokio::time::timeout(SETTLED, asked.stream(2)).await.ok().filter(Answer::is_whole)
    })
    .await;
    assert!(streams.iter().all(|stream| !stream.is_finished()), "the slow node answered");
    let gone = Instant::now();
    slow.kill().await;
    let answers = joined(streams).await;
    let charges = world.charges().await;
    for answer in &answers {
        assert!(answer.is_whole() && answer.error.is_none(), "the client noticed: {answer:?}");
        assert_eq!(charges.get(&answer.request.unwrap()), Some(&answer.cost()));
    }
    let tried = "select count(*) from attempts where outcome = 'provider_failed' and earn_nano_usd = 0";
    assert_eq!(world.count(tried).await, 6, "the slow node's attempts are in the books, and earn nothing");
    world.assert_reconciled().await;
    let last = answers.iter().map(|answer| answer.ended.unwrap() - gone).max().unwrap();
    assert!(last < Duration::from_secs(5), "{last:?}");
    println!("6 answers moved to another node, the last whole {last:?} after the kill");
}

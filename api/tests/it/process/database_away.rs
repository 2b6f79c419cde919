//! Postgres goes away under load, for longer than any retry, and comes back.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::StatusCode;
use protocol::NanoUsd;
use rustix::process::Signal;

use super::caller::Answer;
use super::spawn::{descendants, postmaster, signal, until};
use super::world::{PATIENCE, World};

/// Acknowledgements wait out the whole outage: who was told "done" finds it in the books, outage or not.
const PATIENT: &str = "[billing.settlement]\nack_timeout_ms = 30000\n";
/// As shipped, the wait for an acknowledgement ends after this long, counted and alerted: an answer is then
/// complete for its client before it is booked. It stays in the replica's memory and is booked when the
/// database is back. Only a replica that dies as well, in between, loses it, and then nobody is charged.
const ACK_TIMEOUT: Duration = Duration::from_secs(2);
/// What was committed in the very last moment still has to reach its client.
const ON_THE_WAY: Duration = Duration::from_millis(500);

/// How late an end may be on a busy machine.
const LATE: Duration = Duration::from_secs(2);

/// How long Postgres is away: the ten seconds that answers under way must outlive.
fn outage() -> Duration {
    let given = std::env::var("STEELYARD_TEST_OUTAGE_MS").ok();
    Duration::from_millis(given.map_or(10_000, |text| text.parse().expect("a number of milliseconds")))
}

/// How Postgres is taken away.
enum Away {
    /// Stopped as by a crash: connections break, new ones are refused.
    Crashed,
    /// Frozen: connections stay open and say nothing.
    Frozen,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_outlive_a_crash_of_the_database() {
    outlive(Away::Crashed, PATIENT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_outlive_a_database_that_hangs() {
    outlive(Away::Frozen, PATIENT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_shipped_answers_end_on_time_and_are_booked_once_the_database_is_back() {
    outlive(Away::Crashed, "").await;
}

async fn outlive(away: Away, settings: &str) {
    let world = World::start(settings).await;
    let _node = world.node("first", "ttft_ms = 50.0, tpot_ms = 40.0, tokens = 400").await;
    let (lent, idle, unknown) = (world.customer().await, world.customer().await, world.customer().await);
    let caller = world.caller(&lent);
    let first = world.until_served(&caller).await.0;
    // Known to the broker, and nothing borrowed yet.
    let idle = caller.with_key(&idle.key);
    assert_eq!(idle.get("/v1/models").await.unwrap().0, StatusCode::OK);
    assert_eq!(idle.get("/v1/key").await.unwrap().0, StatusCode::OK);

    // Ends lie before, within and after the outage.
    let load = caller.counted();
    let lengths = (0..24).map(|turn| 10 + 13 * turn);
    let streams: Vec<_> = lengths.map(|tokens| load.spawn_stream(tokens)).collect();
    let plain = load.clone();
    let plain = tokio::spawn(async move { plain.plain(60).await });
    until("all run and some are done", PATIENCE, async || {
        let (begun, done) = (load.progress.begun.load(Ordering::SeqCst), load.progress.done.load(Ordering::SeqCst));
        (begun == 24 && done >= 2).then_some(())
    })
    .await;
    let server = postmaster(&world.postgres.url()).await;
    let frozen = match away {
        Away::Crashed => {
            world.postgres.halt().await.unwrap();
            Vec::new()
        }
        // The server first: it must not start sessions that nobody stops.
        Away::Frozen => {
            signal(server, Signal::STOP);
            let all: Vec<_> = descendants(server).into_iter().chain([server]).collect();
            all.iter().for_each(|pid| signal(*pid, Signal::STOP));
            all
        }
    };
    let away = Instant::now();

    // New work is turned away: at once for want of credit or an unknown key, and a little later for everybody,
    // since nobody could say any more which keys have been revoked.
    let unknown = caller.with_key(&unknown.key);
    let refused = tokio::join!(idle.stream(5), unknown.stream(5));
    let refused_after = refused.0.ended.unwrap().max(refused.1.ended.unwrap()) - away;
    for refused in [refused.0, refused.1, caller.stream(5).await, idle.stream(5).await] {
        assert_eq!(refused.status, Some(StatusCode::SERVICE_UNAVAILABLE), "{refused:?}");
    }
    assert_eq!(idle.get("/health/live").await.unwrap().0, StatusCode::OK);
    assert_eq!(idle.get("/health/ready").await.unwrap().0, StatusCode::SERVICE_UNAVAILABLE);

    tokio::time::sleep(outage().saturating_sub(away.elapsed())).await;
    let back = Instant::now();
    if frozen.is_empty() {
        world.postgres.resume().await.unwrap();
    } else {
        frozen.iter().for_each(|pid| signal(*pid, Signal::CONT));
    }
    let mut answers: Vec<Answer> = join_all(streams).await.into_iter().map(Result::unwrap).collect();
    answers.push(plain.await.unwrap());
    for answer in &answers {
        assert!(answer.is_whole(), "lost or broken: {answer:?}");
        let done = answer.done.unwrap();
        let is_meanwhile = done > away + ON_THE_WAY && done < back;
        let waited = answer.pieces.last().map(|last| done - *last);
        match waited {
            _ if settings == PATIENT => assert!(!is_meanwhile, "told it is done while nothing could be booked"),
            Some(waited) => assert!(waited < ACK_TIMEOUT + LATE, "held up for {waited:?}"),
            None => {}
        }
    }
    let said_meanwhile = |answer: &&Answer| answer.pieces.last().is_some_and(|at| *at > away && *at < back);
    let waited = answers.iter().filter(said_meanwhile).count();
    assert!(waited >= 5, "only {waited} answers waited for the books");
    let last = answers.iter().filter(said_meanwhile).filter_map(|answer| answer.done).max().unwrap();

    until("everything is in the books", PATIENCE, async || (world.charges().await.len() > answers.len()).then_some(()))
        .await;
    let charges = world.charges().await;
    let told = answers.iter().chain([&first]).map(|answer| {
        assert_eq!(charges.get(&answer.request.unwrap()), Some(&answer.cost()));
        answer.cost()
    });
    let told = told.fold(NanoUsd::ZERO, NanoUsd::saturating_add);
    let booked = charges.values().copied().fold(NanoUsd::ZERO, NanoUsd::saturating_add);
    assert_eq!(told, booked, "what clients were told is what the books say");
    world.until_served(&idle).await;
    world.assert_reconciled().await;
    println!(
        "{waited} answers waited for the books and had the last [DONE] {:?} after Postgres was started again; \
         without credit: 503 after {refused_after:?}",
        last - back,
    );
}

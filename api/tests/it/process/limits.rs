//! Three brokers keep one limit together through one Redis, which goes away and comes back.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::StatusCode;

use super::caller::{Answer, Caller};
use super::redis::Redis;
use super::spawn::{Process, folder};
use super::world::{Customer, World};

/// What each key may use; all three are reached here.
const LIMITS: &str = "[limits.key]\nrequests_per_minute = 300\ntokens_per_minute = 20000\nconcurrency = 24\n";
const REQUESTS: f64 = 300.0;
const TOKENS: f64 = 20_000.0;
const PLACES: usize = 24;
/// How much more than a limit replicas may let through together.
const TOLERANCE: f64 = 1.02;
/// The same where Redis was lost: what a replica used just before it, the others never hear of.
const AWAY_TOLERANCE: f64 = 1.05;
/// How much of a limit must be usable although it lies in parts at several replicas.
const USABLE: f64 = 0.85;
/// Callers at each broker.
const CALLERS: u32 = 5;
/// Pause of a caller that was refused.
const AGAIN: Duration = Duration::from_millis(40);
/// No request waits longer, whatever Redis does, on a busy machine.
const LONGEST: Duration = Duration::from_secs(5);

/// Three brokers, and a node for each.
struct Three {
    world: World,
    urls: Vec<String>,
    _processes: Vec<Process>,
    _dir: tempfile::TempDir,
}

/// An answer, when it was asked for and when it was over.
struct Seen {
    answer: Answer,
    asked: Instant,
    ended: Instant,
}

impl Three {
    async fn start(settings: &str) -> (Self, Redis) {
        let dir = folder();
        let redis = Redis::start(dir.path()).await;
        let world = World::start(&format!("{settings}{}", Redis::settings(dir.path()))).await;
        let (second, second_url) = world.beside("second").await;
        let (third, third_url) = world.beside("third").await;
        let urls = vec![world.url.clone(), second_url, third_url];
        let mut processes = vec![second, third];
        for (url, name) in urls.iter().zip(["node-a", "node-b", "node-c"]) {
            processes.push(world.node_of(url, name, "ttft_ms = 5.0, tpot_ms = 1.0, tokens = 2000").await);
        }
        let three = Self { world, urls, _processes: processes, _dir: dir };
        let warm = three.world.customer().await;
        for caller in three.callers(&warm) {
            three.world.until_served(&caller).await;
        }
        (three, redis)
    }

    fn callers(&self, customer: &Customer) -> Vec<Caller> {
        let caller = self.world.caller(customer);
        self.urls.iter().map(|url| Caller { url: url.clone(), ..caller.clone() }).collect()
    }

    /// Asks all three as fast as they allow, streamed and whole in turn, until `end`.
    async fn press(&self, customer: &Customer, tokens: u32, end: Instant) -> Vec<Seen> {
        let press = |caller: Caller, streamed: bool| async move {
            let mut seen = Vec::new();
            while Instant::now() < end {
                let asked = Instant::now();
                let answer = if streamed { caller.stream(tokens).await } else { caller.plain(tokens).await };
                let refused = answer.status == Some(StatusCode::TOO_MANY_REQUESTS);
                seen.push(Seen { answer, asked, ended: Instant::now() });
                if refused {
                    tokio::time::sleep(AGAIN).await;
                }
            }
            seen
        };
        let callers = self.callers(customer);
        let all = callers.iter().flat_map(|caller| (0..CALLERS).map(move |turn| (caller.clone(), turn % 2 == 0)));
        join_all(all.map(|(caller, streamed)| press(caller, streamed))).await.into_iter().flatten().collect()
    }
}

fn served(seen: &[Seen]) -> Vec<&Seen> {
    seen.iter().filter(|seen| seen.answer.status == Some(StatusCode::OK)).collect()
}

/// What a limit of so many a minute allows from the first of these to the last.
fn allowed(per_minute: f64, seen: &[Seen]) -> f64 {
    let first = seen.iter().map(|seen| seen.asked).min().unwrap();
    let last = seen.iter().map(|seen| seen.ended).max().unwrap();
    per_minute + per_minute * (last - first).as_secs_f64() / 60.0
}

fn tokens(seen: &Seen) -> f64 {
    seen.answer.usage.as_ref().and_then(|usage| usage["total_tokens"].as_f64()).expect("an answer tells its tokens")
}

fn assert_only_served_or_limited(seen: &[Seen]) {
    for seen in seen {
        match seen.answer.status {
            Some(StatusCode::OK) => assert!(seen.answer.is_whole(), "{:?}", seen.answer),
            Some(StatusCode::TOO_MANY_REQUESTS) => {
                assert_eq!(seen.answer.code(), Some("rate_limit_exceeded"), "{:?}", seen.answer);
            }
            _ => panic!("neither served nor limited: {:?}", seen.answer),
        }
        let took = seen.ended - seen.asked;
        assert!(took < LONGEST, "a request waited for {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_brokers_on_one_redis_let_through_two_percent_over_a_limit_at_most() {
    let (three, _redis) = Three::start(LIMITS).await;
    let (quick, wordy) = (three.world.customer().await, three.world.customer().await);
    let long = three.world.customer().await;

    let seen = three.press(&quick, 2, Instant::now() + Duration::from_secs(10)).await;
    assert_only_served_or_limited(&seen);
    let (count, most) = (served(&seen).len() as f64, allowed(REQUESTS, &seen));
    println!("requests: {count} of {most:.0} allowed were served, of {} asked for", seen.len());
    assert!(count <= most * TOLERANCE, "{count} served, {most} allowed");
    assert!(count >= most * USABLE, "{count} served, {most} allowed");

    let seen = three.press(&wordy, 150, Instant::now() + Duration::from_secs(10)).await;
    assert_only_served_or_limited(&seen);
    let (used, most) = (served(&seen).iter().map(|seen| tokens(seen)).sum::<f64>(), allowed(TOKENS, &seen));
    println!("tokens: {used} of {most:.0} allowed were used, in {} answers", served(&seen).len());
    assert!(used <= most * TOLERANCE, "{used} used, {most} allowed");
    assert!(used >= most * USABLE, "{used} used, {most} allowed");

    // Asked again and again for less time than any answer takes: who is served is served at the same time.
    let (callers, rush) = (three.callers(&long), Instant::now() + Duration::from_millis(400));
    let streams = (0..PLACES * 2).map(async |turn| {
        loop {
            let answer = callers[turn % 3].stream(500).await;
            if answer.status == Some(StatusCode::OK) || Instant::now() >= rush {
                return answer;
            }
            tokio::time::sleep(AGAIN).await;
        }
    });
    let answers = join_all(streams).await;
    let at_once = answers.iter().filter(|answer| answer.status == Some(StatusCode::OK)).count();
    println!("places: {at_once} of {PLACES} were taken");
    assert!(at_once <= PLACES && at_once as f64 >= PLACES as f64 * USABLE, "{at_once} of {PLACES} places were taken");
    three.world.assert_reconciled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_killed_frozen_and_back_under_load_is_no_outage_and_opens_no_limit() {
    let (three, mut redis) = Three::start(LIMITS).await;
    let customer = three.world.customer().await;
    let second = Duration::from_secs(1);
    let begun = Instant::now();
    let (killed, back, frozen, thawed, end) =
        (begun + 3 * second, begun + 7 * second, begun + 10 * second, begun + 13 * second, begun + 16 * second);
    let strike = async {
        tokio::time::sleep_until(killed.into()).await;
        redis.kill().await;
        tokio::time::sleep_until(back.into()).await;
        redis.restart().await;
        tokio::time::sleep_until(frozen.into()).await;
        redis.freeze();
        tokio::time::sleep_until(thawed.into()).await;
        redis.thaw();
    };
    let (seen, ()) = tokio::join!(three.press(&customer, 2, end), strike);
    assert_only_served_or_limited(&seen);
    let served = served(&seen);
    for (from, to) in [(killed, back), (back, frozen), (frozen, thawed), (thawed, end)] {
        let meanwhile = served.iter().filter(|seen| seen.asked >= from && seen.ended <= to).count();
        println!("{meanwhile} served within {:?}", to - from);
        assert!(meanwhile > 0, "nobody was served for {:?}", to - from);
    }
    let (count, most) = (served.len() as f64, allowed(REQUESTS, &seen));
    println!("{count} of {most:.0} allowed were served although Redis was away twice");
    assert!(count <= most * AWAY_TOLERANCE, "{count} served, {most} allowed");
}

//! The three ways to put load on: open loop, closed loop, and many streams at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::arrivals::Arrivals;
use crate::client::{Answer, Client};
use crate::record::Record;
use crate::scenario::{Ask, Scenario};

/// Starts requests when the scenario says so, whether or not earlier ones have been answered.
///
/// Every time counts from the intended start. A stalled server therefore shows in the requests that
/// came while it was stalled, as it would to their senders.
pub async fn open_loop(client: &Arc<Client>, scenario: &Scenario) -> Record {
    let start = Instant::now();
    let length = Duration::from_secs_f64(scenario.duration_s);
    let warmup = Duration::from_secs_f64(scenario.warmup_s);
    let mut record = Record::default();
    let mut running: JoinSet<(Answer, bool)> = JoinSet::new();
    let arrivals = Arrivals::new(scenario.arrivals, scenario.seed).take_while(|at| *at < length);
    for (at, ask) in arrivals.zip(scenario.asks()) {
        let intended = start + at;
        wait_until(intended, &mut running, &mut record).await;
        let client = Arc::clone(client);
        running.spawn(async move { (client.chat(&ask, intended).await, at >= warmup) });
    }
    let last = start + length + Duration::from_secs_f64(scenario.drain_s);
    while let Ok(Some(joined)) = tokio::time::timeout_at(last.into(), running.join_next()).await {
        take(joined, &mut record);
    }
    let late = running.len() as u64;
    running.shutdown().await;
    if late > 0 {
        record.broken.insert("no end within drain_s".to_owned(), late);
    }
    record
}

/// Collects answers until `intended`.
async fn wait_until(intended: Instant, running: &mut JoinSet<(Answer, bool)>, record: &mut Record) {
    let sleep = tokio::time::sleep_until(intended.into());
    tokio::pin!(sleep);
    loop {
        tokio::select! {
            biased;
            () = &mut sleep => return,
            Some(joined) = running.join_next() => take(joined, record),
        }
    }
}

fn take(joined: Result<(Answer, bool), tokio::task::JoinError>, record: &mut Record) {
    match joined {
        Ok((answer, timed)) => record.take(answer, timed),
        Err(_) => *record.broken.entry("a task of this program failed".to_owned()).or_default() += 1,
    }
}

/// Keeps `concurrency` requests in flight for `length`, each followed by the next: for rates and cost
/// per request. Its percentiles are those of a polite client only.
pub async fn closed_loop(client: &Arc<Client>, ask: &Ask, concurrency: usize, length: Duration) -> Record {
    let end = Instant::now() + length;
    let mut workers = JoinSet::new();
    for _ in 0..concurrency {
        let (client, ask) = (Arc::clone(client), ask.clone());
        workers.spawn(async move {
            let mut record = Record::default();
            loop {
                let begun = Instant::now();
                if begun >= end {
                    return record;
                }
                record.take(client.chat(&ask, begun).await, true);
                if record.failures() > MOST_FAILURES {
                    return record;
                }
            }
        });
    }
    gather(workers).await
}

/// A worker stops after this many failures: a target that is down should not fill the report.
const MOST_FAILURES: u64 = 1_000;

/// Opens `count` streams evenly over `ramp` and reads each to its end.
pub async fn streams(client: &Arc<Client>, ask: &Ask, count: u32, ramp: Duration) -> Record {
    let start = Instant::now();
    let mut running = JoinSet::new();
    for number in 0..count {
        let (client, ask) = (Arc::clone(client), ask.clone());
        let intended = start + ramp * number / count.max(1);
        running.spawn(async move {
            tokio::time::sleep_until(intended.into()).await;
            (client.chat(&ask, intended).await, true)
        });
    }
    let mut record = Record::default();
    while let Some(joined) = running.join_next().await {
        take(joined, &mut record);
    }
    record
}

async fn gather(mut workers: JoinSet<Record>) -> Record {
    let mut all = Record::default();
    while let Some(joined) = workers.join_next().await {
        match joined {
            Ok(record) => all.merge(record),
            Err(_) => *all.broken.entry("a task of this program failed".to_owned()).or_default() += 1,
        }
    }
    all
}

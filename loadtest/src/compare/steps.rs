//! One step on one target: put the load on, and write down what it took.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Plan, Target};
use crate::process::{self, Usage};
use crate::record::Record;
use crate::run;
use crate::scenario::Ask;

/// What a customer with a short question sends.
const PROMPT: &str = "What is the capital of France? Answer in one word.";
/// Requests before anything is measured: connections open, caches fill.
const WARMUP_REQUESTS: u32 = 64;
/// After the last stream opened and well before the first is left.
const SETTLE: Duration = Duration::from_millis(500);
/// Tokens of a stream in the chunk-rate step: long enough that opening it hardly counts.
const RUSH_TOKENS: u32 = 256;

struct Meter {
    begun: Instant,
    own: Usage,
    beside: Usage,
}

struct Spent {
    seconds: f64,
    own_us: f64,
    beside_us: f64,
}

impl Meter {
    fn start(target: &Target) -> Self {
        Self { begun: Instant::now(), own: process::usage(&target.spec.pids), beside: beside(target) }
    }

    fn stop(self, target: &Target) -> Spent {
        Spent {
            seconds: self.begun.elapsed().as_secs_f64(),
            own_us: process::usage(&target.spec.pids).cpu_since(&self.own).as_secs_f64() * 1e6,
            beside_us: beside(target).cpu_since(&self.beside).as_secs_f64() * 1e6,
        }
    }
}

fn beside(target: &Target) -> Usage {
    process::usage(&process::with_descendants(&target.spec.beside))
}

/// Memory while idle, and what each open stream adds.
pub(super) async fn memory(target: &mut Target, plan: &Plan) {
    let rss = |target: &Target| process::usage(&target.spec.pids).rss_bytes as f64;
    target.figures.rss_idle = rss(target);
    let ask = Ask::chat(&plan.fast, PROMPT, plan.json_tokens, false);
    for _ in 0..WARMUP_REQUESTS {
        let answer = target.client.chat(&ask, Instant::now()).await;
        target.record.take(answer, false);
    }
    let before = rss(target);
    let mut ask = Ask::chat(&plan.slow, PROMPT, 3_600, true);
    // Opens, says a token a second, is left at the fourth: all streams are open from the end of the
    // ramp to its first departure.
    ask.leave_after = Some(4);
    let (client, count, ramp) = (Arc::clone(&target.client), plan.streams, plan.ramp);
    let streams = tokio::spawn(async move { run::streams(&client, &ask, count, ramp).await });
    tokio::time::sleep(ramp + SETTLE).await;
    let open = rss(target);
    if let Ok(record) = streams.await {
        if record.left == u64::from(plan.streams) {
            target.figures.rss_per_stream = Some((open - before).max(0.0) / f64::from(plan.streams.max(1)));
        }
        target.record.merge(record);
    }
}

/// Small plain answers as fast as a fixed number of customers can take them.
pub(super) async fn small_answers(target: &mut Target, plan: &Plan) {
    let ask = Ask::chat(&plan.fast, PROMPT, plan.json_tokens, false);
    let (record, spent) = closed(target, &ask, plan.concurrency, plan.step).await;
    if record.complete > 0 {
        let answers = record.complete as f64;
        target.figures.requests_per_s.push(answers / spent.seconds);
        target.figures.cpu_us_per_request.push(spent.own_us / answers);
        target.figures.beside_us_per_request.push(spent.beside_us / answers);
    }
    target.record.merge(record);
}

/// Streams whose engine never waits: how many chunks get through.
pub(super) async fn chunk_rate(target: &mut Target, plan: &Plan) {
    let ask = Ask::chat(&plan.fast, PROMPT, RUSH_TOKENS, true);
    let (record, spent) = closed(target, &ask, plan.concurrency, plan.step).await;
    if record.chunks > 0 {
        target.figures.chunks_per_s.push(record.chunks as f64 / spent.seconds);
        target.figures.rush_us_per_chunk.push(spent.own_us / record.chunks as f64);
    }
    target.record.merge(record);
}

/// One customer, one connection, one request after another: what the target adds to each.
pub(super) async fn one_connection(target: &mut Target, plan: &Plan) {
    let ask = Ask::chat(&plan.fast, PROMPT, plan.json_tokens, false);
    let (record, _) = closed(target, &ask, 1, plan.step).await;
    if record.total.count() > 0 {
        target.figures.p50_us.push(record.total.percentile_us(50.0) as f64);
        target.figures.p99_us.push(record.total.percentile_us(99.0) as f64);
    }
    target.record.merge(record);
}

/// Many streams at a reader's pace: does any of them stall, and what does a chunk cost that travels alone?
pub(super) async fn paced_streams(target: &mut Target, plan: &Plan) {
    let ask = Ask::chat(&plan.paced, PROMPT, plan.stream_tokens, true);
    let meter = Meter::start(target);
    let record = run::streams(&target.client, &ask, plan.streams, plan.ramp).await;
    let spent = meter.stop(target);
    let figures = &mut target.figures;
    if record.chunks > 0 {
        figures.paced_us_per_chunk.push(spent.own_us / record.chunks as f64);
        figures.gap_p50_us = Some(record.gaps.percentile_us(50.0));
        figures.gap_p99_us = Some(record.gaps.percentile_us(99.0));
        figures.gap_max_us = Some(record.gaps.max_us());
    }
    figures.rss_loaded = process::usage(&target.spec.pids).rss_bytes as f64;
    target.record.merge(record);
}

async fn closed(target: &Target, ask: &Ask, concurrency: usize, length: Duration) -> (Record, Spent) {
    let meter = Meter::start(target);
    let record = run::closed_loop(&target.client, ask, concurrency, length).await;
    let spent = meter.stop(target);
    (record, spent)
}

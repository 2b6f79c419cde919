//! What the steps found, beside each other and beside the budget.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;

use super::Comparison;
use crate::report::{self, bytes, time};

/// One target's figures; where a step was repeated, one value a repetition.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figures {
    /// The target.
    pub name: String,
    /// Whether it is held to the budget.
    pub broker: bool,
    /// Whether its answers end only after a commit.
    pub durable: bool,
    /// Small plain answers.
    pub requests_per_s: Vec<f64>,
    /// Processor time of the target's own processes.
    pub cpu_us_per_request: Vec<f64>,
    /// Processor time of its database.
    pub beside_us_per_request: Vec<f64>,
    /// From engines that never wait.
    pub chunks_per_s: Vec<f64>,
    /// Where chunks may travel together.
    pub rush_us_per_chunk: Vec<f64>,
    /// Where each chunk travels alone.
    pub paced_us_per_chunk: Vec<f64>,
    /// One connection, small plain answers.
    pub p50_us: Vec<f64>,
    /// The same.
    pub p99_us: Vec<f64>,
    /// Between chunks of the paced streams.
    pub gap_p50_us: Option<u64>,
    /// The same.
    pub gap_p99_us: Option<u64>,
    /// The same.
    pub gap_max_us: Option<u64>,
    /// Before the first request.
    pub rss_idle: f64,
    /// What one open idle stream adds; absent when not every stream opened.
    pub rss_per_stream: Option<f64>,
    /// After the paced streams.
    pub rss_loaded: f64,
    /// Answers that were not whole.
    pub failures: u64,
    /// What was wrong with cut or unreadable ones.
    pub broken: BTreeMap<String, u64>,
    /// HTTP errors.
    pub refused: BTreeMap<String, u64>,
}

/// What a broker may cost.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Budget {
    /// Processor time per small answer, over the yardstick's.
    pub request_ratio: f64,
    /// Processor time per chunk, over the yardstick's.
    pub chunk_ratio: f64,
    /// Rate with its database on the same cores, over the yardstick's.
    pub rate_ratio: f64,
    /// At one connection, over the baseline.
    pub added_p99_us: f64,
    /// Resident memory before the first request.
    pub rss_idle: f64,
    /// Resident memory per open idle stream.
    pub rss_per_stream: f64,
    /// Gap between chunks that 99 % do not pass, over the pace.
    pub gap_ratio: f64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            request_ratio: 1.35,
            chunk_ratio: 1.15,
            rate_ratio: 0.6,
            added_p99_us: 150.0,
            rss_idle: 60.0 * 1024.0 * 1024.0,
            rss_per_stream: 16.0 * 1024.0,
            gap_ratio: 2.0,
        }
    }
}

/// The middle value: one disturbed repetition does not move it.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

fn ratio(own: &[f64], other: &[f64]) -> Option<f64> {
    Some(median(own)? / median(other).filter(|other| *other > 0.0)?)
}

fn added(own: &[f64], other: &[f64]) -> Option<f64> {
    Some(median(own)? - median(other)?)
}

impl Comparison {
    fn yard(&self) -> &Figures {
        &self.figures[self.yardstick]
    }

    fn base(&self) -> &Figures {
        &self.figures[self.baseline]
    }
}

/// A row a figure, a column a target.
#[must_use]
pub fn print(found: &Comparison) -> String {
    type Cell<'a> = &'a dyn Fn(&Figures) -> Option<String>;
    let (yard, base) = (found.yard(), found.base());
    let times = |value: Option<f64>| value.map(|value| format!("{value:.2}×"));
    let whole = |values: &[f64]| median(values).map(|value| format!("{value:.0}"));
    let fine = |values: &[f64]| median(values).map(|value| format!("{value:.2}"));
    let micros = |value: Option<f64>| value.map(|value| format!("{value:.0} µs"));
    let measured = |own: &Figures, values: &[f64]| median(values).filter(|_| own.rss_idle > 0.0);
    type Pick = fn(&Figures) -> &[f64];
    let against =
        |own: &Figures, pick: Pick| measured(own, pick(own)).and_then(|_| times(ratio(pick(own), pick(yard))));
    let rows: [(&str, Cell<'_>); 21] = [
        ("small answers a second", &|f| whole(&f.requests_per_s)),
        ("  of the yardstick's", &|f| times(ratio(&f.requests_per_s, &yard.requests_per_s))),
        ("CPU µs an answer", &|f| measured(f, &f.cpu_us_per_request).map(|v| format!("{v:.1}"))),
        ("  of the yardstick's", &|f| against(f, |f| &f.cpu_us_per_request)),
        ("  its database's", &|f| median(&f.beside_us_per_request).filter(|v| *v > 0.0).map(|v| format!("{v:.1}"))),
        ("chunks a second, engine unpaced", &|f| whole(&f.chunks_per_s)),
        ("  of the yardstick's", &|f| times(ratio(&f.chunks_per_s, &yard.chunks_per_s))),
        ("CPU µs a chunk, unpaced", &|f| measured(f, &f.rush_us_per_chunk).and_then(|_| fine(&f.rush_us_per_chunk))),
        ("  of the yardstick's", &|f| against(f, |f| &f.rush_us_per_chunk)),
        ("CPU µs a chunk, paced", &|f| measured(f, &f.paced_us_per_chunk).and_then(|_| fine(&f.paced_us_per_chunk))),
        ("  of the yardstick's", &|f| against(f, |f| &f.paced_us_per_chunk)),
        ("one connection: p50", &|f| micros(median(&f.p50_us))),
        ("  p99", &|f| micros(median(&f.p99_us))),
        ("  added to the engine's p50", &|f| micros(added(&f.p50_us, &base.p50_us))),
        ("  added to the engine's p99", &|f| micros(added(&f.p99_us, &base.p99_us))),
        ("paced streams: gap p50", &|f| f.gap_p50_us.map(time)),
        ("  gap p99", &|f| f.gap_p99_us.map(time)),
        ("  gap max", &|f| f.gap_max_us.map(time)),
        ("memory, idle", &|f| Some(f.rss_idle).filter(|v| *v > 0.0).map(bytes)),
        ("  per open idle stream", &|f| f.rss_per_stream.filter(|_| f.rss_idle > 0.0).map(bytes)),
        ("  after the load", &|f| Some(f.rss_loaded).filter(|v| *v > 0.0).map(bytes)),
    ];
    let mut lines = vec![vec![String::new()]];
    lines[0].extend(found.figures.iter().map(|figures| figures.name.clone()));
    for (label, cell) in rows {
        let mut line = vec![label.to_owned()];
        line.extend(found.figures.iter().map(|figures| cell(figures).unwrap_or_else(|| "-".to_owned())));
        lines.push(line);
    }
    let mut last = vec!["answers that failed".to_owned()];
    last.extend(found.figures.iter().map(|figures| figures.failures.to_string()));
    lines.push(last);
    let mut text = report::table(&lines);
    for figures in &found.figures {
        for (what, count) in figures.broken.iter().chain(&figures.refused) {
            text.push_str(&format!("{}: {count} × {what}\n", figures.name));
        }
    }
    text
}

/// Each broker against the budget: the line, and whether it is kept.
#[must_use]
pub fn verdicts(found: &Comparison, budget: &Budget, pace_ms: f64) -> Vec<(String, bool)> {
    let (yard, base) = (found.yard(), found.base());
    let mut lines = Vec::new();
    for own in found.figures.iter().filter(|figures| figures.broker) {
        let mut judge = |what: &str, value: Option<f64>, limit: f64, least: bool, unit: &str| {
            let kept = value.is_some_and(|value| if least { value >= limit } else { value <= limit });
            let word = if kept { "kept" } else { "OVER" };
            let shown = value.map_or_else(|| "not measured".to_owned(), |value| format!("{value:.2}{unit}"));
            let sign = if least { "≥" } else { "≤" };
            lines.push((format!("{word}  {:<10} {what}: {shown}, budget {sign} {limit:.2}{unit}", own.name), kept));
        };
        let cpu = ratio(&own.cpu_us_per_request, &yard.cpu_us_per_request);
        judge("CPU per small answer", cpu, budget.request_ratio, false, "×");
        let rush = ratio(&own.rush_us_per_chunk, &yard.rush_us_per_chunk);
        judge("CPU per chunk, engine unpaced", rush, budget.chunk_ratio, false, "×");
        let paced = ratio(&own.paced_us_per_chunk, &yard.paced_us_per_chunk);
        judge("CPU per chunk, paced", paced, budget.chunk_ratio, false, "×");
        judge("rate", ratio(&own.requests_per_s, &yard.requests_per_s), budget.rate_ratio, true, "×");
        if !own.durable {
            let late = added(&own.p99_us, &base.p99_us);
            judge("added p99 at one connection", late, budget.added_p99_us, false, " µs");
        }
        let mib = 1024.0 * 1024.0;
        judge("memory, idle", Some(own.rss_idle / mib), budget.rss_idle / mib, false, " MiB");
        judge(
            "memory per idle stream",
            own.rss_per_stream.map(|v| v / 1024.0),
            budget.rss_per_stream / 1024.0,
            false,
            " KiB",
        );
        let gap = own.gap_p99_us.map(|gap| gap as f64 / (pace_ms * 1e3));
        judge("gap p99 of paced streams", gap, budget.gap_ratio, false, "× the pace");
        judge("answers that failed", Some(own.failures as f64), 0.0, false, "");
    }
    lines
}

/// Everything, for programs.
#[must_use]
pub fn to_json(found: &Comparison, budget: &Budget) -> serde_json::Value {
    let money: Vec<_> = found
        .money
        .iter()
        .map(|(name, verdict)| {
            json!({
                "target": name, "agrees": verdict.agrees(), "seen_usd": verdict.seen,
                "looked_up_usd": verdict.looked_up, "booked_usd": verdict.booked,
            })
        })
        .collect();
    json!({
        "baseline": found.base().name, "yardstick": found.yard().name, "budget": budget,
        "targets": found.figures, "money": money,
    })
}

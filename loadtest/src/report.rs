//! Numbers for people, and the same numbers for programs.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::json;

use crate::record::{Record, Times};

/// The percentiles every report shows.
const PERCENTS: [f64; 5] = [50.0, 90.0, 99.0, 99.9, 100.0];

/// Lines up cells: the first column to the left, the others to the right.
#[must_use]
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Writing to a String can't fail.
            let _ = if column == 0 { write!(line, "{cell:<width$}") } else { write!(line, "  {cell:>width$}") };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Microseconds as people read them.
#[must_use]
pub fn time(us: u64) -> String {
    match us {
        0..=9_999 => format!("{us} µs"),
        10_000..=9_999_999 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

/// Bytes as people read them.
#[must_use]
pub fn bytes(bytes: f64) -> String {
    if bytes >= 1024.0 * 1024.0 {
        format!("{:.1} MiB", bytes / 1024.0 / 1024.0)
    } else {
        format!("{:.1} KiB", bytes / 1024.0)
    }
}

/// The result of an open-loop run.
#[must_use]
pub fn run(name: &str, record: &Record, seconds: f64) -> String {
    let mut rows = vec![vec![String::new()]];
    rows[0].extend(PERCENTS.map(|percent| if percent < 100.0 { format!("p{percent}") } else { "max".to_owned() }));
    for (label, times) in rows_of(record) {
        if times.count() > 0 {
            let mut row = vec![label.to_owned()];
            row.extend(PERCENTS.map(|percent| time(times.percentile_us(percent))));
            rows.push(row);
        }
    }
    let mut text = format!(
        "{name}: {} answers in {seconds:.1} s, {} whole, {} left by their client, {} chunks\n{}",
        record.answers(),
        record.complete,
        record.left,
        record.chunks,
        table(&rows)
    );
    for (label, counts) in
        [("ended in band", &record.in_band), ("refused", &record.refused), ("BROKEN", &record.broken)]
    {
        for (what, count) in counts {
            let _ = writeln!(text, "{label}: {count} × {what}");
        }
    }
    text
}

/// The same for programs. Times are in microseconds, money a decimal string.
#[must_use]
pub fn run_json(name: &str, record: &Record, seconds: f64) -> serde_json::Value {
    let times: BTreeMap<&str, serde_json::Value> =
        rows_of(record).into_iter().map(|(label, times)| (label, percentiles(times))).collect();
    json!({
        "name": name, "seconds": seconds, "answers": record.answers(), "complete": record.complete,
        "left": record.left, "chunks": record.chunks, "in_band": record.in_band, "refused": record.refused,
        "broken": record.broken, "cost_usd": record.cost, "times_us": times,
    })
}

fn rows_of(record: &Record) -> [(&'static str, &Times); 4] {
    [
        ("first chunk", &record.first),
        ("between chunks", &record.gaps),
        ("whole answer", &record.total),
        ("sent late by", &record.sent),
    ]
}

fn percentiles(times: &Times) -> serde_json::Value {
    let named = PERCENTS.map(|percent| (format!("p{percent}"), times.percentile_us(percent)));
    let mut all: BTreeMap<String, u64> = named.into_iter().collect();
    all.insert("count".to_owned(), times.count());
    json!(all)
}

//! What the writer says of its flushes, kept until it is asked for.

use std::sync::{Arc, LazyLock};

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use parking_lot::Mutex;

/// Every value of one measure.
#[derive(Default)]
struct Values(Mutex<Vec<f64>>);

impl HistogramFn for Values {
    fn record(&self, value: f64) {
        self.0.lock().push(value);
    }
}

static ROWS: LazyLock<Arc<Values>> = LazyLock::new(Arc::default);
static SECONDS: LazyLock<Arc<Values>> = LazyLock::new(Arc::default);

/// Flushes since the last look.
pub struct Flushes {
    /// How long half of them took at most, in milliseconds.
    pub p50_ms: f64,
    /// And all but one in a hundred.
    pub p99_ms: f64,
    /// Rows of one, on average.
    pub rows: f64,
}

/// Takes in what the writer measures; everything else that is measured is let go.
pub fn listen() {
    metrics::set_global_recorder(Ears).expect("nobody else listens in this process");
}

/// What was heard since the last call.
#[allow(clippy::cast_precision_loss)]
pub fn take() -> Flushes {
    let (rows, mut seconds) = (std::mem::take(&mut *ROWS.0.lock()), std::mem::take(&mut *SECONDS.0.lock()));
    seconds.sort_by(f64::total_cmp);
    let at = |share: usize| seconds.get((seconds.len() * share / 100).min(seconds.len().saturating_sub(1)));
    let ms = |share| at(share).map_or(0.0, |seconds| seconds * 1_000.0);
    Flushes { p50_ms: ms(50), p99_ms: ms(99), rows: rows.iter().sum::<f64>() / rows.len().max(1) as f64 }
}

struct Ears;

impl Recorder for Ears {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        match key.name() {
            "steelyard_billing_settle_rows" => Histogram::from_arc(Arc::clone(&*ROWS)),
            "steelyard_billing_settle_seconds" => Histogram::from_arc(Arc::clone(&*SECONDS)),
            _ => Histogram::noop(),
        }
    }
}

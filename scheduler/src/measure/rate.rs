//! How soon an idle engine begins, and how fast it reads a prompt.

use std::time::Duration;

use protocol::Timestamp;

/// Prompts shorter than this say more about the base than about the reading rate.
const LONG_PROMPT: u32 = 1_000;
/// Reading rates kept: the p90 of the last 32, so that old ones fade as new ones come.
const KEPT: usize = 32;
/// The least base of this long counts, so that a machine that got slower is seen to.
const WINDOW: Duration = Duration::from_secs(300);
/// Slowest and fastest rates believed, in tokens per second.
const RATE_BOUNDS: (f64, f64) = (10.0, 1e6);

/// Base latency and reading rate of one offer.
#[derive(Debug, Clone)]
pub struct Rate {
    prior_base_s: f64,
    rate: f64,
    rates: Vec<f64>,
    next: usize,
    /// Least base of this window and of the one before.
    least: [Option<f64>; 2],
    window_start: Timestamp,
}

impl Rate {
    /// Believes the priors until something was seen.
    #[must_use]
    pub fn new(base_s: f64, tokens_per_s: f64) -> Self {
        Self {
            prior_base_s: base_s,
            rate: tokens_per_s,
            rates: Vec::new(),
            next: 0,
            least: [None; 2],
            window_start: Timestamp::EPOCH,
        }
    }

    /// Seconds to the first token of an empty prompt: the least seen in the last windows.
    #[must_use]
    pub fn base_s(&self) -> f64 {
        self.least.iter().flatten().copied().reduce(f64::min).unwrap_or(self.prior_base_s)
    }

    /// Prompt tokens read per second.
    #[must_use]
    pub const fn prefill_tokens_per_s(&self) -> f64 {
        self.rate
    }

    /// Takes the time to the first content of a prompt read by a near-idle engine.
    pub fn record(&mut self, uncached_tokens: u32, first_s: f64, at: Timestamp) {
        let tokens = f64::from(uncached_tokens);
        if uncached_tokens < LONG_PROMPT {
            self.record_base((first_s - tokens / self.rate).max(0.001), at);
            return;
        }
        let reading_s = first_s - self.base_s();
        // A time at or under the base says nothing about the rate but that it is beyond measuring.
        let rate = if reading_s > 0.0 { tokens / reading_s } else { RATE_BOUNDS.1 };
        let rate = rate.clamp(RATE_BOUNDS.0, RATE_BOUNDS.1);
        if self.rates.len() < KEPT {
            self.rates.push(rate);
        } else {
            self.rates[self.next % KEPT] = rate;
        }
        self.next += 1;
        let mut sorted = self.rates.clone();
        sorted.sort_by(f64::total_cmp);
        self.rate = sorted[(sorted.len() - 1) * 9 / 10];
    }

    fn record_base(&mut self, base_s: f64, at: Timestamp) {
        if at.since(self.window_start) >= WINDOW {
            self.least = [None, self.least[0]];
            self.window_start = at;
        }
        self.least[0] = Some(self.least[0].map_or(base_s, |least| least.min(base_s)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_got_slower_is_seen_to_within_two_windows() {
        let at = |s: i64| Timestamp::from_unix_seconds(1_000 + s);
        let mut rate = Rate::new(0.3, 1e6);
        rate.record(1, 0.1, at(0));
        rate.record(1, 0.5, at(10));
        assert!((rate.base_s() - 0.1).abs() < 0.01);
        rate.record(1, 0.5, at(301));
        rate.record(1, 0.5, at(602));
        assert!((rate.base_s() - 0.5).abs() < 0.01);
    }

    #[test]
    fn an_impossible_time_stays_within_bounds() {
        let mut rate = Rate::new(0.3, 2_000.0);
        rate.record(5_000, 0.0, Timestamp::EPOCH);
        assert!(rate.prefill_tokens_per_s() <= RATE_BOUNDS.1);
        rate.record(5_000, 1e9, Timestamp::EPOCH);
        assert!(rate.prefill_tokens_per_s() >= RATE_BOUNDS.0);
    }
}

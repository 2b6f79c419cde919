//! How far predictions of the first token were off: κ, their decayed ratio, and σ, their spread.

use protocol::Timestamp;

/// What was seen counts half after this long.
const HALF_LIFE_S: f64 = 600.0;
/// Each new observation also takes this share off the older ones, so that twenty suffice to learn
/// that a node under-reports its queue, however quiet it was.
const KEEP: f64 = 0.9;
/// Weight of "predictions are right", in observations.
const PRIOR_WEIGHT: f64 = 3.0;
/// Spread believed at first: half to double is ordinary.
const PRIOR_SIGMA: f64 = 0.5;
/// Bounds of κ: beyond them a machine is no worse or better to choose.
const KAPPA_BOUNDS: (f64, f64) = (0.1, 50.0);

/// Prediction errors of one offer.
#[derive(Debug, Clone)]
pub struct Residual {
    seen_s: f64,
    predicted_s: f64,
    weight: f64,
    logs: f64,
    squares: f64,
    last: Option<Timestamp>,
}

impl Default for Residual {
    fn default() -> Self {
        Self::new()
    }
}

impl Residual {
    /// Predictions count as right until seen otherwise.
    #[must_use]
    pub const fn new() -> Self {
        Self { seen_s: 0.0, predicted_s: 0.0, weight: 0.0, logs: 0.0, squares: 0.0, last: None }
    }

    /// Takes one first token, seen against predicted, both in seconds.
    pub fn record(&mut self, seen_s: f64, predicted_s: f64, at: Timestamp) {
        let (seen_s, predicted_s) = (seen_s.max(1e-4), predicted_s.max(1e-4));
        let aged_s = self.last.map_or(0.0, |last| at.since(last).as_secs_f64());
        self.last = Some(at);
        let keep = KEEP * libm::exp2(-aged_s / HALF_LIFE_S);
        for sum in [&mut self.seen_s, &mut self.predicted_s, &mut self.weight, &mut self.logs, &mut self.squares] {
            *sum *= keep;
        }
        let log = libm::log(seen_s / predicted_s);
        self.seen_s += seen_s;
        self.predicted_s += predicted_s;
        self.weight += 1.0;
        self.logs += log;
        self.squares += log * log;
    }

    /// Seen over predicted, drawn to one by the prior.
    #[must_use]
    pub fn kappa(&self) -> f64 {
        if self.weight <= 0.0 {
            return 1.0;
        }
        // The prior holds a few predictions of mean size that came true.
        let prior_s = PRIOR_WEIGHT * self.predicted_s / self.weight * libm::exp(-self.weight / PRIOR_WEIGHT);
        let ratio = (self.seen_s + prior_s) / (self.predicted_s + prior_s);
        ratio.clamp(KAPPA_BOUNDS.0, KAPPA_BOUNDS.1)
    }

    /// Standard deviation of ln(seen ÷ predicted).
    #[must_use]
    pub fn sigma(&self) -> f64 {
        let mean = self.logs / (self.weight + PRIOR_WEIGHT);
        let square = (self.squares + PRIOR_WEIGHT * PRIOR_SIGMA * PRIOR_SIGMA) / (self.weight + PRIOR_WEIGHT);
        (square - mean * mean).max(0.01).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_hides_its_queue_pays_within_twenty_requests() {
        let mut residual = Residual::new();
        (0..100).for_each(|s| residual.record(0.5, 0.5, Timestamp::from_unix_seconds(s)));
        assert!((residual.kappa() - 1.0).abs() < 0.01);
        (100..120).for_each(|s| residual.record(2.0, 0.5, Timestamp::from_unix_seconds(s)));
        assert!(residual.kappa() > 3.0, "{}", residual.kappa());
    }

    #[test]
    fn an_hour_forgets() {
        let mut residual = Residual::new();
        (0..50).for_each(|s| residual.record(5.0, 0.5, Timestamp::from_unix_seconds(s)));
        residual.record(0.5, 0.5, Timestamp::from_unix_seconds(3_700));
        assert!(residual.kappa() < 2.0, "{}", residual.kappa());
    }

    #[test]
    fn nothing_seen_is_nothing_wrong() {
        assert_eq!(Residual::new().kappa(), 1.0);
        assert!((Residual::new().sigma() - PRIOR_SIGMA).abs() < 1e-12);
    }
}

//! Seconds per output token as a line over concurrency, by decayed least squares.

use std::time::Duration;

/// Share of its weight an observation keeps when the next one comes: about the last hundred count.
const KEEP: f64 = 0.99;
/// Weight of the prior, in observations: two points on the prior's line hold it in place until
/// concurrency has varied.
const PRIOR_WEIGHT: f64 = 0.5;
/// Fastest token believed, in seconds.
const LEAST_S: f64 = 1e-5;
/// Longest silences kept.
const GAPS: usize = 32;
/// Silence assumed ordinary before any was seen, in seconds.
const PRIOR_GAP_S: f64 = 0.5;

/// TPOT = alone + step · concurrency, of one offer.
#[derive(Debug, Clone)]
pub struct Tpot {
    weight: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
    alone_s: f64,
    step_s: f64,
    gaps: Vec<f64>,
    next: usize,
    gap_s: f64,
}

impl Tpot {
    /// Believes the priors until something was seen.
    #[must_use]
    pub fn new(alone_s: f64, step_s: f64) -> Self {
        let mut own = Self {
            weight: 0.0,
            x: 0.0,
            y: 0.0,
            xx: 0.0,
            xy: 0.0,
            alone_s,
            step_s,
            gaps: Vec::new(),
            next: 0,
            gap_s: PRIOR_GAP_S,
        };
        own.add(1.0, alone_s + step_s, PRIOR_WEIGHT);
        own.add(8.0, alone_s + 8.0 * step_s, PRIOR_WEIGHT);
        own
    }

    /// Seconds per token alone.
    #[must_use]
    pub const fn alone_s(&self) -> f64 {
        self.alone_s
    }

    /// Seconds per token each further request adds.
    #[must_use]
    pub const fn step_s(&self) -> f64 {
        self.step_s
    }

    /// A long but ordinary silence: the p90 of answers' longest gaps.
    #[must_use]
    pub const fn gap_s(&self) -> f64 {
        self.gap_s
    }

    /// Takes the mean time per token of one answer made beside `concurrency − 1` others.
    pub fn record(&mut self, concurrency: f64, per_token_s: f64, longest_gap: Duration) {
        for sum in [&mut self.weight, &mut self.x, &mut self.y, &mut self.xx, &mut self.xy] {
            *sum *= KEEP;
        }
        self.add(concurrency, per_token_s.max(LEAST_S), 1.0);
        self.fit();
        let gap = longest_gap.as_secs_f64();
        if self.gaps.len() < GAPS {
            self.gaps.push(gap);
        } else {
            self.gaps[self.next % GAPS] = gap;
        }
        self.next += 1;
        let mut sorted = self.gaps.clone();
        sorted.sort_by(f64::total_cmp);
        self.gap_s = sorted[(sorted.len() - 1) * 9 / 10];
    }

    fn add(&mut self, x: f64, y: f64, weight: f64) {
        self.weight += weight;
        self.x += weight * x;
        self.y += weight * y;
        self.xx += weight * x * x;
        self.xy += weight * x * y;
    }

    fn fit(&mut self) {
        let spread = self.weight * self.xx - self.x * self.x;
        let slope = if spread > 1e-9 { (self.weight * self.xy - self.x * self.y) / spread } else { 0.0 };
        // More company never makes an engine faster: a negative slope is noise.
        self.step_s = slope.max(0.0);
        self.alone_s = ((self.y - self.step_s * self.x) / self.weight).max(LEAST_S);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_falling_line_is_flattened() {
        let mut tpot = Tpot::new(0.03, 0.002);
        for n in 1..100 {
            tpot.record(f64::from(n % 8 + 1), 0.1 / f64::from(n % 8 + 1), Duration::ZERO);
        }
        assert_eq!(tpot.step_s(), 0.0);
        assert!(tpot.alone_s() > 0.0);
    }

    #[test]
    fn one_concurrency_alone_still_gives_a_line_through_it() {
        let mut tpot = Tpot::new(0.03, 0.002);
        (0..300).for_each(|_| tpot.record(4.0, 0.05, Duration::from_millis(120)));
        assert!((tpot.alone_s() + 4.0 * tpot.step_s() - 0.05).abs() < 0.002);
        assert!((tpot.gap_s() - 0.12).abs() < 1e-9);
    }
}

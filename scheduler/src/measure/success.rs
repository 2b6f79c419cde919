//! How often an offer answers: a posterior for placement, and the plain share shown as uptime.

/// Share of its weight an observation keeps when the next one comes: about the last two hundred count.
const KEEP: f64 = 0.995;
/// Weight of the prior, in observations.
const PRIOR_WEIGHT: f64 = 4.0;

/// Prompts of a similar size: what fits easily and what does not fail differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeClass {
    /// Under 2,048 tokens.
    Small,
    /// Under 16,384 tokens.
    Medium,
    /// The rest.
    Large,
}

impl SizeClass {
    /// How many there are.
    pub const COUNT: usize = 3;

    /// The class of a prompt.
    #[must_use]
    pub const fn of(tokens: u32) -> Self {
        match tokens {
            0..2_048 => Self::Small,
            2_048..16_384 => Self::Medium,
            _ => Self::Large,
        }
    }
}

/// Successes and failures of one offer.
#[derive(Debug, Clone)]
pub struct Success {
    prior: f64,
    good: [f64; SizeClass::COUNT],
    bad: [f64; SizeClass::COUNT],
    decayed_good: f64,
    decayed_all: f64,
    counted: u32,
}

impl Success {
    /// Believes `prior` until something was seen.
    #[must_use]
    pub const fn new(prior: f64) -> Self {
        Self {
            prior,
            good: [0.0; SizeClass::COUNT],
            bad: [0.0; SizeClass::COUNT],
            decayed_good: 0.0,
            decayed_all: 0.0,
            counted: 0,
        }
    }

    /// Takes one attempt that counts for or against the node.
    pub fn record(&mut self, class: SizeClass, good: bool) {
        let at = class as usize;
        self.good[at] *= KEEP;
        self.bad[at] *= KEEP;
        let side = if good { &mut self.good[at] } else { &mut self.bad[at] };
        *side += 1.0;
        self.decayed_good = self.decayed_good * KEEP + if good { 1.0 } else { 0.0 };
        self.decayed_all = self.decayed_all * KEEP + 1.0;
        self.counted = self.counted.saturating_add(1);
    }

    /// Posterior mean by size class.
    #[must_use]
    pub fn means(&self) -> [f64; SizeClass::COUNT] {
        std::array::from_fn(|at| {
            let (good, bad) = (self.good[at], self.bad[at]);
            (good + PRIOR_WEIGHT * self.prior) / (good + bad + PRIOR_WEIGHT)
        })
    }

    /// Share of good ones, one when nothing was seen, and how many were counted in all.
    #[must_use]
    pub fn uptime(&self) -> (f64, u32) {
        let share = if self.decayed_all > 0.0 { self.decayed_good / self.decayed_all } else { 1.0 };
        (share, self.counted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failing_large_prompts_says_little_about_small_ones() {
        let mut success = Success::new(0.97);
        (0..50).for_each(|_| success.record(SizeClass::Large, false));
        let [small, _, large] = success.means();
        assert!((small - 0.97).abs() < 1e-9 && large < 0.1);
        assert_eq!(success.uptime(), (0.0, 50));
    }
}

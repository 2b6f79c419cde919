//! When requests are meant to start. Fixed before the run by the seed alone, so a slow server
//! changes what is measured and never what is asked of it.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

/// How requests are spread over time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Spread {
    /// Evenly: the kindest load there is.
    Constant {
        /// Requests a second.
        rate_per_s: f64,
    },
    /// Independent clients.
    Poisson {
        /// Requests a second, in the long run.
        rate_per_s: f64,
    },
    /// Bursts and lulls: gaps are gamma distributed.
    Gamma {
        /// Requests a second, in the long run.
        rate_per_s: f64,
        /// Standard deviation of the gaps over their mean. 1 is Poisson; recorded traffic has up to 13.
        cv: f64,
    },
}

impl Spread {
    /// Requests a second, in the long run.
    #[must_use]
    pub const fn rate_per_s(&self) -> f64 {
        match *self {
            Self::Constant { rate_per_s } | Self::Poisson { rate_per_s } | Self::Gamma { rate_per_s, .. } => rate_per_s,
        }
    }

    /// What is wrong with the numbers, if anything.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        let rate = self.rate_per_s();
        if !rate.is_finite() || rate <= 0.0 || rate > 1e6 {
            return Some("arrivals.rate_per_s: above zero and at most 1000000");
        }
        match self {
            Self::Gamma { cv, .. } if !(0.05..=20.0).contains(cv) => Some("arrivals.cv: between 0.05 and 20"),
            _ => None,
        }
    }
}

/// Start times as offsets from the start of the run, without end, never falling.
#[derive(Debug)]
pub struct Arrivals {
    spread: Spread,
    rng: StdRng,
    sent: u64,
    at_s: f64,
}

impl Arrivals {
    /// The same spread and seed always give the same times.
    #[must_use]
    pub fn new(spread: Spread, seed: u64) -> Self {
        Self { spread, rng: StdRng::seed_from_u64(seed), sent: 0, at_s: 0.0 }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.sent += 1;
        self.at_s = match self.spread {
            // From the count, not by adding up: a million small roundings would drift.
            Spread::Constant { rate_per_s } => self.sent as f64 / rate_per_s,
            Spread::Poisson { rate_per_s } => self.at_s + exponential(&mut self.rng) / rate_per_s,
            Spread::Gamma { rate_per_s, cv } => {
                let shape = 1.0 / (cv * cv);
                self.at_s + gamma(&mut self.rng, shape) / (shape * rate_per_s)
            }
        };
        Some(Duration::from_secs_f64(self.at_s))
    }
}

/// An exponential draw with mean 1.
fn exponential(rng: &mut StdRng) -> f64 {
    // `random` is in [0, 1), so the logarithm is finite.
    -(1.0 - rng.random::<f64>()).ln()
}

/// A standard normal draw (Box and Muller).
pub(crate) fn normal(rng: &mut StdRng) -> f64 {
    let radius = (2.0 * exponential(rng)).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

/// A gamma draw with scale 1, so mean `shape` (Marsaglia and Tsang, with the boost for shapes below 1).
fn gamma(rng: &mut StdRng, shape: f64) -> f64 {
    if shape < 1.0 {
        let boost = (1.0 - rng.random::<f64>()).powf(1.0 / shape);
        return gamma(rng, shape + 1.0) * boost;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(rng);
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && (1.0 - rng.random::<f64>()).ln() < 0.5 * x * x + d * (1.0 - v + v.ln()) {
            return d * v;
        }
    }
}

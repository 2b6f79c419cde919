//! The expected cost of serving an ask on an offer, in nano-dollars.
//!
//! An estimate only: floats through `libm`, so it is bit-identical everywhere. Bills never use it.

use protocol::Prices;
use serde::Serialize;

use crate::ask::{Ask, Sort};
use crate::measure::Estimate;
use crate::measure::success::SizeClass;
use crate::pool::node_live::NodeView;
use crate::pool::snapshot::ModelPool;

/// The least price an ask is scaled by: 10 µUSD. Free models have seconds worth something too.
const LEAST_SCALE_NANO: f64 = 10_000.0;
/// Seconds until a failure before the first content is noticed, on average.
const NOTICE_S: f64 = 1.0;
/// A user's preference multiplies the worth of its seconds by this.
const SORTED: f64 = 20.0;

/// What one ask is worth per second, and the scale of every term that is not money.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Worth {
    /// p̃: price of this ask at the model's median offer, in nano-dollars.
    pub scale_nano: f64,
    /// Nano-dollars per second to the first content.
    pub first_content: f64,
    /// Nano-dollars per output second.
    pub output: f64,
}

impl Worth {
    /// Of this ask among these offers.
    #[must_use]
    pub fn new(pool: &ModelPool, ask: &Ask) -> Self {
        let scale_nano = price_nano(&pool.median_prices, ask).max(LEAST_SCALE_NANO);
        let (first, output) = ask.tier.worth_per_s();
        let (first, output) = match ask.provider.sort {
            None => (first, output),
            Some(Sort::Price) => (0.0, 0.0),
            Some(Sort::Latency) => (first * SORTED, output),
            Some(Sort::Throughput) => (first, output * SORTED),
        };
        Self { scale_nano, first_content: first * scale_nano, output: output * scale_nano }
    }
}

/// What is predicted of an offer for one ask.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Predicted {
    /// Seconds to the first content.
    pub first_content_s: f64,
    /// The same before the correction κ: what κ is measured against.
    pub uncorrected_s: f64,
    /// Seconds per output token.
    pub tpot_s: f64,
    /// Chance that the attempt fails.
    pub failure: f64,
}

impl Predicted {
    /// From measurements and load. `cached` is the share of the prompt expected in the node's cache.
    #[must_use]
    pub fn new(estimate: &Estimate, view: &NodeView, ask: &Ask, cached: f64) -> Self {
        let uncached = (1.0 - cached) * f64::from(ask.prompt_tokens);
        let uncorrected_s = estimate.first_content_s(view.queued_tokens as f64, uncached);
        let first_content_s = estimate.kappa * uncorrected_s;
        let tpot_s = estimate.tpot_at(f64::from(view.running));
        let lasts_s = first_content_s + f64::from(ask.output()) * tpot_s;
        let success = estimate.success[SizeClass::of(ask.prompt_tokens) as usize];
        let failure = 1.0 - success * libm::exp(-lasts_s / estimate.life_s);
        Self { first_content_s, uncorrected_s, tpot_s, failure }
    }
}

/// The terms of the cost, in nano-dollars.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Cost {
    /// What the user would pay.
    pub price: f64,
    /// Worth of the seconds to the first content.
    pub first_content: f64,
    /// Worth of the seconds of output.
    pub output: f64,
    /// Chance of failure times what it costs.
    pub failure: f64,
    /// What an owner with a large share of the model carries extra.
    pub owner: f64,
}

impl Cost {
    /// All terms.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.price + self.first_content + self.output + self.failure + self.owner
    }

    /// Of one offer for one ask.
    #[must_use]
    pub fn new(
        prices: &Prices,
        predicted: &Predicted,
        owner_excess: f64,
        median_first_content_s: f64,
        worth: &Worth,
        ask: &Ask,
    ) -> Self {
        let output_s = f64::from(ask.output()) * predicted.tpot_s;
        let retry = worth.first_content * (NOTICE_S + median_first_content_s);
        // What a user sees break is dearer than a late start.
        let lost = 5.0 * worth.scale_nano + worth.output * output_s / 2.0;
        Self {
            price: price_nano(prices, ask),
            first_content: worth.first_content * predicted.first_content_s,
            output: worth.output * output_s,
            failure: predicted.failure * (retry + lost),
            owner: worth.scale_nano * owner_excess,
        }
    }
}

/// What the ask is expected to cost its user, in nano-dollars, nothing cached.
fn price_nano(prices: &Prices, ask: &Ask) -> f64 {
    let prompt = prices.prompt.pico() as f64 * f64::from(ask.prompt_tokens);
    let output = prices.completion.pico() as f64 * f64::from(ask.output());
    (prompt + output + prices.request.pico() as f64) / 1_000.0
}

/// Chance that the first content comes within `limit_s`, times being log-normal around the prediction.
#[must_use]
pub fn chance_within(limit_s: f64, predicted_s: f64, sigma: f64) -> f64 {
    let z = (libm::log(limit_s.max(1e-9)) - libm::log(predicted_s.max(1e-9))) / sigma.max(1e-3);
    0.5 * libm::erfc(-z / std::f64::consts::SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chance_of_a_prediction_is_a_half() {
        assert!((chance_within(2.0, 2.0, 0.5) - 0.5).abs() < 1e-12);
        assert!(chance_within(4.0, 2.0, 0.5) > 0.9);
        assert!(chance_within(1.0, 2.0, 0.5) < 0.1);
    }
}

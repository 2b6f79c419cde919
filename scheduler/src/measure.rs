//! What the gateway saw of an offer: facts, where a provider's word is only a hint.

pub mod rate;
pub mod residual;
pub mod success;
pub mod tpot;

use std::time::Duration;

use protocol::Timestamp;

use crate::attempt::classify::NodeFault;
use crate::config::Prior;
use rate::Rate;
use residual::Residual;
use success::{SizeClass, Success};
use tpot::Tpot;

/// A failed attempt counts in latency as at least this, so fast errors never look fast.
const FAILED_AT_LEAST: Duration = Duration::from_secs(5);

/// How one attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A whole answer.
    Completed,
    /// The node failed.
    NodeFault(NodeFault),
    /// The node had no room just now: no stain.
    Busy {
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
        /// True when it refused for want of an admission credit.
        credit: bool,
    },
    /// The request itself was refused.
    CallerFault {
        /// The node's status.
        status: u16,
    },
    /// We ended it: the client left, or another attempt won.
    Cancelled,
}

/// What one attempt showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// How it ended.
    pub outcome: Outcome,
    /// When it ended.
    pub at: Timestamp,
    /// From dispatch to end.
    pub elapsed: Duration,
    /// From dispatch to the first real content, if there was any.
    pub first_content: Option<Duration>,
    /// From the first content to the last.
    pub generating: Duration,
    /// The longest silence between two contents.
    pub longest_gap: Duration,
    /// Output tokens relayed.
    pub output_tokens: u32,
    /// It came whole rather than as a stream: when its first content came says nothing of when it was made.
    pub plain: bool,
}

/// The circumstances an attempt was dispatched in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Circumstances {
    /// Prompt tokens not expected in the node's cache.
    pub uncached_tokens: u32,
    /// Tokens queued before it: the node's backlog and what we had sent since.
    pub queued_tokens: u64,
    /// Requests running beside it.
    pub running: u32,
    /// Seconds to the first content as predicted, before the correction κ.
    pub predicted_first_s: f64,
}

/// What is believed of an offer just now. Copied out as a whole, so no reader sees half an update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Seconds to the first token of an empty prompt.
    pub base_s: f64,
    /// Prompt tokens read per second on an idle engine.
    pub prefill_tokens_per_s: f64,
    /// Seconds per output token, alone.
    pub tpot_s: f64,
    /// Seconds per output token added by each other request.
    pub tpot_step_s: f64,
    /// Seen over predicted time to the first token.
    pub kappa: f64,
    /// Standard deviation of the logarithm of that ratio.
    pub sigma: f64,
    /// A long but ordinary silence between tokens, in seconds.
    pub gap_s: f64,
    /// Mean share of successes, by size of the prompt.
    pub success: [f64; SizeClass::COUNT],
    /// Share of good answers among those that count against a node, and how many those were.
    pub uptime: f64,
    /// Attempts that count against a node or for it.
    pub counted: u32,
    /// Mean seconds until such a node leaves.
    pub life_s: f64,
}

impl Estimate {
    /// What is believed before anything was seen.
    #[must_use]
    pub fn prior(prior: &Prior) -> Self {
        Measure::new(prior).estimate()
    }

    /// Seconds to the first content, before the correction κ: queue and prompt are read at the peak rate.
    #[must_use]
    pub fn first_content_s(&self, queued_tokens: f64, uncached_tokens: f64) -> f64 {
        self.base_s + (queued_tokens + uncached_tokens) / self.prefill_tokens_per_s
    }

    /// Seconds per output token beside `running` other requests.
    #[must_use]
    pub fn tpot_at(&self, running: f64) -> f64 {
        self.tpot_s + self.tpot_step_s * (running + 1.0)
    }
}

/// Everything measured about one offer under one engine build.
#[derive(Debug, Clone)]
pub struct Measure {
    rate: Rate,
    tpot: Tpot,
    residual: Residual,
    success: Success,
    life_s: f64,
}

impl Measure {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(prior: &Prior) -> Self {
        Self {
            rate: Rate::new(prior.base_s, prior.prefill_tokens_per_s),
            tpot: Tpot::new(prior.tpot_s, prior.tpot_step_s),
            residual: Residual::new(),
            success: Success::new(prior.success),
            life_s: prior.life_s,
        }
    }

    /// Takes one attempt into account. `pending` is how many others wait on the same offer.
    pub fn observe(&mut self, seen: &Observation, circumstances: &Circumstances, pending: u32) {
        let class = SizeClass::of(circumstances.uncached_tokens);
        match seen.outcome {
            Outcome::Completed => {
                self.success.record(class, true);
                if seen.plain {
                    return;
                }
                if let Some(first) = seen.first_content {
                    self.first_content(first, seen.at, circumstances);
                }
                if seen.output_tokens >= 2 {
                    let per_token = seen.generating.as_secs_f64() / f64::from(seen.output_tokens - 1);
                    self.tpot.record(f64::from(circumstances.running) + 1.0, per_token, seen.longest_gap);
                }
            }
            Outcome::NodeFault(_) => {
                self.success.record(class, false);
                let felt = (seen.elapsed * (pending + 1)).max(FAILED_AT_LEAST);
                self.residual.record(felt.as_secs_f64(), circumstances.predicted_first_s, seen.at);
            }
            // Nothing about the machine was learned.
            Outcome::Busy { .. } | Outcome::CallerFault { .. } | Outcome::Cancelled => {}
        }
    }

    /// What is believed now.
    #[must_use]
    pub fn estimate(&self) -> Estimate {
        let (uptime, counted) = self.success.uptime();
        Estimate {
            base_s: self.rate.base_s(),
            prefill_tokens_per_s: self.rate.prefill_tokens_per_s(),
            tpot_s: self.tpot.alone_s(),
            tpot_step_s: self.tpot.step_s(),
            kappa: self.residual.kappa(),
            sigma: self.residual.sigma(),
            gap_s: self.tpot.gap_s(),
            success: self.success.means(),
            uptime,
            counted,
            life_s: self.life_s,
        }
    }

    fn first_content(&mut self, first: Duration, at: Timestamp, circumstances: &Circumstances) {
        let first = first.as_secs_f64();
        self.residual.record(first, circumstances.predicted_first_s, at);
        // Queueing behind others is neither base nor speed.
        if circumstances.queued_tokens == 0 && circumstances.running <= 1 {
            self.rate.record(circumstances.uncached_tokens, first, at);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn observation(outcome: Outcome, elapsed_ms: u64, at_s: i64) -> Observation {
        Observation {
            outcome,
            at: Timestamp::from_unix_seconds(at_s),
            elapsed: Duration::from_millis(elapsed_ms),
            first_content: None,
            generating: Duration::ZERO,
            longest_gap: Duration::ZERO,
            output_tokens: 0,
            plain: false,
        }
    }

    fn circumstances() -> Circumstances {
        Circumstances { uncached_tokens: 100, queued_tokens: 0, running: 0, predicted_first_s: 0.35 }
    }

    #[test]
    fn fast_errors_do_not_look_fast() {
        let mut measure = Measure::new(&Prior::default());
        let before = measure.estimate();
        for second in 0..20 {
            measure.observe(&observation(Outcome::NodeFault(NodeFault::Refused), 2, second), &circumstances(), 3);
        }
        let after = measure.estimate();
        assert!(after.kappa > 3.0 * before.kappa, "{}", after.kappa);
        assert_eq!(after.prefill_tokens_per_s, before.prefill_tokens_per_s);
        assert_eq!(after.tpot_s, before.tpot_s);
        assert!(after.success[0] < 0.5 && after.uptime == 0.0);
    }

    #[test]
    fn busy_and_callers_faults_leave_no_stain() {
        let mut measure = Measure::new(&Prior::default());
        let before = measure.estimate();
        for outcome in [
            Outcome::Busy { retry_after: None, credit: true },
            Outcome::CallerFault { status: 400 },
            Outcome::Cancelled,
        ] {
            measure.observe(&observation(outcome, 1, 1), &circumstances(), 0);
        }
        assert_eq!(measure.estimate(), before);
    }

    #[test]
    fn a_plain_answer_teaches_neither_its_first_token_nor_its_pace() {
        let mut measure = Measure::new(&Prior::default());
        let before = measure.estimate();
        let whole = Observation {
            first_content: Some(Duration::from_secs(9)),
            output_tokens: 200,
            plain: true,
            ..observation(Outcome::Completed, 9_000, 1)
        };
        (0..20).for_each(|_| measure.observe(&whole, &circumstances(), 0));
        let after = measure.estimate();
        assert_eq!((after.counted, after.uptime), (20, 1.0), "that it succeeded counts");
        let learned = |estimate: Estimate| (estimate.kappa, estimate.sigma, estimate.base_s, estimate.tpot_s);
        assert_eq!(learned(after), learned(before));
    }

    #[test]
    fn a_machine_is_learned_from_what_it_did() {
        let mut measure = Measure::new(&Prior::default());
        let (base, rate, alone, step) = (0.1, 8_000.0, 0.01, 0.001);
        for n in 0..200_u32 {
            let (tokens, running) = (if n % 2 == 0 { 4_000 } else { 50 }, n % 8);
            let first = base + f64::from(tokens) / rate;
            let per_token = alone + step * (f64::from(running) + 1.0);
            let seen = Observation {
                first_content: Some(Duration::from_secs_f64(first)),
                generating: Duration::from_secs_f64(per_token * 99.0),
                longest_gap: Duration::from_millis(80),
                output_tokens: 100,
                ..observation(Outcome::Completed, 5_000, i64::from(n))
            };
            let about = Circumstances { uncached_tokens: tokens, running, predicted_first_s: first, ..circumstances() };
            measure.observe(&seen, &about, 0);
        }
        let learned = measure.estimate();
        let near = |seen: f64, truth: f64, by: f64| assert!((seen / truth - 1.0).abs() < by, "{seen} for {truth}");
        near(learned.base_s, base, 0.1);
        near(learned.prefill_tokens_per_s, rate, 0.1);
        near(learned.tpot_s, alone, 0.15);
        near(learned.tpot_step_s, step, 0.3);
        near(learned.kappa, 1.0, 0.1);
        assert!(learned.success[0] > 0.98);
    }
}

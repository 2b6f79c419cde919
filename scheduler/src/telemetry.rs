//! Numbers about placement and attempts, for `/metrics`. Every handle is looked up once: on the hot path
//! counting is an addition.

use std::sync::LazyLock;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::ask::ServiceTier;
use crate::availability::Constraint;
use crate::measure::Outcome;
use crate::place::{Decision, Why};

/// One decision in this many is timed: reading the clock twice costs a tenth of a quick one.
pub(crate) const TIMED_ONE_IN: u32 = 16;

/// Ends of an attempt, as [`name`] has them.
const ENDS: [&str; 17] = [
    "completed",
    "busy",
    "no_credit",
    "caller",
    "cancelled",
    "connect_timeout",
    "refused",
    "reset",
    "first_content_timeout",
    "gap_timeout",
    "total_timeout",
    "status",
    "malformed",
    "truncated",
    "in_band_error",
    "empty",
    "disagreed",
];

/// All handles. The recorder must be installed before they are first used; without one they count nowhere.
pub(crate) struct Telemetry {
    placed: Counter,
    waited: Counter,
    refused: Counter,
    candidates: Counter,
    exclusions: [Counter; Constraint::COUNT],
    pub(crate) decision: Histogram,
    attempts: [Counter; ENDS.len()],
    /// Dispatches a node had granted no credit for, which should never be.
    pub(crate) credits_refused: Counter,
    /// Times that counters had come apart and were restated.
    pub(crate) credits_restated: Counter,
    first_content: Histogram,
    first_content_error: Histogram,
    /// Offers whose breaker is not closed.
    pub(crate) breakers_out: Gauge,
    /// Asks that wait for room.
    pub(crate) waiting: Gauge,
    waits: [Histogram; 3],
}

static TELEMETRY: LazyLock<Telemetry> = LazyLock::new(Telemetry::new);

/// The process's own.
pub(crate) fn telemetry() -> &'static Telemetry {
    &TELEMETRY
}

impl Telemetry {
    fn new() -> Self {
        let decision = |outcome| counter!("steelyard_scheduler_decisions_total", "outcome" => outcome);
        let wait = |tier| histogram!("steelyard_scheduler_room_wait_seconds", "tier" => tier);
        Self {
            placed: decision("place"),
            waited: decision("wait"),
            refused: decision("refuse"),
            candidates: counter!("steelyard_scheduler_candidates_total"),
            exclusions: Constraint::ALL
                .map(|step| counter!("steelyard_scheduler_exclusions_total", "constraint" => step.name())),
            decision: histogram!("steelyard_scheduler_decision_seconds"),
            attempts: ENDS.map(|end| counter!("steelyard_scheduler_attempts_total", "outcome" => end)),
            credits_refused: counter!("steelyard_scheduler_credits_refused_total"),
            credits_restated: counter!("steelyard_scheduler_credits_restated_total"),
            first_content: histogram!("steelyard_scheduler_first_content_seconds"),
            first_content_error: histogram!("steelyard_scheduler_first_content_error_seconds"),
            breakers_out: gauge!("steelyard_scheduler_breakers_out"),
            waiting: gauge!("steelyard_scheduler_room_waiting"),
            waits: ["flex", "default", "priority"].map(wait),
        }
    }

    /// A decision was made.
    pub(crate) fn decided(&self, decision: &Decision) {
        let (outcome, why): (_, &Why) = match decision {
            Decision::Place { why, .. } => (&self.placed, why),
            Decision::Wait { why, .. } => (&self.waited, why),
            Decision::Refuse { why, .. } => (&self.refused, why),
        };
        outcome.increment(1);
        self.candidates.increment(why.candidates.into());
        for (constraint, count) in why.exclusions.iter() {
            self.exclusions[constraint as usize].increment(count.into());
        }
    }

    /// An attempt ended.
    pub(crate) fn ended(&self, outcome: &Outcome) {
        let name = name(outcome);
        if let Some(at) = ENDS.iter().position(|end| *end == name) {
            self.attempts[at].increment(1);
        }
    }

    /// A first token came, this long after its dispatch, where another time had been predicted.
    pub(crate) fn first_content(&self, seen: Duration, predicted_s: f64) {
        self.first_content.record(seen);
        self.first_content_error.record((seen.as_secs_f64() - predicted_s).abs());
    }

    /// An ask left its room, with or without a place.
    pub(crate) fn waited(&self, tier: ServiceTier, wait: Duration) {
        let tier = match tier {
            ServiceTier::Flex => 0,
            ServiceTier::Default => 1,
            ServiceTier::Priority => 2,
        };
        self.waits[tier].record(wait);
    }
}

const fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::Busy { credit: false, .. } => "busy",
        Outcome::Busy { credit: true, .. } => "no_credit",
        Outcome::CallerFault { .. } => "caller",
        Outcome::Cancelled => "cancelled",
        Outcome::NodeFault(fault) => fault.name(),
    }
}

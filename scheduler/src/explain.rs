//! Why an ask was placed where it was, in words for its user.

use serde::Serialize;

use crate::attempt::Record;
use crate::measure::Outcome;
use crate::place::cost::{Cost, Predicted};
use crate::place::{Placed, Why};

/// The routing record a user may ask for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// Offers of the model.
    pub offers: u32,
    /// Left by the demands of the request.
    pub eligible: u32,
    /// Demands and conditions that removed offers, with how many.
    pub excluded: Vec<Excluded>,
    /// The winner and who came next, with the terms of their cost in nano-dollars.
    pub candidates: Vec<Considered>,
    /// What became of the attempts.
    pub attempts: Vec<Attempted>,
}

/// One reason and its count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Excluded {
    /// Which demand or condition.
    pub by: &'static str,
    /// How many offers.
    pub count: u32,
}

/// One offer whose cost was worked out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Considered {
    /// The provider's short name.
    pub provider: String,
    /// What was expected of it.
    pub predicted: Predicted,
    /// The terms of its cost.
    pub cost: Cost,
    /// Their sum.
    pub total: f64,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attempted {
    /// The provider's short name, where it is still known.
    pub provider: Option<String>,
    /// How it ended.
    pub status: &'static str,
    /// More about it: a fault's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// How long it took.
    pub elapsed_ms: u64,
    /// The broker was to make calls of tools out of its answer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tools_emulated: bool,
    /// When its first content came, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_content_ms: Option<u64>,
}

impl Explanation {
    /// From a decision and what came of it.
    #[must_use]
    pub fn new(why: &Why, offers: &[Placed], records: &[Record]) -> Self {
        let considered = |placed: &Placed| Considered {
            provider: placed.offer.slug().to_owned(),
            predicted: placed.predicted,
            cost: placed.cost,
            total: placed.cost.total(),
        };
        let provider = |record: &Record| {
            offers.iter().find(|placed| placed.offer.id() == record.offer).map(|placed| placed.offer.slug().to_owned())
        };
        let attempted = |record: &Record| {
            let (status, code) = outcome_name(&record.outcome);
            let elapsed_ms = u64::try_from(record.elapsed.as_millis()).unwrap_or(u64::MAX);
            Attempted {
                provider: provider(record),
                status,
                code,
                elapsed_ms,
                tools_emulated: false,
                first_content_ms: None,
            }
        };
        Self {
            offers: why.offers,
            eligible: why.eligible,
            excluded: why.exclusions.iter().map(|(by, count)| Excluded { by: by.name(), count }).collect(),
            candidates: offers.iter().take(2).map(considered).collect(),
            attempts: records.iter().map(attempted).collect(),
        }
    }
}

/// A stable name for how an attempt ended, and for its fault.
#[must_use]
pub const fn outcome_name(outcome: &Outcome) -> (&'static str, Option<&'static str>) {
    match outcome {
        Outcome::Completed => ("completed", None),
        Outcome::NodeFault(fault) => ("failed", Some(fault.name())),
        Outcome::Busy { .. } => ("busy", None),
        Outcome::CallerFault { .. } => ("refused", None),
        Outcome::Cancelled => ("cancelled", None),
    }
}

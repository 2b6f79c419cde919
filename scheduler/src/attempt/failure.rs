//! What the caller is told when no attempt succeeded.

use std::time::Duration;

use super::Record;
use super::classify::NodeFault;
use crate::measure::Outcome;

/// The end of an answer that did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub kind: FailureKind,
    /// Content was released before: the failure must be told inside the stream.
    pub in_band: bool,
}

/// Why an answer did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The request is at fault: two nodes said so, or the only eligible one.
    Caller {
        /// What they answered.
        status: u16,
    },
    /// Every node was full.
    Busy {
        /// The soonest any of them wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The last node failed.
    Node(NodeFault),
    /// Nothing could be tried: credits went elsewhere before any dispatch.
    NothingTried,
}

impl Failure {
    /// HTTP status and error code of this failure. In band the code differs: there is a stream to break.
    #[must_use]
    pub const fn status(&self) -> (u16, &'static str) {
        match self.kind {
            FailureKind::Caller { status } => (status, "invalid_value"),
            FailureKind::Busy { .. } | FailureKind::NothingTried => (429, "capacity_exhausted"),
            FailureKind::Node(fault) if fault.is_timeout() => (504, "provider_timeout"),
            FailureKind::Node(_) if self.in_band => (502, "provider_disconnected"),
            FailureKind::Node(_) => (502, "provider_error"),
        }
    }
}

/// The caller's fault if one node said so and none contradicted it; else the last fault of a node;
/// else that all were busy.
pub(super) fn sum_up(refusal: Option<u16>, records: &[Record]) -> FailureKind {
    if let Some(status) = refusal {
        return FailureKind::Caller { status };
    }
    let faults = records.iter().rev().find_map(|record| match record.outcome {
        Outcome::NodeFault(fault) => Some(FailureKind::Node(fault)),
        _ => None,
    });
    let busy = || {
        let waits = records.iter().filter_map(|record| match record.outcome {
            Outcome::Busy { retry_after, .. } => Some(retry_after),
            _ => None,
        });
        waits.fold(None, |least: Option<Option<Duration>>, wait| {
            Some(match (least.flatten(), wait) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            })
        })
    };
    faults.or_else(|| busy().map(|retry_after| FailureKind::Busy { retry_after })).unwrap_or(FailureKind::NothingTried)
}

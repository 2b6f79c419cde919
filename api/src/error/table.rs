//! The fixed words of the error contract.

use http::StatusCode;
use scheduler::AvailabilityCode as Code;

use super::Retry;

/// Sooner than this a retry only adds load.
pub(super) const RETRY_SHORTEST_MS: u64 = 1_000;
/// Clients ignore a longer wait and fall back to their own, shorter one.
pub(super) const RETRY_LONGEST_MS: u64 = 60_000;

/// The `type` of an error: what family it belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    InvalidRequest,
    InsufficientQuota,
    Permission,
    Conflict,
    RateLimit,
    Server,
    Unavailable,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request_error",
            Self::InsufficientQuota => "insufficient_quota",
            Self::Permission => "permission_error",
            Self::Conflict => "conflict_error",
            Self::RateLimit => "rate_limit_error",
            Self::Server => "server_error",
            Self::Unavailable => "service_unavailable_error",
        }
    }

    /// The family of a status.
    pub(super) fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::TOO_MANY_REQUESTS => Self::RateLimit,
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            StatusCode::PAYMENT_REQUIRED => Self::InsufficientQuota,
            StatusCode::FORBIDDEN => Self::Permission,
            status if status.is_server_error() => Self::Server,
            _ => Self::InvalidRequest,
        }
    }
}

/// A wait within what clients honour.
pub(super) fn bounded(ms: u64) -> Retry {
    Retry::After(ms.clamp(RETRY_SHORTEST_MS, RETRY_LONGEST_MS))
}

/// Why there was no place, as a sentence.
pub(super) fn refusal(availability: &scheduler::Availability) -> String {
    let models = availability.requested_models.join(", ");
    let filters = availability.excluded_by.join(", ");
    match availability.code {
        Code::ModelNotFound => format!("the model {models:?} does not exist here"),
        Code::NoEndpoints => format!("no provider serves {models} in this form"),
        Code::ConstraintFiltered => format!("no provider of {models} meets the request's demands ({filters})"),
        Code::PrivacyRestricted => format!("no provider of {models} meets the privacy demands ({filters})"),
        Code::RegionRestricted => format!("no provider of {models} is in an allowed region"),
        Code::TemporarilyUnavailable => format!("every provider of {models} is out for the moment"),
        Code::CapacityExhausted => format!("every provider of {models} is full for the moment"),
    }
}

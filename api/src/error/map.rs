//! Errors of the crates below, each variant given its status. No wildcards: a new variant asks for an answer.

use billing::Error as B;
use scheduler::Error as S;

use super::ApiError;

impl From<sqlx::Error> for ApiError {
    /// A database that can't be reached or is too busy is a matter of time; anything else is a fault of ours.
    fn from(error: sqlx::Error) -> Self {
        let unreachable = matches!(error, sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_));
        if unreachable || is_for_now(&error) {
            tracing::warn!(%error, "the database can't answer now");
            return Self::overloaded(1_000);
        }
        if has_nul(&error) {
            return Self::invalid(None, "no text here may hold the character U+0000").with_code("invalid_value");
        }
        Self::internal(&error)
    }
}

/// What Postgres says of the one character its texts (22021) and documents (22P05) can't hold. It only comes from
/// callers: nothing of ours has it.
fn has_nul(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == "22021" || code == "22P05")
}

/// What Postgres says while it stops or starts (57P01 to 57P03), and when a statement took longer than it may
/// (57014).
fn is_for_now(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code.starts_with("57P0") || code == "57014")
}

impl From<scheduler::Error> for ApiError {
    fn from(error: scheduler::Error) -> Self {
        match error {
            S::Database(error) => error.into(),
            S::ProviderNotFound(_) | S::NodeNotFound(_) | S::OfferNotFound(_) => {
                Self::not_found("not_found", error.to_string())
            }
            S::NodeRemoved(_) => Self::forbidden("node_removed", error.to_string()),
            S::SlugTaken(_) => Self::invalid("slug", error.to_string()).with_code("invalid_value"),
            S::OffersChanged { .. } => Self::precondition(error.to_string()),
            S::StaleHeartbeat { .. } => Self::invalid("seq", error.to_string()).with_code("invalid_value"),
            S::ClockSkew { .. } => Self::invalid("sent_at_ms", error.to_string()).with_code("invalid_value"),
            S::Corrupt { .. } => Self::internal(&error),
        }
    }
}

impl From<billing::Error> for ApiError {
    fn from(error: billing::Error) -> Self {
        match error {
            B::CreditExhausted { held, .. } => Self::payment("credit_balance_exhausted", error.to_string(), held),
            B::KeyLimit { held, .. } => Self::payment("key_limit_exceeded", error.to_string(), held),
            B::ProjectLimit { held, .. } => Self::payment("project_spend_limit_exceeded", error.to_string(), held),
            B::OrganizationLimit { held, .. } => {
                Self::payment("organization_spend_limit_exceeded", error.to_string(), held)
            }
            B::Suspended { .. } => Self::forbidden("insufficient_permissions", error.to_string()),
            B::Overloaded { .. } => Self::overloaded(1_000),
            B::RequestIdDate { .. } => Self::internal(&error),
            // Only an operator's command meets these.
            B::OccasionDiffers { .. } | B::AlreadyBooked { .. } | B::NotQuarantined { .. } | B::StillRefused { .. } => {
                Self::internal(&error)
            }
            B::TopupAmount { .. } | B::NotRefundable { .. } => {
                Self::invalid("amount_usd", error.to_string()).with_code("invalid_value")
            }
            B::TooMuch { .. } => Self::rate_limited(error.to_string(), None),
            B::RechargeRule { field, .. } => Self::invalid(field, error.to_string()).with_code("invalid_value"),
            B::NoCard { .. } => Self::invalid("payment_method", error.to_string()).with_code("invalid_value"),
            B::TopupGone { .. } | B::TopupPending { .. } => Self::invalid_state(error.to_string()),
            B::CardRefused { code, .. } => Self::invalid_state(format!("the card processor refused: {code}")),
            // It is found out beside; the same wish gets what was made.
            B::CardUnknown { .. } => {
                tracing::warn!(%error, "a request waits for the card processor");
                Self::overloaded(5_000)
            }
            B::PaymentDiffers { .. }
            | B::RefundDiffers { .. }
            | B::DisputeDiffers { .. }
            | B::CardsMisused { .. }
            | B::ReceiptKey => Self::internal(&error),
            B::PayoutChange { .. } => Self::invalid_state(error.to_string()),
            // Only the broker's own loops and an operator's commands meet these.
            B::EpochState { .. }
            | B::EpochSum { .. }
            | B::Bundle { .. }
            | B::Artefacts(_)
            | B::NoCase { .. }
            | B::Coins { .. }
            | B::Chain(_) => Self::internal(&error),
            B::PriceOutOfRange { .. } => Self::invalid("pricing", error.to_string()).with_code("invalid_value"),
            B::Database(error) => error.into(),
        }
    }
}

//! What refusals say, each made the way it is made for a caller, in the words of either dialect.

use std::time::Duration;

use protocol::version::VersionError;
use serde_json::Value;

use crate::dialect::messages::error_body;
use crate::error::{ApiError, PreviousError};

/// Before the names of refusals in Anthropic's shape.
const THEIRS: &str = "Messages";
/// The call that was refused.
const REQUEST_ID: &str = "req_0198c1f2a3b47c5d8e9f00112233aabb";
/// The largest body of the example.
const MAX_BYTES: usize = 1 << 20;

/// The body of a refusal that many operations share, by its name under `components`.
pub(super) fn by_name(name: &str) -> Option<Value> {
    let theirs = name.strip_prefix(THEIRS);
    let error = shared(theirs.unwrap_or(name))?;
    if theirs.is_none() {
        return Some(error.body());
    }
    let body = error_body(error.status().as_u16(), error.code(), error.message(), REQUEST_ID);
    serde_json::from_slice(&body).ok()
}

/// The body of a refusal that an operation has for itself.
pub(super) fn by_status(status: &str) -> Option<Value> {
    let error = match status {
        "412" => ApiError::precondition("the offers were changed since they were read"),
        "413" => ApiError::too_large(MAX_BYTES),
        _ => return None,
    };
    Some(error.body())
}

fn shared(name: &str) -> Option<ApiError> {
    Some(match name {
        "BadRequest" => ApiError::invalid("X-Client-Request-Id", "at most 512 characters"),
        "Unauthorized" => ApiError::unauthorized(true),
        "PaymentRequired" => {
            let message = "account org-0198c1f2a3b47c5d8e9f00112233aabb cannot cover 0.02";
            ApiError::payment("credit_balance_exhausted", message, None)
        }
        "Forbidden" => {
            ApiError::forbidden("insufficient_permissions", "this call needs a key of kind admin, not inference")
        }
        "NotFound" => crate::extract::not_found(),
        "InProgress" => ApiError::request_in_progress(),
        "TooLarge" => ApiError::too_large(MAX_BYTES),
        "NotJson" => ApiError::unsupported_media_type(),
        "KeyReused" => ApiError::idempotency_key_reused(),
        "UpdateRequired" => ApiError::upgrade_required(VersionError::TooOld { theirs: 0 }.to_string()),
        "TooMany" => {
            let message = "the limit of 600 requests per minute of this key is used up";
            ApiError::rate_limited(message, Some(Duration::from_secs(2)))
        }
        "Internal" => ApiError::fault(),
        "ProviderFailed" => ApiError::provider_error(&[attempt(Some(503), "provider_error")]),
        "Unavailable" => ApiError::overloaded(1_000),
        "ProviderTimeout" => ApiError::provider_timeout(&[attempt(None, "provider_timeout")]),
        _ => return None,
    })
}

fn attempt(status: Option<u16>, code: &'static str) -> PreviousError {
    PreviousError { provider: "acme".to_owned(), status, code }
}

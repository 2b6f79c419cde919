//! How an answer that fails is told.

use http::StatusCode;
use scheduler::Action;

use crate::dialect::InBandError;

/// An attempt that could not finish the answer, as the client may know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Stable code.
    pub code: &'static str,
    /// The status it is, or would have been.
    pub status: StatusCode,
}

impl Failure {
    /// As a stream that has begun tells it.
    #[must_use]
    pub fn in_band<'a>(&self, message: &'a str) -> InBandError<'a> {
        InBandError { message, code: self.code, http_status: self.status.as_u16() }
    }

    /// What the machine's last step means for the client.
    #[must_use]
    pub fn of(action: &Action) -> Self {
        let (status, code) = match action {
            Action::Fail(failure) => failure.status(),
            // After its first content an attempt can only fail for good.
            _ => (502, "provider_disconnected"),
        };
        Self { code, status: StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY) }
    }
}

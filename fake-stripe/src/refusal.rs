//! Errors as Stripe words them.

use serde_json::{Value, json};
use stripe_shared::Error;

use crate::books::{made, shown};

/// An answer that is not a success.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// Of the answer.
    pub status: u16,
    /// Its body, in Stripe's shape.
    pub body: Value,
}

impl Refusal {
    fn new(status: u16, error: Value) -> Self {
        let body: Error = made(json!({ "error": error }));
        Self { status, body: shown(&body) }
    }

    /// 400: a parameter can't be taken.
    #[must_use]
    pub fn invalid(param: &str, message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self::new(400, json!({ "type": "invalid_request_error", "param": param, "message": message }))
    }

    /// 400: what is asked does not fit the state of the object.
    #[must_use]
    pub fn state(code: &str, message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self::new(400, json!({ "type": "invalid_request_error", "code": code, "message": message }))
    }

    /// 400: a parameter is missing.
    #[must_use]
    pub fn missing(param: &str) -> Self {
        let message = format!("Missing required param: {param}.");
        let error =
            json!({ "type": "invalid_request_error", "code": "parameter_missing", "param": param, "message": message });
        Self::new(400, error)
    }

    /// 404: no such object.
    #[must_use]
    pub fn no_such(kind: &str, id: &str) -> Self {
        let message = format!("No such {kind}: '{id}'");
        Self::new(
            404,
            json!({ "type": "invalid_request_error", "code": "resource_missing", "param": "id", "message": message }),
        )
    }

    /// 404: no such route.
    #[must_use]
    pub fn unknown_url(method: &str, path: &str) -> Self {
        let message = format!("Unrecognized request URL ({method}: /v1/{path}).");
        Self::new(404, json!({ "type": "invalid_request_error", "message": message }))
    }

    /// 401: no key.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(401, json!({ "type": "invalid_request_error", "message": "You did not provide an API key." }))
    }

    /// 402: the card was declined; the intent comes along.
    #[must_use]
    pub fn declined(code: &str, decline_code: &str, intent: (&str, Value)) -> Self {
        let mut error = json!({
            "type": "card_error", "code": code, "decline_code": decline_code, "message": "Your card was declined.",
        });
        error[intent.0] = intent.1;
        Self::new(402, error)
    }

    /// 400: the key came before with other parameters.
    #[must_use]
    pub fn other_parameters(key: &str) -> Self {
        let message = format!(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. \
             Try using a key other than '{key}' if you meant to execute a different request."
        );
        Self::new(400, json!({ "type": "idempotency_error", "message": message }))
    }

    /// 409: a request with the key has not ended yet.
    #[must_use]
    pub fn key_in_use() -> Self {
        let message = "There is currently another in-progress request using this Idempotency Key.";
        let error = json!({ "type": "idempotency_error", "code": "idempotency_key_in_use", "message": message });
        Self::new(409, error)
    }

    /// 429: too many requests.
    #[must_use]
    pub fn rate_limited() -> Self {
        let error = json!({ "type": "invalid_request_error", "code": "rate_limit", "message": "Too many requests" });
        Self::new(429, error)
    }

    /// 500: something went wrong over there.
    #[must_use]
    pub fn server() -> Self {
        Self::new(500, json!({ "type": "api_error", "message": "An unknown error occurred" }))
    }
}

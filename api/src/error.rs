//! [`ApiError`]: the one mapping of everything that can go wrong to a status, a stable code and a body.
//!
//! A message is written for whoever sent the request and never carries what an upstream said. Faults of
//! ours are logged here, once, and reach the client as a generic sentence; the request id on every
//! answer ties the two together.

mod map;
mod table;

use std::fmt;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, StatusCode};
use protocol::NanoUsd;
use serde::Serialize;
use serde_json::{Map, Value, json};

use self::table::{Kind, RETRY_SHORTEST_MS};
use crate::limits::RateHeaders;

/// An error as a client sees it. One word wide, so a `Result` of it stays small on the hot path.
pub struct ApiError(Box<Parts>);

struct Parts {
    status: StatusCode,
    kind: Kind,
    code: Option<&'static str>,
    param: Option<String>,
    message: String,
    metadata: Map<String, Value>,
    availability: Option<scheduler::Availability>,
    retry: Retry,
    allow: Option<String>,
    rate: Option<RateHeaders>,
}

/// What a client is told about trying again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Retry {
    /// Nothing: the status says enough.
    Unsaid,
    /// No retry can cure it.
    Never,
    /// After this many milliseconds.
    After(u64),
}

/// One failed attempt, as the error of a whole request lists it.
#[derive(Debug, Clone, Serialize)]
pub struct PreviousError {
    /// The provider's slug.
    pub provider: String,
    /// What it answered, if it did.
    pub status: Option<u16>,
    /// Our word for what went wrong.
    pub code: &'static str,
}

impl ApiError {
    fn new(status: StatusCode, kind: Kind, code: Option<&'static str>, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            status,
            kind,
            code,
            param: None,
            message: message.into(),
            metadata: Map::new(),
            availability: None,
            retry: Retry::Unsaid,
            allow: None,
            rate: None,
        }))
    }

    /// 400: the request can't be taken as it stands; `param` is the path of the field at fault.
    #[must_use]
    pub fn invalid<'a>(param: impl Into<Option<&'a str>>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Kind::InvalidRequest, None, message).with_param(param)
    }

    /// 400: what was asked does not fit the state things are in. Never 409, which clients retry.
    #[must_use]
    pub fn invalid_state(message: impl Into<String>) -> Self {
        Self::invalid(None::<&str>, message).with_code("invalid_state")
    }

    /// 400: prompt and answer together pass what any offer of the model can hold; `subject` is the field with the
    /// prompt.
    #[must_use]
    pub fn context_length(subject: &'static str, message: impl Into<String>) -> Self {
        Self::invalid(subject, message).with_code("context_length_exceeded")
    }

    /// 401: no key, or one that does not count. Says no more than that: not why, and not whose.
    #[must_use]
    pub fn unauthorized(had_key: bool) -> Self {
        let (code, message) = if had_key {
            (Some("invalid_api_key"), "the API key is unknown, revoked or expired")
        } else {
            (None, "no API key was sent; send one as \"authorization: Bearer <key>\"")
        };
        Self::new(StatusCode::UNAUTHORIZED, Kind::InvalidRequest, code, message).never()
    }

    /// 402: no money. `held` is what requests in flight have set aside: when they are what stands in
    /// the way, trying again shortly is worth it; else no retry can cure it.
    #[must_use]
    pub fn payment(code: &'static str, message: impl Into<String>, held: Option<NanoUsd>) -> Self {
        let error = Self::new(StatusCode::PAYMENT_REQUIRED, Kind::InsufficientQuota, Some(code), message);
        match held {
            None => error.never(),
            Some(held) => error.with_metadata("held_usd", held.to_string()).retry_in(RETRY_SHORTEST_MS),
        }
    }

    /// 403: known, and not allowed.
    #[must_use]
    pub fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, Kind::Permission, Some(code), message).never()
    }

    /// 404: nothing of that name, as far as this caller may know.
    #[must_use]
    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, Kind::InvalidRequest, Some(code), message)
    }

    /// 404: no such model.
    #[must_use]
    pub fn model_not_found(model: &str) -> Self {
        Self::not_found("model_not_found", format!("the model {model:?} does not exist here")).with_param("model")
    }

    /// 404: no such route.
    #[must_use]
    pub fn unknown_url(method: &Method, path: &str) -> Self {
        Self::not_found("unknown_url", format!("unknown request URL: {method} {path}"))
    }

    /// 405: the route exists and does not take this method; `allow` lists those it does.
    #[must_use]
    pub fn method_not_allowed(allow: impl Into<String>) -> Self {
        let message = "this URL does not take that method";
        let mut error = Self::new(StatusCode::METHOD_NOT_ALLOWED, Kind::InvalidRequest, None, message);
        error.0.allow = Some(allow.into());
        error
    }

    /// 409: the first request with this `Idempotency-Key` has not ended yet. Clients try again by themselves.
    #[must_use]
    pub fn request_in_progress() -> Self {
        let message = "a request with this Idempotency-Key is still running; send it again shortly";
        Self::new(StatusCode::CONFLICT, Kind::Conflict, Some("request_in_progress"), message)
            .retry_in(RETRY_SHORTEST_MS)
    }

    /// 412: what is to be replaced is no longer what the caller read.
    #[must_use]
    pub fn precondition(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, Kind::InvalidRequest, Some("precondition_failed"), message)
    }

    /// 413: the body is larger than `limit` bytes.
    #[must_use]
    pub fn too_large(limit: usize) -> Self {
        let message = format!("the request body is larger than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, Kind::InvalidRequest, Some("request_too_large"), message)
    }

    /// 415: not JSON.
    #[must_use]
    pub fn unsupported_media_type() -> Self {
        let message = "the body must be sent as \"content-type: application/json\"";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Kind::InvalidRequest, Some("unsupported_media_type"), message)
    }

    /// 422: this `Idempotency-Key` belongs to another request.
    #[must_use]
    pub fn idempotency_key_reused() -> Self {
        let message = "this Idempotency-Key came before with another request; make a new key for each";
        let code = Some("idempotency_key_reused");
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, Kind::InvalidRequest, code, message).never()
    }

    /// 426: the peer speaks a revision of the node protocol that is no longer understood.
    #[must_use]
    pub fn upgrade_required(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UPGRADE_REQUIRED, Kind::InvalidRequest, Some("update_required"), message).never()
    }

    /// 429: offers exist and are full; worth another try in `retry_ms`.
    #[must_use]
    pub fn capacity(retry_ms: u64, availability: scheduler::Availability) -> Self {
        Self::availability(availability).retry_in(retry_ms)
    }

    /// 429: a limit of the key, its project or its organization is used up; worth another try after `wait`. Without
    /// one the request is larger than the limit will ever let through.
    #[must_use]
    pub fn rate_limited(message: impl Into<String>, wait: Option<Duration>) -> Self {
        let code = Some("rate_limit_exceeded");
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, Kind::RateLimit, code, message);
        match wait {
            Some(wait) => error.retry_in(u64::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)),
            None => error.never(),
        }
    }

    /// Whatever status the reason for finding no place calls for.
    #[must_use]
    pub fn availability(availability: scheduler::Availability) -> Self {
        let (status, code) = availability.status();
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let mut error = Self::new(status, Kind::of(status), Some(code), table::refusal(&availability));
        error.0.retry = match (availability.retryable, availability.retry_after) {
            (true, seconds) => table::bounded(u64::from(seconds.unwrap_or(1)) * 1_000),
            (false, _) => Retry::Unsaid,
        };
        if status == StatusCode::NOT_FOUND {
            error.0.param = Some("model".to_owned());
        }
        error.0.availability = Some(availability);
        error
    }

    /// 502: every attempt failed.
    #[must_use]
    pub fn provider_error(previous: &[PreviousError]) -> Self {
        Self::attempts(StatusCode::BAD_GATEWAY, "provider_error", "every provider tried failed", previous)
    }

    /// 504: every attempt failed, the last for want of time.
    #[must_use]
    pub fn provider_timeout(previous: &[PreviousError]) -> Self {
        Self::attempts(StatusCode::GATEWAY_TIMEOUT, "provider_timeout", "no provider answered in time", previous)
    }

    fn attempts(status: StatusCode, code: &'static str, message: &str, previous: &[PreviousError]) -> Self {
        let error = Self::new(status, Kind::Server, Some(code), message);
        if previous.is_empty() { error } else { error.with_metadata("previous_errors", json!(previous)) }
    }

    /// 503: this replica can't take the request now; worth another try in `retry_ms`.
    #[must_use]
    pub fn overloaded(retry_ms: u64) -> Self {
        let message = "the server is overloaded or not ready; try again shortly";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Kind::Unavailable, Some("server_is_overloaded"), message)
            .retry_in(retry_ms)
    }

    /// 500: a fault of ours. Logged here, with its causes; the client sees only that it happened.
    #[must_use]
    pub fn internal(error: &dyn std::error::Error) -> Self {
        let causes = std::iter::successors(error.source(), |cause| cause.source());
        let chain = causes.fold(error.to_string(), |chain, cause| format!("{chain}: {cause}"));
        tracing::error!(error = chain, "a request failed on our side");
        Self::fault()
    }

    /// 500, as a client is told of every fault of ours. Logs nothing: see [`ApiError::internal`].
    #[must_use]
    pub(crate) fn fault() -> Self {
        let message = "something went wrong on our side; the request id identifies it";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Kind::Server, Some("internal_error"), message)
    }

    /// With another stable code.
    #[must_use]
    pub fn with_code(mut self, code: &'static str) -> Self {
        self.0.code = Some(code);
        self
    }

    /// With the path of the field at fault.
    #[must_use]
    pub fn with_param<'a>(mut self, param: impl Into<Option<&'a str>>) -> Self {
        self.0.param = param.into().map(str::to_owned);
        self
    }

    /// With other words.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.0.message = message.into();
        self
    }

    /// With one more entry under `metadata`.
    #[must_use]
    pub fn with_metadata(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.metadata.insert(key.to_owned(), value.into());
        self
    }

    /// With where the limits stand, unless that was said before.
    #[must_use]
    pub fn with_rate(mut self, rate: RateHeaders) -> Self {
        self.0.rate.get_or_insert(rate);
        self
    }

    fn never(mut self) -> Self {
        self.0.retry = Retry::Never;
        self
    }

    fn retry_in(mut self, ms: u64) -> Self {
        self.0.retry = table::bounded(ms);
        self
    }

    /// The status an answer that has not begun would carry.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The stable code, where there is one.
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        self.0.code
    }

    /// What went wrong, in words for the client.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The whole body: `{"error": {…}}`.
    #[must_use]
    pub fn body(&self) -> Value {
        json!({ "error": self.object() })
    }

    fn object(&self) -> Value {
        let parts = &*self.0;
        let mut object = json!({
            "message": parts.message,
            "type": parts.kind.name(),
            "param": parts.param,
            "code": parts.code,
        });
        if !parts.metadata.is_empty() {
            object["metadata"] = Value::Object(parts.metadata.clone());
        }
        if let Some(availability) = &parts.availability {
            object["availability"] = json!(availability);
        }
        object
    }
}

/// The `type` of an error with this status, for failures told in band.
#[must_use]
pub fn kind_name(status: u16) -> &'static str {
    Kind::of(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY)).name()
}

/// What an error's answer says, for those who say it in another dialect. Travels in the answer's extensions.
#[derive(Debug, Clone)]
pub struct Told {
    /// The stable code, where there is one.
    pub code: Option<&'static str>,
    /// The path of the field at fault.
    pub param: Option<String>,
    /// The words for the client.
    pub message: String,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.0.status, self.body().to_string()).into_response();
        let (param, message) = (self.0.param.clone(), self.0.message.clone());
        response.extensions_mut().insert(Told { code: self.0.code, param, message });
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self.0.retry {
            Retry::Unsaid => {}
            Retry::Never => {
                headers.insert("x-should-retry", HeaderValue::from_static("false"));
            }
            Retry::After(ms) => {
                headers.insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000)));
                headers.insert("retry-after-ms", HeaderValue::from(ms));
            }
        }
        if let Some(rate) = &self.0.rate {
            rate.write(headers);
        }
        if let Some(allow) = self.0.allow.as_deref().and_then(|allow| HeaderValue::from_str(allow).ok()) {
            headers.insert(ALLOW, allow);
        }
        response
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiError({} {:?}: {})", self.0.status.as_u16(), self.0.code, self.0.message)
    }
}

impl std::error::Error for ApiError {}

#[cfg(test)]
mod tests;

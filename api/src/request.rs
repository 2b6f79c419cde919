//! What every call has: an id, a start, and the headers of its answer.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use protocol::RequestId;

use crate::error::ApiError;
use crate::routes::messages::in_their_words;
use crate::state::AppState;

/// One call, from header to ledger row to receipt.
#[derive(Debug, Clone, Copy)]
pub struct RequestContext {
    /// Its id; every other id of the call shares its UUID.
    pub id: RequestId,
    /// When its head had been read.
    pub started: Instant,
}

/// The client's own name for a call. `HTTP-Referer` and `X-Title`, which say what a call is made for, are taken
/// and not looked at.
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-client-request-id");
/// Longest such name; what OpenAI takes.
const MAX_CLIENT_REQUEST_ID: usize = 512;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const ANTHROPIC_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const VERSION: HeaderName = HeaderName::from_static("openai-version");
const PROCESSING_MS: HeaderName = HeaderName::from_static("openai-processing-ms");
/// The revision of OpenAI's API that answers follow.
const OPENAI_VERSION: HeaderValue = HeaderValue::from_static("2020-10-01");

/// Mints the request id, and writes it with the other standing headers on every answer, errors included.
pub async fn stamp(State(app): State<AppState>, mut request: Request, next: Next) -> Response {
    let context = RequestContext { id: app.env.mint(), started: Instant::now() };
    let route = request.extensions().get::<MatchedPath>().cloned();
    let messages = request.uri().path().contains("/v1/messages");
    request.extensions_mut().insert(context);
    let mut response = match note_client_id(request.headers(), context.id) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    if messages {
        response = in_their_words(context.id, response);
    }
    let elapsed = context.started.elapsed();
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::try_from(context.id.to_string()) {
        if messages {
            headers.insert(ANTHROPIC_REQUEST_ID, id.clone());
        }
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(VERSION, OPENAI_VERSION);
    headers.insert(PROCESSING_MS, HeaderValue::from(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)));
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str).to_owned();
    let status = response.status().as_u16().to_string();
    metrics::counter!("steelyard_http_requests_total", "route" => route.clone(), "status" => status).increment(1);
    metrics::histogram!("steelyard_http_head_seconds", "route" => route).record(elapsed.as_secs_f64());
    response
}

/// Writes the client's own name for the call beside ours, so that either finds the other in the log. It is
/// said back nowhere.
fn note_client_id(headers: &HeaderMap, id: RequestId) -> Result<(), ApiError> {
    let Some(value) = headers.get(CLIENT_REQUEST_ID) else { return Ok(()) };
    match value.to_str() {
        Ok(text) if text.len() <= MAX_CLIENT_REQUEST_ID => {
            tracing::info!(request.id = %id, client.request.id = text, "a call that its client has named");
            Ok(())
        }
        _ => {
            let message = format!("at most {MAX_CLIENT_REQUEST_ID} visible ASCII characters");
            Err(ApiError::invalid("X-Client-Request-Id", message).with_code("invalid_value"))
        }
    }
}

/// A path nobody serves.
pub async fn unknown_url(method: Method, uri: Uri) -> ApiError {
    ApiError::unknown_url(&method, uri.path())
}

/// A path that takes other methods; the router itself adds which.
pub async fn method_not_allowed() -> Response {
    let mut response = ApiError::method_not_allowed("").into_response();
    response.headers_mut().remove(http::header::ALLOW);
    response
}

/// A panic in a handler: logged with its place by the panic hook, generic to the client.
pub fn panicked(_: Box<dyn std::any::Any + Send + 'static>) -> Response {
    ApiError::internal(&std::io::Error::other("a handler panicked")).into_response()
}

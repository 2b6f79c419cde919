//! Whether this replica lives, whether it should get work, and its numbers.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, FORWARDED};
use http::{HeaderMap, HeaderName, Method, StatusCode, Uri};
use serde::Serialize;

use crate::error::ApiError;
use crate::extract::Json;
use crate::state::AppState;

/// Longest wait for the database before a replica calls itself not ready.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

const NO_STORE: (HeaderName, &str) = (CACHE_CONTROL, "no-store");

/// The routes of this file. They live outside `/v1` and need no key.
pub fn routes() -> Router<AppState> {
    Router::new().route("/health/live", get(live)).route("/health/ready", get(ready))
}

/// The numbers, for whoever runs the broker, at an address that nobody else reaches.
pub fn metrics_routes() -> Router<AppState> {
    Router::new().route("/metrics", get(metrics))
}

/// The same beside the API, which a proxy on this machine may show to everybody.
pub fn metrics_beside_api() -> Router<AppState> {
    Router::new().route("/metrics", get(metrics_unless_sent_on))
}

async fn metrics_unless_sent_on(
    State(app): State<AppState>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if headers.contains_key("x-forwarded-for") || headers.contains_key(FORWARDED) {
        return Err(ApiError::unknown_url(&method, uri.path()));
    }
    Ok(metrics(State(app)).await)
}

#[derive(Debug, Serialize)]
struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

/// Answers as long as the process can answer at all.
async fn live() -> Response {
    ([NO_STORE], Json(Health { status: "ok", reason: None })).into_response()
}

/// 200 while new work is welcome: not while draining, and not without the database.
async fn ready(State(app): State<AppState>) -> Response {
    let reason = if app.shutdown.is_stopping() {
        Some("the replica is draining")
    } else if !database_answers(&app).await {
        Some("the database does not answer")
    } else {
        None
    };
    let status = if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if reason.is_none() { "ok" } else { "unavailable" };
    (status, [NO_STORE], Json(Health { status: word, reason })).into_response()
}

async fn database_answers(app: &AppState) -> bool {
    let asked = sqlx::query_scalar!(r#"select 1 as "one!""#).fetch_one(&app.db);
    matches!(tokio::time::timeout(PROBE_TIMEOUT, asked).await, Ok(Ok(1)))
}

/// Everything measured, in Prometheus' text format.
async fn metrics(State(app): State<AppState>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics.render()).into_response()
}

//! The published document: `GET /openapi.json`, `GET /openapi-3.0.json`, and `GET /docs` for people.

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};

use crate::openapi::{self, Revision};
use crate::state::AppState;

/// The routes of this file, at the root and beside the API they describe.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/openapi.json", get(|| document(Revision::V31)))
        .route("/openapi-3.0.json", get(|| document(Revision::V30)))
        .route("/docs", get(page))
}

async fn document(revision: Revision) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], openapi::text(revision))
}

/// Needs nothing from anywhere: no script, and styles of its own.
async fn page() -> impl IntoResponse {
    let (page, policy) = openapi::page();
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, policy),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, page)
}

//! `GET /openapi.json`.

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::header;

use crate::openapi;
use crate::state::AppState;

/// The document, at the root and beside the API it describes.
pub fn routes() -> Router<AppState> {
    Router::new().route("/openapi.json", get(document))
}

async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], openapi::text())
}

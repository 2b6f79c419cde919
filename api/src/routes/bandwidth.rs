//! Something to measure a provider's line with: takes bytes, gives bytes, keeps none.

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::routing::post;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use protocol::session::MAX_BANDWIDTH_BYTES;

use crate::error::ApiError;
use crate::extract::{Params, ProviderCaller};
use crate::state::AppState;

/// The routes of this file.
pub(super) fn routes() -> Router<AppState> {
    let route = post(exchange).layer(DefaultBodyLimit::max(MAX_BANDWIDTH_BYTES));
    Router::new().route("/providers/{provider}/bandwidth", route)
}

type Answer = ([(HeaderName, HeaderValue); 2], Vec<u8>);

/// Reads the whole body and answers with as many bytes as are asked for.
#[tracing::instrument(name = "api.bandwidth.exchange", skip_all, fields(provider.id = %caller.provider))]
async fn exchange(
    caller: ProviderCaller,
    params: Params,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<Answer, ApiError> {
    body.map_err(|_| ApiError::too_large(MAX_BANDWIDTH_BYTES))?;
    let most = i64::try_from(MAX_BANDWIDTH_BYTES).unwrap_or(i64::MAX);
    let wanted = params.integer("download_bytes", 0..=most)?.and_then(|wanted| usize::try_from(wanted).ok());
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, vec![0; wanted.unwrap_or_default()]))
}

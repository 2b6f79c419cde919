//! Where the card processor tells what happened.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::post;
use billing::stripe::inbox::{self, Untaken};
use http::{HeaderMap, StatusCode};

use super::topups::cards;
use crate::error::ApiError;
use crate::extract::read_body_in_time;
use crate::state::AppState;

/// Largest event: the processor's own are a few KiB.
const MAX_EVENT: usize = 256 * 1024;

/// The routes of this file. They are not part of the API and have no version.
pub fn routes() -> Router<AppState> {
    Router::new().route("/hooks/stripe", post(stripe))
}

/// Takes an event when its signature is right; what it tells is worked on beside.
#[tracing::instrument(name = "api.hooks.stripe", skip_all)]
async fn stripe(State(app): State<AppState>, headers: HeaderMap, body: Body) -> Result<StatusCode, ApiError> {
    let cards = cards(&app)?;
    let body = read_body_in_time(&app, &headers, body, MAX_EVENT).await?;
    let signature = headers.get("stripe-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
    match inbox::take(cards, signature, &body).await {
        Ok(()) => Ok(StatusCode::OK),
        Err(Untaken::Database(error)) => Err(error.into()),
        Err(error @ (Untaken::Signature(_) | Untaken::NotText)) => {
            tracing::warn!(%error, "a card webhook was refused");
            Err(ApiError::invalid("stripe-signature", error.to_string()).with_code("invalid_value"))
        }
    }
}

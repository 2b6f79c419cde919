//! What an organization was given and what it has used.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use protocol::NanoUsd;
use serde::Serialize;

use crate::error::ApiError;
use crate::extract::{Json, Payer};
use crate::state::AppState;

/// The routes of this file.
pub fn routes() -> Router<AppState> {
    Router::new().route("/credits", get(show))
}

#[derive(Debug, Serialize)]
struct Envelope {
    data: Credits,
}

/// Decimal strings of US dollars.
#[derive(Debug, Serialize)]
struct Credits {
    total_credits: NanoUsd,
    total_usage: NanoUsd,
}

/// The caller's organization: everything that was credited less what expired, and everything charged.
#[tracing::instrument(name = "api.credits.show", skip_all, fields(account.id = %payer.organization))]
async fn show(State(app): State<AppState>, payer: Payer) -> Result<Json<Envelope>, ApiError> {
    let mut conn = app.db.acquire().await?;
    let credits = billing::store::views::credits(&mut conn, payer.organization).await?;
    let (total_credits, total_usage) = (credits.total_credits, credits.total_usage);
    Ok(Json(Envelope { data: Credits { total_credits, total_usage } }))
}

//! What the key that asks has used, and what it still may.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use billing::budget::Reset;
use protocol::NanoUsd;
use serde::Serialize;

use crate::error::ApiError;
use crate::extract::{Caller, Json};
use crate::state::AppState;

/// The routes of this file.
pub fn routes() -> Router<AppState> {
    Router::new().route("/key", get(show))
}

#[derive(Debug, Serialize)]
struct Envelope {
    data: View,
}

/// Money as decimal strings of US dollars; spans by the calendar, in UTC.
#[derive(Debug, Serialize)]
struct View {
    label: String,
    limit: Option<NanoUsd>,
    limit_remaining: Option<NanoUsd>,
    limit_reset: Option<Reset>,
    usage: NanoUsd,
    usage_daily: NanoUsd,
    usage_weekly: NanoUsd,
    usage_monthly: NanoUsd,
    /// The organization has never bought credit: all it has was given.
    is_free_tier: bool,
}

/// The key used for this very call.
#[tracing::instrument(name = "api.key.show", skip_all, fields(key.id = %caller.key))]
async fn show(State(app): State<AppState>, caller: Caller) -> Result<Json<Envelope>, ApiError> {
    let mut conn = app.db.acquire().await?;
    let usage = billing::store::views::key_usage(&mut conn, caller.key, app.env.now()).await?;
    let is_free_tier = !billing::store::views::has_bought(&mut conn, caller.organization).await?;
    Ok(Json(Envelope {
        data: View {
            label: caller.record.name.clone(),
            limit: usage.limit,
            limit_remaining: usage.limit_remaining,
            limit_reset: usage.limit_reset,
            usage: usage.usage,
            usage_daily: usage.usage_daily,
            usage_weekly: usage.usage_weekly,
            usage_monthly: usage.usage_monthly,
            is_free_tier,
        },
    }))
}

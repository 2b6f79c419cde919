//! What a provider has: pending, held, released, paid.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use protocol::purse::Balance;

use crate::error::ApiError;
use crate::extract::{Json, ProviderCaller};
use crate::state::AppState;

/// The routes of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/providers/{provider}/balance", get(show))
}

/// The caller's balance, as the books stand.
#[tracing::instrument(name = "api.balance.show", skip_all, fields(provider.id = %caller.provider))]
async fn show(State(app): State<AppState>, caller: ProviderCaller) -> Result<Json<Balance>, ApiError> {
    let mut tx = billing::reconcile::snapshot(&app.db).await?;
    let balance = billing::purse::balance(&mut tx, app.epochs.as_ref(), caller.provider, app.env.now()).await?;
    tx.rollback().await?;
    Ok(Json(balance))
}

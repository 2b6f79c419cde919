//! What moved an organization's credit, with a management key.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use billing::history::{Entry, EntryId};
use protocol::SignedNanoUsd;
use serde::Serialize;

use super::list::List;
use crate::error::ApiError;
use crate::extract::{Json, Manager, Page};
use crate::state::AppState;

/// The routes of this file.
pub fn routes() -> Router<AppState> {
    Router::new().route("/credits/history", get(list))
}

/// Money as decimal strings of US dollars.
#[derive(Debug, Serialize)]
struct View {
    id: String,
    object: &'static str,
    kind: &'static str,
    /// What came; below zero, what went.
    amount_usd: SignedNanoUsd,
    /// What there was after it.
    balance_usd: SignedNanoUsd,
    /// The top-up or refund it comes from.
    source: Option<String>,
    created_at: i64,
}

/// What came and went, newest first, with the balance after each.
#[tracing::instrument(name = "api.credits.history", skip_all, fields(account.id = %manager.organization))]
async fn list(State(app): State<AppState>, manager: Manager, page: Page) -> Result<Json<List<View>>, ApiError> {
    let after: Option<EntryId> = page.after()?;
    let (now, limit) = (app.env.now(), i64::from(page.limit) + 1);
    let mut conn = app.db.acquire().await?;
    let found = billing::store::history::list(&mut conn, manager.organization, after.as_ref(), now, limit).await?;
    let data = found.into_iter().map(view).collect();
    Ok(Json(List::of(data, page.limit, |one: &View| one.id.clone())))
}

fn view(entry: Entry) -> View {
    View {
        id: entry.id.to_string(),
        object: "credit_entry",
        kind: entry.kind.as_str(),
        amount_usd: entry.amount,
        balance_usd: entry.balance,
        source: entry.source,
        created_at: entry.at.unix_seconds(),
    }
}

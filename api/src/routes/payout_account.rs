//! Where a provider is paid, and moving to another account.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use billing::payout;
use billing::store::payout_accounts::{self, Account};
use http::StatusCode;
use protocol::event::Event;
use protocol::payout::PayoutChange;
use protocol::wallet::Signed;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::error::ApiError;
use crate::extract::{Json, NoFields, ProviderCaller};
use crate::state::AppState;
use crate::store::audit::{self, Actor, Entry};

/// The routes of this file.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/providers/{provider}/payout_account", get(show).post(change))
        .route("/providers/{provider}/payout_account/cancel", post(cancel))
}

#[derive(Debug, Serialize)]
struct View {
    object: &'static str,
    /// In CAIP-10; null for a provider that is not active yet.
    account: Option<String>,
    /// The number the next change must have.
    next_nonce: u64,
    /// A change that does not count yet; nothing is paid meanwhile.
    pending: Option<Pending>,
}

#[derive(Debug, Serialize)]
struct Pending {
    account: String,
    nonce: u64,
    requested_at: i64,
    effective_at: i64,
}

/// A change and the word of both accounts, over the typed data `PayoutChange`.
#[derive(Debug, Deserialize)]
struct Change {
    account: String,
    nonce: u64,
    old_signature: Signed,
    new_signature: Signed,
}

/// Where the provider is paid, and what is about to change.
#[tracing::instrument(name = "api.payout_account.show", skip_all, fields(provider.id = %caller.provider))]
async fn show(State(app): State<AppState>, caller: ProviderCaller) -> Result<Json<View>, ApiError> {
    let mut conn = app.db.acquire().await?;
    let accounts = payout_accounts::list_of(&mut conn, caller.provider).await?;
    Ok(Json(view(&accounts, app.env.now())))
}

/// Asks for another account. It counts after two days, in which it can be taken back.
#[tracing::instrument(name = "api.payout_account.change", skip_all, fields(provider.id = %caller.provider))]
async fn change(
    State(app): State<AppState>,
    caller: ProviderCaller,
    Json(body): Json<Change>,
) -> Result<(StatusCode, Json<View>), ApiError> {
    let now = app.env.now();
    let mut tx = app.db.begin().await?;
    let accounts = payout_accounts::list_of(&mut tx, caller.provider).await?;
    let current = accounts.iter().rev().find(|account| account.counts(now));
    let from = current.map(|current| current.account.clone()).unwrap_or_default();
    let change = PayoutChange { provider: caller.provider, nonce: body.nonce, from, to: body.account };
    payout::request_change(&mut tx, &change, &body.old_signature, &body.new_signature, now).await?;
    let entry = Entry::new(app.env.mint(), now, Actor::Key(caller.key), "payout_account.requested", caller.provider);
    let detail = json!({ "from": change.from, "to": change.to, "nonce": change.nonce });
    audit::insert(&mut tx, entry.of_provider(caller.provider).with(detail)).await?;
    // Whoever else may read this provider's mail shall hear of it while it can be taken back.
    let event = Event::PayoutChangeRequested { provider: caller.provider };
    platform::outbox::append(&mut tx, app.env.mint(), &event, now).await?;
    let accounts = payout_accounts::list_of(&mut tx, caller.provider).await?;
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, Json(view(&accounts, now))))
}

/// Takes a change back that does not count yet.
#[tracing::instrument(name = "api.payout_account.cancel", skip_all, fields(provider.id = %caller.provider))]
async fn cancel(
    State(app): State<AppState>,
    caller: ProviderCaller,
    Json(_): Json<NoFields>,
) -> Result<Json<View>, ApiError> {
    let now = app.env.now();
    let mut tx = app.db.begin().await?;
    let cancelled = payout::cancel_change(&mut tx, caller.provider, now).await?;
    let cancelled = cancelled.ok_or_else(|| ApiError::invalid_state("no change of the payout account waits"))?;
    let entry = Entry::new(app.env.mint(), now, Actor::Key(caller.key), "payout_account.cancelled", caller.provider);
    let detail = json!({ "to": cancelled.account, "nonce": cancelled.nonce });
    audit::insert(&mut tx, entry.of_provider(caller.provider).with(detail)).await?;
    let accounts = payout_accounts::list_of(&mut tx, caller.provider).await?;
    tx.commit().await?;
    Ok(Json(view(&accounts, now)))
}

fn view(accounts: &[Account], now: protocol::Timestamp) -> View {
    let current = accounts.iter().rev().find(|account| account.counts(now));
    let pending = accounts.iter().find(|account| account.is_pending(now));
    View {
        object: "payout_account",
        account: current.map(|account| account.account.clone()),
        next_nonce: accounts.last().map_or(0, |last| last.nonce + 1),
        pending: pending.map(|account| Pending {
            account: account.account.clone(),
            nonce: account.nonce,
            requested_at: account.requested_at.unix_seconds(),
            effective_at: account.effective_at.unix_seconds(),
        }),
    }
}

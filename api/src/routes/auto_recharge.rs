//! The rule that charges a saved card when credit runs low, with a management key.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use billing::recharge::{self, NewRule, Rule, Stopped};
use billing::store::recharge as store;
use protocol::{CardId, NanoUsd, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::list::Deleted;
use super::topups::cards;
use crate::error::ApiError;
use crate::extract::{Json, Manager};
use crate::state::AppState;
use crate::store::audit::{self, Actor, Entry};

/// The routes of this file.
pub fn routes() -> Router<AppState> {
    Router::new().route("/credits/auto_recharge", get(show).put(set).delete(remove))
}

#[derive(Debug, Deserialize)]
struct SetRule {
    threshold_usd: NanoUsd,
    amount_usd: NanoUsd,
    daily_cap_usd: NanoUsd,
    monthly_cap_usd: NanoUsd,
    /// The default card when absent.
    #[serde(default)]
    payment_method: Option<CardId>,
}

/// Money as decimal strings of US dollars.
#[derive(Debug, Serialize)]
struct View {
    object: &'static str,
    status: &'static str,
    /// Why it is stopped.
    stopped_by: Option<&'static str>,
    threshold_usd: NanoUsd,
    amount_usd: NanoUsd,
    daily_cap_usd: NanoUsd,
    monthly_cap_usd: NanoUsd,
    payment_method: CardId,
    /// The bank's word for the last decline, until the card has paid.
    decline_code: Option<String>,
    /// Until when nothing is tried after it.
    retry_at: Option<i64>,
    updated_at: i64,
}

/// The rule of the caller's organization.
#[tracing::instrument(name = "api.auto_recharge.show", skip_all, fields(account.id = %manager.organization))]
async fn show(State(app): State<AppState>, manager: Manager) -> Result<Json<View>, ApiError> {
    let found = store::find(&mut *app.db.acquire().await?, manager.organization).await?;
    let rule = found.ok_or_else(|| ApiError::not_found("not_found", "credit is not bought by itself"))?;
    Ok(Json(view(rule)))
}

/// Sets the rule. One that had stopped acts again.
#[tracing::instrument(name = "api.auto_recharge.set", skip_all, fields(account.id = %manager.organization))]
async fn set(State(app): State<AppState>, manager: Manager, Json(body): Json<SetRule>) -> Result<Json<View>, ApiError> {
    let new = NewRule {
        threshold: body.threshold_usd,
        amount: body.amount_usd,
        daily_cap: body.daily_cap_usd,
        monthly_cap: body.monthly_cap_usd,
        card: body.payment_method,
    };
    let rule = recharge::set(cards(&app)?, manager.organization, new).await?;
    let action = "auto_recharge.updated";
    let entry = Entry::new(app.env.mint(), app.env.now(), Actor::Key(manager.key), action, manager.organization);
    let detail = json!({
        "threshold_usd": rule.threshold, "amount_usd": rule.amount, "daily_cap_usd": rule.daily_cap,
        "monthly_cap_usd": rule.monthly_cap, "payment_method": rule.card,
    });
    audit::insert(&mut *app.db.acquire().await?, entry.of_organization(manager.organization).with(detail)).await?;
    Ok(Json(view(rule)))
}

/// Takes the rule away. Again is harmless.
#[tracing::instrument(name = "api.auto_recharge.remove", skip_all, fields(account.id = %manager.organization))]
async fn remove(State(app): State<AppState>, manager: Manager) -> Result<Json<Deleted>, ApiError> {
    let mut tx = app.db.begin().await?;
    if store::remove(&mut tx, manager.organization).await? {
        let action = "auto_recharge.deleted";
        let entry = Entry::new(app.env.mint(), app.env.now(), Actor::Key(manager.key), action, manager.organization);
        audit::insert(&mut tx, entry.of_organization(manager.organization)).await?;
    }
    tx.commit().await?;
    Ok(Json(Deleted::only("auto_recharge")))
}

fn view(rule: Rule) -> View {
    View {
        object: "auto_recharge",
        status: if rule.stopped.is_some() { "stopped" } else { "active" },
        stopped_by: rule.stopped.map(Stopped::as_str),
        threshold_usd: rule.threshold,
        amount_usd: rule.amount,
        daily_cap_usd: rule.daily_cap,
        monthly_cap_usd: rule.monthly_cap,
        payment_method: rule.card,
        decline_code: rule.decline_code,
        retry_at: rule.retry_at.map(Timestamp::unix_seconds),
        updated_at: rule.set_at.unix_seconds(),
    }
}

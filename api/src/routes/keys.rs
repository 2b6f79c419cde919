//! Inference keys of a project, managed with a management key.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use billing::budget::{Budget, BudgetScope, Reset};
use billing::store::budgets;
use billing::store::views::{KeyUsage, keys_usage};
use http::StatusCode;
use protocol::{Id as _, KeyId, NanoUsd, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;

use super::list::{Deleted, List};
use super::organization::LAST_SECOND;
use crate::error::ApiError;
use crate::extract::{Json, Manager, Page, Path, given, not_found};
use crate::keys::Holder;
use crate::state::{App, AppState};
use crate::store::audit::{self, Actor, Entry};
use crate::store::keys::{self, KeyRow, Owner};
use crate::{accounts, check};

/// Longest name of a key.
const MAX_NAME: usize = 200;

/// The routes of this file.
pub fn routes() -> Router<AppState> {
    Router::new().route("/keys", get(list).post(create)).route("/keys/{key}", get(show).patch(update).delete(revoke))
}

#[derive(Debug, Deserialize)]
struct CreateKey {
    name: String,
    #[serde(default)]
    limit: Option<NanoUsd>,
    #[serde(default)]
    limit_reset: Option<Reset>,
    /// Unix seconds.
    #[serde(default)]
    expires_at: Option<i64>,
}

/// What is to change; what is absent stays. A null takes a limit, or its reset, away.
#[derive(Debug, Deserialize)]
struct UpdateKey {
    #[serde(default)]
    name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    limit: Option<Option<NanoUsd>>,
    #[serde(default, deserialize_with = "given")]
    limit_reset: Option<Option<Reset>>,
    #[serde(default)]
    disabled: Option<bool>,
}

/// Money as decimal strings of US dollars; spans by the calendar, in UTC. `hash` is what names the key in a URL:
/// its id.
#[derive(Debug, Serialize)]
struct View {
    id: KeyId,
    object: &'static str,
    hash: KeyId,
    name: String,
    label: String,
    disabled: bool,
    limit: Option<NanoUsd>,
    limit_remaining: Option<NanoUsd>,
    limit_reset: Option<Reset>,
    usage: NanoUsd,
    usage_daily: NanoUsd,
    usage_weekly: NanoUsd,
    usage_monthly: NanoUsd,
    created_at: i64,
    expires_at: Option<i64>,
}

/// A key that was just made; `key` is shown this once.
#[derive(Debug, Serialize)]
struct Created {
    data: View,
    key: String,
}

#[derive(Debug, Serialize)]
struct Envelope {
    data: View,
}

/// Makes an inference key in the manager's project.
#[tracing::instrument(name = "api.keys.create", skip_all, fields(account.id = %manager.organization))]
async fn create(
    State(app): State<AppState>,
    manager: Manager,
    Json(body): Json<CreateKey>,
) -> Result<(StatusCode, Json<Created>), ApiError> {
    check::label("name", &body.name, MAX_NAME)?;
    if body.expires_at.is_some_and(|at| at > LAST_SECOND) {
        return Err(ApiError::invalid("expires_at", "lies past the year 9999").with_code("invalid_value"));
    }
    let expires_at = body.expires_at.map(Timestamp::from_unix_seconds);
    if expires_at.is_some_and(|at| at <= app.env.now()) {
        return Err(ApiError::invalid("expires_at", "lies in the past").with_code("invalid_value"));
    }
    if body.limit.is_none() && body.limit_reset.is_some() {
        return Err(no_limit_to_reset());
    }
    let holder = Holder::Inference { organization: manager.organization, project: manager.project };
    let mut tx = app.db.begin().await?;
    let actor = Actor::Key(manager.key);
    let issued = accounts::issue(&mut tx, &app.env, holder, &body.name, expires_at, actor).await?;
    if let Some(limit) = body.limit {
        set_limit(&mut tx, &app, issued.key.id, limit, body.limit_reset).await?;
    }
    let row = keys::find_kept(&mut tx, issued.key.id, owner(&manager)).await?.ok_or_else(not_found)?;
    let data = view_of(&mut tx, &app, row).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(Created { data, key: issued.secret.expose().to_owned() })))
}

/// The project's inference keys, newest first.
#[tracing::instrument(name = "api.keys.list", skip_all, fields(account.id = %manager.organization))]
async fn list(State(app): State<AppState>, manager: Manager, page: Page) -> Result<Json<List<View>>, ApiError> {
    let (after, now) = (page.after()?, app.env.now());
    let mut conn = app.db.acquire().await?;
    let rows = keys::list_kept(&mut conn, owner(&manager), after, false, page.limit + 1).await?;
    let ids: Vec<KeyId> = rows.iter().map(|row| row.record.id).collect();
    let mut usage = keys_usage(&mut conn, &ids, now).await?;
    let data = rows.into_iter().filter_map(|row| {
        let usage = usage.remove(&row.record.id)?;
        Some(view(row, &usage, now))
    });
    Ok(Json(List::of(data.collect(), page.limit, |key: &View| key.id.to_string())))
}

/// One inference key of the project.
#[tracing::instrument(name = "api.keys.show", skip_all, fields(account.id = %manager.organization))]
async fn show(
    State(app): State<AppState>,
    manager: Manager,
    Path(key): Path<KeyId>,
) -> Result<Json<Envelope>, ApiError> {
    let mut conn = app.db.acquire().await?;
    let row = keys::find_kept(&mut conn, key, owner(&manager)).await?.ok_or_else(not_found)?;
    Ok(Json(Envelope { data: view_of(&mut conn, &app, row).await? }))
}

/// Changes a key of the project. A disabled one stops everywhere within a second, until it is enabled again.
#[tracing::instrument(name = "api.keys.update", skip_all, fields(account.id = %manager.organization))]
async fn update(
    State(app): State<AppState>,
    manager: Manager,
    Path(key): Path<KeyId>,
    Json(body): Json<UpdateKey>,
) -> Result<Json<Envelope>, ApiError> {
    check::optional("name", body.name.as_deref(), MAX_NAME)?;
    let now = app.env.now();
    let mut tx = app.db.begin().await?;
    keys::find_kept(&mut tx, key, owner(&manager)).await?.ok_or_else(not_found)?;
    keys::update(&mut tx, key, body.name.as_deref(), body.disabled, now).await?;
    let limit = change_limit(&mut tx, &app, key, &body).await?;
    let row = keys::find_kept(&mut tx, key, owner(&manager)).await?.ok_or_else(not_found)?;
    let entry = Entry::new(app.env.mint(), now, Actor::Key(manager.key), "key.updated", key);
    let detail = json!({
        "name": row.record.name,
        "disabled": row.disabled_at.is_some(),
        "limit": limit.map(|limit| limit.limit),
        "limit_reset": limit.and_then(|limit| limit.reset),
    });
    audit::insert(&mut tx, accounts::concerning(entry, &row.record.holder).with(detail)).await?;
    let data = view_of(&mut tx, &app, row).await?;
    tx.commit().await?;
    Ok(Json(Envelope { data }))
}

/// Revokes an inference key of the project, everywhere within a second. Again is harmless.
#[tracing::instrument(name = "api.keys.revoke", skip_all, fields(account.id = %manager.organization))]
async fn revoke(
    State(app): State<AppState>,
    manager: Manager,
    Path(key): Path<KeyId>,
) -> Result<Json<Deleted>, ApiError> {
    let mut tx = app.db.begin().await?;
    let actor = Actor::Key(manager.key);
    accounts::revoke(&mut tx, &app.env, key, Some(owner(&manager)), actor).await?.ok_or_else(not_found)?;
    tx.commit().await?;
    Ok(Json(Deleted::named(key, "api_key")))
}

/// The limit as it stands after the change.
async fn change_limit(
    conn: &mut PgConnection,
    app: &App,
    key: KeyId,
    body: &UpdateKey,
) -> Result<Option<Budget>, ApiError> {
    let scope = BudgetScope::Key(key);
    let now = budgets::find(conn, scope).await?;
    let reset = body.limit_reset.unwrap_or(now.and_then(|limit| limit.reset));
    match (body.limit, now) {
        (None, _) if body.limit_reset.is_none() => Ok(now),
        (Some(None), _) if body.limit_reset.flatten().is_some() => Err(no_limit_to_reset()),
        (Some(None), _) => {
            budgets::remove(conn, scope).await?;
            Ok(None)
        }
        (Some(Some(limit)), _) => Ok(Some(set_limit(conn, app, key, limit, reset).await?)),
        (None, Some(limit)) => Ok(Some(set_limit(conn, app, key, limit.limit, reset).await?)),
        (None, None) if reset.is_none() => Ok(None),
        (None, None) => Err(no_limit_to_reset()),
    }
}

async fn set_limit(
    conn: &mut PgConnection,
    app: &App,
    key: KeyId,
    limit: NanoUsd,
    reset: Option<Reset>,
) -> Result<Budget, ApiError> {
    // Any UUID names a budget; a key's id is as unique as one.
    let id = app.env.mint::<KeyId>().uuid();
    Ok(budgets::set(conn, BudgetScope::Key(key), limit, reset, id, app.env.now()).await?)
}

fn no_limit_to_reset() -> ApiError {
    ApiError::invalid("limit_reset", "only a limit has one").with_code("invalid_value")
}

fn owner(manager: &Manager) -> Owner {
    Owner::Inference(manager.organization, manager.project)
}

async fn view_of(conn: &mut PgConnection, app: &App, row: KeyRow) -> Result<View, ApiError> {
    let now = app.env.now();
    let usage = billing::store::views::key_usage(conn, row.record.id, now).await?;
    Ok(view(row, &usage, now))
}

fn view(row: KeyRow, usage: &KeyUsage, now: Timestamp) -> View {
    let expired = row.record.expires_at.is_some_and(|at| at <= now);
    View {
        id: row.record.id,
        object: "api_key",
        hash: row.record.id,
        name: row.record.name,
        label: row.hint,
        disabled: row.disabled_at.is_some() || expired,
        limit: usage.limit,
        limit_remaining: usage.limit_remaining,
        limit_reset: usage.limit_reset,
        usage: usage.usage,
        usage_daily: usage.usage_daily,
        usage_weekly: usage.usage_weekly,
        usage_monthly: usage.usage_monthly,
        created_at: row.created_at.unix_seconds(),
        expires_at: row.record.expires_at.map(Timestamp::unix_seconds),
    }
}

//! Inference keys of a project, managed with a management key.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use billing::budget::{BudgetScope, Reset};
use billing::store::budgets;
use http::StatusCode;
use protocol::{Id as _, KeyId, NanoUsd, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::error::ApiError;
use crate::extract::{Json, Manager, Page, Path};
use crate::keys::Holder;
use crate::state::AppState;
use crate::store::audit::Actor;
use crate::store::keys::{KeyRow, Owner, find, list_of};
use crate::{accounts, check};

/// The routes of this file.
pub fn routes() -> Router<AppState> {
    Router::new().route("/keys", get(list).post(create)).route("/keys/{key}", get(show).delete(revoke))
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

#[derive(Debug, Serialize)]
struct View {
    id: KeyId,
    object: &'static str,
    name: String,
    label: String,
    disabled: bool,
    limit: Option<NanoUsd>,
    limit_reset: Option<Reset>,
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

#[derive(Debug, Serialize)]
struct List {
    object: &'static str,
    data: Vec<View>,
    first_id: Option<KeyId>,
    last_id: Option<KeyId>,
    has_more: bool,
}

/// Makes an inference key in the manager's project.
#[tracing::instrument(name = "api.keys.create", skip_all, fields(account.id = %manager.organization))]
async fn create(
    State(app): State<AppState>,
    manager: Manager,
    Json(body): Json<CreateKey>,
) -> Result<(StatusCode, Json<Created>), ApiError> {
    check::label("name", &body.name, 200)?;
    let now = app.env.now();
    let expires_at = body.expires_at.map(Timestamp::from_unix_seconds);
    if expires_at.is_some_and(|at| at <= now) {
        return Err(ApiError::invalid("expires_at", "lies in the past").with_code("invalid_value"));
    }
    if body.limit.is_none() && body.limit_reset.is_some() {
        return Err(ApiError::invalid("limit_reset", "only a limit has one").with_code("invalid_value"));
    }
    let holder = Holder::Inference { organization: manager.organization, project: manager.project };
    let mut tx = app.db.begin().await?;
    let actor = Actor::Key(manager.key);
    let issued = accounts::issue(&mut tx, &app.env, holder, &body.name, expires_at, actor).await?;
    if let Some(limit) = body.limit {
        // Any UUID names a budget; a key's id is as unique as one.
        let budget = app.env.mint::<KeyId>().uuid();
        budgets::set(&mut tx, BudgetScope::Key(issued.key.id), limit, body.limit_reset, budget, now).await?;
    }
    let row = find(&mut tx, issued.key.id, Some(Owner::Project(manager.project))).await?;
    let data = view(&mut tx, row.ok_or_else(|| not_found(issued.key.id))?, now).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(Created { data, key: issued.secret.expose().to_owned() })))
}

/// The project's inference keys, newest first.
#[tracing::instrument(name = "api.keys.list", skip_all, fields(account.id = %manager.organization))]
async fn list(State(app): State<AppState>, manager: Manager, page: Page) -> Result<Json<List>, ApiError> {
    let after = page.after.map(|after| after.parse::<KeyId>()).transpose();
    let after = after.map_err(|error| ApiError::invalid("after", error.to_string()))?;
    let mut conn = app.db.acquire().await?;
    let mut rows = list_of(&mut conn, Some(Owner::Project(manager.project)), after, page.limit + 1).await?;
    let has_more = rows.len() > page.limit as usize;
    rows.truncate(page.limit as usize);
    let now = app.env.now();
    let mut data = Vec::with_capacity(rows.len());
    for row in rows {
        data.push(view(&mut conn, row, now).await?);
    }
    let (first_id, last_id) = (data.first().map(|key| key.id), data.last().map(|key| key.id));
    Ok(Json(List { object: "list", data, first_id, last_id, has_more }))
}

/// One inference key of the project.
#[tracing::instrument(name = "api.keys.show", skip_all, fields(account.id = %manager.organization))]
async fn show(
    State(app): State<AppState>,
    manager: Manager,
    Path(key): Path<KeyId>,
) -> Result<Json<Envelope>, ApiError> {
    let mut conn = app.db.acquire().await?;
    let row = find(&mut conn, key, Some(Owner::Project(manager.project))).await?.ok_or_else(|| not_found(key))?;
    Ok(Json(Envelope { data: view(&mut conn, row, app.env.now()).await? }))
}

/// Revokes an inference key of the project, everywhere within a second. Again is harmless.
#[tracing::instrument(name = "api.keys.revoke", skip_all, fields(account.id = %manager.organization))]
async fn revoke(
    State(app): State<AppState>,
    manager: Manager,
    Path(key): Path<KeyId>,
) -> Result<Json<serde_json::Value>, ApiError> {
    let (owner, actor) = (Owner::Project(manager.project), Actor::Key(manager.key));
    let mut tx = app.db.begin().await?;
    accounts::revoke(&mut tx, &app.env, key, Some(owner), actor).await?.ok_or_else(|| not_found(key))?;
    tx.commit().await?;
    Ok(Json(serde_json::json!({ "id": key, "object": "api_key", "deleted": true })))
}

async fn view(conn: &mut PgConnection, row: KeyRow, now: Timestamp) -> Result<View, ApiError> {
    let budget = budgets::find(conn, BudgetScope::Key(row.record.id)).await?;
    let expired = row.record.expires_at.is_some_and(|at| at <= now);
    Ok(View {
        id: row.record.id,
        object: "api_key",
        name: row.record.name,
        label: row.hint,
        disabled: row.revoked_at.is_some() || expired,
        limit: budget.map(|budget| budget.limit),
        limit_reset: budget.and_then(|budget| budget.reset),
        created_at: row.created_at.unix_seconds(),
        expires_at: row.record.expires_at.map(Timestamp::unix_seconds),
    })
}

fn not_found(key: KeyId) -> ApiError {
    ApiError::not_found("not_found", format!("there is no key {key}"))
}

//! Admin keys of the organization.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use protocol::{KeyId, OrganizationId, Timestamp};
use serde::{Deserialize, Serialize};

use super::super::list::{Deleted, List};
use super::MAX_NAME;
use crate::error::ApiError;
use crate::extract::{Admin, Json, Page, Params, Path, not_found};
use crate::keys::Holder;
use crate::state::AppState;
use crate::store::audit::Actor;
use crate::store::keys::{self, KeyRow, Owner};
use crate::store::organizations::{self, Organization};
use crate::{accounts, check};

/// Longest life a key may be given: a year.
const MAX_LIFE_S: u64 = 365 * 86_400;

/// The routes of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/organization/admin_api_keys", get(list).post(create))
        .route("/organization/admin_api_keys/{key}", get(show).delete(remove))
}

#[derive(Debug, Deserialize)]
struct CreateKey {
    name: String,
    #[serde(default)]
    expires_in_seconds: Option<u64>,
}

#[derive(Debug, Serialize)]
struct View {
    object: &'static str,
    id: KeyId,
    name: String,
    redacted_value: String,
    created_at: i64,
    expires_at: Option<i64>,
    owner: OwnerView,
}

/// An admin key speaks for the organization as a whole.
#[derive(Debug, Clone, Serialize)]
struct OwnerView {
    r#type: &'static str,
    object: &'static str,
    id: OrganizationId,
    name: String,
    created_at: i64,
    role: &'static str,
}

/// A key that was just made; `value` is shown this once.
#[derive(Debug, Serialize)]
struct Created {
    #[serde(flatten)]
    key: View,
    value: String,
}

/// The organization's admin keys, oldest first unless `order=desc`.
#[tracing::instrument(name = "api.admin_keys.list", skip_all, fields(account.id = %admin.organization))]
async fn list(
    State(app): State<AppState>,
    admin: Admin,
    page: Page,
    params: Params,
) -> Result<Json<List<View>>, ApiError> {
    let oldest_first = params.choice("order", &[("asc", true), ("desc", false)])?.unwrap_or(true);
    let (owner, after) = (Owner::Admin(admin.organization), page.after()?);
    let mut conn = app.db.acquire().await?;
    let organization = organizations::find(&mut conn, admin.organization).await?.ok_or_else(not_found)?;
    let rows = keys::list_kept(&mut conn, owner, after, oldest_first, page.limit + 1).await?;
    let data = rows.into_iter().map(|row| view(&organization, row)).collect();
    Ok(Json(List::of(data, page.limit, |key: &View| key.id.to_string())))
}

/// Makes an admin key.
#[tracing::instrument(name = "api.admin_keys.create", skip_all, fields(account.id = %admin.organization))]
async fn create(
    State(app): State<AppState>,
    admin: Admin,
    Json(body): Json<CreateKey>,
) -> Result<Json<Created>, ApiError> {
    check::label("name", &body.name, MAX_NAME)?;
    let expires_at = match body.expires_in_seconds {
        None => None,
        Some(life) if (1..=MAX_LIFE_S).contains(&life) => Some(app.env.now().plus(Duration::from_secs(life))),
        Some(_) => {
            let message = format!("between 1 and {MAX_LIFE_S}");
            return Err(ApiError::invalid("expires_in_seconds", message).with_code("invalid_value"));
        }
    };
    let holder = Holder::Admin { organization: admin.organization };
    let mut tx = app.db.begin().await?;
    let issued = accounts::issue(&mut tx, &app.env, holder, &body.name, expires_at, Actor::Key(admin.key)).await?;
    let organization = organizations::find(&mut tx, admin.organization).await?.ok_or_else(not_found)?;
    let row = keys::find_kept(&mut tx, issued.key.id, Owner::Admin(admin.organization)).await?.ok_or_else(not_found)?;
    tx.commit().await?;
    Ok(Json(Created { key: view(&organization, row), value: issued.secret.expose().to_owned() }))
}

/// One admin key of the organization.
#[tracing::instrument(name = "api.admin_keys.show", skip_all, fields(account.id = %admin.organization))]
async fn show(State(app): State<AppState>, admin: Admin, Path(key): Path<KeyId>) -> Result<Json<View>, ApiError> {
    let mut conn = app.db.acquire().await?;
    let organization = organizations::find(&mut conn, admin.organization).await?.ok_or_else(not_found)?;
    let row = keys::find_kept(&mut conn, key, Owner::Admin(admin.organization)).await?.ok_or_else(not_found)?;
    Ok(Json(view(&organization, row)))
}

/// Revokes an admin key, everywhere within a second: also the one that asks. Again is harmless.
#[tracing::instrument(name = "api.admin_keys.remove", skip_all, fields(account.id = %admin.organization))]
async fn remove(State(app): State<AppState>, admin: Admin, Path(key): Path<KeyId>) -> Result<Json<Deleted>, ApiError> {
    let mut tx = app.db.begin().await?;
    let (owner, actor) = (Owner::Admin(admin.organization), Actor::Key(admin.key));
    accounts::revoke(&mut tx, &app.env, key, Some(owner), actor).await?.ok_or_else(not_found)?;
    tx.commit().await?;
    Ok(Json(Deleted::named(key, "organization.admin_api_key.deleted")))
}

fn view(organization: &Organization, row: KeyRow) -> View {
    View {
        object: "organization.admin_api_key",
        id: row.record.id,
        name: row.record.name,
        redacted_value: row.hint,
        created_at: row.created_at.unix_seconds(),
        expires_at: row.record.expires_at.map(Timestamp::unix_seconds),
        owner: OwnerView {
            r#type: "organization",
            object: "organization",
            id: organization.id,
            name: organization.name.clone(),
            created_at: organization.created_at.unix_seconds(),
            role: "owner",
        },
    }
}

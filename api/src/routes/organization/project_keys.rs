//! A project's inference and management keys, as the organization's admin sees them.

use std::collections::HashMap;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use billing::store::views;
use protocol::{KeyId, ProjectId, ServiceAccountId, Timestamp};
use serde::Serialize;

use super::super::list::{Deleted, List};
use crate::accounts;
use crate::error::ApiError;
use crate::extract::{Json, Page, Params, Path, ProjectAdmin, not_found};
use crate::state::AppState;
use crate::store::audit::Actor;
use crate::store::keys::{self, KeyRow, Owner};
use crate::store::service_accounts::ServiceAccount;

/// The routes of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/organization/projects/{project}/api_keys", get(list))
        .route("/organization/projects/{project}/api_keys/{key}", get(show).delete(remove))
}

#[derive(Debug, Serialize)]
struct View {
    object: &'static str,
    id: KeyId,
    name: String,
    redacted_value: String,
    created_at: i64,
    last_used_at: Option<i64>,
    owner_project_access: &'static str,
    owner: OwnerView,
}

/// Who holds a key: a service account, or somebody we don't know by name.
#[derive(Debug, Serialize)]
struct OwnerView {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_account: Option<ServiceAccountView>,
}

#[derive(Debug, Serialize)]
struct ServiceAccountView {
    id: ServiceAccountId,
    name: String,
    created_at: i64,
    role: &'static str,
}

/// Which keys are wanted, by whether their owner may still use the project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Active,
    Inactive,
    Any,
}

/// The project's keys, newest first.
#[tracing::instrument(name = "api.project_keys.list", skip_all, fields(account.id = %own.admin.organization))]
async fn list(
    State(app): State<AppState>,
    own: ProjectAdmin,
    page: Page,
    params: Params,
) -> Result<Json<List<View>>, ApiError> {
    let choices = [("active", Access::Active), ("inactive", Access::Inactive), ("any", Access::Any)];
    let access = params.choice("owner_project_access", &choices)?.unwrap_or(Access::Any);
    let after = page.after()?;
    let mut conn = app.db.acquire().await?;
    // All owners of a project's keys have the same access to it: it ends when the project does.
    let rows = match (access, own.project.archived_at) {
        (Access::Active, Some(_)) | (Access::Inactive, None) => Vec::new(),
        _ => keys::list_kept(&mut conn, owner(&own), after, false, page.limit + 1).await?,
    };
    let ids: Vec<KeyId> = rows.iter().map(|row| row.record.id).collect();
    let used = views::last_used(&mut conn, &ids).await?;
    let data = rows.into_iter().map(|row| view(&own, row, &used)).collect();
    Ok(Json(List::of(data, page.limit, |key: &View| key.id.to_string())))
}

/// One key of the project.
#[tracing::instrument(name = "api.project_keys.show", skip_all, fields(account.id = %own.admin.organization))]
async fn show(
    State(app): State<AppState>,
    own: ProjectAdmin,
    Path((_, key)): Path<(ProjectId, KeyId)>,
) -> Result<Json<View>, ApiError> {
    let mut conn = app.db.acquire().await?;
    let row = keys::find_kept(&mut conn, key, owner(&own)).await?.ok_or_else(not_found)?;
    let used = views::last_used(&mut conn, &[key]).await?;
    Ok(Json(view(&own, row, &used)))
}

/// Revokes a key of the project, everywhere within a second. Again is harmless.
#[tracing::instrument(name = "api.project_keys.remove", skip_all, fields(account.id = %own.admin.organization))]
async fn remove(
    State(app): State<AppState>,
    own: ProjectAdmin,
    Path((_, key)): Path<(ProjectId, KeyId)>,
) -> Result<Json<Deleted>, ApiError> {
    let mut tx = app.db.begin().await?;
    let actor = Actor::Key(own.admin.key);
    accounts::revoke(&mut tx, &app.env, key, Some(owner(&own)), actor).await?.ok_or_else(not_found)?;
    tx.commit().await?;
    Ok(Json(Deleted::named(key, "organization.project.api_key.deleted")))
}

fn owner(own: &ProjectAdmin) -> Owner {
    Owner::Project(own.admin.organization, own.project.id)
}

fn view(own: &ProjectAdmin, row: KeyRow, used: &HashMap<KeyId, Timestamp>) -> View {
    let service_account = |account: ServiceAccount| ServiceAccountView {
        id: account.id,
        name: account.name,
        created_at: account.created_at.unix_seconds(),
        role: super::service_accounts::ROLE,
    };
    View {
        object: "organization.project.api_key",
        id: row.record.id,
        name: row.record.name,
        redacted_value: row.hint,
        created_at: row.created_at.unix_seconds(),
        last_used_at: used.get(&row.record.id).map(|at| at.unix_seconds()),
        owner_project_access: if own.project.archived_at.is_some() { "inactive" } else { "active" },
        owner: OwnerView {
            r#type: if row.service_account.is_some() { "service_account" } else { "user" },
            service_account: row.service_account.map(service_account),
        },
    }
}

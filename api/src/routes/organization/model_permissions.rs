//! Which models a project may ask for.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::list::Deleted;
use super::entry;
use crate::check;
use crate::error::ApiError;
use crate::extract::{Json, ProjectAdmin};
use crate::keys::{ModelPermissions, PermissionMode};
use crate::state::AppState;
use crate::store::audit;
use crate::store::{keys, model_permissions};

/// Most models on one list: each key in memory carries its project's.
const MAX_MODELS: usize = 1_000;
/// Longest model id.
const MAX_MODEL: usize = 200;

/// The routes of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/organization/projects/{project}/model_permissions", get(show).post(update).delete(remove))
}

#[derive(Debug, Deserialize)]
struct SetPermissions {
    mode: PermissionMode,
    model_ids: Vec<String>,
}

#[derive(Debug, Serialize)]
struct View {
    object: &'static str,
    mode: PermissionMode,
    model_ids: Vec<String>,
}

/// What the project may ask for. Where nothing was said that is everything: a deny list of nothing.
#[tracing::instrument(name = "api.model_permissions.show", skip_all, fields(account.id = %own.admin.organization))]
async fn show(State(app): State<AppState>, own: ProjectAdmin) -> Result<Json<View>, ApiError> {
    let mut conn = app.db.acquire().await?;
    let permissions = model_permissions::find(&mut conn, own.project.id).await?;
    let open = ModelPermissions { mode: PermissionMode::DenyList, models: Vec::new() };
    Ok(Json(view(permissions.unwrap_or(open))))
}

/// Replaces what the project may ask for, everywhere within a second. Models need not exist yet.
#[tracing::instrument(name = "api.model_permissions.update", skip_all, fields(account.id = %own.admin.organization))]
async fn update(
    State(app): State<AppState>,
    own: ProjectAdmin,
    Json(body): Json<SetPermissions>,
) -> Result<Json<View>, ApiError> {
    let mut models = body.model_ids;
    if models.len() > MAX_MODELS {
        return Err(ApiError::invalid("model_ids", format!("at most {MAX_MODELS} models")).with_code("invalid_value"));
    }
    for (at, model) in models.iter().enumerate() {
        check::label(&format!("model_ids[{at}]"), model, MAX_MODEL)?;
    }
    models.sort_unstable();
    models.dedup();
    own.open()?;
    let permissions = ModelPermissions { mode: body.mode, models };
    let project = own.project.id;
    let mut tx = app.db.begin().await?;
    model_permissions::set(&mut tx, project, &permissions).await?;
    keys::announce_project(&mut tx, own.admin.organization, project).await?;
    let entry = entry(&app, &own.admin, "model_permissions.updated", project).of_project(project);
    let detail = json!({ "mode": permissions.mode, "model_ids": permissions.models });
    audit::insert(&mut tx, entry.with(detail)).await?;
    tx.commit().await?;
    Ok(Json(view(permissions)))
}

/// Opens all models to the project, everywhere within a second. Again is harmless.
#[tracing::instrument(name = "api.model_permissions.remove", skip_all, fields(account.id = %own.admin.organization))]
async fn remove(State(app): State<AppState>, own: ProjectAdmin) -> Result<Json<Deleted>, ApiError> {
    own.open()?;
    let project = own.project.id;
    let mut tx = app.db.begin().await?;
    model_permissions::remove(&mut tx, project).await?;
    keys::announce_project(&mut tx, own.admin.organization, project).await?;
    let entry = entry(&app, &own.admin, "model_permissions.deleted", project).of_project(project);
    audit::insert(&mut tx, entry).await?;
    tx.commit().await?;
    Ok(Json(Deleted::only("project.model_permissions.deleted")))
}

fn view(permissions: ModelPermissions) -> View {
    View { object: "project.model_permissions", mode: permissions.mode, model_ids: permissions.models }
}

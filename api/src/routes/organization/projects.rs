//! Projects: what an organization's money is spent for.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use protocol::{ProjectId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::list::List;
use super::{MAX_NAME, entry};
use crate::error::ApiError;
use crate::extract::{Admin, Json, NoFields, Page, Params, ProjectAdmin};
use crate::state::AppState;
use crate::store::audit::{self, Actor};
use crate::store::keys;
use crate::store::organizations::{self, Project};
use crate::{accounts, check};

/// The routes of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/organization/projects", get(list).post(create))
        .route("/organization/projects/{project}", get(show).post(update))
        .route("/organization/projects/{project}/archive", post(archive))
}

/// What a project is to be. Where data lies, and under whose key, is not for a project to choose here.
#[derive(Debug, Deserialize)]
struct CreateProject {
    name: String,
    #[serde(default)]
    residency: Option<String>,
    #[serde(default)]
    external_key_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct UpdateProject {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    external_key_id: Option<String>,
}

#[derive(Debug, Serialize)]
struct View {
    id: ProjectId,
    object: &'static str,
    name: String,
    status: &'static str,
    is_default: bool,
    created_at: i64,
    archived_at: Option<i64>,
}

/// The organization's projects, newest first; archived ones when they are asked for.
#[tracing::instrument(name = "api.projects.list", skip_all, fields(account.id = %admin.organization))]
async fn list(
    State(app): State<AppState>,
    admin: Admin,
    page: Page,
    params: Params,
) -> Result<Json<List<View>>, ApiError> {
    let (after, archived_too) = (page.after()?, params.flag("include_archived")?.unwrap_or(false));
    let mut conn = app.db.acquire().await?;
    let of = admin.organization;
    let rows = organizations::list_projects_after(&mut conn, of, archived_too, after, page.limit + 1).await?;
    Ok(Json(List::of(rows.into_iter().map(view).collect(), page.limit, |project| project.id.to_string())))
}

/// Opens a project.
#[tracing::instrument(name = "api.projects.create", skip_all, fields(account.id = %admin.organization))]
async fn create(
    State(app): State<AppState>,
    admin: Admin,
    Json(body): Json<CreateProject>,
) -> Result<Json<View>, ApiError> {
    check::label("name", &body.name, MAX_NAME)?;
    if body.residency.is_some_and(|residency| residency != "GLOBAL") {
        return Err(unsupported("residency"));
    }
    no_own_key(body.external_key_id.as_deref())?;
    let mut tx = app.db.begin().await?;
    let actor = Actor::Key(admin.key);
    let project = accounts::add_project(&mut tx, &app.env, admin.organization, &body.name, actor).await?;
    tx.commit().await?;
    Ok(Json(view(project)))
}

/// One project, archived or not.
#[tracing::instrument(name = "api.projects.show", skip_all, fields(account.id = %own.admin.organization))]
async fn show(own: ProjectAdmin) -> Json<View> {
    Json(view(own.project))
}

/// Gives a project another name.
#[tracing::instrument(name = "api.projects.update", skip_all, fields(account.id = %own.admin.organization))]
async fn update(
    State(app): State<AppState>,
    own: ProjectAdmin,
    Json(body): Json<UpdateProject>,
) -> Result<Json<View>, ApiError> {
    no_own_key(body.external_key_id.as_deref())?;
    own.open()?;
    let ProjectAdmin { admin, mut project } = own;
    let Some(name) = body.name else { return Ok(Json(view(project))) };
    check::label("name", &name, MAX_NAME)?;
    let mut tx = app.db.begin().await?;
    organizations::rename_project(&mut tx, admin.organization, project.id, &name).await?;
    let entry = entry(&app, &admin, "project.updated", project.id).of_project(project.id);
    audit::insert(&mut tx, entry.with(json!({ "title": name }))).await?;
    tx.commit().await?;
    project.name = name;
    Ok(Json(view(project)))
}

/// Closes a project for good: its keys stop everywhere within a second. Again is harmless.
#[tracing::instrument(name = "api.projects.archive", skip_all, fields(account.id = %own.admin.organization))]
async fn archive(
    State(app): State<AppState>,
    own: ProjectAdmin,
    Json(_): Json<NoFields>,
) -> Result<Json<View>, ApiError> {
    let ProjectAdmin { admin, mut project } = own;
    if project.is_default {
        return Err(ApiError::invalid_state("the default project takes what names no other: it cannot be archived"));
    }
    if project.archived_at.is_some() {
        return Ok(Json(view(project)));
    }
    let now = app.env.now();
    let mut tx = app.db.begin().await?;
    organizations::archive_project(&mut tx, admin.organization, project.id, now).await?;
    keys::announce_project(&mut tx, admin.organization, project.id).await?;
    audit::insert(&mut tx, entry(&app, &admin, "project.archived", project.id).of_project(project.id)).await?;
    tx.commit().await?;
    project.archived_at = Some(now);
    Ok(Json(view(project)))
}

fn no_own_key(external_key_id: Option<&str>) -> Result<(), ApiError> {
    external_key_id.map_or(Ok(()), |_| Err(unsupported("external_key_id")))
}

/// A demand that is not met must not look as if it were.
fn unsupported(field: &str) -> ApiError {
    ApiError::invalid(field, "is not supported here").with_code("unsupported_parameter")
}

fn view(project: Project) -> View {
    View {
        id: project.id,
        object: "organization.project",
        name: project.name,
        status: if project.archived_at.is_some() { "archived" } else { "active" },
        is_default: project.is_default,
        created_at: project.created_at.unix_seconds(),
        archived_at: project.archived_at.map(Timestamp::unix_seconds),
    }
}

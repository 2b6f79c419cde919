//! Service accounts of a project: programs with keys of their own.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use protocol::{KeyId, ProjectId, ServiceAccountId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;

use super::super::list::{Deleted, List};
use super::{MAX_NAME, entry};
use crate::accounts::{self, Issued};
use crate::check;
use crate::error::ApiError;
use crate::extract::{Json, Page, Path, ProjectAdmin, not_found};
use crate::state::AppState;
use crate::store::audit::{self, Actor};
use crate::store::keys;
use crate::store::service_accounts::{self, ServiceAccount};

/// What a service account may do. There is one role: its keys ask models.
pub(super) const ROLE: &str = "member";
/// What a key is called that nobody named.
const KEY_NAME: &str = "Secret Key";

/// The routes of this file.
pub(super) fn routes() -> Router<AppState> {
    let one = get(show).post(update).delete(remove);
    Router::new()
        .route("/organization/projects/{project}/service_accounts", get(list).post(create))
        .route("/organization/projects/{project}/service_accounts/{service_account}", one)
        .route("/organization/projects/{project}/service_accounts/{service_account}/api_keys", post(create_key))
}

#[derive(Debug, Deserialize)]
struct CreateServiceAccount {
    name: String,
    /// Leaves the first key out.
    #[serde(default)]
    create_service_account_only: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct UpdateServiceAccount {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    role: Option<String>,
}

#[derive(Debug, Deserialize)]
struct CreateKey {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    scopes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct View {
    object: &'static str,
    id: ServiceAccountId,
    name: String,
    role: &'static str,
    created_at: i64,
}

/// A service account that was just made, with its first key.
#[derive(Debug, Serialize)]
struct Created {
    #[serde(flatten)]
    account: View,
    api_key: Option<KeyView>,
}

/// A key that was just made; `value` is shown this once.
#[derive(Debug, Serialize)]
struct KeyView {
    object: &'static str,
    id: KeyId,
    name: String,
    value: String,
    created_at: i64,
}

/// The project's service accounts, newest first.
#[tracing::instrument(name = "api.service_accounts.list", skip_all, fields(account.id = %own.admin.organization))]
async fn list(State(app): State<AppState>, own: ProjectAdmin, page: Page) -> Result<Json<List<View>>, ApiError> {
    let (organization, project) = (own.admin.organization, own.project.id);
    let after = page.after()?;
    let mut conn = app.db.acquire().await?;
    let rows = service_accounts::list(&mut conn, organization, project, after, page.limit + 1).await?;
    Ok(Json(List::of(rows.into_iter().map(view).collect(), page.limit, |account| account.id.to_string())))
}

/// Makes a service account and, unless that is not wanted, its first key.
#[tracing::instrument(name = "api.service_accounts.create", skip_all, fields(account.id = %own.admin.organization))]
async fn create(
    State(app): State<AppState>,
    own: ProjectAdmin,
    Json(body): Json<CreateServiceAccount>,
) -> Result<Json<Created>, ApiError> {
    check::label("name", &body.name, MAX_NAME)?;
    own.open()?;
    let ProjectAdmin { admin, project } = own;
    let account = ServiceAccount {
        id: app.env.mint(),
        organization: admin.organization,
        project: project.id,
        name: body.name,
        created_at: app.env.now(),
    };
    let mut tx = app.db.begin().await?;
    service_accounts::insert(&mut tx, &account).await?;
    let entry = entry(&app, &admin, "service_account.created", account.id).of_project(project.id);
    audit::insert(&mut tx, entry.with(json!({ "role": ROLE, "name": account.name }))).await?;
    let api_key = if body.create_service_account_only == Some(true) {
        None
    } else {
        Some(key_view(accounts::issue_to(&mut tx, &app.env, &account, KEY_NAME, Actor::Key(admin.key)).await?))
    };
    tx.commit().await?;
    Ok(Json(Created { account: view(account), api_key }))
}

/// One service account of the project.
#[tracing::instrument(name = "api.service_accounts.show", skip_all, fields(account.id = %own.admin.organization))]
async fn show(
    State(app): State<AppState>,
    own: ProjectAdmin,
    Path((_, id)): Path<(ProjectId, ServiceAccountId)>,
) -> Result<Json<View>, ApiError> {
    let mut conn = app.db.acquire().await?;
    Ok(Json(view(find(&mut conn, &own, id).await?)))
}

/// Gives a service account another name.
#[tracing::instrument(name = "api.service_accounts.update", skip_all, fields(account.id = %own.admin.organization))]
async fn update(
    State(app): State<AppState>,
    own: ProjectAdmin,
    Path((_, id)): Path<(ProjectId, ServiceAccountId)>,
    Json(body): Json<UpdateServiceAccount>,
) -> Result<Json<View>, ApiError> {
    if body.role.is_some_and(|role| role != ROLE) {
        let message = format!("a service account is always a {ROLE}");
        return Err(ApiError::invalid("role", message).with_code("unsupported_parameter"));
    }
    own.open()?;
    let mut tx = app.db.begin().await?;
    let mut account = find(&mut tx, &own, id).await?;
    if let Some(name) = body.name {
        check::label("name", &name, MAX_NAME)?;
        service_accounts::rename(&mut tx, &account, &name).await?;
        let entry = entry(&app, &own.admin, "service_account.updated", id).of_project(own.project.id);
        audit::insert(&mut tx, entry.with(json!({ "name": name }))).await?;
        account.name = name;
    }
    tx.commit().await?;
    Ok(Json(view(account)))
}

/// Takes a service account out of use and revokes its keys, everywhere within a second.
#[tracing::instrument(name = "api.service_accounts.remove", skip_all, fields(account.id = %own.admin.organization))]
async fn remove(
    State(app): State<AppState>,
    own: ProjectAdmin,
    Path((_, id)): Path<(ProjectId, ServiceAccountId)>,
) -> Result<Json<Deleted>, ApiError> {
    let now = app.env.now();
    let mut tx = app.db.begin().await?;
    service_accounts::lock(&mut tx, own.admin.organization, id).await?;
    let account = find(&mut tx, &own, id).await?;
    service_accounts::delete(&mut tx, &account, now).await?;
    keys::revoke_service_account(&mut tx, &account, now).await?;
    let entry = entry(&app, &own.admin, "service_account.deleted", id).of_project(own.project.id);
    audit::insert(&mut tx, entry).await?;
    tx.commit().await?;
    Ok(Json(Deleted::named(id, "organization.project.service_account.deleted")))
}

/// Makes a further key for a service account.
#[tracing::instrument(name = "api.service_accounts.create_key", skip_all, fields(account.id = %own.admin.organization))]
async fn create_key(
    State(app): State<AppState>,
    own: ProjectAdmin,
    Path((_, id)): Path<(ProjectId, ServiceAccountId)>,
    Json(body): Json<CreateKey>,
) -> Result<Json<KeyView>, ApiError> {
    if !body.scopes.is_empty() {
        let message = "keys have no scopes here: what they may do goes by their kind";
        return Err(ApiError::invalid("scopes", message).with_code("unsupported_parameter"));
    }
    check::optional("name", body.name.as_deref(), MAX_NAME)?;
    own.open()?;
    let mut tx = app.db.begin().await?;
    service_accounts::lock(&mut tx, own.admin.organization, id).await?;
    let account = find(&mut tx, &own, id).await?;
    let name = body.name.as_deref().unwrap_or(KEY_NAME);
    let issued = accounts::issue_to(&mut tx, &app.env, &account, name, Actor::Key(own.admin.key)).await?;
    tx.commit().await?;
    Ok(Json(key_view(issued)))
}

async fn find(conn: &mut PgConnection, own: &ProjectAdmin, id: ServiceAccountId) -> Result<ServiceAccount, ApiError> {
    let found = service_accounts::find(conn, own.admin.organization, own.project.id, id).await?;
    found.ok_or_else(not_found)
}

fn view(account: ServiceAccount) -> View {
    View {
        object: "organization.project.service_account",
        id: account.id,
        name: account.name,
        role: ROLE,
        created_at: account.created_at.unix_seconds(),
    }
}

fn key_view(Issued { key, secret }: Issued) -> KeyView {
    KeyView {
        object: "organization.project.service_account.api_key",
        id: key.id,
        name: key.name,
        value: secret.expose().to_owned(),
        created_at: key.created_at.unix_seconds(),
    }
}

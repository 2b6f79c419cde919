//! Webhook endpoints, of an organization (admin key) or of a provider (provider key).

use std::time::Duration;

use axum::Router;
use axum::extract::{FromRequestParts, State};
use axum::routing::{MethodRouter, get, post};
use http::StatusCode;
use protocol::{KeyId, Timestamp, WebhookId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;

use crate::check;
use crate::error::ApiError;
use crate::extract::{Admin, Json, NoFields, Path, ProviderCaller};
use crate::state::{App, AppState};
use crate::store::audit::{self, Actor, Entry};
use crate::store::webhooks::{self as store, Endpoint};
use crate::upstream::check_target;
use crate::webhooks::{Owner, WebhookSecret};

/// Most endpoints of one owner: one for each of its systems, and some more.
const MAX_ENDPOINTS: i64 = 20;
/// Longest URL.
const MAX_URL: usize = 2_048;
/// Longest description.
const MAX_DESCRIPTION: usize = 200;
/// How long the secret before the current one still signs.
const FORMER_SIGNS_FOR: Duration = Duration::from_secs(24 * 3_600);

/// The routes of this file.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/organization/webhooks", all::<Admin>())
        .route("/organization/webhooks/{webhook}", one::<Admin>())
        .route("/organization/webhooks/{webhook}/rotate_secret", post(rotate::<Admin>))
        .route("/providers/{provider}/webhooks", all::<ProviderCaller>())
        .route("/providers/{provider}/webhooks/{webhook}", one::<ProviderCaller>())
        .route("/providers/{provider}/webhooks/{webhook}/rotate_secret", post(rotate::<ProviderCaller>))
}

fn all<K: Keeper>() -> MethodRouter<AppState> {
    get(list::<K>).post(create::<K>)
}

fn one<K: Keeper>() -> MethodRouter<AppState> {
    get(show::<K>).post(update::<K>).delete(delete::<K>)
}

/// Who manages endpoints.
trait Keeper: FromRequestParts<AppState, Rejection = ApiError> + Send + Sync + 'static {
    /// Whose they are.
    fn owner(&self) -> Owner;

    /// The key used.
    fn key(&self) -> KeyId;
}

impl Keeper for Admin {
    fn owner(&self) -> Owner {
        Owner::Organization(self.organization)
    }

    fn key(&self) -> KeyId {
        self.key
    }
}

impl Keeper for ProviderCaller {
    fn owner(&self) -> Owner {
        Owner::Provider(self.provider)
    }

    fn key(&self) -> KeyId {
        self.key
    }
}

#[derive(Debug, Deserialize)]
struct CreateWebhook {
    url: String,
    /// Empty or absent: all there are.
    #[serde(default)]
    events: Vec<String>,
    #[serde(default)]
    description: String,
}

/// Absent fields stay as they are.
#[derive(Debug, Deserialize)]
struct UpdateWebhook {
    url: Option<String>,
    events: Option<Vec<String>>,
    description: Option<String>,
    enabled: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Which {
    webhook: WebhookId,
}

#[derive(Debug, Serialize)]
struct View {
    id: WebhookId,
    object: &'static str,
    url: String,
    description: String,
    events: Vec<String>,
    enabled: bool,
    /// Since when nothing was taken there.
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since: Option<i64>,
    created_at: i64,
    /// Shown once, when it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

#[derive(Debug, Serialize)]
struct List {
    object: &'static str,
    data: Vec<View>,
    first_id: Option<WebhookId>,
    last_id: Option<WebhookId>,
    has_more: bool,
}

/// Registers an endpoint; its secret is shown this once.
#[tracing::instrument(name = "api.webhooks.create", skip_all, fields(key.id = %keeper.key()))]
async fn create<K: Keeper>(
    State(app): State<AppState>,
    keeper: K,
    Json(body): Json<CreateWebhook>,
) -> Result<(StatusCode, Json<View>), ApiError> {
    let (owner, now) = (keeper.owner(), app.env.now());
    let endpoint = Endpoint {
        id: app.env.mint(),
        url: body.url,
        description: body.description,
        events: body.events,
        created_at: now,
        failing_since: None,
        disabled_at: None,
    };
    judge(&app, owner, &endpoint)?;
    let secret = WebhookSecret::mint(&app.env);
    let mut tx = app.db.begin().await?;
    if store::count_of(&mut tx, owner).await? >= MAX_ENDPOINTS {
        return Err(ApiError::invalid_state(format!("there are {MAX_ENDPOINTS} webhooks already; delete one first")));
    }
    store::insert(&mut tx, owner, &endpoint, &secret).await?;
    note(&mut tx, &app, &keeper, "webhook.created", &endpoint).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(view(endpoint, Some(&secret)))))
}

/// All endpoints, newest first: there are few enough for one page.
#[tracing::instrument(name = "api.webhooks.list", skip_all, fields(key.id = %keeper.key()))]
async fn list<K: Keeper>(State(app): State<AppState>, keeper: K) -> Result<Json<List>, ApiError> {
    let found = store::list_of(&mut *app.db.acquire().await?, keeper.owner(), None).await?;
    let data: Vec<View> = found.into_iter().map(|endpoint| view(endpoint, None)).collect();
    let (first_id, last_id) = (data.first().map(|one| one.id), data.last().map(|one| one.id));
    Ok(Json(List { object: "list", data, first_id, last_id, has_more: false }))
}

/// One endpoint.
#[tracing::instrument(name = "api.webhooks.show", skip_all, fields(webhook.id = %which.webhook))]
async fn show<K: Keeper>(
    State(app): State<AppState>,
    keeper: K,
    Path(which): Path<Which>,
) -> Result<Json<View>, ApiError> {
    let endpoint = get_of(&mut *app.db.acquire().await?, keeper.owner(), which.webhook).await?;
    Ok(Json(view(endpoint, None)))
}

/// Changes an endpoint. Switched on again it begins anew, with what is not older than three days.
#[tracing::instrument(name = "api.webhooks.update", skip_all, fields(webhook.id = %which.webhook))]
async fn update<K: Keeper>(
    State(app): State<AppState>,
    keeper: K,
    Path(which): Path<Which>,
    Json(body): Json<UpdateWebhook>,
) -> Result<Json<View>, ApiError> {
    let (owner, now) = (keeper.owner(), app.env.now());
    let mut tx = app.db.begin().await?;
    let mut endpoint = get_of(&mut tx, owner, which.webhook).await?;
    if let Some(url) = body.url {
        endpoint.url = url;
    }
    if let Some(events) = body.events {
        endpoint.events = events;
    }
    if let Some(description) = body.description {
        endpoint.description = description;
    }
    match body.enabled {
        Some(true) if endpoint.disabled_at.is_some() => (endpoint.disabled_at, endpoint.failing_since) = (None, None),
        Some(false) => endpoint.disabled_at = endpoint.disabled_at.or(Some(now)),
        Some(true) | None => {}
    }
    judge(&app, owner, &endpoint)?;
    store::update(&mut tx, &endpoint).await?;
    note(&mut tx, &app, &keeper, "webhook.updated", &endpoint).await?;
    tx.commit().await?;
    Ok(Json(view(endpoint, None)))
}

/// Makes a new secret, shown this once. For a day the one before signs as well.
#[tracing::instrument(name = "api.webhooks.rotate", skip_all, fields(webhook.id = %which.webhook))]
async fn rotate<K: Keeper>(
    State(app): State<AppState>,
    keeper: K,
    Path(which): Path<Which>,
    Json(_): Json<NoFields>,
) -> Result<Json<View>, ApiError> {
    let secret = WebhookSecret::mint(&app.env);
    let mut tx = app.db.begin().await?;
    let endpoint = get_of(&mut tx, keeper.owner(), which.webhook).await?;
    store::rotate(&mut tx, endpoint.id, &secret, app.env.now().plus(FORMER_SIGNS_FOR)).await?;
    note(&mut tx, &app, &keeper, "webhook.secret_rotated", &endpoint).await?;
    tx.commit().await?;
    Ok(Json(view(endpoint, Some(&secret))))
}

/// Deletes an endpoint; what it was still to be told goes with it.
#[tracing::instrument(name = "api.webhooks.delete", skip_all, fields(webhook.id = %which.webhook))]
async fn delete<K: Keeper>(
    State(app): State<AppState>,
    keeper: K,
    Path(which): Path<Which>,
) -> Result<Json<serde_json::Value>, ApiError> {
    let mut tx = app.db.begin().await?;
    let endpoint = get_of(&mut tx, keeper.owner(), which.webhook).await?;
    store::delete(&mut tx, endpoint.id).await?;
    note(&mut tx, &app, &keeper, "webhook.deleted", &endpoint).await?;
    tx.commit().await?;
    Ok(Json(json!({ "id": endpoint.id, "object": "webhook_endpoint", "deleted": true })))
}

async fn get_of(conn: &mut PgConnection, owner: Owner, id: WebhookId) -> Result<Endpoint, ApiError> {
    let found = store::list_of(conn, owner, Some(id)).await?.pop();
    found.ok_or_else(|| ApiError::not_found("not_found", format!("there is no webhook {id}")))
}

fn judge(app: &App, owner: Owner, endpoint: &Endpoint) -> Result<(), ApiError> {
    let invalid = |field: &str, message: String| ApiError::invalid(field, message).with_code("invalid_value");
    if endpoint.url.len() > MAX_URL || endpoint.url.chars().any(char::is_control) {
        return Err(invalid("url", format!("at most {MAX_URL} characters without control characters")));
    }
    let reachable = check_target(&endpoint.url, app.config.webhooks.allow_private);
    reachable.map_err(|refusal| invalid("url", refusal.to_string()))?;
    if !endpoint.description.is_empty() {
        check::label("description", &endpoint.description, MAX_DESCRIPTION)?;
    }
    for (at, event) in endpoint.events.iter().enumerate() {
        if !owner.events().contains(&event.as_str()) {
            return Err(invalid(&format!("events[{at}]"), format!("one of {}", owner.events().join(", "))));
        }
    }
    Ok(())
}

async fn note<K: Keeper>(
    conn: &mut PgConnection,
    app: &App,
    keeper: &K,
    action: &'static str,
    endpoint: &Endpoint,
) -> Result<(), sqlx::Error> {
    let mut entry = Entry::new(app.env.mint(), app.env.now(), Actor::Key(keeper.key()), action, endpoint.id);
    (entry.organization, entry.provider) = (keeper.owner().organization(), keeper.owner().provider());
    audit::insert(conn, entry.with(json!({ "url": endpoint.url, "events": endpoint.events }))).await
}

fn view(endpoint: Endpoint, secret: Option<&WebhookSecret>) -> View {
    View {
        id: endpoint.id,
        object: "webhook_endpoint",
        url: endpoint.url,
        description: endpoint.description,
        events: endpoint.events,
        enabled: endpoint.disabled_at.is_none(),
        failing_since: endpoint.failing_since.map(Timestamp::unix_seconds),
        created_at: endpoint.created_at.unix_seconds(),
        secret: secret.map(WebhookSecret::expose),
    }
}

//! How much a project may ask for at a time, in all and of each model.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use protocol::ProjectId;
use serde::{Deserialize, Serialize};

use super::super::list::List;
use super::entry;
use crate::error::ApiError;
use crate::extract::{Json, Page, Params, Path, ProjectAdmin, not_found};
use crate::state::AppState;
use crate::store::rate_limits::{self, ALL_MODELS, LimitScope, Limits, UNLIMITED};
use crate::store::{audit, models, organizations};

/// What an id starts with; the model follows.
const PREFIX: &str = "rl-";
/// Length of a page when nothing is asked: mostly the whole catalogue.
const DEFAULT_LIMIT: u32 = 100;

/// The routes of this file. A model's slash may be sent raw or percent-encoded.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/organization/projects/{project}/rate_limits", get(list))
        .route("/organization/projects/{project}/rate_limits/{*rate_limit}", post(update))
}

/// What is to change. What is absent stays; a null, or the number that stands for it, takes a limit away.
#[derive(Debug, Deserialize)]
struct Update {
    #[serde(default, deserialize_with = "crate::extract::given")]
    max_requests_per_1_minute: Option<Option<u32>>,
    #[serde(default, deserialize_with = "crate::extract::given")]
    max_tokens_per_1_minute: Option<Option<u32>>,
    #[serde(default, deserialize_with = "crate::extract::given")]
    max_concurrency: Option<Option<u32>>,
    #[serde(default)]
    max_images_per_1_minute: Option<i64>,
    #[serde(default)]
    max_audio_megabytes_per_1_minute: Option<i64>,
    #[serde(default)]
    max_requests_per_1_day: Option<i64>,
    #[serde(default)]
    batch_1_day_max_input_tokens: Option<i64>,
}

#[derive(Debug, Serialize)]
struct View {
    object: &'static str,
    id: String,
    model: String,
    max_requests_per_1_minute: u32,
    max_tokens_per_1_minute: u32,
    max_concurrency: u32,
}

/// The project's limits: for all models together, under the model `*`, then for each.
#[tracing::instrument(name = "api.rate_limits.list", skip_all, fields(account.id = %own.admin.organization))]
async fn list(State(app): State<AppState>, own: ProjectAdmin, params: Params) -> Result<Json<List<View>>, ApiError> {
    let page = Page::of(&params, DEFAULT_LIMIT)?;
    let model = |param, id: Option<&str>| {
        let own = |id: &str| id.strip_prefix(PREFIX).map(str::to_owned);
        id.map(|id| own(id).ok_or_else(|| ApiError::invalid(param, "not an id of this list"))).transpose()
    };
    let (after, before) = (model("after", page.after.as_deref())?, model("before", params.text("before")?)?);
    if after.is_some() && before.is_some() {
        return Err(ApiError::invalid("before", "not together with after"));
    }
    let scope = LimitScope::Project(own.project.id);
    let mut conn = app.db.acquire().await?;
    let rows = rate_limits::list_of(&mut conn, scope, after.as_deref(), before.as_deref(), page.limit + 1).await?;
    let data = rows.into_iter().map(|row| view(row.model, row.limits)).collect();
    let id = |limit: &View| limit.id.clone();
    Ok(Json(if before.is_some() { List::before(data, page.limit, id) } else { List::of(data, page.limit, id) }))
}

/// Sets one limit of the project.
#[tracing::instrument(name = "api.rate_limits.update", skip_all, fields(account.id = %own.admin.organization))]
async fn update(
    State(app): State<AppState>,
    own: ProjectAdmin,
    Path((_, id)): Path<(ProjectId, String)>,
    Json(body): Json<Update>,
) -> Result<Json<View>, ApiError> {
    let model = id.strip_prefix(PREFIX).ok_or_else(not_found)?;
    only_enforced(&body)?;
    own.open()?;
    let scope = LimitScope::Project(own.project.id);
    let mut tx = app.db.begin().await?;
    organizations::claim(&mut tx, own.admin.organization).await?;
    if model != ALL_MODELS && models::find(&mut tx, model).await?.is_none() {
        return Err(not_found());
    }
    let now = rate_limits::get(&mut tx, scope, model).await?;
    let limits = Limits {
        max_requests_per_minute: limit(
            "max_requests_per_1_minute",
            body.max_requests_per_1_minute,
            now.max_requests_per_minute,
        )?,
        max_tokens_per_minute: limit(
            "max_tokens_per_1_minute",
            body.max_tokens_per_1_minute,
            now.max_tokens_per_minute,
        )?,
        max_concurrency: limit("max_concurrency", body.max_concurrency, now.max_concurrency)?,
    };
    rate_limits::set(&mut tx, scope, model, limits).await?;
    let view = view(model.to_owned(), limits);
    let entry = entry(&app, &own.admin, "rate_limit.updated", &view.id).of_project(own.project.id);
    audit::insert(&mut tx, entry.with(limits.said())).await?;
    tx.commit().await?;
    // The other replicas read it within seconds.
    app.limits.reload(&app.db).await?;
    Ok(Json(view))
}

/// A limit that would not be kept is refused rather than stored.
fn only_enforced(body: &Update) -> Result<(), ApiError> {
    let others = [
        ("max_images_per_1_minute", body.max_images_per_1_minute),
        ("max_audio_megabytes_per_1_minute", body.max_audio_megabytes_per_1_minute),
        ("max_requests_per_1_day", body.max_requests_per_1_day),
        ("batch_1_day_max_input_tokens", body.batch_1_day_max_input_tokens),
    ];
    match others.iter().find(|(_, value)| value.is_some()) {
        None => Ok(()),
        Some((field, _)) => Err(ApiError::invalid(*field, "is not limited here").with_code("unsupported_parameter")),
    }
}

fn limit(field: &str, given: Option<Option<u32>>, now: Option<u32>) -> Result<Option<u32>, ApiError> {
    match given {
        None => Ok(now),
        Some(None | Some(UNLIMITED)) => Ok(None),
        Some(Some(most)) if (1..UNLIMITED).contains(&most) => Ok(Some(most)),
        Some(Some(_)) => {
            Err(ApiError::invalid(field, format!("between 1 and {UNLIMITED}, or null")).with_code("invalid_value"))
        }
    }
}

fn view(model: String, limits: Limits) -> View {
    View {
        object: "project.rate_limit",
        id: format!("{PREFIX}{model}"),
        model,
        max_requests_per_1_minute: limits.max_requests_per_minute.unwrap_or(UNLIMITED),
        max_tokens_per_1_minute: limits.max_tokens_per_minute.unwrap_or(UNLIMITED),
        max_concurrency: limits.max_concurrency.unwrap_or(UNLIMITED),
    }
}

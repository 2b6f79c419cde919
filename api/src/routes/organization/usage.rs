//! Tokens, requests and money over time, in buckets of one width.

mod span;

use std::collections::HashMap;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use billing::store::usage::{Split, UsageFilter, UsageSum, Width, sums};
use protocol::{KeyId, ProjectId, Timestamp};
use serde::Serialize;

use self::span::{Span, Widths};
use crate::error::ApiError;
use crate::extract::{Admin, Json, Params};
use crate::state::{App, AppState};

/// The routes of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/organization/usage/completions", get(completions))
        .route("/organization/usage/embeddings", get(embeddings))
        .route("/organization/costs", get(costs))
}

/// Consecutive buckets, empty ones too.
#[derive(Debug, Serialize)]
struct PageView<T> {
    object: &'static str,
    data: Vec<Bucket<T>>,
    has_more: bool,
    next_page: Option<String>,
}

#[derive(Debug, Serialize)]
struct Bucket<T> {
    object: &'static str,
    start_time: i64,
    end_time: i64,
    results: Vec<T>,
}

/// Null stands for what was not asked to be told apart, and for what nobody has told us.
#[derive(Debug, Serialize)]
struct Completions {
    object: &'static str,
    input_tokens: i64,
    input_cached_tokens: i64,
    input_cache_write_tokens: i64,
    input_uncached_tokens: i64,
    output_tokens: i64,
    num_model_requests: i64,
    project_id: Option<ProjectId>,
    user_id: Option<String>,
    api_key_id: Option<KeyId>,
    model: Option<String>,
    batch: Option<bool>,
    service_tier: Option<String>,
}

#[derive(Debug, Serialize)]
struct Embeddings {
    object: &'static str,
    input_tokens: i64,
    num_model_requests: i64,
    project_id: Option<ProjectId>,
    user_id: Option<String>,
    api_key_id: Option<KeyId>,
    model: Option<String>,
}

/// A line item is a model.
#[derive(Debug, Serialize)]
struct Costs {
    object: &'static str,
    amount: Amount,
    line_item: Option<String>,
    project_id: Option<ProjectId>,
    api_key_id: Option<KeyId>,
}

/// A number, as `usage.cost` is one: clients' types demand it. Exact money is under `/v1/credits` and in the books.
#[derive(Debug, Serialize)]
struct Amount {
    value: f64,
    currency: &'static str,
}

/// What usage may be split by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Project,
    Key,
    Model,
    /// Requests name no user of ours, so all of them are of none.
    User,
}

/// Which models count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Completions,
    Embeddings,
    All,
}

/// Widths of a usage report.
const USAGE_WIDTHS: [(Width, &str, i64, i64); 3] =
    [(Width::Day, "1d", 7, 31), (Width::Hour, "1h", 24, 168), (Width::Minute, "1m", 60, 1_440)];
/// Widths of a cost report.
const COST_WIDTHS: [(Width, &str, i64, i64); 1] = [(Width::Day, "1d", 7, 180)];
/// What a usage report may be split by.
const USAGE_GROUPS: [(&str, Group); 4] =
    [("project_id", Group::Project), ("api_key_id", Group::Key), ("model", Group::Model), ("user_id", Group::User)];
/// What a cost report may be split by.
const COST_GROUPS: [(&str, Group); 3] =
    [("project_id", Group::Project), ("api_key_id", Group::Key), ("line_item", Group::Model)];

/// Answers of language models.
#[tracing::instrument(name = "api.usage.completions", skip_all, fields(account.id = %admin.organization))]
async fn completions(
    State(app): State<AppState>,
    admin: Admin,
    params: Params,
) -> Result<Json<PageView<Completions>>, ApiError> {
    let result = |sum: UsageSum| Completions {
        object: "organization.usage.completions.result",
        input_tokens: sum.prompt + sum.cached_prompt + sum.cache_write,
        input_cached_tokens: sum.cached_prompt,
        input_cache_write_tokens: sum.cache_write,
        input_uncached_tokens: sum.prompt,
        output_tokens: sum.output,
        num_model_requests: sum.requests,
        project_id: sum.project,
        user_id: None,
        api_key_id: sum.key,
        model: sum.model,
        batch: None,
        service_tier: None,
    };
    report(&app, &admin, &params, (Kind::Completions, &USAGE_WIDTHS, &USAGE_GROUPS), result).await
}

/// Embeddings: usage of models that are offered with them as output.
#[tracing::instrument(name = "api.usage.embeddings", skip_all, fields(account.id = %admin.organization))]
async fn embeddings(
    State(app): State<AppState>,
    admin: Admin,
    params: Params,
) -> Result<Json<PageView<Embeddings>>, ApiError> {
    let result = |sum: UsageSum| Embeddings {
        object: "organization.usage.embeddings.result",
        input_tokens: sum.prompt + sum.cached_prompt + sum.cache_write,
        num_model_requests: sum.requests,
        project_id: sum.project,
        user_id: None,
        api_key_id: sum.key,
        model: sum.model,
    };
    report(&app, &admin, &params, (Kind::Embeddings, &USAGE_WIDTHS, &USAGE_GROUPS), result).await
}

/// What all of it cost, day by day.
#[tracing::instrument(name = "api.usage.costs", skip_all, fields(account.id = %admin.organization))]
async fn costs(State(app): State<AppState>, admin: Admin, params: Params) -> Result<Json<PageView<Costs>>, ApiError> {
    let result = |sum: UsageSum| Costs {
        object: "organization.costs.result",
        amount: Amount { value: sum.charge.as_display_f64(), currency: "usd" },
        line_item: sum.model,
        project_id: sum.project,
        api_key_id: sum.key,
    };
    report(&app, &admin, &params, (Kind::All, &COST_WIDTHS, &COST_GROUPS), result).await
}

async fn report<T>(
    app: &App,
    admin: &Admin,
    params: &Params,
    (kind, widths, groups): (Kind, &Widths, &[(&str, Group)]),
    result: impl Fn(UsageSum) -> T,
) -> Result<Json<PageView<T>>, ApiError> {
    let span = span::read(params, widths, app.env.now())?;
    let groups = params.choices("group_by", groups)?;
    let by = |group| groups.contains(&group);
    let split = Split { project: by(Group::Project), key: by(Group::Key), model: by(Group::Model) };
    if params.text("batch")?.is_some() {
        return Err(ApiError::invalid("batch", "is not told apart here").with_code("unsupported_parameter"));
    }
    let mut filter = UsageFilter {
        organization: admin.organization,
        from: Timestamp::from_unix_seconds(span.from),
        to: Timestamp::from_unix_seconds(span.to),
        projects: params.read_list("project_ids")?,
        keys: params.read_list("api_key_ids")?,
        models: Some(params.list("models")?.into_iter().map(str::to_owned).collect())
            .filter(|all: &Vec<_>| !all.is_empty()),
        except: Vec::new(),
    };
    if !params.list("user_ids")?.is_empty() {
        filter.models = Some(Vec::new());
    }
    let mut conn = app.db.acquire().await?;
    if kind != Kind::All {
        let embedding = scheduler::store::offers::list_models_answering_in(&mut conn, "embeddings").await?;
        match (kind, filter.models.as_mut()) {
            (Kind::Embeddings, None) => filter.models = Some(embedding),
            (Kind::Embeddings, Some(models)) => models.retain(|model| embedding.contains(model)),
            (Kind::Completions | Kind::All, _) => filter.except = embedding,
        }
    }
    let sums = sums(&mut conn, &filter, span.width, split).await?;
    Ok(Json(page(span, sums, result)))
}

/// Puts each sum in its bucket, and an empty bucket where there is none.
fn page<T>(span: Span, sums: Vec<UsageSum>, result: impl Fn(UsageSum) -> T) -> PageView<T> {
    let mut by_start: HashMap<i64, Vec<T>> = HashMap::new();
    for sum in sums {
        by_start.entry(sum.starts_at.unix_seconds()).or_default().push(result(sum));
    }
    let mut data = Vec::new();
    let mut start_time = span.from;
    while start_time < span.to {
        let end_time = start_time + span.width.seconds();
        data.push(Bucket {
            object: "bucket",
            start_time,
            end_time,
            results: by_start.remove(&start_time).unwrap_or_default(),
        });
        start_time = end_time;
    }
    let next_page = span.next_page();
    PageView { object: "page", data, has_more: next_page.is_some(), next_page }
}

//! The most an organization or one of its projects may spend.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use billing::budget::{Budget, BudgetScope, Reset};
use billing::store::{budgets, views};
use protocol::money::NANO_PER_USD;
use protocol::{Id as _, KeyId, NanoUsd};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::list::Deleted;
use super::entry;
use crate::error::ApiError;
use crate::extract::{Admin, Json, ProjectAdmin};
use crate::state::{App, AppState};
use crate::store::audit::{self, Entry};
use crate::store::organizations;

/// Billionths of a dollar in a cent.
const NANO_PER_CENT: i64 = NANO_PER_USD / 100;

/// The routes of this file.
pub(super) fn routes() -> Router<AppState> {
    let project = get(show_project).post(set_project).put(set_project).delete(remove_project);
    let organization = get(show).post(set).put(set).delete(remove);
    Router::new()
        .route("/organization/spend_limit", organization)
        .route("/organization/projects/{project}/spend_limit", project)
}

/// A limit in either of two spellings: `limit_usd` with `reset`, or whole cents with an interval.
#[derive(Debug, Deserialize)]
struct SetLimit {
    #[serde(default)]
    limit_usd: Option<NanoUsd>,
    #[serde(default)]
    reset: Option<Reset>,
    #[serde(default)]
    threshold_amount: Option<i64>,
    #[serde(default)]
    currency: Option<String>,
    #[serde(default)]
    interval: Option<String>,
}

#[derive(Debug, Serialize)]
struct View {
    object: &'static str,
    limit_usd: NanoUsd,
    reset: Option<Reset>,
    remaining_usd: NanoUsd,
    /// Whole cents, rounded down.
    threshold_amount: i64,
    currency: &'static str,
    interval: &'static str,
    enforcement: Enforcement,
}

/// Whether the limit refuses requests now.
#[derive(Debug, Serialize)]
struct Enforcement {
    status: &'static str,
}

/// The organization's limit.
#[tracing::instrument(name = "api.spend_limit.show", skip_all, fields(account.id = %admin.organization))]
async fn show(State(app): State<AppState>, admin: Admin) -> Result<Json<View>, ApiError> {
    find(&app, BudgetScope::Organization(admin.organization)).await
}

/// Sets the organization's limit; it binds everywhere as soon as replicas have heard of it.
#[tracing::instrument(name = "api.spend_limit.set", skip_all, fields(account.id = %admin.organization))]
async fn set(State(app): State<AppState>, admin: Admin, Json(body): Json<SetLimit>) -> Result<Json<View>, ApiError> {
    let entry = entry(&app, &admin, "spend_limit.updated", admin.organization);
    change(&app, &admin, BudgetScope::Organization(admin.organization), body, entry).await
}

/// Takes the organization's limit away. Again is harmless.
#[tracing::instrument(name = "api.spend_limit.remove", skip_all, fields(account.id = %admin.organization))]
async fn remove(State(app): State<AppState>, admin: Admin) -> Result<Json<Deleted>, ApiError> {
    let entry = entry(&app, &admin, "spend_limit.deleted", admin.organization);
    clear(&app, &admin, BudgetScope::Organization(admin.organization), entry).await?;
    Ok(Json(Deleted::only("organization.spend_limit.deleted")))
}

/// A project's limit.
#[tracing::instrument(name = "api.spend_limit.show_project", skip_all, fields(account.id = %own.admin.organization))]
async fn show_project(State(app): State<AppState>, own: ProjectAdmin) -> Result<Json<View>, ApiError> {
    find(&app, BudgetScope::Project(own.project.id)).await
}

/// Sets a project's limit; it binds everywhere as soon as replicas have heard of it.
#[tracing::instrument(name = "api.spend_limit.set_project", skip_all, fields(account.id = %own.admin.organization))]
async fn set_project(
    State(app): State<AppState>,
    own: ProjectAdmin,
    Json(body): Json<SetLimit>,
) -> Result<Json<View>, ApiError> {
    own.open()?;
    let entry = entry(&app, &own.admin, "spend_limit.updated", own.project.id).of_project(own.project.id);
    change(&app, &own.admin, BudgetScope::Project(own.project.id), body, entry).await
}

/// Takes a project's limit away. Again is harmless.
#[tracing::instrument(name = "api.spend_limit.remove_project", skip_all, fields(account.id = %own.admin.organization))]
async fn remove_project(State(app): State<AppState>, own: ProjectAdmin) -> Result<Json<Deleted>, ApiError> {
    own.open()?;
    let entry = entry(&app, &own.admin, "spend_limit.deleted", own.project.id).of_project(own.project.id);
    clear(&app, &own.admin, BudgetScope::Project(own.project.id), entry).await?;
    Ok(Json(Deleted::only("project.spend_limit.deleted")))
}

async fn find(app: &App, scope: BudgetScope) -> Result<Json<View>, ApiError> {
    let mut conn = app.db.acquire().await?;
    let found = views::limit_left(&mut conn, scope, app.env.now()).await?;
    let (budget, left) = found.ok_or_else(|| ApiError::not_found("not_found", "there is no spend limit"))?;
    Ok(Json(view(&budget, left)))
}

async fn change(
    app: &App,
    admin: &Admin,
    scope: BudgetScope,
    body: SetLimit,
    entry: Entry,
) -> Result<Json<View>, ApiError> {
    let (limit, reset) = wanted(body)?;
    let now = app.env.now();
    // Any UUID names a budget; a key's id is as unique as one.
    let id = app.env.mint::<KeyId>().uuid();
    let mut tx = app.db.begin().await?;
    organizations::claim(&mut tx, admin.organization).await?;
    let budget = budgets::set(&mut tx, scope, limit, reset, id, now).await?;
    audit::insert(&mut tx, entry.with(json!({ "limit_usd": limit, "reset": reset }))).await?;
    let left = views::limit_left(&mut tx, scope, now).await?.map_or(limit, |(_, left)| left);
    tx.commit().await?;
    Ok(Json(view(&budget, left)))
}

async fn clear(app: &App, admin: &Admin, scope: BudgetScope, entry: Entry) -> Result<(), ApiError> {
    let mut tx = app.db.begin().await?;
    organizations::claim(&mut tx, admin.organization).await?;
    budgets::remove(&mut tx, scope).await?;
    audit::insert(&mut tx, entry).await?;
    Ok(tx.commit().await?)
}

fn wanted(body: SetLimit) -> Result<(NanoUsd, Option<Reset>), ApiError> {
    let invalid = |field, message| ApiError::invalid(field, message).with_code("invalid_value");
    match (body.limit_usd, body.threshold_amount) {
        (Some(limit), None) => Ok((limit, body.reset)),
        (None, Some(cents)) => {
            if body.currency.is_some_and(|currency| currency != "USD") {
                return Err(invalid("currency", "only USD"));
            }
            let known = [("day", Reset::Daily), ("week", Reset::Weekly), ("month", Reset::Monthly)];
            let reset = match body.interval.as_deref() {
                None | Some("lifetime") => None,
                Some(named) => {
                    let reset = known.iter().find(|(name, _)| *name == named).map(|(_, reset)| *reset);
                    Some(reset.ok_or_else(|| invalid("interval", "one of day, week, month and lifetime"))?)
                }
            };
            let nano = (cents >= 1).then(|| cents.checked_mul(NANO_PER_CENT)).flatten().and_then(NanoUsd::new);
            let limit =
                nano.ok_or_else(|| invalid("threshold_amount", "at least one cent, at most 9.2 billion dollars"))?;
            Ok((limit, reset))
        }
        (Some(_), Some(_)) => Err(invalid("threshold_amount", "not together with limit_usd")),
        (None, None) => Err(invalid("limit_usd", "a decimal string of dollars, such as \"100.00\"")),
    }
}

fn view(budget: &Budget, left: NanoUsd) -> View {
    View {
        object: match budget.scope {
            BudgetScope::Organization(_) => "organization.spend_limit",
            BudgetScope::Project(_) | BudgetScope::Key(_) => "project.spend_limit",
        },
        limit_usd: budget.limit,
        reset: budget.reset,
        remaining_usd: left,
        threshold_amount: budget.limit.nano() / NANO_PER_CENT,
        currency: "USD",
        interval: match budget.reset {
            Some(Reset::Daily) => "day",
            Some(Reset::Weekly) => "week",
            Some(Reset::Monthly) => "month",
            None => "lifetime",
        },
        enforcement: Enforcement { status: if left.is_zero() { "enforcing" } else { "inactive" } },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(body: serde_json::Value) -> Result<(String, Option<Reset>), String> {
        let body = serde_json::from_value(body).unwrap();
        let limit = wanted(body).map(|(limit, reset)| (limit.to_string(), reset));
        limit.map_err(|error| error.body()["error"]["param"].as_str().unwrap().to_owned())
    }

    #[test]
    fn a_limit_is_said_in_dollars_or_in_cents_and_not_in_both() {
        assert_eq!(read(json!({ "limit_usd": "12.5", "reset": "weekly" })), Ok(("12.50".into(), Some(Reset::Weekly))));
        let cents = json!({ "threshold_amount": 10_000, "currency": "USD", "interval": "month" });
        assert_eq!(read(cents), Ok(("100.00".into(), Some(Reset::Monthly))));
        assert_eq!(read(json!({})), Err("limit_usd".into()));
        assert_eq!(read(json!({ "limit_usd": "1", "threshold_amount": 100 })), Err("threshold_amount".into()));
        for cents in [0, -1, i64::MAX] {
            assert_eq!(read(json!({ "threshold_amount": cents })), Err("threshold_amount".into()), "{cents}");
        }
        assert_eq!(read(json!({ "threshold_amount": 1, "currency": "EUR" })), Err("currency".into()));
        assert_eq!(read(json!({ "threshold_amount": 1, "interval": "year" })), Err("interval".into()));
    }
}

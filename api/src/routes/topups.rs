//! Credit bought by card, with a management key.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use billing::store::topups::{self, Which};
use billing::{Cards, Topup, TopupState};
use http::StatusCode;
use protocol::{CardId, NanoUsd, Timestamp, TopupId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;

use super::list::List;
use crate::error::ApiError;
use crate::extract::{Json, Manager, Page, Path, not_found};
use crate::state::{App, AppState};
use crate::store::audit::{self, Actor, Entry};

/// Longest place to come back to.
const MAX_URL: usize = 2_048;

/// The routes of this file.
pub fn routes() -> Router<AppState> {
    Router::new().route("/credits/topups", post(create).get(list)).route("/credits/topups/{topup}", get(show))
}

#[derive(Debug, Deserialize)]
struct CreateTopup {
    amount_usd: NanoUsd,
    #[serde(default)]
    currency: Option<String>,
    #[serde(default)]
    return_url: Option<String>,
}

/// Money as decimal strings of US dollars.
#[derive(Debug, Serialize)]
struct View {
    id: TopupId,
    object: &'static str,
    status: &'static str,
    amount_usd: NanoUsd,
    tax_usd: NanoUsd,
    /// The saved card it was charged to, nobody being asked.
    payment_method: Option<CardId>,
    /// The bank's word for why that card was declined.
    decline_code: Option<String>,
    /// Where it is paid, while it can be.
    checkout_url: Option<String>,
    receipt_url: Option<String>,
    invoice_url: Option<String>,
    invoice_pdf: Option<String>,
    created_at: i64,
    expires_at: i64,
    paid_at: Option<i64>,
}

/// The card processor, where this broker has one.
pub(super) fn cards(app: &App) -> Result<&Cards, ApiError> {
    app.cards.as_ref().ok_or_else(|| ApiError::invalid_state("no cards are taken here"))
}

/// Opens a page where credit is paid. The same wish gets the same page until it is paid or its time is over.
#[tracing::instrument(name = "api.topups.create", skip_all, fields(account.id = %manager.organization))]
async fn create(
    State(app): State<AppState>,
    manager: Manager,
    Json(body): Json<CreateTopup>,
) -> Result<(StatusCode, Json<View>), ApiError> {
    check_currency(body.currency.as_deref())?;
    let back = body.return_url.as_deref().map(check_url).transpose()?;
    let asked_at = app.env.now();
    let topup = billing::topup::open(cards(&app)?, manager.organization, body.amount_usd, back).await?;
    if topup.created_at >= asked_at {
        let entry = Entry::new(app.env.mint(), app.env.now(), Actor::Key(manager.key), "topup.created", topup.id);
        let detail = json!({ "amount_usd": topup.amount });
        audit::insert(&mut *app.db.acquire().await?, entry.of_organization(manager.organization).with(detail)).await?;
    }
    Ok((StatusCode::CREATED, Json(view(topup))))
}

/// Top-ups of the caller's organization, newest first.
#[tracing::instrument(name = "api.topups.list", skip_all, fields(account.id = %manager.organization))]
async fn list(State(app): State<AppState>, manager: Manager, page: Page) -> Result<Json<List<View>>, ApiError> {
    let which = Which { account: Some(manager.organization), before: page.after()?, ..Which::default() };
    let found = topups::list(&mut *app.db.acquire().await?, which, i64::from(page.limit) + 1).await?;
    let data = found.into_iter().map(view).collect();
    Ok(Json(List::of(data, page.limit, |one: &View| one.id.to_string())))
}

/// One top-up of the caller's organization.
#[tracing::instrument(name = "api.topups.show", skip_all, fields(account.id = %manager.organization))]
async fn show(State(app): State<AppState>, manager: Manager, Path(id): Path<TopupId>) -> Result<Json<View>, ApiError> {
    let which = Which { id: Some(id), account: Some(manager.organization), ..Which::default() };
    let found = topups::list(&mut *app.db.acquire().await?, which, 1).await?.pop();
    Ok(Json(view(found.ok_or_else(not_found)?)))
}

/// Credit is in dollars: who names another currency means another amount.
pub(super) fn check_currency(currency: Option<&str>) -> Result<(), ApiError> {
    if currency.is_none_or(|currency| currency.eq_ignore_ascii_case("usd")) {
        return Ok(());
    }
    Err(ApiError::invalid("currency", "credit is bought in \"usd\"").with_code("invalid_value"))
}

/// A place to come back to.
pub(super) fn check_url(url: &str) -> Result<&str, ApiError> {
    let is_web = Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "https" | "http") && url.has_host());
    if is_web && url.len() <= MAX_URL {
        return Ok(url);
    }
    Err(ApiError::invalid("return_url", "an http or https URL").with_code("invalid_value"))
}

fn view(topup: Topup) -> View {
    View {
        id: topup.id,
        object: "topup",
        status: topup.state.as_str(),
        amount_usd: topup.amount,
        tax_usd: topup.tax,
        payment_method: topup.card,
        decline_code: topup.decline_code,
        checkout_url: topup.checkout_url.filter(|_| topup.state == TopupState::Open),
        receipt_url: topup.receipt_url,
        invoice_url: topup.invoice_url,
        invoice_pdf: topup.invoice_pdf,
        created_at: topup.created_at.unix_seconds(),
        expires_at: topup.expires_at.unix_seconds(),
        paid_at: topup.paid_at.map(Timestamp::unix_seconds),
    }
}

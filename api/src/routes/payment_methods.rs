//! Saved cards, with a management key.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use billing::card::{self, Card, Setup, SetupState};
use billing::store::cards as store;
use http::StatusCode;
use protocol::{CardId, CardSetupId};
use serde::{Deserialize, Serialize};

use super::list::{Deleted, List};
use super::topups::{cards, check_url};
use crate::error::ApiError;
use crate::extract::{Json, Manager, NoFields, Page, Path, not_found};
use crate::state::{App, AppState};
use crate::store::audit::{self, Actor, Entry};

/// The routes of this file.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/credits/payment_methods", post(create).get(list))
        .route("/credits/payment_methods/{payment_method}", get(show).delete(delete))
        .route("/credits/payment_methods/{payment_method}/default", post(set_default))
}

#[derive(Debug, Deserialize)]
struct CreatePaymentMethod {
    #[serde(default)]
    return_url: Option<String>,
}

/// A page where a card is saved.
#[derive(Debug, Serialize)]
struct SetupView {
    id: CardSetupId,
    object: &'static str,
    status: &'static str,
    setup_url: Option<String>,
    created_at: i64,
    expires_at: i64,
}

/// As much of a card as its owner knows it by.
#[derive(Debug, Serialize)]
struct View {
    id: CardId,
    object: &'static str,
    r#type: &'static str,
    brand: String,
    last4: String,
    exp_month: i32,
    exp_year: i32,
    is_default: bool,
    created_at: i64,
}

/// Opens a page where a card is saved. Nothing is bought there.
#[tracing::instrument(name = "api.payment_methods.create", skip_all, fields(account.id = %manager.organization))]
async fn create(
    State(app): State<AppState>,
    manager: Manager,
    Json(body): Json<CreatePaymentMethod>,
) -> Result<(StatusCode, Json<SetupView>), ApiError> {
    let back = body.return_url.as_deref().map(check_url).transpose()?;
    let setup = card::setup(cards(&app)?, manager.organization, back).await?;
    audit(&app, &manager, "payment_method_setup.created", setup.id).await?;
    Ok((StatusCode::CREATED, Json(setup_view(setup))))
}

/// Saved cards of the caller's organization, newest first.
#[tracing::instrument(name = "api.payment_methods.list", skip_all, fields(account.id = %manager.organization))]
async fn list(State(app): State<AppState>, manager: Manager, page: Page) -> Result<Json<List<View>>, ApiError> {
    let mut conn = app.db.acquire().await?;
    let limit = i64::from(page.limit) + 1;
    let found = store::list(&mut conn, manager.organization, None, page.after()?, limit).await?;
    let data = found.into_iter().map(view).collect();
    Ok(Json(List::of(data, page.limit, |one: &View| one.id.to_string())))
}

/// One saved card of the caller's organization.
#[tracing::instrument(name = "api.payment_methods.show", skip_all, fields(account.id = %manager.organization))]
async fn show(State(app): State<AppState>, manager: Manager, Path(id): Path<CardId>) -> Result<Json<View>, ApiError> {
    let found = store::find(&mut *app.db.acquire().await?, manager.organization, id).await?;
    Ok(Json(view(found.ok_or_else(not_found)?)))
}

/// Makes a card the one that is meant when none is named.
#[tracing::instrument(name = "api.payment_methods.set_default", skip_all, fields(account.id = %manager.organization))]
async fn set_default(
    State(app): State<AppState>,
    manager: Manager,
    Path(id): Path<CardId>,
    Json(_): Json<NoFields>,
) -> Result<Json<View>, ApiError> {
    if !card::set_default(cards(&app)?, manager.organization, id).await? {
        return Err(not_found());
    }
    audit(&app, &manager, "payment_method.default_set", id).await?;
    let found = store::find(&mut *app.db.acquire().await?, manager.organization, id).await?;
    Ok(Json(view(found.ok_or_else(not_found)?)))
}

/// Removes a card: it is not charged any more, and the card processor forgets it.
#[tracing::instrument(name = "api.payment_methods.delete", skip_all, fields(account.id = %manager.organization))]
async fn delete(
    State(app): State<AppState>,
    manager: Manager,
    Path(id): Path<CardId>,
) -> Result<Json<Deleted>, ApiError> {
    if !card::remove(cards(&app)?, manager.organization, id).await? {
        return Err(not_found());
    }
    audit(&app, &manager, "payment_method.deleted", id).await?;
    Ok(Json(Deleted::named(id, "payment_method")))
}

async fn audit(app: &App, manager: &Manager, action: &'static str, target: impl ToString) -> Result<(), ApiError> {
    let entry = Entry::new(app.env.mint(), app.env.now(), Actor::Key(manager.key), action, target);
    audit::insert(&mut *app.db.acquire().await?, entry.of_organization(manager.organization)).await?;
    Ok(())
}

fn setup_view(setup: Setup) -> SetupView {
    SetupView {
        id: setup.id,
        object: "payment_method_setup",
        status: setup.state.as_str(),
        setup_url: setup.url.filter(|_| setup.state == SetupState::Open),
        created_at: setup.created_at.unix_seconds(),
        expires_at: setup.expires_at.unix_seconds(),
    }
}

fn view(card: Card) -> View {
    View {
        id: card.id,
        object: "payment_method",
        r#type: "card",
        brand: card.brand,
        last4: card.last4,
        exp_month: card.exp_month,
        exp_year: card.exp_year,
        is_default: card.is_default,
        created_at: card.saved_at.unix_seconds(),
    }
}

//! The provider API: how a provider joins, proves its wallet, and runs its nodes.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::{Extension, Router};
use http::{HeaderMap, StatusCode};
use protocol::challenge::Purpose;
use protocol::session::{CreateProvider, CreatedProvider, ProviderView};
use protocol::{Env, ProviderId, Timestamp};
use scheduler::provider::{Provider, ProviderState};
use serde::Serialize;
use serde_json::json;
use sqlx::PgConnection;

use super::{
    balance, bandwidth, challenges, earnings, heartbeats, models, nodes, offers, receipt_keys, receipts, reports,
    sessions,
};
use crate::addresses::Peer;
use crate::check;
use crate::error::ApiError;
use crate::extract::{Json, ProviderCaller};
use crate::state::AppState;
use crate::store::audit::{self, Actor, Entry};

/// How long a provider that never proves its wallet is kept.
pub const PENDING_FOR: Duration = Duration::from_secs(24 * 3_600);
/// Providers that may wait to prove their wallet at once. Announcing one needs no key, so the table needs a bound.
const MAX_PENDING: i64 = 1_000;
/// When there are as many, one this old makes room: its first challenge is over, so nobody is just signing it.
const LAPSED_AFTER: Duration = Duration::from_secs(600);

/// Every route under `/providers` but the tunnel.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/providers", get(list).post(register))
        .route("/providers/{provider}", get(show))
        .merge(challenges::routes())
        .merge(nodes::routes())
        .merge(sessions::routes())
        .merge(offers::routes())
        .merge(heartbeats::routes())
        .merge(reports::routes())
        .merge(receipt_keys::routes())
        .merge(receipts::routes())
        .merge(balance::routes())
        .merge(earnings::routes())
        .merge(bandwidth::routes())
}

#[derive(Debug, Serialize)]
struct List {
    data: Vec<Listed>,
}

/// A provider as users choose by: its slug is what the `provider` object of a request takes.
#[derive(Debug, Serialize)]
struct Listed {
    slug: String,
    name: String,
    country: String,
    website: Option<String>,
    privacy_policy_url: Option<String>,
    /// None publishes terms or a status page with us yet.
    terms_of_service_url: Option<String>,
    status_page_url: Option<String>,
}

/// Every provider that offers something, by slug.
#[tracing::instrument(name = "api.providers.list", skip_all)]
async fn list(State(app): State<AppState>, headers: HeaderMap) -> Result<Json<List>, ApiError> {
    models::check_key(&app, &headers).await?;
    let snapshot = app.scheduler.snapshot();
    let providers = snapshot.offers().map(|offer| &offer.listing.provider);
    let active = providers.filter(|provider| provider.state == ProviderState::Active);
    let by_slug: BTreeMap<&str, &Provider> = active.map(|provider| (provider.slug.as_str(), &**provider)).collect();
    let listed = |provider: &Provider| Listed {
        slug: provider.slug.clone(),
        name: provider.name.clone(),
        country: provider.country.clone(),
        website: provider.website.clone(),
        privacy_policy_url: provider.privacy_policy_url.clone(),
        terms_of_service_url: None,
        status_page_url: None,
    };
    Ok(Json(List { data: by_slug.into_values().map(listed).collect() }))
}

/// Registers a provider. It stays pending, without a key, until its wallet has signed the challenge.
#[tracing::instrument(name = "api.providers.register", skip_all)]
async fn register(
    State(app): State<AppState>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    Json(body): Json<CreateProvider>,
) -> Result<(StatusCode, Json<CreatedProvider>), ApiError> {
    check::provider(&body)?;
    let now = app.env.now();
    if let Some(Extension(peer)) = peer {
        let (source, most) = (app.addresses.source(peer, &headers), app.config.providers.registrations_per_hour);
        app.registrations.admit(source, most, now).map_err(|wait| {
            let minutes = wait.as_secs().div_ceil(60);
            let message = format!("one address may announce {most} providers an hour; the next in {minutes} minutes");
            ApiError::rate_limited(message, Some(wait))
        })?;
    }
    let provider = provider(&app.env, body, now);
    let mut tx = app.db.begin().await?;
    make_room(&mut tx, now).await?;
    scheduler::store::providers::insert(&mut tx, &provider).await?;
    let challenge = challenges::issue(&mut tx, &app, &provider, Purpose::Register).await?;
    let actor = Actor::Wallet(provider.receipt_address);
    let entry = Entry::new(app.env.mint(), now, actor, "provider.registered", provider.id).of_provider(provider.id);
    audit::insert(&mut tx, entry.with(json!({ "slug": provider.slug }))).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(CreatedProvider { provider: view(&provider), challenge })))
}

/// Keeps announcements within their bound: the oldest gives way to a new one, once it has had its time.
async fn make_room(conn: &mut PgConnection, now: Timestamp) -> Result<(), ApiError> {
    if scheduler::store::providers::count_pending(conn).await? < MAX_PENDING
        || scheduler::store::providers::drop_pending(conn, now.minus(LAPSED_AFTER), 1).await? > 0
    {
        return Ok(());
    }
    let message = "too many providers are registering just now; try again in a minute";
    Err(ApiError::overloaded(60_000).with_message(message))
}

fn provider(env: &Env, body: CreateProvider, now: Timestamp) -> Provider {
    Provider {
        id: env.mint::<ProviderId>(),
        slug: body.slug,
        name: body.name,
        contact_email: body.contact_email,
        country: body.country,
        website: body.website,
        privacy_policy_url: body.privacy_policy_url,
        terms_version: body.terms_version,
        payout_account: body.payout_account,
        receipt_address: body.receipt_address,
        state: ProviderState::Pending,
        created_at: now,
    }
}

/// The caller's own provider.
#[tracing::instrument(name = "api.providers.show", skip_all, fields(provider.id = %caller.provider))]
async fn show(State(app): State<AppState>, caller: ProviderCaller) -> Result<Json<ProviderView>, ApiError> {
    let mut conn = app.db.acquire().await?;
    let provider = scheduler::store::providers::get(&mut conn, caller.provider).await?;
    Ok(Json(view(&provider)))
}

/// A provider as the API shows it.
pub(super) fn view(provider: &Provider) -> ProviderView {
    ProviderView {
        id: provider.id,
        object: "provider".to_owned(),
        name: provider.name.clone(),
        slug: provider.slug.clone(),
        state: provider.state.as_str().to_owned(),
        created_at: provider.created_at.unix_seconds(),
    }
}

/// Refuses what only an active provider may do.
pub(super) fn active(provider: &Provider) -> Result<(), ApiError> {
    match provider.state {
        ProviderState::Active => Ok(()),
        ProviderState::Pending => Err(ApiError::invalid_state("the provider has not proved its wallet yet")),
        ProviderState::Suspended | ProviderState::Closed => {
            let message = format!("the provider is {}", provider.state.as_str());
            Err(ApiError::forbidden("insufficient_permissions", message))
        }
    }
}

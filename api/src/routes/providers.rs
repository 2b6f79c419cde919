//! The provider API: how a provider joins, proves its wallet, and runs its nodes.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use http::StatusCode;
use protocol::session::{CreateProvider, CreatedProvider, ProviderView};
use protocol::{Env, ProviderId, Timestamp};
use scheduler::provider::{Provider, ProviderState};
use serde_json::json;

use super::{challenges, heartbeats, nodes, offers, reports, sessions};
use crate::check;
use crate::error::ApiError;
use crate::extract::{Json, ProviderCaller};
use crate::state::AppState;
use crate::store::audit::{self, Actor, Entry};
use crate::store::challenges::Purpose;

/// Every route under `/providers` but the tunnel.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/providers", post(register))
        .route("/providers/{provider}", get(show))
        .merge(challenges::routes())
        .merge(nodes::routes())
        .merge(sessions::routes())
        .merge(offers::routes())
        .merge(heartbeats::routes())
        .merge(reports::routes())
}

/// Registers a provider. It stays pending, without a key, until its wallet has signed the challenge.
#[tracing::instrument(name = "api.providers.register", skip_all)]
async fn register(
    State(app): State<AppState>,
    Json(body): Json<CreateProvider>,
) -> Result<(StatusCode, Json<CreatedProvider>), ApiError> {
    check::provider(&body)?;
    let now = app.env.now();
    let provider = provider(&app.env, body, now);
    let mut tx = app.db.begin().await?;
    scheduler::store::providers::insert(&mut tx, &provider).await?;
    let challenge = challenges::issue(&mut tx, &app.env, &provider, Purpose::Register).await?;
    let actor = Actor::Wallet(provider.receipt_address);
    let entry = Entry::new(app.env.mint(), now, actor, "provider.registered", provider.id).of_provider(provider.id);
    audit::insert(&mut tx, entry.with(json!({ "slug": provider.slug }))).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(CreatedProvider { provider: view(&provider), challenge })))
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

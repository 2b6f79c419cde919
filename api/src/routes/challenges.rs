//! Texts that a provider's wallet signs, and what a signature brings.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use http::StatusCode;
use protocol::challenge::{self, Purpose};
use protocol::event::Event;
use protocol::session::{ChallengeView, CreateChallenge, VerifiedProvider, VerifyChallenge};
use protocol::{ChallengeId, ProviderId, Timestamp, wallet};
use scheduler::provider::{Provider, ProviderState};
use serde_json::json;
use sqlx::PgConnection;

use super::providers;
use crate::accounts;
use crate::error::ApiError;
use crate::extract::{Json, Path};
use crate::keys::Holder;
use crate::state::{App, AppState};
use crate::store::audit::{self, Actor, Entry};
use crate::store::challenges::{self, Challenge};
use crate::store::keys;

/// How long a challenge waits for its signature: long enough to find the wallet, and no longer.
const CHALLENGE_TTL: Duration = Duration::from_secs(600);
/// A challenge that waits for at least this long yet is given again rather than a second one made. Asking is free
/// for everybody, so it must neither fill anything nor take the challenge of whoever is about to sign.
const LEAST_LEFT: Duration = Duration::from_secs(120);

/// The routes of this file. They need no key: the signature is what proves the caller, and a provider that
/// lost its key gets a new one this way.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/providers/{provider}/challenges", post(create))
        .route("/providers/{provider}/verify", post(verify))
}

/// Makes a challenge for a known provider, or gives the one that waits.
#[tracing::instrument(name = "api.challenges.create", skip_all, fields(provider.id = %provider))]
async fn create(
    State(app): State<AppState>,
    Path(provider): Path<ProviderId>,
    Json(body): Json<CreateChallenge>,
) -> Result<(StatusCode, Json<ChallengeView>), ApiError> {
    let purpose = Purpose::parse(&body.purpose).ok_or_else(|| {
        ApiError::invalid("purpose", "either \"register\" or \"key_rotation\"").with_code("invalid_value")
    })?;
    let mut tx = app.db.begin().await?;
    // Locked, so that of two who ask at once the second finds what the first was given.
    let provider = scheduler::store::providers::claim(&mut tx, provider).await?;
    match (purpose, provider.state) {
        (Purpose::Register, ProviderState::Pending) | (Purpose::KeyRotation, ProviderState::Active) => {}
        (_, state) => {
            let message = format!("a provider that is {} can't ask for {}", state.as_str(), purpose.name());
            return Err(ApiError::invalid_state(message));
        }
    }
    let until = app.env.now().plus(LEAST_LEFT);
    if let Some(open) = challenges::find_open(&mut tx, provider.id, purpose, until).await? {
        return Ok((StatusCode::OK, Json(view(open))));
    }
    let challenge = issue(&mut tx, &app, &provider, purpose).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(challenge)))
}

/// Stores a new challenge.
pub(super) async fn issue(
    conn: &mut PgConnection,
    app: &App,
    provider: &Provider,
    purpose: Purpose,
) -> Result<ChallengeView, ApiError> {
    let now = app.env.now();
    let expires_at = now.plus(CHALLENGE_TTL);
    let text = challenge::Challenge {
        origin: app.origin(),
        wallet: provider.receipt_address,
        purpose,
        chain_id: chain_id(&provider.payout_account),
        nonce: hex::encode(app.env.bytes::<16>()),
        issued_at: now,
        expires_at,
        provider: provider.id,
        slug: provider.slug.clone(),
        payout_account: provider.payout_account.clone(),
        terms_version: provider.terms_version.clone(),
    };
    let (id, provider, message) = (app.env.mint::<ChallengeId>(), provider.id, text.to_string());
    let challenge = Challenge { id, provider, purpose, message, created_at: now, expires_at };
    challenges::insert(conn, &challenge).await?;
    Ok(view(challenge))
}

fn view(challenge: Challenge) -> ChallengeView {
    let expires_at = challenge.expires_at.unix_seconds();
    ChallengeView { id: challenge.id, message: challenge.message, expires_at }
}

/// The chain of a CAIP-10 account that was checked when its provider registered.
fn chain_id(account: &str) -> u64 {
    account.split(':').nth(1).and_then(|chain| chain.parse().ok()).unwrap_or_default()
}

/// Takes a signed challenge, once: the provider becomes active, or its keys are replaced, and gets a key.
#[tracing::instrument(name = "api.challenges.verify", skip_all, fields(provider.id = %provider))]
async fn verify(
    State(app): State<AppState>,
    Path(provider): Path<ProviderId>,
    Json(body): Json<VerifyChallenge>,
) -> Result<Json<VerifiedProvider>, ApiError> {
    let now = app.env.now();
    let mut tx = app.db.begin().await?;
    // Locked first: two rotations at once would each revoke the keys there were and leave both new ones.
    let mut provider = scheduler::store::providers::claim(&mut tx, provider).await?;
    let challenge = challenges::claim(&mut tx, body.challenge_id, provider.id, now).await?.ok_or_else(|| {
        ApiError::invalid("challenge_id", "the challenge is unknown, used or expired; ask for a new one")
            .with_code("invalid_value")
    })?;
    // A refused signature rolls the claim back: whoever mistypes one may try again.
    let signer = wallet::recover(&challenge.message, &body.signature)
        .map_err(|error| ApiError::invalid("signature", error.to_string()).with_code("invalid_value"))?;
    if signer != provider.receipt_address {
        let message = format!("signed by {signer}, not by the provider's wallet {}", provider.receipt_address);
        return Err(ApiError::invalid("signature", message).with_code("invalid_value"));
    }
    match (challenge.purpose, provider.state) {
        (Purpose::Register, ProviderState::Pending) => activate(&mut tx, &mut provider, now).await?,
        (Purpose::KeyRotation, ProviderState::Active) => {
            keys::revoke_provider(&mut tx, provider.id, None, now).await?;
        }
        (_, state) => return Err(ApiError::invalid_state(format!("the provider is {}", state.as_str()))),
    }
    let (holder, actor) = (Holder::Provider { provider: provider.id }, Actor::Wallet(signer));
    let issued = accounts::issue(&mut tx, &app.env, holder, "provider key", None, actor.clone()).await?;
    let entry = Entry::new(app.env.mint(), now, actor, "provider.verified", provider.id).of_provider(provider.id);
    audit::insert(&mut tx, entry.with(json!({ "purpose": challenge.purpose.name() }))).await?;
    if challenge.purpose == Purpose::Register {
        let event = Event::ProviderActivated { provider: provider.id };
        platform::outbox::append(&mut tx, app.env.mint(), &event, now).await?;
    }
    tx.commit().await?;
    Ok(Json(VerifiedProvider { provider: providers::view(&provider), key: issued.secret.expose().to_owned() }))
}

async fn activate(conn: &mut PgConnection, provider: &mut Provider, now: Timestamp) -> Result<(), ApiError> {
    scheduler::store::providers::activate(conn, provider).await?;
    billing::store::payees::open(conn, provider.id, provider.receipt_address, now).await?;
    billing::store::payout_accounts::open(conn, provider.id, &provider.payout_account, now).await?;
    provider.state = ProviderState::Active;
    Ok(())
}

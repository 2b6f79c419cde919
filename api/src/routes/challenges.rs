//! Texts that a provider's wallet signs, and what a signature brings.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use http::StatusCode;
use protocol::event::Event;
use protocol::session::{ChallengeView, CreateChallenge, VerifiedProvider, VerifyChallenge};
use protocol::{ChallengeId, Env, ProviderId, wallet};
use scheduler::provider::{Provider, ProviderState};
use serde_json::json;
use sqlx::PgConnection;

use super::providers;
use crate::accounts;
use crate::error::ApiError;
use crate::extract::{Json, Path};
use crate::keys::Holder;
use crate::state::AppState;
use crate::store::audit::{self, Actor, Entry};
use crate::store::challenges::{self, Challenge, Purpose};
use crate::store::keys;

/// How long a challenge waits for its signature: long enough to find the wallet, and no longer.
const CHALLENGE_TTL: Duration = Duration::from_secs(600);
/// Challenges of one provider that may wait at once. They are free to ask for, so they must be few.
const MAX_OPEN: i64 = 10;

/// The routes of this file. They need no key: the signature is what proves the caller, and a provider that
/// lost its key gets a new one this way.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/providers/{provider}/challenges", post(create))
        .route("/providers/{provider}/verify", post(verify))
}

/// Makes a challenge for a known provider.
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
    let provider = scheduler::store::providers::get(&mut tx, provider).await?;
    match (purpose, provider.state) {
        (Purpose::Register, ProviderState::Pending) | (Purpose::KeyRotation, ProviderState::Active) => {}
        (_, state) => {
            let message = format!("a provider that is {} can't ask for {}", state.as_str(), purpose.name());
            return Err(ApiError::invalid_state(message));
        }
    }
    let challenge = issue(&mut tx, &app.env, &provider, purpose).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(challenge)))
}

/// Stores a new challenge, unless too many wait.
pub(super) async fn issue(
    conn: &mut PgConnection,
    env: &Env,
    provider: &Provider,
    purpose: Purpose,
) -> Result<ChallengeView, ApiError> {
    let now = env.now();
    if challenges::count_open(conn, provider.id, now).await? >= MAX_OPEN {
        return Err(ApiError::overloaded(60_000).with_message("too many challenges of this provider wait; sign one"));
    }
    let expires_at = now.plus(CHALLENGE_TTL);
    let id = env.mint::<ChallengeId>();
    let message = message(provider, purpose, &hex::encode(env.bytes::<32>()), expires_at.unix_seconds());
    let challenge = Challenge { id, provider: provider.id, purpose, message, created_at: now, expires_at };
    challenges::insert(conn, &challenge).await?;
    Ok(ChallengeView { id, message: challenge.message, expires_at: expires_at.unix_seconds() })
}

/// What is signed: everything that matters about it, readable in a wallet's window.
fn message(provider: &Provider, purpose: Purpose, nonce: &str, expires_at: i64) -> String {
    let sentence = match purpose {
        Purpose::Register => "Steelyard: join as a provider with this wallet.",
        Purpose::KeyRotation => "Steelyard: replace the provider's key. The keys it has stop working.",
    };
    format!(
        "{sentence}\n\nProvider: {} ({})\nWallet: {}\nPayout account: {}\nTerms: {}\nExpires: {expires_at}\nNonce: {nonce}",
        provider.slug, provider.id, provider.receipt_address, provider.payout_account, provider.terms_version,
    )
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
    let challenge = challenges::claim(&mut tx, body.challenge_id, provider, now).await?.ok_or_else(|| {
        ApiError::invalid("challenge_id", "the challenge is unknown, used or expired; ask for a new one")
            .with_code("invalid_value")
    })?;
    let mut provider = scheduler::store::providers::get(&mut tx, provider).await?;
    // A refused signature rolls the claim back: whoever mistypes one may try again.
    let signer = wallet::recover(&challenge.message, &body.signature)
        .map_err(|error| ApiError::invalid("signature", error.to_string()).with_code("invalid_value"))?;
    if signer != provider.receipt_address {
        let message = format!("signed by {signer}, not by the provider's wallet {}", provider.receipt_address);
        return Err(ApiError::invalid("signature", message).with_code("invalid_value"));
    }
    match (challenge.purpose, provider.state) {
        (Purpose::Register, ProviderState::Pending) => activate(&mut tx, &mut provider).await?,
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

async fn activate(conn: &mut PgConnection, provider: &mut Provider) -> Result<(), ApiError> {
    scheduler::store::providers::set_state(conn, provider.id, ProviderState::Active).await?;
    provider.state = ProviderState::Active;
    Ok(())
}

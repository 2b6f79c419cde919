//! A node proves its key and gets a token for fifteen minutes.

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use http::{HeaderMap, StatusCode};
use protocol::session::{OpenSession, SessionToken, session_challenge_bytes};
use protocol::{NodeId, ProviderId, Timestamp, header, version};

use super::{nodes, providers};
use crate::error::ApiError;
use crate::extract::{Json, Path};
use crate::sessions::{MAX_SESSIONS, SESSION_TTL, Session, Sessions};
use crate::state::AppState;
use crate::store;

/// How far a node's clock may be off. It is also how long a signature that was seen on its way could be
/// sent again; its nonce is remembered for longer.
const MAX_SKEW_MS: i64 = 30_000;

/// The routes of this file. They need no key: the node's signature proves it.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/providers/{provider}/nodes/{node}/sessions", post(open))
}

/// Opens a session.
#[tracing::instrument(name = "api.sessions.open", skip_all, fields(node.id = %node))]
async fn open(
    State(app): State<AppState>,
    Path((provider, node)): Path<(ProviderId, NodeId)>,
    headers: HeaderMap,
    Json(body): Json<OpenSession>,
) -> Result<(StatusCode, Json<SessionToken>), ApiError> {
    let spoken = headers.get(header::PROTOCOL).and_then(|value| value.to_str().ok());
    version::negotiate(spoken).map_err(|error| ApiError::upgrade_required(error.to_string()))?;
    let now = app.env.now();
    check(&body, now)?;
    let mut tx = app.db.begin().await?;
    let stored = nodes::present(&mut tx, provider, node).await?;
    verify(&stored.public_key, node, &body)?;
    providers::active(&scheduler::store::providers::get(&mut tx, provider).await?)?;
    // Until this session is stored the node can't be removed: a removal finds it and ends it.
    scheduler::store::nodes::hold_present(&mut tx, node).await?;
    if store::sessions::count_open(&mut tx, node, now).await? >= MAX_SESSIONS {
        return Err(ApiError::overloaded(60_000).with_message("the node has too many sessions; keep one and reuse it"));
    }
    let (token, digest) = Sessions::mint(&app.env);
    let session = Session { node, provider, expires_at: now.plus(SESSION_TTL) };
    if !store::sessions::insert(&mut tx, &digest, &session, &body.nonce, now).await? {
        return Err(ApiError::invalid("nonce", "this nonce was used before").with_code("invalid_value"));
    }
    tx.commit().await?;
    app.scheduler.session_opened(node);
    let (expires_at_ms, server_time_ms) = (session.expires_at.unix_ms(), now.unix_ms());
    Ok((StatusCode::CREATED, Json(SessionToken { token, expires_at_ms, server_time_ms })))
}

fn check(body: &OpenSession, now: Timestamp) -> Result<(), ApiError> {
    // A line break in the nonce would let it pass for another field of what is signed.
    if !(16..=64).contains(&body.nonce.len()) || !body.nonce.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(ApiError::invalid("nonce", "16 to 64 printable ASCII characters").with_code("invalid_value"));
    }
    let offset_ms = body.timestamp_ms.saturating_sub(now.unix_ms());
    if offset_ms.unsigned_abs() > MAX_SKEW_MS.unsigned_abs() {
        let message = format!("the node's clock is off by {offset_ms} ms; at most {MAX_SKEW_MS} ms is accepted");
        return Err(ApiError::invalid("timestamp_ms", message)
            .with_code("invalid_value")
            .with_metadata("offset_ms", offset_ms)
            .with_metadata("server_time_ms", now.unix_ms()));
    }
    Ok(())
}

fn verify(public_key: &[u8; 32], node: NodeId, body: &OpenSession) -> Result<(), ApiError> {
    let mut bytes = [0; 64];
    let signed = session_challenge_bytes(node, &body.nonce, body.timestamp_ms);
    let sound = hex::decode_to_slice(&body.signature, &mut bytes).is_ok()
        && VerifyingKey::from_bytes(public_key)
            .is_ok_and(|key| key.verify(&signed, &Signature::from_bytes(&bytes)).is_ok());
    if sound {
        return Ok(());
    }
    Err(ApiError::unauthorized(true).with_message("the signature is not the node's over this nonce and timestamp"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer, SigningKey};
    use protocol::Id as _;

    fn signed(key: &SigningKey, node: NodeId, nonce: &str, timestamp_ms: i64) -> OpenSession {
        let signature = key.sign(&session_challenge_bytes(node, nonce, timestamp_ms));
        OpenSession { nonce: nonce.to_owned(), timestamp_ms, signature: hex::encode(signature.to_bytes()) }
    }

    #[test]
    fn only_the_node_itself_opens_its_session() {
        let (key, node) = (SigningKey::from_bytes(&[7; 32]), NodeId::from_uuid(uuid::Uuid::from_u128(1)));
        let body = signed(&key, node, "0123456789abcdef", 5);
        let public = key.verifying_key().to_bytes();
        verify(&public, node, &body).unwrap();
        let other = NodeId::from_uuid(uuid::Uuid::from_u128(2));
        assert!(verify(&public, other, &body).is_err());
        let late = OpenSession { timestamp_ms: 6, ..body };
        assert_eq!(verify(&public, node, &late).unwrap_err().status(), 401);
    }

    #[test]
    fn a_clock_that_is_off_is_told_by_how_much() {
        let now = Timestamp::from_unix_ms(1_000_000);
        let at = |timestamp_ms, nonce: &str| {
            let body = OpenSession { nonce: nonce.to_owned(), timestamp_ms, signature: String::new() };
            check(&body, now).err().map(|error| error.message().to_owned())
        };
        assert_eq!(at(1_030_000, "0123456789abcdef"), None);
        assert!(at(1_030_001, "0123456789abcdef").unwrap().contains("30001 ms"));
        assert!(at(969_999, "0123456789abcdef").unwrap().contains("-30001 ms"));
        assert!(at(i64::MIN, "0123456789abcdef").is_some());
        assert!(at(1_000_000, "short").is_some());
        assert!(at(1_000_000, "0123456789\nabcdef").is_some());
    }
}

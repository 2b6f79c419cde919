//! Sessions of nodes: fifteen minutes, opened by signing a nonce with the node's own key.
//!
//! Nodes call every few seconds at most, so each call asks the database: a session that was ended is
//! over at once, on every replica.

use std::time::Duration;

use protocol::Env;
use sqlx::PgPool;

use crate::error::ApiError;
use crate::keys::Digest;
use crate::store;
pub use crate::store::sessions::Session;

/// How long a session lasts.
pub const SESSION_TTL: Duration = Duration::from_secs(15 * 60);
/// Open sessions a node may have: it needs one, and another per restart within a quarter of an hour.
pub const MAX_SESSIONS: i64 = 100;
/// What every token starts with, for people and scanners.
const PREFIX: &str = "steelyard-session-";

/// The sessions in use.
#[derive(Clone)]
pub struct Sessions {
    db: PgPool,
    env: Env,
}

impl Sessions {
    /// Reads from `db`.
    #[must_use]
    pub fn new(db: PgPool, env: Env) -> Self {
        Self { db, env }
    }

    /// A new token and the digest to store.
    #[must_use]
    pub fn mint(env: &Env) -> (String, Digest) {
        let token = format!("{PREFIX}{}", hex::encode(env.bytes::<32>()));
        let digest = *blake3::hash(token.as_bytes()).as_bytes();
        (token, digest)
    }

    /// Whether a credential is meant to be one of these tokens, rather than a key.
    #[must_use]
    pub fn is_token(credential: &str) -> bool {
        credential.starts_with(PREFIX)
    }

    /// Whose session `token` is.
    ///
    /// # Errors
    /// 401 when it is unknown or over; 503 when the database can't be asked.
    pub async fn find(&self, token: &str) -> Result<Session, ApiError> {
        if !Self::is_token(token) {
            return Err(unauthorized());
        }
        let digest = *blake3::hash(token.as_bytes()).as_bytes();
        let mut conn = self.db.acquire().await?;
        let session = store::sessions::find_open(&mut conn, &digest, self.env.now()).await?;
        session.ok_or_else(unauthorized)
    }
}

fn unauthorized() -> ApiError {
    ApiError::unauthorized(true).with_message("the session token is unknown or over; open a new session")
}

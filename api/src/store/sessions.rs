//! Sessions of nodes, by digest of their token.

use protocol::{NodeId, ProviderId, Timestamp};
use sqlx::PgConnection;

use crate::keys::Digest;

/// A node that proved its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// Who it is.
    pub node: NodeId,
    /// Whose node it is.
    pub provider: ProviderId,
    /// When the session ends.
    pub expires_at: Timestamp,
}

/// Stores a session. False when its nonce was used before: then nothing is stored.
///
/// Sessions of the node that ended are dropped first; they outlived the time in which a nonce counts.
///
/// # Errors
/// When the database fails.
pub async fn insert(
    conn: &mut PgConnection,
    digest: &Digest,
    session: &Session,
    nonce: &str,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    sqlx::query!(
        "delete from node_sessions where node_id = $1 and expires_at <= $2",
        session.node as NodeId,
        now as Timestamp,
    )
    .execute(&mut *conn)
    .await?;
    let inserted = sqlx::query!(
        "insert into node_sessions (digest, node_id, provider_id, nonce, opened_at, expires_at)
         values ($1, $2, $3, $4, $5, $6) on conflict (node_id, nonce) do nothing",
        digest.as_slice(),
        session.node as NodeId,
        session.provider as ProviderId,
        nonce,
        now as Timestamp,
        session.expires_at as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// How many sessions a node has open.
///
/// # Errors
/// When the database fails.
pub async fn count_open(conn: &mut PgConnection, node: NodeId, now: Timestamp) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from node_sessions where node_id = $1 and expires_at > $2"#,
        node as NodeId,
        now as Timestamp,
    )
    .fetch_one(conn)
    .await
}

/// The open session of that token.
///
/// # Errors
/// When the database fails.
pub async fn find_open(
    conn: &mut PgConnection,
    digest: &Digest,
    now: Timestamp,
) -> Result<Option<Session>, sqlx::Error> {
    sqlx::query_as!(
        Session,
        r#"select node_id as "node: NodeId", provider_id as "provider: ProviderId",
                  expires_at as "expires_at: Timestamp"
             from node_sessions where digest = $1 and expires_at > $2"#,
        digest.as_slice(),
        now as Timestamp,
    )
    .fetch_optional(conn)
    .await
}

/// Ends all sessions of a node.
///
/// # Errors
/// When the database fails.
pub async fn end_of_node(conn: &mut PgConnection, node: NodeId) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from node_sessions where node_id = $1", node as NodeId).execute(conn).await?;
    Ok(())
}

/// Ends all sessions of a provider's nodes.
///
/// # Errors
/// When the database fails.
pub async fn end_of_provider(conn: &mut PgConnection, provider: ProviderId) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from node_sessions where provider_id = $1", provider as ProviderId).execute(conn).await?;
    Ok(())
}

//! Texts to be signed once by a provider's wallet.

use protocol::challenge::Purpose;
use protocol::{ChallengeId, ProviderId, Timestamp};
use sqlx::PgConnection;

/// A text waiting for its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Its id.
    pub id: ChallengeId,
    /// Whose wallet must sign.
    pub provider: ProviderId,
    /// What for.
    pub purpose: Purpose,
    /// What is signed.
    pub message: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it proves nothing.
    pub expires_at: Timestamp,
}

/// Stores a challenge and drops the provider's expired ones.
///
/// # Errors
/// When the database fails.
pub async fn insert(conn: &mut PgConnection, new: &Challenge) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from challenges where provider_id = $1 and expires_at <= $2",
        new.provider as ProviderId,
        new.created_at as Timestamp,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "insert into challenges (challenge_id, provider_id, purpose, message, created_at, expires_at)
         values ($1, $2, $3, $4, $5, $6)",
        new.id as ChallengeId,
        new.provider as ProviderId,
        new.purpose.name(),
        new.message,
        new.created_at as Timestamp,
        new.expires_at as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The provider's challenge of that purpose that waits the longest yet, if it still does at `until`.
///
/// # Errors
/// When the database fails.
pub async fn find_open(
    conn: &mut PgConnection,
    provider: ProviderId,
    purpose: Purpose,
    until: Timestamp,
) -> Result<Option<Challenge>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select challenge_id as "id: ChallengeId", message, created_at as "created_at: Timestamp",
                  expires_at as "expires_at: Timestamp"
             from challenges where provider_id = $1 and purpose = $2 and used_at is null and expires_at >= $3
            order by expires_at desc limit 1"#,
        provider as ProviderId,
        purpose.name(),
        until as Timestamp,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| {
        let (created_at, expires_at) = (row.created_at, row.expires_at);
        Challenge { id: row.id, provider, purpose, message: row.message, created_at, expires_at }
    }))
}

/// Drops challenges that expired before `before`, whosever they were.
///
/// # Errors
/// When the database fails.
pub async fn prune(conn: &mut PgConnection, before: Timestamp) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!("delete from challenges where expires_at < $1", before as Timestamp);
    Ok(done.execute(conn).await?.rows_affected())
}

/// Uses a challenge up, unless it was used, has expired or is another provider's. The update locks the
/// row, so of two calls with one signature only the first gets anything; rolling back leaves it unused.
///
/// # Errors
/// When the database fails.
pub async fn claim(
    conn: &mut PgConnection,
    id: ChallengeId,
    provider: ProviderId,
    now: Timestamp,
) -> Result<Option<Challenge>, sqlx::Error> {
    let row = sqlx::query!(
        r#"update challenges set used_at = $3
            where challenge_id = $1 and provider_id = $2 and used_at is null and expires_at > $3
        returning purpose, message, created_at as "created_at: Timestamp", expires_at as "expires_at: Timestamp""#,
        id as ChallengeId,
        provider as ProviderId,
        now as Timestamp,
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        let unknown = || sqlx::Error::Decode(format!("unknown purpose {:?} of a challenge", row.purpose).into());
        let purpose = Purpose::parse(&row.purpose).ok_or_else(unknown)?;
        let (created_at, expires_at) = (row.created_at, row.expires_at);
        Ok(Challenge { id, provider, purpose, message: row.message, created_at, expires_at })
    })
    .transpose()
}

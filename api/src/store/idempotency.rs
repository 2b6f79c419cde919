//! Idempotency keys by hash: who runs under one, and what was answered.

use std::time::Duration;

use protocol::{BootId, RequestId, Timestamp};
use sqlx::PgConnection;
use uuid::Uuid;

/// Rows deleted at a time: a second's worth at a thousand keyed requests a second.
pub const PRUNE_BATCH: i64 = 1_000;

/// A hash, as rows keep it.
pub type Hash = [u8; 32];

/// A run about to begin.
#[derive(Debug, Clone)]
pub struct NewClaim {
    /// What the key is stored under.
    pub name: Hash,
    /// Whose key it is.
    pub scope: Uuid,
    /// What was asked.
    pub fingerprint: Hash,
    /// The run.
    pub request: RequestId,
    /// On which replica.
    pub replica: String,
    /// On which start of it.
    pub boot: BootId,
    /// Until when the answer is kept.
    pub expires_at: Timestamp,
}

/// A key that was used.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// What was asked.
    pub fingerprint: Vec<u8>,
    /// The run.
    pub request: RequestId,
    /// How it stands.
    pub state: State,
    /// Until when the answer is kept.
    pub expires_at: Timestamp,
}

/// How the run of a key stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It goes on.
    Running,
    /// Whoever ran it has not been heard of.
    Dead,
    /// It ended; the sealed answer, unless that was lost or is too large.
    Ended(Option<Vec<u8>>),
}

/// Takes a key nobody has. False when somebody does.
///
/// # Errors
/// When the database fails.
pub async fn insert(conn: &mut PgConnection, new: &NewClaim, lives_for: Duration) -> Result<bool, sqlx::Error> {
    let inserted = sqlx::query!(
        "insert into idempotency_keys
                (name, scope_id, fingerprint, request_id, replica, boot_id, expires_at, lives_until)
         values ($1, $2, $3, $4, $5, $6, $7, now() + make_interval(secs => $8)) on conflict (name) do nothing",
        new.name.as_slice(),
        new.scope,
        new.fingerprint.as_slice(),
        new.request as RequestId,
        new.replica,
        new.boot as BootId,
        new.expires_at as Timestamp,
        lives_for.as_secs_f64(),
    )
    .execute(conn)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// How a key stands, its row locked.
///
/// # Errors
/// When the database fails.
pub async fn find_and_lock(conn: &mut PgConnection, name: &Hash) -> Result<Option<Claimed>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select fingerprint, request_id as "request: RequestId", answer, expires_at as "expires_at: Timestamp",
                  lives_until > now() as lives
             from idempotency_keys where name = $1 for update"#,
        name.as_slice(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| {
        let state = match row.lives {
            Some(true) => State::Running,
            Some(false) => State::Dead,
            None => State::Ended(row.answer),
        };
        Claimed { fingerprint: row.fingerprint, request: row.request, state, expires_at: row.expires_at }
    }))
}

/// Takes over a key whose time is over or whose run died. The caller has its row locked.
///
/// # Errors
/// When the database fails.
pub async fn replace(conn: &mut PgConnection, new: &NewClaim, lives_for: Duration) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update idempotency_keys
            set fingerprint = $2, request_id = $3, replica = $4, boot_id = $5, expires_at = $6, answer = null,
                lives_until = now() + make_interval(secs => $7)
          where name = $1",
        new.name.as_slice(),
        new.fingerprint.as_slice(),
        new.request as RequestId,
        new.replica,
        new.boot as BootId,
        new.expires_at as Timestamp,
        lives_for.as_secs_f64(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends a run, with its sealed answer if there is one to keep. False when the key is no longer that run's.
/// Repeating it is harmless.
///
/// # Errors
/// When the database fails.
pub async fn finish(
    conn: &mut PgConnection,
    name: &Hash,
    request: RequestId,
    answer: Option<&[u8]>,
) -> Result<bool, sqlx::Error> {
    let finished = sqlx::query!(
        "update idempotency_keys set lives_until = null, answer = $3 where name = $1 and request_id = $2",
        name.as_slice(),
        request as RequestId,
        answer,
    )
    .execute(conn)
    .await?;
    Ok(finished.rows_affected() == 1)
}

/// Frees the key of a run that is not to be repeated in answers.
///
/// # Errors
/// When the database fails.
pub async fn release(conn: &mut PgConnection, name: &Hash, request: RequestId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from idempotency_keys where name = $1 and request_id = $2 and lives_until is not null",
        name.as_slice(),
        request as RequestId,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Says that these runs of one boot go on.
///
/// # Errors
/// When the database fails.
pub async fn renew(
    conn: &mut PgConnection,
    boot: BootId,
    names: &[Vec<u8>],
    lives_for: Duration,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update idempotency_keys set lives_until = now() + make_interval(secs => $3)
          where name = any($1) and boot_id = $2 and lives_until is not null",
        names,
        boot as BootId,
        lives_for.as_secs_f64(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Says that the runs of a replica's earlier boots are over. Returns how many there were.
///
/// # Errors
/// When the database fails.
pub async fn lapse_earlier_boots(conn: &mut PgConnection, replica: &str, boot: BootId) -> Result<u64, sqlx::Error> {
    let lapsed = sqlx::query!(
        "update idempotency_keys set lives_until = '-infinity'
          where replica = $1 and boot_id <> $2 and lives_until is not null",
        replica,
        boot as BootId,
    )
    .execute(conn)
    .await?;
    Ok(lapsed.rows_affected())
}

/// Deletes up to [`PRUNE_BATCH`] keys whose time is over. Returns how many there were.
///
/// # Errors
/// When the database fails.
pub async fn prune(conn: &mut PgConnection, now: Timestamp) -> Result<u64, sqlx::Error> {
    let pruned = sqlx::query!(
        "delete from idempotency_keys where name in
           (select name from idempotency_keys
             where expires_at <= $1 and (lives_until is null or lives_until <= now())
             order by expires_at limit $2 for update skip locked)",
        now as Timestamp,
        PRUNE_BATCH,
    )
    .execute(conn)
    .await?;
    Ok(pruned.rows_affected())
}

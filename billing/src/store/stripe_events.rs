//! What the processor told, as it came.

use protocol::Timestamp;
use sqlx::PgConnection;

/// What came of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is in the books, or was.
    Applied,
    /// It is nothing of ours.
    Ignored,
    /// It waits for a person.
    Parked,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Ignored => "ignored",
            Self::Parked => "parked",
        }
    }
}

/// An event to be worked on.
#[derive(Debug, Clone)]
pub(crate) struct Due {
    pub id: String,
    pub kind: String,
    pub object: Option<String>,
    /// This attempt counted.
    pub attempts: i32,
}

/// Stores an event unless it came before. Returns how many are new.
pub(crate) async fn insert(
    conn: &mut PgConnection,
    id: &str,
    kind: &str,
    object: Option<&str>,
    body: &str,
    now: Timestamp,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "insert into stripe_events (event_id, kind, object_id, body, received_at, due_at)
         values ($1, $2, $3, $4, $5, $5) on conflict do nothing",
        id,
        kind,
        object,
        body,
        now as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Takes what is due until `until`; nobody else gets it before that.
pub(crate) async fn claim(
    conn: &mut PgConnection,
    now: Timestamp,
    until: Timestamp,
    limit: i64,
) -> Result<Vec<Due>, sqlx::Error> {
    sqlx::query_as!(
        Due,
        "update stripe_events set due_at = $2, attempts = attempts + 1
          where event_id in (
            select event_id from stripe_events where due_at <= $1 order by due_at limit $3 for update skip locked)
         returning event_id as id, kind, object_id as object, attempts",
        now as Timestamp,
        until as Timestamp,
        limit,
    )
    .fetch_all(conn)
    .await
}

/// Ends the work on an event.
pub(crate) async fn finish(
    conn: &mut PgConnection,
    id: &str,
    outcome: Outcome,
    error: Option<&str>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update stripe_events set due_at = null, outcome = $2, error = $3 where event_id = $1",
        id,
        outcome.as_str(),
        error,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Leaves an event for later.
pub(crate) async fn put_off(
    conn: &mut PgConnection,
    id: &str,
    until: Timestamp,
    error: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update stripe_events set due_at = $2, error = $3 where event_id = $1",
        id,
        until as Timestamp,
        error,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Since when the oldest event waits that was neither worked on nor given up.
pub(crate) async fn find_oldest(conn: &mut PgConnection) -> Result<Option<Timestamp>, sqlx::Error> {
    sqlx::query_scalar!(r#"select min(received_at) as "oldest: Timestamp" from stripe_events where due_at is not null"#)
        .fetch_one(conn)
        .await
}

/// An event that waits for a person.
#[derive(Debug, Clone)]
pub struct Parked {
    /// The processor's name for it.
    pub id: String,
    /// Its type.
    pub kind: String,
    /// What it is about.
    pub object: Option<String>,
    /// Why it was given up.
    pub error: Option<String>,
    /// Since when it is known.
    pub received_at: Timestamp,
}

/// Events that were given up, oldest first.
///
/// # Errors
/// When the database call fails.
pub async fn list_parked(conn: &mut PgConnection, limit: i64) -> Result<Vec<Parked>, sqlx::Error> {
    sqlx::query_as!(
        Parked,
        r#"select event_id as id, kind, object_id as object, error, received_at as "received_at: Timestamp"
             from stripe_events where outcome = 'parked' order by received_at, event_id limit $1"#,
        limit,
    )
    .fetch_all(conn)
    .await
}

/// Makes a parked event due again. False when it is not parked.
///
/// # Errors
/// When the database call fails.
pub async fn replay(conn: &mut PgConnection, id: &str, now: Timestamp) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update stripe_events set due_at = $2, outcome = null, attempts = 0 where event_id = $1 and outcome = 'parked'",
        id,
        now as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends a parked event that a person has dealt with otherwise, and says how. False when it is not parked.
///
/// # Errors
/// When the database call fails.
pub async fn resolve(conn: &mut PgConnection, id: &str, resolution: &str) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update stripe_events set outcome = 'resolved', resolution = $2 where event_id = $1 and outcome = 'parked'",
        id,
        resolution,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

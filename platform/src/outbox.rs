//! Facts from one part of the broker to another: written with what made them true, read in order.
//!
//! Delivery is at least once. A consumer that keeps its effects in Postgres, on the connection it is
//! handed, sees each fact exactly once: its cursor moves in the same transaction.

use std::future::Future;
use std::time::Duration;

use protocol::event::Event;
use protocol::{EventId, Timestamp};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};

/// Events handed to a consumer in one transaction: enough to spread its cost, few enough to repeat.
pub const BATCH: i64 = 100;
/// Key of the advisory lock that tells readers whether a writer is under way. Any constant would do.
const WRITERS_LOCK: i64 = 0x73_7465_656c_7961;

/// An event as it was recorded.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Place in the order of delivery.
    pub seq: i64,
    /// The writer's id for it; what an idempotent consumer remembers.
    pub id: EventId,
    /// When it was written.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
}

/// Someone who acts on events.
pub trait Consumer: Send {
    /// What it fails with.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Names its cursor: stable over releases, one per purpose, shared by all replicas.
    fn name(&self) -> &'static str;

    /// Acts on one event, on the connection whose transaction also moves the cursor.
    ///
    /// # Errors
    /// Whatever it says. The batch is rolled back and comes again: a consumer that must not be held up
    /// by one event says `Ok` and keeps its own record of the failure.
    fn handle(
        &mut self,
        conn: &mut PgConnection,
        recorded: &Recorded,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// So many were handled; call again at once while this is [`BATCH`].
    Handled(usize),
    /// Another replica is at it.
    Elsewhere,
}

/// Why a drain stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error<E: std::error::Error + 'static> {
    /// The consumer failed on an event; nothing of the batch has happened.
    #[error("consumer {consumer} failed on event {event}")]
    Consumer {
        /// Which consumer.
        consumer: &'static str,
        /// Which event.
        event: EventId,
        /// Why.
        source: E,
    },
    /// Reading or moving the cursor failed. An event this binary cannot read ends here too: waiting
    /// for the newer binary is better than passing it over.
    #[error("database call failed")]
    Database(#[from] sqlx::Error),
}

/// Records `event` in the caller's transaction. Repeating it with the same id is harmless.
///
/// Call it last in the transaction: until the commit, readers wait for this writer.
///
/// # Errors
/// What the database says; the transaction is then lost.
pub async fn append(conn: &mut PgConnection, id: EventId, event: &Event, now: Timestamp) -> Result<(), sqlx::Error> {
    // Shared among writers. A number drawn under it is committed or given up before a reader, who asks
    // for it alone, looks: otherwise a late commit would slip in behind a cursor that has passed it.
    sqlx::query!("select pg_advisory_xact_lock_shared($1)", WRITERS_LOCK).execute(&mut *conn).await?;
    sqlx::query!(
        "insert into outbox_events (event_id, body, recorded_at) values ($1, $2, $3) on conflict (event_id) do nothing",
        id as EventId,
        Json(event) as Json<&Event>,
        now as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Hands the next events to `consumer`, in order, at most [`BATCH`] of them.
///
/// # Errors
/// [`Error`]; the cursor is where it was, and the next call begins with the same event.
pub async fn drain<C: Consumer>(db: &PgPool, consumer: &mut C) -> Result<Drained, Error<C::Error>> {
    let name = consumer.name();
    if is_level(db, name).await? {
        return Ok(Drained::Handled(0));
    }
    let horizon = settled_horizon(db).await?;
    let mut tx = db.begin().await?;
    let Some(cursor) = claim_cursor(&mut tx, name).await? else {
        return Ok(Drained::Elsewhere);
    };
    let batch = list_between(&mut tx, cursor, horizon).await?;
    for recorded in &batch {
        let handled = consumer.handle(&mut tx, recorded).await;
        handled.map_err(|source| Error::Consumer { consumer: name, event: recorded.id, source })?;
    }
    if let Some(last) = batch.last() {
        sqlx::query!("update outbox_cursors set seq = $2 where consumer = $1", name, last.seq)
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    metrics::counter!("steelyard_outbox_handled_total", "consumer" => name).increment(batch.len() as u64);
    Ok(Drained::Handled(batch.len()))
}

/// Whether there is nothing to do: the answer to most calls, without a lock or a transaction.
async fn is_level(db: &PgPool, consumer: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select coalesce((select max(seq) from outbox_events), 0)
              <= coalesce((select seq from outbox_cursors where consumer = $1), 0) as "is_level!""#,
        consumer,
    )
    .fetch_one(db)
    .await
}

/// The newest number below which nothing can appear any more.
///
/// A transaction of its own: it must not hold writers up for as long as consumers work.
async fn settled_horizon(db: &PgPool) -> Result<i64, sqlx::Error> {
    let mut tx = db.begin().await?;
    sqlx::query!("select pg_advisory_xact_lock($1)", WRITERS_LOCK).execute(&mut *tx).await?;
    let horizon = sqlx::query_scalar!(r#"select coalesce(max(seq), 0) as "seq!" from outbox_events"#);
    let horizon = horizon.fetch_one(&mut *tx).await?;
    tx.commit().await?;
    Ok(horizon)
}

/// Locks the consumer's place; `None` while another replica has it.
async fn claim_cursor(conn: &mut PgConnection, consumer: &str) -> Result<Option<i64>, sqlx::Error> {
    let claimed = find_and_lock(conn, consumer).await?;
    if claimed.is_some() {
        return Ok(claimed);
    }
    sqlx::query!("insert into outbox_cursors (consumer) values ($1) on conflict do nothing", consumer)
        .execute(&mut *conn)
        .await?;
    find_and_lock(conn, consumer).await
}

async fn find_and_lock(conn: &mut PgConnection, consumer: &str) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!("select seq from outbox_cursors where consumer = $1 for update skip locked", consumer)
        .fetch_optional(conn)
        .await
}

async fn list_between(conn: &mut PgConnection, after: i64, up_to: i64) -> Result<Vec<Recorded>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select seq, event_id as "id: EventId", body as "body: Json<Event>", recorded_at as "at: Timestamp"
             from outbox_events where seq > $1 and seq <= $2 order by seq limit $3"#,
        after,
        up_to,
        BATCH,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| Recorded { seq: row.seq, id: row.id, at: row.at, event: row.body.0 }).collect())
}

/// Deletes events that every known consumer has passed and that are older than `keep`.
///
/// A consumer without a cursor yet does not hold them back: it starts with what is left. So where nobody reads,
/// age alone decides.
///
/// # Errors
/// What the database says.
pub async fn prune(conn: &mut PgConnection, now: Timestamp, keep: Duration) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "delete from outbox_events
          where recorded_at < $1 and seq <= all (select seq from outbox_cursors)",
        now.minus(keep) as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

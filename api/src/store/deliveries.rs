//! What endpoints are still to be told, and what became of it.

use protocol::{EventId, OrganizationId, ProviderId, Timestamp, WebhookId};
use sqlx::PgConnection;

use crate::webhooks::Owner;

/// Rows deleted at a time.
const PRUNE_BATCH: i64 = 1_000;

/// A delivery that is due.
#[derive(Debug, Clone)]
pub struct Due {
    /// Its place in the order of events.
    pub id: i64,
    /// The event, and so the id it is sent under each time.
    pub event: EventId,
    /// What is sent.
    pub body: String,
    /// How often it has been tried.
    pub attempts: i32,
    /// When it came to be.
    pub created_at: Timestamp,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy)]
pub enum Outcome {
    /// It was taken.
    Delivered(Timestamp),
    /// It will be tried again.
    Again(Timestamp),
    /// It will not.
    GivenUp,
}

/// Makes a delivery for each of the owner's endpoints that wants to know. Repeating it changes nothing.
///
/// # Errors
/// When the database fails.
pub async fn insert_for(
    conn: &mut PgConnection,
    owner: Owner,
    kind: &str,
    event: EventId,
    body: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into webhook_deliveries (endpoint_id, event_id, body, created_at, next_at)
         select endpoint_id, $4, $5, $6, $6 from webhook_endpoints
          where (organization_id = $1 or provider_id = $2) and disabled_at is null
            and (events = '{}' or $3 = any(events))
         on conflict (endpoint_id, event_id) do nothing",
        owner.organization() as Option<OrganizationId>,
        owner.provider() as Option<ProviderId>,
        kind,
        event as EventId,
        body,
        now as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What is due at one endpoint, in the order it happened.
///
/// # Errors
/// When the database fails.
pub async fn list_due(
    conn: &mut PgConnection,
    endpoint: WebhookId,
    now: Timestamp,
    most: i64,
) -> Result<Vec<Due>, sqlx::Error> {
    sqlx::query_as!(
        Due,
        r#"select delivery_id as id, event_id as "event: EventId", body, attempts, created_at as "created_at: Timestamp"
             from webhook_deliveries where endpoint_id = $1 and next_at <= $2 order by delivery_id limit $3"#,
        endpoint as WebhookId,
        now as Timestamp,
        most,
    )
    .fetch_all(conn)
    .await
}

/// Writes down an attempt.
///
/// # Errors
/// When the database fails.
pub async fn record(
    conn: &mut PgConnection,
    id: i64,
    outcome: Outcome,
    status: Option<u16>,
) -> Result<(), sqlx::Error> {
    let (delivered_at, next_at) = match outcome {
        Outcome::Delivered(at) => (Some(at), None),
        Outcome::Again(at) => (None, Some(at)),
        Outcome::GivenUp => (None, None),
    };
    sqlx::query!(
        "update webhook_deliveries
            set attempts = attempts + 1, delivered_at = $2, next_at = $3, last_status = $4 where delivery_id = $1",
        id,
        delivered_at as Option<Timestamp>,
        next_at as Option<Timestamp>,
        status.map(i32::from),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Deletes deliveries made before `before`, some at a time.
///
/// # Errors
/// When the database fails.
pub async fn prune(conn: &mut PgConnection, before: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from webhook_deliveries where delivery_id in
           (select delivery_id from webhook_deliveries where created_at < $1 order by created_at limit $2)",
        before as Timestamp,
        PRUNE_BATCH,
    )
    .execute(conn)
    .await?;
    Ok(())
}

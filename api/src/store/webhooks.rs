//! Endpoints: whose they are, what they want to know, how they fare.

use protocol::{OrganizationId, ProviderId, Timestamp, WebhookId};
use sqlx::PgConnection;

use crate::webhooks::{Owner, WebhookSecret};

/// An endpoint as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its id.
    pub id: WebhookId,
    /// Where it is.
    pub url: String,
    /// What its owner calls it.
    pub description: String,
    /// Types it is told of; empty for all.
    pub events: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The first of the failures since which it took nothing.
    pub failing_since: Option<Timestamp>,
    /// When it was switched off.
    pub disabled_at: Option<Timestamp>,
}

/// An endpoint that has something coming.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its id.
    pub id: WebhookId,
    /// Whose it is.
    pub owner: Owner,
    /// Where it is.
    pub url: String,
    /// What signs: the secret, and the one before it for a while.
    pub secrets: Vec<WebhookSecret>,
}

/// How many endpoints an owner has.
///
/// # Errors
/// When the database fails.
pub async fn count_of(conn: &mut PgConnection, owner: Owner) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from webhook_endpoints where organization_id = $1 or provider_id = $2"#,
        owner.organization() as Option<OrganizationId>,
        owner.provider() as Option<ProviderId>,
    )
    .fetch_one(conn)
    .await
}

/// Stores a new endpoint.
///
/// # Errors
/// When the database fails.
pub async fn insert(
    conn: &mut PgConnection,
    owner: Owner,
    endpoint: &Endpoint,
    secret: &WebhookSecret,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into webhook_endpoints
                (endpoint_id, organization_id, provider_id, url, description, events, secret, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        endpoint.id as WebhookId,
        owner.organization() as Option<OrganizationId>,
        owner.provider() as Option<ProviderId>,
        endpoint.url,
        endpoint.description,
        &endpoint.events,
        secret.bytes(),
        endpoint.created_at as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// An owner's endpoints, newest first; one of them, or all.
///
/// # Errors
/// When the database fails.
pub async fn list_of(
    conn: &mut PgConnection,
    owner: Owner,
    only: Option<WebhookId>,
) -> Result<Vec<Endpoint>, sqlx::Error> {
    sqlx::query_as!(
        Endpoint,
        r#"select endpoint_id as "id: WebhookId", url, description, events, created_at as "created_at: Timestamp",
                  failing_since as "failing_since: Timestamp", disabled_at as "disabled_at: Timestamp"
             from webhook_endpoints
            where (organization_id = $1 or provider_id = $2) and ($3::uuid is null or endpoint_id = $3)
            order by endpoint_id desc"#,
        owner.organization() as Option<OrganizationId>,
        owner.provider() as Option<ProviderId>,
        only as Option<WebhookId>,
    )
    .fetch_all(conn)
    .await
}

/// Writes what its owner may change. An endpoint that is switched on again begins anew.
///
/// # Errors
/// When the database fails.
pub async fn update(conn: &mut PgConnection, endpoint: &Endpoint) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update webhook_endpoints
            set url = $2, description = $3, events = $4, disabled_at = $5,
                failing_since = case when disabled_at is null then failing_since end
          where endpoint_id = $1",
        endpoint.id as WebhookId,
        endpoint.url,
        endpoint.description,
        &endpoint.events,
        endpoint.disabled_at as Option<Timestamp>,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Puts a new secret beside the old one, which signs as well until `former_until`.
///
/// # Errors
/// When the database fails.
pub async fn rotate(
    conn: &mut PgConnection,
    id: WebhookId,
    secret: &WebhookSecret,
    former_until: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update webhook_endpoints set former_secret = secret, former_until = $3, secret = $2 where endpoint_id = $1",
        id as WebhookId,
        secret.bytes(),
        former_until as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Deletes an endpoint and what it was still to be told.
///
/// # Errors
/// When the database fails.
pub async fn delete(conn: &mut PgConnection, id: WebhookId) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from webhook_endpoints where endpoint_id = $1", id as WebhookId).execute(conn).await?;
    Ok(())
}

/// Takes up to `most` endpoints with something due, until `until` or their release.
///
/// # Errors
/// When the database fails.
pub async fn claim_due(
    conn: &mut PgConnection,
    now: Timestamp,
    until: Timestamp,
    most: i64,
) -> Result<Vec<Target>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"update webhook_endpoints set claimed_until = $2
            where endpoint_id in
              (select endpoint_id from webhook_endpoints e
                where disabled_at is null and (claimed_until is null or claimed_until <= $1)
                  and exists (select from webhook_deliveries d where d.endpoint_id = e.endpoint_id and d.next_at <= $1)
                order by claimed_until nulls first, endpoint_id limit $3 for update skip locked)
        returning endpoint_id as "id: WebhookId", organization_id as "organization: OrganizationId",
                  provider_id as "provider: ProviderId", url, secret,
                  case when former_until > $1 then former_secret end as former_secret"#,
        now as Timestamp,
        until as Timestamp,
        most,
    )
    .fetch_all(conn)
    .await?;
    let targets = rows.into_iter().map(|row| {
        let owner = match (row.organization, row.provider) {
            (Some(organization), _) => Owner::Organization(organization),
            (None, Some(provider)) => Owner::Provider(provider),
            (None, None) => return Err(sqlx::Error::Decode(format!("webhook {} is nobody's", row.id).into())),
        };
        let secrets = [Some(row.secret), row.former_secret];
        let secrets = secrets.iter().flatten().filter_map(|bytes| WebhookSecret::from_bytes(bytes)).collect();
        Ok(Target { id: row.id, owner, url: row.url, secrets })
    });
    targets.collect()
}

/// Lets go of an endpoint.
///
/// # Errors
/// When the database fails.
pub async fn release(conn: &mut PgConnection, id: WebhookId) -> Result<(), sqlx::Error> {
    sqlx::query!("update webhook_endpoints set claimed_until = null where endpoint_id = $1", id as WebhookId)
        .execute(conn)
        .await?;
    Ok(())
}

/// Notes whether an endpoint took something. Returns since when it has taken nothing.
///
/// # Errors
/// When the database fails.
pub async fn note(
    conn: &mut PgConnection,
    id: WebhookId,
    is_taken: bool,
    now: Timestamp,
) -> Result<Option<Timestamp>, sqlx::Error> {
    let since = sqlx::query_scalar!(
        r#"update webhook_endpoints set failing_since = case when $2 then null else coalesce(failing_since, $3) end
            where endpoint_id = $1 returning failing_since as "since: Timestamp""#,
        id as WebhookId,
        is_taken,
        now as Timestamp,
    )
    .fetch_optional(conn)
    .await?;
    Ok(since.flatten())
}

/// Switches an endpoint off.
///
/// # Errors
/// When the database fails.
pub async fn disable(conn: &mut PgConnection, id: WebhookId, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update webhook_endpoints set disabled_at = coalesce(disabled_at, $2) where endpoint_id = $1",
        id as WebhookId,
        now as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

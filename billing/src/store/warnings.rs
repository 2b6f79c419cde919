//! What issuers hold for fraud.

use protocol::{NanoUsd, OrganizationId, Timestamp, TopupId};
use sqlx::PgConnection;

use crate::warning::FraudWarning;

/// Adds a warning.
pub(crate) async fn insert(conn: &mut PgConnection, warning: &FraudWarning) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into fraud_warnings (warning_id, account_id, topup_id, kind, is_actionable, refunded_nano_usd,
                                     is_suspended, warned_at, seen_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        warning.id,
        warning.account as OrganizationId,
        warning.topup as TopupId,
        warning.kind,
        warning.is_actionable,
        warning.refunded as NanoUsd,
        warning.is_suspended,
        warning.warned_at as Timestamp,
        warning.seen_at as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// One warning, by the processor's name for it.
pub(crate) async fn find(conn: &mut PgConnection, id: &str) -> Result<Option<FraudWarning>, sqlx::Error> {
    Ok(select(conn, Some(id), None).await?.pop())
}

/// Warnings of one top-up, oldest first.
///
/// # Errors
/// When the database call fails.
pub async fn list_of(conn: &mut PgConnection, topup: TopupId) -> Result<Vec<FraudWarning>, sqlx::Error> {
    select(conn, None, Some(topup)).await
}

async fn select(
    conn: &mut PgConnection,
    id: Option<&str>,
    topup: Option<TopupId>,
) -> Result<Vec<FraudWarning>, sqlx::Error> {
    sqlx::query_as!(
        FraudWarning,
        r#"select warning_id as id, account_id as "account: OrganizationId", topup_id as "topup: TopupId", kind,
                  is_actionable, refunded_nano_usd as "refunded: NanoUsd", is_suspended,
                  warned_at as "warned_at: Timestamp", seen_at as "seen_at: Timestamp"
             from fraud_warnings
            where ($1::text is null or warning_id = $1) and ($2::uuid is null or topup_id = $2)
            order by warned_at, warning_id"#,
        id,
        topup as Option<TopupId>,
    )
    .fetch_all(conn)
    .await
}

//! Rows the books refused, waiting for a person.

use protocol::{OrganizationId, RequestId, Timestamp};
use sqlx::PgConnection;

use super::rows::UsageRow;
use crate::quarantine::{Parked, Resolution};

/// Parks a row. Parking it again changes nothing.
pub(crate) async fn insert(conn: &mut PgConnection, row: &UsageRow, error: &str) -> Result<(), sqlx::Error> {
    let json = serde_json::to_value(row).map_err(|e| sqlx::Error::Encode(Box::new(e)))?;
    sqlx::query!(
        "insert into settle_quarantine (request_id, account_id, row, error) values ($1, $2, $3, $4)
         on conflict (request_id) do nothing",
        row.request as RequestId,
        row.account as OrganizationId,
        json,
        error,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Rows that wait, oldest first.
pub(crate) async fn list(conn: &mut PgConnection, limit: i64) -> Result<Vec<Parked>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select request_id as "request: RequestId", account_id as "account: OrganizationId", row->>'charge' as charge,
                  error, parked_at as "parked_at: Timestamp"
             from settle_quarantine where resolved_at is null order by parked_at, request_id limit $1"#,
        limit,
    )
    .fetch_all(conn)
    .await?;
    let parked = rows.into_iter().map(|row| Parked {
        request: row.request,
        account: row.account,
        charge: row.charge.and_then(|charge| charge.parse().ok()),
        error: row.error,
        parked_at: row.parked_at,
    });
    Ok(parked.collect())
}

/// The row of a request that waits, locked, and whose it is.
pub(crate) async fn claim(
    conn: &mut PgConnection,
    request: RequestId,
) -> Result<Option<(OrganizationId, serde_json::Value)>, sqlx::Error> {
    let found = sqlx::query!(
        r#"select account_id as "account: OrganizationId", row from settle_quarantine
            where request_id = $1 and resolved_at is null for update"#,
        request as RequestId,
    )
    .fetch_optional(conn)
    .await?;
    Ok(found.map(|found| (found.account, found.row)))
}

/// Writes down what became of a row.
pub(crate) async fn resolve(
    conn: &mut PgConnection,
    request: RequestId,
    resolution: Resolution,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update settle_quarantine set resolved_at = now(), resolution = $2 where request_id = $1",
        request as RequestId,
        resolution.as_str(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

//! When the books were checked, and what came of it.

use protocol::Timestamp;
use sqlx::PgConnection;

/// One time all checks were run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconciliation {
    /// When.
    pub checked_at: Timestamp,
    /// How many checks there were.
    pub checks: i32,
    /// In how many places the books differed.
    pub differences: i32,
}

/// Notes one.
pub(crate) async fn insert(conn: &mut PgConnection, one: Reconciliation) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into reconciliations (checked_at, checks, differences) values ($1, $2, $3)
         on conflict (checked_at) do update set checks = excluded.checks, differences = excluded.differences",
        one.checked_at as Timestamp,
        one.checks,
        one.differences,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The newest.
///
/// # Errors
/// When the database call fails.
pub async fn find_last(conn: &mut PgConnection) -> Result<Option<Reconciliation>, sqlx::Error> {
    sqlx::query_as!(
        Reconciliation,
        r#"select checked_at as "checked_at: Timestamp", checks, differences
             from reconciliations order by checked_at desc limit 1"#,
    )
    .fetch_optional(conn)
    .await
}

/// Forgets those before a time.
pub(crate) async fn prune(conn: &mut PgConnection, before: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from reconciliations where checked_at < $1", before as Timestamp).execute(conn).await?;
    Ok(())
}

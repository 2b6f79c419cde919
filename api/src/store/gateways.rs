//! The place that gateways on one database share, or that one of them has alone. Nothing is stored: it is a lock.

use sqlx::PgConnection;

/// Takes the place for the life of the connection; false when a gateway has it that does not fit.
///
/// # Errors
/// When the database fails.
pub async fn claim(conn: &mut PgConnection, alone: bool) -> Result<bool, sqlx::Error> {
    let taken = if alone {
        sqlx::query_scalar!(r#"select pg_try_advisory_lock(hashtextextended('gateways', 0)) as "taken!""#)
            .fetch_one(conn)
            .await?
    } else {
        sqlx::query_scalar!(r#"select pg_try_advisory_lock_shared(hashtextextended('gateways', 0)) as "taken!""#)
            .fetch_one(conn)
            .await?
    };
    Ok(taken)
}

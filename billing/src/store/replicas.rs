//! Starts of gateway replicas.

use protocol::BootId;
use sqlx::PgConnection;

/// Records a start.
pub(crate) async fn insert(conn: &mut PgConnection, name: &str, boot: BootId) -> Result<(), sqlx::Error> {
    sqlx::query!("insert into replicas (name, boot_id) values ($1, $2)", name, boot as BootId).execute(conn).await?;
    Ok(())
}

/// Tells the others this one lives, and returns how many replicas do, this one included.
pub(crate) async fn seen(conn: &mut PgConnection, boot: BootId, alive_s: f64) -> Result<i64, sqlx::Error> {
    sqlx::query!("update replicas set seen_at = now() where boot_id = $1", boot as BootId).execute(&mut *conn).await?;
    sqlx::query_scalar!(
        r#"select count(distinct name) as "count!" from replicas
            where stopped_at is null and seen_at > now() - make_interval(secs => $1)"#,
        alive_s,
    )
    .fetch_one(conn)
    .await
}

/// Records an orderly stop.
pub(crate) async fn stopped(conn: &mut PgConnection, boot: BootId) -> Result<(), sqlx::Error> {
    sqlx::query!("update replicas set stopped_at = now() where boot_id = $1", boot as BootId).execute(conn).await?;
    Ok(())
}

/// Takes the lock on a replica's name for the life of the connection. False when another process has it.
pub(crate) async fn claim_name(conn: &mut PgConnection, name: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"select pg_try_advisory_lock(hashtextextended('replica ' || $1, 0)) as "locked!""#, name)
        .fetch_one(conn)
        .await
}

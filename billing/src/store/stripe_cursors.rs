//! How far the processor's lists have been read.

use protocol::Timestamp;
use sqlx::PgConnection;

/// A list that is read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cursor {
    /// The lines of its account.
    Lines,
    /// What it tells.
    Events,
}

impl Cursor {
    /// What the processor calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lines => "balance_transactions",
            Self::Events => "events",
        }
    }
}

/// What is read next: what follows what was read last, or everything since the first customer; `None` before that.
pub(crate) async fn find(conn: &mut PgConnection, cursor: Cursor) -> Result<Option<Timestamp>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select coalesce((select upto from stripe_cursors where list = $1),
                           (select min(created_at) from stripe_customers)) as "start: Timestamp""#,
        cursor.as_str(),
    )
    .fetch_one(conn)
    .await
}

/// Notes that everything up to a time was read.
pub(crate) async fn advance(conn: &mut PgConnection, cursor: Cursor, upto: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into stripe_cursors (list, upto) values ($1, $2)
         on conflict (list) do update set upto = greatest(stripe_cursors.upto, excluded.upto)",
        cursor.as_str(),
        upto as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

//! What a provider has told its node to do, until it is done.

use protocol::{NodeId, Timestamp};
use sqlx::PgConnection;

/// What the node is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderKind {
    /// Take no new work.
    Drain,
    /// Take work again.
    Resume,
}

impl OrderKind {
    /// As stored and sent.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Resume => "resume",
        }
    }
}

/// A standing order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What to do.
    pub kind: OrderKind,
    /// For people.
    pub reason: Option<String>,
    /// Until when running work may still take.
    pub deadline_at: Option<Timestamp>,
    /// When it was given.
    pub given_at: Timestamp,
}

/// Gives a node an order, in place of the one it had.
///
/// # Errors
/// When the database fails.
pub async fn put(conn: &mut PgConnection, node: NodeId, order: &Order) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into node_orders (node_id, kind, reason, deadline_at, given_at) values ($1, $2, $3, $4, $5)
         on conflict (node_id) do update
            set kind = excluded.kind, reason = excluded.reason, deadline_at = excluded.deadline_at,
                given_at = excluded.given_at",
        node as NodeId,
        order.kind.name(),
        order.reason,
        order.deadline_at as Option<Timestamp>,
        order.given_at as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The order a node has, if any.
///
/// # Errors
/// When the database fails.
pub async fn find(conn: &mut PgConnection, node: NodeId) -> Result<Option<Order>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select kind, reason, deadline_at as "deadline_at: Timestamp", given_at as "given_at: Timestamp"
             from node_orders where node_id = $1"#,
        node as NodeId,
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        let kind = [OrderKind::Drain, OrderKind::Resume].into_iter().find(|kind| kind.name() == row.kind);
        let unknown = || sqlx::Error::Decode(format!("unknown kind of order {:?}", row.kind).into());
        let kind = kind.ok_or_else(unknown)?;
        Ok(Order { kind, reason: row.reason, deadline_at: row.deadline_at, given_at: row.given_at })
    })
    .transpose()
}

/// Forgets whatever order a node has.
///
/// # Errors
/// When the database fails.
pub async fn forget(conn: &mut PgConnection, node: NodeId) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from node_orders where node_id = $1", node as NodeId).execute(conn).await?;
    Ok(())
}

/// Forgets a resume that the node has taken, unless another order came meanwhile.
///
/// # Errors
/// When the database fails.
pub async fn forget_resume(conn: &mut PgConnection, node: NodeId) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from node_orders where node_id = $1 and kind = 'resume'", node as NodeId)
        .execute(conn)
        .await?;
    Ok(())
}

//! Nodes.

use protocol::{NodeId, ProviderId, Timestamp};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{corrupt, json, name, notify, to_json};
use crate::error::Error;
use crate::provider::{Node, NodeState, UpstreamKey};

/// Adds a node, or returns the one its provider already made with the same key, its declarations
/// brought up to date: joining again after a lost answer makes no second node. One that was removed is back.
///
/// # Errors
/// [`Error::NodeNotFound`] when the key belongs to another provider's node.
pub async fn insert(conn: &mut PgConnection, node: &Node) -> Result<Node, Error> {
    let stored = sqlx::query_scalar!(
        r#"insert into nodes (node_id, provider_id, public_key, mode, base_url, upstream_key, hardware, location,
                              engine, privacy, trust, state, created_at)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
           on conflict (public_key) do update
              set mode = excluded.mode, base_url = excluded.base_url, upstream_key = excluded.upstream_key,
                  hardware = excluded.hardware, location = excluded.location, engine = excluded.engine,
                  privacy = excluded.privacy, removed_at = null
            where nodes.provider_id = excluded.provider_id
           returning node_id as "node_id: NodeId""#,
        node.id as NodeId,
        node.provider as ProviderId,
        &node.public_key[..],
        name(&node.mode),
        node.base_url,
        node.upstream_key.as_ref().map(UpstreamKey::expose),
        to_json(&node.hardware),
        to_json(&node.location),
        to_json(&node.engine),
        to_json(&node.privacy),
        name(&node.trust),
        node.state.as_str(),
        node.created_at as Timestamp,
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or(Error::NodeNotFound(node.id))?;
    notify(conn).await?;
    get(conn, stored).await
}

/// A node, if there is one.
///
/// # Errors
/// [`Error::Database`] or [`Error::Corrupt`].
pub async fn find(conn: &mut PgConnection, id: NodeId) -> Result<Option<Node>, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select node_id as "node_id: NodeId", provider_id as "provider_id: ProviderId", public_key, mode, base_url,
                  upstream_key, hardware, location, engine, privacy, trust, state, offers_version,
                  last_seen_at as "last_seen_at: Timestamp", heartbeat_seq, created_at as "created_at: Timestamp",
                  removed_at as "removed_at: Timestamp"
             from nodes where node_id = $1"#,
        id as NodeId,
    )
    .fetch_optional(conn)
    .await?;
    row.map(Row::into_node).transpose()
}

/// A node.
///
/// # Errors
/// [`Error::NodeNotFound`].
pub async fn get(conn: &mut PgConnection, id: NodeId) -> Result<Node, Error> {
    find(conn, id).await?.ok_or(Error::NodeNotFound(id))
}

/// The node a provider made with this key, if any, locked until the transaction ends.
///
/// # Errors
/// [`Error::Database`] or [`Error::Corrupt`].
pub async fn claim_by_key(
    conn: &mut PgConnection,
    provider: ProviderId,
    public_key: &[u8; 32],
) -> Result<Option<Node>, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select node_id as "node_id: NodeId", provider_id as "provider_id: ProviderId", public_key, mode, base_url,
                  upstream_key, hardware, location, engine, privacy, trust, state, offers_version,
                  last_seen_at as "last_seen_at: Timestamp", heartbeat_seq, created_at as "created_at: Timestamp",
                  removed_at as "removed_at: Timestamp"
             from nodes where provider_id = $1 and public_key = $2 for update"#,
        provider as ProviderId,
        &public_key[..],
    )
    .fetch_optional(conn)
    .await?;
    row.map(Row::into_node).transpose()
}

/// A provider's nodes, oldest first.
///
/// # Errors
/// [`Error::Database`] or [`Error::Corrupt`].
pub async fn list_of(conn: &mut PgConnection, provider: ProviderId) -> Result<Vec<Node>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select node_id as "node_id: NodeId", provider_id as "provider_id: ProviderId", public_key, mode, base_url,
                  upstream_key, hardware, location, engine, privacy, trust, state, offers_version,
                  last_seen_at as "last_seen_at: Timestamp", heartbeat_seq, created_at as "created_at: Timestamp",
                  removed_at as "removed_at: Timestamp"
             from nodes where provider_id = $1 order by node_id"#,
        provider as ProviderId,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Row::into_node).collect()
}

/// Keeps a node from being removed until the transaction ends.
///
/// # Errors
/// [`Error::NodeRemoved`] when it is already; [`Error::NodeNotFound`].
pub async fn hold_present(conn: &mut PgConnection, id: NodeId) -> Result<(), Error> {
    let row = sqlx::query!(
        r#"select removed_at as "removed_at: Timestamp" from nodes where node_id = $1 for share"#,
        id as NodeId,
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::NodeNotFound(id))?;
    if row.removed_at.is_some() { Err(Error::NodeRemoved(id)) } else { Ok(()) }
}

/// Takes a node out for good: only [`insert`] brings it back. Repeating it is harmless.
///
/// # Errors
/// [`Error::NodeNotFound`].
pub async fn remove(conn: &mut PgConnection, id: NodeId, now: Timestamp) -> Result<(), Error> {
    let done = sqlx::query!(
        "update nodes set removed_at = coalesce(removed_at, $2),
                          state = case when state = 'quarantined' then state else 'offline' end
          where node_id = $1",
        id as NodeId,
        now as Timestamp,
    )
    .execute(&mut *conn)
    .await?;
    if done.rows_affected() == 0 {
        return Err(Error::NodeNotFound(id));
    }
    Ok(notify(conn).await?)
}

/// Nodes removed at `since` or later.
///
/// # Errors
/// [`Error::Database`].
pub async fn list_removed(conn: &mut PgConnection, since: Timestamp) -> Result<Vec<NodeId>, Error> {
    let removed = sqlx::query_scalar!(
        r#"select node_id as "node_id: NodeId" from nodes where removed_at >= $1"#,
        since as Timestamp,
    );
    Ok(removed.fetch_all(conn).await?)
}

/// Direct nodes of active providers that never sent a heartbeat.
///
/// # Errors
/// [`Error::Database`] or [`Error::Corrupt`].
pub async fn list_unreported(conn: &mut PgConnection) -> Result<Vec<Node>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select node_id as "node_id: NodeId", provider_id as "provider_id: ProviderId", public_key, mode, base_url,
                  upstream_key, hardware, location, engine, privacy, trust, state, offers_version,
                  last_seen_at as "last_seen_at: Timestamp", heartbeat_seq, created_at as "created_at: Timestamp",
                  removed_at as "removed_at: Timestamp"
             from nodes
            where mode = 'direct' and last_seen_at is null and removed_at is null
              and provider_id in (select provider_id from providers where state = 'active')
            order by node_id"#,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Row::into_node).collect()
}

/// Moves a node to a state. Quarantine is left by [`release`] only.
///
/// # Errors
/// [`Error::NodeNotFound`], also for a quarantined one.
pub async fn set_state(conn: &mut PgConnection, id: NodeId, state: NodeState) -> Result<(), Error> {
    let done = sqlx::query!(
        "update nodes set state = $2 where node_id = $1 and state <> 'quarantined'",
        id as NodeId,
        state.as_str(),
    )
    .execute(&mut *conn)
    .await?;
    if done.rows_affected() == 0 {
        return Err(Error::NodeNotFound(id));
    }
    Ok(notify(conn).await?)
}

/// Ends a quarantine: the node is offline until it is heard of again.
///
/// # Errors
/// [`Error::NodeNotFound`] when it was not quarantined.
pub async fn release(conn: &mut PgConnection, id: NodeId) -> Result<(), Error> {
    let done =
        sqlx::query!("update nodes set state = 'offline' where node_id = $1 and state = 'quarantined'", id as NodeId,)
            .execute(&mut *conn)
            .await?;
    if done.rows_affected() == 0 {
        return Err(Error::NodeNotFound(id));
    }
    Ok(notify(conn).await?)
}

/// Stores a heartbeat, and that the node is ready or draining: it speaks, so it is neither pending
/// nor offline. A quarantined node stays so.
///
/// # Errors
/// [`Error::NodeRemoved`] for one that was taken out meanwhile; [`Error::NodeNotFound`].
pub async fn touch(
    conn: &mut PgConnection,
    id: NodeId,
    seq: u64,
    draining: bool,
    now: Timestamp,
) -> Result<NodeState, Error> {
    let row = sqlx::query!(
        r#"update nodes as n
              set last_seen_at = greatest(n.last_seen_at, $2), heartbeat_seq = $3,
                  state = case when n.state in ('quarantined', 'degraded') and not $4 then n.state
                               when n.state = 'quarantined' then n.state
                               when $4 then 'draining' else 'ready' end
             from (select node_id, state from nodes where node_id = $1 for update) as before
            where n.node_id = before.node_id and n.removed_at is null
        returning n.state, before.state as "before!""#,
        id as NodeId,
        now as Timestamp,
        i64::try_from(seq).unwrap_or(i64::MAX),
        draining,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else {
        hold_present(conn, id).await?;
        return Err(Error::NodeNotFound(id));
    };
    if row.state != row.before {
        notify(conn).await?;
    }
    row.state.parse().map_err(corrupt("state", id))
}

/// Marks nodes offline that were last seen before `since`. Returns those that changed.
///
/// # Errors
/// [`Error::Database`].
pub async fn mark_offline(conn: &mut PgConnection, ids: &[NodeId], since: Timestamp) -> Result<Vec<NodeId>, Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| protocol::Id::uuid(*id)).collect();
    let changed = sqlx::query_scalar!(
        r#"update nodes set state = 'offline'
            where node_id in (select node_id from nodes
                               where node_id = any($1) and state in ('ready', 'degraded', 'draining')
                                 and (last_seen_at is null or last_seen_at < $2)
                               order by node_id for update skip locked)
        returning node_id as "node_id: NodeId""#,
        &ids,
        since as Timestamp,
    )
    .fetch_all(&mut *conn)
    .await?;
    if !changed.is_empty() {
        notify(conn).await?;
    }
    Ok(changed)
}

pub(super) struct Row {
    pub(super) node_id: NodeId,
    pub(super) provider_id: ProviderId,
    pub(super) public_key: Vec<u8>,
    pub(super) mode: String,
    pub(super) base_url: Option<String>,
    pub(super) upstream_key: Option<String>,
    pub(super) hardware: serde_json::Value,
    pub(super) location: serde_json::Value,
    pub(super) engine: serde_json::Value,
    pub(super) privacy: serde_json::Value,
    pub(super) trust: String,
    pub(super) state: String,
    pub(super) offers_version: i64,
    pub(super) last_seen_at: Option<Timestamp>,
    pub(super) heartbeat_seq: i64,
    pub(super) created_at: Timestamp,
    pub(super) removed_at: Option<Timestamp>,
}

impl Row {
    pub(super) fn into_node(self) -> Result<Node, Error> {
        let id = self.node_id;
        Ok(Node {
            id,
            provider: self.provider_id,
            public_key: self.public_key.as_slice().try_into().map_err(corrupt("public_key", id))?,
            mode: json(self.mode.into(), "mode", id)?,
            base_url: self.base_url,
            upstream_key: self.upstream_key.map(UpstreamKey::new),
            hardware: json(self.hardware, "hardware", id)?,
            location: json(self.location, "location", id)?,
            engine: json(self.engine, "engine", id)?,
            privacy: json(self.privacy, "privacy", id)?,
            trust: json(self.trust.into(), "trust", id)?,
            state: self.state.parse().map_err(corrupt("state", id))?,
            offers_version: self.offers_version,
            last_seen_at: self.last_seen_at,
            heartbeat_seq: u64::try_from(self.heartbeat_seq).map_err(corrupt("heartbeat_seq", id))?,
            created_at: self.created_at,
            removed_at: self.removed_at,
        })
    }
}

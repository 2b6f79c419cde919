//! Everything a snapshot is built from, in three queries.

use std::collections::HashMap;
use std::sync::Arc;

use protocol::{NodeId, OfferId, ProviderId, Timestamp};
use sqlx::PgConnection;

use super::{nodes, offers, providers};
use crate::error::Error;
use crate::provider::{Listing, Node, Provider};

/// All offers that are not retired, with their nodes and providers.
///
/// Not one snapshot of the database unless the caller's transaction makes it one; what was changed in
/// between is read again on its own notification. A row that cannot be read is left out and logged:
/// one bad row must not take every other offer away.
///
/// # Errors
/// [`Error::Database`].
pub async fn load(conn: &mut PgConnection) -> Result<Vec<Arc<Listing>>, Error> {
    let providers: HashMap<ProviderId, Arc<Provider>> =
        providers::list(conn).await?.into_iter().map(|provider| (provider.id, Arc::new(provider))).collect();
    let rows = sqlx::query_as!(
        nodes::Row,
        r#"select node_id as "node_id: NodeId", provider_id as "provider_id: ProviderId", public_key, mode, base_url,
                  upstream_key, hardware, location, engine, privacy, trust, state, offers_version,
                  last_seen_at as "last_seen_at: Timestamp", heartbeat_seq, created_at as "created_at: Timestamp",
                  removed_at as "removed_at: Timestamp"
             from nodes"#,
    )
    .fetch_all(&mut *conn)
    .await?;
    let nodes: HashMap<NodeId, Arc<Node>> =
        rows.into_iter().filter_map(|row| readable(row.into_node())).map(|node| (node.id, Arc::new(node))).collect();
    let rows = sqlx::query_as!(
        offers::Row,
        r#"select offer_id as "offer_id: OfferId", node_id as "node_id: NodeId", spec, state, price_version, price,
                  price_at as "price_at: Timestamp", next_price_version, next_price,
                  next_price_at as "next_price_at: Timestamp", created_at as "created_at: Timestamp"
             from offers where state <> 'retired'"#,
    )
    .fetch_all(conn)
    .await?;
    let join = |row: offers::Row| {
        let offer = readable(row.into_offer())?;
        let node = nodes.get(&offer.node)?;
        let provider = providers.get(&node.provider)?;
        Some(Arc::new(Listing::new(offer, Arc::clone(node), Arc::clone(provider))))
    };
    Ok(rows.into_iter().filter_map(join).collect())
}

fn readable<T>(row: Result<T, Error>) -> Option<T> {
    row.inspect_err(|error| tracing::error!(error = %error, "a row of the pool is left out")).ok()
}

//! Keys that sign nodes' reports.

use protocol::bundle::Witness;
use protocol::wallet::{Address, Signed, WalletError};
use protocol::{NodeId, ProviderId, Timestamp};
use sqlx::PgConnection;

/// Keys kept for one node: it makes a new one when its disk is lost, and the old ones' reports stay signed.
pub const MAX_KEYS: i64 = 100;

/// Keeps a key of a node, whose delegation was checked. False, and nothing kept, when the node has too many. A
/// delegation once given stays.
///
/// # Errors
/// When the database call fails.
pub async fn announce(
    conn: &mut PgConnection,
    provider: ProviderId,
    node: NodeId,
    key: Address,
    delegation: Option<Signed>,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let kept = sqlx::query!(
        "insert into receipt_keys as k (node_id, address, provider_id, delegation, announced_at)
         select $1, $2, $3, $4, $5
          where (select count(*) from receipt_keys where node_id = $1 and address <> $2) < $6
         on conflict (node_id, address) do update set delegation = coalesce(excluded.delegation, k.delegation)",
        node as NodeId,
        key.bytes().as_slice(),
        provider as ProviderId,
        delegation.map(|signed| signed.bytes().to_vec()),
        now as Timestamp,
        MAX_KEYS,
    )
    .execute(conn)
    .await?;
    Ok(kept.rows_affected() == 1)
}

/// The keys of a node.
///
/// # Errors
/// When the database call fails.
pub async fn list_of_node(conn: &mut PgConnection, node: NodeId) -> Result<Vec<Address>, sqlx::Error> {
    let keys = sqlx::query_scalar!("select address from receipt_keys where node_id = $1", node as NodeId);
    keys.fetch_all(conn).await?.iter().map(|bytes| address(bytes)).collect()
}

/// The keys of all nodes of a provider, by address, each with a wallet's word where there is one.
///
/// # Errors
/// When the database call fails.
pub async fn list_of_provider(conn: &mut PgConnection, provider: ProviderId) -> Result<Vec<Witness>, sqlx::Error> {
    let rows = sqlx::query!(
        "select distinct on (address) address, delegation from receipt_keys where provider_id = $1
          order by address, delegation nulls last",
        provider as ProviderId,
    )
    .fetch_all(conn)
    .await?;
    let witness = |row: &[u8], delegation: Option<Vec<u8>>| {
        let delegation = delegation.map(|bytes| Signed::from_bytes(&bytes)).transpose();
        Ok(Witness { key: address(row)?, delegation: delegation.map_err(corrupt)? })
    };
    rows.into_iter().map(|row| witness(&row.address, row.delegation)).collect()
}

/// An address from its column.
pub(crate) fn address(bytes: &[u8]) -> Result<Address, sqlx::Error> {
    bytes.try_into().map(Address::from_bytes).map_err(|_| corrupt(WalletError::Address))
}

/// What is stored is not what was written.
pub(crate) fn corrupt(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

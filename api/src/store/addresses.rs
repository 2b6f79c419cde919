//! Which network addresses keys were used from.

use protocol::{KeyId, OrganizationId, Timestamp};
use sqlx::PgConnection;

/// A key and an address it was used from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyAddress {
    /// The key.
    pub key: KeyId,
    /// The address; of IPv6 the first of its network.
    pub address: String,
    /// When it was first seen.
    pub first_seen_at: Timestamp,
    /// And last.
    pub last_seen_at: Timestamp,
    /// In how many requests.
    pub requests: i64,
}

/// Adds what was seen, as long as a key has fewer than `most` addresses; those it has are counted on. Returns how
/// many rows were written.
///
/// # Errors
/// When the database fails.
pub async fn add(conn: &mut PgConnection, seen: &[KeyAddress], most: i64) -> Result<u64, sqlx::Error> {
    let keys: Vec<KeyId> = seen.iter().map(|one| one.key).collect();
    let addresses: Vec<String> = seen.iter().map(|one| one.address.clone()).collect();
    let first: Vec<Timestamp> = seen.iter().map(|one| one.first_seen_at).collect();
    let last: Vec<Timestamp> = seen.iter().map(|one| one.last_seen_at).collect();
    let requests: Vec<i64> = seen.iter().map(|one| one.requests).collect();
    let done = sqlx::query!(
        "insert into key_addresses (key_id, address, first_seen_at, last_seen_at, requests)
         select s.key_id, s.address, s.first_seen_at, s.last_seen_at, s.requests
           from (select *, row_number() over (partition by key_id order by last_seen_at desc) as place
                   from unnest($1::uuid[], $2::text[]::inet[], $3::timestamptz[], $4::timestamptz[], $5::bigint[])
                     as r (key_id, address, first_seen_at, last_seen_at, requests)) s
          where exists (select from key_addresses k where k.key_id = s.key_id and k.address = s.address)
             or s.place + (select count(*) from key_addresses k where k.key_id = s.key_id) <= $6
          order by s.key_id, s.address
         on conflict (key_id, address) do update
            set first_seen_at = least(key_addresses.first_seen_at, excluded.first_seen_at),
                last_seen_at = greatest(key_addresses.last_seen_at, excluded.last_seen_at),
                requests = key_addresses.requests + excluded.requests",
        &keys as &[KeyId],
        &addresses,
        &first as &[Timestamp],
        &last as &[Timestamp],
        &requests,
        most,
    );
    Ok(done.execute(conn).await?.rows_affected())
}

/// Where an organization's keys were used from, the latest first.
///
/// # Errors
/// When the database fails.
pub async fn list_of(
    conn: &mut PgConnection,
    organization: OrganizationId,
    limit: i64,
) -> Result<Vec<KeyAddress>, sqlx::Error> {
    sqlx::query_as!(
        KeyAddress,
        r#"select a.key_id as "key: KeyId", host(a.address) as "address!", a.first_seen_at as "first_seen_at: Timestamp",
                  a.last_seen_at as "last_seen_at: Timestamp", a.requests
             from key_addresses a join api_keys k using (key_id)
            where k.organization_id = $1 order by a.last_seen_at desc, a.key_id, a.address limit $2"#,
        organization as OrganizationId,
        limit,
    )
    .fetch_all(conn)
    .await
}

/// Forgets addresses that were last seen before `before`.
///
/// # Errors
/// When the database fails.
pub async fn prune(conn: &mut PgConnection, before: Timestamp) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!("delete from key_addresses where last_seen_at < $1", before as Timestamp);
    Ok(done.execute(conn).await?.rows_affected())
}

//! Which network addresses keys are used from.
//!
//! When a payment is disputed, these tell its cardholder's requests from a stranger's. An address is counted in memory
//! and written every few seconds and when the broker stops in order; a crash loses the last of them, and nothing else
//! depends on it. They are in no log, and forgotten 400 days after they were last seen.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http::HeaderMap;
use ipnet::IpNet;
use parking_lot::Mutex;
use platform::worker::{Next, Worker};
use protocol::{KeyId, Timestamp};
use sqlx::PgPool;

use crate::state::AppState;
use crate::store::addresses::{self, KeyAddress};

/// Card networks allow a dispute for up to 120 days after a delivery that may itself come late, and pre-arbitration
/// after that: 400 days outlast them all.
pub const KEEP: Duration = Duration::from_secs(400 * 24 * 3_600);
/// Pairs of key and address between two writes; more are only counted.
const MOST_UNWRITTEN: usize = 10_000;
/// Addresses stored for one key; further ones are left out.
const MOST_OF_KEY: i64 = 1_000;

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// What was seen and not written yet.
pub struct Addresses {
    /// Where `X-Forwarded-For` is believed.
    trusted: Vec<IpNet>,
    seen: Mutex<HashMap<(KeyId, IpAddr), Sightings>>,
}

#[derive(Debug, Clone, Copy)]
struct Sightings {
    first: Timestamp,
    last: Timestamp,
    requests: i64,
}

impl Addresses {
    /// Believes `X-Forwarded-For` of these peers.
    #[must_use]
    pub fn new(trusted: Vec<IpNet>) -> Self {
        Self { trusted, seen: Mutex::default() }
    }

    /// Counts a request made with `key`.
    pub fn note(&self, key: KeyId, peer: Peer, headers: &HeaderMap, now: Timestamp) {
        let address = self.source(peer, headers);
        self.add(key, address, Sightings { first: now, last: now, requests: 1 });
    }

    /// Where a request comes from: of IPv6, the network.
    #[must_use]
    pub fn source(&self, peer: Peer, headers: &HeaderMap) -> IpAddr {
        network(client(peer.0, headers, &self.trusted))
    }

    fn add(&self, key: KeyId, address: IpAddr, new: Sightings) {
        let mut seen = self.seen.lock();
        let is_full = seen.len() >= MOST_UNWRITTEN;
        match seen.entry((key, address)) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.first = known.first.min(new.first);
                known.last = known.last.max(new.last);
                known.requests = known.requests.saturating_add(new.requests);
            }
            Entry::Vacant(_) if is_full => metrics::counter!("steelyard_key_addresses_dropped").increment(1),
            Entry::Vacant(free) => {
                free.insert(new);
            }
        }
    }

    /// Writes what was seen since the last time. What can't be written is kept for the next.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn write(&self, db: &PgPool) -> Result<(), sqlx::Error> {
        let taken = std::mem::take(&mut *self.seen.lock());
        if taken.is_empty() {
            return Ok(());
        }
        let row = |(&(key, address), seen): (&(KeyId, IpAddr), &Sightings)| KeyAddress {
            key,
            address: address.to_string(),
            first_seen_at: seen.first,
            last_seen_at: seen.last,
            requests: seen.requests,
        };
        let rows: Vec<KeyAddress> = taken.iter().map(row).collect();
        let written = async { addresses::add(&mut *db.acquire().await?, &rows, MOST_OF_KEY).await };
        let written = written.await.inspect_err(|_| {
            taken.iter().for_each(|(&(key, address), seen)| self.add(key, address, *seen));
        })?;
        let dropped = (rows.len() as u64).saturating_sub(written);
        metrics::counter!("steelyard_key_addresses_dropped").increment(dropped);
        Ok(())
    }
}

/// Whose request it is: the peer's, or, where that is a proxy of ours, the last one it was sent on for that is none.
/// What stands left of that in the header anybody may have written.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let peer = peer.to_canonical();
    let is_ours = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    if !is_ours(peer) {
        return peer;
    }
    let lines: Vec<&str> = headers.get_all("x-forwarded-for").iter().filter_map(|line| line.to_str().ok()).collect();
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let Some(address) = address_of(hop.trim()) else { return peer };
        if !is_ours(address) {
            return address;
        }
    }
    peer
}

/// Some proxies write the port as well.
fn address_of(hop: &str) -> Option<IpAddr> {
    let address = hop.parse().or_else(|_| hop.parse::<SocketAddr>().map(|socket| socket.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

/// Of IPv6 the network of one site: its hosts change their own half at will.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(whole) => IpAddr::V6(Ipv6Addr::from_bits(whole.to_bits() & !u128::from(u64::MAX))),
    }
}

/// The loop that writes them.
pub struct Upkeep(pub AppState);

impl Worker for Upkeep {
    type Error = sqlx::Error;

    fn name(&self) -> &'static str {
        "api.addresses"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(10)
    }

    async fn tick(&mut self, _: Timestamp) -> Result<Next, sqlx::Error> {
        self.0.addresses.write(&self.0.db).await.map(|()| Next::Wait)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn chosen(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        forwarded.iter().for_each(|line| {
            headers.append("x-forwarded-for", line.parse().unwrap());
        });
        let trusted: Vec<IpNet> = trusted.iter().map(|one| one.parse().unwrap()).collect();
        network(client(peer.parse().unwrap(), &headers, &trusted)).to_string()
    }

    #[test]
    fn what_a_peer_forwards_is_believed_of_proxies_of_ours_alone() {
        let ours = ["10.0.0.0/8", "fd00::/8"];
        for (peer, forwarded, client) in [
            ("203.0.113.7", vec![], "203.0.113.7"),
            // Anybody may send the header.
            ("203.0.113.7", vec!["198.51.100.1"], "203.0.113.7"),
            ("10.0.0.1", vec!["198.51.100.1"], "198.51.100.1"),
            ("::ffff:10.0.0.1", vec!["198.51.100.1:4711"], "198.51.100.1"),
            // What our outermost proxy was told by its client stands left of what it saw itself.
            ("10.0.0.1", vec!["192.0.2.66, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", vec!["192.0.2.66", "198.51.100.1, 10.0.0.9"], "198.51.100.1"),
            ("fd00::1", vec!["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::"),
            ("10.0.0.1", vec!["198.51.100.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", vec!["10.0.0.2, 10.0.0.3"], "10.0.0.1"),
            ("10.0.0.1", vec![""], "10.0.0.1"),
        ] {
            assert_eq!(chosen(peer, &forwarded, &ours), client, "{peer} {forwarded:?}");
            assert_eq!(chosen(peer, &forwarded, &[]), peer.trim_start_matches("::ffff:").replace("fd00::1", "fd00::"));
        }
    }

    #[test]
    fn memory_is_bounded_and_known_pairs_are_still_counted() {
        use protocol::Id as _;
        let addresses = Addresses::new(Vec::new());
        let key = KeyId::from_uuid(uuid::Uuid::from_u128(1));
        let note = |n: u32| addresses.note(key, Peer(IpAddr::V4(n.into())), &HeaderMap::new(), Timestamp::default());
        (0..20_000).for_each(note);
        note(0);
        let seen = addresses.seen.lock();
        assert_eq!(seen.len(), MOST_UNWRITTEN);
        assert_eq!(seen[&(key, IpAddr::V4(0.into()))].requests, 2);
    }
}

//! Offers that take no customers yet, placed for the broker's own probes.

use std::sync::Arc;

use protocol::{OrganizationId, Timestamp};

use super::candidates::Drawn;
use super::cost::Worth;
use super::{Placed, placed};
use crate::ask::Ask;
use crate::liveness::{NO_NEW_WORK, Standing, standing};
use crate::pool::snapshot::Snapshot;
use crate::provider::{OfferState, ProviderState};

/// Prompt tokens of a probe, roughly; it weighs one credit.
const PROMPT_TOKENS: u32 = 32;

/// Every staged offer whose node is there, ready to be dispatched to once.
#[must_use]
pub fn staged(snapshot: &Snapshot, nobody: OrganizationId, now: Timestamp) -> Vec<Placed> {
    let mut found = Vec::new();
    for pool in snapshot.models() {
        let ask = Ask::new(&pool.id, nobody, PROMPT_TOKENS);
        let worth = Worth::new(pool, &ask);
        for (index, offer) in pool.offers.iter().enumerate() {
            let listing = &offer.listing;
            let waits = listing.offer.state == OfferState::Staged
                && listing.offer.spec.is_ready
                && listing.node.state.takes_work()
                && listing.provider.state == ProviderState::Active;
            if waits && standing(&offer.node, now, snapshot.grace_until) == Standing::Fresh {
                let drawn = Drawn { index, view: offer.node.view(now, NO_NEW_WORK), weight: 1, rank: None };
                found.push(placed(pool, &ask, &worth, &drawn, false));
            }
        }
    }
    found.sort_by_key(|placed| placed.offer.id());
    found.dedup_by(|a, b| Arc::ptr_eq(&a.offer, &b.offer));
    found
}

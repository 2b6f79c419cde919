//! What placement reads: per model flat arrays, a bitset per constraint value, sorted orders and an
//! alias table. Immutable; a new one replaces it whole.

use std::collections::HashMap;
use std::sync::Arc;

use protocol::offer::Quantization;
use protocol::session::NodeMode;
use protocol::{NodeId, OfferId, Prices, ProviderId, Timestamp};

use super::alias::AliasTable;
use super::bitset::{Bitset, Postings};
use super::live::{ModelLive, OfferLive};
use super::node_live::NodeLive;
use crate::ask::MODALITY_NAMES;
use crate::provider::{Listing, PriceVersion};

/// Everything placement may choose from, as of one instant.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) models: HashMap<Arc<str>, ModelPool>,
    /// When it was built.
    pub built_at: Timestamp,
    /// Until then silence counts as heard: our own outage is not the nodes'.
    pub(crate) grace_until: Timestamp,
}

/// One offer, with the price that is pinned at dispatch.
#[derive(Debug)]
pub struct OfferEntry {
    /// Offer, node and provider as stored.
    pub listing: Arc<Listing>,
    /// What the user pays, and which version that is.
    pub price: PriceVersion,
    /// The node's counters.
    pub node: Arc<NodeLive>,
    /// The offer's breaker and measurements.
    pub live: Arc<OfferLive>,
    /// Who is paid for it, hashed: one owner may have many nodes.
    pub(crate) owner: u64,
    /// ½ · (share − x₀)/(1 − x₀) of this owner in the model's recent tokens, at least zero.
    pub(crate) owner_excess: f64,
    /// KV memory behind one slot, in tokens.
    pub(crate) tokens_per_slot: u32,
}

/// The offers of one model. All sets and arrays share the indices of `offers`.
#[derive(Debug)]
pub struct ModelPool {
    /// The public model id.
    pub id: Arc<str>,
    /// In the order of their ids.
    pub offers: Vec<Arc<OfferEntry>>,
    pub(crate) live: Arc<ModelLive>,
    /// Allowed by rows and heard of when the snapshot was built.
    pub(crate) up: Bitset,
    /// Uptime tiers: normal, degraded, last resort.
    pub(crate) tiers: [Bitset; 3],
    pub(crate) under_observed: Bitset,
    pub(crate) input: [Bitset; MODALITY_NAMES.len()],
    pub(crate) output: [Bitset; MODALITY_NAMES.len()],
    pub(crate) providers: HashMap<Arc<str>, Postings>,
    pub(crate) geo: HashMap<Arc<str>, Postings>,
    pub(crate) zdr: Bitset,
    pub(crate) no_training: Bitset,
    /// At this level or better.
    pub(crate) trust: [Bitset; 4],
    pub(crate) quantization: HashMap<Quantization, Postings>,
    pub(crate) parameters: HashMap<Box<str>, Postings>,
    pub(crate) free: Bitset,
    pub(crate) context: Column<u32>,
    pub(crate) most_output: Column<u32>,
    pub(crate) prompt_price: Column<i64>,
    pub(crate) completion_price: Column<i64>,
    pub(crate) request_price: Column<i64>,
    pub(crate) by_price: Vec<u32>,
    pub(crate) by_first_content: Vec<u32>,
    pub(crate) by_throughput: Vec<u32>,
    pub(crate) weights: Vec<f64>,
    pub(crate) alias: AliasTable,
    pub(crate) median_prices: Prices,
    pub(crate) median_first_content_s: f64,
}

/// One number per offer, with its extremes, so that a limit nobody touches costs one comparison.
#[derive(Debug)]
pub(crate) struct Column<T> {
    pub(crate) values: Vec<T>,
    pub(crate) least: Option<T>,
    pub(crate) most: Option<T>,
}

impl<T: Copy + Ord> Column<T> {
    pub(crate) fn new(values: Vec<T>) -> Self {
        let (least, most) = (values.iter().min().copied(), values.iter().max().copied());
        Self { values, least, most }
    }

    /// Keeps the offers whose value is at least `bound`.
    pub(crate) fn keep_at_least(&self, bound: T, set: &mut Bitset) {
        if self.least.is_some_and(|least| least < bound) {
            set.retain(|index| self.values[index] >= bound);
        }
    }

    /// Keeps the offers whose value is at most `bound`.
    pub(crate) fn keep_at_most(&self, bound: T, set: &mut Bitset) {
        if self.most.is_some_and(|most| most > bound) {
            set.retain(|index| self.values[index] <= bound);
        }
    }
}

impl Snapshot {
    /// Nothing at all.
    #[must_use]
    pub fn empty(now: Timestamp, grace_until: Timestamp) -> Self {
        Self { models: HashMap::new(), built_at: now, grace_until }
    }

    /// The offers of a model; `None` when nobody ever offered it.
    #[must_use]
    pub fn model(&self, id: &str) -> Option<&ModelPool> {
        self.models.get(id)
    }

    /// All models, in no order.
    pub fn models(&self) -> impl Iterator<Item = &ModelPool> {
        self.models.values()
    }

    /// All offers, in no order.
    pub fn offers(&self) -> impl Iterator<Item = &Arc<OfferEntry>> {
        self.models.values().flat_map(|pool| &pool.offers)
    }
}

impl ModelPool {
    /// Whether an offer took work when the snapshot was built.
    #[must_use]
    pub fn is_up(&self, index: usize) -> bool {
        self.up.contains(index)
    }

    /// The longest context of any offer, in tokens.
    #[must_use]
    pub fn longest_context(&self) -> Option<u32> {
        self.context.most
    }

    /// How an offer stood by its uptime when the snapshot was built: 0 normal, 1 degraded, 2 last resort.
    #[must_use]
    pub fn tier(&self, index: usize) -> usize {
        self.tiers.iter().position(|tier| tier.contains(index)).unwrap_or(0)
    }

    /// The cheapest offer that takes work, by the price of a typical request.
    #[must_use]
    pub fn cheapest(&self) -> Option<&Arc<OfferEntry>> {
        let index = self.by_price.iter().find(|index| self.up.contains(**index as usize))?;
        self.offers.get(*index as usize)
    }
}

impl OfferEntry {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> OfferId {
        self.listing.offer.id
    }

    /// Its node.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.listing.node.id
    }

    /// Its provider.
    #[must_use]
    pub fn provider_id(&self) -> ProviderId {
        self.listing.provider.id
    }

    /// The provider's short name.
    #[must_use]
    pub fn slug(&self) -> &str {
        &self.listing.slug
    }

    /// How it is reached.
    #[must_use]
    pub fn mode(&self) -> NodeMode {
        self.listing.node.mode
    }

    /// Where it is reached, in direct mode.
    #[must_use]
    pub fn base_url(&self) -> Option<&str> {
        self.listing.node.base_url.as_deref()
    }

    /// What the engine calls the model.
    #[must_use]
    pub fn upstream_model(&self) -> &str {
        &self.listing.offer.spec.upstream_model
    }

    /// Request fields the engine honours.
    #[must_use]
    pub fn supported_parameters(&self) -> &[String] {
        &self.listing.offer.spec.supported_parameters
    }
}

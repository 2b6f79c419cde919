//! Rows and counters → snapshot. Runs off the placement path, at most every 100 ms.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use protocol::offer::{OfferKind, OfferSpec, TrustLevel};
use protocol::session::NodeMode;
use protocol::{NodeId, OfferId, Prices, Timestamp};

use super::alias::AliasTable;
use super::bitset::{Bitset, Postings};
use super::live::{ModelLive, OfferLive};
use super::node_live::NodeLive;
use super::snapshot::{Column, ModelPool, OfferEntry, Snapshot};
use crate::ask::Modalities;
use crate::config::Config;
use crate::credit::Cap;
use crate::liveness::{self, Standing};
use crate::measure::Estimate;
use crate::provider::Listing;

/// A typical request, for orders that must not depend on the ask.
const TYPICAL: (u32, u32) = (1_000, 256);
/// An owner's share is counted over about this long, in seconds.
const SHARE_MEMORY_S: f64 = 600.0;
/// Attempts after which uptime divides offers into tiers.
const COUNTED_FOR_TIERS: u32 = 100;
/// Attempts below which an offer counts as under-observed.
const WELL_OBSERVED: u32 = 20;
/// Members of the European Union, for the region `eu`.
const EUROPEAN_UNION: [&str; 27] = [
    "at", "be", "bg", "cy", "cz", "de", "dk", "ee", "es", "fi", "fr", "gr", "hr", "hu", "ie", "it", "lt", "lu", "lv",
    "mt", "nl", "pl", "pt", "ro", "se", "si", "sk",
];

/// Rows as last read, and the counters that outlive every snapshot.
#[derive(Debug)]
pub struct Registry {
    listings: Vec<Arc<Listing>>,
    nodes: HashMap<NodeId, Arc<NodeLive>>,
    offers: HashMap<OfferId, (u64, Arc<OfferLive>)>,
    models: HashMap<Arc<str>, Arc<ModelLive>>,
    shares_at: Timestamp,
}

impl Registry {
    /// Nothing known.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            listings: Vec::new(),
            nodes: HashMap::new(),
            offers: HashMap::new(),
            models: HashMap::new(),
            shares_at: now,
        }
    }

    /// The counters of a node, made on first sight: a node may connect before its rows are read.
    pub fn node(&mut self, id: NodeId, mode: NodeMode, config: &Config, now: Timestamp) -> Arc<NodeLive> {
        let tunnel = mode == NodeMode::Tunnel;
        let make = || {
            let start = if tunnel { config.tunnel_start } else { config.direct_start };
            // What is declared bounds it as soon as it is read.
            let ceiling = config.undeclared_concurrency.max(start);
            Arc::new(NodeLive::new(id, tunnel, Cap::new(f64::from(start), ceiling, now), now))
        };
        let entry = self.nodes.entry(id).or_insert_with(make);
        if entry.is_tunnel() != tunnel {
            *entry = make();
        }
        Arc::clone(entry)
    }

    /// The counters of a node already seen.
    #[must_use]
    pub fn known_node(&self, id: NodeId) -> Option<&Arc<NodeLive>> {
        self.nodes.get(&id)
    }

    /// All nodes seen.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<NodeLive>> {
        self.nodes.values()
    }

    /// The counters of an offer already seen.
    #[must_use]
    pub fn offer(&self, id: OfferId) -> Option<&Arc<OfferLive>> {
        self.offers.get(&id).map(|(_, live)| live)
    }

    /// Rows as last read.
    #[must_use]
    pub fn listings(&self) -> &[Arc<Listing>] {
        &self.listings
    }

    /// Takes freshly read rows. Counters of what is gone are forgotten once nobody holds them.
    pub fn load(&mut self, mut listings: Vec<Arc<Listing>>, config: &Config, now: Timestamp) {
        listings.sort_by_key(|listing| listing.offer.id);
        let mut ceilings: HashMap<NodeId, u32> = HashMap::new();
        for listing in &listings {
            let model = Arc::clone(self.models.entry(Arc::clone(&listing.model)).or_default());
            let build = engine_build(listing);
            let make = || (build, Arc::new(OfferLive::new(listing.offer.id, Arc::clone(&model), &config.prior)));
            let entry = self.offers.entry(listing.offer.id).or_insert_with(make);
            if entry.0 != build {
                *entry = make();
            }
            let declared = listing.offer.spec.concurrency().unwrap_or(config.undeclared_concurrency);
            let share = if listing.node.mode == NodeMode::Direct { config.replicas.max(1) } else { 1 };
            let ceiling = (declared / share).max(1);
            let most = ceilings.entry(listing.node.id).or_default();
            *most = ceiling.max(*most);
        }
        let modes: HashMap<NodeId, NodeMode> = listings.iter().map(|l| (l.node.id, l.node.mode)).collect();
        for (id, mode) in &modes {
            self.node(*id, *mode, config, now).set_ceiling(ceilings[id]);
        }
        let listed = |id: &OfferId| listings.binary_search_by_key(id, |listing| listing.offer.id).is_ok();
        self.offers.retain(|id, _| listed(id));
        self.nodes.retain(|id, live| modes.contains_key(id) || live.tunnels() > 0 || live.in_flight() > 0);
        self.listings = listings;
    }

    /// Builds the snapshot that holds at `now`. A raised price applies from the first build after its time:
    /// up to a second late, in the user's favour.
    pub fn build(&mut self, now: Timestamp, grace_until: Timestamp) -> Snapshot {
        let elapsed_s = now.since(self.shares_at).as_secs_f64();
        self.shares_at = now;
        let keep = libm::exp(-elapsed_s / SHARE_MEMORY_S);
        let mut by_model: HashMap<Arc<str>, Vec<Arc<Listing>>> = HashMap::new();
        for listing in &self.listings {
            by_model.entry(Arc::clone(&listing.model)).or_default().push(Arc::clone(listing));
        }
        let mut models = HashMap::with_capacity(by_model.len());
        for (id, listings) in by_model {
            let live = Arc::clone(&self.models[&id]);
            let shares = live.decay(keep);
            let offers = self.entries(&listings, &shares, now);
            models.insert(Arc::clone(&id), pool(id, offers, live, now, grace_until));
        }
        Snapshot { models, built_at: now, grace_until }
    }

    fn entries(&self, listings: &[Arc<Listing>], shares: &HashMap<u64, f64>, now: Timestamp) -> Vec<Arc<OfferEntry>> {
        let owners: std::collections::HashSet<u64> = listings.iter().map(|listing| owner(listing)).collect();
        // Summed in a fixed order: floats added in another order make another sum.
        let mut tokens: Vec<f64> = shares.values().copied().collect();
        tokens.sort_by(f64::total_cmp);
        let total: f64 = tokens.iter().sum();
        // One owner alone has no excess: there is nobody to take less than.
        let allowed = (1.5 / owners.len().max(1) as f64).max(0.25);
        let excess = |owner: u64| {
            let tokens = shares.get(&owner).copied().unwrap_or(0.0);
            let share = if total > 0.0 { tokens / total } else { 0.0 };
            if allowed >= 1.0 { 0.0 } else { 0.5 * (share - allowed).max(0.0) / (1.0 - allowed) }
        };
        let entry = |listing: &Arc<Listing>| {
            let price = listing.offer.price_at(now)?;
            let (_, live) = self.offers.get(&listing.offer.id)?;
            let node = self.nodes.get(&listing.node.id)?;
            let owner = owner(listing);
            Some(Arc::new(OfferEntry {
                listing: Arc::clone(listing),
                price,
                node: Arc::clone(node),
                live: Arc::clone(live),
                owner,
                owner_excess: excess(owner),
                tokens_per_slot: listing.offer.spec.context_length,
            }))
        };
        let serves = |listing: &&Arc<Listing>| listing.offer.spec.kinds.contains(&OfferKind::Inference);
        listings.iter().filter(serves).filter_map(entry).collect()
    }
}

fn pool(
    id: Arc<str>,
    offers: Vec<Arc<OfferEntry>>,
    live: Arc<ModelLive>,
    now: Timestamp,
    grace_until: Timestamp,
) -> ModelPool {
    let count = offers.len();
    let set = |test: &dyn Fn(&OfferEntry) -> bool| Bitset::from_fn(count, |index| test(&offers[index]));
    let estimates: Vec<Estimate> = offers.iter().map(|offer| offer.live.estimate()).collect();
    let modalities = |names: &dyn Fn(&OfferEntry) -> Modalities| {
        let sets: Vec<Modalities> = offers.iter().map(|offer| names(offer)).collect();
        std::array::from_fn(|bit| Bitset::from_fn(count, |index| sets[index].bits().any(|own| own == bit)))
    };
    let names = |list: &[String]| Modalities::from_names(list.iter().map(String::as_str));
    let trust = [TrustLevel::Declared, TrustLevel::Measured, TrustLevel::Audited, TrustLevel::Attested];
    let uptime_tier = |index: usize| match &estimates[index] {
        estimate if estimate.counted < COUNTED_FOR_TIERS || estimate.uptime >= 0.95 => 0,
        estimate if estimate.uptime >= 0.80 => 1,
        _ => 2,
    };
    let price = |of: &dyn Fn(&Prices) -> i64| Column::new(offers.iter().map(|offer| of(&offer.price.prices)).collect());
    let typical: Vec<f64> = offers.iter().map(|offer| typical_price(&offer.price.prices)).collect();
    let firsts: Vec<f64> =
        estimates.iter().map(|estimate| estimate.kappa * estimate.first_content_s(0.0, f64::from(TYPICAL.0))).collect();
    let by_price = order(&typical);
    let by_first_content = order(&firsts);
    let tpots: Vec<f64> = estimates.iter().map(|estimate| estimate.tpot_at(0.0)).collect();
    let median = |order: &[u32]| order.get(order.len() / 2).map(|index| *index as usize);
    let weights: Vec<f64> = (0..count).map(|index| weight(&offers[index], &estimates[index], typical[index])).collect();
    ModelPool {
        id,
        live,
        up: set(&|offer| is_up(offer, now, grace_until)),
        tiers: std::array::from_fn(|tier| Bitset::from_fn(count, |index| uptime_tier(index) == tier)),
        under_observed: Bitset::from_fn(count, |index| estimates[index].counted < WELL_OBSERVED),
        input: modalities(&|offer| names(&spec(offer).input_modalities)),
        output: modalities(&|offer| names(&spec(offer).output_modalities)),
        providers: postings(count, &offers, |offer| {
            vec![Arc::clone(&offer.listing.slug), Arc::clone(&offer.listing.tag)]
        }),
        geo: postings(count, &offers, places),
        zdr: set(&|offer| offer.listing.node.privacy.zdr),
        no_training: set(&|offer| !offer.listing.node.privacy.training),
        trust: trust.map(|level| set(&|offer| offer.listing.node.trust >= level)),
        quantization: postings(count, &offers, |offer| spec(offer).quantization.into_iter().collect()),
        parameters: postings(count, &offers, |offer| spec(offer).offered_parameters().map(Into::into).collect()),
        free: set(&|offer| is_free(&offer.price.prices)),
        context: Column::new(offers.iter().map(|offer| spec(offer).context_length).collect()),
        most_output: Column::new(
            offers.iter().map(|offer| spec(offer).max_output_tokens.unwrap_or(spec(offer).context_length)).collect(),
        ),
        prompt_price: price(&|prices| prices.prompt.pico()),
        completion_price: price(&|prices| prices.completion.pico()),
        request_price: price(&|prices| prices.request.pico()),
        median_prices: median(&by_price).map_or_else(Prices::default, |index| offers[index].price.prices),
        median_first_content_s: median(&by_first_content).map_or(0.0, |index| firsts[index]),
        by_throughput: order(&tpots),
        by_price,
        by_first_content,
        alias: AliasTable::new(&weights),
        weights,
        offers,
    }
}

/// Whether an offer takes work: its rows allow it and its node was heard of.
pub(crate) fn is_up(offer: &OfferEntry, now: Timestamp, grace_until: Timestamp) -> bool {
    offer.listing.takes_work()
        && !offer.node.is_draining()
        && liveness::standing(&offer.node, now, grace_until) == Standing::Fresh
}

/// speed × trust × owner ÷ price. Free offers are weighed as the cheapest that still costs something.
fn weight(offer: &OfferEntry, estimate: &Estimate, typical_nano: f64) -> f64 {
    let (prompt, output) = (f64::from(TYPICAL.0), f64::from(TYPICAL.1));
    let seconds = prompt / estimate.prefill_tokens_per_s + output * estimate.tpot_at(0.0);
    let trust = match offer.listing.node.trust {
        TrustLevel::Declared => 0.25,
        TrustLevel::Measured => 0.5,
        TrustLevel::Audited | TrustLevel::Attested => 1.0,
    };
    let owner = 1.0 / (1.0 + offer.owner_excess);
    trust * owner / (seconds.max(1e-6) * typical_nano.max(1_000.0))
}

fn spec(offer: &OfferEntry) -> &OfferSpec {
    &offer.listing.offer.spec
}

fn typical_price(prices: &Prices) -> f64 {
    let of = |price: protocol::Price, count: u32| price.pico() as f64 * f64::from(count);
    (of(prices.prompt, TYPICAL.0) + of(prices.completion, TYPICAL.1) + of(prices.request, 1)) / 1_000.0
}

fn is_free(prices: &Prices) -> bool {
    let optional = [prices.cached_prompt, prices.cache_write, prices.internal_reasoning];
    let all = [prices.prompt, prices.completion, prices.request].into_iter().chain(optional.into_iter().flatten());
    all.into_iter().all(|price| price.pico() == 0)
}

/// Indices by rising value; equal ones by index, so the order is the same everywhere.
fn order(values: &[f64]) -> Vec<u32> {
    let mut indices: Vec<u32> = (0..values.len() as u32).collect();
    indices.sort_by(|a, b| values[*a as usize].total_cmp(&values[*b as usize]).then(a.cmp(b)));
    indices
}

fn postings<K: Hash + Eq>(
    count: usize,
    offers: &[Arc<OfferEntry>],
    keys: impl Fn(&OfferEntry) -> Vec<K>,
) -> HashMap<K, Postings> {
    let mut lists: HashMap<K, Vec<u32>> = HashMap::new();
    for (index, offer) in offers.iter().enumerate() {
        for key in keys(offer) {
            let list = lists.entry(key).or_default();
            if list.last() != Some(&(index as u32)) {
                list.push(index as u32);
            }
        }
    }
    lists.into_iter().map(|(key, list)| (key, Postings::new(list, count))).collect()
}

fn places(offer: &OfferEntry) -> Vec<Arc<str>> {
    let location = &offer.listing.node.location;
    let country = location.country_code.to_ascii_lowercase();
    let union = EUROPEAN_UNION.contains(&country.as_str()).then(|| "eu".into());
    let region = location.region.as_ref().map(|region| region.to_ascii_lowercase().into());
    [Some(country.into()), region, union].into_iter().flatten().collect()
}

/// Who is paid: nodes behind one payout account have one owner, whatever they call themselves.
fn owner(listing: &Listing) -> u64 {
    let hash = blake3::hash(listing.provider.payout_account.to_ascii_lowercase().as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// What estimates belong to: another engine build or model file is another machine.
fn engine_build(listing: &Listing) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    let engine = &listing.node.engine;
    (&engine.name, &engine.version, &listing.offer.spec.upstream_model, listing.offer.spec.quantization)
        .hash(&mut hasher);
    hasher.finish()
}

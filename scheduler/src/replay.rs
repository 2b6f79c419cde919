//! One ask in so many is looked at again, off the path: for every node that offers its model, whether it won and
//! what it lost by. This is what a provider is told of its place in the market.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use protocol::{NodeId, OfferId, Timestamp};
use serde::Serialize;

use crate::ask::{Ask, MaxPrice, Preferences};
use crate::credit;
use crate::liveness::NO_NEW_WORK;
use crate::place::cost::{Cost, Predicted, Worth};
use crate::place::{Decision, filter};
use crate::pool::bitset::Bitset;
use crate::pool::build::is_up;
use crate::pool::snapshot::{ModelPool, OfferEntry, Snapshot};

/// One ask in this many is looked at again.
pub const ONE_IN: u64 = 64;
/// Asks that wait to be looked at; more are passed over, since a look goes through the whole pool.
const MAX_WAITING: usize = 8;
/// Asks lost by price that a node's winning price is reckoned from.
const MAX_CUTS: usize = 64;

/// What a node lost an ask by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Dearer than who won.
    Price,
    /// Slower than who won.
    Slow,
    /// Likelier to fail than who won.
    Failure,
    /// Its owner serves much of the model already.
    OwnerShare,
    /// As good as who won: the draw went the other way.
    Chance,
    /// No free slot.
    Credit,
    /// Kept out after failures.
    Breaker,
    /// Silent, draining, staged or not ready.
    Down,
    /// Dearer than the caller or its money allows.
    PriceLimit,
    /// Below the trust asked for.
    Trust,
    /// Outside the regions asked for.
    Region,
    /// Some other demand: context, parameters, modality, privacy, a list of providers.
    Demands,
}

/// How a node fared, as its provider sees it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Placement {
    /// Unix seconds: since when this replica has counted.
    pub since: i64,
    /// One ask in so many is looked at; all counts are of those.
    pub one_in: u64,
    /// Asks for models the node offers.
    pub sampled: u64,
    /// Of these, those whose demands it met.
    pub eligible: u64,
    /// Of these, those it was chosen for.
    pub won: u64,
    /// The others, by what they were lost by.
    pub lost: BTreeMap<Loss, u64>,
    /// The share of its present price at which it would have won half of what it lately lost by price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_to_win_half: Option<f64>,
    /// How much its models are asked for.
    pub demand: Vec<Demand>,
}

/// How much a model is asked for, all its offers together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Demand {
    /// Which model.
    pub model: String,
    /// On average since counting began.
    pub asks_per_minute: f64,
}

/// The counts, and the asks that wait to be counted.
#[derive(Debug)]
pub(crate) struct Replay {
    since: Timestamp,
    asks: AtomicU64,
    waiting: Mutex<Vec<Sample>>,
    board: Mutex<Board>,
}

#[derive(Debug)]
struct Sample {
    snapshot: Arc<Snapshot>,
    ask: Ask,
    winner: Option<OfferId>,
}

#[derive(Debug, Default)]
struct Board {
    nodes: HashMap<NodeId, Tally>,
    models: HashMap<Arc<str>, u64>,
}

#[derive(Debug, Default)]
struct Tally {
    sampled: u64,
    eligible: u64,
    won: u64,
    lost: BTreeMap<Loss, u64>,
    cuts: VecDeque<f64>,
}

impl Replay {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { since: now, asks: AtomicU64::new(0), waiting: Mutex::default(), board: Mutex::default() }
    }

    /// On the path: counts the ask, and keeps one in so many for later.
    pub(crate) fn note(&self, snapshot: &Arc<Snapshot>, ask: &Ask, decision: &Decision) {
        if !self.asks.fetch_add(1, Ordering::Relaxed).is_multiple_of(ONE_IN) {
            return;
        }
        let winner = match decision {
            Decision::Place { offers, .. } => offers.first().map(|placed| placed.offer.id()),
            Decision::Wait { .. } | Decision::Refuse { .. } => None,
        };
        let mut waiting = self.waiting.lock();
        if waiting.len() < MAX_WAITING {
            waiting.push(Sample { snapshot: Arc::clone(snapshot), ask: ask.clone(), winner });
        }
    }

    /// Off the path: looks at what waits. Counts of nodes that offer nothing any more are forgotten.
    pub(crate) fn work(&self, current: &Snapshot, now: Timestamp) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        if waiting.is_empty() {
            return;
        }
        let mut board = self.board.lock();
        for sample in &waiting {
            let Some(pool) = sample.snapshot.model(&sample.ask.model) else { continue };
            *board.models.entry(Arc::clone(&pool.id)).or_default() += 1;
            board.count(pool, sample, now);
        }
        let offering: std::collections::HashSet<NodeId> = current.offers().map(|offer| offer.node_id()).collect();
        board.nodes.retain(|node, _| offering.contains(node));
    }

    /// How a node fared; `None` until an ask for one of its models was looked at.
    pub(crate) fn placement(&self, node: NodeId, models: &[Arc<str>], now: Timestamp) -> Option<Placement> {
        let board = self.board.lock();
        let tally = board.nodes.get(&node)?;
        let minutes = (now.since(self.since).as_secs_f64() / 60.0).max(1.0);
        let asked = |model: &Arc<str>| Demand {
            model: model.to_string(),
            asks_per_minute: board.models.get(model).map_or(0.0, |count| *count as f64 * ONE_IN as f64 / minutes),
        };
        let mut cuts: Vec<f64> = tally.cuts.iter().copied().collect();
        cuts.sort_by(f64::total_cmp);
        Some(Placement {
            since: self.since.unix_seconds(),
            one_in: ONE_IN,
            sampled: tally.sampled,
            eligible: tally.eligible,
            won: tally.won,
            lost: tally.lost.clone(),
            price_to_win_half: cuts.get(cuts.len() / 2).copied(),
            demand: models.iter().map(asked).collect(),
        })
    }
}

impl Board {
    fn count(&mut self, pool: &ModelPool, sample: &Sample, now: Timestamp) {
        let look = Look::new(pool, &sample.ask, sample.winner, now);
        for (index, offer) in pool.offers.iter().enumerate() {
            let tally = self.nodes.entry(offer.node_id()).or_default();
            tally.sampled += 1;
            tally.eligible += u64::from(look.eligible.contains(index));
            if sample.winner == Some(offer.id()) {
                tally.won += 1;
                continue;
            }
            let (loss, cut) = look.loss(index, offer);
            *tally.lost.entry(loss).or_default() += 1;
            if let Some(cut) = cut {
                tally.cuts.truncate(MAX_CUTS - 1);
                tally.cuts.push_front(cut);
            }
        }
    }
}

/// Everything about one ask that is the same for all offers.
struct Look<'a> {
    pool: &'a ModelPool,
    ask: &'a Ask,
    now: Timestamp,
    worth: Worth,
    winner: Option<Cost>,
    eligible: Bitset,
    /// Who would be eligible with one demand less, in the order in which that is told.
    relaxed: [(Loss, Bitset); 3],
}

impl<'a> Look<'a> {
    fn new(pool: &'a ModelPool, ask: &'a Ask, winner: Option<OfferId>, now: Timestamp) -> Self {
        let set = |ask: &Ask| filter::apply(pool, ask).set;
        let with = |provider: Preferences| Ask { provider, ..ask.clone() };
        let any_price = Ask {
            held: None,
            free_only: false,
            ..with(Preferences { max_price: MaxPrice::default(), ..ask.provider.clone() })
        };
        let any_trust = with(Preferences { trust: Preferences::default().trust, ..ask.provider.clone() });
        let anywhere = with(Preferences { regions: Vec::new(), ..ask.provider.clone() });
        let relaxed =
            [(Loss::PriceLimit, set(&any_price)), (Loss::Trust, set(&any_trust)), (Loss::Region, set(&anywhere))];
        let mut look = Self { pool, ask, now, worth: Worth::new(pool, ask), winner: None, eligible: set(ask), relaxed };
        look.winner = pool.offers.iter().find(|offer| Some(offer.id()) == winner).map(|offer| look.cost(offer));
        look
    }

    fn cost(&self, offer: &OfferEntry) -> Cost {
        let view = offer.node.view(self.now, NO_NEW_WORK);
        let predicted = Predicted::new(&offer.live.estimate(), &view, self.ask, 0.0);
        let (prices, median_s) = (&offer.price.prices, self.pool.median_first_content_s);
        Cost::new(prices, &predicted, offer.owner_excess, median_s, &self.worth, self.ask)
    }

    /// What an offer that did not win lost by, and for price the share of it that would have won.
    fn loss(&self, index: usize, offer: &OfferEntry) -> (Loss, Option<f64>) {
        if !self.eligible.contains(index) {
            let told = self.relaxed.iter().find(|(_, set)| set.contains(index));
            return (told.map_or(Loss::Demands, |(loss, _)| *loss), None);
        }
        // Nothing can be told of the grace here: whoever is silent within it is up in the snapshot too.
        if !self.pool.is_up(index) || !is_up(offer, self.now, self.now) {
            return (Loss::Down, None);
        }
        if offer.live.exclusion(self.now).is_some() {
            return (Loss::Breaker, None);
        }
        let view = offer.node.view(self.now, NO_NEW_WORK);
        let weight = credit::weight(self.ask.prompt_tokens, self.ask.output(), offer.tokens_per_slot);
        let full = view.free_cap == 0 || view.free_credit < u64::from(weight);
        let Some(winner) = self.winner.filter(|_| !full && offer.node.closed_until(self.now).is_none()) else {
            return (Loss::Credit, None);
        };
        let own = self.cost(offer);
        let excess = own.total() - winner.total();
        if excess <= 0.0 {
            return (Loss::Chance, None);
        }
        let terms = [
            (Loss::Price, own.price - winner.price),
            (Loss::Slow, own.first_content + own.output - winner.first_content - winner.output),
            (Loss::Failure, own.failure - winner.failure),
            (Loss::OwnerShare, own.owner - winner.owner),
        ];
        let worst = terms.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).map_or(Loss::Chance, |(loss, _)| loss);
        let cut = (worst == Loss::Price && own.price > 0.0).then(|| ((own.price - excess) / own.price).max(0.0));
        (worst, cut)
    }
}

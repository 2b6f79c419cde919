//! The few offers whose cost is worked out: sampled by merit, or the head of the order asked for.
//!
//! Looking at few, partly random ones with fresh answers beats a full ranking: many replicas that
//! rank alike all chase the same node.

use std::sync::Arc;

use protocol::Timestamp;
use rand::Rng;

use crate::ask::{Ask, Sort};
use crate::availability::{Constraint, Exclusions};
use crate::credit;
use crate::liveness::NO_NEW_WORK;
use crate::pool::alias::unit;
use crate::pool::bitset::Bitset;
use crate::pool::build::is_up;
use crate::pool::node_live::NodeView;
use crate::pool::snapshot::{ModelPool, OfferEntry};

/// Offers drawn by merit.
pub const SAMPLED: usize = 3;
/// Candidates at most, whatever their source.
pub const MOST: usize = 5;
/// Draws that may miss before the set is walked instead.
const MISSES: usize = 32;
/// Sets up to this size are walked with weights; larger ones from a random place.
const WEIGHED_WALK: u32 = 256;
/// Chance that an under-observed offer takes a sampled place.
const EXPLORE: f64 = 0.015;

/// One offer that holds room just now.
#[derive(Debug, Clone, Copy)]
pub struct Drawn {
    /// Index into the model's offers.
    pub index: usize,
    /// Its node's load and room when it was drawn.
    pub view: NodeView,
    /// Slots this ask takes there.
    pub weight: u32,
    /// Position in the caller's `order`, if listed.
    pub rank: Option<usize>,
}

/// Tests what bitsets cannot: tried, silent, breaker, room. Counts why offers fail it.
pub struct Gate<'a> {
    pool: &'a ModelPool,
    ask: &'a Ask,
    now: Timestamp,
    grace_until: Timestamp,
    /// Breakers would leave too few: these pass in spite of theirs.
    let_through: Option<Bitset>,
    /// Why offers failed, each counted once per full walk.
    pub exclusions: Exclusions,
    /// The earliest instant at which a breaker or a pause ends.
    pub earliest: Option<Timestamp>,
}

impl<'a> Gate<'a> {
    /// For one decision.
    #[must_use]
    pub fn new(pool: &'a ModelPool, ask: &'a Ask, now: Timestamp, grace_until: Timestamp) -> Self {
        let let_through = least_bad_half(pool, now);
        Self { pool, ask, now, grace_until, let_through, exclusions: Exclusions::default(), earliest: None }
    }

    /// Whether breakers were overruled because they would remove more than half.
    #[must_use]
    pub const fn panicking(&self) -> bool {
        self.let_through.is_some()
    }

    fn admit(&mut self, index: usize) -> Option<Drawn> {
        let offer: &Arc<OfferEntry> = &self.pool.offers[index];
        match self.test(index, offer) {
            Ok(drawn) => Some(drawn),
            Err(constraint) => {
                self.exclusions.add(constraint, 1);
                None
            }
        }
    }

    fn test(&mut self, index: usize, offer: &OfferEntry) -> Result<Drawn, Constraint> {
        if self.ask.tried.contains(&offer.listing.node.id) {
            return Err(Constraint::Tried);
        }
        if !is_up(offer, self.now, self.grace_until) {
            return Err(Constraint::Unavailable);
        }
        if let Some(exclusion) = offer.live.exclusion(self.now)
            && !self.let_through.as_ref().is_some_and(|set| set.contains(index))
        {
            self.note(exclusion.until);
            return Err(Constraint::Breaker);
        }
        if let Some(until) = offer.node.closed_until(self.now) {
            self.note(until);
            return Err(Constraint::Capacity);
        }
        let view = offer.node.view(self.now, NO_NEW_WORK);
        let weight = credit::weight(self.ask.prompt_tokens, self.ask.output(), offer.tokens_per_slot);
        if view.free_cap == 0 || view.free_credit < u64::from(weight) {
            return Err(Constraint::Capacity);
        }
        Ok(Drawn { index, view, weight, rank: None })
    }

    fn note(&mut self, until: Timestamp) {
        self.earliest = Some(self.earliest.map_or(until, |earliest| earliest.min(until)));
    }
}

/// If breakers alone would remove more than half of the offers that are up, the fault is likelier
/// ours: the offers whose breakers opened least often pass again, up to half.
fn least_bad_half(pool: &ModelPool, now: Timestamp) -> Option<Bitset> {
    // One atomic read in good times.
    let up = pool.up.count();
    if u64::from(pool.live.out()) * 2 <= u64::from(up) {
        return None;
    }
    let mut out: Vec<(u32, usize)> = Vec::new();
    for index in pool.up.iter().filter(|index| pool.offers[*index].live.exclusion(now).is_some()) {
        out.push((pool.offers[index].live.trips(), index));
    }
    let standing = up as usize - out.len();
    let wanted = (up as usize).div_ceil(2).checked_sub(standing).filter(|wanted| *wanted > 0)?;
    out.sort_unstable();
    let mut set = Bitset::empty(pool.offers.len());
    out.iter().take(wanted).for_each(|(_, index)| set.insert(*index));
    Some(set)
}

/// Draws candidates from `set`: offers in the caller's order first, then by sort or by merit.
pub fn draw(gate: &mut Gate<'_>, set: &Bitset, rng: &mut impl Rng) -> Vec<Drawn> {
    let mut drawn: Vec<Drawn> = Vec::with_capacity(MOST);
    let (pool, ask) = (gate.pool, gate.ask);
    ordered(gate, set, &mut drawn);
    if drawn.len() >= MOST || (!ask.provider.order.is_empty() && !ask.provider.allow_fallbacks) {
        return drawn;
    }
    let wanted = (drawn.len() + SAMPLED).min(MOST);
    match ask.provider.sort {
        Some(Sort::Price) => head(gate, set, &pool.by_price, wanted, &mut drawn),
        Some(Sort::Latency) => head(gate, set, &pool.by_first_content, wanted, &mut drawn),
        Some(Sort::Throughput) => head(gate, set, &pool.by_throughput, wanted, &mut drawn),
        None => sampled(gate, set, wanted, rng, &mut drawn),
    }
    drawn
}

/// Draws more by merit: once, when preferences rule out all that was drawn.
pub fn draw_more(gate: &mut Gate<'_>, set: &Bitset, rng: &mut impl Rng, drawn: &mut Vec<Drawn>) {
    let wanted = drawn.len() + SAMPLED;
    sampled(gate, set, wanted, rng, drawn);
}

fn ordered(gate: &mut Gate<'_>, set: &Bitset, drawn: &mut Vec<Drawn>) {
    let (pool, ask) = (gate.pool, gate.ask);
    for (rank, name) in ask.provider.order.iter().enumerate() {
        let Some(offers) = pool.providers.get(name.as_str()) else { continue };
        let mut listed = Bitset::empty(set.len());
        offers.add_to(&mut listed);
        listed.intersect(set);
        for index in listed.iter() {
            if drawn.len() >= MOST {
                return;
            }
            if !has(drawn, index)
                && let Some(found) = gate.admit(index)
            {
                drawn.push(Drawn { rank: Some(rank), ..found });
            }
        }
    }
}

fn head(gate: &mut Gate<'_>, set: &Bitset, order: &[u32], wanted: usize, drawn: &mut Vec<Drawn>) {
    for index in order.iter().map(|index| *index as usize).filter(|index| set.contains(*index)) {
        if drawn.len() >= wanted {
            return;
        }
        if !has(drawn, index) {
            drawn.extend(gate.admit(index));
        }
    }
}

fn sampled(gate: &mut Gate<'_>, set: &Bitset, wanted: usize, rng: &mut impl Rng, drawn: &mut Vec<Drawn>) {
    if unit(rng) < EXPLORE {
        let mut fresh = gate.pool.under_observed.clone();
        fresh.intersect(set);
        walk(gate, &fresh, (drawn.len() + 1).min(wanted), rng, drawn);
    }
    // What failed the gate is not asked again, nor counted twice.
    let mut failed: Vec<usize> = Vec::new();
    let mut misses = 0;
    while drawn.len() < wanted && misses < MISSES {
        let Some(index) = gate.pool.alias.draw(rng) else { return };
        let found = if !set.contains(index) || has(drawn, index) || failed.contains(&index) {
            None
        } else {
            let found = gate.admit(index);
            if found.is_none() {
                failed.push(index);
            }
            found
        };
        match found {
            Some(found) => drawn.push(found),
            None => misses += 1,
        }
    }
    if drawn.len() < wanted {
        let mut rest = set.clone();
        failed.iter().for_each(|index| rest.remove(*index));
        walk(gate, &rest, wanted, rng, drawn);
    }
}

/// Goes through the set until enough are found: by weight where it is small, else from anywhere.
fn walk(gate: &mut Gate<'_>, set: &Bitset, wanted: usize, rng: &mut impl Rng, drawn: &mut Vec<Drawn>) {
    let count = set.count();
    if count == 0 {
        return;
    }
    if count <= WEIGHED_WALK {
        // Each index gets key u^(1/w): the largest keys are a weighted draw without replacement.
        let mut keyed: Vec<(f64, usize)> = Vec::with_capacity(count as usize);
        for index in set.iter().filter(|index| !has(drawn, *index)) {
            let key = libm::log(unit(rng).max(1e-300)) / gate.pool.weights[index].max(1e-300);
            keyed.push((key, index));
        }
        keyed.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        take(gate, keyed.into_iter().map(|(_, index)| index), wanted, drawn);
    } else {
        let start = (unit(rng) * set.len() as f64) as usize;
        take(gate, set.iter_wrapping(start), wanted, drawn);
    }
}

fn take(gate: &mut Gate<'_>, indices: impl Iterator<Item = usize>, wanted: usize, drawn: &mut Vec<Drawn>) {
    for index in indices {
        if drawn.len() >= wanted {
            return;
        }
        if !has(drawn, index) {
            drawn.extend(gate.admit(index));
        }
    }
}

fn has(drawn: &[Drawn], index: usize) -> bool {
    drawn.iter().any(|known| known.index == index)
}

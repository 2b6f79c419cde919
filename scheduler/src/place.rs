//! Placement: (snapshot, ask, now, rng) → decision. Pure: no lock is waited for, nothing is written.

pub mod band;
pub mod candidates;
pub mod cost;
pub mod filter;
pub mod probe;
pub mod room;

use std::sync::Arc;
use std::time::Duration;

use protocol::{NanoUsd, Timestamp};
use rand::Rng;

use crate::ask::{Ask, ServiceTier, Sort};
use crate::attempt::Candidate;
use crate::availability::{Availability, AvailabilityCode, Constraint, Exclusions};
use crate::measure::Circumstances;
use crate::pool::bitset::Bitset;
use crate::pool::snapshot::{ModelPool, OfferEntry, Snapshot};
use candidates::{Drawn, Gate};
use cost::{Cost, Predicted, Worth};

/// Seconds after which a request that met nobody available may try again, when nothing better is known.
const UNKNOWN_OUTAGE_S: f64 = 5.0;
/// Bounds of a wait in a room, by tier; the configuration may shorten them.
const WAIT: Duration = Duration::from_secs(2);
const WAIT_FLEX: Duration = Duration::from_secs(30);

/// What to do with an ask.
#[derive(Debug)]
pub enum Decision {
    /// Serve it, trying these in order.
    Place {
        /// At most five, best first.
        offers: Vec<Placed>,
        /// What was considered.
        why: Why,
    },
    /// All who may serve it are full: wait for room.
    Wait {
        /// No longer than this.
        until: Timestamp,
        /// What to answer if none comes.
        availability: Availability,
        /// What was considered.
        why: Why,
    },
    /// Nobody may serve it, or nobody can just now.
    Refuse {
        /// What to answer.
        availability: Availability,
        /// What was considered.
        why: Why,
    },
}

/// An offer chosen for an ask. Room was seen, not yet taken.
#[derive(Debug, Clone)]
pub struct Placed {
    /// The offer, its price pinned.
    pub offer: Arc<OfferEntry>,
    /// What is predicted of it for this ask.
    pub predicted: Predicted,
    /// Why it stands where it stands.
    pub cost: Cost,
    /// Slots the ask takes there.
    pub weight: u32,
    /// What it would be dispatched into.
    pub circumstances: Circumstances,
    /// Its breaker was overruled.
    pub panicking: bool,
}

/// What was considered, for explanations and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Why {
    /// Offers of the model.
    pub offers: u32,
    /// Left by the hard demands.
    pub eligible: u32,
    /// Removed by each step. The last four count only offers that were looked at.
    pub exclusions: Exclusions,
    /// Whose cost was worked out.
    pub candidates: u32,
}

impl Placed {
    /// What offers of different models are compared by: the quantity sorted by, else the expected cost. Less is
    /// better.
    #[must_use]
    pub fn standing(&self, sort: Option<Sort>) -> f64 {
        match sort {
            Some(Sort::Price) => self.cost.price,
            Some(Sort::Throughput) => self.predicted.tpot_s,
            Some(Sort::Latency) => self.predicted.first_content_s,
            None => self.cost.total(),
        }
    }

    /// As the attempt machine takes it.
    #[must_use]
    pub fn candidate(&self) -> Candidate {
        Candidate {
            offer: self.offer.id(),
            node: self.offer.node_id(),
            tunnel: self.offer.node.is_tunnel(),
            first_content_s: self.predicted.first_content_s,
            gap_s: self.offer.live.estimate().gap_s,
        }
    }
}

/// The most the ask can cost on an offer, whatever the classes of its tokens turn out to be.
///
/// Once money was set aside, it is the tokens that was done for which count. Before, and where the caller
/// named no limit, the expected output stands for it.
#[must_use]
pub fn worst_case(offer: &OfferEntry, ask: &Ask) -> Option<NanoUsd> {
    let (prompt, output) = ask.worst_tokens();
    offer.price.prices.ceiling_of(prompt, output, ask.requests)
}

/// Decides where an ask is served.
pub fn place(snapshot: &Snapshot, ask: &Ask, now: Timestamp, rng: &mut impl Rng) -> Decision {
    let mut why = Why::default();
    let Some(pool) = snapshot.model(&ask.model) else {
        let availability = Availability::permanent(AvailabilityCode::ModelNotFound, &ask.model, &why.exclusions);
        return Decision::Refuse { availability, why };
    };
    let filtered = filter::apply(pool, ask);
    why.offers = pool.offers.len() as u32;
    why.exclusions = filtered.exclusions;
    let mut set = filtered.set;
    why.eligible = set.count();
    if why.eligible == 0 {
        let emptied_by = filtered.emptied_by.unwrap_or(Constraint::Modality);
        let code = filter::refusal_code(emptied_by);
        let mut availability = Availability::permanent(code, &ask.model, &why.exclusions);
        availability.constraint = filter::nearest(pool, ask, emptied_by);
        return Decision::Refuse { availability, why };
    }
    set.intersect(&pool.up);
    let up = set.count();
    why.exclusions.add(Constraint::Unavailable, why.eligible - up);
    // Without fallbacks or an order of its own, a second choice is a fallback.
    let no_second = !ask.provider.allow_fallbacks && ask.provider.order.is_empty();
    let mut gate = Gate::new(pool, ask, now, snapshot.grace_until);
    let mut drawn = Vec::new();
    let second = !ask.tried.is_empty();
    if up > 0 && (!no_second || !second) {
        for tier in &pool.tiers {
            let mut tiered = set.clone();
            tiered.intersect(tier);
            drawn = candidates::draw(&mut gate, &tiered, rng);
            if !drawn.is_empty() {
                set = tiered;
                break;
            }
        }
    }
    if drawn.is_empty() {
        return nobody(pool, ask, &gate, why, now);
    }
    let offers = rank(&mut gate, pool, ask, &set, drawn, no_second, rng);
    gate.exclusions.iter().for_each(|(constraint, count)| why.exclusions.add(constraint, count));
    why.candidates = offers.len() as u32;
    Decision::Place { offers, why }
}

/// Orders the candidates: the caller's order, else the one drawn from the band, then by cost.
fn rank(
    gate: &mut Gate<'_>,
    pool: &ModelPool,
    ask: &Ask,
    set: &Bitset,
    mut drawn: Vec<Drawn>,
    no_second: bool,
    rng: &mut impl Rng,
) -> Vec<Placed> {
    let worth = Worth::new(pool, ask);
    let panicking = gate.panicking();
    let price = |one: &Drawn| placed(pool, ask, &worth, one, panicking);
    let mut rated: Vec<(Drawn, Placed)> = drawn.iter().map(|one| (*one, price(one))).collect();
    if prefers(ask) && !rated.iter().any(|(_, one)| likelihood(ask, one) >= 0.0) {
        candidates::draw_more(gate, set, rng, &mut drawn);
        rated.extend(drawn[rated.len()..].iter().map(|one| (*one, price(one))));
    }
    let first = first(ask, &rated, rng);
    let key = |one: &(Drawn, Placed)| (one.0.rank.unwrap_or(usize::MAX), one.1.cost.total());
    let head = rated.swap_remove(first);
    rated.sort_by(|a, b| {
        let ((a_rank, a_cost), (b_rank, b_cost)) = (key(a), key(b));
        a_rank.cmp(&b_rank).then(a_cost.total_cmp(&b_cost)).then(a.0.index.cmp(&b.0.index))
    });
    let most = if no_second { 1 } else { candidates::MOST };
    std::iter::once(head).chain(rated).map(|(_, placed)| placed).take(most).collect()
}

/// Index of the one to try first.
fn first(ask: &Ask, rated: &[(Drawn, Placed)], rng: &mut impl Rng) -> usize {
    let best_rank = rated.iter().filter_map(|(drawn, _)| drawn.rank).min();
    // Preferences narrow the choice to those that meet them, or to the likeliest when none does.
    let likelihoods: Vec<f64> = rated.iter().map(|(_, one)| likelihood(ask, one)).collect();
    let likeliest = likelihoods.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let meets = |index: usize| {
        let likely = if likeliest >= 0.0 { likelihoods[index] >= 0.0 } else { likelihoods[index] >= likeliest };
        match best_rank {
            Some(rank) => rated[index].0.rank == Some(rank),
            None => !prefers(ask) || likely,
        }
    };
    let indices: Vec<usize> = (0..rated.len()).filter(|index| meets(*index)).collect();
    let costs: Vec<f64> = indices.iter().map(|index| rated[*index].1.cost.total()).collect();
    let room: Vec<f64> = indices.iter().map(|index| free_slots(&rated[*index].0)).collect();
    band::choose(&costs, &room, rng).map_or(0, |choice| indices[choice])
}

fn free_slots(drawn: &Drawn) -> f64 {
    let credit = u32::try_from(drawn.view.free_credit / u64::from(drawn.weight.max(1))).unwrap_or(u32::MAX);
    f64::from(credit.min(drawn.view.free_cap))
}

fn placed(pool: &ModelPool, ask: &Ask, worth: &Worth, drawn: &Drawn, panicking: bool) -> Placed {
    let offer = &pool.offers[drawn.index];
    let estimate = offer.live.estimate();
    let predicted = Predicted::new(&estimate, &drawn.view, ask, 0.0);
    let median_s = pool.median_first_content_s;
    Placed {
        cost: Cost::new(&offer.price.prices, &predicted, offer.owner_excess, median_s, worth, ask),
        circumstances: Circumstances {
            uncached_tokens: ask.prompt_tokens,
            queued_tokens: drawn.view.queued_tokens,
            running: drawn.view.running,
            predicted_first_s: predicted.uncorrected_s,
        },
        predicted,
        offer: Arc::clone(offer),
        weight: drawn.weight,
        panicking,
    }
}

const fn prefers(ask: &Ask) -> bool {
    !ask.provider.preferred_max_latency.is_empty() || !ask.provider.preferred_min_throughput.is_empty()
}

/// Chance of meeting the caller's preferences above the quantile asked for; at least zero meets them.
fn likelihood(ask: &Ask, placed: &Placed) -> f64 {
    let sigma = placed.offer.live.estimate().sigma;
    let mut least = f64::INFINITY;
    for wish in &ask.provider.preferred_max_latency {
        let chance = cost::chance_within(wish.value, placed.predicted.first_content_s, sigma);
        least = least.min(chance - wish.quantile);
    }
    for wish in &ask.provider.preferred_min_throughput {
        let chance = cost::chance_within(1.0 / wish.value.max(1e-9), placed.predicted.tpot_s, sigma);
        least = least.min(chance - wish.quantile);
    }
    least
}

/// Offers exist, and none can take the ask now: wait where it is only room that lacks.
fn nobody(pool: &ModelPool, ask: &Ask, gate: &Gate<'_>, mut why: Why, now: Timestamp) -> Decision {
    gate.exclusions.iter().for_each(|(constraint, count)| why.exclusions.add(constraint, count));
    let until_s = gate.earliest.map(|at| at.since(now).as_secs_f64());
    if gate.exclusions.get(Constraint::Capacity) == 0 {
        let code = AvailabilityCode::TemporarilyUnavailable;
        let retry_s = until_s.unwrap_or(UNKNOWN_OUTAGE_S);
        let availability = Availability::transient(code, &ask.model, &why.exclusions, retry_s);
        return Decision::Refuse { availability, why };
    }
    let code = AvailabilityCode::CapacityExhausted;
    let next_s = until_s.unwrap_or_else(|| next_room_s(pool, ask));
    let availability = Availability::transient(code, &ask.model, &why.exclusions, next_s);
    let wait = if ask.tier == ServiceTier::Flex { WAIT_FLEX } else { WAIT };
    Decision::Wait { until: now.plus(wait), availability, why }
}

/// When the next slot is likely to come free: an answer's length over how many end independently.
fn next_room_s(pool: &ModelPool, ask: &Ask) -> f64 {
    let Some(offer) = pool.up.iter().next().map(|index| &pool.offers[index]) else { return UNKNOWN_OUTAGE_S };
    let estimate = offer.live.estimate();
    let answer_s = estimate.base_s + f64::from(ask.output()) * estimate.tpot_at(1.0);
    answer_s / f64::from(pool.up.count().max(1))
}

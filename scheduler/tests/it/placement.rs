//! Placement against enumeration, and in the directions it may move.

use std::collections::HashMap;

use proptest::prelude::*;
use protocol::{NanoUsd, OfferId};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use scheduler::ask::{Held, Preferred, ProviderRef};
use scheduler::place::cost::{Cost, Predicted, Worth};
use scheduler::{Ask, Decision, Placed, Scheduler, Sort};

use crate::world::{self, START};

fn placed(scheduler: &Scheduler, ask: &Ask, seed: u64) -> Vec<Placed> {
    match scheduler.place(ask, START, &mut SmallRng::seed_from_u64(seed)) {
        Decision::Place { offers, .. } => offers,
        other => panic!("{other:?}"),
    }
}

/// Costs of all offers, by the same terms, over all of them.
fn oracle(scheduler: &Scheduler, ask: &Ask) -> HashMap<OfferId, f64> {
    let snapshot = scheduler.snapshot();
    let pool = snapshot.model(world::MODEL).unwrap();
    let worth = Worth::new(pool, ask);
    let firsts: Vec<f64> =
        pool.offers.iter().map(|offer| offer.live.estimate().first_content_s(0.0, 1_000.0)).collect();
    let mut sorted = firsts.clone();
    sorted.sort_by(f64::total_cmp);
    let median = sorted[sorted.len() / 2];
    let cost = |offer: &std::sync::Arc<scheduler::OfferEntry>| {
        let view = offer.node.view(START, std::time::Duration::from_secs(15));
        let predicted = Predicted::new(&offer.live.estimate(), &view, ask, 0.0);
        (offer.id(), Cost::new(&offer.price.prices, &predicted, 0.0, median, &worth, ask).total())
    };
    pool.offers.iter().map(cost).collect()
}

fn shares(scheduler: &Scheduler, ask: &Ask, draws: u64) -> HashMap<OfferId, f64> {
    let mut shares = HashMap::new();
    for seed in 0..draws {
        *shares.entry(placed(scheduler, ask, seed)[0].offer.id()).or_insert(0.0) += 1.0 / draws as f64;
    }
    shares
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// With three offers all are candidates: the first is always within the band of the best.
    #[test]
    fn few_offers_are_served_within_the_band_of_the_best(
        prices in prop::collection::vec((1..20_i64, 1..20_i64), 1..=3), seed in any::<u64>(), prompt in 1..4_000_u32,
    ) {
        let listing = |(n, price): (usize, &(i64, i64))| world::parts(n as u128 + 1).priced(price.0, price.1).listing();
        let (scheduler, ..) = world::scheduler(prices.iter().enumerate().map(listing).collect());
        let ask = Ask { prompt_tokens: prompt, ..world::ask() };
        let costs = oracle(&scheduler, &ask);
        let best = costs.values().copied().fold(f64::INFINITY, f64::min);
        let offers = placed(&scheduler, &ask, seed);
        prop_assert_eq!(offers.len(), prices.len());
        prop_assert!(offers[0].cost.total() <= best * 1.05 + 1e-9);
        for placed in &offers {
            prop_assert!((placed.cost.total() - costs[&placed.offer.id()]).abs() < 1e-6 * best.max(1.0));
        }
        prop_assert!(offers[1..].is_sorted_by(|a, b| a.cost.total() <= b.cost.total()));
    }

    /// With up to eight, three are looked at: drawn by merit, the least of them is no dearer on average
    /// than the least of three drawn blindly, and the choice never leaves the band of the best candidate.
    #[test]
    fn sampling_stays_near_the_optimum(prices in prop::collection::vec((1..20_i64, 1..20_i64), 4..=8)) {
        let listing = |(n, price): (usize, &(i64, i64))| world::parts(n as u128 + 1).priced(price.0, price.1).listing();
        let (scheduler, ..) = world::scheduler(prices.iter().enumerate().map(listing).collect());
        // The size that merit is worked out for: at another one a cheap offer may deserve less.
        let ask = Ask { prompt_tokens: 1_000, ..world::ask() };
        let mut costs: Vec<f64> = oracle(&scheduler, &ask).into_values().collect();
        costs.sort_by(f64::total_cmp);
        // The nth cheapest is the least of three with probability C(rest, 2) / C(all, 3).
        let pairs = |rest: usize| (rest * rest.saturating_sub(1) / 2) as f64;
        let triples: f64 = (0..costs.len()).map(|nth| pairs(costs.len() - 1 - nth)).sum();
        let blind: f64 = costs.iter().enumerate().map(|(nth, cost)| cost * pairs(costs.len() - 1 - nth) / triples).sum();
        let mut chosen = 0.0;
        for seed in 0..200 {
            let offers = placed(&scheduler, &ask, seed);
            let least = offers.iter().map(|placed| placed.cost.total()).fold(f64::INFINITY, f64::min);
            prop_assert!(offers[0].cost.total() <= least * 1.05 + 1e-9);
            chosen += offers[0].cost.total() / 200.0;
        }
        // The band is 5 % wide, and two hundred draws leave twice that to chance.
        prop_assert!(chosen <= blind * 1.15, "chosen {chosen}, blind {blind}, best {}", costs[0]);
    }

    /// Dearer never raises an offer's chance to be first.
    #[test]
    fn dearer_is_never_likelier(base in 2..10_i64, rise in 1..10_i64) {
        let with = |price| {
            let listings = (1..=4).map(|n| world::parts(n).priced(if n == 1 { price } else { base }, base).listing());
            let (scheduler, ..) = world::scheduler(listings.collect());
            shares(&scheduler, &Ask { prompt_tokens: 4_000, ..world::ask() }, 1_000).remove(&world::offer_id(1)).unwrap_or(0.0)
        };
        prop_assert!(with(base + rise) <= with(base) + 0.08);
    }
}

#[test]
fn equal_offers_share_the_work() {
    let (scheduler, ..) = world::scheduler((1..=3).map(world::listing).collect());
    for (offer, share) in shares(&scheduler, &world::ask(), 3_000) {
        assert!((share - 1.0 / 3.0).abs() < 0.05, "{offer}: {share}");
    }
}

#[test]
fn a_busier_node_is_chosen_less() {
    let (scheduler, ..) = world::scheduler((1..=2).map(world::listing).collect());
    let before = shares(&scheduler, &world::ask(), 500)[&world::offer_id(1)];
    let mut only = world::ask();
    only.provider.only = Some(vec![ProviderRef::new("p1")]);
    only.prompt_tokens = 4_000;
    let _held: Vec<_> = (0..3).map(|_| scheduler.admit(&placed(&scheduler, &only, 1)[0], START).unwrap()).collect();
    let after = shares(&scheduler, &world::ask(), 500).remove(&world::offer_id(1)).unwrap_or(0.0);
    assert!(after < before / 2.0, "{before} then {after}");
}

#[test]
fn the_same_seed_decides_the_same() {
    let (scheduler, ..) =
        world::scheduler((1..=50).map(|n| world::parts(n).priced(1 + (n % 3) as i64, 2).listing()).collect());
    let ids = |seed| placed(&scheduler, &world::ask(), seed).iter().map(|placed| placed.offer.id()).collect::<Vec<_>>();
    assert_eq!(ids(5), ids(5));
    assert!((0..50).any(|seed| ids(seed) != ids(5)));
}

#[test]
fn sort_takes_the_head_of_its_order() {
    let listings = (1..=20).map(|n| world::parts(n).priced(21 - n as i64, 2).listing()).collect();
    let (scheduler, ..) = world::scheduler(listings);
    let mut ask = Ask { prompt_tokens: 4_000, ..world::ask() };
    ask.provider.sort = Some(Sort::Price);
    let ids: Vec<_> = placed(&scheduler, &ask, 3).iter().map(|placed| placed.offer.id()).collect();
    assert_eq!(ids, [world::offer_id(20), world::offer_id(19), world::offer_id(18)]);
}

#[test]
fn order_comes_first_and_without_fallbacks_alone() {
    let (scheduler, ..) = world::scheduler((1..=6).map(|n| world::parts(n).priced(n as i64, 2).listing()).collect());
    let mut ask = world::ask();
    ask.provider.order = vec![ProviderRef::new("P6"), ProviderRef::new("p5/fra1")];
    let ids = |ask: &Ask| placed(&scheduler, ask, 1).iter().map(|placed| placed.offer.id()).collect::<Vec<_>>();
    assert_eq!(ids(&ask)[..2], [world::offer_id(6), world::offer_id(5)]);
    assert_eq!(ids(&ask).len(), 5);
    ask.provider.allow_fallbacks = false;
    assert_eq!(ids(&ask), [world::offer_id(6), world::offer_id(5)]);
    ask.tried = vec![world::node_id(6)];
    assert_eq!(ids(&ask), [world::offer_id(5)]);
}

#[test]
fn without_fallbacks_there_is_one_choice_and_no_second() {
    let (scheduler, ..) = world::scheduler((1..=6).map(world::listing).collect());
    let mut ask = world::ask();
    ask.provider.allow_fallbacks = false;
    assert_eq!(placed(&scheduler, &ask, 1).len(), 1);
    ask.tried = vec![world::node_id(1)];
    let decision = scheduler.place(&ask, START, &mut SmallRng::seed_from_u64(1));
    assert!(matches!(decision, Decision::Refuse { .. }));
}

#[test]
fn preferences_never_refuse() {
    let (scheduler, ..) = world::scheduler((1..=6).map(world::listing).collect());
    let mut ask = world::ask();
    ask.provider.preferred_max_latency = vec![Preferred { value: 1e-6, quantile: 0.99 }];
    ask.provider.preferred_min_throughput = vec![Preferred { value: 1e9, quantile: 0.99 }];
    assert!(!placed(&scheduler, &ask, 1).is_empty());
}

#[test]
fn every_percentile_that_is_named_counts() {
    let (scheduler, ..) = world::scheduler((1..=6).map(world::listing).collect());
    let first_content_s = placed(&scheduler, &world::ask(), 1)[0].predicted.first_content_s;
    let easy = Preferred { value: 100.0 * first_content_s, quantile: 0.99 };
    let hard = Preferred { value: first_content_s / 100.0, quantile: 0.5 };
    let drawn = |wishes: Vec<Preferred>| {
        let mut ask = world::ask();
        ask.provider.preferred_max_latency = wishes;
        placed(&scheduler, &ask, 1).len()
    };
    // Where somebody meets all wishes nobody more is looked at; else more are, whichever wish it is that fails.
    let met = drawn(vec![easy]);
    assert!(drawn(vec![easy, hard]) > met && drawn(vec![hard, easy]) > met);
}

#[test]
fn a_waiting_price_applies_from_its_time() {
    let mut parts = world::parts(1);
    let at = START.plus(std::time::Duration::from_secs(300));
    let next = scheduler::provider::PriceVersion { version: 2, prices: world::prices(5, 5), effective_at: at };
    parts.offer.next_price = Some(next);
    let (scheduler, ..) = world::scheduler(vec![parts.listing()]);
    let version = || placed(&scheduler, &world::ask(), 1)[0].offer.price.version;
    assert_eq!(version(), 1);
    scheduler.rebuild(at);
    assert_eq!(version(), 2);
}

#[test]
fn what_is_held_bounds_the_offers_that_may_serve() {
    let (scheduler, ..) =
        world::scheduler((1..=5).map(|n| world::parts(n).priced(n as i64, n as i64).listing()).collect());
    let mut ask = Ask { prompt_tokens: 900, max_output: Some(100), ..world::ask() };
    // A thousand tokens cost a million nano-USD on the first, and five on the last.
    ask.held = Some(Held { prompt_tokens: 900, output_tokens: 100, amount: NanoUsd::new(3_000_000).unwrap() });
    assert!(placed(&scheduler, &ask, 1).iter().all(|placed| protocol::Id::uuid(placed.offer.id()).as_u128() <= 3));
}

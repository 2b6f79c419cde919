//! 404, 429 and 503: what can never succeed, what is full, what is out for a while.

use std::time::Duration;

use protocol::offer::TrustLevel;
use protocol::session::{Heartbeat, NodeState as Said};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use scheduler::ask::ProviderRef;
use scheduler::attempt::classify::NodeFault;
use scheduler::provider::{NodeState, OfferState};
use scheduler::{Ask, Availability, Decision, Observation, Outcome, Scheduler};

use crate::world::{self, START};

fn refusal(scheduler: &Scheduler, ask: &Ask) -> Availability {
    match scheduler.place(ask, START, &mut SmallRng::seed_from_u64(1)) {
        Decision::Refuse { availability, .. } | Decision::Wait { availability, .. } => availability,
        Decision::Place { .. } => panic!("it found a place"),
    }
}

fn summary(scheduler: &Scheduler, ask: &Ask) -> (u16, &'static str, String, bool) {
    let availability = refusal(scheduler, ask);
    let (status, error) = availability.status();
    assert_eq!(availability.retryable, availability.retry_after.is_some());
    let code = serde_json::to_value(availability.code).unwrap().as_str().unwrap().to_owned();
    (status, error, code, availability.retryable)
}

#[test]
fn demands_nobody_meets_are_404_and_not_retryable() {
    let (scheduler, ..) = world::scheduler(vec![world::listing(1), world::listing(2)]);
    let refused = |change: &dyn Fn(&mut Ask)| {
        let mut ask = world::ask();
        change(&mut ask);
        summary(&scheduler, &ask)
    };
    let case = |error, code: &str| (404, error, code.to_owned(), false);
    let filtered = case("no_eligible_provider", "constraint_filtered");
    assert_eq!(refused(&|ask| ask.model = "org/other".into()), case("model_not_found", "model_not_found"));
    assert_eq!(
        refused(&|ask| ask.needs.input = scheduler::ask::Modalities::AUDIO),
        case("no_eligible_provider", "no_endpoints")
    );
    assert_eq!(refused(&|ask| ask.provider.only = Some(vec![ProviderRef::new("nobody")])), filtered);
    assert_eq!(refused(&|ask| ask.provider.trust = TrustLevel::Attested), filtered);
    assert_eq!(refused(&|ask| ask.prompt_tokens = 1_000_000), filtered);
    assert_eq!(refused(&|ask| ask.free_only = true), filtered);
    assert_eq!(refused(&|ask| ask.needs.schema = true), filtered);
    let region = case("no_eligible_provider", "region_restricted");
    assert_eq!(refused(&|ask| ask.provider.regions = vec!["us".into()]), region);
    let privacy = case("no_eligible_provider", "privacy_restricted");
    assert_eq!(refused(&|ask| ask.provider.zdr = true), privacy);
}

#[test]
fn a_refusal_names_the_demand_and_the_nearest_miss() {
    let (scheduler, ..) = world::scheduler(vec![world::listing(1)]);
    let mut ask = world::ask();
    ask.provider.max_price.prompt = protocol::Price::from_pico(1);
    let availability = refusal(&scheduler, &ask);
    assert_eq!(availability.excluded_by, ["max_price"]);
    let nearest = availability.constraint.unwrap();
    assert_eq!(nearest.field, "provider.max_price");
    assert!(nearest.detail.contains("0.000001 USD per prompt token"), "{}", nearest.detail);
}

#[test]
fn what_is_out_for_a_while_is_503() {
    let out = |change: fn(&mut world::Parts)| {
        let mut parts = world::parts(1);
        change(&mut parts);
        let (scheduler, ..) = world::scheduler(vec![parts.listing()]);
        summary(&scheduler, &world::ask())
    };
    let expected = (503, "temporarily_unavailable", "temporarily_unavailable".to_owned(), true);
    assert_eq!(out(|parts| parts.node.state = NodeState::Draining), expected);
    assert_eq!(out(|parts| parts.node.state = NodeState::Quarantined), expected);
    assert_eq!(out(|parts| parts.offer.state = OfferState::Staged), expected);
    assert_eq!(out(|parts| parts.offer.state = OfferState::Paused), expected);
    assert_eq!(out(|parts| parts.offer.spec.is_ready = false), expected);
    assert_eq!(
        out(|parts| parts.node.mode = protocol::session::NodeMode::Tunnel),
        expected,
        "a node behind tunnels, and none is up"
    );
}

#[test]
fn silence_and_drains_take_a_node_out_and_a_heartbeat_brings_it_back() {
    let (scheduler, _env, clock) = world::scheduler(vec![world::parts(1).tunnel().listing()]);
    let _presence = scheduler.connected(world::node_id(1));
    let control = scheduler.control(world::node_id(1));
    control.on_frame(protocol::load::NodeFrame::Limit { limit: 4 });
    let places = |at| {
        scheduler.rebuild(at);
        let decision = scheduler.place(&world::ask(), at, &mut SmallRng::seed_from_u64(1));
        matches!(decision, Decision::Place { .. })
    };
    let beat = |seq, at: protocol::Timestamp, state| {
        let beat = Heartbeat { seq, sent_at_ms: at.unix_ms(), state, offers: vec![], gpus: vec![] };
        scheduler.on_heartbeat(world::node_id(1), &beat, at).unwrap();
    };
    assert!(places(START));
    clock.advance(Duration::from_secs(76));
    let at = START.plus(Duration::from_secs(76));
    assert!(!places(at), "sixteen seconds after the grace of the start");
    beat(1, at, Said::Ready);
    assert!(places(at));
    beat(2, at, Said::Draining);
    assert!(!places(at));
    beat(3, at, Said::Ready);
    assert!(places(at));
}

#[test]
fn full_offers_are_429_with_a_time_to_retry() {
    let (scheduler, ..) = world::scheduler(vec![world::listing(1)]);
    let mut rng = SmallRng::seed_from_u64(1);
    let mut held = Vec::new();
    while let Decision::Place { offers, .. } = scheduler.place(&world::ask(), START, &mut rng) {
        held.push(scheduler.admit(&offers[0], START).unwrap());
    }
    assert_eq!(held.len(), 4, "what a direct node starts with");
    let expected = (429, "capacity_exhausted", "capacity_exhausted".to_owned(), true);
    assert_eq!(summary(&scheduler, &world::ask()), expected);
    held.pop();
    assert!(matches!(scheduler.place(&world::ask(), START, &mut rng), Decision::Place { .. }));
}

#[test]
fn open_breakers_are_503_until_they_expire_and_never_remove_more_than_half() {
    let (scheduler, ..) = world::scheduler((1..=4).map(world::listing).collect());
    let mut rng = SmallRng::seed_from_u64(1);
    let failed = Observation {
        outcome: Outcome::NodeFault(NodeFault::Refused),
        at: START,
        elapsed: Duration::from_millis(1),
        first_content: None,
        generating: Duration::ZERO,
        longest_gap: Duration::ZERO,
        output_tokens: 0,
        plain: false,
    };
    let only = |n: u128| {
        let mut ask = world::ask();
        ask.provider.only = Some(vec![ProviderRef::new(&format!("p{n}"))]);
        ask
    };
    let mut fail = |n| {
        for _ in 0..5 {
            let Decision::Place { offers, .. } = scheduler.place(&only(n), START, &mut rng) else {
                panic!("{n} is out")
            };
            scheduler.admit(&offers[0], START).unwrap().finish(&failed);
        }
    };
    fail(1);
    fail(2);
    let availability = refusal(&scheduler, &only(1));
    assert_eq!(availability.status().0, 503);
    assert!((1..=3).contains(&availability.retry_after.unwrap()), "the breaker's own time");
    fail(3);
    let place = |n| matches!(scheduler.place(&only(n), START, &mut SmallRng::seed_from_u64(1)), Decision::Place { .. });
    assert_eq!((1..=4).filter(|n| place(*n)).count(), 2, "half of them pass again");
    assert!(place(4));
    let later = START.plus(Duration::from_secs(3));
    let again = scheduler.place(&only(1), later, &mut SmallRng::seed_from_u64(1));
    let Decision::Place { offers, .. } = again else { panic!("it expired") };
    let probe = scheduler.admit(&offers[0], later).unwrap();
    assert!(offers[0].offer.live.exclusion(later).is_some(), "one probe at a time");
    drop(probe);
    assert!(offers[0].offer.live.exclusion(later).is_none());
}

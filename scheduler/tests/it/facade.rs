//! The handle the gateway holds: guards balance, rooms wake, failures are learned from.

use std::time::Duration;

use protocol::load::{NodeFrame, ReplicaFrame};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use scheduler::attempt::classify::NodeFault;
use scheduler::liveness::Standing;
use scheduler::{Admission, Ask, Control, Decision, Observation, Outcome, Placed, Presence, Scheduler};

use crate::world::{self, START};

fn observation(outcome: Outcome) -> Observation {
    Observation {
        outcome,
        at: START,
        elapsed: Duration::from_millis(900),
        first_content: Some(Duration::from_millis(300)),
        generating: Duration::from_millis(600),
        longest_gap: Duration::from_millis(40),
        output_tokens: 20,
        plain: false,
    }
}

fn one(scheduler: &Scheduler, ask: &Ask) -> Option<Placed> {
    match scheduler.place(ask, START, &mut SmallRng::seed_from_u64(1)) {
        Decision::Place { mut offers, .. } => Some(offers.swap_remove(0)),
        _ => None,
    }
}

fn admit(scheduler: &Scheduler) -> Admission {
    scheduler.admit(&one(scheduler, &world::ask()).unwrap(), START).unwrap()
}

/// A node behind a tunnel with this many credits.
fn tunnelled(credits: u64) -> (Scheduler, Presence, Control) {
    let (scheduler, ..) = world::scheduler(vec![world::parts(1).tunnel().listing()]);
    let presence = scheduler.connected(world::node_id(1));
    let control = scheduler.control(world::node_id(1));
    control.on_frame(NodeFrame::Limit { limit: credits });
    scheduler.rebuild(START);
    (scheduler, presence, control)
}

#[test]
fn guards_balance_however_an_attempt_ends() {
    let (scheduler, presence, _control) = tunnelled(50);
    let node = presence.node();
    let outcomes = [
        Outcome::Completed,
        Outcome::NodeFault(NodeFault::Reset),
        Outcome::Busy { retry_after: None, credit: false },
        Outcome::CallerFault { status: 400 },
        Outcome::Cancelled,
    ];
    for outcome in outcomes {
        let mut admission = admit(&scheduler);
        assert_eq!((node.in_flight(), admission.offer().live.in_flight()), (1, 1));
        admission.sent();
        admission.first_content();
        admission.finish(&observation(outcome));
        assert_eq!(node.in_flight(), 0, "{outcome:?}");
    }
    let admission = admit(&scheduler);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _held = admission;
        std::panic::resume_unwind(Box::new("a handler panics"));
    }));
    assert!(panicked.is_err());
    assert_eq!(node.in_flight(), 0);
    let view = node.view(START, Duration::from_secs(15));
    assert_eq!((view.running, view.queued_tokens), (0, 0));
    assert_eq!(view.free_credit, 45, "what reached the node is for the node to give back; the last never left");
}

#[test]
fn the_last_tunnel_takes_the_credits_with_it() {
    let (scheduler, presence, control) = tunnelled(3);
    let second = scheduler.connected(world::node_id(1));
    drop(presence);
    assert!(one(&scheduler, &world::ask()).is_some(), "one tunnel is left");
    drop(second);
    assert!(one(&scheduler, &world::ask()).is_none());
    assert_eq!(scheduler.standing(world::node_id(1), START), (Standing::Silent, 0));
    let _third = scheduler.connected(world::node_id(1));
    control.on_frame(NodeFrame::Limit { limit: 2 });
    assert!(one(&scheduler, &world::ask()).is_none(), "that limit was already used up by being void");
    let renewed = scheduler.control(world::node_id(1));
    control.on_frame(NodeFrame::Limit { limit: 90 });
    assert!(one(&scheduler, &world::ask()).is_none(), "an older stream has no say");
    renewed.on_frame(NodeFrame::Limit { limit: 2 });
    assert!(one(&scheduler, &world::ask()).is_some());
}

#[test]
fn a_busy_node_gets_no_new_work_until_it_says_otherwise() {
    use protocol::session::{Heartbeat, NodeState};

    let (scheduler, _presence, _control) = tunnelled(5);
    let beat = |seq, state| {
        let (sent_at_ms, offers, gpus) = (START.unix_ms(), Vec::new(), Vec::new());
        let beat = Heartbeat { seq, sent_at_ms, state, offers, gpus };
        scheduler.on_heartbeat(world::node_id(1), &beat, START).unwrap();
    };
    for (seq, state, served) in [
        (1, NodeState::Ready, true),
        (2, NodeState::Busy, false),
        (3, NodeState::Ready, true),
        (4, NodeState::Draining, false),
    ] {
        beat(seq, state);
        // What stops work acts on the snapshot there is; what lets it in, from the next one on.
        if !served {
            assert!(one(&scheduler, &world::ask()).is_none(), "{state:?}");
        }
        scheduler.rebuild(START);
        assert_eq!(one(&scheduler, &world::ask()).is_some(), served, "{state:?}");
    }
}

#[tokio::test]
async fn a_control_stream_greets_and_gives_back_what_is_recalled() {
    let (scheduler, _presence, control) = tunnelled(5);
    assert_eq!(control.outbound().await.unwrap(), [ReplicaFrame::Hello { running: 0 }]);
    let admission = admit(&scheduler);
    assert_eq!((admission.number(), admission.weight()), (1, 1));
    control.on_frame(NodeFrame::Recall { count: 9 });
    assert_eq!(control.outbound().await.unwrap(), [ReplicaFrame::Yield { limit: 1 }]);
}

#[tokio::test]
async fn an_arriving_credit_wakes_who_waits() {
    let (scheduler, _presence, control) = tunnelled(0);
    let waiting = tokio::spawn({
        let scheduler = scheduler.clone();
        async move { scheduler.acquire(&world::ask(), &mut SmallRng::seed_from_u64(1)).await }
    });
    // The waiter states what it needs, which is how a test sees that it waits.
    control.outbound().await;
    let wanted = async {
        loop {
            scheduler.tend(START);
            tokio::task::yield_now().await;
            let frames = tokio::time::timeout(Duration::from_millis(1), control.outbound()).await;
            let frames = frames.unwrap_or_default().unwrap_or_default();
            if frames.contains(&ReplicaFrame::Want { weight: 1 }) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wanted).await.unwrap();
    control.on_frame(NodeFrame::Limit { limit: 1 });
    assert!(matches!(waiting.await.unwrap(), Decision::Place { .. }));
}

#[tokio::test]
async fn a_long_ask_waits_for_as_many_slots_as_it_takes() {
    let (scheduler, _presence, control) = tunnelled(1);
    control.outbound().await;
    // Twice what one slot's memory holds.
    let long = Ask { prompt_tokens: 8_000, expected_output: 8_000, ..world::ask() };
    let waiting = tokio::spawn({
        let scheduler = scheduler.clone();
        async move { scheduler.acquire(&long, &mut SmallRng::seed_from_u64(1)).await }
    });
    let wanted = async {
        loop {
            scheduler.tend(START);
            tokio::task::yield_now().await;
            let frames = tokio::time::timeout(Duration::from_millis(1), control.outbound()).await;
            if frames.unwrap_or_default().unwrap_or_default().contains(&ReplicaFrame::Want { weight: 2 }) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wanted).await.unwrap();
    control.on_frame(NodeFrame::Limit { limit: 2 });
    let Decision::Place { offers, .. } = waiting.await.unwrap() else { panic!("two slots are there") };
    assert_eq!(offers[0].weight, 2);
}

#[tokio::test]
async fn a_dispatch_lost_with_the_last_credit_restates_the_counters() {
    let (scheduler, _presence, control) = tunnelled(1);
    assert_eq!(control.outbound().await.unwrap(), [ReplicaFrame::Hello { running: 0 }]);
    let mut lost = admit(&scheduler);
    lost.sent();
    drop(lost);
    assert!(one(&scheduler, &world::ask()).is_none(), "its credit is spent");
    (0..3).for_each(|second| scheduler.tend(START.plus(Duration::from_secs(second))));
    assert_eq!(control.outbound().await, None, "this stream has nothing to say any more");
    let again = scheduler.control(world::node_id(1));
    assert_eq!(again.outbound().await.unwrap(), [ReplicaFrame::Hello { running: 0 }]);
    again.on_frame(NodeFrame::Limit { limit: 1 });
    assert!(one(&scheduler, &world::ask()).is_some());
}

#[test]
fn a_request_that_never_left_costs_its_node_nothing() {
    let (scheduler, presence, _control) = tunnelled(5);
    let mut admission = admit(&scheduler);
    admission.sent();
    admission.unsent();
    admission.finish(&observation(Outcome::Busy { retry_after: None, credit: true }));
    let view = presence.node().view(START, Duration::from_secs(15));
    assert_eq!((view.free_credit, view.running), (5, 0));
    assert_eq!(one(&scheduler, &world::ask()).unwrap().offer.live.estimate().counted, 0);
}

#[test]
fn a_plain_answer_that_took_long_cuts_no_cap() {
    let (scheduler, ..) = world::scheduler(vec![world::listing(1)]);
    let slow = Observation { first_content: Some(Duration::from_secs(9)), ..observation(Outcome::Completed) };
    let free_cap = || one(&scheduler, &world::ask()).unwrap().offer.node.view(START, Duration::MAX).free_cap;
    admit(&scheduler).finish(&Observation { plain: true, ..slow });
    assert_eq!(free_cap(), 4);
    admit(&scheduler).finish(&slow);
    assert_eq!(free_cap(), 2);
}

/// A node that grants a thousand slots and has eight. Each takes a second per answer; the others wait their turn.
#[test]
fn a_boastful_node_is_bounded_by_its_cap() {
    let mut parts = world::parts(1).tunnel();
    parts.offer.spec.capacity = serde_json::from_str(r#"[{"type": "concurrency", "value": 1000}]"#).unwrap();
    let (scheduler, _, clock) = world::scheduler(vec![parts.listing()]);
    let _presence = scheduler.connected(world::node_id(1));
    let control = scheduler.control(world::node_id(1));
    control.on_frame(NodeFrame::Limit { limit: 1_000_000 });
    let mut queue: std::collections::VecDeque<(Admission, u64)> = std::collections::VecDeque::new();
    let (mut most, mut served) = (0, 0);
    for second in 0..120 {
        let now = START.plus(Duration::from_secs(second));
        clock.set(now);
        control.on_frame(NodeFrame::Load(protocol::load::Load::default()));
        scheduler.rebuild(now);
        while let Decision::Place { offers, .. } =
            scheduler.place(&world::ask(), now, &mut SmallRng::seed_from_u64(second))
            && let Some(mut admission) = scheduler.admit(&offers[0], now)
        {
            admission.sent();
            queue.push_back((admission, second));
        }
        most = most.max(queue.len());
        for (admission, since) in queue.drain(..queue.len().min(8)) {
            let waited = Duration::from_secs(second - since) + Duration::from_millis(300);
            admission.first_content();
            let seen = Observation { at: now, first_content: Some(waited), ..observation(Outcome::Completed) };
            admission.finish(&seen);
            served += 1;
        }
    }
    assert!(most <= 64, "{most} were in flight at once");
    assert!(served >= 8 * 100, "and still it works: {served}");
}

#[tokio::test]
async fn a_wait_in_vain_is_429() {
    let (env, _clock) = protocol::Env::manual(START, 7);
    let config = scheduler::Config { wait_ms: 20, ..scheduler::Config::default() };
    let scheduler = Scheduler::new(env, config);
    scheduler.load(vec![world::parts(1).tunnel().listing()], START);
    let _presence = scheduler.connected(world::node_id(1));
    scheduler.rebuild(START);
    let decision = scheduler.acquire(&world::ask(), &mut SmallRng::seed_from_u64(1)).await;
    let Decision::Refuse { availability, .. } = decision else { panic!("{decision:?}") };
    assert_eq!(availability.status(), (429, "capacity_exhausted"));
}

#[test]
fn a_fast_failing_node_gets_less_traffic() {
    let (scheduler, ..) = world::scheduler((1..=4).map(world::listing).collect());
    let mut rng = SmallRng::seed_from_u64(1);
    let mut served = [0; 5];
    for round in 0..600 {
        let now = START.plus(Duration::from_millis(50 * round));
        scheduler.rebuild(now);
        let Decision::Place { offers, .. } = scheduler.place(&world::ask(), now, &mut rng) else {
            panic!("all are out")
        };
        let n = protocol::Id::uuid(offers[0].offer.id()).as_u128() as usize;
        served[n] += 1;
        let outcome = if n == 1 { Outcome::NodeFault(NodeFault::Refused) } else { Outcome::Completed };
        let seen = Observation { at: now, elapsed: Duration::from_millis(2), ..observation(outcome) };
        scheduler.admit(&offers[0], now).unwrap().finish(&seen);
    }
    assert!(served[1] < 40, "{served:?}");
}

#[test]
fn blame_after_the_fact_counts() {
    let (scheduler, ..) = world::scheduler(vec![world::listing(1)]);
    let placed = one(&scheduler, &world::ask()).unwrap();
    (0..5).for_each(|_| scheduler.blame(world::offer_id(1), START));
    assert!(placed.offer.live.exclusion(START).is_some());
}

#[test]
fn retry_after_closes_a_node_for_that_long() {
    let (scheduler, ..) = world::scheduler(vec![world::listing(1)]);
    let busy = Outcome::Busy { retry_after: Some(Duration::from_secs(7)), credit: false };
    admit(&scheduler).finish(&observation(busy));
    let decision = scheduler.place(&world::ask(), START, &mut SmallRng::seed_from_u64(1));
    let Decision::Wait { availability, .. } = decision else { panic!("{decision:?}") };
    assert_eq!(availability.retry_after, Some(7));
    let later = START.plus(Duration::from_secs(8));
    assert!(matches!(scheduler.place(&world::ask(), later, &mut SmallRng::seed_from_u64(1)), Decision::Place { .. }));
}

#[test]
fn an_explanation_is_plain_json() {
    let (scheduler, ..) = world::scheduler((1..=3).map(world::listing).collect());
    let Decision::Place { offers, why } = scheduler.place(&world::ask(), START, &mut SmallRng::seed_from_u64(1)) else {
        panic!("it has a place")
    };
    let json = serde_json::to_value(scheduler.explain(&why, &offers, &[])).unwrap();
    assert_eq!(json["offers"], 3);
    assert_eq!(json["candidates"].as_array().unwrap().len(), 2);
    assert!(json["candidates"][0]["cost"]["price"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_new_engine_build_starts_unmeasured() {
    let (scheduler, ..) = world::scheduler(vec![world::listing(1)]);
    admit(&scheduler).finish(&observation(Outcome::Completed));
    let counted = |scheduler: &Scheduler| one(scheduler, &world::ask()).unwrap().offer.live.estimate().counted;
    assert_eq!(counted(&scheduler), 1);
    scheduler.load(vec![world::listing(1)], START);
    assert_eq!(counted(&scheduler), 1, "the same rows read again");
    let mut parts = world::parts(1);
    parts.node.engine.version = Some("2".into());
    scheduler.load(vec![parts.listing()], START);
    assert_eq!(counted(&scheduler), 0);
}

#[test]
fn models_and_prices_can_be_listed() {
    let (scheduler, ..) = world::scheduler((1..=3).map(|n| world::parts(n).priced(n as i64, 1).listing()).collect());
    let snapshot = scheduler.snapshot();
    assert_eq!(snapshot.models().map(|pool| &*pool.id).collect::<Vec<_>>(), [world::MODEL]);
    assert_eq!(snapshot.model(world::MODEL).unwrap().cheapest().unwrap().id(), world::offer_id(1));
    assert_eq!(snapshot.offers().count(), 3);
}

//! What `/metrics` says of placement and attempts.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use scheduler::ask::ProviderRef;
use scheduler::attempt::classify::NodeFault;
use scheduler::{Decision, Observation, Outcome};

use crate::world::{self, START};

#[test]
fn what_was_decided_and_how_it_ended_is_counted() {
    let metrics = platform::telemetry::metrics_handle();
    let (scheduler, ..) = world::scheduler((1..=2).map(world::listing).collect());
    let mut rng = SmallRng::seed_from_u64(1);
    let mut ask = world::ask();
    ask.provider.only = Some(vec![ProviderRef::new("p1")]);
    let seen = |outcome| Observation {
        outcome,
        at: START,
        elapsed: Duration::from_secs(1),
        first_content: Some(Duration::from_millis(300)),
        generating: Duration::from_millis(700),
        longest_gap: Duration::from_millis(40),
        output_tokens: 20,
        plain: false,
    };
    let outcomes = [Outcome::Completed, Outcome::Busy { retry_after: None, credit: true }];
    let faults = [Outcome::NodeFault(NodeFault::Truncated); 5];
    for outcome in outcomes.into_iter().chain(faults) {
        let Decision::Place { offers, .. } = scheduler.place(&ask, START, &mut rng) else { panic!("it has a place") };
        let mut admission = scheduler.admit(&offers[0], START).unwrap();
        admission.sent();
        admission.finish(&seen(outcome));
    }
    ask.provider.only = Some(vec![ProviderRef::new("nobody")]);
    assert!(matches!(scheduler.place(&ask, START, &mut rng), Decision::Refuse { .. }));
    scheduler.tend(START);
    let text = metrics.render();
    for line in [
        r#"steelyard_scheduler_decisions_total{outcome="place"} 7"#,
        r#"steelyard_scheduler_decisions_total{outcome="refuse"} 1"#,
        "steelyard_scheduler_candidates_total 7",
        // One offer each time, and both when nobody was meant.
        r#"steelyard_scheduler_exclusions_total{constraint="allowed_providers"} 9"#,
        "steelyard_scheduler_decision_seconds_count 1",
        r#"steelyard_scheduler_attempts_total{outcome="completed"} 1"#,
        r#"steelyard_scheduler_attempts_total{outcome="no_credit"} 1"#,
        r#"steelyard_scheduler_attempts_total{outcome="truncated"} 5"#,
        "steelyard_scheduler_credits_refused_total 1",
        "steelyard_scheduler_first_content_error_seconds_count 7",
        "steelyard_scheduler_breakers_out 1",
        "steelyard_scheduler_room_waiting 0",
    ] {
        assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
    }
}

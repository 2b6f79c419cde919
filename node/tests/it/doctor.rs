//! What the doctor finds at the broker, before anything has joined.

use std::time::Duration;

use node::doctor::{Check, Outcome, examine};
use protocol::Env;

use crate::broker::Broker;
use crate::join::config;

fn find<'a>(checks: &'a [Check], name: &str) -> &'a Check {
    checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("{name} was not looked at: {checks:?}"))
}

#[tokio::test]
async fn a_wrong_clock_and_the_line_are_seen_before_the_node_has_joined() {
    let broker = Broker::start().await;
    let config = config(&broker);
    let checks = examine(&config, &Env::system()).await;
    assert_eq!(find(&checks, "clock").outcome, Outcome::Ok);
    let line = find(&checks, "bandwidth");
    assert_eq!(line.outcome, Outcome::Ok);
    assert!(line.seen.contains("Mbit/s to the broker"), "{}", line.seen);

    let (late, _clock) = Env::manual(Env::system().now().minus(Duration::from_secs(90)), 1);
    let checks = examine(&config, &late).await;
    let clock = find(&checks, "clock");
    assert_eq!(clock.outcome, Outcome::Failed);
    assert!(clock.fix.as_deref().is_some_and(|fix| fix.contains("set-ntp")), "{clock:?}");
}

//! The node against a small broker of the test's own, over real sockets.
#![allow(clippy::unwrap_used)]

mod broker;
mod credits;
mod direct;
mod doctor;
mod join;
mod purse;
mod register;
mod spool;
mod stream;
mod supervise;

use std::time::{Duration, Instant};

/// Looks every few milliseconds until `good`, and fails with `what` after ten seconds.
pub async fn eventually(what: &str, mut good: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !good() {
        assert!(Instant::now() < deadline, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

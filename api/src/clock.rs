//! A clock for deadlines: starts at the wall clock and then only runs on, so a jump of the machine's clock
//! ends no stream.

use protocol::Timestamp;
use tokio::time::Instant;

/// Wall-clock instants that advance with the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Ticker {
    base: Timestamp,
    started: Instant,
}

impl Ticker {
    /// Shows `now` and runs on from there.
    #[must_use]
    pub fn start(now: Timestamp) -> Self {
        Self { base: now, started: Instant::now() }
    }

    /// The current instant.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.base.plus(self.started.elapsed())
    }

    /// When a timer must fire to fire at `at`.
    #[must_use]
    pub fn instant(&self, at: Timestamp) -> Instant {
        self.started + at.since(self.base)
    }
}

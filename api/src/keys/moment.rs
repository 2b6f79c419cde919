//! Ages that no clock can hide: by the wall clock, which can be set back, and by the monotonic one, which
//! stands still while a machine sleeps. The longer of the two counts.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use protocol::Timestamp;

/// Where the monotonic clock is counted from: any instant of this process would do.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// One instant, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    wall: Timestamp,
    /// On the monotonic clock, as a timestamp counted from this process's start.
    ticks: Timestamp,
}

/// When something last happened, if ever.
///
/// The two clocks are stored one after the other. Whoever reads between sees one of them old, and takes
/// the moment for older than it is: what is judged by it is checked once too often, never too seldom.
#[derive(Debug)]
pub(super) struct LastMoment {
    wall: AtomicI64,
    ticks: AtomicI64,
}

impl Moment {
    /// This instant, which the wall clock shows as `wall`.
    pub(super) fn at(wall: Timestamp) -> Self {
        Self { wall, ticks: Timestamp::EPOCH.plus(START.elapsed()) }
    }

    /// What the wall clock shows.
    pub(super) fn wall(self) -> Timestamp {
        self.wall
    }

    /// How long ago `earlier` was.
    pub(super) fn since(self, earlier: Self) -> Duration {
        self.wall.since(earlier.wall).max(self.ticks.since(earlier.ticks))
    }
}

impl LastMoment {
    /// It has not happened.
    pub(super) const fn never() -> Self {
        Self { wall: AtomicI64::new(i64::MIN), ticks: AtomicI64::new(i64::MIN) }
    }

    /// It happens.
    pub(super) fn set(&self, now: Moment) {
        self.wall.store(now.wall.unix_micros(), Ordering::SeqCst);
        self.ticks.store(now.ticks.unix_micros(), Ordering::SeqCst);
    }

    /// It is as if it had never happened.
    pub(super) fn clear(&self) {
        self.wall.store(i64::MIN, Ordering::SeqCst);
        self.ticks.store(i64::MIN, Ordering::SeqCst);
    }

    /// Whether it happened less than `span` ago, or just then.
    pub(super) fn is_within(&self, span: Duration, now: Moment) -> bool {
        let at = |clock: &AtomicI64| Timestamp::from_unix_micros(clock.load(Ordering::SeqCst));
        now.since(Moment { wall: at(&self.wall), ticks: at(&self.ticks) }) <= span
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_clock_set_back_makes_nothing_younger() {
        let (wall, ticks) = (Timestamp::from_unix_seconds(1_000_000), Timestamp::from_unix_seconds(10));
        let then = Moment { wall, ticks };
        assert_eq!(Moment { wall: wall.minus(HOUR), ticks: ticks.plus(HOUR) }.since(then), HOUR);
        // Nor does a machine that slept.
        assert_eq!(Moment { wall: wall.plus(HOUR), ticks }.since(then), HOUR);
    }

    #[test]
    fn what_never_happened_is_within_no_span() {
        let (last, now) = (LastMoment::never(), Moment::at(Timestamp::from_unix_seconds(1_000_000)));
        assert!(!last.is_within(1_000_000 * HOUR, now));
        last.set(now);
        assert!(last.is_within(Duration::ZERO, now));
        last.clear();
        assert!(!last.is_within(1_000_000 * HOUR, now));
    }
}

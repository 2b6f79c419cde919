//! How many requests a node has shown it can carry: additive increase, multiplicative decrease.
//!
//! Before the first overload every answer that begins proves room for one more, as in TCP's slow start: an
//! honest node is known within a few answers, and a boastful one gets no further than its answers do.

use std::time::Duration;

use protocol::Timestamp;

/// One cut at most, and one step up at most, per this long.
const WINDOW: Duration = Duration::from_secs(5);
/// Share left after a cut.
const CUT: f64 = 0.7;

/// The learned number of concurrent requests. Never below one, never above what is declared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cap {
    value: f64,
    ceiling: u32,
    last_cut: Option<Timestamp>,
    window_start: Timestamp,
    /// Whether the cap was reached in this window, and whether it was cut in it.
    full: bool,
}

impl Cap {
    /// Begins at `start`, bounded by what the provider declares.
    #[must_use]
    pub fn new(start: f64, ceiling: u32, now: Timestamp) -> Self {
        let ceiling = ceiling.max(1);
        Self { value: start.clamp(1.0, f64::from(ceiling)), ceiling, last_cut: None, window_start: now, full: false }
    }

    /// Whole requests allowed at once.
    #[must_use]
    pub fn allowed(&self) -> u32 {
        self.value as u32
    }

    /// A changed declaration moves the ceiling and nothing else: a boast is no proof.
    pub fn set_ceiling(&mut self, ceiling: u32) {
        let ceiling = ceiling.max(1);
        self.ceiling = ceiling;
        self.value = self.value.min(f64::from(ceiling));
    }

    /// `in_flight` requests run now. A window used in full without a cut raises the cap by one.
    pub fn used(&mut self, in_flight: u32, now: Timestamp) {
        if now.since(self.window_start) >= WINDOW {
            let cut = self.last_cut.is_some_and(|cut| cut >= self.window_start);
            if self.full && !cut {
                self.value = (self.value + 1.0).min(f64::from(self.ceiling));
            }
            self.window_start = now;
            self.full = false;
        }
        self.full |= in_flight >= self.allowed();
    }

    /// An answer began. True when that raised the cap: it was reached lately, and the node never overloaded.
    pub fn proved(&mut self) -> bool {
        let raises = self.last_cut.is_none() && self.full && self.value < f64::from(self.ceiling);
        if raises {
            self.value = (self.value + 1.0).min(f64::from(self.ceiling));
        }
        raises
    }

    /// The node was overloaded: refused as busy, or took over three times the predicted time.
    pub fn overloaded(&mut self, now: Timestamp) {
        if self.last_cut.is_some_and(|cut| now.since(cut) < WINDOW) {
            return;
        }
        self.last_cut = Some(now);
        self.value = (self.value * CUT).max(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_seconds(100).plus(Duration::from_secs(seconds))
    }

    #[test]
    fn a_burst_of_refusals_is_one_cut() {
        let mut cap = Cap::new(10.0, 20, at(0));
        (0..50).for_each(|_| cap.overloaded(at(0)));
        assert_eq!(cap.allowed(), 7);
        cap.overloaded(at(5));
        assert_eq!(cap.allowed(), 4);
        (2..40).for_each(|n| cap.overloaded(at(n * 5)));
        assert_eq!(cap.allowed(), 1, "never below one");
    }

    #[test]
    fn only_windows_used_in_full_raise_it() {
        let mut cap = Cap::new(4.0, 6, at(0));
        (0..10).for_each(|n| cap.used(2, at(n * 5)));
        assert_eq!(cap.allowed(), 4, "never needed more");
        (10..13).for_each(|n| cap.used(4 + (n as u32 - 10), at(n * 5)));
        assert!(cap.allowed() > 4);
        (13..40).for_each(|n| cap.used(9, at(n * 5)));
        assert_eq!(cap.allowed(), 6, "never above the declaration");
    }

    #[test]
    fn answers_raise_it_until_the_first_overload() {
        let mut cap = Cap::new(4.0, 64, at(0));
        assert!(!cap.proved(), "it was never needed in full");
        cap.set_ceiling(1_000);
        assert_eq!(cap.allowed(), 4, "a boast is no proof");
        cap.used(4, at(0));
        (0..60).for_each(|_| assert!(cap.proved()));
        assert_eq!(cap.allowed(), 64);
        cap.overloaded(at(1));
        assert!(!cap.proved());
        assert_eq!(cap.allowed(), 44);
    }

    #[test]
    fn a_boastful_node_is_bounded_by_what_it_showed() {
        let mut cap = Cap::new(1_000.0, 1_000, at(0));
        for window in 0..30 {
            cap.used(1_000, at(window * 5));
            cap.overloaded(at(window * 5));
        }
        assert_eq!(cap.allowed(), 1);
        cap.set_ceiling(5_000);
        assert_eq!(cap.allowed(), 1, "a new boast lifts nothing that was learned");
    }
}

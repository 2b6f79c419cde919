//! Keeps an offer out for a while after it failed, then lets one request at a time find out.

use std::time::Duration;

use protocol::Timestamp;

/// Failures in a row that open it.
const IN_A_ROW: u32 = 5;
/// Least attempts in the window before their share counts, and the share that opens it.
const LEAST_COUNTED: u32 = 20;
const OPENING_SHARE: f64 = 0.5;
/// Slots of the sliding window and the length of each: 30 s in all.
const SLOTS: usize = 6;
const SLOT_S: i64 = 5;
/// First and longest time out; each opening doubles it.
const FIRST_OUT: Duration = Duration::from_secs(2);
const LONGEST_OUT: Duration = Duration::from_secs(120);
/// Good probes that close it.
const CLOSING_PROBES: u32 = 3;

/// Why something may not be used just now. There is no way to exclude without an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exclusion {
    /// What happened.
    pub reason: Reason,
    /// When it ends or is probed.
    pub until: Timestamp,
    /// True when, after `until`, single requests test it first.
    pub probe: bool,
}

/// Causes of an exclusion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Failures in a row, or half of many.
    Failures,
    /// A probe runs; its end decides.
    Probing,
    /// The node asked for a pause.
    RetryAfter,
}

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// All may pass.
    Closed,
    /// None may pass until then.
    Open {
        /// When probing may begin.
        until: Timestamp,
    },
    /// One at a time may pass; `good` probes came back well.
    Probing {
        /// Good probes so far.
        good: u32,
        /// A probe is out since then.
        out_since: Option<Timestamp>,
    },
}

/// A probe that never came back is given up after the longest an answer may take.
const PROBE_LOST: Duration = Duration::from_secs(900);

/// The breaker of one offer.
#[derive(Debug, Clone)]
pub struct Breaker {
    state: State,
    in_a_row: u32,
    trips: u32,
    jitter: u64,
    window: [(i64, u32, u32); SLOTS],
}

impl Breaker {
    /// Closed. `jitter` spreads the times out of many offers that fail together.
    #[must_use]
    pub const fn new(jitter: u64) -> Self {
        Self { state: State::Closed, in_a_row: 0, trips: 0, jitter, window: [(0, 0, 0); SLOTS] }
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Openings since it was last closed: how bad it is, against others that are open.
    #[must_use]
    pub const fn trips(&self) -> u32 {
        self.trips
    }

    /// Why nothing may pass at `now`, if so.
    #[must_use]
    pub fn exclusion(&self, now: Timestamp) -> Option<Exclusion> {
        match self.state {
            State::Open { until } if now < until => Some(Exclusion { reason: Reason::Failures, until, probe: true }),
            State::Probing { out_since: Some(since), .. } if now < since.plus(PROBE_LOST) => {
                Some(Exclusion { reason: Reason::Probing, until: since.plus(PROBE_LOST), probe: true })
            }
            State::Closed | State::Open { .. } | State::Probing { .. } => None,
        }
    }

    /// Lets one request pass. True when it is a probe, whose end must be told by [`Breaker::record`]
    /// or [`Breaker::forget_probe`]; `None` when nothing may pass.
    pub fn pass(&mut self, now: Timestamp) -> Option<bool> {
        if self.exclusion(now).is_some() {
            return None;
        }
        let good = match self.state {
            State::Closed => return Some(false),
            State::Open { .. } => 0,
            State::Probing { good, .. } => good,
        };
        self.state = State::Probing { good, out_since: Some(now) };
        Some(true)
    }

    /// A probe ended without saying anything about the offer: the next request may be one.
    pub fn forget_probe(&mut self) {
        if let State::Probing { out_since, .. } = &mut self.state {
            *out_since = None;
        }
    }

    /// Takes the end of one attempt that counts for or against the node.
    pub fn record(&mut self, good: bool, probe: bool, now: Timestamp) {
        self.in_a_row = if good { 0 } else { self.in_a_row + 1 };
        self.count(good, now);
        match self.state {
            State::Closed if self.should_open() => self.open(now),
            State::Probing { .. } if probe && !good => self.open(now),
            State::Probing { good: before, .. } if probe => {
                if before + 1 >= CLOSING_PROBES {
                    *self = Self::new(self.jitter);
                } else {
                    self.state = State::Probing { good: before + 1, out_since: None };
                }
            }
            // What was dispatched before the opening says nothing new.
            State::Closed | State::Open { .. } | State::Probing { .. } => {}
        }
    }

    fn should_open(&self) -> bool {
        let (good, bad) = self.window.iter().fold((0, 0), |(good, bad), slot| (good + slot.1, bad + slot.2));
        let all = good + bad;
        self.in_a_row >= IN_A_ROW || (all >= LEAST_COUNTED && f64::from(bad) >= OPENING_SHARE * f64::from(all))
    }

    fn open(&mut self, now: Timestamp) {
        let doubled = FIRST_OUT * (1 << self.trips.min(6));
        self.trips += 1;
        self.in_a_row = 0;
        self.window = [(0, 0, 0); SLOTS];
        self.state = State::Open { until: now.plus(self.jittered(doubled.min(LONGEST_OUT))) };
    }

    /// ±20 %, different for each offer and each opening, the same in every run.
    fn jittered(&self, out: Duration) -> Duration {
        let mixed = (self.jitter ^ u64::from(self.trips)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        let share = 0.8 + 0.4 * (mixed as f64 / f64::from(1_u32 << 24));
        out.mul_f64(share)
    }

    fn count(&mut self, good: bool, now: Timestamp) {
        let slot_number = now.unix_seconds().div_euclid(SLOT_S);
        for slot in &mut self.window {
            if slot.0 <= slot_number - SLOTS as i64 || slot.0 > slot_number {
                *slot = (0, 0, 0);
            }
        }
        let slot = &mut self.window[slot_number.rem_euclid(SLOTS as i64) as usize];
        let (good_count, bad_count) = if slot.0 == slot_number { (slot.1, slot.2) } else { (0, 0) };
        *slot = (slot_number, good_count + u32::from(good), bad_count + u32::from(!good));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_unix_seconds(1_000).plus(Duration::from_millis(ms))
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::new(3);
        (0..IN_A_ROW).for_each(|_| breaker.record(false, false, at(0)));
        breaker
    }

    #[test]
    fn five_in_a_row_open_it_for_about_two_seconds() {
        let breaker = opened();
        let exclusion = breaker.exclusion(at(0)).unwrap();
        let out = exclusion.until.since(at(0)).as_secs_f64();
        assert!((1.6..=2.4).contains(&out) && exclusion.probe, "{out}");
        assert_eq!(breaker.exclusion(at(2_400)), None, "it expires by itself");
    }

    #[test]
    fn half_of_twenty_open_it_even_when_never_in_a_row() {
        let mut breaker = Breaker::new(3);
        (0..18).for_each(|n| breaker.record(n % 2 == 0, false, at(n * 100)));
        assert_eq!(breaker.state(), State::Closed);
        (18..20).for_each(|n| breaker.record(n % 2 == 0, false, at(n * 100)));
        assert!(matches!(breaker.state(), State::Open { .. }));
        let mut slow = Breaker::new(3);
        (0..40).for_each(|n| slow.record(n % 2 == 0, false, at(n * 4_000)));
        assert_eq!(slow.state(), State::Closed, "fewer than twenty within thirty seconds");
    }

    #[test]
    fn one_probe_at_a_time_and_three_good_ones_close_it() {
        let mut breaker = opened();
        for second in 3..6 {
            assert_eq!(breaker.pass(at(second * 1_000)), Some(true));
            assert_eq!(breaker.pass(at(second * 1_000)), None, "a probe is out");
            breaker.record(true, true, at(second * 1_000 + 10));
        }
        assert_eq!(breaker.state(), State::Closed);
        assert_eq!(breaker.pass(at(9_000)), Some(false));
    }

    #[test]
    fn a_bad_probe_doubles_the_time_out_up_to_two_minutes() {
        let mut breaker = opened();
        let mut now = at(0);
        let mut last = Duration::from_secs(2);
        for _ in 0..12 {
            now = breaker.exclusion(now).unwrap().until;
            assert_eq!(breaker.pass(now), Some(true));
            breaker.record(false, true, now);
            let out = breaker.exclusion(now).unwrap().until.since(now);
            assert!(out >= last.mul_f64(0.6) && out <= LONGEST_OUT.mul_f64(1.2), "{out:?}");
            last = out;
        }
        assert!(last >= LONGEST_OUT.mul_f64(0.8));
    }

    #[test]
    fn a_probe_that_was_cancelled_or_lost_frees_its_place() {
        let mut breaker = opened();
        assert_eq!(breaker.pass(at(3_000)), Some(true));
        breaker.forget_probe();
        assert_eq!(breaker.pass(at(3_001)), Some(true));
        assert_eq!(breaker.pass(at(3_002)), None);
        assert_eq!(breaker.pass(at(3_001).plus(PROBE_LOST)), Some(true));
    }
}

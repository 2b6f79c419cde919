#![allow(clippy::unwrap_used)]

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const MINUTE_US: u128 = 60_000_000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(1_000_000 + ms)
}

/// Something that asks, and what it comes to when it ends.
#[derive(Debug, Clone, Copy)]
struct Ask {
    pause_us: u64,
    amount: u64,
    used_percent: u64,
    lasts_us: u64,
}

fn ask() -> impl Strategy<Value = Ask> {
    (0..3_000_000_u64, 1..60_u64, 0..=100_u64, 0..90_000_000_u64)
        .prop_map(|(pause_us, amount, used_percent, lasts_us)| Ask { pause_us, amount, used_percent, lasts_us })
}

/// Runs the asks; what was admitted as (start, end, used), in microseconds.
fn run(quota: Quota, asks: &[Ask]) -> Vec<(u64, u64, u64)> {
    let time = |us: u64| Timestamp::from_unix_micros(us.cast_signed());
    let mut gcra = Gcra::new(time(0));
    let (mut now, mut open, mut done) = (0, Vec::<(u64, u64, u64, u64)>::new(), Vec::new());
    for ask in asks {
        now += ask.pause_us;
        open.sort_unstable();
        while let Some(&(end, start, reserved, used)) = open.first().filter(|first| first.0 <= now) {
            gcra.settle(reserved, used, quota, time(end.max(start)));
            done.push((start, end, used));
            open.remove(0);
        }
        if gcra.reserve(ask.amount, quota, time(now)).is_ok() {
            open.push((now + ask.lasts_us, now, ask.amount, ask.amount * ask.used_percent / 100));
        }
    }
    done.extend(open.into_iter().map(|(end, start, _, used)| (start, end, used)));
    done
}

/// The most used in any window, less what its length allows, in sixty-millionths.
fn worst_excess(quota: Quota, mut used: Vec<(u64, u64)>) -> i128 {
    used.sort_unstable();
    let mut worst = i128::MIN;
    for from in 0..used.len() {
        let mut sum = 0_u128;
        for to in from..used.len() {
            sum += u128::from(used[to].1) * MINUTE_US;
            let allowed = u128::from(quota.burst) * MINUTE_US
                + u128::from(quota.per_minute) * u128::from(used[to].0 - used[from].0);
            worst = worst.max(sum.cast_signed() - allowed.cast_signed());
        }
    }
    worst
}

proptest! {
    /// In no window is more used than the burst and what its length lets through, however long answers take and
    /// however little they use of what was set aside.
    #[test]
    fn never_more_than_the_burst_and_the_rate(
        per_minute in 1..500_u64, burst in 1..200_u64, asks in vec(ask(), 1..150),
    ) {
        let quota = Quota { per_minute, burst };
        let done = run(quota, &asks);
        let by_start = done.iter().map(|(start, _, used)| (*start, *used)).collect();
        let by_end = done.iter().map(|(_, end, used)| (*end, *used)).collect();
        prop_assert!(worst_excess(quota, by_start) <= 0);
        prop_assert!(worst_excess(quota, by_end) <= 0);
    }

    /// What was set aside and not used leaves no trace.
    #[test]
    fn truing_up_gives_back_all_that_was_not_used(amount in 1..1_000_u64, used in 0..1_000_u64, earlier in 0..500_u64) {
        let (quota, used) = (Quota { per_minute: 600, burst: 2_000 }, used.min(amount));
        let mut trued = Gcra::new(at(0));
        trued.reserve(earlier, quota, at(0)).unwrap();
        trued.settle(earlier, earlier, quota, at(0));
        let mut plain = trued;
        trued.reserve(amount, quota, at(10)).unwrap();
        trued.settle(amount, used, quota, at(400));
        plain.settle(0, used, quota, at(400));
        prop_assert_eq!(trued, plain);
    }

    /// A steady caller at the limit's own rate, on a clock of whole microseconds, is admitted for ever and gains
    /// nothing: of two at once the second is always refused.
    #[test]
    fn nothing_drifts(per_minute in 1..100_000_u64, start in 0..1_000_000_000_i64) {
        let quota = Quota { per_minute, burst: 2 };
        let mut gcra = Gcra::new(Timestamp::from_unix_micros(start));
        for turn in 0..10_000_u128 {
            let us = (turn * MINUTE_US).div_ceil(u128::from(per_minute));
            let now = Timestamp::from_unix_micros(start + i64::try_from(us).unwrap());
            prop_assert!(gcra.reserve(1, quota, now).is_ok(), "turn {}", turn);
            gcra.settle(1, 1, quota, now);
        }
        let early = (10_000 * MINUTE_US / u128::from(per_minute)).saturating_sub(1);
        let now = Timestamp::from_unix_micros(start + i64::try_from(early).unwrap());
        prop_assert!(gcra.reserve(2, quota, now).is_err());
    }
}

#[test]
fn a_refusal_says_when_it_ends_and_is_right() {
    let quota = Quota::per_minute(60);
    let mut gcra = Gcra::new(at(0));
    for _ in 0..60 {
        gcra.reserve(1, quota, at(0)).unwrap();
        gcra.settle(1, 1, quota, at(0));
    }
    assert_eq!(gcra.reserve(1, quota, at(0)), Err(Wait::For(Duration::from_secs(1))));
    assert_eq!(gcra.reserve(3, quota, at(500)), Err(Wait::For(Duration::from_millis(2_500))));
    assert!(gcra.reserve(1, quota, at(999)).is_err());
    assert!(gcra.reserve(1, quota, at(1_000)).is_ok());
    assert_eq!(gcra.reserve(61, quota, at(1_000)), Err(Wait::Never));
}

#[test]
fn places_come_back_and_do_not_drain() {
    let quota = Quota::at_once(2);
    let mut gcra = Gcra::new(at(0));
    gcra.reserve(1, quota, at(0)).unwrap();
    gcra.reserve(1, quota, at(0)).unwrap();
    assert_eq!(gcra.reserve(1, quota, at(1_000_000)), Err(Wait::Unknown));
    gcra.settle(1, 0, quota, at(1_000_000));
    assert!(gcra.reserve(1, quota, at(1_000_000)).is_ok());
}

#[test]
fn the_standing_tells_what_is_left_and_when_all_is_back() {
    let quota = Quota::per_minute(60);
    let mut gcra = Gcra::new(at(0));
    gcra.reserve(1, quota, at(0)).unwrap();
    gcra.settle(1, 1, quota, at(0));
    let standing = |ms| gcra.standing(quota, at(ms));
    assert_eq!(standing(0), Standing { limit: 60, remaining: 59, reset: Duration::from_secs(1) });
    assert_eq!(standing(1_000), Standing { limit: 60, remaining: 60, reset: Duration::ZERO });
    assert!(!gcra.is_idle(quota, at(999)));
    assert!(gcra.is_idle(quota, at(1_000)));
}

#[test]
fn a_clock_set_back_neither_refills_nor_freezes_a_limit() {
    let quota = Quota::per_minute(60);
    let mut gcra = Gcra::new(at(3_600_000));
    gcra.reserve(60, quota, at(3_600_000)).unwrap();
    gcra.settle(60, 60, quota, at(3_600_000));
    assert!(gcra.reserve(1, quota, at(0)).is_err());
    assert!(gcra.reserve(1, quota, at(1_000)).is_ok());
}

#[test]
fn use_past_what_was_set_aside_is_owed() {
    let quota = Quota::per_minute(60);
    let mut gcra = Gcra::new(at(0));
    gcra.reserve(10, quota, at(0)).unwrap();
    gcra.settle(10, 90, quota, at(0));
    assert_eq!(gcra.reserve(1, quota, at(0)), Err(Wait::For(Duration::from_secs(31))));
}

#[test]
fn parts_of_a_limit_add_up_to_no_more_unless_it_is_tiny() {
    assert_eq!(Quota::per_minute(100).part(3), Quota::per_minute(33));
    assert_eq!(Quota::at_once(2).part(3), Quota::at_once(1));
    assert_eq!(Quota::per_minute(100).part(0), Quota::per_minute(100));
}

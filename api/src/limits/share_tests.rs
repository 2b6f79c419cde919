#![allow(clippy::unwrap_used)]

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const THERE: Weather = Weather { away: false, replicas: 3 };
const AWAY: Weather = Weather { away: true, replicas: 3 };

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(1_000_000 + ms)
}

/// What Redis does, as the script there has it.
#[derive(Default)]
struct Redis {
    debt: f64,
    at: Timestamp,
    held: [Option<u64>; 3],
}

impl Redis {
    fn exchange(&mut self, replica: usize, told: &Told, now: Timestamp) -> Heard {
        let drained = now.since(self.at).as_secs_f64() * told.quota.per_minute as f64 / 60.0;
        self.debt = (self.debt - drained).max(0.0);
        self.at = now;
        self.debt = if self.held[replica].is_some() { self.debt + told.used } else { self.debt.max(told.lost) };
        let others: u64 = (0..3).filter(|other| *other != replica).filter_map(|other| self.held[other]).sum();
        let room = (told.quota.burst as f64 - self.debt - others as f64 - told.keep as f64).floor().max(0.0) as u64;
        let asked = told.asked.min(room);
        let granted = asked + told.want.min((room - asked) / 4);
        self.held[replica] = Some(told.keep + granted);
        Heard { granted, debt: self.debt, others }
    }
}

/// Three replicas and their Redis.
struct Fleet {
    redis: Redis,
    shares: [Share; 3],
    open: Vec<(usize, u64)>,
}

impl Fleet {
    fn new(quota: Quota) -> Self {
        let redis = Redis { at: at(0), ..Redis::default() };
        Self { redis, shares: std::array::from_fn(|_| Share::new(quota, at(0))), open: Vec::new() }
    }

    fn exchange(&mut self, replica: usize, now: Timestamp) {
        let told = self.shares[replica].tell(3, now);
        let heard = self.redis.exchange(replica, &told, now);
        self.shares[replica].hear(&told, heard, now);
    }

    /// Asks for `amount`, waiting for an exchange where one is needed.
    fn take(&mut self, replica: usize, quota: Quota, amount: u64, weather: Weather, now: Timestamp) -> bool {
        for _ in 0..2 {
            match self.shares[replica].try_reserve(quota, amount, weather, now) {
                Attempt::Taken(_) => {
                    self.open.push((replica, amount));
                    return true;
                }
                Attempt::Full(..) => return false,
                Attempt::Ask => {
                    let _woken = self.shares[replica].ask(amount);
                    self.exchange(replica, now);
                }
            }
        }
        false
    }
}

#[derive(Debug, Clone, Copy)]
struct Step {
    pause_ms: i64,
    replica: usize,
    amount: u64,
    used_percent: u64,
    settles: bool,
    exchanges: bool,
}

fn step() -> impl Strategy<Value = Step> {
    (0..400_i64, 0..3_usize, 1..40_u64, 0..=100_u64, any::<bool>(), any::<bool>()).prop_map(
        |(pause_ms, replica, amount, used_percent, settles, exchanges)| Step {
            pause_ms,
            replica,
            amount,
            used_percent,
            settles,
            exchanges,
        },
    )
}

/// Runs the steps; what was used until each moment, in milliseconds.
fn run(quota: Quota, steps: &[Step], weather_at: impl Fn(i64) -> Weather) -> Vec<(i64, u64)> {
    let (mut fleet, mut now, mut used) = (Fleet::new(quota), 0, Vec::new());
    for step in steps {
        now += step.pause_ms;
        let weather = weather_at(now);
        if step.settles && !fleet.open.is_empty() {
            let (replica, reserved) = fleet.open.remove(0);
            let spent = reserved * step.used_percent / 100;
            fleet.shares[replica].settle(reserved, spent, weather, at(now));
            used.push((now, spent));
        }
        if step.exchanges && !weather.away {
            fleet.exchange(step.replica, at(now));
        }
        fleet.take(step.replica, quota, step.amount, weather, at(now));
    }
    used
}

fn assert_within(quota: Quota, used: &[(i64, u64)]) {
    for from in 0..used.len() {
        let mut sum = 0;
        for to in from..used.len() {
            sum += used[to].1;
            let allowed = quota.burst as f64 + quota.per_minute as f64 * (used[to].0 - used[from].0) as f64 / 60_000.0;
            assert!(sum as f64 <= allowed + 1.0, "{sum} used where {allowed} are allowed");
        }
    }
}

proptest! {
    /// However replicas take turns and answers overlap, all together never use more than the limit.
    #[test]
    fn three_replicas_together_stay_within_one_limit(steps in vec(step(), 1..300)) {
        let quota = Quota::per_minute(600);
        assert_within(quota, &run(quota, &steps, |_| THERE));
    }

    /// Redis away in the middle costs no more than the rounding of parts and what was held but not yet told.
    #[test]
    fn a_redis_that_goes_and_comes_back_lets_no_more_through(steps in vec(step(), 1..300)) {
        let quota = Quota::per_minute(600);
        let used = run(quota, &steps, |now| if (5_000..20_000).contains(&now) { AWAY } else { THERE });
        let slack = Quota { burst: quota.burst + quota.burst / 4, ..quota };
        assert_within(slack, &used);
    }
}

#[test]
fn a_busy_replica_finds_stock_and_does_not_wait() {
    let quota = Quota::per_minute(60_000);
    let mut fleet = Fleet::new(quota);
    assert!(fleet.take(0, quota, 1, THERE, at(0)));
    let mut waits = 0;
    for turn in 1..2_000 {
        let now = at(turn);
        if turn % 25 == 0 {
            fleet.exchange(0, now);
        }
        if matches!(fleet.shares[0].try_reserve(quota, 1, THERE, now), Attempt::Ask) {
            waits += 1;
            assert!(fleet.take(0, quota, 1, THERE, now));
        }
        fleet.shares[0].settle(1, 1, THERE, now);
    }
    assert!(waits < 10, "{waits} of 2000 waited");
}

#[test]
fn without_redis_a_replica_keeps_its_part_and_owes_its_part_of_the_debt() {
    let quota = Quota::per_minute(300);
    let mut fleet = Fleet::new(quota);
    for _ in 0..150 {
        assert!(fleet.take(0, quota, 1, THERE, at(0)));
        fleet.shares[0].settle(1, 1, THERE, at(0));
    }
    (0..3).for_each(|replica| fleet.exchange(replica, at(0)));
    let passed = |fleet: &mut Fleet, replica, now| {
        let mut passed = 0;
        while fleet.take(replica, quota, 1, AWAY, now) {
            fleet.shares[replica].settle(1, 1, AWAY, now);
            passed += 1;
        }
        passed
    };
    assert_eq!((0..3).map(|replica| passed(&mut fleet, replica, at(1))).collect::<Vec<_>>(), [50, 50, 50]);
    assert_eq!(passed(&mut fleet, 1, at(30_000)), 50, "and a third of what drains");
}

#[test]
fn what_redis_forgot_is_told_again() {
    let quota = Quota::per_minute(300);
    let mut fleet = Fleet::new(quota);
    for _ in 0..240 {
        assert!(fleet.take(0, quota, 1, THERE, at(0)));
        fleet.shares[0].settle(1, 1, THERE, at(0));
    }
    (0..3).for_each(|replica| fleet.exchange(replica, at(0)));
    fleet.redis = Redis { at: at(0), ..Redis::default() };
    (0..3).for_each(|replica| fleet.exchange(replica, at(0)));
    assert!((239.0..=240.0).contains(&fleet.redis.debt), "{}", fleet.redis.debt);
}

#[test]
fn places_of_a_replica_are_its_own_until_they_come_back() {
    let quota = Quota::at_once(4);
    let mut fleet = Fleet::new(quota);
    for replica in [0, 0, 1, 2] {
        assert!(fleet.take(replica, quota, 1, THERE, at(0)));
    }
    assert!(!fleet.take(1, quota, 1, THERE, at(100)));
    fleet.shares[0].settle(1, 0, THERE, at(200));
    fleet.exchange(0, at(200));
    fleet.exchange(0, at(3_000));
    assert!(fleet.take(1, quota, 1, THERE, at(3_000)));
}

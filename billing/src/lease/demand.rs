//! How much money a scope has asked for lately, which decides how much is borrowed ahead.

use std::time::Duration;

use protocol::Timestamp;

/// Half of the two seconds over which burn is counted.
const BURN_STEP: Duration = Duration::from_secs(1);
/// Half of the time over which the largest hold is remembered.
const LARGEST_STEP: Duration = Duration::from_secs(60);

/// Holds of the last two seconds, and the largest of the last minutes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Demand {
    burn: [i64; 2],
    burn_from: Timestamp,
    largest: [i64; 2],
    largest_from: Timestamp,
}

impl Demand {
    pub fn record(&mut self, amount: i64, now: Timestamp) {
        self.turn(now);
        self.burn[0] = self.burn[0].saturating_add(amount);
        self.largest[0] = self.largest[0].max(amount);
    }

    /// The sum of the holds of the last one to two seconds.
    pub fn burn(&mut self, now: Timestamp) -> i64 {
        self.turn(now);
        self.burn[0].saturating_add(self.burn[1])
    }

    /// The largest hold of the last one to two minutes.
    pub fn largest(&mut self, now: Timestamp) -> i64 {
        self.turn(now);
        self.largest[0].max(self.largest[1])
    }

    fn turn(&mut self, now: Timestamp) {
        turn(&mut self.burn, &mut self.burn_from, BURN_STEP, now);
        turn(&mut self.largest, &mut self.largest_from, LARGEST_STEP, now);
    }
}

fn turn(halves: &mut [i64; 2], from: &mut Timestamp, step: Duration, now: Timestamp) {
    let age = now.since(*from);
    if age >= step * 2 {
        *halves = [0, 0];
        *from = now;
    } else if age >= step {
        *halves = [0, halves[0]];
        *from = from.plus(step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burn_is_forgotten_after_two_seconds_and_the_largest_after_minutes() {
        let mut demand = Demand::default();
        let start = Timestamp::from_unix_seconds(1_000);
        demand.record(10, start);
        demand.record(5, start.plus(Duration::from_millis(1_500)));
        assert_eq!(demand.burn(start.plus(Duration::from_millis(1_600))), 15);
        assert_eq!(demand.burn(start.plus(Duration::from_millis(2_500))), 5);
        assert_eq!(demand.burn(start.plus(Duration::from_secs(10))), 0);
        assert_eq!(demand.largest(start.plus(Duration::from_secs(90))), 10);
        assert_eq!(demand.largest(start.plus(Duration::from_secs(400))), 0);
    }
}

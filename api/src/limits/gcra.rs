//! The arithmetic of one limit: the generic cell rate algorithm, with room set aside for answers under way.
//!
//! What was used is a debt that drains at the limit's rate; what is set aside is a debt that does not drain until
//! it is known what came of it. Both together never pass the burst when something is admitted. So whatever is set
//! aside and used, no more than `burst + rate × t` is used in any time `t`, whether use is dated to the start or
//! the end of an answer. All of it is integers: nothing is rounded, so nothing drifts.

use std::time::Duration;

use protocol::Timestamp;

/// One unit in the scale debts are kept in: a limit of `n` a minute drains `n` of this scale each microsecond.
const UNIT: u128 = 60_000_000;
/// A clock that shows less than before by more than this was set back; by less, two threads read it in turn.
const CLOCK_SET_BACK: Duration = Duration::from_secs(1);

/// How much is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// What drains in a minute; 0 for what only comes back, such as places.
    pub per_minute: u64,
    /// The most owed at a time.
    pub burst: u64,
}

/// How long a refusal lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// This long, if nobody takes more meanwhile.
    For(Duration),
    /// Until something under way ends.
    Unknown,
    /// More than the limit ever lets through at once.
    Never,
}

/// Where a limit stands, as a client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The most there is.
    pub limit: u64,
    /// What is left of it.
    pub remaining: u64,
    /// Until all of it is back.
    pub reset: Duration,
}

/// One limit's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gcra {
    /// Used and not yet drained, in [`UNIT`]s.
    debt: u128,
    /// Set aside for what is under way.
    reserved: u64,
    /// When the debt was last drained.
    at: Timestamp,
}

impl Quota {
    /// So many in a minute, a whole minute's worth at once.
    #[must_use]
    pub const fn per_minute(count: u64) -> Self {
        Self { per_minute: count, burst: count }
    }

    /// So many at the same time.
    #[must_use]
    pub const fn at_once(count: u64) -> Self {
        Self { per_minute: 0, burst: count }
    }

    /// An equal part among `replicas`; never nothing, so that a small limit does not become an outage.
    #[must_use]
    pub fn part(self, replicas: u32) -> Self {
        let each = |whole: u64| whole / u64::from(replicas.max(1));
        let per_minute = if self.per_minute == 0 { 0 } else { each(self.per_minute).max(1) };
        Self { per_minute, burst: each(self.burst).max(1) }
    }

    /// How long `amount` takes to drain; zero for what does not drain.
    #[must_use]
    pub fn drains_in(self, amount: f64) -> Duration {
        if self.per_minute == 0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(amount.max(0.0) * 60.0 / self.per_minute as f64).unwrap_or(Duration::MAX)
    }

    /// How long until `missing` more can be admitted, of which `amount` is asked at once.
    #[must_use]
    pub fn wait(self, amount: u64, missing: f64) -> Wait {
        match self.per_minute {
            _ if amount > self.burst => Wait::Never,
            0 => Wait::Unknown,
            _ => Wait::For(self.drains_in(missing)),
        }
    }
}

impl Gcra {
    /// Nothing owed.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self { debt: 0, reserved: 0, at: now }
    }

    /// So much used already, and so much set aside.
    #[must_use]
    pub fn owing(debt: f64, reserved: u64, now: Timestamp) -> Self {
        // A float turned into an integer saturates, which is what is wanted of a debt past all amounts.
        Self { debt: (debt.max(0.0) * UNIT as f64) as u128, reserved, at: now }
    }

    /// Sets `amount` aside.
    ///
    /// # Errors
    /// How long it must wait; nothing is changed then.
    pub fn reserve(&mut self, amount: u64, quota: Quota, now: Timestamp) -> Result<(), Wait> {
        self.drain(quota, now);
        let most = u128::from(quota.burst) * UNIT;
        let owed = self.owed().saturating_add(u128::from(amount) * UNIT);
        if owed > most {
            return Err(match quota.wait(amount, 0.0) {
                Wait::For(_) => Wait::For(micros((owed - most).div_ceil(u128::from(quota.per_minute)))),
                other => other,
            });
        }
        self.reserved += amount;
        Ok(())
    }

    /// Sets `amount` aside that was found room for elsewhere.
    pub fn set_aside(&mut self, amount: u64) {
        self.reserved = self.reserved.saturating_add(amount);
    }

    /// Used and not yet drained.
    #[must_use]
    pub fn debt(mut self, quota: Quota, now: Timestamp) -> f64 {
        self.drain(quota, now);
        self.debt as f64 / UNIT as f64
    }

    /// What came of `reserved`: `used` becomes debt and the rest is free again. More may have been used than was set
    /// aside; it is owed all the same.
    pub fn settle(&mut self, reserved: u64, used: u64, quota: Quota, now: Timestamp) {
        self.drain(quota, now);
        self.reserved = self.reserved.saturating_sub(reserved);
        self.debt = self.debt.saturating_add(u128::from(used) * UNIT);
    }

    /// Where it stands.
    #[must_use]
    pub fn standing(mut self, quota: Quota, now: Timestamp) -> Standing {
        self.drain(quota, now);
        let owed = self.owed();
        let free = (u128::from(quota.burst) * UNIT).saturating_sub(owed) / UNIT;
        let reset = if quota.per_minute == 0 { 0 } else { owed.div_ceil(u128::from(quota.per_minute)) };
        Standing { limit: quota.burst, remaining: u64::try_from(free).unwrap_or(u64::MAX), reset: micros(reset) }
    }

    /// Whether forgetting it would change nothing.
    #[must_use]
    pub fn is_idle(mut self, quota: Quota, now: Timestamp) -> bool {
        self.drain(quota, now);
        self.owed() == 0
    }

    fn owed(&self) -> u128 {
        self.debt.saturating_add(u128::from(self.reserved) * UNIT)
    }

    fn drain(&mut self, quota: Quota, now: Timestamp) {
        let drained = now.since(self.at).as_micros() * u128::from(quota.per_minute);
        self.debt = self.debt.saturating_sub(drained);
        if now > self.at || self.at.since(now) > CLOCK_SET_BACK {
            self.at = now;
        }
    }
}

fn micros(count: u128) -> Duration {
    Duration::from_micros(u64::try_from(count).unwrap_or(u64::MAX))
}

#[cfg(test)]
#[path = "gcra_tests.rs"]
mod tests;

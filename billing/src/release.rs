//! When what was earned may be paid: a pure function of stored facts, so that anybody can work it out again.

use std::time::Duration;

use protocol::{NanoUsd, Timestamp};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Time for a card to be found stolen, or a count to be found wrong, before the money is gone.
pub const NORMALLY: Duration = HOUR.saturating_mul(72);
/// Where payer and provider may be one: long enough for the payer's bank to say so.
pub const WITH_CARE: Duration = DAY.saturating_mul(14);
/// How long a provider is a newcomer, and a payer too.
pub const NEWCOMER_FOR: Duration = DAY.saturating_mul(14);
/// Of a newcomer's earnings so much waits: what it would lose by being found out, in the place of a stake.
pub const NEWCOMER_HOLDBACK: NanoUsd = NanoUsd::from_dollars(100);
/// A new payer who spends more of its money than this with one provider may be that provider.
const MOST_SHARE_PERCENT: u128 = 50;

/// What is known of one receipt when it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// When it entered the books.
    pub settled_at: Timestamp,
    /// When its provider joined.
    pub provider_since: Timestamp,
    /// What the provider had earned before, while it was a newcomer.
    pub early: NanoUsd,
    /// Whether payer and provider are known to belong together.
    pub is_linked: bool,
    /// When its payer first paid by card, if it ever did.
    pub first_payment_at: Option<Timestamp>,
    /// What the payer has spent with this provider.
    pub with_provider: NanoUsd,
    /// And with all of them.
    pub with_all: NanoUsd,
}

/// When a receipt may be paid.
#[must_use]
pub fn release_at(facts: &Facts) -> Timestamp {
    let wait = if facts.is_linked || is_concentrated(facts) { WITH_CARE } else { NORMALLY };
    let normally = facts.settled_at.plus(wait);
    if is_newcomer(facts) && facts.early < NEWCOMER_HOLDBACK {
        normally.max(facts.provider_since.plus(NEWCOMER_FOR))
    } else {
        normally
    }
}

/// Whether the provider joined so lately that its first earnings wait.
#[must_use]
pub fn is_newcomer(facts: &Facts) -> bool {
    facts.settled_at < facts.provider_since.plus(NEWCOMER_FOR)
}

/// Whether the payer is new, so that where it spends matters.
#[must_use]
pub fn is_new_payer(first_payment_at: Option<Timestamp>, at: Timestamp) -> bool {
    first_payment_at.is_some_and(|first| at < first.plus(NEWCOMER_FOR))
}

fn is_concentrated(facts: &Facts) -> bool {
    let share = |amount: NanoUsd| u128::from(amount.nano().unsigned_abs());
    is_new_payer(facts.first_payment_at, facts.settled_at)
        && share(facts.with_provider) * 100 > share(facts.with_all) * MOST_SHARE_PERCENT
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

    fn facts() -> Facts {
        Facts {
            settled_at: T,
            provider_since: T.minus(DAY * 100),
            early: NanoUsd::ZERO,
            is_linked: false,
            first_payment_at: Some(T.minus(DAY * 100)),
            with_provider: NanoUsd::from_dollars(9),
            with_all: NanoUsd::from_dollars(10),
        }
    }

    #[test]
    fn earnings_wait_three_days() {
        assert_eq!(release_at(&facts()), T.plus(HOUR * 72));
        assert_eq!(release_at(&Facts { first_payment_at: None, ..facts() }), T.plus(HOUR * 72));
    }

    #[test]
    fn those_that_may_be_one_wait_two_weeks() {
        assert_eq!(release_at(&Facts { is_linked: true, ..facts() }), T.plus(DAY * 14));
        let new = Facts { first_payment_at: Some(T.minus(DAY)), ..facts() };
        assert_eq!(release_at(&new), T.plus(DAY * 14));
        let spread = Facts { with_provider: NanoUsd::from_dollars(5), ..new };
        assert_eq!(release_at(&spread), T.plus(HOUR * 72), "half is not more than half");
        let old = Facts { first_payment_at: Some(T.minus(DAY * 14)), ..facts() };
        assert_eq!(release_at(&old), T.plus(HOUR * 72));
    }

    #[test]
    fn a_newcomers_first_hundred_dollars_wait_and_what_is_above_flows() {
        let newcomer = Facts { provider_since: T.minus(DAY), ..facts() };
        assert_eq!(release_at(&newcomer), T.plus(DAY * 13));
        let above = Facts { early: NEWCOMER_HOLDBACK, ..newcomer };
        assert_eq!(release_at(&above), T.plus(HOUR * 72));
        let nearly = Facts { provider_since: T.minus(DAY * 13), ..newcomer };
        assert_eq!(release_at(&nearly), T.plus(HOUR * 72), "it never waits less than anybody");
    }
}

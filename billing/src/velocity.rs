//! How fast an organization nobody knows yet may buy: stolen cards are tried out where credit is sold.

use std::fmt;
use std::time::Duration;

use protocol::{NanoUsd, OrganizationId, Timestamp};
use sqlx::PgConnection;

use crate::store::{cards, topups};
use crate::{Error, StripeConfig};

/// What is counted is what happened in this span before now.
const SPAN: Duration = Duration::from_secs(24 * 3_600);
/// Seconds of a day.
const DAY_S: u64 = 86_400;

/// A limit of a young account, for a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// So many top-ups are asked for.
    Topups(u32),
    /// Credit for so much is bought.
    Amount(NanoUsd),
    /// So many cards are saved.
    Cards(u32),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topups(most) => write!(f, "asks for at most {most} top-ups a day"),
            Self::Amount(most) => write!(f, "buys at most {most} of credit a day"),
            Self::Cards(most) => write!(f, "saves at most {most} cards a day"),
        }
    }
}

/// Refuses a top-up that an account this young may not ask for yet. The caller holds the account's lock.
///
/// # Errors
/// [`Error::TooMuch`]; [`Error::Database`].
pub(crate) async fn check_topup(
    conn: &mut PgConnection,
    config: &StripeConfig,
    account: OrganizationId,
    amount: NanoUsd,
    now: Timestamp,
) -> Result<(), Error> {
    if !is_young(conn, config, account, now).await? {
        return Ok(());
    }
    let made = topups::made_since(conn, account, now.minus(SPAN)).await?;
    let most = NanoUsd::from_dollars(config.young_usd_per_day);
    if made.count >= i64::from(config.young_topups_per_day) {
        return Err(Error::TooMuch { account, limit: Limit::Topups(config.young_topups_per_day) });
    }
    if made.amount.saturating_add(amount) > most {
        return Err(Error::TooMuch { account, limit: Limit::Amount(most) });
    }
    Ok(())
}

/// Refuses another card to an account this young. The caller holds the account's lock.
///
/// # Errors
/// As [`check_topup`].
pub(crate) async fn check_cards(
    conn: &mut PgConnection,
    config: &StripeConfig,
    account: OrganizationId,
    now: Timestamp,
) -> Result<(), Error> {
    let most = config.young_cards_per_day;
    if is_young(conn, config, account, now).await?
        && cards::count_since(conn, account, now.minus(SPAN)).await? >= i64::from(most)
    {
        return Err(Error::TooMuch { account, limit: Limit::Cards(most) });
    }
    Ok(())
}

/// Whether its first card payment is less than some days old, or never was.
async fn is_young(
    conn: &mut PgConnection,
    config: &StripeConfig,
    account: OrganizationId,
    now: Timestamp,
) -> Result<bool, Error> {
    let age = Duration::from_secs(u64::from(config.young_days) * DAY_S);
    Ok(topups::first_paid(conn, account).await?.is_none_or(|first| first > now.minus(age)))
}

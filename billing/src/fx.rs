//! Coins bought for dollars, and what they are worth later.
//!
//! No posting crosses a currency. What does, is two of them against a position: one in dollars, one in the coin. What the
//! position then has in the coin is what is held and not owed, and in dollars what that has cost. At the end of a month
//! the two are compared at the price of that moment: the difference is a gain or a loss, and gas that was spent becomes an
//! expense in dollars. Each valuation goes on from the one before, so a month that was left out is in the next.

mod positions;

use protocol::statement::PriceRef;
use protocol::token::TokenAmount;
use protocol::{Env, NanoUsd, SignedNanoUsd, Timestamp};
use sqlx::PgConnection;

use crate::Error;
use crate::account::{AccountKind, LedgerAccount};
use crate::calendar::Month;
use crate::ledger::{Cause, Coin, CoinPosting, CoinTransfer, Leg, Posting, Transfer};
use crate::store::transfers;

pub use positions::{Positions, spawn};

/// Coins that were bought: tokens to pay out, or what gas is paid with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purchase {
    /// Which.
    pub coin: Coin,
    /// How much came in, in its smallest unit.
    pub amount: TokenAmount,
    /// What it took, fees included.
    pub paid: NanoUsd,
    /// Names it, such as the hash of the transaction that brought it: the same one is booked once.
    pub name: String,
}

/// What a coin was worth at the end of a month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Valuation {
    /// Which month.
    pub month: Month,
    /// Which coin.
    pub coin: Coin,
    /// How often it was valued for this month before.
    pub round: u32,
    /// What one was worth, and who said so.
    pub price: PriceRef,
    /// What is held and not owed, in its smallest unit; below zero when more is owed than held.
    pub position: i128,
    /// Gas spent since the valuation before.
    pub spent: TokenAmount,
    /// The same in dollars.
    pub spent_usd: NanoUsd,
    /// What the position stood at, that gas included.
    pub cost: SignedNanoUsd,
    /// What it is worth, without that gas.
    pub worth: SignedNanoUsd,
    /// When that was written down.
    pub valued_at: Timestamp,
    /// When it was taken back.
    pub undone_at: Option<Timestamp>,
}

/// Books a purchase. False, and nothing changed, when it was booked before.
///
/// # Errors
/// [`Error::Coins`] for one that brought nothing or has no name; [`Error::AlreadyBooked`] when the name is that of a
/// purchase that was another; [`Error::Database`].
pub async fn buy(conn: &mut PgConnection, env: &Env, bought: &Purchase) -> Result<bool, Error> {
    let refused =
        |reason: &str| Error::Coins { what: format!("purchase {:?}", bought.name), reason: reason.to_owned() };
    if bought.name.trim().is_empty() {
        return Err(refused("it needs a name, such as the hash of its transaction"));
    }
    let (coin, bank) = (bought.coin, LedgerAccount::platform(AccountKind::Bank));
    let coins = CoinPosting::new(coin.held(), coin.position(), bought.amount);
    let coins = coins.ok_or_else(|| refused("it brought nothing"))?;
    let dollars: Vec<_> = Posting::new(coin.position(), bank, bought.paid).into_iter().collect();
    let cause = |leg| Cause::Purchase(bought.name.clone(), leg);
    if book(conn, env, coin, &cause, dollars, vec![coins]).await? {
        return Ok(true);
    }
    let in_coins = transfers::find_booked(conn, &cause(Leg::Coins)).await?;
    let in_dollars = transfers::find_booked(conn, &cause(Leg::Dollars)).await?.map(|(_, amount)| amount);
    let paid = (!bought.paid.is_zero()).then(|| TokenAmount::from(u128::from(bought.paid.nano().unsigned_abs())));
    if in_coins != Some((coin.to_string(), bought.amount)) || in_dollars != paid {
        return Err(Error::AlreadyBooked { cause: format!("a purchase named {:?}, of other amounts,", bought.name) });
    }
    Ok(false)
}

/// Books what crosses from one currency to the other, once in each. False when it was booked before.
async fn book(
    conn: &mut PgConnection,
    env: &Env,
    coin: Coin,
    cause: &(dyn Fn(Leg) -> Cause + Sync),
    dollars: Vec<Posting>,
    coins: Vec<CoinPosting>,
) -> Result<bool, Error> {
    let mut is_new = false;
    if !coins.is_empty() {
        let transfer = CoinTransfer { id: env.mint(), cause: cause(Leg::Coins), coin, postings: coins };
        is_new = transfers::book_coins(conn, &transfer).await?;
        // Both sides are booked at once: where one stands, nothing is added to the other later.
        if !is_new {
            return Ok(false);
        }
    }
    if !dollars.is_empty() {
        let transfer = Transfer { id: env.mint(), cause: cause(Leg::Dollars), postings: dollars };
        is_new |= transfers::book(conn, &transfer).await?;
    }
    Ok(is_new)
}

/// What so many of a coin's smallest units are worth, towards zero; `None` past what an amount can hold.
fn worth(units: i128, price: &PriceRef) -> Option<i64> {
    let one = 10_i128.checked_pow(price.decimals.into())?;
    i64::try_from(units.checked_mul(price.usd_per_token.nano().into())? / one).ok()
}

impl Valuation {
    /// What the month gained, or lost.
    #[must_use]
    pub fn result(&self) -> Option<SignedNanoUsd> {
        self.worth.checked_sub(self.cost)?.checked_add(self.spent_usd.signed())
    }

    /// What it books: gas leaves the position on both sides, and the dollar side becomes what the coin side is worth.
    fn postings(&self) -> Option<(Vec<Posting>, Vec<CoinPosting>)> {
        let position = self.coin.position();
        let gas = LedgerAccount::platform(AccountKind::GasExpense);
        let result = LedgerAccount::platform(AccountKind::FxResult);
        let gained = self.result()?.nano();
        let amount = NanoUsd::new(gained.checked_abs()?)?;
        let (debit, credit) = if gained < 0 { (result, position) } else { (position, result) };
        let dollars = [Posting::new(gas, position, self.spent_usd), Posting::new(debit, credit, amount)];
        let coins = CoinPosting::new(position, gas, self.spent);
        Some((dollars.into_iter().flatten().collect(), coins.into_iter().collect()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn worth_is_rounded_towards_zero_and_never_wraps() {
        let price = |nano, decimals| PriceRef {
            source: "test".into(),
            usd_per_token: NanoUsd::new(nano).unwrap(),
            decimals,
            observed_at: 0,
        };
        assert_eq!(worth(1_500_000_000_000_000_000, &price(3_500_000_000_000, 18)), Some(5_250_000_000_000));
        assert_eq!(worth(1_999, &price(999_999_999, 6)), Some(1_998_999));
        assert_eq!(worth(-1_999, &price(999_999_999, 6)), Some(-1_998_999));
        assert_eq!(worth(i128::MAX, &price(1_000_000_000, 6)), None);
        assert_eq!(worth(i128::from(i64::MAX), &price(2_000_000_000, 0)), None);
        assert_eq!(worth(1, &price(1, 39)), None);
    }
}

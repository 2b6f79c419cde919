//! Values positions when a month is over, and takes that back.

use std::sync::Arc;
use std::time::Duration;

use platform::shutdown::Shutdown;
use platform::worker::{self, Next, Worker};
use protocol::statement::PriceRef;
use protocol::token::TokenAmount;
use protocol::{Env, NanoUsd, SignedNanoUsd, Timestamp};
use sqlx::{PgConnection, PgPool};

use super::{Valuation, book, worth};
use crate::Error;
use crate::account::{AccountKind, LedgerAccount};
use crate::calendar::Month;
use crate::ledger::{Cause, Coin, CoinPosting, Posting};
use crate::payout::{NoPrice, PriceReference};
use crate::store::{chain, transfers, valuations};

/// A month is valued this long after its end: what was final at midnight is booked by then.
const AFTER: Duration = Duration::from_secs(3_600);
/// How often it is looked whether a month is over.
const EVERY: Duration = Duration::from_secs(3_600);

/// The coins that are held, and who says what each is worth. Cheap to clone.
#[derive(Clone)]
pub struct Positions {
    db: PgPool,
    env: Env,
    held: Vec<(Coin, Arc<dyn PriceReference>)>,
}

impl Positions {
    /// None yet.
    #[must_use]
    pub const fn new(db: PgPool, env: Env) -> Self {
        Self { db, env, held: Vec::new() }
    }

    /// And one more.
    #[must_use]
    pub fn with(mut self, coin: Coin, prices: Arc<dyn PriceReference>) -> Self {
        self.held.push((coin, prices));
        self
    }

    /// Which are held.
    pub fn coins(&self) -> impl Iterator<Item = Coin> + '_ {
        self.held.iter().map(|(coin, _)| *coin)
    }

    /// Values every coin for a month that is over, and returns what was valued now. One that stands valued for it stays.
    ///
    /// # Errors
    /// [`Error::Coins`] for a month that is not over, or before one that is valued, and for a price in doubt; whatever
    /// keeps the price from being asked; [`Error::Database`]. Coins that could be valued are.
    pub async fn close(&self, month: Month, now: Timestamp) -> Result<Vec<Valuation>, Error> {
        if now < month.ends_at() {
            return Err(refused(month, "it is not over"));
        }
        self.value_all(month, true, now).await
    }

    /// Values what was not valued yet for the last month. One that was taken back is left to whoever did that.
    ///
    /// # Errors
    /// As [`Self::close`].
    pub async fn close_due(&self, now: Timestamp) -> Result<usize, Error> {
        let month = Month::of(now.minus(AFTER)).previous();
        Ok(self.value_all(month, false, now).await?.len())
    }

    async fn value_all(&self, month: Month, again: bool, now: Timestamp) -> Result<Vec<Valuation>, Error> {
        let (mut valued, mut failed) = (Vec::new(), None);
        for (coin, prices) in &self.held {
            match self.value(month, *coin, &**prices, again, now).await {
                Ok(valuation) => valued.extend(valuation),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(valued), Err)
    }

    async fn value(
        &self,
        month: Month,
        coin: Coin,
        prices: &dyn PriceReference,
        again: bool,
        now: Timestamp,
    ) -> Result<Option<Valuation>, Error> {
        let due = async |conn: &mut PgConnection| {
            let round = next_round(conn, month, coin).await?;
            Ok::<_, Error>(round.filter(|round| again || *round == 0))
        };
        if due(&mut *self.db.acquire().await?).await?.is_none() {
            return Ok(None);
        }
        // As of its end, whenever that is asked.
        let price = match prices.price(month.ends_at()).await {
            Ok(price) => price,
            Err(NoPrice::Away(error)) => return Err(error),
            Err(NoPrice::Doubtful(reason)) => return Err(refused(month, &format!("the price of {coin}: {reason}"))),
        };
        let mut tx = self.db.begin().await?;
        // Another replica is at it, or an epoch is between its two currencies: it is tried again.
        if !lock(&mut tx, coin).await? || transfers::is_crossing(&mut tx).await? {
            return Ok(None);
        }
        let Some(round) = due(&mut tx).await? else { return Ok(None) };
        let valuation = measure(&mut tx, month, coin, round, price, now).await?;
        let (dollars, coins) = valuation.postings().ok_or_else(|| refused(month, "no amount can hold it"))?;
        valuations::insert(&mut tx, &valuation).await?;
        book(&mut tx, &self.env, coin, &|leg| Cause::Valuation(month, coin, round, leg), dollars, coins).await?;
        tx.commit().await?;
        let (gained, gas) = (valuation.result().map_or(0, SignedNanoUsd::nano), valuation.spent_usd.nano());
        tracing::info!(%month, %coin, round, gained_nano_usd = gained, gas_nano_usd = gas, "a position is valued");
        Ok(Some(valuation))
    }

    /// Takes the newest valuation of a coin back: what it booked is booked the other way round.
    ///
    /// # Errors
    /// [`Error::Coins`] when that month is not the last one valued; [`Error::Database`].
    pub async fn undo(&self, month: Month, coin: Coin, now: Timestamp) -> Result<Valuation, Error> {
        let mut tx = self.db.begin().await?;
        if !lock(&mut tx, coin).await? {
            return Err(refused(month, &format!("{coin} is being valued")));
        }
        let newest = valuations::find_newest(&mut tx, coin).await?.filter(|newest| newest.month == month);
        let newest = newest.ok_or_else(|| refused(month, &format!("it is not the last that {coin} is valued for")))?;
        let (dollars, coins) = newest.postings().ok_or_else(|| refused(month, "no amount can hold it"))?;
        let dollars = dollars.iter().filter_map(|p| Posting::new(p.credit(), p.debit(), p.amount())).collect();
        let coins = coins.iter().filter_map(|p| CoinPosting::new(p.credit(), p.debit(), p.amount())).collect();
        let cause = |leg| Cause::ValuationUndone(month, coin, newest.round, leg);
        book(&mut tx, &self.env, coin, &cause, dollars, coins).await?;
        valuations::set_undone(&mut tx, &newest, now).await?;
        tx.commit().await?;
        Ok(Valuation { undone_at: Some(now), ..newest })
    }
}

async fn lock(conn: &mut PgConnection, coin: Coin) -> Result<bool, sqlx::Error> {
    chain::try_lock(conn, &format!("valuation {coin}")).await
}

/// The round a month would be valued in; `None` when it stands valued.
async fn next_round(conn: &mut PgConnection, month: Month, coin: Coin) -> Result<Option<u32>, Error> {
    match valuations::find_newest(conn, coin).await? {
        Some(newest) if newest.month == month => Ok(None),
        Some(newest) if newest.month > month => {
            Err(refused(month, &format!("{coin} is valued for {} already", newest.month)))
        }
        _ => Ok(Some(valuations::count(conn, month, coin).await?)),
    }
}

/// What is booked until now, at a price.
async fn measure(
    conn: &mut PgConnection,
    month: Month,
    coin: Coin,
    round: u32,
    price: PriceRef,
    now: Timestamp,
) -> Result<Valuation, Error> {
    let (debited, credited) = transfers::coin_turnover(conn, coin.position(), &coin).await?;
    let (used, back) = match coin {
        Coin::Ether => transfers::coin_turnover(conn, LedgerAccount::platform(AccountKind::GasExpense), &coin).await?,
        Coin::Token(..) => (TokenAmount::ZERO, TokenAmount::ZERO),
    };
    let dollars = transfers::turnover(conn, coin.position()).await?;
    let huge = || refused(month, "no amount can hold it");
    let spent = used.checked_sub(back).ok_or_else(huge)?;
    let units = |amount: TokenAmount| amount.to_string().parse::<i128>().map_err(|_| huge());
    let position = units(credited)? - units(debited)? - units(spent)?;
    let spent_usd = worth(units(spent)?, &price).and_then(NanoUsd::new).ok_or_else(huge)?;
    let worth = worth(position, &price).map(SignedNanoUsd::new).ok_or_else(huge)?;
    let cost = SignedNanoUsd::new(dollars.debited - dollars.credited);
    Ok(Valuation {
        month,
        coin,
        round,
        price,
        position,
        spent,
        spent_usd,
        cost,
        worth,
        valued_at: now,
        undone_at: None,
    })
}

fn refused(month: Month, reason: &str) -> Error {
    Error::Coins { what: format!("valuing {month}"), reason: reason.to_owned() }
}

/// Starts the loop, owned by `shutdown`.
pub fn spawn(positions: &Positions, shutdown: &Shutdown) {
    worker::spawn(positions.env.clone(), Beat(positions.clone()), shutdown);
}

struct Beat(Positions);

impl Worker for Beat {
    type Error = Error;

    fn name(&self) -> &'static str {
        "billing.fx"
    }

    fn interval(&self) -> Duration {
        EVERY
    }

    async fn tick(&mut self, now: Timestamp) -> Result<Next, Error> {
        self.0.close_due(now).await?;
        Ok(Next::Wait)
    }
}

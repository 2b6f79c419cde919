//! What coins were worth at the end of each month.

use protocol::{NanoUsd, SignedNanoUsd, Timestamp};
use sqlx::PgConnection;

use super::receipt_keys::corrupt;
use crate::calendar::Month;
use crate::fx::Valuation;
use crate::ledger::Coin;

struct Row {
    month: String,
    round: i32,
    price: serde_json::Value,
    position: String,
    spent: String,
    spent_nano_usd: NanoUsd,
    cost_nano_usd: SignedNanoUsd,
    worth_nano_usd: SignedNanoUsd,
    valued_at: Timestamp,
    undone_at: Option<Timestamp>,
}

impl Row {
    fn valuation(self, coin: Coin) -> Result<Valuation, sqlx::Error> {
        Ok(Valuation {
            month: self.month.parse().map_err(corrupt)?,
            coin,
            round: self.round.unsigned_abs(),
            price: serde_json::from_value(self.price).map_err(corrupt)?,
            position: self.position.parse().map_err(corrupt)?,
            spent: self.spent.parse().map_err(corrupt)?,
            spent_usd: self.spent_nano_usd,
            cost: self.cost_nano_usd,
            worth: self.worth_nano_usd,
            valued_at: self.valued_at,
            undone_at: self.undone_at,
        })
    }
}

macro_rules! valuations {
    ($condition:literal $(, $argument:expr)*) => {
        sqlx::query_as!(
            Row,
            r#"select month, round, price, position::text as "position!", spent::text as "spent!",
                      spent_nano_usd as "spent_nano_usd: NanoUsd", cost_nano_usd as "cost_nano_usd: SignedNanoUsd",
                      worth_nano_usd as "worth_nano_usd: SignedNanoUsd", valued_at as "valued_at: Timestamp",
                      undone_at as "undone_at: Timestamp"
                 from valuations "# + $condition
            $(, $argument)*
        )
    };
}

/// The standing valuation of a coin's last month.
pub(crate) async fn find_newest(conn: &mut PgConnection, coin: Coin) -> Result<Option<Valuation>, sqlx::Error> {
    let row = valuations!("where currency = $1 and undone_at is null order by month desc limit 1", coin.to_string());
    row.fetch_optional(conn).await?.map(|row| row.valuation(coin)).transpose()
}

/// Valuations of a coin, newest first, those taken back included.
///
/// # Errors
/// When the database call fails.
pub async fn list(conn: &mut PgConnection, coin: Coin, limit: i64) -> Result<Vec<Valuation>, sqlx::Error> {
    let rows = valuations!("where currency = $1 order by month desc, round desc limit $2", coin.to_string(), limit);
    rows.fetch_all(conn).await?.into_iter().map(|row| row.valuation(coin)).collect()
}

/// How often a coin was valued for a month.
pub(crate) async fn count(conn: &mut PgConnection, month: Month, coin: Coin) -> Result<u32, sqlx::Error> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from valuations where month = $1 and currency = $2"#,
        month.to_string(),
        coin.to_string(),
    );
    u32::try_from(count.fetch_one(conn).await?).map_err(corrupt)
}

/// Writes one down.
pub(crate) async fn insert(conn: &mut PgConnection, new: &Valuation) -> Result<(), sqlx::Error> {
    let price = serde_json::to_value(&new.price).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    sqlx::query!(
        "insert into valuations (month, currency, round, price, position, spent, spent_nano_usd, cost_nano_usd,
                                 worth_nano_usd, valued_at)
         values ($1, $2, $3, $4, $5::text::numeric, $6::text::numeric, $7, $8, $9, $10)",
        new.month.to_string(),
        new.coin.to_string(),
        new.round.cast_signed(),
        price,
        new.position.to_string(),
        new.spent.to_string(),
        new.spent_usd as NanoUsd,
        new.cost as SignedNanoUsd,
        new.worth as SignedNanoUsd,
        new.valued_at as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// It no longer stands.
pub(crate) async fn set_undone(conn: &mut PgConnection, was: &Valuation, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update valuations set undone_at = $4 where month = $1 and currency = $2 and round = $3",
        was.month.to_string(),
        was.coin.to_string(),
        was.round.cast_signed(),
        now as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

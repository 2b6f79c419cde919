//! Posted prices and take rates.

use std::time::Duration;

use protocol::{OfferId, Price, Prices, Timestamp};
use sqlx::PgConnection;

use crate::Error;
use crate::config::Pricing;
use crate::price_book::{self, PriceRow};

/// A row as stored.
struct Row {
    offer_id: OfferId,
    price_version: i32,
    model: String,
    effective_at: Timestamp,
    posted_at: Timestamp,
    take_bps: i32,
    prompt: Price,
    cached_prompt: Option<Price>,
    cache_write: Option<Price>,
    completion: Price,
    internal_reasoning: Option<Price>,
    request: Price,
    user_prompt: Price,
    user_cached_prompt: Option<Price>,
    user_cache_write: Option<Price>,
    user_completion: Price,
    user_internal_reasoning: Option<Price>,
    user_request: Price,
}

impl From<Row> for PriceRow {
    fn from(row: Row) -> Self {
        Self {
            offer: row.offer_id,
            version: row.price_version.unsigned_abs(),
            model: row.model.into(),
            effective_at: row.effective_at,
            posted_at: row.posted_at,
            take_bps: row.take_bps.unsigned_abs(),
            provider: Prices {
                prompt: row.prompt,
                cached_prompt: row.cached_prompt,
                cache_write: row.cache_write,
                completion: row.completion,
                internal_reasoning: row.internal_reasoning,
                request: row.request,
            },
            user: Prices {
                prompt: row.user_prompt,
                cached_prompt: row.user_cached_prompt,
                cache_write: row.user_cache_write,
                completion: row.user_completion,
                internal_reasoning: row.user_internal_reasoning,
                request: row.user_request,
            },
        }
    }
}

macro_rules! rows {
    ($condition:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            Row,
            r#"select offer_id as "offer_id: OfferId", price_version, model, effective_at as "effective_at: Timestamp",
                      posted_at as "posted_at: Timestamp", take_bps, prompt as "prompt: Price",
                      cached_prompt as "cached_prompt: Price", cache_write as "cache_write: Price",
                      completion as "completion: Price", internal_reasoning as "internal_reasoning: Price",
                      request as "request: Price", user_prompt as "user_prompt: Price",
                      user_cached_prompt as "user_cached_prompt: Price", user_cache_write as "user_cache_write: Price",
                      user_completion as "user_completion: Price",
                      user_internal_reasoning as "user_internal_reasoning: Price",
                      user_request as "user_request: Price"
                 from prices p "# + $condition,
            $($argument),*
        )
    };
}

/// Posts the provider's prices of an offer: a new version, or the newest one when nothing changed.
/// A cut acts at once, a rise after [`Pricing::rise_delay_s`]; the share is the one of `model` now.
///
/// # Errors
/// [`Error::PriceOutOfRange`] when a user price would leave the range of a price; [`Error::Database`].
pub async fn post(
    conn: &mut PgConnection,
    config: &Pricing,
    offer: OfferId,
    model: &str,
    prices: &Prices,
    now: Timestamp,
) -> Result<PriceRow, Error> {
    // Two postings for one offer at once take turns, or both would take the same version.
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended('price ' || $1, 0))", offer.to_string())
        .execute(&mut *conn)
        .await?;
    let take_bps = find_take(conn, model, now).await?.unwrap_or(config.default_take_bps);
    let newest = rows!("where offer_id = $1 order by price_version desc limit 1", offer as OfferId)
        .fetch_optional(&mut *conn)
        .await?
        .map(PriceRow::from);
    if let Some(newest) = &newest
        && newest.provider == *prices
        && newest.take_bps == take_bps
        && *newest.model == *model
    {
        return Ok(newest.clone());
    }
    let current = rows!(
        "where offer_id = $1 and effective_at <= $2 order by price_version desc limit 1",
        offer as OfferId,
        now as Timestamp
    )
    .fetch_optional(&mut *conn)
    .await?
    .map(PriceRow::from);
    let user = prices.with_take(take_bps).ok_or(Error::PriceOutOfRange { offer })?;
    let delay = Duration::from_secs(u64::from(config.rise_delay_s));
    // What the user pays decides: a changed share is a changed price.
    let row = PriceRow {
        offer,
        version: newest.map_or(0, |row| row.version) + 1,
        model: model.into(),
        effective_at: price_book::effective_at(current.as_ref().map(|row| &row.user), &user, now, delay),
        posted_at: now,
        take_bps,
        provider: *prices,
        user,
    };
    insert(conn, &row).await?;
    Ok(row)
}

async fn insert(conn: &mut PgConnection, row: &PriceRow) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into prices (offer_id, price_version, model, effective_at, posted_at, take_bps,
           prompt, cached_prompt, cache_write, completion, internal_reasoning, request,
           user_prompt, user_cached_prompt, user_cache_write, user_completion, user_internal_reasoning, user_request)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
        row.offer as OfferId,
        row.version.cast_signed(),
        &*row.model,
        row.effective_at as Timestamp,
        row.posted_at as Timestamp,
        row.take_bps.cast_signed(),
        row.provider.prompt as Price,
        row.provider.cached_prompt as Option<Price>,
        row.provider.cache_write as Option<Price>,
        row.provider.completion as Price,
        row.provider.internal_reasoning as Option<Price>,
        row.provider.request as Price,
        row.user.prompt as Price,
        row.user.cached_prompt as Option<Price>,
        row.user.cache_write as Option<Price>,
        row.user.completion as Price,
        row.user.internal_reasoning as Option<Price>,
        row.user.request as Price,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// One version of an offer's price, however old.
///
/// # Errors
/// When the database call fails.
pub async fn find(conn: &mut PgConnection, offer: OfferId, version: u32) -> Result<Option<PriceRow>, sqlx::Error> {
    let row = rows!("where offer_id = $1 and price_version = $2", offer as OfferId, version.cast_signed())
        .fetch_optional(conn)
        .await?;
    Ok(row.map(PriceRow::from))
}

/// Rows posted in transactions from `from` on, and the mark to go on from. From zero, only rows that can
/// still matter: those in force now or within the last two days, and later ones.
pub(crate) async fn list_since(
    conn: &mut PgConnection,
    from: i64,
    now: Timestamp,
) -> Result<(Vec<PriceRow>, i64), sqlx::Error> {
    // Read before the rows: a posting that commits in between is read again, which is harmless.
    let upto = sqlx::query_scalar!(r#"select pg_snapshot_xmin(pg_current_snapshot())::text::bigint as "xid!""#)
        .fetch_one(&mut *conn)
        .await?;
    let rows = rows!(
        "where xid >= $1::bigint::text::xid8 and ($1 > 0 or price_version >= coalesce((
           select max(price_version) from prices q
            where q.offer_id = p.offer_id and q.effective_at <= $2::timestamptz - interval '2 days'), 0))",
        from,
        now as Timestamp
    )
    .fetch_all(conn)
    .await?;
    Ok((rows.into_iter().map(PriceRow::from).collect(), upto))
}

/// Sets the platform's share of a model from `effective_at` on. It acts with each offer's next posting.
///
/// # Errors
/// When the database call fails, as for a second rate at the same instant.
pub async fn set_take(
    conn: &mut PgConnection,
    model: &str,
    take_bps: u32,
    effective_at: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into take_rates (model, effective_at, take_bps) values ($1, $2, $3)",
        model,
        effective_at as Timestamp,
        take_bps.cast_signed(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The platform's share of a model, when it has one of its own.
///
/// # Errors
/// When the database call fails.
pub async fn find_take(conn: &mut PgConnection, model: &str, now: Timestamp) -> Result<Option<u32>, sqlx::Error> {
    let bps = sqlx::query_scalar!(
        "select take_bps from take_rates where model = $1 and effective_at <= $2 order by effective_at desc limit 1",
        model,
        now as Timestamp,
    )
    .fetch_optional(conn)
    .await?;
    Ok(bps.map(i32::unsigned_abs))
}

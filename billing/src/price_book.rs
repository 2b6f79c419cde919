//! Posted prices: when a new one acts, and the copy every dispatch reads without waiting.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use papaya::HashMap;
use parking_lot::Mutex;
use protocol::{OfferId, Price, Prices, Timestamp};
use sqlx::PgPool;

use crate::store;

/// One posted price, for ever the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceRow {
    /// Whose price.
    pub offer: OfferId,
    /// Counts up from 1 with each posting.
    pub version: u32,
    /// The model the take rate was chosen by.
    pub model: Arc<str>,
    /// From when on it may be charged.
    pub effective_at: Timestamp,
    /// When it was posted.
    pub posted_at: Timestamp,
    /// The platform's share, in basis points of the provider's price.
    pub take_bps: u32,
    /// What the provider earns.
    pub provider: Prices,
    /// What the user pays: the provider's price and the share, rounded up to a pico-USD.
    pub user: Prices,
}

/// When a posting acts: a cut at once, a rise or a mixed change after `rise_delay`.
///
/// `current` is the price in force now, `None` for an offer's first posting, which acts at once.
#[must_use]
pub fn effective_at(current: Option<&Prices>, new: &Prices, now: Timestamp, rise_delay: Duration) -> Timestamp {
    let rises = current.is_some_and(|old| resolved(new).iter().zip(resolved(old)).any(|(new, old)| *new > old));
    if rises { now.plus(rise_delay) } else { now }
}

/// Every class with its parent's price where it has none, in a fixed order.
fn resolved(prices: &Prices) -> [Price; 6] {
    [
        prices.prompt,
        prices.cached_prompt.unwrap_or(prices.prompt),
        prices.cache_write.unwrap_or(prices.prompt),
        prices.completion,
        prices.internal_reasoning.unwrap_or(prices.completion),
        prices.request,
    ]
}

/// Rows of one offer by version.
type Versions = Arc<BTreeMap<u32, Arc<PriceRow>>>;

/// Prices in memory. Reading takes no lock.
#[derive(Debug, Default)]
pub struct PriceBook {
    offers: HashMap<OfferId, Versions>,
    /// Transactions below this are in the book already.
    watermark: Mutex<i64>,
}

impl PriceBook {
    /// The row a dispatch was pinned to, while it is young enough to be in memory.
    #[must_use]
    pub fn get(&self, offer: OfferId, version: u32) -> Option<Arc<PriceRow>> {
        self.offers.pin().get(&offer)?.get(&version).cloned()
    }

    /// The row in force at `now`.
    #[must_use]
    pub fn current(&self, offer: OfferId, now: Timestamp) -> Option<Arc<PriceRow>> {
        let offers = self.offers.pin();
        // From the latest version down: the first whose time has come.
        offers.get(&offer)?.values().rev().find(|row| row.effective_at <= now).cloned()
    }

    /// Adds a row, as after posting it.
    pub fn insert(&self, row: Arc<PriceRow>) {
        self.offers.pin().update_or_insert_with(
            row.offer,
            |versions| {
                let mut versions = BTreeMap::clone(versions);
                versions.insert(row.version, Arc::clone(&row));
                Arc::new(versions)
            },
            || Arc::new(BTreeMap::from([(row.version, Arc::clone(&row))])),
        );
    }

    /// Reads what was posted since the last reload; the first time, everything still of use.
    ///
    /// # Errors
    /// When the database can't be read; the book stays as it was.
    pub async fn reload(&self, db: &PgPool, now: Timestamp) -> Result<usize, sqlx::Error> {
        let from = *self.watermark.lock();
        let mut conn = db.acquire().await?;
        let (rows, upto) = store::prices::list_since(&mut conn, from, now).await?;
        let count = rows.len();
        for row in rows {
            self.insert(Arc::new(row));
        }
        *self.watermark.lock() = upto;
        Ok(count)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use protocol::Id;
    use uuid::Uuid;

    fn prices(prompt: i64, completion: i64) -> Prices {
        Prices {
            prompt: Price::from_pico(prompt).unwrap(),
            completion: Price::from_pico(completion).unwrap(),
            ..Prices::default()
        }
    }

    fn row(version: u32, effective_s: i64) -> Arc<PriceRow> {
        Arc::new(PriceRow {
            offer: OfferId::from_uuid(Uuid::from_u128(1)),
            version,
            model: "m".into(),
            effective_at: Timestamp::from_unix_seconds(effective_s),
            posted_at: Timestamp::EPOCH,
            take_bps: 0,
            provider: prices(1, 1),
            user: prices(1, 1),
        })
    }

    #[test]
    fn a_cut_acts_at_once_and_anything_that_rises_waits() {
        let (now, delay) = (Timestamp::from_unix_seconds(1_000), Duration::from_secs(300));
        let waits = |old: Prices, new: Prices| effective_at(Some(&old), &new, now, delay) != now;
        assert_eq!(effective_at(None, &prices(5, 5), now, delay), now);
        assert!(!waits(prices(5, 5), prices(4, 5)));
        assert!(waits(prices(5, 5), prices(6, 5)));
        assert!(waits(prices(5, 5), prices(1, 6)), "a mixed change is a rise");
        assert_eq!(effective_at(Some(&prices(5, 5)), &prices(6, 5), now, delay), now.plus(delay));
    }

    #[test]
    fn a_class_that_loses_its_discount_rises() {
        let (now, delay) = (Timestamp::EPOCH, Duration::from_secs(300));
        let discounted = Prices { cached_prompt: Price::from_pico(1), ..prices(5, 5) };
        assert_ne!(effective_at(Some(&discounted), &prices(5, 5), now, delay), now);
        assert_eq!(effective_at(Some(&prices(5, 5)), &discounted, now, delay), now);
    }

    #[test]
    fn the_latest_posting_whose_time_has_come_is_in_force() {
        let book = PriceBook::default();
        // Version 2 is a rise that waits; version 3 a cut that acts first and stays.
        for row in [row(1, 0), row(2, 400), row(3, 200)] {
            book.insert(row);
        }
        let offer = OfferId::from_uuid(Uuid::from_u128(1));
        let at = |s| book.current(offer, Timestamp::from_unix_seconds(s)).map(|row| row.version);
        assert_eq!([at(0), at(199), at(200), at(400)], [Some(1), Some(1), Some(3), Some(3)]);
        assert_eq!(at(-1), None);
        assert_eq!(book.get(offer, 2).unwrap().version, 2);
    }
}

//! The processor's lists, each read on from where it was read last.

use std::future::Future;
use std::time::Duration;

use miniserde::Deserialize;
use protocol::Timestamp;
use sqlx::PgConnection;
use stripe_client_core::StripeRequest;
use stripe_types::{List, RangeBoundsTs, RangeQueryTs};

use super::Cards;
use crate::Error;
use crate::store::stripe_cursors::{self, Cursor};

/// Read again from this long before what was read last: some entries show later than they are dated.
const OVERLAP: Duration = Duration::from_secs(3_600);
/// Read in one list: a day, so that what is read stays however long the way to now is.
const WINDOW: Duration = Duration::from_secs(86_400);
/// Most entries of a page, by the processor.
pub(super) const PAGE: i64 = 100;
/// Most pages of a day: a hundred thousand entries. One with more is not read in part, which would look like all.
const PAGES: usize = 1_000;

/// A list of the processor's: what it is asked for, and where its entries go.
pub(super) trait Listed {
    /// An entry.
    type Entry: Deserialize + Send + Sync + 'static;
    /// The request for a page.
    type Request: StripeRequest<Output = List<Self::Entry>> + Send + Sync;
    /// Where it is noted how far it was read.
    const CURSOR: Cursor;

    /// Asks for what was created in a time, newest first, behind the entry `after`.
    fn page(created: RangeQueryTs, after: Option<&str>) -> Self::Request;

    /// What the processor calls an entry.
    fn id(entry: &Self::Entry) -> &str;

    /// Stores an entry unless it was. Returns how many are new.
    fn store(
        conn: &mut PgConnection,
        entry: &Self::Entry,
        now: Timestamp,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;
}

/// Reads a list from a time on, a day after the other, and notes each that was read. Returns how many entries are new.
///
/// # Errors
/// What the processor says; [`Error::CardsMisused`] for a day of more entries than are read; [`Error::Database`]. What
/// was read before stays.
pub(super) async fn read<L: Listed>(cards: &Cards, mut from: Timestamp, now: Timestamp) -> Result<u64, Error> {
    // What can't be read is not passed over, so a list that gets nowhere has to be seen.
    let behind = metrics::gauge!("steelyard_billing_stripe_list_behind_s", "list" => L::CURSOR.as_str());
    let mut new = 0;
    loop {
        behind.set(now.since(from).as_secs_f64());
        let upto = now.min(from.plus(WINDOW));
        new += read_window::<L>(cards, from.minus(OVERLAP), upto, now).await?;
        stripe_cursors::advance(&mut *cards.db().acquire().await?, L::CURSOR, upto).await?;
        if upto == now {
            behind.set(0.0);
            return Ok(new);
        }
        from = upto;
    }
}

/// Stores every entry of a time.
async fn read_window<L: Listed>(cards: &Cards, from: Timestamp, upto: Timestamp, now: Timestamp) -> Result<u64, Error> {
    let bounds =
        RangeBoundsTs { gte: Some(from.unix_seconds()), lte: Some(upto.unix_seconds()), ..RangeBoundsTs::default() };
    let (mut after, mut new): (Option<String>, _) = (None, 0);
    for _ in 0..PAGES {
        let page = cards.fetch(&L::page(RangeQueryTs::Bounds(bounds), after.as_deref())).await?;
        let mut conn = cards.db().acquire().await?;
        for entry in &page.data {
            new += L::store(&mut conn, entry, now).await?;
        }
        match page.data.last() {
            Some(last) if page.has_more => after = Some(L::id(last).to_owned()),
            _ => return Ok(new),
        }
    }
    let list = L::CURSOR.as_str();
    Err(Error::CardsMisused { reason: format!("a day of its list of {list} has more than {PAGES} pages") })
}

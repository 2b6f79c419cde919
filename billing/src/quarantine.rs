//! Settled requests the books refused: what waits, and what a person does about it.

use protocol::{Env, FlushId, NanoUsd, OrganizationId, RequestId, Timestamp};
use sqlx::PgConnection;

use crate::store::rows::UsageRow;
use crate::store::{flush, partitions, quarantine};
use crate::{Error, calendar};

/// A row that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// Which request.
    pub request: RequestId,
    /// Who would have paid.
    pub account: OrganizationId,
    /// What it came to; unknown when the row can't be read.
    pub charge: Option<NanoUsd>,
    /// Why the books refused it.
    pub error: String,
    /// Since when.
    pub parked_at: Timestamp,
}

/// What became of a parked row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// It is in the books now.
    Replayed,
    /// It never will be: the user keeps the charge, the provider goes without.
    Discarded,
}

/// What a replay found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    /// Who pays.
    pub account: OrganizationId,
    /// How much.
    pub charge: NanoUsd,
    /// False when its request had been booked in another way meanwhile; nothing is charged then.
    pub is_new: bool,
}

impl Resolution {
    /// The name, as stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
        }
    }
}

/// What waits, oldest first, at most `limit` rows.
///
/// # Errors
/// When the database call fails.
pub async fn list(conn: &mut PgConnection, limit: u32) -> Result<Vec<Parked>, Error> {
    Ok(quarantine::list(conn, limit.into()).await?)
}

/// Books a parked row after all, in the caller's transaction. Its replica has taken the money it had set aside
/// back into use, so the charge comes as late usage does: from what the account has, the rest as a debt.
///
/// # Errors
/// [`Error::NotQuarantined`]; [`Error::StillRefused`], after which the transaction is lost and the row waits on.
pub async fn replay(conn: &mut PgConnection, env: &Env, request: RequestId) -> Result<Replayed, Error> {
    let (account, json) = quarantine::claim(conn, request).await?.ok_or(Error::NotQuarantined { request })?;
    let refused = |reason: String| Error::StillRefused { request, reason };
    let row: UsageRow = serde_json::from_value(json).map_err(|error| refused(error.to_string()))?;
    // What it lacked may have been its day.
    partitions::ensure(conn, calendar::midnight(calendar::day_of(row.finished_at)), 1).await?;
    let flushed = flush::flush(conn, env.mint::<FlushId>(), &[&row], env.now(), true).await;
    let flushed = flushed.map_err(|error| match error {
        sqlx::Error::Database(error) => refused(error.to_string()),
        other => other.into(),
    })?;
    quarantine::resolve(conn, request, Resolution::Replayed).await?;
    Ok(Replayed { account, charge: row.charge, is_new: flushed.fresh.contains(&request) })
}

/// Gives a parked row up, in the caller's transaction, and tells whose it is.
///
/// # Errors
/// [`Error::NotQuarantined`]; [`Error::Database`].
pub async fn discard(conn: &mut PgConnection, request: RequestId) -> Result<OrganizationId, Error> {
    let (account, _) = quarantine::claim(conn, request).await?.ok_or(Error::NotQuarantined { request })?;
    quarantine::resolve(conn, request, Resolution::Discarded).await?;
    Ok(account)
}

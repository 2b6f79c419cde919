//! The checks by themselves: every night, by one replica, and told by all.

use std::time::Duration;

use protocol::Timestamp;
use sqlx::PgPool;

use super::{Report, check_all, snapshot};
use crate::config::Leasing;
use crate::store::chain::try_lock;
use crate::store::reconciliations::{self, Reconciliation};
use crate::{Error, calendar};

/// The night begins so long after midnight UTC: statements and epochs of the day are made by then.
const NIGHT: Duration = Duration::from_secs(3 * 3_600);
/// Nights are remembered as long as reports are.
const KEPT: Duration = Duration::from_secs(400 * 86_400);
/// Differences written to the log; `steelyard reconcile` names them all.
const LOGGED: usize = 20;

/// Runs every check once a night, whichever replica comes first, and says what came of the newest. Returns what was
/// checked now.
///
/// # Errors
/// [`Error::Database`]; the night is tried again at the next call then.
pub async fn nightly(db: &PgPool, leasing: &Leasing, now: Timestamp) -> Result<Option<Reconciliation>, Error> {
    let last = reconciliations::find_last(&mut *db.acquire().await?).await?;
    let checked =
        if last.is_none_or(|last| is_due(last.checked_at, now)) { check(db, leasing, now).await? } else { None };
    if let Some(newest) = checked.or(last) {
        metrics::gauge!("steelyard_billing_invariant_differences").set(f64::from(newest.differences));
        metrics::gauge!("steelyard_billing_reconciled_age_s").set(now.since(newest.checked_at).as_secs_f64());
    }
    Ok(checked)
}

/// A night has begun since.
fn is_due(last: Timestamp, now: Timestamp) -> bool {
    calendar::day_of(last.minus(NIGHT)) < calendar::day_of(now.minus(NIGHT))
}

async fn check(db: &PgPool, leasing: &Leasing, now: Timestamp) -> Result<Option<Reconciliation>, Error> {
    let mut tx = snapshot(db).await?;
    // Another replica may be at it, or may have been until just now.
    if !try_lock(&mut tx, "reconcile").await?
        || reconciliations::find_last(&mut tx).await?.is_some_and(|last| !is_due(last.checked_at, now))
    {
        return Ok(None);
    }
    let report = check_all(&mut tx, leasing).await?;
    let differences = report.checks.iter().flat_map(|check| check.differences.iter().map(|what| (check.name, what)));
    for (check, difference) in differences.take(LOGGED) {
        tracing::error!(check, difference, "the books differ: see `steelyard reconcile`");
    }
    let found = remember(db, &report, now).await?;
    tx.rollback().await?;
    Ok(Some(found))
}

/// Keeps what a run of all checks came to, for every replica to tell of until the next.
///
/// # Errors
/// When the database call fails.
pub async fn remember(db: &PgPool, report: &Report, now: Timestamp) -> Result<Reconciliation, sqlx::Error> {
    let small = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let differences = report.checks.iter().map(|check| check.differences.len()).sum();
    let found = Reconciliation { checked_at: now, checks: small(report.checks.len()), differences: small(differences) };
    let mut conn = db.acquire().await?;
    reconciliations::insert(&mut conn, found).await?;
    reconciliations::prune(&mut conn, now.minus(KEPT)).await?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_night_begins_at_three() {
        let at = |day: i64, hour: i64| Timestamp::from_unix_seconds((20_000 + day) * 86_400 + hour * 3_600);
        assert!(!is_due(at(0, 4), at(0, 23)));
        assert!(!is_due(at(0, 4), at(1, 2)));
        assert!(is_due(at(0, 4), at(1, 3)));
        assert!(is_due(at(1, 2), at(1, 3)), "a check in the night before");
        assert!(is_due(at(0, 4), at(9, 0)));
    }
}

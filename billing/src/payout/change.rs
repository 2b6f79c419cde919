//! Moving to another payout account: both accounts sign, everybody can see it coming, and meanwhile nothing is paid.

use std::time::Duration;

use protocol::payout::{PayoutChange, parse_account};
use protocol::typed::Typed as _;
use protocol::wallet::Signed;
use protocol::{ProviderId, Timestamp};
use sqlx::PgConnection;

use crate::Error;
use crate::store::payout_accounts::{self, Account};

/// Time for whoever still has the old account to object.
pub const CHANGE_WAITS: Duration = Duration::from_secs(48 * 3_600);

/// Takes a change that both accounts signed. It counts after [`CHANGE_WAITS`].
///
/// # Errors
/// [`Error::PayoutChange`] says what is wrong with it; [`Error::Database`].
pub async fn request_change(
    conn: &mut PgConnection,
    change: &PayoutChange,
    old: &Signed,
    new: &Signed,
    now: Timestamp,
) -> Result<Account, Error> {
    let accounts = payout_accounts::claim(conn, change.provider).await?;
    let refuse = |reason: &str| Error::PayoutChange { reason: reason.to_owned() };
    let current =
        accounts.iter().rev().find(|account| account.counts(now)).ok_or_else(|| refuse("there is no account"))?;
    if accounts.iter().any(|account| account.is_pending(now)) {
        return Err(refuse("another change waits; cancel it first"));
    }
    let next = accounts.last().map_or(0, |last| last.nonce + 1);
    if change.nonce != next {
        return Err(Error::PayoutChange { reason: format!("the next change has the number {next}") });
    }
    if change.from != current.account {
        return Err(Error::PayoutChange { reason: format!("the account until now is {}", current.account) });
    }
    let (Some((_, from)), Some((_, to))) = (parse_account(&change.from), parse_account(&change.to)) else {
        return Err(refuse("both accounts are eip155 accounts in CAIP-10"));
    };
    let digest = change.digest_anywhere();
    if old.recover(&digest) != Ok(from) {
        return Err(refuse("the old account has not signed this change"));
    }
    if new.recover(&digest) != Ok(to) {
        return Err(refuse("the new account has not signed this change"));
    }
    let account = Account {
        nonce: next,
        account: change.to.clone(),
        requested_at: now,
        effective_at: now.plus(CHANGE_WAITS),
        cancelled_at: None,
    };
    payout_accounts::insert(conn, change.provider, &account, Some((old, new))).await?;
    Ok(account)
}

/// Takes a change back that does not count yet. `None` when none waits.
///
/// # Errors
/// [`Error::Database`].
pub async fn cancel_change(
    conn: &mut PgConnection,
    provider: ProviderId,
    now: Timestamp,
) -> Result<Option<Account>, Error> {
    let accounts = payout_accounts::claim(conn, provider).await?;
    let Some(pending) = accounts.into_iter().find(|account| account.is_pending(now)) else { return Ok(None) };
    payout_accounts::cancel(conn, provider, pending.nonce, now).await?;
    Ok(Some(Account { cancelled_at: Some(now), ..pending }))
}

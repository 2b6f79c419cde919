//! Credit given: where it came from, and how long it lasts.

use protocol::{Env, GrantId, NanoUsd, OrganizationId, Timestamp, TransferId};
use sqlx::PgConnection;

use crate::Error;
use crate::account::{AccountKind, LedgerAccount};
use crate::ledger::{Cause, Posting, Transfer};
use crate::store;

/// Why credit was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantKind {
    /// To win a user.
    Promo,
    /// To make up for something.
    Goodwill,
    /// Bought by card.
    Card,
}

/// Credit to be given.
#[derive(Debug, Clone)]
pub struct NewGrant {
    /// To whom. The account is opened when it does not exist.
    pub account: OrganizationId,
    /// Why.
    pub kind: GrantKind,
    /// Names the occasion: the same one gives an account once, however often it is asked for.
    pub cause: String,
    /// How much, above zero.
    pub amount: NanoUsd,
    /// When what is left of it goes; `None` for never.
    pub expires_at: Option<Timestamp>,
}

/// What became of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granted {
    /// Given now.
    New(GrantId),
    /// This occasion gave before.
    Earlier(GrantId),
}

impl GrantKind {
    /// The name, as stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Promo => "promo",
            Self::Goodwill => "goodwill",
            Self::Card => "card",
        }
    }

    /// Where the money comes from.
    const fn source(self) -> AccountKind {
        match self {
            Self::Promo => AccountKind::PromoExpense,
            Self::Goodwill => AccountKind::GoodwillExpense,
            Self::Card => AccountKind::StripeClearing,
        }
    }

    fn cause(self, account: OrganizationId, occasion: &str) -> Cause {
        match self {
            Self::Promo => Cause::Promo(account, occasion.to_owned()),
            Self::Goodwill => Cause::Goodwill(account, occasion.to_owned()),
            Self::Card => Cause::Payment(occasion.to_owned()),
        }
    }
}

/// Gives credit: one booking, one grant, and the account's available money, all in the caller's
/// transaction. What the account owes is paid first.
///
/// # Errors
/// [`Error::OccasionDiffers`] when the occasion gave this account another amount before; [`Error::Database`].
/// Repeating it after any error, or after success, gives once.
pub async fn grant(conn: &mut PgConnection, env: &Env, new: &NewGrant) -> Result<Granted, Error> {
    give(conn, env, new, NanoUsd::ZERO).await
}

/// Gives what was paid for by card; `tax` came with it and goes to the state.
///
/// # Errors
/// As [`grant`]; the occasion is the payment.
pub(crate) async fn give(conn: &mut PgConnection, env: &Env, new: &NewGrant, tax: NanoUsd) -> Result<Granted, Error> {
    store::accounts::open(conn, new.account).await?;
    store::grants::lock_account(conn, new.account).await?;
    if let Some((earlier, given)) =
        store::grants::find_by_cause(conn, new.account, new.kind.as_str(), &new.cause).await?
    {
        if given == new.amount {
            return Ok(Granted::Earlier(earlier));
        }
        let (account, occasion, asked) = (new.account, new.cause.clone(), new.amount);
        return Err(Error::OccasionDiffers { account, occasion, given, asked });
    }
    let (credits, receivable) = (LedgerAccount::credits(new.account), LedgerAccount::receivable(new.account));
    let repaid = owed(conn, new.account).await?.min(new.amount);
    let postings = [
        Posting::new(LedgerAccount::platform(new.kind.source()), credits, new.amount),
        Posting::new(credits, receivable, repaid),
        Posting::new(LedgerAccount::platform(new.kind.source()), LedgerAccount::platform(AccountKind::TaxPayable), tax),
    ];
    let transfer = Transfer {
        id: env.mint::<TransferId>(),
        cause: new.kind.cause(new.account, &new.cause),
        postings: postings.into_iter().flatten().collect(),
    };
    if !store::transfers::book(conn, &transfer).await? {
        // Money without a booking behind it would never reconcile.
        return Err(Error::AlreadyBooked { cause: transfer.cause.to_string() });
    }
    let id = env.mint::<GrantId>();
    store::grants::insert(conn, id, new, repaid, env.now()).await?;
    Ok(Granted::New(id))
}

/// What an account owes. The caller holds the account's lock.
pub(crate) async fn owed(conn: &mut PgConnection, account: OrganizationId) -> Result<NanoUsd, Error> {
    let turnover = store::transfers::turnover(conn, LedgerAccount::receivable(account)).await?;
    Ok(NanoUsd::new(turnover.balance(AccountKind::Receivable)).unwrap_or(NanoUsd::ZERO))
}

/// Takes what an account has spent from its grants: promo before other credit, earliest expiry first.
/// Returns how much was taken. Run it in a transaction of its own, or in the one that needs it done.
///
/// # Errors
/// When the database call fails.
pub async fn burn(conn: &mut PgConnection, account: OrganizationId) -> Result<NanoUsd, sqlx::Error> {
    store::grants::lock_account(conn, account).await?;
    store::grants::burn(conn, account).await
}

/// Takes expired gifts back, as far as they are not lent out, gifts before what was paid for; the rest when it returns.
/// Returns how much was taken. Run it in a transaction of its own.
///
/// # Errors
/// [`Error::Database`].
pub async fn expire(conn: &mut PgConnection, env: &Env, account: OrganizationId) -> Result<NanoUsd, Error> {
    burn(conn, account).await?;
    let mut taken = NanoUsd::ZERO;
    for due in store::grants::list_expired(conn, account, env.now()).await? {
        let Some(amount) = store::grants::expire(conn, account, due.grant).await? else { continue };
        let gift = if due.kind == GrantKind::Goodwill.as_str() { GrantKind::Goodwill } else { GrantKind::Promo };
        let (debit, credit) = (LedgerAccount::credits(account), LedgerAccount::platform(gift.source()));
        let cause = Cause::PromoExpired { grant: due.grant, taken: due.expired };
        let postings = Posting::new(debit, credit, amount).into_iter().collect();
        store::transfers::book(conn, &Transfer { id: env.mint(), cause, postings }).await?;
        taken = taken.saturating_add(amount);
    }
    Ok(taken)
}

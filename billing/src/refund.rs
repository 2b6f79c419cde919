//! Bought credit that goes back to the card it came from: taken from the account first, then asked for.

use std::collections::HashMap;
use std::time::Duration;

use protocol::{GrantId, Id, NanoUsd, OrganizationId, RefundId, Timestamp, TopupId};
use sqlx::PgConnection;
use stripe_core::refund::{CreateRefund, ListRefund};
use stripe_shared::Refund as Theirs;

use crate::account::{AccountKind, LedgerAccount};
use crate::ledger::{Cause, Posting, RefundStep, Transfer};
use crate::store::{self, refunds, stripe_calls};
use crate::stripe::{Call, Cards, cents, from_cents, whole_cents};
use crate::{Error, grant};

/// As long as a client may repeat a request under the same `Idempotency-Key`.
const REPEATED_WITHIN: Duration = Duration::from_secs(24 * 3_600);
/// Under this name our id is kept with a refund over there.
const REFUND_ID: &str = "refund_id";

/// How far a refund is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefundState {
    /// Taken from the account; the processor is being asked.
    Open,
    /// The processor has it.
    Sent,
    /// It is on the card.
    Succeeded,
    /// The bank would not have it: it is credit again.
    Failed,
    /// The processor would not make it: it is credit again.
    Refused,
}

/// A part of one top-up that goes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// Names it.
    pub id: RefundId,
    /// From whose account.
    pub account: OrganizationId,
    /// Of which top-up.
    pub topup: TopupId,
    /// And so of which grant.
    pub grant: GrantId,
    /// The credit taken.
    pub credit: NanoUsd,
    /// The tax that goes with it.
    pub tax: NanoUsd,
    /// Of the credit, what the account did not have any more.
    pub owed: NanoUsd,
    /// How far it is.
    pub state: RefundState,
    /// The processor's name for it.
    pub theirs: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
}

/// Credit somebody wants back.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// From whose account.
    pub account: OrganizationId,
    /// Of which top-up; of the oldest first, when absent.
    pub topup: Option<TopupId>,
    /// How much of it.
    pub amount: NanoUsd,
    /// Tells the wish from any other of the account: repeated within a day, it is the same one.
    pub occasion: Option<&'a [u8]>,
}

/// What a wish came to.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The parts it comes in, one for each top-up.
    pub parts: Vec<Refund>,
    /// Whether they were taken now, and not when the same was wanted before.
    pub is_new: bool,
}

/// A purchase with something left.
#[derive(Debug, Clone)]
pub(crate) struct Purchase {
    pub topup: TopupId,
    pub grant: GrantId,
    pub amount: NanoUsd,
    pub tax: NanoUsd,
    pub remaining: NanoUsd,
    /// Of the credit and of the tax, what went back or is on its way.
    pub credit_back: NanoUsd,
    pub tax_back: NanoUsd,
}

impl RefundState {
    /// The name, as stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Sent => "sent",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }

    pub(crate) fn from_stored(name: &str) -> Option<Self> {
        [Self::Open, Self::Sent, Self::Succeeded, Self::Failed, Self::Refused]
            .into_iter()
            .find(|state| state.as_str() == name)
    }

    const fn is_back(self) -> bool {
        matches!(self, Self::Failed | Self::Refused)
    }
}

impl Purchase {
    /// The tax that goes back with `credit` of it: its share, and all that is left with the last of the credit.
    fn tax_of(&self, credit: NanoUsd) -> NanoUsd {
        let left = self.tax.saturating_sub(self.tax_back);
        if self.credit_back.saturating_add(credit) >= self.amount || self.amount.is_zero() {
            return left;
        }
        let share = i128::from(self.tax.nano()) * i128::from(credit.nano()) / i128::from(self.amount.nano());
        let share = i64::try_from(share).ok().and_then(NanoUsd::new).unwrap_or(NanoUsd::ZERO);
        whole_cents(share).min(left)
    }

    /// The credit in `total` of what was paid, tax included: its share, and never more than has not gone back yet.
    pub(crate) fn credit_of(&self, total: NanoUsd) -> NanoUsd {
        let paid = self.amount.saturating_add(self.tax);
        let share = i128::from(self.amount.nano()) * i128::from(total.nano()) / i128::from(paid.nano().max(1));
        let credit = i64::try_from(share).ok().and_then(NanoUsd::new).map_or(NanoUsd::ZERO, whole_cents);
        credit.min(self.amount.saturating_sub(self.credit_back))
    }
}

/// Sends unspent bought credit back, of one top-up or of the oldest first. All of `amount`, or nothing.
///
/// # Errors
/// As [`take_wish`]. After the account was debited nothing fails: what has no outcome yet stays open and goes on
/// beside.
pub async fn request(
    cards: &Cards,
    account: OrganizationId,
    topup: Option<TopupId>,
    amount: NanoUsd,
) -> Result<Vec<Refund>, Error> {
    let mut tx = cards.db().begin().await?;
    let taken = take_wish(&mut tx, cards, Wish { account, topup, amount, occasion: None }).await?;
    tx.commit().await?;
    Ok(send_all(cards, taken.parts).await)
}

/// Takes what is wanted back from the account, or finds what was taken when the same was wanted before. The caller
/// commits, and then sends it with [`send_all`].
///
/// # Errors
/// [`Error::NotRefundable`], with what could be; [`Error::Database`].
pub async fn take_wish(conn: &mut PgConnection, cards: &Cards, wish: Wish<'_>) -> Result<Taken, Error> {
    let Wish { account, topup, amount, occasion } = wish;
    grant::expire(conn, cards.env(), account).await?;
    if let Some(occasion) = occasion {
        let since = cards.env().now().minus(REPEATED_WITHIN);
        let parts = refunds::list_wanted(conn, account, occasion, since).await?;
        if !parts.is_empty() {
            return Ok(Taken { parts, is_new: false });
        }
    }
    // What it owes it does not take away.
    let owed = grant::owed(conn, account).await?;
    let left = whole_cents(refunds::available(conn, account).await?.saturating_sub(owed));
    let purchases = refunds::list_purchases(conn, account, topup).await?;
    let possible = sum_left(&purchases).min(left);
    if amount.is_zero() || cents(amount).is_none() || amount > possible {
        return Err(Error::NotRefundable { asked: amount, left: possible });
    }
    let parts = take_from(conn, cards, account, &purchases, amount, left).await?;
    if let Some(occasion) = occasion {
        refunds::set_occasion(conn, &parts, occasion).await?;
    }
    Ok(Taken { parts, is_new: true })
}

/// Takes all that is left of one top-up. The caller holds the account's lock, has burned, and sends what comes of this
/// with [`send_all`] once it has committed.
pub(crate) async fn take_rest(
    conn: &mut PgConnection,
    cards: &Cards,
    account: OrganizationId,
    topup: TopupId,
) -> Result<Vec<Refund>, Error> {
    let left = whole_cents(refunds::available(conn, account).await?);
    let purchases = refunds::list_purchases(conn, account, Some(topup)).await?;
    take_from(conn, cards, account, &purchases, sum_left(&purchases), left).await
}

/// What is left of purchases, in whole cents.
fn sum_left(purchases: &[Purchase]) -> NanoUsd {
    purchases.iter().fold(NanoUsd::ZERO, |sum, one| sum.saturating_add(whole_cents(one.remaining)))
}

/// Takes as much as is wanted and `left` from purchases, one after the other.
async fn take_from(
    conn: &mut PgConnection,
    cards: &Cards,
    account: OrganizationId,
    purchases: &[Purchase],
    mut wanted: NanoUsd,
    mut left: NanoUsd,
) -> Result<Vec<Refund>, Error> {
    let (now, mut parts) = (cards.env().now(), Vec::new());
    for purchase in purchases {
        let credit = whole_cents(purchase.remaining).min(wanted).min(left);
        if credit.is_zero() {
            continue;
        }
        (wanted, left) = (wanted.saturating_sub(credit), left.saturating_sub(credit));
        let refund = Refund {
            id: cards.env().mint(),
            account,
            topup: purchase.topup,
            grant: purchase.grant,
            credit,
            tax: purchase.tax_of(credit),
            owed: NanoUsd::ZERO,
            state: RefundState::Open,
            theirs: None,
            created_at: now,
        };
        take(conn, cards, &refund).await?;
        parts.push(refund);
    }
    Ok(parts)
}

/// Asks for refunds that were taken, and returns them as they are then. They are debited: whatever the processor or
/// the database says is no failure of theirs, and they are asked for again beside.
pub async fn send_all(cards: &Cards, parts: Vec<Refund>) -> Vec<Refund> {
    let mut sent = Vec::with_capacity(parts.len());
    for part in parts {
        let now = send_one(cards, &part).await.unwrap_or_else(|error| {
            tracing::warn!(refund.id = %part.id, %error, "a refund has no outcome yet");
            None
        });
        sent.push(now.unwrap_or(part));
    }
    sent
}

/// A refund as it is once it was asked for.
async fn send_one(cards: &Cards, part: &Refund) -> Result<Option<Refund>, Error> {
    if part.state == RefundState::Open
        && let Err(error) = send(cards, part).await
    {
        tracing::warn!(refund.id = %part.id, %error, "a refund has no outcome yet");
    }
    Ok(refunds::find(&mut *cards.db().acquire().await?, part.id).await?)
}

/// Takes a refund from its grant and account, and books it. The caller holds the account's lock.
async fn take(conn: &mut PgConnection, cards: &Cards, refund: &Refund) -> Result<(), Error> {
    refunds::insert(conn, refund).await?;
    refunds::take(conn, refund).await?;
    let owing =
        Posting::new(LedgerAccount::receivable(refund.account), LedgerAccount::credits(refund.account), refund.owed);
    let mut postings: Vec<Posting> = owing.into_iter().collect();
    postings.extend(moved(refund, AccountKind::RefundsInFlight));
    book(conn, cards, refund.id, RefundStep::Taken, postings).await
}

/// Credit and tax of a refund, on their way to `to`.
fn moved(refund: &Refund, to: AccountKind) -> impl Iterator<Item = Posting> {
    let (to, tax) = (LedgerAccount::platform(to), LedgerAccount::platform(AccountKind::TaxPayable));
    [Posting::new(LedgerAccount::credits(refund.account), to, refund.credit), Posting::new(tax, to, refund.tax)]
        .into_iter()
        .flatten()
}

async fn book(
    conn: &mut PgConnection,
    cards: &Cards,
    refund: RefundId,
    step: RefundStep,
    postings: Vec<Posting>,
) -> Result<(), Error> {
    let transfer = Transfer { id: cards.env().mint(), cause: Cause::Refund(refund, step), postings };
    store::transfers::book(conn, &transfer).await?;
    Ok(())
}

/// Asks the processor for a refund that was taken from the account. Harmless at any time.
///
/// # Errors
/// What the processor says: [`Error::CardRefused`] after the credit is back on the account, [`Error::CardUnknown`].
pub async fn send(cards: &Cards, refund: &Refund) -> Result<(), Error> {
    let intent = refunds::payment_of(&mut *cards.db().acquire().await?, refund.id).await?;
    let total = refund.credit.saturating_add(refund.tax);
    let request = CreateRefund::new()
        .payment_intent(intent.as_str())
        .amount(cents(total).unwrap_or(0))
        .metadata(HashMap::from([(REFUND_ID.to_owned(), refund.id.to_string())]));
    let theirs = match cards.make(refund_call(refund.id), &request).await {
        Ok(theirs) => theirs,
        Err(Error::CardUnknown { key }) => match find_theirs(cards, refund.id, &intent).await? {
            Some(theirs) => theirs,
            None => {
                cards.lapse(&key, false).await?;
                return Err(Error::CardUnknown { key });
            }
        },
        Err(error @ Error::CardRefused { .. }) => {
            give_back(cards, refund.id, RefundState::Refused, None).await?;
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    note(cards, &theirs, &intent).await
}

/// What makes a refund over there.
fn refund_call(refund: RefundId) -> Call {
    Call { purpose: "refund", subject: refund.uuid() }
}

/// The refund that was made for ours, when its answer was lost.
async fn find_theirs(cards: &Cards, id: RefundId, intent: &str) -> Result<Option<Box<Theirs>>, Error> {
    let list = cards.fetch(&ListRefund::new().payment_intent(intent).limit(100)).await?;
    Ok(list.data.into_iter().find(|theirs| named(theirs) == Some(id)).map(Box::new))
}

fn named(theirs: &Theirs) -> Option<RefundId> {
    theirs.metadata.as_ref()?.get(REFUND_ID)?.parse().ok()
}

/// Books what is known of a refund over there, as far as it is not yet. One made by hand over there is taken from
/// the account it was bought for; what that does not have any more, it owes.
///
/// # Errors
/// [`Error::RefundDiffers`]; [`Error::Database`].
pub(crate) async fn note(cards: &Cards, theirs: &Theirs, intent: &str) -> Result<(), Error> {
    let mut tx = cards.db().begin().await?;
    let Some(account) = refunds::account_of(&mut tx, intent).await? else { return Ok(()) };
    grant::burn(&mut tx, account).await?;
    let known = match named(theirs) {
        Some(id) => refunds::find(&mut tx, id).await?,
        None => refunds::find_theirs(&mut tx, theirs.id.as_str()).await?,
    };
    let refund = match known {
        Some(refund) => refund,
        None => take_found(&mut tx, cards, theirs, account, intent).await?,
    };
    let total = refund.credit.saturating_add(refund.tax);
    if cents(total) != Some(theirs.amount) || refund.theirs.as_deref().is_some_and(|id| id != theirs.id.as_str()) {
        return Err(Error::RefundDiffers { refund: refund.id });
    }
    // With its effect: a refund that looks unsent would be made again.
    stripe_calls::done(&mut tx, refund_call(refund.id), theirs.id.as_str()).await?;
    let clearing = LedgerAccount::platform(AccountKind::StripeClearing);
    let in_flight = LedgerAccount::platform(AccountKind::RefundsInFlight);
    match theirs.status.as_deref() {
        Some("succeeded") if !refund.state.is_back() => {
            let postings = Posting::new(in_flight, clearing, total).into_iter().collect();
            book(&mut tx, cards, refund.id, RefundStep::Paid, postings).await?;
            refunds::set_state(&mut tx, refund.id, RefundState::Succeeded, theirs.id.as_str(), cards.env().now())
                .await?;
        }
        Some("failed" | "canceled") if !refund.state.is_back() => {
            // It left the processor and came back, each with a line of its own there.
            if refund.state == RefundState::Succeeded || theirs.balance_transaction.is_some() {
                let postings = Posting::new(in_flight, clearing, total).into_iter().collect();
                book(&mut tx, cards, refund.id, RefundStep::Paid, postings).await?;
                let postings = Posting::new(clearing, in_flight, total).into_iter().collect();
                book(&mut tx, cards, refund.id, RefundStep::Unpaid, postings).await?;
            }
            // Not open any more, whatever becomes of this process before the credit is back.
            refunds::set_state(&mut tx, refund.id, RefundState::Sent, theirs.id.as_str(), cards.env().now()).await?;
            tx.commit().await?;
            return give_back(cards, refund.id, RefundState::Failed, Some(theirs.id.as_str())).await;
        }
        _ if refund.state == RefundState::Open => {
            refunds::set_state(&mut tx, refund.id, RefundState::Sent, theirs.id.as_str(), cards.env().now()).await?;
        }
        _ => {}
    }
    tx.commit().await?;
    Ok(())
}

/// Takes a refund that was made by hand over there.
async fn take_found(
    conn: &mut PgConnection,
    cards: &Cards,
    theirs: &Theirs,
    account: OrganizationId,
    intent: &str,
) -> Result<Refund, Error> {
    let differs = || Error::PaymentDiffers {
        payment: intent.to_owned(),
        reason: format!("refund {} gives back more than came", theirs.id),
    };
    let purchase = refunds::find_purchase(conn, intent).await?.ok_or_else(differs)?;
    let total = from_cents(theirs.amount).ok_or_else(differs)?;
    // Never more of the one than is left; the other takes the rest.
    let credit = purchase.credit_of(total);
    let tax = total.saturating_sub(credit).min(purchase.tax.saturating_sub(purchase.tax_back));
    let credit = total.saturating_sub(tax);
    if credit > purchase.amount.saturating_sub(purchase.credit_back) {
        return Err(differs());
    }
    let had = refunds::available(conn, account).await?.min(purchase.remaining);
    let refund = Refund {
        id: cards.env().mint(),
        account,
        topup: purchase.topup,
        grant: purchase.grant,
        credit,
        tax,
        owed: credit.saturating_sub(had),
        state: RefundState::Sent,
        theirs: Some(theirs.id.to_string()),
        created_at: cards.env().now(),
    };
    take(conn, cards, &refund).await?;
    tracing::info!(refund.id = %refund.id, account.id = %account, "a refund was made by hand at the card processor");
    Ok(refund)
}

/// Puts the credit of a refund that came to nothing back on its account, once.
async fn give_back(cards: &Cards, id: RefundId, state: RefundState, theirs: Option<&str>) -> Result<(), Error> {
    let mut tx = cards.db().begin().await?;
    let Some(refund) = refunds::find(&mut tx, id).await? else { return Ok(()) };
    store::grants::lock_account(&mut tx, refund.account).await?;
    let Some(refund) = refunds::find(&mut tx, id).await?.filter(|refund| !refund.state.is_back()) else {
        return Ok(());
    };
    let (credits, receivable) = (LedgerAccount::credits(refund.account), LedgerAccount::receivable(refund.account));
    let owed = grant::owed(&mut tx, refund.account).await?.min(refund.owed);
    let repaid = refund.owed.saturating_sub(owed);
    refunds::give_back(&mut tx, &refund, repaid, state, theirs, cards.env().now()).await?;
    let in_flight = LedgerAccount::platform(AccountKind::RefundsInFlight);
    let postings = [
        Posting::new(in_flight, credits, refund.credit),
        Posting::new(in_flight, LedgerAccount::platform(AccountKind::TaxPayable), refund.tax),
        Posting::new(credits, receivable, owed),
    ];
    book(&mut tx, cards, refund.id, RefundStep::Returned, postings.into_iter().flatten().collect()).await?;
    tx.commit().await?;
    Ok(())
}

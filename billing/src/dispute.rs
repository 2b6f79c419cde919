//! Disputes: a cardholder asks their bank for the money back, and the bank takes it until it has decided.
//!
//! What the processor shows of a dispute decides, never what was told: its lines are the money that moved, its
//! status says who keeps it. While it is open, what is left of the credit it bought is frozen. What was spent the
//! platform carries: providers keep what they earned.

mod follow;

use protocol::{GrantId, NanoUsd, OrganizationId, Timestamp, TopupId};
use sqlx::PgConnection;
use stripe_shared::{Dispute as Theirs, DisputeStatus};
use stripe_types::Currency;

use crate::ledger::{Cause, Transfer};
use crate::store::{self, disputes, refunds};
use crate::stripe::{Cards, DisputePolicy, from_cents};
use crate::{Error, grant};

pub(crate) use follow::Moves;
use follow::{Purse, Seen};

/// How far a dispute is, in the order of what can follow what: one that was seen in a state is never taken back to
/// an earlier one, so an old look that comes late changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DisputeState {
    /// The bank only asks; no money has moved.
    Inquiry,
    /// It asked, and is content; or the dispute was prevented before money moved.
    Closed,
    /// The bank has the money and has not decided.
    Open,
    /// The cardholder keeps it.
    Lost,
    /// We keep it.
    Won,
}

/// A payment a cardholder wants back, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispute {
    /// The processor's name for it.
    pub id: String,
    /// Whose payment it was.
    pub account: OrganizationId,
    /// For which top-up.
    pub topup: TopupId,
    /// And so of which grant.
    pub grant: GrantId,
    /// How far it is.
    pub state: DisputeState,
    /// The bank's word for why.
    pub reason: String,
    /// How much is wanted back.
    pub amount: NanoUsd,
    /// Of it, credit; the rest was tax.
    pub credit: NanoUsd,
    /// What the bank took.
    pub withdrawn: NanoUsd,
    /// What of it came back.
    pub reinstated: NanoUsd,
    /// Credit out of the account's reach until it is decided.
    pub frozen: NanoUsd,
    /// Credit taken for good.
    pub taken: NanoUsd,
    /// What the platform carries.
    pub lost: NanoUsd,
    /// Whether the payment can still be refunded over there.
    pub is_refundable: bool,
    /// Until when evidence is taken.
    pub due_at: Option<Timestamp>,
    /// When the cardholder asked.
    pub opened_at: Timestamp,
    /// When the account was suspended for it.
    pub suspended_at: Option<Timestamp>,
    /// When it was seen decided.
    pub closed_at: Option<Timestamp>,
}

impl DisputeState {
    /// The name, as stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inquiry => "inquiry",
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Lost => "lost",
            Self::Won => "won",
        }
    }

    pub(crate) fn from_stored(name: &str) -> Option<Self> {
        [Self::Inquiry, Self::Closed, Self::Open, Self::Lost, Self::Won]
            .into_iter()
            .find(|state| state.as_str() == name)
    }

    /// Whether nothing is awaited any more.
    #[must_use]
    pub const fn is_decided(self) -> bool {
        matches!(self, Self::Closed | Self::Lost | Self::Won)
    }
}

/// Books what is known of a dispute over there, as far as it is not yet, and freezes, gives back or takes the credit
/// that is left of its payment. Harmless at any time and in any order.
///
/// # Errors
/// [`Error::DisputeDiffers`]; [`Error::Database`]. Nothing is booked then.
pub(crate) async fn note(cards: &Cards, theirs: &Theirs, intent: &str) -> Result<(), Error> {
    let seen = look(theirs)?;
    let mut tx = cards.db().begin().await?;
    let Some(account) = refunds::account_of(&mut tx, intent).await? else { return Ok(()) };
    grant::burn(&mut tx, account).await?;
    let dispute = match disputes::find(&mut tx, theirs.id.as_str()).await? {
        Some(dispute) => dispute,
        None => open(&mut tx, theirs, &seen, account, intent).await?,
    };
    advance(&mut tx, cards, dispute, Some(&seen)).await?;
    tx.commit().await?;
    Ok(())
}

/// Freezes what has come back to the purchase of an open dispute since it was frozen, as from a lease.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn refreeze(cards: &Cards, id: &str) -> Result<(), Error> {
    let mut tx = cards.db().begin().await?;
    let Some(dispute) = disputes::find(&mut tx, id).await? else { return Ok(()) };
    grant::burn(&mut tx, dispute.account).await?;
    // Read again under the account's lock.
    if let Some(dispute) = disputes::find(&mut tx, id).await? {
        advance(&mut tx, cards, dispute, None).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// A dispute nobody knew. The caller holds the account's lock.
async fn open(
    conn: &mut PgConnection,
    theirs: &Theirs,
    seen: &Seen,
    account: OrganizationId,
    intent: &str,
) -> Result<Dispute, Error> {
    let purchase = refunds::find_purchase(conn, intent).await?;
    let purchase = purchase.ok_or_else(|| differs(theirs, format!("{intent} was never credited")))?;
    let dispute = Dispute {
        id: theirs.id.to_string(),
        account,
        topup: purchase.topup,
        grant: purchase.grant,
        state: seen.state,
        reason: theirs.reason.clone(),
        amount: seen.amount,
        credit: purchase.credit_of(seen.amount),
        withdrawn: NanoUsd::ZERO,
        reinstated: NanoUsd::ZERO,
        frozen: NanoUsd::ZERO,
        taken: NanoUsd::ZERO,
        lost: NanoUsd::ZERO,
        is_refundable: seen.is_refundable,
        due_at: seen.due_at,
        opened_at: Timestamp::from_unix_seconds(theirs.created),
        suspended_at: None,
        closed_at: None,
    };
    metrics::counter!("steelyard_billing_disputes", "state" => "opened").increment(1);
    let due = dispute.due_at.map(Timestamp::rfc3339);
    tracing::warn!(
        dispute.id, account.id = %account, topup.id = %dispute.topup, amount = %dispute.amount, reason = dispute.reason,
        due, "a cardholder wants a payment back"
    );
    Ok(dispute)
}

/// Lets a dispute follow what was seen of it, and writes down what that moves. The caller holds the account's lock.
async fn advance(
    conn: &mut PgConnection,
    cards: &Cards,
    mut dispute: Dispute,
    seen: Option<&Seen>,
) -> Result<(), Error> {
    let (before, now) = (dispute.state, cards.env().now());
    let policy = cards.config().dispute_policy;
    let purse = Purse {
        left: disputes::left_of(conn, dispute.account, dispute.grant).await?,
        owed: grant::owed(conn, dispute.account).await?,
        freezes: policy != DisputePolicy::None,
    };
    let moves = dispute.follow(seen, purse);
    if dispute.state.is_decided() && dispute.closed_at.is_none() {
        dispute.closed_at = Some(now);
    }
    let is_at_stake = matches!(dispute.state, DisputeState::Open | DisputeState::Lost);
    if policy == DisputePolicy::Suspend && is_at_stake && dispute.suspended_at.is_none() {
        store::accounts::set_suspended(conn, dispute.account, true).await?;
        dispute.suspended_at = Some(now);
        tracing::warn!(dispute.id, account.id = %dispute.account, "an account is suspended for a dispute");
    }
    disputes::put(conn, &dispute).await?;
    disputes::shift(conn, &dispute, &moves).await?;
    for (step, postings) in moves.steps {
        let cause = Cause::Dispute(dispute.id.clone(), step);
        let transfer = Transfer { id: cards.env().mint(), cause, postings };
        if !store::transfers::book(conn, &transfer).await? {
            // The row says it was not: one of the two is wrong, and money must not move on it.
            return Err(Error::AlreadyBooked { cause: transfer.cause.to_string() });
        }
    }
    if dispute.state != before && dispute.state.is_decided() {
        metrics::counter!("steelyard_billing_disputes", "state" => dispute.state.as_str()).increment(1);
        tracing::info!(
            dispute.id, account.id = %dispute.account, state = dispute.state.as_str(), taken = %dispute.taken,
            lost = %dispute.lost, "a dispute is decided"
        );
    }
    Ok(())
}

/// What the processor shows of a dispute, as far as it matters here.
fn look(theirs: &Theirs) -> Result<Seen, Error> {
    if theirs.currency != Currency::USD {
        return Err(differs(theirs, format!("it is in {}", theirs.currency)));
    }
    let cents = |cents: i64| from_cents(cents).ok_or_else(|| differs(theirs, format!("{cents} cents moved")));
    let mut seen = Seen {
        state: DisputeState::Open,
        amount: cents(theirs.amount)?,
        withdrawn: NanoUsd::ZERO,
        fee: NanoUsd::ZERO,
        reinstated: NanoUsd::ZERO,
        fee_back: NanoUsd::ZERO,
        is_refundable: theirs.is_charge_refundable,
        due_at: theirs.evidence_details.due_by.map(Timestamp::from_unix_seconds),
    };
    for line in &theirs.balance_transactions {
        let (amount, fee) = if line.amount < 0 {
            (&mut seen.withdrawn, &mut seen.fee)
        } else {
            (&mut seen.reinstated, &mut seen.fee_back)
        };
        if line.currency != Currency::USD || !amount.is_zero() {
            return Err(differs(theirs, format!("its line {} is one too many, or in another currency", line.id)));
        }
        let sign = if line.amount < 0 { -1 } else { 1 };
        (*amount, *fee) = (cents(sign * line.amount)?, cents(-sign * line.fee)?);
    }
    if seen.reinstated > seen.withdrawn {
        return Err(differs(theirs, "more came back than was taken".to_owned()));
    }
    use DisputeStatus as S;
    seen.state = match &theirs.status {
        S::WarningNeedsResponse | S::WarningUnderReview => DisputeState::Inquiry,
        S::WarningClosed => DisputeState::Closed,
        S::NeedsResponse | S::UnderReview => DisputeState::Open,
        S::Lost => DisputeState::Lost,
        S::Won => DisputeState::Won,
        // The cardholder has their money one way or the other; if not through the dispute, nothing is lost by it.
        S::Prevented if seen.withdrawn > seen.reinstated => DisputeState::Lost,
        S::Prevented => DisputeState::Closed,
        status => return Err(differs(theirs, format!("nobody knows what {:?} means", status.as_str()))),
    };
    Ok(seen)
}

fn differs(theirs: &Theirs, reason: String) -> Error {
    Error::DisputeDiffers { dispute: theirs.id.to_string(), reason }
}

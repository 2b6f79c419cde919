//! What the processor has, brought over: each object asked for anew, and booked as far as it is not yet.
//!
//! Nothing here depends on what was told, or on how often or in which order: only on what is there.

use protocol::{Id, NanoUsd, TopupId};
use sqlx::PgConnection;
use stripe_checkout::checkout_session::{ListCheckoutSession, RetrieveCheckoutSession};
use stripe_core::charge::RetrieveCharge;
use stripe_core::dispute::{ListDispute, RetrieveDispute};
use stripe_core::payment_intent::RetrievePaymentIntent;
use stripe_core::refund::{ListRefund, RetrieveRefund};
use stripe_fraud::radar_early_fraud_warning::RetrieveRadarEarlyFraudWarning;
use stripe_shared::{CheckoutSession, CheckoutSessionStatus, Dispute, PaymentIntent, PaymentIntentStatus, Refund};
use stripe_types::{Currency, Expandable};

use super::{Cards, cents, from_cents};
use crate::account::{AccountKind, LedgerAccount};
use crate::grant::{self, GrantKind, NewGrant};
use crate::ledger::{Cause, Posting, Transfer};
use crate::store::stripe_calls;
use crate::store::topups::{self, Payment};
use crate::topup::{self, TOPUP_ID, Topup, TopupState};
use crate::{Error, card, dispute, recharge, refund, store, warning};

/// What came of looking at an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synced {
    /// What it says is booked now, or was.
    Applied,
    /// It is nothing of ours.
    Ignored,
}

/// Looks at a session: it is open, over, or paid, and then its payment is looked at.
///
/// # Errors
/// As [`payment`].
pub async fn session(cards: &Cards, id: &str) -> Result<Synced, Error> {
    let session = cards.fetch(&RetrieveCheckoutSession::new(id)).await?;
    if let Some(setup) = card::named(session.metadata.as_ref()) {
        return card::look(cards, setup, &session).await;
    }
    let Some(topup) = ours(session.metadata.as_ref()) else { return Ok(Synced::Ignored) };
    if let Some(intent) = &session.payment_intent {
        let _ = payment(cards, intent.id().as_str()).await?;
    }
    let mut tx = cards.db().begin().await?;
    let Some(topup) = topups::find(&mut tx, topup).await? else { return Ok(Synced::Ignored) };
    store::grants::lock_account(&mut tx, topup.account).await?;
    topup::note_session(&mut tx, topup.id, &session).await?;
    if session.status == Some(CheckoutSessionStatus::Expired) {
        topup::closed(&mut tx, topup.id, session.id.as_str()).await?;
    }
    tx.commit().await?;
    Ok(Synced::Applied)
}

/// Looks at a payment, and credits one that succeeded for a top-up we know, exactly once.
///
/// # Errors
/// [`Error::PaymentDiffers`] when it is not what the top-up asked for: a person must look; what the processor says;
/// [`Error::Database`]. Nothing is credited then.
pub async fn payment(cards: &Cards, id: &str) -> Result<Synced, Error> {
    let wanted = ["latest_charge.balance_transaction".to_owned(), "payment_method".to_owned()];
    let request = RetrievePaymentIntent::new(id).expand(wanted);
    let intent = cards.fetch(&request).await?;
    let Some(topup) = ours(Some(&intent.metadata)) else { return Ok(Synced::Ignored) };
    if intent.status != PaymentIntentStatus::Succeeded {
        return unpaid(cards, topup, &intent).await;
    }
    let list = ListCheckoutSession::new().payment_intent(id).expand(["data.invoice".to_owned()]);
    let session = cards.fetch(&list).await?.data.into_iter().next().map(Box::new);
    let mut tx = cards.db().begin().await?;
    let Some(topup) = topups::find(&mut tx, topup).await? else {
        tracing::warn!(payment.intent = id, %topup, "a payment names a top-up nobody asked for");
        return Ok(Synced::Ignored);
    };
    store::grants::lock_account(&mut tx, topup.account).await?;
    credit(&mut tx, cards, topup.id, &intent, session.as_deref()).await?;
    if let Some(line) = intent
        .latest_charge
        .as_ref()
        .and_then(Expandable::as_object)
        .and_then(|charge| charge.balance_transaction.as_ref()?.as_object())
    {
        book_fee(&mut tx, cards, line.id.as_str(), line.fee).await?;
    }
    tx.commit().await?;
    Ok(Synced::Applied)
}

/// Looks at a payment that has not succeeded. At a page another card can be tried; a charge nobody is asked about has
/// come to nothing once it was declined.
async fn unpaid(cards: &Cards, topup: TopupId, intent: &PaymentIntent) -> Result<Synced, Error> {
    use PaymentIntentStatus as S;
    let topup = topups::find(&mut *cards.db().acquire().await?, topup).await?;
    let Some(topup) = topup.filter(|topup| topup.card.is_some()) else { return Ok(Synced::Applied) };
    let said = intent.last_payment_error.as_ref();
    let code = said.and_then(|said| said.decline_code.clone().or_else(|| Some(said.code.as_ref()?.to_string())));
    let code = match intent.status {
        S::RequiresPaymentMethod if said.is_some() => code.unwrap_or_else(|| "declined".to_owned()),
        S::RequiresAction => "authentication_required".to_owned(),
        S::Canceled => code.unwrap_or_else(|| "canceled".to_owned()),
        _ => return Ok(Synced::Applied),
    };
    recharge::decline(cards, topup.id, &code).await?;
    Ok(Synced::Applied)
}

/// Credits a payment, unless it was. The caller holds the account's lock.
async fn credit(
    conn: &mut PgConnection,
    cards: &Cards,
    topup: TopupId,
    intent: &PaymentIntent,
    session: Option<&CheckoutSession>,
) -> Result<(), Error> {
    let topup = topups::find(conn, topup).await?.ok_or(Error::TopupGone { topup })?;
    let tax = judge(conn, &topup, intent, session).await?;
    let charge = intent.latest_charge.as_ref().and_then(Expandable::as_object);
    let invoice = session.and_then(|session| session.invoice.as_ref()?.as_object());
    let payment = Payment {
        intent: intent.id.as_str(),
        charge: charge.map(|charge| charge.id.as_str()),
        tax,
        receipt_url: charge.and_then(|charge| charge.receipt_url.as_deref()),
        invoice_url: invoice.and_then(|invoice| invoice.hosted_invoice_url.as_deref()),
        invoice_pdf: invoice.and_then(|invoice| invoice.invoice_pdf.as_deref()),
    };
    if topup.state == TopupState::Paid {
        topups::set_papers(conn, topup.id, payment).await?;
        return Ok(());
    }
    let new = NewGrant {
        account: topup.account,
        kind: GrantKind::Card,
        cause: intent.id.to_string(),
        amount: topup.amount,
        expires_at: None,
    };
    grant::give(conn, cards.env(), &new, tax).await?;
    topups::pay(conn, topup.id, payment, cards.env().now()).await?;
    match session {
        Some(session) => drop(topup::note_session(conn, topup.id, session).await?),
        None => stripe_calls::done(conn, recharge::charge_call(topup.id), intent.id.as_str()).await?,
    }
    // Such as closing its page, which came too late.
    stripe_calls::give_up(conn, topup.id.uuid()).await?;
    let method = intent.payment_method.as_ref().and_then(Expandable::as_object);
    match (topup.card, method) {
        (Some(_), _) => store::recharge::paid(conn, topup.account).await?,
        // The page said that it is kept, and the processor keeps it.
        (None, Some(method)) if method.customer.is_some() => card::keep(conn, cards, topup.account, method).await?,
        (None, _) => {}
    }
    tracing::info!(topup.id = %topup.id, account.id = %topup.account, amount = %topup.amount, "a top-up was paid");
    Ok(())
}

/// The tax of a payment that is just what its top-up asked for.
async fn judge(
    conn: &mut PgConnection,
    topup: &Topup,
    intent: &PaymentIntent,
    session: Option<&CheckoutSession>,
) -> Result<NanoUsd, Error> {
    let differs = |reason: String| Error::PaymentDiffers { payment: intent.id.to_string(), reason };
    if intent.currency != Currency::USD {
        return Err(differs(format!("it is in {}", intent.currency)));
    }
    let customer = topups::find_customer(conn, topup.account).await?;
    let payer = intent.customer.as_ref().map(|customer| customer.id().as_str());
    if payer.is_none() || payer != customer.as_deref() {
        return Err(differs(format!("{} does not belong to {}", payer.unwrap_or("nobody"), topup.account)));
    }
    if topup.payment_intent.as_deref().is_some_and(|known| known != intent.id.as_str()) {
        return Err(differs(format!("{} was paid by another", topup.id)));
    }
    let tax = match (topup.card, session) {
        // Worked out before it was asked for.
        (Some(_), _) => cents(topup.tax).unwrap_or(0),
        (None, None) => return Err(differs("it was not made by a page of ours".to_owned())),
        (None, Some(session)) if ours(session.metadata.as_ref()) != Some(topup.id) => {
            return Err(differs(format!("its page {} is not that of {}", session.id, topup.id)));
        }
        (None, Some(session)) => session.total_details.as_ref().map_or(0, |details| details.amount_tax),
    };
    let asked = cents(topup.amount).and_then(|amount| amount.checked_add(tax));
    if tax < 0 || asked != Some(intent.amount_received) {
        let (came, amount) = (intent.amount_received, topup.amount);
        return Err(differs(format!("{came} cents came for {amount} and {tax} cents of tax")));
    }
    from_cents(tax).ok_or_else(|| differs(format!("{tax} cents are no tax")))
}

/// Looks at a charge: what the processor kept of it, and every refund and dispute of it, also those made by hand over
/// there.
///
/// # Errors
/// As [`payment`].
pub async fn charge(cards: &Cards, id: &str) -> Result<Synced, Error> {
    let request = RetrieveCharge::new(id).expand(["balance_transaction".to_owned()]);
    let charge = cards.fetch(&request).await?;
    let Some(intent) = charge.payment_intent.as_ref().map(|intent| intent.id().as_str()) else {
        return Ok(Synced::Ignored);
    };
    // The payment comes first: a refund of what was never credited has nothing to take.
    if payment(cards, intent).await? == Synced::Ignored {
        return Ok(Synced::Ignored);
    }
    if let Some(line) = charge.balance_transaction.as_ref().and_then(Expandable::as_object) {
        let mut tx = cards.db().begin().await?;
        book_fee(&mut tx, cards, line.id.as_str(), line.fee).await?;
        tx.commit().await?;
    }
    if charge.amount_refunded > 0 || charge.disputed {
        went_back(cards, id, intent).await?;
    }
    Ok(Synced::Applied)
}

/// A way in which the money of a charge goes back.
enum Back<'a> {
    Refund(&'a Refund),
    Dispute(&'a Dispute),
}

/// Looks at what went back of a charge, in the order it did: what the later finds depends on the earlier.
async fn went_back(cards: &Cards, charge: &str, intent: &str) -> Result<(), Error> {
    let refunds = cards.fetch(&ListRefund::new().charge(charge).limit(100)).await?;
    let disputes = cards.fetch(&ListDispute::new().charge(charge).limit(100)).await?;
    let refunds = refunds.data.iter().rev().map(|refund| (refund.created, Back::Refund(refund)));
    let disputes = disputes.data.iter().rev().map(|dispute| (dispute.created, Back::Dispute(dispute)));
    let mut all: Vec<(i64, Back<'_>)> = refunds.chain(disputes).collect();
    all.sort_by_key(|(created, _)| *created);
    for (_, back) in all {
        match back {
            Back::Refund(refund) => refund::note(cards, refund, intent).await?,
            Back::Dispute(dispute) => dispute::note(cards, dispute, intent).await?,
        }
    }
    Ok(())
}

/// Looks at a dispute, after what else went back of its charge before.
///
/// # Errors
/// As [`payment`], and [`Error::DisputeDiffers`].
pub async fn dispute(cards: &Cards, id: &str) -> Result<Synced, Error> {
    let found = cards.fetch(&RetrieveDispute::new(id)).await?;
    let Some(intent) = found.payment_intent.as_ref().map(|intent| intent.id().to_string()) else {
        return Ok(Synced::Ignored);
    };
    if charge(cards, found.charge.id().as_str()).await? == Synced::Ignored {
        return Ok(Synced::Ignored);
    }
    dispute::note(cards, &found, &intent).await?;
    Ok(Synced::Applied)
}

/// Looks at what a card's issuer holds for fraud.
///
/// # Errors
/// As [`payment`].
pub async fn warning(cards: &Cards, id: &str) -> Result<Synced, Error> {
    let found = cards.fetch(&RetrieveRadarEarlyFraudWarning::new(id)).await?;
    let Some(intent) = found.payment_intent.as_ref().map(|intent| intent.id().to_string()) else {
        return Ok(Synced::Ignored);
    };
    // A dispute that came first leaves nothing to refund.
    if charge(cards, found.charge.id().as_str()).await? == Synced::Ignored {
        return Ok(Synced::Ignored);
    }
    warning::note(cards, &found, &intent).await?;
    Ok(Synced::Applied)
}

/// Looks at a refund, after what else went back of its charge before.
///
/// # Errors
/// As [`payment`].
pub async fn refund(cards: &Cards, id: &str) -> Result<Synced, Error> {
    let found = cards.fetch(&RetrieveRefund::new(id)).await?;
    let Some(intent) = found.payment_intent.as_ref().map(|intent| intent.id().to_string()) else {
        return Ok(Synced::Ignored);
    };
    let looked = match &found.charge {
        Some(of) => charge(cards, of.id().as_str()).await?,
        None => payment(cards, &intent).await?,
    };
    if looked == Synced::Ignored {
        return Ok(Synced::Ignored);
    }
    refund::note(cards, &found, &intent).await?;
    Ok(Synced::Applied)
}

/// Books what the processor kept of a movement, once.
pub(super) async fn book_fee(conn: &mut PgConnection, cards: &Cards, line: &str, cents: i64) -> Result<(), Error> {
    let fee = from_cents(cents).unwrap_or(NanoUsd::ZERO);
    let (fees, clearing) = (AccountKind::StripeFees, AccountKind::StripeClearing);
    let posting = Posting::new(LedgerAccount::platform(fees), LedgerAccount::platform(clearing), fee);
    let postings: Vec<Posting> = posting.into_iter().collect();
    if !postings.is_empty() {
        let cause = Cause::ProcessorFee(line.to_owned());
        store::transfers::book(conn, &Transfer { id: cards.env().mint(), cause, postings }).await?;
    }
    Ok(())
}

/// The top-up an object was made for.
fn ours(metadata: Option<&std::collections::HashMap<String, String>>) -> Option<TopupId> {
    metadata?.get(TOPUP_ID)?.parse().ok()
}

//! Disputes: a cardholder asks their bank for the money back, and the bank takes it until it has decided. In an
//! inquiry it only asks, and no money moves unless it becomes a dispute.

use serde_json::{Value, json};
use stripe_shared::{Dispute, DisputeStatus as Status};

use super::balance::{DISPUTE_FEE, Movement, book};
use crate::books::{Books, made, page, shown};
use crate::form::Form;
use crate::refusal::Refusal;

/// A cardholder disputes a charge, or a part of it; the money goes at once.
///
/// # Errors
/// When the charge never paid, or carries less than is disputed already and now.
pub fn open(books: &mut Books, charge: &str, amount: Option<i64>, reason: &str) -> Result<Value, Refusal> {
    let id = make(books, charge, amount, reason, Status::NeedsResponse)?;
    withdraw(books, &id);
    books.emit("charge.dispute.created", &books.disputes[&id].clone());
    books.emit("charge.dispute.funds_withdrawn", &books.disputes[&id].clone());
    Ok(shown(&books.disputes[&id]))
}

/// A cardholder's bank asks about a charge, or a part of it.
///
/// # Errors
/// As [`open`].
pub fn inquire(books: &mut Books, charge: &str, amount: Option<i64>, reason: &str) -> Result<Value, Refusal> {
    let id = make(books, charge, amount, reason, Status::WarningNeedsResponse)?;
    books.emit("charge.dispute.created", &books.disputes[&id].clone());
    Ok(shown(&books.disputes[&id]))
}

/// An inquiry becomes a dispute; the money goes.
///
/// # Errors
/// When there is no such inquiry, or it is closed.
pub fn escalate(books: &mut Books, id: &str) -> Result<Value, Refusal> {
    let dispute = undecided(books, id)?;
    if !is_inquiry(dispute) {
        return Err(Refusal::state("dispute_not_inquiry", "This is no inquiry."));
    }
    (dispute.status, dispute.is_charge_refundable) = (Status::NeedsResponse, false);
    withdraw(books, id);
    books.emit("charge.dispute.updated", &books.disputes[id].clone());
    books.emit("charge.dispute.funds_withdrawn", &books.disputes[id].clone());
    Ok(shown(&books.disputes[id]))
}

fn make(
    books: &mut Books,
    charge_id: &str,
    amount: Option<i64>,
    reason: &str,
    status: Status,
) -> Result<String, Refusal> {
    let disputed: i64 = of_charge(books, charge_id).map(|one| one.amount).sum();
    let charge = books.charges.get_mut(charge_id).ok_or_else(|| Refusal::no_such("charge", charge_id))?;
    let carried = charge.amount_captured - charge.amount_refunded - disputed;
    let amount = amount.unwrap_or(carried);
    if amount <= 0 || amount > carried {
        return Err(Refusal::state(
            "dispute_not_possible",
            "The charge carries less than that, or is disputed already.",
        ));
    }
    charge.disputed = true;
    let intent = charge.payment_intent.as_ref().map(|one| one.id().as_str().to_owned());
    let id = books.next_id("du");
    let not_eligible = json!({ "status": "not_qualified", "required_actions": [] });
    let dispute: Dispute = made(json!({
        "id": id, "object": "dispute", "amount": amount, "charge": charge_id, "payment_intent": intent,
        "balance_transactions": [], "created": books.now, "currency": "usd",
        "enhanced_eligibility_types": [], "evidence": { "enhanced_evidence": {} }, "livemode": false, "metadata": {},
        "evidence_details": {
            "due_by": books.now + 7 * 86_400, "has_evidence": false, "past_due": false, "submission_count": 0,
            "enhanced_eligibility": { "visa_compelling_evidence_3": not_eligible },
        },
        "is_charge_refundable": status == Status::WarningNeedsResponse, "reason": reason, "status": status.as_str(),
    }));
    books.disputes.insert(id.clone(), dispute);
    Ok(id)
}

/// Disputes of a charge that hold or have taken a part of it.
fn of_charge<'a>(books: &'a Books, charge: &'a str) -> impl Iterator<Item = &'a Dispute> {
    let is_over = |one: &Dispute| matches!(one.status, Status::Won | Status::WarningClosed);
    books.disputes.values().filter(move |one| one.charge.id().as_str() == charge && !is_over(one))
}

/// Whether a charge can't be refunded because it is disputed.
pub(super) fn is_barred(books: &Books, charge: &str) -> bool {
    of_charge(books, charge).any(|one| !one.is_charge_refundable)
}

fn withdraw(books: &mut Books, id: &str) {
    let amount = -books.disputes[id].amount;
    move_money(books, id, Movement { kind: "adjustment", category: "dispute", source: id, amount, fee: DISPUTE_FEE });
}

fn move_money(books: &mut Books, id: &str, movement: Movement<'_>) {
    let line = book(books, movement);
    if let Some(dispute) = books.disputes.get_mut(id) {
        dispute.balance_transactions.push(line);
    }
}

const fn is_inquiry(dispute: &Dispute) -> bool {
    matches!(dispute.status, Status::WarningNeedsResponse | Status::WarningUnderReview)
}

/// Takes evidence; with `submit=true` the bank looks at it.
///
/// # Errors
/// When there is no such dispute, or it is decided.
pub fn submit(books: &mut Books, id: &str, form: &Form) -> Result<Value, Refusal> {
    let dispute = undecided(books, id)?;
    if let Some(text) = form.text("evidence[uncategorized_text]") {
        dispute.evidence.uncategorized_text = Some(text.to_owned());
        dispute.evidence_details.has_evidence = true;
    }
    if form.is("submit") {
        dispute.status = if is_inquiry(dispute) { Status::WarningUnderReview } else { Status::UnderReview };
        dispute.evidence_details.submission_count += 1;
    }
    let dispute = dispute.clone();
    books.emit("charge.dispute.updated", &dispute);
    Ok(shown(&dispute))
}

fn undecided<'a>(books: &'a mut Books, id: &str) -> Result<&'a mut Dispute, Refusal> {
    let dispute = books.disputes.get_mut(id).ok_or_else(|| Refusal::no_such("dispute", id))?;
    if matches!(dispute.status, Status::Won | Status::Lost | Status::WarningClosed) {
        return Err(Refusal::state("dispute_closed", "This dispute is already closed."));
    }
    Ok(dispute)
}

/// The bank decides; won money comes back, the fee with it. An inquiry is only closed.
///
/// # Errors
/// When there is no such dispute, or it is decided.
pub fn close(books: &mut Books, id: &str, is_won: bool) -> Result<Value, Refusal> {
    let dispute = undecided(books, id)?;
    if is_inquiry(dispute) {
        dispute.status = Status::WarningClosed;
        let dispute = dispute.clone();
        books.emit("charge.dispute.closed", &dispute);
        return Ok(shown(&dispute));
    }
    dispute.status = if is_won { Status::Won } else { Status::Lost };
    let amount = dispute.amount;
    if is_won {
        reinstate(books, id, amount, DISPUTE_FEE);
    }
    let dispute = books.disputes[id].clone();
    books.emit("charge.dispute.closed", &dispute);
    if is_won {
        books.emit("charge.dispute.funds_reinstated", &dispute);
    }
    Ok(shown(&dispute))
}

/// The bank gives a part back of what it took for a dispute that stays lost, as of what had been refunded before.
///
/// # Errors
/// When there is no such dispute.
pub fn give_back(books: &mut Books, id: &str, amount: i64) -> Result<Value, Refusal> {
    if !books.disputes.contains_key(id) {
        return Err(Refusal::no_such("dispute", id));
    }
    reinstate(books, id, amount, 0);
    let dispute = books.disputes[id].clone();
    books.emit("charge.dispute.funds_reinstated", &dispute);
    Ok(shown(&dispute))
}

fn reinstate(books: &mut Books, id: &str, amount: i64, fee: i64) {
    let movement = Movement { kind: "adjustment", category: "dispute_reversal", source: id, amount, fee: -fee };
    move_money(books, id, movement);
}

/// Disputes, newest first, of one charge or intent.
///
/// # Errors
/// When a bound of the page can't be read.
pub fn list(books: &Books, form: &Form) -> Result<Value, Refusal> {
    let (charge, intent) = (form.text("charge"), form.text("payment_intent"));
    page(&books.disputes, "disputes", form, |one| {
        charge.is_none_or(|charge| one.charge.id().as_str() == charge)
            && intent.is_none_or(|intent| one.payment_intent.as_ref().is_some_and(|its| its.id().as_str() == intent))
    })
}

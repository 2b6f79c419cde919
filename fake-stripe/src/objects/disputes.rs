//! Disputes: a cardholder asks their bank for the money back, and the bank takes it until it has decided.

use serde_json::{Value, json};
use stripe_shared::{Dispute, DisputeStatus as Status};

use super::balance::{DISPUTE_FEE, Movement, book};
use crate::books::{Books, made, page, shown};
use crate::form::Form;
use crate::refusal::Refusal;

/// A cardholder disputes a charge, or a part of it; the money goes at once.
///
/// # Errors
/// When the charge never paid, is disputed already, or carries less.
pub fn open(books: &mut Books, charge_id: &str, amount: Option<i64>, reason: &str) -> Result<Value, Refusal> {
    let charge = books.charges.get_mut(charge_id).ok_or_else(|| Refusal::no_such("charge", charge_id))?;
    let carried = charge.amount_captured - charge.amount_refunded;
    let amount = amount.unwrap_or(carried);
    if charge.disputed || amount <= 0 || amount > carried {
        return Err(Refusal::state(
            "dispute_not_possible",
            "The charge carries less than that, or is disputed already.",
        ));
    }
    charge.disputed = true;
    let intent = charge.payment_intent.as_ref().map(|one| one.id().as_str().to_owned());
    let id = books.next_id("du");
    let movement = Movement { kind: "adjustment", category: "dispute", source: &id, amount: -amount, fee: DISPUTE_FEE };
    let line = book(books, movement);
    let not_eligible = json!({ "status": "not_qualified", "required_actions": [] });
    let dispute: Dispute = made(json!({
        "id": id, "object": "dispute", "amount": amount, "charge": charge_id, "payment_intent": intent,
        "balance_transactions": [shown(&line)], "created": books.now, "currency": "usd",
        "enhanced_eligibility_types": [], "evidence": { "enhanced_evidence": {} }, "livemode": false, "metadata": {},
        "evidence_details": {
            "due_by": books.now + 7 * 86_400, "has_evidence": false, "past_due": false, "submission_count": 0,
            "enhanced_eligibility": { "visa_compelling_evidence_3": not_eligible },
        },
        "is_charge_refundable": false, "reason": reason, "status": "needs_response",
    }));
    books.disputes.insert(id, dispute.clone());
    books.emit("charge.dispute.created", &dispute);
    books.emit("charge.dispute.funds_withdrawn", &dispute);
    Ok(shown(&dispute))
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
        dispute.status = Status::UnderReview;
        dispute.evidence_details.submission_count += 1;
    }
    let dispute = dispute.clone();
    books.emit("charge.dispute.updated", &dispute);
    Ok(shown(&dispute))
}

fn undecided<'a>(books: &'a mut Books, id: &str) -> Result<&'a mut Dispute, Refusal> {
    let dispute = books.disputes.get_mut(id).ok_or_else(|| Refusal::no_such("dispute", id))?;
    if matches!(dispute.status, Status::Won | Status::Lost) {
        return Err(Refusal::state("dispute_closed", "This dispute is already closed."));
    }
    Ok(dispute)
}

/// The bank decides; won money comes back, the fee with it.
///
/// # Errors
/// When there is no such dispute, or it is decided.
pub fn close(books: &mut Books, id: &str, is_won: bool) -> Result<Value, Refusal> {
    let dispute = undecided(books, id)?;
    dispute.status = if is_won { Status::Won } else { Status::Lost };
    let amount = dispute.amount;
    if is_won {
        let movement =
            Movement { kind: "adjustment", category: "dispute_reversal", source: id, amount, fee: -DISPUTE_FEE };
        let line = book(books, movement);
        if let Some(dispute) = books.disputes.get_mut(id) {
            dispute.balance_transactions.push(line);
        }
    }
    let dispute = books.disputes[id].clone();
    books.emit("charge.dispute.closed", &dispute);
    if is_won {
        books.emit("charge.dispute.funds_reinstated", &dispute);
    }
    Ok(shown(&dispute))
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

//! Refunds: money given back, never more than came.

use serde_json::{Value, json};
use stripe_shared::Refund;
use stripe_types::Expandable;

use super::balance::{Movement, book};
use super::disputes::is_barred;
use crate::books::{Books, RefundsGo, made, merge_metadata, page, shown};
use crate::form::Form;
use crate::refusal::Refusal;

/// Gives back a part of a charge, or what is left of it.
///
/// # Errors
/// More than is left, a charge that never paid, or one under dispute.
pub fn create(books: &mut Books, form: &Form) -> Result<Value, Refusal> {
    let charge_id = match (form.text("charge"), form.text("payment_intent")) {
        (Some(charge), _) => charge.to_owned(),
        (None, Some(intent)) => {
            let intent = books.payment_intents.get(intent).ok_or_else(|| Refusal::no_such("payment_intent", intent))?;
            let charge = intent.latest_charge.as_ref().map(|one| one.id().as_str().to_owned());
            charge.ok_or_else(|| {
                Refusal::state("charge_not_found", "This PaymentIntent does not have a successful charge to refund.")
            })?
        }
        (None, None) => return Err(Refusal::missing("payment_intent")),
    };
    let charge = books.charges.get(&charge_id).ok_or_else(|| Refusal::no_such("charge", &charge_id))?;
    let left = charge.amount_captured - charge.amount_refunded;
    let amount = if form.text("amount").is_some() { form.amount("amount")? } else { left };
    if !charge.paid {
        return Err(Refusal::state("charge_not_paid", "A charge that did not succeed can't be refunded."));
    }
    if is_barred(books, &charge_id) {
        return Err(Refusal::state("charge_disputed", "This charge is disputed; it can't be refunded."));
    }
    if left == 0 {
        return Err(Refusal::state(
            "charge_already_refunded",
            format!("Charge {charge_id} has already been refunded."),
        ));
    }
    if amount > left {
        let message = format!("Refund amount ({amount}) is greater than unrefunded amount on charge ({left})");
        return Err(Refusal::invalid("amount", message));
    }
    let intent = charge.payment_intent.as_ref().map(|one| one.id().as_str().to_owned());
    let id = books.next_id("re");
    let line = book(books, Movement { kind: "refund", category: "refund", source: &id, amount: -amount, fee: 0 });
    let status = if books.refunds_go == RefundsGo::Through { "succeeded" } else { "pending" };
    let mut refund: Refund = made(json!({
        "id": id, "object": "refund", "amount": amount, "charge": charge_id, "payment_intent": intent,
        "created": books.now, "currency": "usd", "metadata": {}, "reason": form.text("reason"), "status": status,
        "balance_transaction": line.id.as_str(),
    }));
    merge_metadata(refund.metadata.get_or_insert_default(), form);
    books.refunds.insert(id, refund.clone());
    add_to_charge(books, &charge_id, amount);
    books.emit("refund.created", &refund);
    let charge = books.charges[&charge_id].clone();
    books.emit("charge.refunded", &charge);
    Ok(shown(&refund))
}

fn add_to_charge(books: &mut Books, charge: &str, amount: i64) {
    if let Some(charge) = books.charges.get_mut(charge) {
        charge.amount_refunded += amount;
        charge.refunded = charge.amount_refunded == charge.amount_captured;
    }
}

/// A pending refund arrives, or comes back from the bank.
///
/// # Errors
/// When there is no such refund, or it is not pending.
pub fn settle(books: &mut Books, id: &str, arrives: bool) -> Result<Value, Refusal> {
    let refund = books.refunds.get_mut(id).ok_or_else(|| Refusal::no_such("refund", id))?;
    if refund.status.as_deref() != Some("pending") {
        return Err(Refusal::state("refund_not_pending", "This refund is not pending."));
    }
    refund.status = Some(if arrives { "succeeded" } else { "failed" }.to_owned());
    if !arrives {
        refund.failure_reason = Some("lost_or_stolen_card".to_owned());
        let (amount, charge) = (refund.amount, refund.charge.as_ref().map(|one| one.id().as_str().to_owned()));
        let movement = Movement { kind: "refund_failure", category: "refund_failure", source: id, amount, fee: 0 };
        let line = book(books, movement);
        if let Some(refund) = books.refunds.get_mut(id) {
            refund.failure_balance_transaction = Some(Expandable::Id(line.id));
        }
        add_to_charge(books, &charge.unwrap_or_default(), -amount);
    }
    let refund = books.refunds[id].clone();
    books.emit("refund.updated", &refund);
    if !arrives {
        books.emit("refund.failed", &refund);
    }
    Ok(shown(&refund))
}

/// Refunds, newest first, of one charge or intent.
///
/// # Errors
/// When a bound of the page can't be read.
pub fn list(books: &Books, form: &Form) -> Result<Value, Refusal> {
    let (charge, intent) = (form.text("charge"), form.text("payment_intent"));
    page(&books.refunds, "refunds", form, |one| {
        charge.is_none_or(|charge| one.charge.as_ref().is_some_and(|its| its.id().as_str() == charge))
            && intent.is_none_or(|intent| one.payment_intent.as_ref().is_some_and(|its| its.id().as_str() == intent))
    })
}

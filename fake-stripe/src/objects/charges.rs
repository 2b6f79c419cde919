//! Charges: each attempt to take money from a card.

use serde_json::{Value, json};
use stripe_shared::Charge;
use stripe_types::Expandable;

use super::balance::{Movement, book, fee_of};
use super::payment_methods;
use crate::books::{Books, made, page};
use crate::form::Form;
use crate::refusal::Refusal;

/// An attempt: of which intent, how much, with which card, by whom, and what the bank said.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// Whose attempt it is.
    pub intent: &'a str,
    /// In cents.
    pub amount: i64,
    /// The card.
    pub method: &'a str,
    /// Who pays.
    pub customer: Option<&'a str>,
    /// The error's code and the bank's own word; `None` when it paid.
    pub refused: Option<(&'a str, &'a str)>,
}

/// Writes an attempt down: a charge, and its money when it paid.
pub fn record(books: &mut Books, attempt: Attempt<'_>) -> Charge {
    let id = books.next_id("ch");
    let paid = attempt.refused.is_none();
    let last4 = payment_methods::last4(books, attempt.method);
    let metadata = books.payment_intents.get(attempt.intent).map(|one| one.metadata.clone()).unwrap_or_default();
    let mut charge: Charge = made(json!({
        "id": id, "object": "charge", "amount": attempt.amount, "amount_captured": if paid { attempt.amount } else { 0 },
        "amount_refunded": 0, "billing_details": {}, "captured": paid, "created": books.now, "currency": "usd",
        "disputed": false, "livemode": false, "metadata": metadata, "paid": paid, "refunded": false,
        "status": if paid { "succeeded" } else { "failed" }, "payment_intent": attempt.intent,
        "payment_method": attempt.method, "customer": attempt.customer,
        "failure_code": attempt.refused.map(|one| one.0), "failure_message": attempt.refused.map(|_| "Your card was declined."),
        "receipt_url": paid.then(|| format!("{}/receipts/{id}", books.base)),
        "payment_method_details": {
            "type": "card",
            "card": { "brand": "visa", "last4": last4, "exp_month": 12, "exp_year": 2099, "funding": "credit" },
        },
    }));
    if paid {
        let (amount, fee) = (attempt.amount, fee_of(attempt.amount));
        let line = book(books, Movement { kind: "charge", category: "charge", source: &id, amount, fee });
        charge.balance_transaction = Some(Expandable::Id(line.id));
    }
    books.charges.insert(id, charge.clone());
    books.emit(if paid { "charge.succeeded" } else { "charge.failed" }, &charge);
    charge
}

/// Charges, newest first, of one intent or customer.
///
/// # Errors
/// When a bound of the page can't be read.
pub fn list(books: &Books, form: &Form) -> Result<Value, Refusal> {
    let (intent, customer) = (form.text("payment_intent"), form.text("customer"));
    page(&books.charges, "charges", form, |one| {
        intent.is_none_or(|intent| one.payment_intent.as_ref().is_some_and(|its| its.id().as_str() == intent))
            && customer.is_none_or(|customer| one.customer.as_ref().is_some_and(|its| its.id().as_str() == customer))
    })
}

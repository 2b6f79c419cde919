//! Invoices: the paper of a Checkout Session that asked for one.

use serde_json::{Value, json};
use stripe_shared::{CheckoutSession, Invoice};

use crate::books::{Books, made, page};
use crate::form::Form;
use crate::refusal::Refusal;

/// The paid invoice of a session that wants one, and its id.
pub fn of_session(books: &mut Books, session: &CheckoutSession) -> Option<String> {
    if !session.invoice_creation.as_ref().is_some_and(|one| one.enabled) {
        return None;
    }
    let id = books.next_id("in");
    let (now, base) = (books.now, books.base.clone());
    let (subtotal, total) = (session.amount_subtotal.unwrap_or(0), session.amount_total.unwrap_or(0));
    let invoice: Invoice = made(json!({
        "id": id, "object": "invoice", "amount_due": total, "amount_overpaid": 0, "amount_paid": total,
        "amount_remaining": 0, "amount_shipping": 0, "attempt_count": 1, "attempted": true,
        "automatic_tax": { "enabled": session.automatic_tax.enabled }, "collection_method": "charge_automatically",
        "created": now, "currency": "usd", "customer": session.customer.as_ref().map(|one| one.id().as_str().to_owned()),
        "default_tax_rates": [], "discounts": [], "issuer": { "type": "self" }, "livemode": false,
        "lines": { "object": "list", "data": [], "has_more": false, "url": format!("/v1/invoices/{id}/lines") },
        "metadata": session.metadata, "payment_settings": {}, "period_start": now, "period_end": now,
        "post_payment_credit_notes_amount": 0, "pre_payment_credit_notes_amount": 0, "starting_balance": 0,
        "status": "paid", "status_transitions": { "finalized_at": now, "paid_at": now },
        "subtotal": subtotal, "total": total, "number": format!("FAKE-{}", &id[id.len() - 6..]),
        "hosted_invoice_url": format!("{base}/invoices/{id}"), "invoice_pdf": format!("{base}/invoices/{id}/pdf"),
    }));
    books.invoices.insert(id.clone(), invoice.clone());
    books.emit("invoice.paid", &invoice);
    Some(id)
}

/// Invoices, newest first, of one customer.
///
/// # Errors
/// When a bound of the page can't be read.
pub fn list(books: &Books, form: &Form) -> Result<Value, Refusal> {
    let customer = form.text("customer");
    page(&books.invoices, "invoices", form, |one| {
        customer.is_none_or(|customer| one.customer.as_ref().is_some_and(|its| its.id().as_str() == customer))
    })
}

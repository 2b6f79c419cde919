//! Checkout Sessions: a hosted page where a customer pays, or saves a card.

use serde_json::{Value, json};
use stripe_shared::{CheckoutSession, CheckoutSessionPaymentStatus as Payment, CheckoutSessionStatus as Status};
use stripe_types::Expandable;

use super::payment_intents::{self, New};
use super::{customers, invoices, payment_methods, setup_intents};
use crate::books::{Books, made, page, shown};
use crate::form::Form;
use crate::refusal::Refusal;

/// How long a session is open when the client does not say.
const OPEN_FOR: i64 = 24 * 3_600;
/// The shortest and the longest it may be.
const EXPIRY: std::ops::RangeInclusive<i64> = 30 * 60 - 60..=24 * 3_600;

/// Opens a session. Nothing is charged before somebody pays at its page.
///
/// # Errors
/// A mode, price or expiry Stripe would not take.
pub fn create(books: &mut Books, form: &Form) -> Result<Value, Refusal> {
    let mode = form.need("mode")?.to_owned();
    if mode != "payment" && mode != "setup" {
        return Err(Refusal::invalid("mode", "Only payment and setup mode are known here."));
    }
    form.need("success_url")?;
    if let Some(customer) = form.text("customer") {
        customers::check(books, customer)?;
    }
    let expires_at = form.int("expires_at")?.unwrap_or(books.now + OPEN_FOR);
    if !EXPIRY.contains(&(expires_at - books.now)) {
        return Err(Refusal::invalid(
            "expires_at",
            "The `expires_at` timestamp must be between 30 minutes and 24 hours from now.",
        ));
    }
    if mode == "setup" {
        return create_setup(books, form, expires_at);
    }
    let subtotal = subtotal(form)?;
    let taxes = form.is("automatic_tax[enabled]");
    let tax = if taxes { (subtotal * books.tax_bps + 5_000) / 10_000 } else { 0 };
    let id = books.next_id("cs_test");
    let session: CheckoutSession = made(json!({
        "id": id, "object": "checkout.session", "created": books.now, "expires_at": expires_at, "livemode": false,
        "mode": "payment", "status": "open", "payment_status": "unpaid", "currency": "usd", "custom_fields": [],
        "custom_text": {}, "shipping_options": [], "payment_method_types": ["card"],
        "customer": form.text("customer"), "client_reference_id": form.text("client_reference_id"),
        "amount_subtotal": subtotal, "amount_total": subtotal + tax, "metadata": form.map("metadata"),
        "total_details": { "amount_discount": 0, "amount_shipping": 0, "amount_tax": tax },
        "automatic_tax": { "enabled": taxes, "status": if taxes { json!("complete") } else { Value::Null } },
        "invoice_creation": {
            "enabled": form.is("invoice_creation[enabled]"),
            "invoice_data": { "metadata": form.map("invoice_creation[invoice_data][metadata]") },
        },
        "success_url": form.text("success_url"), "cancel_url": form.text("cancel_url"),
        "url": format!("{}/pay/{id}", books.base),
    }));
    books.sessions.insert(id.clone(), session.clone());
    let intent = New {
        amount: subtotal + tax,
        customer: form.text("customer").map(str::to_owned),
        metadata: form.map("payment_intent_data[metadata]"),
        setup_future_usage: form.text("payment_intent_data[setup_future_usage]").map(str::to_owned),
    };
    books.promised.insert(id, intent);
    Ok(shown(&session))
}

/// A session that saves a card. Its intent is there from the start.
fn create_setup(books: &mut Books, form: &Form, expires_at: i64) -> Result<Value, Refusal> {
    let id = books.next_id("cs_test");
    let intent = setup_intents::insert(books, form.text("customer"), &form.map("setup_intent_data[metadata]"));
    let session: CheckoutSession = made(json!({
        "id": id, "object": "checkout.session", "created": books.now, "expires_at": expires_at, "livemode": false,
        "mode": "setup", "status": "open", "payment_status": "no_payment_required", "currency": form.text("currency"),
        "custom_fields": [], "custom_text": {}, "shipping_options": [], "payment_method_types": ["card"],
        "customer": form.text("customer"), "client_reference_id": form.text("client_reference_id"),
        "metadata": form.map("metadata"), "automatic_tax": { "enabled": false }, "setup_intent": intent,
        "success_url": form.text("success_url"), "cancel_url": form.text("cancel_url"),
        "url": format!("{}/pay/{id}", books.base),
    }));
    books.sessions.insert(id, session.clone());
    Ok(shown(&session))
}

fn subtotal(form: &Form) -> Result<i64, Refusal> {
    let mut sum = 0_i64;
    for at in 0.. {
        let field = |name: &str| format!("line_items[{at}][{name}]");
        let price = format!("{}[unit_amount]", field("price_data"));
        if form.text(&price).is_none() {
            break;
        }
        let currency = form.need(&format!("{}[currency]", field("price_data")))?;
        if currency != "usd" {
            return Err(Refusal::invalid("currency", format!("Invalid currency: {currency}. Only usd is known here.")));
        }
        let quantity = form.int(&field("quantity"))?.unwrap_or(1);
        sum = sum.saturating_add(form.amount(&price)?.saturating_mul(quantity));
    }
    if sum < 50 {
        Err(Refusal::invalid("line_items", "The Checkout Session's total amount due must be at least $0.50."))
    } else {
        Ok(sum)
    }
}

/// What somebody did at the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Paid {
    /// It is paid; on to this URL.
    Done(String),
    /// The bank asks; on to this page.
    Asked(String),
}

/// Pays at the page with a card of this number.
///
/// # Errors
/// When the session is over; a decline, after which another card may be tried.
pub fn pay(books: &mut Books, id: &str, number: &str) -> Result<Paid, Refusal> {
    let session = open(books, id)?;
    if let Some(intent) = session.setup_intent.as_ref().map(|one| one.id().as_str().to_owned()) {
        return save(books, id, &intent, number);
    }
    let known = session.payment_intent.as_ref().map(|one| one.id().as_str().to_owned());
    let method = payment_methods::from_number(books, number)?;
    let intent = match known {
        Some(intent) => intent,
        None => {
            let new = books.promised.remove(id).unwrap_or_default();
            let intent = payment_intents::insert(books, new);
            if let Some(session) = books.sessions.get_mut(id) {
                session.payment_intent = Some(Expandable::Id(intent.as_str().into()));
            }
            intent
        }
    };
    payment_intents::set_method(books, &intent, &method);
    payment_intents::attempt(books, &intent, true, Some(&format!("{}/pay/{id}", books.base)))?;
    if books.payment_intents[&intent].status == stripe_shared::PaymentIntentStatus::RequiresAction {
        return Ok(Paid::Asked(format!("{}/authenticate/{intent}", books.base)));
    }
    Ok(Paid::Done(complete(books, id)))
}

/// Saves a card at the page.
fn save(books: &mut Books, id: &str, intent: &str, number: &str) -> Result<Paid, Refusal> {
    let method = payment_methods::from_number(books, number)?;
    let form = Form::parse(format!("payment_method={method}").as_bytes());
    setup_intents::confirm(books, intent, &form)?;
    if books.setup_intents[intent].status == stripe_shared::SetupIntentStatus::RequiresAction {
        return Ok(Paid::Asked(format!("{}/authenticate/{intent}", books.base)));
    }
    Ok(Paid::Done(complete(books, id)))
}

/// Closes the session an intent belongs to, after the bank's question was answered; where to go on.
pub fn completed_by(books: &mut Books, intent: &str) -> Option<String> {
    let is_its = |one: &CheckoutSession| {
        one.payment_intent.as_ref().is_some_and(|its| its.id().as_str() == intent)
            || one.setup_intent.as_ref().is_some_and(|its| its.id().as_str() == intent)
    };
    let id = books.sessions.iter().find(|(_, one)| is_its(one)).map(|(id, _)| id.clone())?;
    Some(complete(books, &id))
}

fn complete(books: &mut Books, id: &str) -> String {
    let invoice = invoices::of_session(books, &books.sessions[id].clone());
    let Some(session) = books.sessions.get_mut(id) else { return String::new() };
    session.status = Some(Status::Complete);
    if session.payment_status == Payment::Unpaid {
        session.payment_status = Payment::Paid;
    }
    session.invoice = invoice.map(|id| Expandable::Id(Some(id.as_str().into())));
    session.url = None;
    let session = session.clone();
    books.emit("checkout.session.completed", &session);
    session.success_url.unwrap_or_default().replace("{CHECKOUT_SESSION_ID}", id)
}

/// The session while it is open. One past its time is closed by asking, as by Stripe's own clock.
fn open(books: &mut Books, id: &str) -> Result<CheckoutSession, Refusal> {
    let session = books.sessions.get(id).ok_or_else(|| Refusal::no_such("checkout.session", id))?.clone();
    if session.status == Some(Status::Open) && session.expires_at <= books.now {
        close(books, id);
    } else if session.status == Some(Status::Open) {
        return Ok(session);
    }
    Err(Refusal::state(
        "checkout_session_not_open",
        "Only Checkout Sessions with a status in [\"open\"] can be changed.",
    ))
}

fn close(books: &mut Books, id: &str) {
    let Some(session) = books.sessions.get_mut(id) else { return };
    (session.status, session.url) = (Some(Status::Expired), None);
    let session = session.clone();
    if let Some(intent) = session.payment_intent.as_ref().map(|one| one.id().as_str().to_owned()) {
        // One that is done already is not open; any other is given up with its session.
        let _ = payment_intents::cancel(books, &intent);
    }
    books.promised.remove(id);
    books.emit("checkout.session.expired", &session);
}

/// Closes every session past its time.
pub fn expire_due(books: &mut Books) {
    let is_due = |one: &CheckoutSession| one.status == Some(Status::Open) && one.expires_at <= books.now;
    let due: Vec<String> = books.sessions.iter().filter(|(_, one)| is_due(one)).map(|(id, _)| id.clone()).collect();
    due.iter().for_each(|id| close(books, id));
}

/// Closes a session that nobody paid.
///
/// # Errors
/// When it is not open.
pub fn expire(books: &mut Books, id: &str) -> Result<Value, Refusal> {
    open(books, id)?;
    close(books, id);
    Ok(shown(&books.sessions[id]))
}

/// Sessions, newest first, of one customer or intent.
///
/// # Errors
/// When a bound of the page can't be read.
pub fn list(books: &Books, form: &Form) -> Result<Value, Refusal> {
    let (customer, intent) = (form.text("customer"), form.text("payment_intent"));
    page(&books.sessions, "checkout/sessions", form, |one| {
        customer.is_none_or(|customer| one.customer.as_ref().is_some_and(|its| its.id().as_str() == customer))
            && intent.is_none_or(|intent| one.payment_intent.as_ref().is_some_and(|its| its.id().as_str() == intent))
    })
}

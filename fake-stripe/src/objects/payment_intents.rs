//! Payment intents: from the wish to be paid to money, a decline or a question to the cardholder.

use serde_json::{Value, json};
use stripe_shared::{PaymentIntent, PaymentIntentStatus as Status};
use stripe_types::Expandable;

use super::charges::{Attempt, record};
use super::{customers, disputes, payment_methods};
use crate::books::{Books, made, page, shown};
use crate::card::{Verdict, verdict};
use crate::form::Form;
use crate::refusal::Refusal;

/// The least a card is charged, in cents.
const LEAST: i64 = 50;
/// And the most.
const MOST: i64 = 99_999_999;

/// What an intent is made of.
#[derive(Debug, Clone, Default)]
pub struct New {
    /// In cents.
    pub amount: i64,
    /// Who pays.
    pub customer: Option<String>,
    /// The client's own words.
    pub metadata: std::collections::HashMap<String, String>,
    /// Whether the card is kept, and for what.
    pub setup_future_usage: Option<String>,
}

/// Makes an intent and, when told to, confirms it.
///
/// # Errors
/// What can't be charged; a decline when it is confirmed at once.
pub fn create(books: &mut Books, form: &Form) -> Result<Value, Refusal> {
    let customer = form.text("customer").map(str::to_owned);
    if let Some(customer) = &customer {
        customers::check(books, customer)?;
    }
    check_money(form.amount("amount")?, form.need("currency")?)?;
    if form.is("off_session") && !form.is("confirm") {
        return Err(Refusal::invalid("off_session", "off_session can only be set when confirm is true."));
    }
    let method = match form.text("payment_method") {
        Some(named) => Some(payment_methods::resolve(books, named)?),
        None => None,
    };
    let id = insert(
        books,
        New {
            amount: form.amount("amount")?,
            customer,
            metadata: form.map("metadata"),
            setup_future_usage: form.text("setup_future_usage").map(str::to_owned),
        },
    );
    if let Some(method) = method {
        set_method(books, &id, &method);
    }
    if form.is("confirm") {
        attempt(books, &id, !form.is("off_session"), form.text("return_url"))?;
    }
    Ok(shown(&books.payment_intents[&id]))
}

fn check_money(amount: i64, currency: &str) -> Result<(), Refusal> {
    if currency != "usd" {
        return Err(Refusal::invalid("currency", format!("Invalid currency: {currency}. Only usd is known here.")));
    }
    if amount < LEAST {
        return Err(Refusal::state("amount_too_small", "Amount must be at least $0.50 usd"));
    }
    if amount > MOST {
        return Err(Refusal::state("amount_too_large", "Amount must be no more than $999,999.99"));
    }
    Ok(())
}

/// A new intent that nobody confirmed yet, and its id.
pub fn insert(books: &mut Books, new: New) -> String {
    let id = books.next_id("pi");
    let intent: PaymentIntent = made(json!({
        "id": id, "object": "payment_intent", "amount": new.amount, "amount_capturable": 0, "amount_received": 0,
        "capture_method": "automatic_async", "confirmation_method": "automatic", "created": books.now,
        "currency": "usd", "customer": new.customer, "livemode": false, "metadata": new.metadata,
        "payment_method_types": ["card"], "status": "requires_payment_method",
        "client_secret": format!("{id}_secret"), "setup_future_usage": new.setup_future_usage,
    }));
    books.payment_intents.insert(id.clone(), intent.clone());
    books.emit("payment_intent.created", &intent);
    id
}

/// Sets the card of an intent.
pub fn set_method(books: &mut Books, id: &str, method: &str) {
    if let Some(intent) = books.payment_intents.get_mut(id) {
        intent.payment_method = Some(Expandable::Id(method.into()));
        intent.status = Status::RequiresConfirmation;
    }
}

/// Confirms an intent.
///
/// # Errors
/// When it can't be confirmed any more, or the card is declined.
pub fn confirm(books: &mut Books, id: &str, form: &Form) -> Result<Value, Refusal> {
    if let Some(named) = form.text("payment_method") {
        let method = payment_methods::resolve(books, named)?;
        get(books, id)?;
        set_method(books, id, &method);
    }
    attempt(books, id, !form.is("off_session"), form.text("return_url"))?;
    Ok(shown(get(books, id)?))
}

fn get<'a>(books: &'a Books, id: &str) -> Result<&'a PaymentIntent, Refusal> {
    books.payment_intents.get(id).ok_or_else(|| Refusal::no_such("payment_intent", id))
}

/// Asks the bank. Without the cardholder a card that wants them is declined.
///
/// # Errors
/// When the intent is done or has no card; the decline.
pub fn attempt(books: &mut Books, id: &str, is_present: bool, return_url: Option<&str>) -> Result<(), Refusal> {
    let intent = get(books, id)?;
    if !matches!(intent.status, Status::RequiresPaymentMethod | Status::RequiresConfirmation | Status::RequiresAction) {
        let message = format!("This PaymentIntent could not be confirmed: its status is {}.", intent.status.as_str());
        return Err(Refusal::state("payment_intent_unexpected_state", message));
    }
    let Some(method) = intent.payment_method.as_ref().map(|one| one.id().as_str().to_owned()) else {
        return Err(Refusal::missing("payment_method"));
    };
    let last4 = payment_methods::last4(books, &method);
    match verdict(&last4, is_present, super::setup_intents::is_set_up(books, &method)) {
        Verdict::Pays => pay(books, id, &method),
        Verdict::PaysThenDisputes => {
            pay(books, id, &method);
            let charge = books.payment_intents[id].latest_charge.as_ref().map(|one| one.id().as_str().to_owned());
            disputes::open(books, &charge.unwrap_or_default(), None, "fraudulent")?;
        }
        Verdict::Authenticate if is_present => ask(books, id, return_url),
        Verdict::Authenticate => {
            return Err(decline(books, id, &method, "authentication_required", "authentication_required"));
        }
        Verdict::Declines(code, word) => return Err(decline(books, id, &method, code, word)),
    }
    Ok(())
}

/// Takes the money.
fn pay(books: &mut Books, id: &str, method: &str) {
    let (amount, customer, is_saved) = {
        let intent = &books.payment_intents[id];
        let customer = intent.customer.as_ref().map(|one| one.id().as_str().to_owned());
        (intent.amount, customer, intent.setup_future_usage.is_some())
    };
    let attempt = Attempt { intent: id, amount, method, customer: customer.as_deref(), refused: None };
    let charge = record(books, attempt);
    if let Some(intent) = books.payment_intents.get_mut(id) {
        intent.status = Status::Succeeded;
        intent.amount_received = amount;
        intent.latest_charge = Some(Expandable::Id(charge.id));
        (intent.next_action, intent.last_payment_error) = (None, None);
    }
    if let Some(customer) = customer.filter(|_| is_saved) {
        // Kept for later charges; a card that is another customer's stays theirs.
        let _ = payment_methods::attach_to(books, method, &customer);
    }
    tell(books, id, "payment_intent.succeeded");
}

/// Asks the cardholder, at a page.
fn ask(books: &mut Books, id: &str, return_url: Option<&str>) {
    let url = format!("{}/authenticate/{id}", books.base);
    if let Some(intent) = books.payment_intents.get_mut(id) {
        intent.status = Status::RequiresAction;
        let redirect = json!({ "url": url, "return_url": return_url });
        intent.next_action = Some(made(json!({ "type": "redirect_to_url", "redirect_to_url": redirect })));
    }
    tell(books, id, "payment_intent.requires_action");
}

/// Writes a decline down and words it.
fn decline(books: &mut Books, id: &str, method: &str, code: &str, word: &str) -> Refusal {
    let amount = books.payment_intents[id].amount;
    let customer = books.payment_intents[id].customer.as_ref().map(|one| one.id().as_str().to_owned());
    let attempt = Attempt { intent: id, amount, method, customer: customer.as_deref(), refused: Some((code, word)) };
    let charge = record(books, attempt);
    if let Some(intent) = books.payment_intents.get_mut(id) {
        intent.status = Status::RequiresPaymentMethod;
        intent.latest_charge = Some(Expandable::Id(charge.id));
        let error =
            json!({ "type": "card_error", "code": code, "decline_code": word, "message": "Your card was declined." });
        intent.last_payment_error = Some(made(error));
        (intent.payment_method, intent.next_action) = (None, None);
    }
    tell(books, id, "payment_intent.payment_failed");
    Refusal::declined(code, word, ("payment_intent", shown(&books.payment_intents[id])))
}

/// The cardholder answered the bank's question.
///
/// # Errors
/// When nothing was asked, or the answer was wrong.
pub fn authenticated(books: &mut Books, id: &str, is_right: bool) -> Result<(), Refusal> {
    let intent = get(books, id)?;
    if intent.status != Status::RequiresAction {
        return Err(Refusal::state("payment_intent_unexpected_state", "Nothing was asked of the cardholder."));
    }
    let method = intent.payment_method.as_ref().map(|one| one.id().as_str().to_owned()).unwrap_or_default();
    if is_right {
        pay(books, id, &method);
        return Ok(());
    }
    Err(decline(books, id, &method, "payment_intent_authentication_failure", "authentication_required"))
}

/// Gives an intent up.
///
/// # Errors
/// When it is done.
pub fn cancel(books: &mut Books, id: &str) -> Result<Value, Refusal> {
    if matches!(get(books, id)?.status, Status::Succeeded | Status::Canceled) {
        return Err(Refusal::state(
            "payment_intent_unexpected_state",
            "This PaymentIntent can't be canceled any more.",
        ));
    }
    let now = books.now;
    if let Some(intent) = books.payment_intents.get_mut(id) {
        (intent.status, intent.canceled_at) = (Status::Canceled, Some(now));
    }
    tell(books, id, "payment_intent.canceled");
    Ok(shown(&books.payment_intents[id]))
}

fn tell(books: &mut Books, id: &str, kind: &str) {
    let intent = books.payment_intents[id].clone();
    books.emit(kind, &intent);
}

/// Intents, newest first, of one customer.
///
/// # Errors
/// When a bound of the page can't be read.
pub fn list(books: &Books, form: &Form) -> Result<Value, Refusal> {
    let customer = form.text("customer");
    page(&books.payment_intents, "payment_intents", form, |one| {
        customer.is_none_or(|customer| one.customer.as_ref().is_some_and(|its| its.id().as_str() == customer))
    })
}

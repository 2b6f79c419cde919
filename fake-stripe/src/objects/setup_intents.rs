//! Setup intents: a card saved for charges without its holder.

use std::collections::HashMap;

use serde_json::{Value, json};
use stripe_shared::{SetupIntent, SetupIntentStatus as Status};
use stripe_types::Expandable;

use super::{customers, payment_methods};
use crate::books::{Books, made, shown};
use crate::card::{Verdict, verdict};
use crate::form::Form;
use crate::refusal::Refusal;

/// Makes an intent and, when told to, confirms it.
///
/// # Errors
/// When customer or card do not exist; a decline when it is confirmed at once.
pub fn create(books: &mut Books, form: &Form) -> Result<Value, Refusal> {
    if let Some(customer) = form.text("customer") {
        customers::check(books, customer)?;
    }
    let method = match form.text("payment_method") {
        Some(named) => Some(payment_methods::resolve(books, named)?),
        None => None,
    };
    let id = insert(books, form.text("customer"), &form.map("metadata"));
    if let (Some(method), Some(intent)) = (method, books.setup_intents.get_mut(&id)) {
        intent.payment_method = Some(Expandable::Id(method.as_str().into()));
        intent.status = Status::RequiresConfirmation;
    }
    if form.is("confirm") {
        return confirm(books, &id, form);
    }
    Ok(shown(&books.setup_intents[&id]))
}

/// A new intent that nobody confirmed yet, and its id.
pub fn insert(books: &mut Books, customer: Option<&str>, metadata: &HashMap<String, String>) -> String {
    let id = books.next_id("seti");
    let intent: SetupIntent = made(json!({
        "id": id, "object": "setup_intent", "created": books.now, "customer": customer, "livemode": false,
        "metadata": metadata, "payment_method_types": ["card"], "status": "requires_payment_method",
        "usage": "off_session", "client_secret": format!("{id}_secret"),
    }));
    books.setup_intents.insert(id.clone(), intent.clone());
    books.emit("setup_intent.created", &intent);
    id
}

/// Confirms an intent.
///
/// # Errors
/// When it is done or has no card; the decline.
pub fn confirm(books: &mut Books, id: &str, form: &Form) -> Result<Value, Refusal> {
    let named = form.text("payment_method").map(str::to_owned);
    let resolved = named.map(|named| payment_methods::resolve(books, &named)).transpose()?;
    let intent = books.setup_intents.get_mut(id).ok_or_else(|| Refusal::no_such("setup_intent", id))?;
    if matches!(intent.status, Status::Succeeded | Status::Canceled) {
        return Err(Refusal::state("setup_intent_unexpected_state", "This SetupIntent can't be confirmed any more."));
    }
    if let Some(method) = resolved {
        intent.payment_method = Some(Expandable::Id(method.as_str().into()));
    }
    let method = intent.payment_method.as_ref().map(|one| one.id().as_str().to_owned());
    let method = method.ok_or_else(|| Refusal::missing("payment_method"))?;
    match verdict(&payment_methods::last4(books, &method), true, false) {
        Verdict::Authenticate => {
            let url = format!("{}/authenticate/{id}", books.base);
            if let Some(intent) = books.setup_intents.get_mut(id) {
                intent.status = Status::RequiresAction;
                let redirect = json!({ "url": url, "return_url": form.text("return_url") });
                intent.next_action = Some(made(json!({ "type": "redirect_to_url", "redirect_to_url": redirect })));
            }
            tell(books, id, "setup_intent.requires_action");
        }
        Verdict::Declines(code, word) => return Err(fail(books, id, code, word)),
        Verdict::Pays | Verdict::PaysThenDisputes => save(books, id, &method),
    }
    Ok(shown(&books.setup_intents[id]))
}

fn save(books: &mut Books, id: &str, method: &str) {
    let Some(intent) = books.setup_intents.get_mut(id) else { return };
    (intent.status, intent.next_action) = (Status::Succeeded, None);
    if let Some(customer) = intent.customer.as_ref().map(|one| one.id().as_str().to_owned()) {
        // A card that is another customer's stays theirs.
        let _ = payment_methods::attach_to(books, method, &customer);
    }
    tell(books, id, "setup_intent.succeeded");
}

fn fail(books: &mut Books, id: &str, code: &str, word: &str) -> Refusal {
    if let Some(intent) = books.setup_intents.get_mut(id) {
        intent.status = Status::RequiresPaymentMethod;
        let error =
            json!({ "type": "card_error", "code": code, "decline_code": word, "message": "Your card was declined." });
        (intent.last_setup_error, intent.next_action) = (Some(made(error)), None);
    }
    tell(books, id, "setup_intent.setup_failed");
    Refusal::declined(code, word, ("setup_intent", shown(&books.setup_intents[id])))
}

/// The cardholder answered the bank's question.
///
/// # Errors
/// When nothing was asked, or the answer was wrong.
pub fn authenticated(books: &mut Books, id: &str, is_right: bool) -> Result<(), Refusal> {
    let intent = books.setup_intents.get(id).ok_or_else(|| Refusal::no_such("setup_intent", id))?;
    if intent.status != Status::RequiresAction {
        return Err(Refusal::state("setup_intent_unexpected_state", "Nothing was asked of the cardholder."));
    }
    let method = intent.payment_method.as_ref().map(|one| one.id().as_str().to_owned()).unwrap_or_default();
    if is_right {
        save(books, id, &method);
        return Ok(());
    }
    Err(fail(books, id, "setup_intent_authentication_failure", "authentication_required"))
}

/// Gives an intent up.
///
/// # Errors
/// When it is done.
pub fn cancel(books: &mut Books, id: &str) -> Result<Value, Refusal> {
    let intent = books.setup_intents.get_mut(id).ok_or_else(|| Refusal::no_such("setup_intent", id))?;
    if matches!(intent.status, Status::Succeeded | Status::Canceled) {
        return Err(Refusal::state("setup_intent_unexpected_state", "This SetupIntent can't be canceled any more."));
    }
    intent.status = Status::Canceled;
    tell(books, id, "setup_intent.canceled");
    Ok(shown(&books.setup_intents[id]))
}

/// Whether a card's holder proved who they are while it was saved.
#[must_use]
pub fn is_set_up(books: &Books, method: &str) -> bool {
    let by_intent = |one: &SetupIntent| {
        one.status == Status::Succeeded && one.payment_method.as_ref().is_some_and(|its| its.id().as_str() == method)
    };
    let by_payment = |one: &stripe_shared::PaymentIntent| {
        one.setup_future_usage.is_some()
            && one.status == stripe_shared::PaymentIntentStatus::Succeeded
            && one.payment_method.as_ref().is_some_and(|its| its.id().as_str() == method)
    };
    books.setup_intents.values().any(by_intent) || books.payment_intents.values().any(by_payment)
}

fn tell(books: &mut Books, id: &str, kind: &str) {
    let intent = books.setup_intents[id].clone();
    books.emit(kind, &intent);
}

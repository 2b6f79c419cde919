//! Every call of the API in one list, and what each does to the books.

pub mod balance;
pub mod charges;
pub mod checkout;
pub mod customers;
pub mod disputes;
pub mod invoices;
pub mod payment_intents;
pub mod payment_methods;
pub mod payouts;
pub mod refunds;
pub mod setup_intents;
pub mod tax;
pub mod warnings;

use serde_json::Value;

use crate::books::{Books, page, shown};
use crate::form::Form;
use crate::refusal::Refusal;

/// Answers one call. `path` is what comes after `/v1/`.
///
/// # Errors
/// What Stripe would refuse it with. A refused charge leaves its traces in the books all the same.
pub fn call(books: &mut Books, method: &str, path: &str, form: &Form) -> Result<Value, Refusal> {
    let parts: Vec<&str> = path.split('/').collect();
    let mut answer = match (method, parts.as_slice()) {
        ("POST", ["customers"]) => customers::create(books, form)?,
        ("GET", ["customers"]) => customers::list(books, form)?,
        ("POST", ["customers", id]) => customers::update(books, id, form)?,
        ("GET", ["customers", id]) => find(books, "customer", id)?,
        ("GET", ["customers", id, "payment_methods"]) => payment_methods::list(books, id, form)?,
        ("POST", ["payment_methods"]) => payment_methods::create(books, form)?,
        ("GET", ["payment_methods", id]) => find(books, "payment_method", id)?,
        ("POST", ["payment_methods", id, "attach"]) => payment_methods::attach(books, id, form)?,
        ("POST", ["payment_methods", id, "detach"]) => payment_methods::detach(books, id)?,
        ("POST", ["checkout", "sessions"]) => checkout::create(books, form)?,
        ("GET", ["checkout", "sessions"]) => checkout::list(books, form)?,
        ("GET", ["checkout", "sessions", id]) => find(books, "checkout.session", id)?,
        ("POST", ["checkout", "sessions", id, "expire"]) => checkout::expire(books, id)?,
        ("POST", ["setup_intents"]) => setup_intents::create(books, form)?,
        ("GET", ["setup_intents", id]) => find(books, "setup_intent", id)?,
        ("POST", ["setup_intents", id, "confirm"]) => setup_intents::confirm(books, id, form)?,
        ("POST", ["setup_intents", id, "cancel"]) => setup_intents::cancel(books, id)?,
        ("POST", ["payment_intents"]) => payment_intents::create(books, form)?,
        ("GET", ["payment_intents"]) => payment_intents::list(books, form)?,
        ("GET", ["payment_intents", id]) => find(books, "payment_intent", id)?,
        ("POST", ["payment_intents", id, "confirm"]) => payment_intents::confirm(books, id, form)?,
        ("POST", ["payment_intents", id, "cancel"]) => payment_intents::cancel(books, id)?,
        ("GET", ["charges"]) => charges::list(books, form)?,
        ("GET", ["charges", id]) => find(books, "charge", id)?,
        ("POST", ["refunds"]) => refunds::create(books, form)?,
        ("GET", ["refunds"]) => refunds::list(books, form)?,
        ("GET", ["refunds", id]) => find(books, "refund", id)?,
        ("GET", ["disputes"]) => disputes::list(books, form)?,
        ("GET", ["disputes", id]) => find(books, "dispute", id)?,
        ("POST", ["disputes", id]) => disputes::submit(books, id, form)?,
        ("POST", ["disputes", id, "close"]) => disputes::close(books, id, false)?,
        ("GET", ["payouts"]) => payouts::list(books, form)?,
        ("GET", ["payouts", id]) => find(books, "payout", id)?,
        ("GET", ["radar", "early_fraud_warnings"]) => warnings::list(books, form)?,
        ("GET", ["radar", "early_fraud_warnings", id]) => find(books, "radar.early_fraud_warning", id)?,
        ("GET", ["balance_transactions"]) => balance::list(books, form)?,
        ("GET", ["balance_transactions", id]) => find(books, "balance_transaction", id)?,
        ("POST", ["tax", "calculations"]) => tax::calculate(books, form)?,
        ("POST", ["tax", "transactions", "create_from_calculation"]) => tax::record(books, form)?,
        ("GET", ["invoices"]) => invoices::list(books, form)?,
        ("GET", ["invoices", id]) => find(books, "invoice", id)?,
        ("GET", ["events"]) => events(books, form)?,
        ("GET", ["events", id]) => books.events.get(*id).map(shown).ok_or_else(|| Refusal::no_such("event", id))?,
        _ => return Err(Refusal::unknown_url(method, path)),
    };
    books.expand(&mut answer, form);
    Ok(answer)
}

fn find(books: &Books, kind: &str, id: &str) -> Result<Value, Refusal> {
    let found = books.find(id).ok_or_else(|| Refusal::no_such(kind, id))?;
    // An id of another kind is no object here.
    if found["object"] == kind { Ok(found) } else { Err(Refusal::no_such(kind, id)) }
}

/// Events, newest first, of some types and from a time on.
fn events(books: &Books, form: &Form) -> Result<Value, Refusal> {
    let (since, until) = (form.int("created[gte]")?.unwrap_or(0), form.int("created[lte]")?.unwrap_or(i64::MAX));
    let mut types = form.list("types");
    types.extend(form.text("type").map(str::to_owned));
    page(&books.events, "events", form, |event| {
        (since..=until).contains(&event.created)
            && (types.is_empty() || types.iter().any(|one| one == event.type_.as_str()))
    })
}

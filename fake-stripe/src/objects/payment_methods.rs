//! Cards: made from a number or a test name, attached to a customer, detached again.

use serde_json::{Value, json};
use stripe_shared::PaymentMethod;
use stripe_types::Expandable;

use crate::books::{Books, made, page, shown};
use crate::card;
use crate::form::Form;
use crate::refusal::Refusal;

/// Makes a card from `card[number]` or from a token.
///
/// # Errors
/// When it is no card.
pub fn create(books: &mut Books, form: &Form) -> Result<Value, Refusal> {
    if form.need("type")? != "card" {
        return Err(Refusal::invalid("type", "Only cards are known here."));
    }
    let given = form.text("card[number]").or(form.text("card[token]")).unwrap_or("4242424242424242");
    let number = card::number_of(given).unwrap_or(given).to_owned();
    let id = from_number(books, &number)?;
    Ok(shown(&books.payment_methods[&id]))
}

/// A new card of this number, and its id.
///
/// # Errors
/// When it is no card number.
pub fn from_number(books: &mut Books, number: &str) -> Result<String, Refusal> {
    let last4 =
        card::last4(number).ok_or_else(|| Refusal::state("incorrect_number", "Your card number is incorrect."))?;
    let id = books.next_id("pm");
    let brand = if number.starts_with('5') { "mastercard" } else { "visa" };
    let method: PaymentMethod = made(json!({
        "id": id, "object": "payment_method", "created": books.now, "livemode": false, "type": "card",
        "billing_details": {}, "metadata": {},
        "card": {
            "brand": brand, "last4": last4, "exp_month": 12, "exp_year": 2099, "funding": "credit", "country": "US",
            "fingerprint": format!("fp_{brand}_{last4}"),
        },
    }));
    books.payment_methods.insert(id.clone(), method);
    Ok(id)
}

/// The id of the card meant by an id or a test name; a test name makes a new card, as Stripe's do.
///
/// # Errors
/// When there is none.
pub fn resolve(books: &mut Books, named: &str) -> Result<String, Refusal> {
    if books.payment_methods.contains_key(named) {
        return Ok(named.to_owned());
    }
    let number = card::number_of(named)
        .ok_or_else(|| Refusal::invalid("payment_method", format!("No such PaymentMethod: '{named}'")))?;
    from_number(books, number)
}

/// The last four digits of a card.
#[must_use]
pub fn last4(books: &Books, id: &str) -> String {
    books.payment_methods.get(id).and_then(|one| one.card.as_ref()).map_or_else(String::new, |one| one.last4.clone())
}

/// Gives a card to a customer.
///
/// # Errors
/// When either does not exist, or the card is somebody else's.
pub fn attach(books: &mut Books, id: &str, form: &Form) -> Result<Value, Refusal> {
    let id = attach_to(books, id, form.need("customer")?)?;
    Ok(shown(&books.payment_methods[&id]))
}

/// The same by ids; returns the card's own.
///
/// # Errors
/// As [`attach`].
pub fn attach_to(books: &mut Books, named: &str, customer: &str) -> Result<String, Refusal> {
    super::customers::check(books, customer)?;
    let id = resolve(books, named)?;
    let method = books.payment_methods.get_mut(&id).ok_or_else(|| Refusal::no_such("payment_method", named))?;
    match &method.customer {
        Some(owner) if owner.id().as_str() == customer => return Ok(id),
        Some(_) => {
            return Err(Refusal::state(
                "resource_already_exists",
                "The payment method is already attached to a customer.",
            ));
        }
        None => method.customer = Some(Expandable::Id(customer.into())),
    }
    let method = method.clone();
    books.emit("payment_method.attached", &method);
    Ok(id)
}

/// Takes a card from its customer.
///
/// # Errors
/// When there is no such card, or nobody has it.
pub fn detach(books: &mut Books, id: &str) -> Result<Value, Refusal> {
    let method = books.payment_methods.get_mut(id).ok_or_else(|| Refusal::no_such("payment_method", id))?;
    if method.customer.take().is_none() {
        return Err(Refusal::state(
            "payment_method_unexpected_state",
            "The payment method is not attached to a customer.",
        ));
    }
    let method = method.clone();
    books.emit("payment_method.detached", &method);
    Ok(shown(&method))
}

/// A customer's cards, newest first.
///
/// # Errors
/// When there is no such customer.
pub fn list(books: &Books, customer: &str, form: &Form) -> Result<Value, Refusal> {
    super::customers::check(books, customer)?;
    let url = format!("customers/{customer}/payment_methods");
    let is_theirs = |one: &PaymentMethod| one.customer.as_ref().is_some_and(|owner| owner.id().as_str() == customer);
    page(&books.payment_methods, &url, form, is_theirs)
}

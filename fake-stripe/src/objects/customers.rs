//! Customers: who pays, and what is known of them.

use serde_json::{Value, json};
use stripe_shared::Customer;

use crate::books::{Books, made, merge_metadata, page, shown};
use crate::form::Form;
use crate::refusal::Refusal;

/// Makes a customer.
///
/// # Errors
/// When a payment method named for it does not exist.
pub fn create(books: &mut Books, form: &Form) -> Result<Value, Refusal> {
    let id = books.next_id("cus");
    let customer: Customer = made(json!({
        "id": id, "object": "customer", "created": books.now, "livemode": false, "email": form.text("email"),
        "name": form.text("name"), "description": form.text("description"), "metadata": form.map("metadata"),
    }));
    books.customers.insert(id.clone(), customer.clone());
    if let Some(method) = form.text("payment_method") {
        super::payment_methods::attach_to(books, method, &id)?;
    }
    books.emit("customer.created", &customer);
    Ok(shown(&customer))
}

/// Changes a customer.
///
/// # Errors
/// When there is no such customer.
pub fn update(books: &mut Books, id: &str, form: &Form) -> Result<Value, Refusal> {
    let customer = books.customers.get_mut(id).ok_or_else(|| Refusal::no_such("customer", id))?;
    if let Some(email) = form.text("email") {
        customer.email = Some(email.to_owned());
    }
    if let Some(name) = form.text("name") {
        customer.name = Some(name.to_owned());
    }
    merge_metadata(customer.metadata.get_or_insert_default(), form);
    let customer = customer.clone();
    books.emit("customer.updated", &customer);
    Ok(shown(&customer))
}

/// Customers, newest first, of one e-mail address and from a time on.
///
/// # Errors
/// When a bound of the page can't be read.
pub fn list(books: &Books, form: &Form) -> Result<Value, Refusal> {
    let (email, since) = (form.text("email"), form.int("created[gte]")?.unwrap_or(0));
    page(&books.customers, "customers", form, |one| {
        one.created >= since && email.is_none_or(|email| one.email.as_deref() == Some(email))
    })
}

/// Refuses an id that names nobody.
///
/// # Errors
/// When there is no such customer.
pub fn check(books: &Books, id: &str) -> Result<(), Refusal> {
    if books.customers.contains_key(id) {
        Ok(())
    } else {
        Err(Refusal::invalid("customer", format!("No such customer: '{id}'")))
    }
}

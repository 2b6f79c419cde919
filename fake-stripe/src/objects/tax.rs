//! Tax on what is charged without a page: worked out first, recorded for the state once it is paid.

use serde_json::{Value, json};

use super::customers;
use crate::books::Books;
use crate::form::Form;
use crate::refusal::Refusal;

/// A calculation can be recorded for ninety days.
const EXPIRES_AFTER_S: i64 = 90 * 86_400;

/// Works out the tax on lines, on top of them.
///
/// # Errors
/// When a line is no amount of US dollars, or there is no such customer.
pub fn calculate(books: &mut Books, form: &Form) -> Result<Value, Refusal> {
    if form.need("currency")? != "usd" {
        return Err(Refusal::invalid("currency", "Only usd is known here."));
    }
    customers::check(books, form.need("customer")?)?;
    let mut subtotal = 0_i64;
    for at in 0.. {
        let field = format!("line_items[{at}][amount]");
        if at > 0 && form.text(&field).is_none() {
            break;
        }
        subtotal = subtotal.saturating_add(form.amount(&field)?);
    }
    let tax = (subtotal * books.tax_bps + 5_000) / 10_000;
    let id = books.next_id("taxcalc");
    books.tax_calculations.insert(id.clone(), tax);
    Ok(json!({
        "id": id, "object": "tax.calculation", "amount_total": subtotal + tax, "tax_amount_exclusive": tax,
        "tax_amount_inclusive": 0, "currency": "usd", "customer": form.text("customer"), "livemode": false,
        "customer_details": details(), "expires_at": books.now + EXPIRES_AFTER_S, "tax_date": books.now,
        "tax_breakdown": [], "line_items": null, "ship_from_details": null, "shipping_cost": null,
    }))
}

/// Records what was worked out, under a reference of the client's that is used once.
///
/// # Errors
/// When nothing was worked out under this id, or the reference was used.
pub fn record(books: &mut Books, form: &Form) -> Result<Value, Refusal> {
    let (calculation, reference) = (form.need("calculation")?.to_owned(), form.need("reference")?.to_owned());
    if !books.tax_calculations.contains_key(&calculation) {
        return Err(Refusal::no_such("tax.calculation", &calculation));
    }
    if books.tax_transactions.contains_key(&reference) {
        return Err(Refusal::invalid("reference", format!("A transaction of reference {reference} exists already.")));
    }
    books.tax_transactions.insert(reference.clone(), calculation);
    let id = books.next_id("tax");
    Ok(json!({
        "id": id, "object": "tax.transaction", "type": "transaction", "reference": reference, "currency": "usd",
        "livemode": false, "created": books.now, "posted_at": books.now, "tax_date": books.now, "customer": null,
        "customer_details": details(), "line_items": null, "metadata": {}, "reversal": null, "ship_from_details": null,
        "shipping_cost": null,
    }))
}

/// Nothing is known of a customer here that tax would depend on.
fn details() -> Value {
    json!({ "address": null, "address_source": null, "ip_address": null, "tax_ids": [], "taxability_override": "none" })
}

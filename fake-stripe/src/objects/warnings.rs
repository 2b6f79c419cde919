//! Early fraud warnings: what a card's issuer holds for fraud before anybody disputes it.

use serde_json::{Value, json};
use stripe_fraud::RadarEarlyFraudWarning;

use crate::books::{Books, made, page, shown};
use crate::form::Form;
use crate::refusal::Refusal;

/// An issuer holds a charge for fraud.
///
/// # Errors
/// When there is no such charge.
pub fn warn(books: &mut Books, charge_id: &str) -> Result<Value, Refusal> {
    let charge = books.charges.get(charge_id).ok_or_else(|| Refusal::no_such("charge", charge_id))?;
    let intent = charge.payment_intent.as_ref().map(|one| one.id().as_str().to_owned());
    let is_actionable = !charge.disputed && !charge.refunded;
    let id = books.next_id("issfr");
    let warning: RadarEarlyFraudWarning = made(json!({
        "id": id, "object": "radar.early_fraud_warning", "actionable": is_actionable, "charge": charge_id,
        "created": books.now, "fraud_type": "made_with_stolen_card", "livemode": false, "payment_intent": intent,
    }));
    books.warnings.insert(id, warning.clone());
    books.emit("radar.early_fraud_warning.created", &warning);
    Ok(shown(&warning))
}

/// Warnings, newest first, of one charge.
///
/// # Errors
/// When a bound of the page can't be read.
pub fn list(books: &Books, form: &Form) -> Result<Value, Refusal> {
    let charge = form.text("charge");
    page(&books.warnings, "radar/early_fraud_warnings", form, |one| {
        charge.is_none_or(|charge| one.charge.id().as_str() == charge)
    })
}

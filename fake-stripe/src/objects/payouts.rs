//! Payouts: the balance on its way to the bank, and back when the bank will not have it.

use serde_json::{Value, json};
use stripe_shared::Payout;
use stripe_types::Expandable;

use super::balance::{Movement, book};
use crate::books::{Books, made, page, shown};
use crate::form::Form;
use crate::refusal::Refusal;

/// Sends so many cents to the bank, where they arrive at once.
///
/// # Errors
/// When there is less.
pub fn send(books: &mut Books, amount: i64) -> Result<Value, Refusal> {
    let balance: i64 = books.balance_transactions.values().map(|line| line.net).sum();
    if amount <= 0 || amount > balance {
        return Err(Refusal::invalid("amount", "You have insufficient funds in your Stripe account."));
    }
    let id = books.next_id("po");
    let line = book(books, Movement { kind: "payout", category: "payout", source: &id, amount: -amount, fee: 0 });
    let payout: Payout = made(json!({
        "id": id, "object": "payout", "amount": amount, "arrival_date": books.now, "automatic": true,
        "balance_transaction": line.id.as_str(), "created": books.now, "currency": "usd", "livemode": false,
        "metadata": {}, "method": "standard", "reconciliation_status": "in_progress", "source_type": "card",
        "status": "paid", "type": "bank_account",
    }));
    books.payouts.insert(id, payout.clone());
    books.emit("payout.created", &payout);
    books.emit("payout.paid", &payout);
    Ok(shown(&payout))
}

/// The bank sends a payout back.
///
/// # Errors
/// When there is no such payout, or it came back before.
pub fn fail(books: &mut Books, id: &str) -> Result<Value, Refusal> {
    let payout = books.payouts.get(id).ok_or_else(|| Refusal::no_such("payout", id))?;
    if payout.status != "paid" {
        return Err(Refusal::state("payout_not_paid", "This payout has failed already."));
    }
    let amount = payout.amount;
    let movement = Movement { kind: "payout_failure", category: "payout_reversal", source: id, amount, fee: 0 };
    let line = book(books, movement);
    if let Some(payout) = books.payouts.get_mut(id) {
        "failed".clone_into(&mut payout.status);
        payout.failure_code = Some("account_closed".to_owned());
        payout.failure_balance_transaction = Some(Expandable::Id(line.id));
    }
    let payout = books.payouts[id].clone();
    books.emit("payout.failed", &payout);
    Ok(shown(&payout))
}

/// Payouts, newest first.
///
/// # Errors
/// When a bound of the page can't be read.
pub fn list(books: &Books, form: &Form) -> Result<Value, Refusal> {
    page(&books.payouts, "payouts", form, |_| true)
}

//! The money that came and went, line by line.

use serde_json::{Value, json};
use stripe_shared::BalanceTransaction;

use crate::books::{Books, made, page};
use crate::form::Form;
use crate::refusal::Refusal;

/// What a dispute costs, in cents, whoever wins it.
pub const DISPUTE_FEE: i64 = 1_500;
/// Charges become available after this many seconds.
const AVAILABLE_AFTER: i64 = 2 * 86_400;

/// A movement of money: what it is, in which report it appears, of which object, how much and what it costs.
#[derive(Debug, Clone, Copy)]
pub struct Movement<'a> {
    /// Its type.
    pub kind: &'a str,
    /// The report's line it is added to.
    pub category: &'a str,
    /// The object it is of.
    pub source: &'a str,
    /// In cents; below zero when it goes.
    pub amount: i64,
    /// In cents, of it.
    pub fee: i64,
}

/// Stripe's price of a card payment: 2.9 % and 30 cents.
#[must_use]
pub const fn fee_of(amount: i64) -> i64 {
    (amount * 29 + 500) / 1_000 + 30
}

/// Writes a movement down.
pub fn book(books: &mut Books, movement: Movement<'_>) -> BalanceTransaction {
    let Movement { kind, category, source, amount, fee } = movement;
    let id = books.next_id("txn");
    let fees =
        json!([{ "amount": fee, "currency": "usd", "type": "stripe_fee", "description": "Stripe processing fees" }]);
    let line: BalanceTransaction = made(json!({
        "id": id, "object": "balance_transaction", "type": kind, "reporting_category": category, "source": source,
        "amount": amount, "fee": fee, "net": amount - fee, "fee_details": if fee == 0 { json!([]) } else { fees },
        "currency": "usd", "created": books.now, "available_on": books.now + AVAILABLE_AFTER, "status": "available",
        "balance_type": "payments",
    }));
    books.balance_transactions.insert(id, line.clone());
    line
}

/// Movements, newest first, of one kind, source or time.
///
/// # Errors
/// When a bound of the page can't be read.
pub fn list(books: &Books, form: &Form) -> Result<Value, Refusal> {
    let (since, until) = (form.int("created[gte]")?.unwrap_or(0), form.int("created[lte]")?.unwrap_or(i64::MAX));
    let (kind, source) = (form.text("type"), form.text("source"));
    page(&books.balance_transactions, "balance_transactions", form, |line| {
        (since..=until).contains(&line.created)
            && kind.is_none_or(|kind| line.type_.as_str() == kind)
            && source.is_none_or(|source| line.source.as_ref().is_some_and(|one| one.id().as_str() == source))
    })
}

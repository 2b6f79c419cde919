//! Everything the processor remembers, as Stripe's own types.
//!
//! Objects are made by parsing the least Stripe sends and shown by serialising the whole type, so a shape that
//! drifts from the client's fails to compile or to parse.

use std::collections::BTreeMap;

use miniserde::Deserialize;
use serde::Serialize;
use serde_json::{Value, json};
use stripe_fraud::RadarEarlyFraudWarning;
use stripe_shared::{
    BalanceTransaction, Charge, CheckoutSession, Customer, Dispute, Event, Invoice, PaymentIntent, PaymentMethod,
    Payout, Refund, SetupIntent,
};

use crate::form::Form;
use crate::objects::payment_intents::New;
use crate::refusal::Refusal;

/// Objects of one kind by id. Ids count up, so they are in the order they were made in.
pub type Table<T> = BTreeMap<String, T>;

/// How many objects a page has when the client does not say.
const PAGE: usize = 10;
/// The most objects of one page.
const MAX_PAGE: i64 = 100;

/// All objects, the clock they are dated by, and what is told about them.
#[derive(Default)]
#[non_exhaustive]
pub struct Books {
    /// Where the pages are, without a slash at the end.
    pub base: String,
    /// Unix seconds, read once for each call.
    pub now: i64,
    /// Tax on a Checkout Session that asks for it, in basis points.
    pub tax_bps: i64,
    /// What becomes of a refund at once.
    pub refunds_go: RefundsGo,
    /// Who pays.
    pub customers: Table<Customer>,
    /// Cards.
    pub payment_methods: Table<PaymentMethod>,
    /// Checkout Sessions.
    pub sessions: Table<CheckoutSession>,
    /// What the intent of an open session will be made of, when somebody pays.
    pub promised: BTreeMap<String, New>,
    /// Cards to be saved.
    pub setup_intents: Table<SetupIntent>,
    /// Money to be had.
    pub payment_intents: Table<PaymentIntent>,
    /// Attempts to take it.
    pub charges: Table<Charge>,
    /// Money given back.
    pub refunds: Table<Refund>,
    /// Money cardholders want back.
    pub disputes: Table<Dispute>,
    /// What issuers hold for fraud.
    pub warnings: Table<RadarEarlyFraudWarning>,
    /// Money on its way to the bank.
    pub payouts: Table<Payout>,
    /// Money that moved, line by line.
    pub balance_transactions: Table<BalanceTransaction>,
    /// Tax worked out, in cents.
    pub tax_calculations: Table<i64>,
    /// Tax recorded for the state: calculations by the client's reference.
    pub tax_transactions: Table<String>,
    /// Papers.
    pub invoices: Table<Invoice>,
    /// What happened.
    pub events: Table<Event>,
    /// Events nobody was told of yet.
    pub untold: Vec<Event>,
    /// Begins every id: a processor that forgot everything must not use the names of another's things.
    pub(crate) run: String,
    serial: u64,
}

/// What becomes of a refund at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundsGo {
    /// It succeeds.
    #[default]
    Through,
    /// It stays pending until told otherwise.
    Pending,
}

/// Reads an object of the client's own type from the least that must be in it.
///
/// # Panics
/// When the type wants something else by now: the shape has drifted.
#[must_use]
pub fn made<T: Deserialize>(value: Value) -> T {
    miniserde::json::from_str(&value.to_string())
        .unwrap_or_else(|_| panic!("the client's type can't be read from {value}"))
}

/// The JSON of an object, whole.
///
/// # Panics
/// Never: keys are strings and numbers are finite.
#[must_use]
pub fn shown(object: &impl Serialize) -> Value {
    serde_json::to_value(object).expect("Stripe's objects are JSON")
}

impl Books {
    /// The next id with this prefix.
    pub fn next_id(&mut self, prefix: &str) -> String {
        self.serial += 1;
        format!("{prefix}_{}{:08}", self.run, self.serial)
    }

    /// Writes an event down and leaves it to be told.
    pub fn emit(&mut self, kind: &str, object: &impl Serialize) {
        let id = self.next_id("evt");
        let event: Event = made(json!({
            "id": id, "object": "event", "api_version": stripe_shared::version::VERSION.to_string(),
            "created": self.now, "livemode": false, "pending_webhooks": 1, "type": kind,
            "data": { "object": shown(object) }, "request": { "id": null, "idempotency_key": null },
        }));
        self.events.insert(id, event.clone());
        self.untold.push(event);
    }

    /// Any object by its id, which tells its kind.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<Value> {
        let prefix = id.rsplit_once('_')?.0;
        match prefix {
            "cus" => self.customers.get(id).map(shown),
            "pm" => self.payment_methods.get(id).map(shown),
            "cs_test" => self.sessions.get(id).map(shown),
            "seti" => self.setup_intents.get(id).map(shown),
            "pi" => self.payment_intents.get(id).map(shown),
            "ch" => self.charges.get(id).map(shown),
            "re" => self.refunds.get(id).map(shown),
            "du" => self.disputes.get(id).map(shown),
            "issfr" => self.warnings.get(id).map(shown),
            "po" => self.payouts.get(id).map(shown),
            "txn" => self.balance_transactions.get(id).map(shown),
            "in" => self.invoices.get(id).map(shown),
            _ => None,
        }
    }

    /// Puts objects in the place of their ids along each path of `expand[]`, as `data.latest_charge`.
    pub fn expand(&self, answer: &mut Value, form: &Form) {
        for path in form.list("expand") {
            let parts: Vec<&str> = path.split('.').collect();
            self.expand_path(answer, &parts);
        }
    }

    fn expand_path(&self, at: &mut Value, path: &[&str]) {
        if let Value::Array(items) = at {
            items.iter_mut().for_each(|item| self.expand_path(item, path));
            return;
        }
        let Some((first, rest)) = path.split_first() else { return };
        let Some(member) = at.get_mut(first) else { return };
        if let Some(found) = member.as_str().and_then(|id| self.find(id)) {
            *member = found;
        }
        self.expand_path(member, rest);
    }
}

/// One page of a table, newest first, as Stripe lists it.
///
/// # Errors
/// When a bound of the page can't be read.
pub fn page<T: Serialize>(
    table: &Table<T>,
    url: &str,
    form: &Form,
    keep: impl Fn(&T) -> bool,
) -> Result<Value, Refusal> {
    let limit = form.int("limit")?.map_or(PAGE, |limit| usize::try_from(limit.clamp(1, MAX_PAGE)).unwrap_or(PAGE));
    let after = form.text("starting_after");
    let kept = table.iter().rev().filter(|(id, _)| after.is_none_or(|after| id.as_str() < after));
    let mut found: Vec<Value> = kept.map(|(_, one)| one).filter(|one| keep(one)).take(limit + 1).map(shown).collect();
    let has_more = found.len() > limit;
    found.truncate(limit);
    Ok(json!({ "object": "list", "url": format!("/v1/{url}"), "has_more": has_more, "data": found }))
}

/// Writes what `form` says over an object's metadata: an empty value takes a key away.
pub fn merge_metadata(into: &mut std::collections::HashMap<String, String>, form: &Form) {
    for (key, value) in form.map("metadata") {
        if value.is_empty() {
            into.remove(&key);
        } else {
            into.insert(key, value);
        }
    }
}

//! Credit bought by itself: when a balance falls below what its owner set, a saved card is charged.
//!
//! A charge is a top-up, written down before it is asked for and one at a time for an account, so however many notice
//! that a balance is low, and wherever a process dies, the card is charged once. What becomes credit is the payment the
//! processor says it has, as with any top-up.

mod tax;

use std::collections::HashMap;
use std::time::Duration;

use platform::outbox;
use protocol::event::Event;
use protocol::{CardId, Id, NanoUsd, OrganizationId, Timestamp, TopupId};
use sqlx::PgConnection;
use stripe_core::payment_intent as intent;
use stripe_shared::PaymentIntent;

use crate::budget::{Reset, Window};
use crate::store::{self, cards as saved, recharge as rules, stripe_calls, topups};
use crate::stripe::{Call, Cards, KEY_LIVES, cents, sync};
use crate::topup::{TOPUP_ID, Topup, TopupState, check_amount, close, customer_of};
use crate::{Error, velocity};

pub(crate) use tax::record_tax;
use tax::taxed;

/// Waits after the first, second and third decline in a row; after one more the rule stops.
const WAITS: [Duration; 3] =
    [Duration::from_secs(3_600), Duration::from_secs(6 * 3_600), Duration::from_secs(24 * 3_600)];
/// The bank wants its customer to be there.
const AUTHENTICATION_REQUIRED: &str = "authentication_required";
/// Words of banks, and of the processor, after which asking again is no use.
const HARD: [&str; 16] = [
    "card_not_supported",
    "expired_card",
    "fraudulent",
    "incorrect_number",
    "invalid_account",
    "lost_card",
    "merchant_blacklist",
    "pickup_card",
    "resource_missing",
    "restricted_card",
    "revocation_of_all_authorizations",
    "revocation_of_authorization",
    "security_violation",
    "stolen_card",
    "stop_payment_order",
    "transaction_not_allowed",
];
/// How often a page somebody opened is closed to make room, as with two pages.
const ROUNDS: u32 = 3;
/// Accounts looked at in one go.
const BATCH: i64 = 50;

/// Why a rule does not act any more before its owner sets it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// The bank wants its customer to be there.
    AuthenticationRequired,
    /// The card was declined for good, or too often.
    Declined,
    /// The card was removed.
    CardRemoved,
}

/// When an account's card is charged, and for how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whose.
    pub account: OrganizationId,
    /// Below this balance.
    pub threshold: NanoUsd,
    /// So much, in whole cents; tax comes on top.
    pub amount: NanoUsd,
    /// At most so much in a UTC day.
    pub daily_cap: NanoUsd,
    /// And in a month.
    pub monthly_cap: NanoUsd,
    /// This card.
    pub card: CardId,
    /// Unless something has stopped it.
    pub stopped: Option<Stopped>,
    /// Declines in a row.
    pub declines: u32,
    /// The bank's word for the last of them.
    pub decline_code: Option<String>,
    /// Until when nothing is tried.
    pub retry_at: Option<Timestamp>,
    /// Since when it is as it is.
    pub set_at: Timestamp,
}

/// A rule as its owner wants it.
#[derive(Debug, Clone, Copy)]
pub struct NewRule {
    /// Below this balance.
    pub threshold: NanoUsd,
    /// So much.
    pub amount: NanoUsd,
    /// At most so much in a UTC day.
    pub daily_cap: NanoUsd,
    /// And in a month.
    pub monthly_cap: NanoUsd,
    /// This card; the default one when absent.
    pub card: Option<CardId>,
}

impl Stopped {
    /// The name, as stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthenticationRequired => AUTHENTICATION_REQUIRED,
            Self::Declined => "declined",
            Self::CardRemoved => "card_removed",
        }
    }

    pub(crate) fn from_stored(name: &str) -> Option<Self> {
        [Self::AuthenticationRequired, Self::Declined, Self::CardRemoved].into_iter().find(|why| why.as_str() == name)
    }
}

impl Rule {
    /// Whether it acts now.
    fn is_due(&self, now: Timestamp) -> bool {
        self.stopped.is_none() && self.retry_at.is_none_or(|at| at <= now)
    }

    /// The rule after its card was declined with `code`.
    fn declined(self, code: &str, now: Timestamp) -> Self {
        let wait = usize::try_from(self.declines).ok().and_then(|before| WAITS.get(before));
        let stopped = match wait {
            _ if code == AUTHENTICATION_REQUIRED => Some(Stopped::AuthenticationRequired),
            Some(_) if !HARD.contains(&code) => None,
            _ => Some(Stopped::Declined),
        };
        let retry_at = wait.filter(|_| stopped.is_none()).map(|&wait| now.plus(wait));
        Self {
            stopped,
            retry_at,
            declines: self.declines.saturating_add(1),
            decline_code: Some(code.to_owned()),
            ..self
        }
    }
}

/// Sets an account's rule. Whatever had stopped it is forgotten.
///
/// # Errors
/// [`Error::TopupAmount`], [`Error::RechargeRule`], [`Error::NoCard`]; [`Error::Database`].
pub async fn set(cards: &Cards, account: OrganizationId, new: NewRule) -> Result<Rule, Error> {
    let wrong = |field, reason: &str| Err(Error::RechargeRule { field, reason: reason.to_owned() });
    let mut tx = cards.db().begin().await?;
    store::accounts::open(&mut tx, account).await?;
    store::grants::lock_account(&mut tx, account).await?;
    check_amount(cards.config(), new.amount, !topups::has_paid(&mut tx, account).await?)?;
    if new.threshold.is_zero() {
        return wrong("threshold_usd", "a balance is never below zero");
    }
    if new.daily_cap < new.amount {
        return wrong("daily_cap_usd", "lets no charge of amount_usd through");
    }
    if new.monthly_cap < new.daily_cap {
        return wrong("monthly_cap_usd", "is less than daily_cap_usd");
    }
    let card = match new.card {
        Some(card) => saved::find(&mut tx, account, card).await?.map(|card| card.id),
        None => saved::find_default(&mut tx, account).await?,
    };
    let rule = Rule {
        account,
        threshold: new.threshold,
        amount: new.amount,
        daily_cap: new.daily_cap,
        monthly_cap: new.monthly_cap,
        card: card.ok_or(Error::NoCard { account })?,
        stopped: None,
        declines: 0,
        decline_code: None,
        retry_at: None,
        set_at: cards.env().now(),
    };
    rules::set(&mut tx, &rule).await?;
    tx.commit().await?;
    Ok(rule)
}

/// Looks for accounts that are low and charges their cards.
///
/// # Errors
/// [`Error::Database`]; what a card or the processor says concerns one account only.
pub async fn work(cards: &Cards, now: Timestamp) -> Result<(), Error> {
    let mut after = None;
    loop {
        let due = rules::list_due(&mut *cards.db().acquire().await?, now, after, BATCH).await?;
        let Some(last) = due.last() else { return Ok(()) };
        after = Some(*last);
        for account in due {
            match consider(cards, account).await {
                Ok(_) => {}
                Err(Error::Database(error)) => return Err(error.into()),
                Err(error) => tracing::warn!(account.id = %account, %error, "a charge has no outcome yet"),
            }
        }
    }
}

/// Charges an account's card when its rule says so now. Returns what was asked for, whatever came of it.
///
/// # Errors
/// [`Error::CardUnknown`], after which it goes on beside; [`Error::CardsMisused`]; [`Error::Database`].
pub async fn consider(cards: &Cards, account: OrganizationId) -> Result<Option<Topup>, Error> {
    for _ in 0..ROUNDS {
        match begin(cards, account).await? {
            Begun::Nothing => return Ok(None),
            Begun::New(topup) => return charge(cards, topup).await.map(Some),
            // Its buyer may be paying it this moment: then the balance is looked at again.
            Begun::Page(topup) => close(cards, &topup).await?,
        }
    }
    Ok(None)
}

/// What a low balance calls for.
enum Begun {
    Nothing,
    New(Topup),
    /// This page is in the way.
    Page(Topup),
}

async fn begin(cards: &Cards, account: OrganizationId) -> Result<Begun, Error> {
    let now = cards.env().now();
    let mut tx = cards.db().begin().await?;
    store::grants::lock_account(&mut tx, account).await?;
    let Some(rule) = rules::find(&mut tx, account).await?.filter(|rule| rule.is_due(now)) else {
        return Ok(Begun::Nothing);
    };
    let is_low = rules::balance(&mut tx, account).await?.is_some_and(|balance| balance < rule.threshold);
    if !is_low || topups::find_unfinished(&mut tx, account, true).await?.is_some() {
        return Ok(Begun::Nothing);
    }
    if let Some(page) = topups::find_unfinished(&mut tx, account, false).await? {
        return Ok(Begun::Page(page));
    }
    if !fits(&mut tx, cards, &rule, now).await? {
        return Ok(Begun::Nothing);
    }
    let topup = Topup {
        is_first: !topups::has_paid(&mut tx, account).await?,
        card: Some(rule.card),
        expires_at: now.plus(KEY_LIVES),
        ..Topup::new(cards.env().mint(), account, rule.amount, now)
    };
    topups::insert(&mut tx, &topup).await?;
    tx.commit().await?;
    Ok(Begun::New(topup))
}

/// Whether one more charge stays within what the owner set, and what a young account may buy.
async fn fits(conn: &mut PgConnection, cards: &Cards, rule: &Rule, now: Timestamp) -> Result<bool, Error> {
    for (reset, cap) in [(Reset::Daily, rule.daily_cap), (Reset::Monthly, rule.monthly_cap)] {
        let since = Window::of(Some(reset), now).starts_at;
        let charged = rules::charged_since(conn, rule.account, since).await?;
        if charged.saturating_add(rule.amount) > cap {
            return Ok(false);
        }
    }
    match velocity::check_topup(conn, cards.config(), rule.account, rule.amount, now).await {
        Ok(()) => Ok(true),
        Err(Error::TooMuch { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Goes on with a charge whose outcome is not known. Harmless at any time.
///
/// # Errors
/// As [`consider`].
pub(crate) async fn charge(cards: &Cards, topup: Topup) -> Result<Topup, Error> {
    let Some(card) = topup.card.filter(|_| topup.state == TopupState::Opening) else { return Ok(topup) };
    let call = charge_call(topup.id);
    // A refusal that was heard before this process's earlier life ended is not asked for again.
    let refused = stripe_calls::find_refusal(&mut *cards.db().acquire().await?, call).await?;
    if let Some(code) = refused {
        return decline(cards, topup.id, &code).await;
    }
    let customer = customer_of(cards, topup.account).await?;
    if cards.env().now() >= topup.expires_at {
        return overdue(cards, topup.id, &customer).await;
    }
    let topup = match taxed(cards, topup.clone(), &customer).await {
        // Nothing can be charged before it is known how much.
        Err(Error::CardRefused { code, .. }) => return decline(cards, topup.id, &code).await,
        taxed => taxed?,
    };
    let method = saved::method_of(&mut *cards.db().acquire().await?, card).await?;
    match cards.make(call, &*intent_of(&topup, &customer, &method)).await {
        Ok(made) => adopt(cards, topup.id, &made).await,
        Err(Error::CardUnknown { key }) => match find_intent(cards, topup.id, &customer).await? {
            Some(found) => adopt(cards, topup.id, &found).await,
            None => Err(Error::CardUnknown { key }),
        },
        Err(Error::CardRefused { code, .. }) => decline(cards, topup.id, &code).await,
        Err(error) => Err(error),
    }
}

/// What charges a card.
pub(crate) fn charge_call(topup: TopupId) -> Call {
    Call { purpose: "charge", subject: topup.uuid() }
}

/// Writes the payment of a charge down, and looks at it.
async fn adopt(cards: &Cards, topup: TopupId, made: &PaymentIntent) -> Result<Topup, Error> {
    let mut tx = cards.db().begin().await?;
    topups::set_intent(&mut tx, topup, made.id.as_str()).await?;
    stripe_calls::done(&mut tx, charge_call(topup), made.id.as_str()).await?;
    tx.commit().await?;
    sync::payment(cards, made.id.as_str()).await?;
    reread(cards, topup).await
}

/// Ends a charge whose time is over: it was made by now, or is not made any more. Nobody wants to be charged tomorrow
/// for what they ran out of today.
async fn overdue(cards: &Cards, topup: TopupId, customer: &str) -> Result<Topup, Error> {
    if let Some(found) = find_intent(cards, topup, customer).await? {
        return adopt(cards, topup, &found).await;
    }
    let mut tx = cards.db().begin().await?;
    topups::finish(&mut tx, topup, TopupState::Expired).await?;
    stripe_calls::give_up(&mut tx, topup.uuid()).await?;
    tx.commit().await?;
    reread(cards, topup).await
}

async fn reread(cards: &Cards, topup: TopupId) -> Result<Topup, Error> {
    let found = topups::find(&mut *cards.db().acquire().await?, topup).await?;
    found.ok_or(Error::TopupGone { topup })
}

/// The payment.
fn intent_of(topup: &Topup, customer: &str, method: &str) -> Box<intent::CreatePaymentIntent> {
    use intent::CreatePaymentIntentAutomaticPaymentMethodsAllowRedirects as Redirects;
    let total = cents(topup.amount.saturating_add(topup.tax)).unwrap_or(0);
    // Nobody is there to be sent anywhere.
    let methods = intent::CreatePaymentIntentAutomaticPaymentMethods {
        allow_redirects: Some(Redirects::Never),
        ..intent::CreatePaymentIntentAutomaticPaymentMethods::new(true)
    };
    let request = intent::CreatePaymentIntent::new(total, stripe_types::Currency::USD)
        .customer(customer)
        .payment_method(method)
        .automatic_payment_methods(methods)
        .confirm(true)
        .off_session(intent::CreatePaymentIntentOffSession::Bool(true))
        .metadata(HashMap::from([(TOPUP_ID.to_owned(), topup.id.to_string())]));
    Box::new(request)
}

/// The payment that was made for a top-up, when its answer was lost.
async fn find_intent(cards: &Cards, topup: TopupId, customer: &str) -> Result<Option<Box<PaymentIntent>>, Error> {
    let list = intent::ListPaymentIntent::new().customer(customer).limit(100);
    let is_its = |one: &PaymentIntent| one.metadata.get(TOPUP_ID) == Some(&topup.to_string());
    Ok(cards.fetch(&list).await?.data.into_iter().find(is_its).map(Box::new))
}

/// Ends a charge its card was declined for, once: the rule waits or stops, and whoever wants to know is told.
pub(crate) async fn decline(cards: &Cards, topup: TopupId, code: &str) -> Result<Topup, Error> {
    let now = cards.env().now();
    let found = reread(cards, topup).await?;
    let mut tx = cards.db().begin().await?;
    store::grants::lock_account(&mut tx, found.account).await?;
    let rule = rules::find(&mut tx, found.account).await?;
    let is_news = topups::decline(&mut tx, topup, code).await?;
    if is_news {
        stripe_calls::give_up(&mut tx, topup.uuid()).await?;
    }
    if is_news && let Some(rule) = rule.filter(|rule| rule.stopped.is_none()) {
        let rule = rule.declined(code, now);
        rules::set(&mut tx, &rule).await?;
        let (organization, code) = (found.account, code.to_owned());
        let event = match rule.stopped {
            Some(_) => Event::RechargeStopped { organization, topup, code },
            None => Event::RechargeDeclined { organization, topup, code },
        };
        outbox::append(&mut tx, cards.env().mint(), &event, now).await?;
    }
    tx.commit().await?;
    tracing::info!(topup.id = %topup, account.id = %found.account, code, "a card charged by itself was declined");
    reread(cards, topup).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn rule() -> Rule {
        let usd = NanoUsd::from_dollars;
        Rule {
            account: OrganizationId::from_uuid(uuid::Uuid::nil()),
            threshold: usd(5),
            amount: usd(20),
            daily_cap: usd(20),
            monthly_cap: usd(100),
            card: CardId::from_uuid(uuid::Uuid::nil()),
            stopped: None,
            declines: 0,
            decline_code: None,
            retry_at: None,
            set_at: Timestamp::EPOCH,
        }
    }

    #[test]
    fn a_soft_decline_waits_longer_each_time_and_the_fourth_stops() {
        let (mut rule, mut now) = (rule(), Timestamp::EPOCH);
        for (hours, declines) in [(1, 1), (6, 2), (24, 3)] {
            rule = rule.declined("insufficient_funds", now);
            let next = now.plus(Duration::from_secs(hours * 3_600));
            assert_eq!((rule.stopped, rule.declines, rule.retry_at), (None, declines, Some(next)));
            assert!(!rule.is_due(now) && rule.is_due(next));
            now = next;
        }
        rule = rule.declined("insufficient_funds", now);
        assert_eq!((rule.stopped, rule.retry_at), (Some(Stopped::Declined), None));
        assert!(!rule.is_due(now.plus(Duration::from_secs(1_000_000))));
    }

    #[test]
    fn what_no_retry_can_cure_stops_at_once() {
        let stolen = rule().declined("stolen_card", Timestamp::EPOCH);
        assert_eq!((stolen.stopped, stolen.decline_code.as_deref()), (Some(Stopped::Declined), Some("stolen_card")));
        let asked = rule().declined("authentication_required", Timestamp::EPOCH);
        assert_eq!(asked.stopped, Some(Stopped::AuthenticationRequired));
    }
}

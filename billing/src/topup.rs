//! Credit bought by card: from the wish to a page where it is paid.

use std::collections::HashMap;
use std::time::Duration;

use protocol::{CardId, Id, NanoUsd, OrganizationId, Timestamp, TopupId};
use sqlx::PgConnection;
use stripe_checkout::checkout_session as page;
use stripe_core::customer::{CreateCustomer, ListCustomer};
use stripe_shared::{CheckoutSession, Customer};
use stripe_types::RangeQueryTs;

use crate::store::{self, stripe_calls, topups};
use crate::stripe::{Call, Cards, cents, sync};
use crate::{Error, recharge, stripe, velocity};

/// A session is open this long: half an hour, which is the least the processor takes, and five minutes in which a
/// call whose answer was lost can be repeated as it was.
pub const OPEN_FOR: Duration = Duration::from_secs(35 * 60);
/// How often an unfinished top-up is closed to make room: another may come in between, and not without end.
const ROUNDS: u32 = 3;
/// Under this name the account's id is kept with its customer over there.
const ACCOUNT_ID: &str = "account_id";
/// Most pages of a hundred that a customer is looked for on, newest first.
const CUSTOMER_PAGES: usize = 20;
/// How far the processor's clock may be behind.
const CLOCKS_APART: Duration = Duration::from_secs(300);
/// Under this name our id is kept with everything the processor makes of a top-up.
pub(crate) const TOPUP_ID: &str = "topup_id";

/// How far a top-up is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopupState {
    /// Its page is being made.
    Opening,
    /// It can be paid.
    Open,
    /// It was, and is credit now.
    Paid,
    /// Nobody paid in time.
    Expired,
    /// The processor would not make its page, or the card was declined.
    Refused,
}

/// Credit an organization wants to buy, or has bought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topup {
    /// Names it.
    pub id: TopupId,
    /// For whom.
    pub account: OrganizationId,
    /// The credit, in whole cents.
    pub amount: NanoUsd,
    /// The tax on top.
    pub tax: NanoUsd,
    /// How far it is.
    pub state: TopupState,
    /// Whether the account had bought nothing before.
    pub is_first: bool,
    /// Where the customer comes back to.
    pub return_url: Option<String>,
    /// The processor's name for its page.
    pub session: Option<String>,
    /// Where it is paid.
    pub checkout_url: Option<String>,
    /// The processor's name for the payment.
    pub payment_intent: Option<String>,
    /// The card's receipt.
    pub receipt_url: Option<String>,
    /// The invoice, as a page.
    pub invoice_url: Option<String>,
    /// And as a document.
    pub invoice_pdf: Option<String>,
    /// The saved card it is charged to, nobody being asked; none where it is paid at a page.
    pub card: Option<CardId>,
    /// The bank's word for why that card was declined.
    pub decline_code: Option<String>,
    /// The processor's name for how its tax was worked out, where there is no page to do it.
    pub tax_calculation: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When its page closes, or when its card is not asked any more.
    pub expires_at: Timestamp,
    /// When it became credit.
    pub paid_at: Option<Timestamp>,
}

impl TopupState {
    /// The name, as stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Open => "open",
            Self::Paid => "paid",
            Self::Expired => "expired",
            Self::Refused => "refused",
        }
    }

    /// The state of this name.
    pub(crate) fn from_stored(name: &str) -> Option<Self> {
        [Self::Opening, Self::Open, Self::Paid, Self::Expired, Self::Refused]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

impl Topup {
    /// One that nothing is known of but who wants how much, paid at a page.
    pub(crate) fn new(id: TopupId, account: OrganizationId, amount: NanoUsd, now: Timestamp) -> Self {
        Self {
            id,
            account,
            amount,
            tax: NanoUsd::ZERO,
            state: TopupState::Opening,
            is_first: false,
            return_url: None,
            session: None,
            checkout_url: None,
            payment_intent: None,
            receipt_url: None,
            invoice_url: None,
            invoice_pdf: None,
            card: None,
            decline_code: None,
            tax_calculation: None,
            created_at: now,
            expires_at: now.plus(OPEN_FOR),
            paid_at: None,
        }
    }
}

/// Opens a page where `amount` of credit is paid. While one is open that nobody paid, the same wish gets the same
/// page, so two browsers pay once; another wish closes it first.
///
/// # Errors
/// [`Error::TopupAmount`], [`Error::TooMuch`]; what the processor says ([`Error::CardRefused`], [`Error::CardUnknown`], after which the
/// page is made beside and the same wish gets it); [`Error::TopupPending`]; [`Error::Database`].
pub async fn open(
    cards: &Cards,
    account: OrganizationId,
    amount: NanoUsd,
    return_url: Option<&str>,
) -> Result<Topup, Error> {
    let mut rounds = 0;
    loop {
        rounds += 1;
        match begin(cards, account, amount, return_url).await? {
            Begun::New(topup) => return resume(cards, topup).await,
            // Closed as often as this and still there: its payment is being decided.
            Begun::Other(topup) if rounds > ROUNDS => return Err(Error::TopupPending { topup: topup.id }),
            Begun::Other(topup) => close(cards, &topup).await?,
        }
    }
}

/// The top-up to open, or the one that is in the way.
enum Begun {
    New(Topup),
    Other(Topup),
}

async fn begin(
    cards: &Cards,
    account: OrganizationId,
    amount: NanoUsd,
    return_url: Option<&str>,
) -> Result<Begun, Error> {
    let now = cards.env().now();
    let mut tx = cards.db().begin().await?;
    store::accounts::open(&mut tx, account).await?;
    store::grants::lock_account(&mut tx, account).await?;
    if let Some(unfinished) = topups::find_unfinished(&mut tx, account, false).await? {
        let is_same = unfinished.amount == amount && unfinished.return_url.as_deref() == return_url;
        let is_fresh = unfinished.expires_at > now.plus(Duration::from_secs(60));
        if is_same && is_fresh {
            return Ok(Begun::New(unfinished));
        }
        // Before anything is closed for it.
        velocity::check_topup(&mut tx, cards.config(), account, amount, now).await?;
        return Ok(Begun::Other(unfinished));
    }
    let is_first = !topups::has_paid(&mut tx, account).await?;
    check_amount(cards.config(), amount, is_first)?;
    velocity::check_topup(&mut tx, cards.config(), account, amount, now).await?;
    let topup = Topup {
        is_first,
        return_url: return_url.map(str::to_owned),
        ..Topup::new(cards.env().mint(), account, amount, now)
    };
    topups::insert(&mut tx, &topup).await?;
    tx.commit().await?;
    Ok(Begun::New(topup))
}

/// Whether credit is sold in this amount.
pub(crate) fn check_amount(config: &stripe::StripeConfig, amount: NanoUsd, is_first: bool) -> Result<(), Error> {
    let most = if is_first { config.max_first_topup_usd.min(config.max_topup_usd) } else { config.max_topup_usd };
    let (least, most) = (NanoUsd::from_dollars(config.min_topup_usd), NanoUsd::from_dollars(most));
    let is_fine = cents(amount).is_some() && amount >= least && amount <= most;
    if is_fine { Ok(()) } else { Err(Error::TopupAmount { amount, least, most, is_first }) }
}

/// Goes on with a top-up whose page is not known to be open, or whose card is not known to have paid. Harmless at any
/// time.
///
/// # Errors
/// As [`open`].
pub async fn resume(cards: &Cards, topup: Topup) -> Result<Topup, Error> {
    if topup.state != TopupState::Opening {
        return Ok(topup);
    }
    if topup.card.is_some() {
        return recharge::charge(cards, topup).await;
    }
    let customer = customer_of(cards, topup.account).await?;
    let session = match cards.make(session_call(topup.id), &*session_of(cards, &topup, &customer)).await {
        Ok(session) => session,
        Err(Error::CardUnknown { key }) => {
            match session_named(cards, &customer, TOPUP_ID, &topup.id.to_string()).await? {
                Some(session) => session,
                None => {
                    cards.lapse(&key, false).await?;
                    return Err(Error::CardUnknown { key });
                }
            }
        }
        Err(error @ Error::CardRefused { .. }) => {
            topups::finish(&mut *cards.db().acquire().await?, topup.id, TopupState::Refused).await?;
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    let mut tx = cards.db().begin().await?;
    let opened = note_session(&mut tx, topup.id, &session).await?;
    tx.commit().await?;
    opened.ok_or(Error::TopupGone { topup: topup.id })
}

/// What makes a top-up's page.
fn session_call(topup: TopupId) -> Call {
    Call { purpose: "session", subject: topup.uuid() }
}

/// What closes it.
fn expire_call(topup: TopupId) -> Call {
    Call { purpose: "expire", subject: topup.uuid() }
}

/// Writes down what is known of a session. Never moves a top-up back.
pub(crate) async fn note_session(
    conn: &mut PgConnection,
    topup: TopupId,
    session: &CheckoutSession,
) -> Result<Option<Topup>, Error> {
    let tax = session.total_details.as_ref().map_or(0, |details| details.amount_tax);
    let tax = stripe::from_cents(tax).ok_or_else(|| Error::PaymentDiffers {
        payment: session.id.to_string(),
        reason: format!("its tax is {tax} cents"),
    })?;
    topups::set_session(conn, topup, session.id.as_str(), session.url.as_deref(), tax).await?;
    stripe_calls::done(conn, session_call(topup), session.id.as_str()).await?;
    Ok(topups::find(conn, topup).await?)
}

/// The session of a customer that was made under our name, when its answer was lost.
pub(crate) async fn session_named(
    cards: &Cards,
    customer: &str,
    key: &str,
    name: &str,
) -> Result<Option<Box<CheckoutSession>>, Error> {
    let list = page::ListCheckoutSession::new().customer(customer).limit(100);
    let is_its = |session: &CheckoutSession| {
        session.metadata.as_ref().is_some_and(|said| said.get(key).is_some_and(|said| said == name))
    };
    Ok(cards.fetch(&list).await?.data.into_iter().find(is_its).map(Box::new))
}

/// Closes a page nobody paid. One that was paid meanwhile becomes credit instead.
///
/// # Errors
/// As [`open`].
pub async fn close(cards: &Cards, topup: &Topup) -> Result<(), Error> {
    let topup = resume(cards, topup.clone()).await?;
    let Some(session) = topup.session.as_deref() else { return Ok(()) };
    match cards.make(expire_call(topup.id), &page::ExpireCheckoutSession::new(session)).await {
        Ok(_) => {
            let mut tx = cards.db().begin().await?;
            closed(&mut tx, topup.id, session).await?;
            tx.commit().await?;
            return Ok(());
        }
        // It is not open any more: paid, or its time was over.
        Err(Error::CardRefused { .. }) => {}
        // Closing it twice does no harm, and perhaps it is closed.
        Err(Error::CardUnknown { key }) => cards.lapse(&key, true).await?,
        Err(error) => return Err(error),
    }
    sync::session(cards, session).await.map(drop)
}

/// Writes down that a page is closed which nobody paid.
pub(crate) async fn closed(conn: &mut PgConnection, topup: TopupId, session: &str) -> Result<(), sqlx::Error> {
    topups::finish(conn, topup, TopupState::Expired).await?;
    stripe_calls::done(conn, expire_call(topup), session).await
}

/// The processor's name for an account, made the first time.
pub(crate) async fn customer_of(cards: &Cards, account: OrganizationId) -> Result<String, Error> {
    let known = topups::find_customer(&mut *cards.db().acquire().await?, account).await?;
    if let Some(known) = known {
        return Ok(known);
    }
    let call = Call { purpose: "customer", subject: account.uuid() };
    let request = CreateCustomer::new().metadata(HashMap::from([(ACCOUNT_ID.to_owned(), account.to_string())]));
    let made = match cards.make(call, &request).await {
        Ok(made) => made,
        Err(Error::CardUnknown { key }) => match customer_named(cards, account, &key).await? {
            Some(made) => made,
            None => {
                // Not among the newest: a customer too many costs nothing, and a key that keeps repeating an error is
                // given up at once.
                cards.lapse(&key, true).await?;
                return Err(Error::CardUnknown { key });
            }
        },
        Err(error) => return Err(error),
    };
    let mut tx = cards.db().begin().await?;
    let customer = topups::set_customer(&mut tx, account, made.id.as_str(), cards.env().now()).await?;
    stripe_calls::done(&mut tx, call, made.id.as_str()).await?;
    tx.commit().await?;
    Ok(customer)
}

/// The customer that was made for an account, when its answer was lost: among those made since it was asked for.
async fn customer_named(cards: &Cards, account: OrganizationId, key: &str) -> Result<Option<Box<Customer>>, Error> {
    let asked_at = stripe_calls::find_begun(&mut *cards.db().acquire().await?, key).await?;
    let Some(since) = asked_at else { return Ok(None) };
    let since = RangeQueryTs::gte(since.minus(CLOCKS_APART).unix_seconds());
    let (name, mut after) = (account.to_string(), None::<String>);
    for _ in 0..CUSTOMER_PAGES {
        let list = ListCustomer::new().created(since).limit(100);
        let page = cards.fetch(&after.iter().fold(list, |list, after| list.starting_after(after))).await?;
        let last = page.data.last().filter(|_| page.has_more).map(|last| last.id.to_string());
        let is_its = |one: &Customer| one.metadata.as_ref().and_then(|said| said.get(ACCOUNT_ID)) == Some(&name);
        if let Some(found) = page.data.into_iter().find(is_its) {
            return Ok(Some(Box::new(found)));
        }
        after = last;
        if after.is_none() {
            break;
        }
    }
    Ok(None)
}

/// The page of a top-up. Only cards pay there: money that arrives days later, without its owner being asked, is
/// another product.
fn session_of(cards: &Cards, topup: &Topup, customer: &str) -> Box<page::CreateCheckoutSession> {
    let config = cards.config();
    let product = page::ProductData { name: "Prepaid credit".to_owned(), ..page::ProductData::new("Prepaid credit") };
    let price = page::CreateCheckoutSessionLineItemsPriceData {
        unit_amount: cents(topup.amount),
        product_data: Some(product),
        ..page::CreateCheckoutSessionLineItemsPriceData::new(stripe_types::Currency::USD)
    };
    let line = page::CreateCheckoutSessionLineItems {
        price_data: Some(price),
        quantity: Some(1),
        ..page::CreateCheckoutSessionLineItems::new()
    };
    let ours = HashMap::from([(TOPUP_ID.to_owned(), topup.id.to_string())]);
    let intent = page::CreateCheckoutSessionPaymentIntentData {
        metadata: Some(ours.clone()),
        setup_future_usage: Some(page::CreateCheckoutSessionPaymentIntentDataSetupFutureUsage::OffSession),
        ..page::CreateCheckoutSessionPaymentIntentData::new()
    };
    let back = topup.return_url.as_deref().unwrap_or(&config.return_url);
    let mut session = page::CreateCheckoutSession::new()
        .mode(stripe_shared::CheckoutSessionMode::Payment)
        .customer(customer)
        .allowed_payment_method_types(vec![page::CreateCheckoutSessionAllowedPaymentMethodTypes::Card])
        .client_reference_id(topup.id.to_string())
        .line_items(vec![line])
        .automatic_tax(page::CreateCheckoutSessionAutomaticTax::new(config.has_tax))
        .invoice_creation(page::CreateCheckoutSessionInvoiceCreation::new(true))
        .payment_intent_data(intent)
        .metadata(ours)
        .expires_at(topup.expires_at.unix_seconds())
        .success_url(back)
        .cancel_url(back);
    if config.has_tax {
        // Where tax is due is where the customer says they live.
        let update = page::CreateCheckoutSessionCustomerUpdate {
            address: Some(page::CreateCheckoutSessionCustomerUpdateAddress::Auto),
            ..page::CreateCheckoutSessionCustomerUpdate::new()
        };
        session = session.customer_update(update);
    }
    if topup.is_first {
        session = session.payment_method_options(with_three_d_secure());
    }
    Box::new(session)
}

/// A card whose bank is asked whether it is its holder who pays or saves it.
pub(crate) fn with_three_d_secure() -> page::CreateCheckoutSessionPaymentMethodOptions {
    let card = page::CreateCheckoutSessionPaymentMethodOptionsCard {
        request_three_d_secure: Some(page::CreateCheckoutSessionPaymentMethodOptionsCardRequestThreeDSecure::Any),
        ..page::CreateCheckoutSessionPaymentMethodOptionsCard::new()
    };
    page::CreateCheckoutSessionPaymentMethodOptions {
        card: Some(card),
        ..page::CreateCheckoutSessionPaymentMethodOptions::new()
    }
}

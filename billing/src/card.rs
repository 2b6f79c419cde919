//! Saved cards: kept when a top-up is paid or at a page of their own, and let go when their owner says so.
//!
//! A card is kept once, with what ended its page; what is told again later brings none back that has left.

use std::collections::HashMap;

use protocol::{CardId, CardSetupId, Id, OrganizationId, Timestamp};
use sqlx::PgConnection;
use stripe_checkout::checkout_session as page;
use stripe_core::setup_intent::RetrieveSetupIntent;
use stripe_payment::payment_method::{DetachPaymentMethod, RetrievePaymentMethod};
use stripe_shared::{CheckoutSession, CheckoutSessionStatus, PaymentMethod, SetupIntent, SetupIntentStatus};
use stripe_types::Expandable;

use crate::recharge::Stopped;
use crate::store::{self, cards as rows, stripe_calls, topups};
use crate::stripe::sync::Synced;
use crate::stripe::{Call, Cards};
use crate::topup::{OPEN_FOR, customer_of, session_named, with_three_d_secure};
use crate::{Error, velocity};

/// Under this name our id is kept with everything the processor makes to save a card.
const SETUP_ID: &str = "card_setup_id";

/// A saved card, as its owner knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Names it.
    pub id: CardId,
    /// Whose it is.
    pub account: OrganizationId,
    /// The processor's name for it.
    pub method: String,
    /// Such as `visa`.
    pub brand: String,
    /// The end of its number.
    pub last4: String,
    /// Its last month, from 1.
    pub exp_month: i32,
    /// Its last year.
    pub exp_year: i32,
    /// Whether it is meant when none is named.
    pub is_default: bool,
    /// Since when.
    pub saved_at: Timestamp,
}

/// What is kept of a card.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look<'a> {
    pub brand: &'a str,
    pub last4: &'a str,
    pub exp_month: i32,
    pub exp_year: i32,
}

/// How far a page that saves a card is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetupState {
    /// It is being made.
    Opening,
    /// A card can be saved there.
    Open,
    /// One was.
    Saved,
    /// Nobody did in time.
    Expired,
    /// The processor would not make it.
    Refused,
}

/// A page where a card is saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// Names it.
    pub id: CardSetupId,
    /// For whom.
    pub account: OrganizationId,
    /// How far it is.
    pub state: SetupState,
    /// Where the customer comes back to.
    pub return_url: Option<String>,
    /// The processor's name for it.
    pub session: Option<String>,
    /// Where it is.
    pub url: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it closes.
    pub expires_at: Timestamp,
}

impl SetupState {
    /// The name, as stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Open => "open",
            Self::Saved => "saved",
            Self::Expired => "expired",
            Self::Refused => "refused",
        }
    }

    /// The state of this name.
    pub(crate) fn from_stored(name: &str) -> Option<Self> {
        [Self::Opening, Self::Open, Self::Saved, Self::Expired, Self::Refused]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// Opens a page where a card is saved; nothing is bought there.
///
/// # Errors
/// [`Error::TooMuch`] for a young account; what the processor says, as with a top-up; [`Error::Database`].
pub async fn setup(cards: &Cards, account: OrganizationId, return_url: Option<&str>) -> Result<Setup, Error> {
    let now = cards.env().now();
    let setup = Setup {
        id: cards.env().mint(),
        account,
        state: SetupState::Opening,
        return_url: return_url.map(str::to_owned),
        session: None,
        url: None,
        created_at: now,
        expires_at: now.plus(OPEN_FOR),
    };
    let mut tx = cards.db().begin().await?;
    store::accounts::open(&mut tx, account).await?;
    store::grants::lock_account(&mut tx, account).await?;
    velocity::check_cards(&mut tx, cards.config(), account, now).await?;
    rows::insert_setup(&mut tx, &setup).await?;
    tx.commit().await?;
    resume(cards, setup).await
}

/// Goes on with a page that is not known to be open. Harmless at any time.
///
/// # Errors
/// As [`setup`].
pub async fn resume(cards: &Cards, setup: Setup) -> Result<Setup, Error> {
    if setup.state != SetupState::Opening {
        return Ok(setup);
    }
    let customer = customer_of(cards, setup.account).await?;
    let session = match cards.make(setup_call(setup.id), &*session_of(cards, &setup, &customer)).await {
        Ok(session) => session,
        Err(Error::CardUnknown { key }) => {
            match session_named(cards, &customer, SETUP_ID, &setup.id.to_string()).await? {
                Some(session) => session,
                None => {
                    cards.lapse(&key, false).await?;
                    return Err(Error::CardUnknown { key });
                }
            }
        }
        Err(error @ Error::CardRefused { .. }) => {
            rows::finish_setup(&mut *cards.db().acquire().await?, setup.id, SetupState::Refused).await?;
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    let mut tx = cards.db().begin().await?;
    note_session(&mut tx, setup.id, &session).await?;
    let opened = rows::find_setup(&mut tx, setup.id).await?;
    tx.commit().await?;
    Ok(opened.unwrap_or(setup))
}

/// What makes a page where a card is saved.
fn setup_call(setup: CardSetupId) -> Call {
    Call { purpose: "setup", subject: setup.uuid() }
}

/// Writes down what is known of a page.
async fn note_session(
    conn: &mut PgConnection,
    setup: CardSetupId,
    session: &CheckoutSession,
) -> Result<(), sqlx::Error> {
    rows::set_session(conn, setup, session.id.as_str(), session.url.as_deref()).await?;
    stripe_calls::done(conn, setup_call(setup), session.id.as_str()).await
}

/// The page. The bank is asked here, since nobody is there when the card is charged.
fn session_of(cards: &Cards, setup: &Setup, customer: &str) -> Box<page::CreateCheckoutSession> {
    let ours = HashMap::from([(SETUP_ID.to_owned(), setup.id.to_string())]);
    let back = setup.return_url.as_deref().unwrap_or(&cards.config().return_url);
    let intent = page::CreateCheckoutSessionSetupIntentData {
        metadata: Some(ours.clone()),
        ..page::CreateCheckoutSessionSetupIntentData::new()
    };
    let session = page::CreateCheckoutSession::new()
        .mode(stripe_shared::CheckoutSessionMode::Setup)
        .currency(stripe_types::Currency::USD)
        .customer(customer)
        .allowed_payment_method_types(vec![page::CreateCheckoutSessionAllowedPaymentMethodTypes::Card])
        .payment_method_options(with_three_d_secure())
        .client_reference_id(setup.id.to_string())
        .setup_intent_data(intent)
        .metadata(ours)
        .expires_at(setup.expires_at.unix_seconds())
        .success_url(back)
        .cancel_url(back);
    Box::new(session)
}

/// The page an object was made for.
pub(crate) fn named(metadata: Option<&HashMap<String, String>>) -> Option<CardSetupId> {
    metadata?.get(SETUP_ID)?.parse().ok()
}

/// Looks at a page of ours: it is open, over, or saved a card, which is kept then.
///
/// # Errors
/// What the processor says; [`Error::Database`].
pub(crate) async fn look(cards: &Cards, id: CardSetupId, session: &CheckoutSession) -> Result<Synced, Error> {
    let mut conn = cards.db().acquire().await?;
    note_session(&mut conn, id, session).await?;
    match (session.status.as_ref(), &session.setup_intent) {
        (Some(CheckoutSessionStatus::Expired), _) => {
            rows::finish_setup(&mut conn, id, SetupState::Expired).await?;
            Ok(Synced::Applied)
        }
        (Some(CheckoutSessionStatus::Complete), Some(intent)) => {
            drop(conn);
            look_at_intent(cards, intent.id().as_str()).await
        }
        _ => Ok(Synced::Applied),
    }
}

/// Looks at an intent to save a card, and keeps the card when one of our pages saved it for its account, once.
///
/// # Errors
/// As [`look`].
pub(crate) async fn look_at_intent(cards: &Cards, id: &str) -> Result<Synced, Error> {
    let request = RetrieveSetupIntent::new(id).expand(["payment_method".to_owned()]);
    let intent: Box<SetupIntent> = cards.fetch(&request).await?;
    let Some(setup) = named(intent.metadata.as_ref()) else { return Ok(Synced::Ignored) };
    let method = intent.payment_method.as_ref().and_then(Expandable::as_object);
    let Some(method) = method.filter(|_| intent.status == SetupIntentStatus::Succeeded) else {
        return Ok(Synced::Applied);
    };
    let mut tx = cards.db().begin().await?;
    let Some(setup) = rows::find_setup(&mut tx, setup).await? else { return Ok(Synced::Ignored) };
    store::grants::lock_account(&mut tx, setup.account).await?;
    let customer = topups::find_customer(&mut tx, setup.account).await?;
    let holder = intent.customer.as_ref().map(|customer| customer.id().as_str());
    if holder.is_none() || holder != customer.as_deref() {
        tracing::warn!(setup.id = %setup.id, "a card was saved for somebody else than asked for it");
        return Ok(Synced::Ignored);
    }
    if rows::finish_setup(&mut tx, setup.id, SetupState::Saved).await? {
        keep(&mut tx, cards, setup.account, method).await?;
    }
    tx.commit().await?;
    Ok(Synced::Applied)
}

/// Keeps a card of an account. The caller holds the account's lock and does this once for what saved it.
pub(crate) async fn keep(
    conn: &mut PgConnection,
    cards: &Cards,
    account: OrganizationId,
    method: &PaymentMethod,
) -> Result<(), Error> {
    let Some(look) = look_of(method) else { return Ok(()) };
    rows::keep(conn, cards.env().mint(), account, method.id.as_str(), &look, cards.env().now()).await?;
    Ok(())
}

/// What is kept of a method; `None` when it is no card.
fn look_of(method: &PaymentMethod) -> Option<Look<'_>> {
    let card = method.card.as_ref()?;
    Some(Look {
        brand: &card.brand,
        last4: &card.last4,
        exp_month: i32::try_from(card.exp_month).ok()?,
        exp_year: i32::try_from(card.exp_year).ok()?,
    })
}

/// Looks at a saved card: it has another expiry, or its owner has taken it away over there.
///
/// # Errors
/// As [`look`].
pub(crate) async fn look_at_method(cards: &Cards, method: &str) -> Result<Synced, Error> {
    let known = rows::find_by_method(&mut *cards.db().acquire().await?, method).await?;
    let Some((account, card)) = known else { return Ok(Synced::Ignored) };
    let found = match cards.fetch(&RetrievePaymentMethod::new(method)).await {
        Ok(found) => Some(found).filter(|found| found.customer.is_some()),
        Err(Error::CardRefused { .. }) => None,
        Err(error) => return Err(error),
    };
    let mut tx = cards.db().begin().await?;
    store::grants::lock_account(&mut tx, account).await?;
    match found.as_deref().and_then(look_of) {
        Some(look) => rows::renew(&mut tx, method, &look).await?,
        None => drop(let_go(&mut tx, account, card).await?),
    }
    tx.commit().await?;
    Ok(Synced::Applied)
}

/// Makes a card the one that is meant when none is named. False when it is no saved card of the account.
///
/// # Errors
/// [`Error::Database`].
pub async fn set_default(cards: &Cards, account: OrganizationId, card: CardId) -> Result<bool, Error> {
    let mut tx = cards.db().begin().await?;
    store::grants::lock_account(&mut tx, account).await?;
    let is_set = rows::set_default(&mut tx, account, card).await?;
    tx.commit().await?;
    Ok(is_set)
}

/// Removes a card: it is not charged any more from here on, and the processor is told to forget it. What it does not
/// answer goes on beside. False when it is no saved card of the account.
///
/// # Errors
/// [`Error::Database`].
pub async fn remove(cards: &Cards, account: OrganizationId, card: CardId) -> Result<bool, Error> {
    let mut tx = cards.db().begin().await?;
    store::grants::lock_account(&mut tx, account).await?;
    let leaving = let_go(&mut tx, account, card).await?;
    tx.commit().await?;
    for one in &leaving {
        if let Err(error) = detach(cards, one).await {
            tracing::warn!(card.id = %one.id, %error, "a removed card has no outcome yet");
        }
    }
    Ok(!leaving.is_empty())
}

/// Lets a card leave, and stops the rule that charges it. The caller holds the account's lock.
async fn let_go(
    conn: &mut PgConnection,
    account: OrganizationId,
    card: CardId,
) -> Result<Vec<rows::Leaving>, sqlx::Error> {
    let leaving = rows::leave(conn, account, card).await?;
    if !leaving.is_empty() {
        store::recharge::stop_of_card(conn, account, card, Stopped::CardRemoved).await?;
    }
    Ok(leaving)
}

/// Has the processor forget a card. Harmless at any time.
///
/// # Errors
/// What the processor says; [`Error::Database`].
pub(crate) async fn detach(cards: &Cards, card: &rows::Leaving) -> Result<(), Error> {
    let call = Call { purpose: "detach", subject: card.id.uuid() };
    match cards.make(call, &DetachPaymentMethod::new(card.method.as_str())).await {
        // Or it does not have it any more.
        Ok(_) | Err(Error::CardRefused { .. }) => {}
        Err(Error::CardUnknown { key }) => {
            let found = cards.fetch(&RetrievePaymentMethod::new(card.method.as_str())).await?;
            if found.customer.is_some() {
                cards.lapse(&key, true).await?;
                return Err(Error::CardUnknown { key });
            }
        }
        Err(error) => return Err(error),
    }
    let mut tx = cards.db().begin().await?;
    rows::gone(&mut tx, card.id).await?;
    stripe_calls::done(&mut tx, call, &card.method).await?;
    tx.commit().await?;
    Ok(())
}

//! What the processor tells: checked, stored once as it came, and worked on beside.
//!
//! Of a body only its id, its type and the id of its object are read. It says what to look at, never what is true.

use std::time::Duration;

use protocol::Timestamp;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use sqlx::PgConnection;
use stripe_core::event::ListEvent;
use stripe_shared::Event;
use stripe_types::RangeQueryTs;

use super::lines;
use super::list::{self, Listed};
use super::sync::{self, Synced};
use super::{Cards, SignatureError, verify};
use crate::store::stripe_cursors::{self, Cursor};
use crate::store::stripe_events::{self, Due, Outcome};
use crate::{Error, card};

/// Events worked on in one go: few enough that what one claims is done before others may claim it.
const BATCH: i64 = 20;
/// An event claimed this long ago, and not done, is free again: its worker died.
const CLAIM: Duration = Duration::from_secs(120);
/// An event that failed this often waits for a person.
const MOST_ATTEMPTS: i32 = 10;
/// One that the processor has no answer to, which is no fault of the event: a day of tries.
const MOST_UNANSWERED: i32 = 300;
/// The pause after the first failure; each further one is twice as long, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How far back the processor keeps its own list.
const LISTED: Duration = Duration::from_secs(30 * 86_400);

/// The little that is read of a body.
#[derive(Debug, Default, Deserialize)]
struct Envelope {
    #[serde(default)]
    id: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    data: Data,
}

#[derive(Debug, Default, Deserialize)]
struct Data {
    #[serde(default)]
    object: Object,
}

#[derive(Debug, Default, Deserialize)]
struct Object {
    #[serde(default)]
    id: Option<String>,
}

/// Why a webhook was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Untaken {
    /// It is not the processor's.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// It is signed and is no text: nothing the processor sends.
    #[error("the body is not UTF-8")]
    NotText,
    /// The ledger can't be reached; it comes again.
    #[error("the event could not be stored")]
    Database(#[from] sqlx::Error),
}

/// Takes a webhook: once it returns, what it tells is not lost.
///
/// # Errors
/// [`Untaken`]; nothing is stored then.
pub async fn take(cards: &Cards, signature: &str, body: &[u8]) -> Result<(), Untaken> {
    let (config, now) = (cards.config(), cards.env().now());
    let secrets: Vec<&str> = [&config.webhook_secret, &config.former_webhook_secret]
        .into_iter()
        .filter_map(|secret| secret.as_ref().map(|secret| secret.expose_secret()))
        .collect();
    verify(signature, body, &secrets, now, config.tolerance_s)?;
    let text = std::str::from_utf8(body).map_err(|_| Untaken::NotText)?;
    // Drift of the processor's shapes may delay an event, never lose it.
    let envelope: Envelope = serde_json::from_str(text).unwrap_or_default();
    let id = if envelope.id.is_empty() { digest(body) } else { envelope.id };
    let mut conn = cards.db().acquire().await?;
    stripe_events::insert(&mut conn, &id, &envelope.kind, envelope.data.object.id.as_deref(), text, now).await?;
    Ok(())
}

/// The name of a body that names itself nothing.
fn digest(body: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, body);
    digest.as_ref().iter().fold("sha256:".to_owned(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// Works on what is due. True when there may be more.
///
/// # Errors
/// [`Error::Database`]; events that fail are put off, not returned.
pub async fn work(cards: &Cards, now: Timestamp) -> Result<bool, Error> {
    let mut conn = cards.db().acquire().await?;
    let due = stripe_events::claim(&mut conn, now, now.plus(CLAIM), BATCH).await?;
    drop(conn);
    let is_full = i64::try_from(due.len()).is_ok_and(|count| count == BATCH);
    for event in due {
        let result = look(cards, &event).await;
        let mut conn = cards.db().acquire().await?;
        match result {
            Ok(synced) => {
                let outcome = if synced == Synced::Applied { Outcome::Applied } else { Outcome::Ignored };
                stripe_events::finish(&mut conn, &event.id, outcome, None).await?;
            }
            Err(error) if event.attempts >= most_attempts(&error) => {
                tracing::error!(event.id = event.id, event.kind = event.kind, %error, "an event waits for a person");
                metrics::counter!("steelyard_billing_inbox_parked").increment(1);
                stripe_events::finish(&mut conn, &event.id, Outcome::Parked, Some(&error.to_string())).await?;
            }
            Err(error) => {
                tracing::warn!(event.id = event.id, event.kind = event.kind, %error, "an event could not be worked on yet");
                let pause = FIRST_PAUSE * 2_u32.saturating_pow(event.attempts.unsigned_abs().saturating_sub(1));
                let again = cards.env().now().plus(pause.min(LONGEST_PAUSE));
                stripe_events::put_off(&mut conn, &event.id, again, &error.to_string()).await?;
            }
        }
    }
    Ok(is_full)
}

/// How often an event may fail like this.
const fn most_attempts(error: &Error) -> i32 {
    if matches!(error, Error::CardUnknown { .. }) { MOST_UNANSWERED } else { MOST_ATTEMPTS }
}

/// Looks at what an event names.
async fn look(cards: &Cards, event: &Due) -> Result<Synced, Error> {
    let Some(object) = event.object.as_deref() else { return Ok(Synced::Ignored) };
    match event.kind.as_str() {
        "checkout.session.completed" | "checkout.session.expired" => sync::session(cards, object).await,
        "payment_intent.succeeded" | "payment_intent.payment_failed" | "payment_intent.canceled" => {
            sync::payment(cards, object).await
        }
        "setup_intent.succeeded" => card::look_at_intent(cards, object).await,
        "payment_method.detached" | "payment_method.updated" | "payment_method.automatically_updated" => {
            card::look_at_method(cards, object).await
        }
        "charge.succeeded" | "charge.updated" | "charge.refunded" => sync::charge(cards, object).await,
        "refund.created" | "refund.updated" | "refund.failed" => sync::refund(cards, object).await,
        "charge.dispute.created"
        | "charge.dispute.updated"
        | "charge.dispute.closed"
        | "charge.dispute.funds_withdrawn"
        | "charge.dispute.funds_reinstated" => sync::dispute(cards, object).await,
        "radar.early_fraud_warning.created" | "radar.early_fraud_warning.updated" => sync::warning(cards, object).await,
        "payout.paid" | "payout.failed" | "payout.canceled" => lines::payout(cards, object).await,
        _ => Ok(Synced::Ignored),
    }
}

/// Reads the processor's own list since it was read last, for what was never told. Returns how many events were new.
///
/// # Errors
/// What the processor says; [`Error::CardsMisused`] for a day of more events than are read; [`Error::Database`]. What
/// was read before stays.
pub async fn backfill(cards: &Cards, now: Timestamp) -> Result<u64, Error> {
    let start = stripe_cursors::find(&mut *cards.db().acquire().await?, Cursor::Events).await?;
    // Before the first customer nothing there is ours.
    let Some(from) = start else { return Ok(0) };
    let listed = now.minus(LISTED);
    if from < listed {
        tracing::warn!(from = from.rfc3339(), upto = listed.rfc3339(), "events of that time are listed no more");
    }
    backfill_since(cards, from.max(listed), now).await
}

/// Reads all of the processor's own list, also what was read before.
///
/// # Errors
/// As [`backfill`].
pub async fn backfill_all(cards: &Cards, now: Timestamp) -> Result<u64, Error> {
    backfill_since(cards, now.minus(LISTED), now).await
}

async fn backfill_since(cards: &Cards, from: Timestamp, now: Timestamp) -> Result<u64, Error> {
    let new = list::read::<Events>(cards, from, now).await?;
    if new > 0 {
        tracing::warn!(events = new, "events were never told and have been read from the processor's list");
    }
    Ok(new)
}

struct Events;

impl Listed for Events {
    type Entry = Event;
    type Request = ListEvent;
    const CURSOR: Cursor = Cursor::Events;

    fn page(created: RangeQueryTs, after: Option<&str>) -> ListEvent {
        let request = ListEvent::new().created(created).limit(list::PAGE);
        after.into_iter().fold(request, ListEvent::starting_after)
    }

    fn id(event: &Event) -> &str {
        &event.id
    }

    async fn store(conn: &mut PgConnection, event: &Event, now: Timestamp) -> Result<u64, sqlx::Error> {
        let (id, kind, object) = (event.id.as_str(), event.type_.as_str(), object_id(&event.data.object));
        // Kept as the little that is read of it: the whole was never sent here.
        let body = serde_json::json!({ "id": id, "type": kind, "data": { "object": { "id": object } } });
        stripe_events::insert(conn, id, kind, object, &body.to_string(), now).await
    }
}

fn object_id(object: &miniserde::json::Value) -> Option<&str> {
    let miniserde::json::Value::Object(members) = object else { return None };
    match members.get("id") {
        Some(miniserde::json::Value::String(id)) => Some(id),
        _ => None,
    }
}

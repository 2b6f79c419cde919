//! `steelyard webhooks`: what the card processor told, where that came to nothing, and what it never told.

use billing::StripeConfig;
use billing::store::stripe_events;
use billing::stripe::inbox;
use clap::Subcommand;
use protocol::Env;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::{Error, operator};
use crate::store::audit::{self, Actor, Entry};

/// Most entries shown at once: more than a person looks through.
const SHOWN: i64 = 1_000;

/// Options of `steelyard webhooks`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List events that were given up, oldest first, and why: each waits for a person.
    ListParked,
    /// Work on a parked event again, once what it was given up for is mended.
    Replay {
        /// `evt_…`, as `list-parked` shows it.
        event: String,
    },
    /// End a parked event that was dealt with by hand: nothing is booked for it.
    Resolve {
        /// `evt_…`, as `list-parked` shows it.
        event: String,
        /// What was done about it, for the audit trail.
        #[arg(long)]
        reason: String,
    },
    /// Read the processor's own list of the last 30 days for events that were never told.
    Backfill,
}

/// Does it, and prints what came of it as JSON.
///
/// # Errors
/// [`Error::Usage`] for an event that is not parked, or without a secret key; [`Error::Query`]; [`Error::Billing`].
pub async fn run(args: Args, db: PgPool, env: Env, config: StripeConfig) -> Result<(), Error> {
    println!("{:#}", execute(args, db, env, operator(), config).await?);
    Ok(())
}

/// The same on behalf of `actor`, without printing.
///
/// # Errors
/// As [`run`].
pub async fn execute(args: Args, db: PgPool, env: Env, actor: Actor, config: StripeConfig) -> Result<Value, Error> {
    let now = env.now();
    match args.what {
        What::ListParked => {
            let events = stripe_events::list_parked(&mut *db.acquire().await?, SHOWN).await?;
            let shown = events.iter().map(|event| {
                json!({ "event": event.id, "type": event.kind, "object": event.object, "error": event.error,
                        "since": event.received_at.rfc3339() })
            });
            Ok(json!({ "events": shown.collect::<Vec<_>>() }))
        }
        What::Replay { event } => {
            let mut tx = db.begin().await?;
            if !stripe_events::replay(&mut tx, &event, now).await? {
                return Err(not_parked(&event));
            }
            audit::insert(&mut tx, Entry::new(env.mint(), now, actor, "card_event.replayed", &event)).await?;
            tx.commit().await?;
            Ok(json!({ "event": event, "due": true }))
        }
        What::Resolve { event, reason } => {
            let mut tx = db.begin().await?;
            if !stripe_events::resolve(&mut tx, &event, &reason).await? {
                return Err(not_parked(&event));
            }
            let entry = Entry::new(env.mint(), now, actor, "card_event.resolved", &event);
            audit::insert(&mut tx, entry.with(json!({ "reason": reason }))).await?;
            tx.commit().await?;
            Ok(json!({ "event": event, "resolved": true }))
        }
        What::Backfill => {
            let cards = super::cards(db, env, config)?;
            Ok(json!({ "new": inbox::backfill_all(&cards, now).await? }))
        }
    }
}

fn not_parked(event: &str) -> Error {
    Error::Usage(format!("no event {event} is parked; `steelyard webhooks list-parked` shows those that are"))
}

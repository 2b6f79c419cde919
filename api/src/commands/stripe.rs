//! `steelyard stripe`: what has no known outcome at the card processor, and what a person does about it.

use billing::store::{stripe_calls, stripe_events};
use billing::stripe::inbox;
use billing::{Cards, StripeConfig};
use clap::Subcommand;
use protocol::Env;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::Error;

/// Most entries shown at once: more than a person looks through.
const SHOWN: i64 = 1_000;

/// Options of `steelyard stripe`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List calls whose outcome is not known, oldest first.
    Unknown,
    /// List events that were given up, oldest first.
    Parked,
    /// Work on a parked event again.
    Replay {
        /// `evt_…`, as `parked` lists it.
        event: String,
    },
    /// Read the processor's own list for events that were never told.
    Backfill,
}

/// Does it, and prints what came of it as JSON.
///
/// # Errors
/// [`Error::Usage`] for an event that is not parked, or without a secret key; [`Error::Query`]; [`Error::Billing`].
pub async fn run(args: Args, db: PgPool, env: Env, config: StripeConfig) -> Result<(), Error> {
    println!("{:#}", execute(args, db, env, config).await?);
    Ok(())
}

/// The same without printing.
///
/// # Errors
/// As [`run`].
pub async fn execute(args: Args, db: PgPool, env: Env, config: StripeConfig) -> Result<Value, Error> {
    let mut conn = db.acquire().await?;
    match args.what {
        What::Unknown => {
            let calls = stripe_calls::list_unknown(&mut conn, SHOWN).await?;
            let shown = calls.iter().map(|call| {
                json!({ "key": call.key, "tries": call.tries, "since": call.created_at.rfc3339(), "asked": call.parameters })
            });
            Ok(json!({ "calls": shown.collect::<Vec<_>>() }))
        }
        What::Parked => {
            let events = stripe_events::list_parked(&mut conn, SHOWN).await?;
            let shown = events.iter().map(|event| {
                json!({ "event": event.id, "type": event.kind, "object": event.object, "error": event.error,
                        "since": event.received_at.rfc3339() })
            });
            Ok(json!({ "events": shown.collect::<Vec<_>>() }))
        }
        What::Replay { event } => {
            if !stripe_events::replay(&mut conn, &event, env.now()).await? {
                return Err(Error::Usage(format!("no event {event} is parked; `steelyard stripe parked` lists them")));
            }
            Ok(json!({ "event": event, "due": true }))
        }
        What::Backfill => {
            drop(conn);
            let now = env.now();
            let cards = Cards::new(db, env, config)?;
            let cards = cards.ok_or_else(|| Error::Usage("no card processor: set stripe.secret_key".to_owned()))?;
            Ok(json!({ "new": inbox::backfill(&cards, now).await? }))
        }
    }
}

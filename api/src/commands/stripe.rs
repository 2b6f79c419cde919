//! `steelyard stripe`: what has no known outcome at the card processor, and what moved there without a booking here.

use billing::store::{stripe_calls, stripe_lines};
use clap::Subcommand;
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
    /// List lines of the processor's account that stand for no transfer here, oldest first.
    Unmatched,
}

/// Does it, and prints what came of it as JSON.
///
/// # Errors
/// [`Error::Query`].
pub async fn run(args: Args, db: PgPool) -> Result<(), Error> {
    println!("{:#}", execute(args, db).await?);
    Ok(())
}

/// The same without printing.
///
/// # Errors
/// As [`run`].
pub async fn execute(args: Args, db: PgPool) -> Result<Value, Error> {
    let mut conn = db.acquire().await?;
    match args.what {
        What::Unknown => {
            let calls = stripe_calls::list_unknown(&mut conn, SHOWN).await?;
            let shown = calls.iter().map(|call| {
                json!({ "key": call.key, "tries": call.tries, "since": call.created_at.rfc3339(), "asked": call.parameters })
            });
            Ok(json!({ "calls": shown.collect::<Vec<_>>() }))
        }
        What::Unmatched => {
            let lines = stripe_lines::list_unmatched(&mut conn, SHOWN).await?;
            let shown = lines.iter().map(|line| {
                json!({ "line": line.id, "type": line.kind, "of": line.source, "currency": line.currency,
                        "amount_cents": line.amount_cents, "fee_cents": line.fee_cents, "at": line.created_at.rfc3339() })
            });
            Ok(json!({ "lines": shown.collect::<Vec<_>>() }))
        }
    }
}

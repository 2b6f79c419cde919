//! `steelyard admin quarantine …`

use billing::quarantine;
use protocol::RequestId;
use serde_json::{Value, json};

use super::{Desk, Error};
use crate::store::audit::{self, Entry};

/// Most rows printed: more than that have one cause, and seeing some of them is enough to find it.
const MAX_ROWS: u32 = 1_000;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Settlements that wait, and why the books refused each. Their users were not charged, their providers not paid.
    List,
    /// Book one after all, once what it was refused for is mended.
    ///
    /// It is charged as late usage is: from what the account has, the rest as a debt that the next credit pays.
    /// When the books still refuse it, it waits on and the reason is printed.
    Replay {
        /// Whose settlement, as `list` shows it.
        request: RequestId,
    },
    /// Give one up: the user is never charged for it and the provider never paid.
    Discard {
        /// Whose settlement, as `list` shows it.
        request: RequestId,
        /// Why, for the audit trail.
        #[arg(long)]
        reason: String,
    },
}

pub(super) async fn run(desk: &Desk, command: Command) -> Result<Value, Error> {
    match command {
        Command::List => list(desk).await,
        Command::Replay { request } => replay(desk, request).await,
        Command::Discard { request, reason } => discard(desk, request, &reason).await,
    }
}

async fn list(desk: &Desk) -> Result<Value, Error> {
    let mut conn = desk.db.acquire().await?;
    let row = |parked: quarantine::Parked| {
        json!({
            "request": parked.request,
            "organization": parked.account,
            "charge_usd": parked.charge,
            "parked_at": parked.parked_at.unix_seconds(),
            "error": parked.error,
        })
    };
    Ok(quarantine::list(&mut conn, MAX_ROWS).await?.into_iter().map(row).collect())
}

async fn replay(desk: &Desk, request: RequestId) -> Result<Value, Error> {
    let mut tx = desk.db.begin().await?;
    let replayed = quarantine::replay(&mut tx, &desk.env, request).await?;
    let detail = json!({ "charge_usd": replayed.charge, "booked_now": replayed.is_new });
    let entry = Entry::new(desk.env.mint(), desk.env.now(), desk.actor.clone(), "settlement.replayed", request);
    audit::insert(&mut tx, entry.of_organization(replayed.account).with(detail)).await?;
    tx.commit().await?;
    Ok(json!({
        "request": request,
        "organization": replayed.account,
        "charge_usd": replayed.charge,
        "booked_now": replayed.is_new,
    }))
}

async fn discard(desk: &Desk, request: RequestId, reason: &str) -> Result<Value, Error> {
    let mut tx = desk.db.begin().await?;
    let account = quarantine::discard(&mut tx, request).await?;
    let entry = Entry::new(desk.env.mint(), desk.env.now(), desk.actor.clone(), "settlement.discarded", request);
    audit::insert(&mut tx, entry.of_organization(account).with(json!({ "reason": reason }))).await?;
    tx.commit().await?;
    Ok(json!({ "request": request, "organization": account, "discarded": true }))
}

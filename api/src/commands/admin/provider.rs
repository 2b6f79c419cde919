//! `steelyard admin provider …`

use std::time::Duration;

use protocol::ProviderId;
use scheduler::provider::{Provider, ProviderState};
use scheduler::store::{nodes, providers};
use serde_json::{Value, json};

use super::{Desk, Error, missing};
use crate::store;
use crate::store::audit::{self, Entry};

/// How far back `show` adds up what became of a provider's reports.
const REPORTS_SHOWN_DAYS: u64 = 7;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// All providers.
    List,
    /// One provider with its nodes, what it has earned, and whether its nodes' reports agree with our counts.
    Show {
        /// Which one.
        provider: ProviderId,
    },
    /// Stop a provider: no new work, and its nodes' sessions end.
    Suspend {
        /// Which one.
        provider: ProviderId,
        /// Why, for the audit trail.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let a suspended provider work again.
    Resume {
        /// Which one.
        provider: ProviderId,
    },
}

pub(super) async fn run(desk: &Desk, command: Command) -> Result<Value, Error> {
    match command {
        Command::List => list(desk).await,
        Command::Show { provider } => show(desk, provider).await,
        Command::Suspend { provider, reason } => {
            turn(desk, provider, ProviderState::Active, ProviderState::Suspended, reason).await
        }
        Command::Resume { provider } => {
            turn(desk, provider, ProviderState::Suspended, ProviderState::Active, None).await
        }
    }
}

async fn list(desk: &Desk) -> Result<Value, Error> {
    let mut conn = desk.db.acquire().await?;
    let row = |provider: Provider| {
        json!({
            "provider": provider.id,
            "slug": provider.slug,
            "name": provider.name,
            "state": provider.state.as_str(),
            "created_at": provider.created_at.unix_seconds(),
        })
    };
    Ok(providers::list(&mut conn).await?.into_iter().map(row).collect())
}

async fn show(desk: &Desk, id: ProviderId) -> Result<Value, Error> {
    let mut conn = desk.db.acquire().await?;
    let provider = providers::find(&mut conn, id).await?.ok_or_else(|| missing("provider", id))?;
    let nodes = nodes::list_of(&mut conn, id).await?;
    let accrued = billing::store::views::accrued(&mut conn, id).await?;
    let week_ago = desk.env.now().minus(Duration::from_secs(REPORTS_SHOWN_DAYS * 86_400));
    let judged = billing::store::reports::judged_since(&mut conn, id, week_ago).await?;
    let nodes: Vec<Value> =
        nodes.into_iter().map(|node| json!({ "id": node.id, "state": node.state.as_str() })).collect();
    Ok(json!({
        "provider": id,
        "slug": provider.slug,
        "name": provider.name,
        "state": provider.state.as_str(),
        "contact_email": provider.contact_email,
        "receipt_address": provider.receipt_address,
        "payout_account": provider.payout_account,
        "accrued_usd": accrued,
        "reports_7d": { "answers": judged.attempts, "apart": judged.apart, "missing": judged.unsigned },
        "nodes": nodes,
    }))
}

/// Moves a provider from one state to another; being there already is no fault.
async fn turn(
    desk: &Desk,
    id: ProviderId,
    from: ProviderState,
    to: ProviderState,
    reason: Option<String>,
) -> Result<Value, Error> {
    let mut tx = desk.db.begin().await?;
    let provider = providers::find(&mut tx, id).await?.ok_or_else(|| missing("provider", id))?;
    if provider.state == from {
        providers::set_state(&mut tx, id, to).await?;
        if to == ProviderState::Suspended {
            store::sessions::end_of_provider(&mut tx, id).await?;
        }
        let action = if to == ProviderState::Suspended { "provider.suspended" } else { "provider.resumed" };
        let entry = Entry::new(desk.env.mint(), desk.env.now(), desk.actor.clone(), action, id).of_provider(id);
        audit::insert(&mut tx, entry.with(json!({ "reason": reason }))).await?;
    } else if provider.state != to {
        let state = provider.state.as_str();
        return Err(Error::Usage(format!("provider {} is {state}, not {}", provider.slug, from.as_str())));
    }
    tx.commit().await?;
    Ok(json!({ "provider": id, "slug": provider.slug, "state": to.as_str() }))
}

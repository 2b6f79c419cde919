//! `steelyard admin org …`

use protocol::{NanoUsd, OrganizationId, TopupId};
use serde_json::{Value, json};

use super::{Desk, Error, missing, name};
use crate::accounts;
use crate::store::audit::{self, Entry};
use crate::store::{keys, organizations};

/// Most rows printed: an operator with more wants a query, not a list.
const MAX_ROWS: u32 = 1_000;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Open an organization with an account and a default project.
    Create {
        /// What people call it.
        #[arg(value_parser = name)]
        name: String,
    },
    /// The newest organizations.
    List,
    /// One organization with its balance and projects.
    Show {
        /// Which one.
        organization: OrganizationId,
    },
    /// Stop an organization from spending: new requests are refused with 403 within a minute, those under way
    /// finish. Its credit stays.
    Suspend {
        /// Which one.
        organization: OrganizationId,
        /// Why, for the audit trail.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let a suspended organization spend again.
    Resume {
        /// Which one.
        organization: OrganizationId,
    },
    /// Send unspent bought credit back to the cards it came from: all of the amount, or nothing.
    Refund {
        /// Whose.
        organization: OrganizationId,
        /// How much, in dollars, without the tax that goes with it.
        #[arg(long)]
        usd: NanoUsd,
        /// Of one top-up only; of the oldest first when absent.
        #[arg(long)]
        topup: Option<TopupId>,
        /// Why, for the audit trail.
        #[arg(long)]
        reason: String,
    },
}

pub(super) async fn run(desk: &Desk, command: Command) -> Result<Value, Error> {
    match command {
        Command::Create { name } => create(desk, &name).await,
        Command::List => list(desk).await,
        Command::Show { organization } => show(desk, organization).await,
        Command::Suspend { organization, reason } => turn(desk, organization, true, reason).await,
        Command::Resume { organization } => turn(desk, organization, false, None).await,
        Command::Refund { organization, usd, topup, reason } => refund(desk, organization, usd, topup, &reason).await,
    }
}

async fn create(desk: &Desk, name: &str) -> Result<Value, Error> {
    let mut tx = desk.db.begin().await?;
    let (organization, project) = accounts::open(&mut tx, &desk.env, name, desk.actor.clone()).await?;
    tx.commit().await?;
    Ok(json!({ "organization": organization.id, "name": organization.name, "default_project": project.id }))
}

async fn list(desk: &Desk) -> Result<Value, Error> {
    let mut conn = desk.db.acquire().await?;
    let rows = organizations::list(&mut conn, MAX_ROWS).await?;
    let row = |org: organizations::Organization| json!({ "organization": org.id, "name": org.name, "created_at": org.created_at.unix_seconds() });
    Ok(rows.into_iter().map(row).collect())
}

async fn show(desk: &Desk, id: OrganizationId) -> Result<Value, Error> {
    let mut conn = desk.db.acquire().await?;
    let organization = organizations::find(&mut conn, id).await?.ok_or_else(|| missing("organization", id))?;
    let projects = organizations::list_projects(&mut conn, id).await?;
    let keys = keys::list_of(&mut conn, keys::Owner::Organization(id), MAX_ROWS).await?;
    let credits = billing::store::views::credits(&mut conn, id).await?;
    let state = billing::store::accounts::find_state(&mut conn, id).await?;
    let projects: Vec<Value> =
        projects.into_iter().map(|project| json!({ "id": project.id, "name": project.name })).collect();
    Ok(json!({
        "organization": organization.id,
        "name": organization.name,
        "state": state,
        "created_at": organization.created_at.unix_seconds(),
        "total_credits_usd": credits.total_credits,
        "total_usage_usd": credits.total_usage,
        "live_keys": keys.iter().filter(|key| key.revoked_at.is_none()).count(),
        "projects": projects,
    }))
}

/// Suspends an organization or lets it spend again; being so already is no fault.
async fn turn(desk: &Desk, id: OrganizationId, suspended: bool, reason: Option<String>) -> Result<Value, Error> {
    let mut tx = desk.db.begin().await?;
    let organization = organizations::find(&mut tx, id).await?.ok_or_else(|| missing("organization", id))?;
    let (state, action) =
        if suspended { ("suspended", "organization.suspended") } else { ("active", "organization.resumed") };
    let before = billing::store::accounts::find_state(&mut tx, id).await?;
    if before.as_deref() != Some(state) {
        if !billing::store::accounts::set_suspended(&mut tx, id, suspended).await? {
            return Err(Error::Usage(format!("{id} has no open account")));
        }
        let entry = Entry::new(desk.env.mint(), desk.env.now(), desk.actor.clone(), action, id);
        audit::insert(&mut tx, entry.of_organization(id).with(json!({ "reason": reason }))).await?;
    }
    tx.commit().await?;
    Ok(json!({ "organization": id, "name": organization.name, "state": state }))
}

async fn refund(
    desk: &Desk,
    id: OrganizationId,
    usd: NanoUsd,
    topup: Option<TopupId>,
    reason: &str,
) -> Result<Value, Error> {
    let cards = desk.cards.as_ref();
    let cards = cards.ok_or_else(|| Error::Usage("no card processor: set stripe.secret_key".to_owned()))?;
    organizations::find(&mut *desk.db.acquire().await?, id).await?.ok_or_else(|| missing("organization", id))?;
    let parts = billing::refund::request(cards, id, topup, usd).await?;
    for part in &parts {
        let entry = Entry::new(desk.env.mint(), desk.env.now(), desk.actor.clone(), "refund.created", part.id);
        let detail = json!({ "topup_id": part.topup, "amount_usd": part.credit, "reason": reason });
        audit::insert(&mut *desk.db.acquire().await?, entry.of_organization(id).with(detail)).await?;
    }
    let row = |part: billing::refund::Refund| {
        json!({ "refund": part.id, "topup": part.topup, "amount_usd": part.credit, "tax_usd": part.tax,
                "state": part.state.as_str() })
    };
    Ok(parts.into_iter().map(row).collect())
}

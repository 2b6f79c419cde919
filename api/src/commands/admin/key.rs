//! `steelyard admin key …`

use std::time::Duration;

use billing::budget::{BudgetScope, Reset};
use clap::ValueEnum;
use protocol::{Id as _, KeyId, NanoUsd, OrganizationId, ProjectId};
use serde_json::{Value, json};

use super::{Desk, Error, missing, name};
use crate::accounts;
use crate::keys::Holder;
use crate::store::{keys, organizations};

/// Most rows printed.
const MAX_ROWS: u32 = 1_000;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make a key. Its secret is printed once and kept nowhere.
    Create(Create),
    /// Revoke a key, everywhere within a second.
    Revoke {
        /// Which one.
        key: KeyId,
    },
    /// All keys of an organization.
    List {
        /// Whose.
        #[arg(long)]
        org: OrganizationId,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Create {
    /// Whose it is.
    #[arg(long)]
    org: OrganizationId,
    /// What it may do. Provider keys come from registering a provider.
    #[arg(long, value_enum, default_value_t = Kind::Inference)]
    kind: Kind,
    /// What for; the organization's default project when absent.
    #[arg(long)]
    project: Option<ProjectId>,
    /// What its owner calls it.
    #[arg(long, default_value = "key", value_parser = name)]
    name: String,
    /// Days until it stops by itself.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    expires_days: Option<u32>,
    /// The most it may spend, in dollars.
    #[arg(long)]
    limit_usd: Option<NanoUsd>,
    /// When that limit starts anew: daily, weekly or monthly; never when absent.
    #[arg(long, requires = "limit_usd")]
    limit_reset: Option<Reset>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Asks models.
    Inference,
    /// Manages keys and credit.
    Management,
    /// Manages the organization.
    Admin,
}

pub(super) async fn run(desk: &Desk, command: Command) -> Result<Value, Error> {
    match command {
        Command::Create(args) => create(desk, args).await,
        Command::Revoke { key } => revoke(desk, key).await,
        Command::List { org } => list(desk, org).await,
    }
}

async fn create(desk: &Desk, args: Create) -> Result<Value, Error> {
    let (organization, now) = (args.org, desk.env.now());
    let mut tx = desk.db.begin().await?;
    let projects = organizations::list_projects(&mut tx, organization).await?;
    let project = match args.project {
        Some(wanted) => projects.iter().find(|project| project.id == wanted),
        None => projects.iter().find(|project| project.is_default),
    };
    let project = match (project, args.project) {
        (Some(project), _) => project.id,
        (None, Some(wanted)) => return Err(missing("project of that organization", wanted)),
        (None, None) => return Err(missing("organization", organization)),
    };
    let holder = match args.kind {
        Kind::Inference => Holder::Inference { organization, project },
        Kind::Management => Holder::Management { organization, project },
        Kind::Admin => Holder::Admin { organization },
    };
    let expires_at = args.expires_days.map(|days| now.plus(Duration::from_secs(u64::from(days) * 86_400)));
    let actor = desk.actor.clone();
    let issued = accounts::issue(&mut tx, &desk.env, holder, &args.name, expires_at, actor).await?;
    if let Some(limit) = args.limit_usd {
        // Any UUID names a budget; a key's id is as unique as one.
        let budget = desk.env.mint::<KeyId>().uuid();
        let scope = BudgetScope::Key(issued.key.id);
        billing::store::budgets::set(&mut tx, scope, limit, args.limit_reset, budget, now).await?;
    }
    tx.commit().await?;
    Ok(json!({
        "key": issued.key.id,
        "kind": holder.kind().name(),
        "organization": organization,
        "project": (args.kind != Kind::Admin).then_some(project),
        "expires_at": expires_at.map(|at| at.unix_seconds()),
        "secret": issued.secret.expose(),
    }))
}

async fn revoke(desk: &Desk, key: KeyId) -> Result<Value, Error> {
    let mut tx = desk.db.begin().await?;
    let row = accounts::revoke(&mut tx, &desk.env, key, None, desk.actor.clone()).await?;
    let row = row.ok_or_else(|| missing("key", key))?;
    tx.commit().await?;
    Ok(json!({ "key": key, "name": row.record.name, "revoked_at": row.revoked_at.map(|at| at.unix_seconds()) }))
}

async fn list(desk: &Desk, org: OrganizationId) -> Result<Value, Error> {
    let mut conn = desk.db.acquire().await?;
    let rows = keys::list_of(&mut conn, keys::Owner::Organization(org), MAX_ROWS).await?;
    let row = |row: keys::KeyRow| {
        json!({
            "key": row.record.id,
            "kind": row.record.kind().name(),
            "name": row.record.name,
            "hint": row.hint,
            "created_at": row.created_at.unix_seconds(),
            "expires_at": row.record.expires_at.map(|at| at.unix_seconds()),
            "revoked_at": row.revoked_at.map(|at| at.unix_seconds()),
        })
    };
    Ok(rows.into_iter().map(row).collect())
}

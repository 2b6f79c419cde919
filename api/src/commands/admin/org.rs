//! `steelyard admin org …`

use protocol::OrganizationId;
use serde_json::{Value, json};

use super::{Desk, Error, missing, name};
use crate::accounts;
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
}

pub(super) async fn run(desk: &Desk, command: Command) -> Result<Value, Error> {
    match command {
        Command::Create { name } => create(desk, &name).await,
        Command::List => list(desk).await,
        Command::Show { organization } => show(desk, organization).await,
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
    let projects: Vec<Value> =
        projects.into_iter().map(|project| json!({ "id": project.id, "name": project.name })).collect();
    Ok(json!({
        "organization": organization.id,
        "name": organization.name,
        "created_at": organization.created_at.unix_seconds(),
        "total_credits_usd": credits.total_credits,
        "total_usage_usd": credits.total_usage,
        "live_keys": keys.iter().filter(|key| key.revoked_at.is_none()).count(),
        "projects": projects,
    }))
}

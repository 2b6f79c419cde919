//! `steelyard admin project …`

use protocol::OrganizationId;
use serde_json::{Value, json};

use super::{Desk, Error, missing, name};
use crate::accounts;
use crate::store::organizations;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Add a project.
    Create {
        /// What people call it.
        #[arg(value_parser = name)]
        name: String,
        /// Whose it is.
        #[arg(long)]
        org: OrganizationId,
    },
    /// All projects of an organization.
    List {
        /// Whose.
        #[arg(long)]
        org: OrganizationId,
    },
}

pub(super) async fn run(desk: &Desk, command: Command) -> Result<Value, Error> {
    match command {
        Command::Create { name, org } => {
            let mut tx = desk.db.begin().await?;
            organizations::find(&mut tx, org).await?.ok_or_else(|| missing("organization", org))?;
            let project = accounts::add_project(&mut tx, &desk.env, org, &name, desk.actor.clone()).await?;
            tx.commit().await?;
            Ok(json!({ "project": project.id, "organization": org, "name": project.name }))
        }
        Command::List { org } => {
            let mut conn = desk.db.acquire().await?;
            let projects = organizations::list_projects(&mut conn, org).await?;
            let row = |project: organizations::Project| json!({ "project": project.id, "name": project.name, "default": project.is_default });
            Ok(projects.into_iter().map(row).collect())
        }
    }
}

//! Whom a limit binds, as `steelyard admin` is told.

use billing::budget::BudgetScope;
use protocol::{KeyId, OrganizationId, ProjectId};
use sqlx::PgConnection;

use super::{Error, missing};
use crate::keys::Holder;
use crate::store::{keys, organizations};

/// Whom a limit binds. All that apply hold at once: a request needs room under each.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct Whose {
    /// One key.
    #[arg(long, value_name = "KEY")]
    key: Option<KeyId>,
    /// All keys of a project.
    #[arg(long, value_name = "PROJECT")]
    project: Option<ProjectId>,
    /// All projects of an organization.
    #[arg(long, value_name = "ORG")]
    org: Option<OrganizationId>,
}

impl Whose {
    /// The scope, whose organization it is in, and its id in words; an error names what is not there.
    pub(super) async fn find(&self, conn: &mut PgConnection) -> Result<(BudgetScope, OrganizationId, String), Error> {
        if let Some(key) = self.key {
            let row = keys::find(conn, key, None).await?.ok_or_else(|| missing("key", key))?;
            return match row.record.holder {
                Holder::Inference { organization, .. } => Ok((BudgetScope::Key(key), organization, key.to_string())),
                _ => Err(Error::Usage(format!("{key} asks no models and so spends nothing; limit an inference key"))),
            };
        }
        if let Some(project) = self.project {
            let owner = organizations::find_owner(conn, project).await?;
            let owner = owner.ok_or_else(|| missing("project", project))?;
            return Ok((BudgetScope::Project(project), owner, project.to_string()));
        }
        let Some(org) = self.org else { return Err(Error::Usage("name one of --key, --project, --org".to_owned())) };
        organizations::find(conn, org).await?.ok_or_else(|| missing("organization", org))?;
        Ok((BudgetScope::Organization(org), org, org.to_string()))
    }
}

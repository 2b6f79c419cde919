//! Opens organizations, adds projects, issues and revokes keys: each with its audit event, in the
//! caller's transaction. The command line and the API both come through here.

use protocol::{Env, KeyId, OrganizationId, ServiceAccountId, Timestamp};
use serde_json::json;
use sqlx::PgConnection;

use crate::keys::{Holder, Secret};
use crate::store::audit::{self, Actor, Entry};
use crate::store::keys::{self, KeyRow, NewKey, Owner};
use crate::store::organizations::{self, Organization, Project};
use crate::store::service_accounts::ServiceAccount;

/// A key that was just made. The only moment at which its secret is known.
#[derive(Debug, Clone)]
pub struct Issued {
    /// What is stored.
    pub key: NewKey,
    /// What is shown once.
    pub secret: Secret,
}

/// Opens an organization with its account and default project.
///
/// # Errors
/// When the database fails.
pub async fn open(
    conn: &mut PgConnection,
    env: &Env,
    name: &str,
    actor: Actor,
) -> Result<(Organization, Project), sqlx::Error> {
    let now = env.now();
    let organization = Organization { id: env.mint(), name: name.to_owned(), created_at: now };
    organizations::insert(conn, &organization).await?;
    billing::store::accounts::open(conn, organization.id).await?;
    let entry = Entry::new(env.mint(), now, actor.clone(), "organization.created", organization.id);
    audit::insert(conn, entry.of_organization(organization.id).with(json!({ "name": name }))).await?;
    let project = project(conn, env, organization.id, "default", true, actor).await?;
    Ok((organization, project))
}

/// Adds a project to an organization.
///
/// # Errors
/// When the database fails.
pub async fn add_project(
    conn: &mut PgConnection,
    env: &Env,
    organization: OrganizationId,
    name: &str,
    actor: Actor,
) -> Result<Project, sqlx::Error> {
    project(conn, env, organization, name, false, actor).await
}

async fn project(
    conn: &mut PgConnection,
    env: &Env,
    organization: OrganizationId,
    name: &str,
    is_default: bool,
    actor: Actor,
) -> Result<Project, sqlx::Error> {
    let now = env.now();
    let project =
        Project { id: env.mint(), organization, name: name.to_owned(), is_default, created_at: now, archived_at: None };
    organizations::insert_project(conn, &project).await?;
    let entry = Entry::new(env.mint(), now, actor, "project.created", project.id).of_project(project.id);
    audit::insert(conn, entry.of_organization(organization).with(json!({ "name": name }))).await?;
    Ok(project)
}

/// Makes a key for `holder`.
///
/// # Errors
/// When the database fails.
pub async fn issue(
    conn: &mut PgConnection,
    env: &Env,
    holder: Holder,
    name: &str,
    expires_at: Option<Timestamp>,
    actor: Actor,
) -> Result<Issued, sqlx::Error> {
    issue_new(conn, env, (holder, None), name, expires_at, actor).await
}

/// Makes an inference key that a service account holds.
///
/// # Errors
/// When the database fails.
pub async fn issue_to(
    conn: &mut PgConnection,
    env: &Env,
    account: &ServiceAccount,
    name: &str,
    actor: Actor,
) -> Result<Issued, sqlx::Error> {
    let holder = Holder::Inference { organization: account.organization, project: account.project };
    issue_new(conn, env, (holder, Some(account.id)), name, None, actor).await
}

async fn issue_new(
    conn: &mut PgConnection,
    env: &Env,
    (holder, service_account): (Holder, Option<ServiceAccountId>),
    name: &str,
    expires_at: Option<Timestamp>,
    actor: Actor,
) -> Result<Issued, sqlx::Error> {
    let now = env.now();
    let secret = Secret::mint(env, holder.kind());
    let key = NewKey {
        id: env.mint(),
        holder,
        service_account,
        name: name.to_owned(),
        digest: secret.digest(),
        hint: secret.hint(),
        created_at: now,
        expires_at,
    };
    keys::insert(conn, &key).await?;
    let detail = json!({ "kind": holder.kind().name(), "name": name });
    audit::insert(conn, concerning(Entry::new(env.mint(), now, actor, "key.created", key.id), &holder).with(detail))
        .await?;
    Ok(Issued { key, secret })
}

/// Revokes a key of `owner`, everywhere within a second. `None` when there is no such key; revoking
/// again changes nothing.
///
/// # Errors
/// When the database fails.
pub async fn revoke(
    conn: &mut PgConnection,
    env: &Env,
    id: KeyId,
    owner: Option<Owner>,
    actor: Actor,
) -> Result<Option<KeyRow>, sqlx::Error> {
    let now = env.now();
    let Some(row) = keys::revoke(conn, id, owner, now).await? else { return Ok(None) };
    let entry = Entry::new(env.mint(), now, actor, "key.revoked", id);
    audit::insert(conn, concerning(entry, &row.record.holder)).await?;
    Ok(Some(row))
}

/// An event about a key, said to concern whom the key speaks for.
pub(crate) fn concerning(entry: Entry, holder: &Holder) -> Entry {
    match *holder {
        Holder::Inference { organization, project } | Holder::Management { organization, project } => {
            entry.of_organization(organization).of_project(project)
        }
        Holder::Admin { organization } => entry.of_organization(organization),
        Holder::Provider { provider } => entry.of_provider(provider),
    }
}

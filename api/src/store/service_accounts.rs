//! Programs that hold keys of their own within a project.

use protocol::{OrganizationId, ProjectId, ServiceAccountId, Timestamp};
use sqlx::PgConnection;

/// A program that holds keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccount {
    /// Its id.
    pub id: ServiceAccountId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// What its keys spend for.
    pub project: ProjectId,
    /// What people call it.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Stores a service account.
///
/// # Errors
/// When the database fails.
pub async fn insert(conn: &mut PgConnection, new: &ServiceAccount) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into service_accounts (service_account_id, organization_id, project_id, name, created_at)
         values ($1, $2, $3, $4, $5)",
        new.id as ServiceAccountId,
        new.organization as OrganizationId,
        new.project as ProjectId,
        new.name,
        new.created_at as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// One service account of a project, unless it was deleted.
///
/// # Errors
/// When the database fails.
pub async fn find(
    conn: &mut PgConnection,
    organization: OrganizationId,
    project: ProjectId,
    id: ServiceAccountId,
) -> Result<Option<ServiceAccount>, sqlx::Error> {
    sqlx::query_as!(
        ServiceAccount,
        r#"select service_account_id as "id: ServiceAccountId", organization_id as "organization: OrganizationId",
                  project_id as "project: ProjectId", name, created_at as "created_at: Timestamp"
             from service_accounts
            where organization_id = $1 and project_id = $2 and service_account_id = $3 and deleted_at is null"#,
        organization as OrganizationId,
        project as ProjectId,
        id as ServiceAccountId,
    )
    .fetch_optional(conn)
    .await
}

/// Waits for whoever changes a service account, and lets nobody change it before this transaction ends: no key is made
/// for one that is being deleted.
///
/// # Errors
/// When the database fails.
pub async fn lock(
    conn: &mut PgConnection,
    organization: OrganizationId,
    id: ServiceAccountId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "select from service_accounts where organization_id = $1 and service_account_id = $2 for no key update",
        organization as OrganizationId,
        id as ServiceAccountId,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Service accounts of a project, newest first, those older than `after` when it is given.
///
/// # Errors
/// When the database fails.
pub async fn list(
    conn: &mut PgConnection,
    organization: OrganizationId,
    project: ProjectId,
    after: Option<ServiceAccountId>,
    limit: u32,
) -> Result<Vec<ServiceAccount>, sqlx::Error> {
    sqlx::query_as!(
        ServiceAccount,
        r#"select service_account_id as "id: ServiceAccountId", organization_id as "organization: OrganizationId",
                  project_id as "project: ProjectId", name, created_at as "created_at: Timestamp"
             from service_accounts
            where organization_id = $1 and project_id = $2 and deleted_at is null
              and ($3::uuid is null or service_account_id < $3)
            order by service_account_id desc limit $4"#,
        organization as OrganizationId,
        project as ProjectId,
        after as Option<ServiceAccountId>,
        i64::from(limit),
    )
    .fetch_all(conn)
    .await
}

/// Gives a service account another name.
///
/// # Errors
/// When the database fails.
pub async fn rename(conn: &mut PgConnection, account: &ServiceAccount, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update service_accounts set name = $3 where organization_id = $1 and service_account_id = $2",
        account.organization as OrganizationId,
        account.id as ServiceAccountId,
        name,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes a service account out of use. Its row stays: keys and events name it. Whoever calls it revokes its keys.
///
/// # Errors
/// When the database fails.
pub async fn delete(conn: &mut PgConnection, account: &ServiceAccount, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update service_accounts set deleted_at = $3
          where organization_id = $1 and service_account_id = $2 and deleted_at is null",
        account.organization as OrganizationId,
        account.id as ServiceAccountId,
        now as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

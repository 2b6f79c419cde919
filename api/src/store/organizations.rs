//! Organizations and their projects.

use protocol::{OrganizationId, ProjectId, Timestamp};
use sqlx::PgConnection;

/// Who pays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    /// Its id.
    pub id: OrganizationId,
    /// What people call it.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What an organization's money is spent for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// What people call it.
    pub name: String,
    /// True for the one that takes what names no other.
    pub is_default: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was closed for good; its keys don't count any more.
    pub archived_at: Option<Timestamp>,
}

/// Stores an organization.
///
/// # Errors
/// When the database fails.
pub async fn insert(conn: &mut PgConnection, new: &Organization) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into organizations (organization_id, name, created_at) values ($1, $2, $3)",
        new.id as OrganizationId,
        new.name,
        new.created_at as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Stores a project.
///
/// # Errors
/// When the database fails; a second default project of one organization breaks a constraint.
pub async fn insert_project(conn: &mut PgConnection, new: &Project) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into projects (project_id, organization_id, name, is_default, created_at) values ($1, $2, $3, $4, $5)",
        new.id as ProjectId,
        new.organization as OrganizationId,
        new.name,
        new.is_default,
        new.created_at as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// One organization.
///
/// # Errors
/// When the database fails.
pub async fn find(conn: &mut PgConnection, id: OrganizationId) -> Result<Option<Organization>, sqlx::Error> {
    sqlx::query_as!(
        Organization,
        r#"select organization_id as "id: OrganizationId", name, created_at as "created_at: Timestamp"
             from organizations where organization_id = $1"#,
        id as OrganizationId,
    )
    .fetch_optional(conn)
    .await
}

/// Takes the right to change an organization's settings, which holds until the transaction ends: two changes at
/// once come one after the other.
///
/// # Errors
/// When the database fails.
pub async fn claim(conn: &mut PgConnection, id: OrganizationId) -> Result<(), sqlx::Error> {
    // Not the key: new rows that name the organization needn't wait.
    sqlx::query!("select from organizations where organization_id = $1 for no key update", id as OrganizationId)
        .execute(conn)
        .await?;
    Ok(())
}

/// The newest organizations.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut PgConnection, limit: u32) -> Result<Vec<Organization>, sqlx::Error> {
    sqlx::query_as!(
        Organization,
        r#"select organization_id as "id: OrganizationId", name, created_at as "created_at: Timestamp"
             from organizations order by organization_id desc limit $1"#,
        i64::from(limit),
    )
    .fetch_all(conn)
    .await
}

/// One project of one organization, archived or not.
///
/// # Errors
/// When the database fails.
pub async fn find_project(
    conn: &mut PgConnection,
    organization: OrganizationId,
    id: ProjectId,
) -> Result<Option<Project>, sqlx::Error> {
    sqlx::query_as!(
        Project,
        r#"select project_id as "id: ProjectId", organization_id as "organization: OrganizationId", name, is_default,
                  created_at as "created_at: Timestamp", archived_at as "archived_at: Timestamp"
             from projects where organization_id = $1 and project_id = $2"#,
        organization as OrganizationId,
        id as ProjectId,
    )
    .fetch_optional(conn)
    .await
}

/// Whose a project is.
///
/// # Errors
/// When the database fails.
pub async fn find_owner(conn: &mut PgConnection, project: ProjectId) -> Result<Option<OrganizationId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select organization_id as "organization: OrganizationId" from projects where project_id = $1"#,
        project as ProjectId,
    )
    .fetch_optional(conn)
    .await
}

/// All projects of an organization that are not archived, the default one first.
///
/// # Errors
/// When the database fails.
pub async fn list_projects(conn: &mut PgConnection, of: OrganizationId) -> Result<Vec<Project>, sqlx::Error> {
    sqlx::query_as!(
        Project,
        r#"select project_id as "id: ProjectId", organization_id as "organization: OrganizationId", name, is_default,
                  created_at as "created_at: Timestamp", archived_at as "archived_at: Timestamp"
             from projects where organization_id = $1 and archived_at is null order by is_default desc, project_id"#,
        of as OrganizationId,
    )
    .fetch_all(conn)
    .await
}

/// Projects of an organization, newest first, those older than `after` when it is given.
///
/// # Errors
/// When the database fails.
pub async fn list_projects_after(
    conn: &mut PgConnection,
    of: OrganizationId,
    archived_too: bool,
    after: Option<ProjectId>,
    limit: u32,
) -> Result<Vec<Project>, sqlx::Error> {
    sqlx::query_as!(
        Project,
        r#"select project_id as "id: ProjectId", organization_id as "organization: OrganizationId", name, is_default,
                  created_at as "created_at: Timestamp", archived_at as "archived_at: Timestamp"
             from projects
            where organization_id = $1 and ($2 or archived_at is null) and ($3::uuid is null or project_id < $3)
            order by project_id desc limit $4"#,
        of as OrganizationId,
        archived_too,
        after as Option<ProjectId>,
        i64::from(limit),
    )
    .fetch_all(conn)
    .await
}

/// Gives a project another name.
///
/// # Errors
/// When the database fails.
pub async fn rename_project(
    conn: &mut PgConnection,
    organization: OrganizationId,
    id: ProjectId,
    name: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update projects set name = $3 where organization_id = $1 and project_id = $2",
        organization as OrganizationId,
        id as ProjectId,
        name,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Closes a project for good. Once is enough: the first time stands. Whoever calls it announces its keys.
///
/// # Errors
/// When the database fails; archiving a default project breaks a constraint.
pub async fn archive_project(
    conn: &mut PgConnection,
    organization: OrganizationId,
    id: ProjectId,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update projects set archived_at = $3 where organization_id = $1 and project_id = $2 and archived_at is null",
        organization as OrganizationId,
        id as ProjectId,
        now as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

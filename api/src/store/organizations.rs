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

/// One project of one organization.
///
/// # Errors
/// When the database fails.
pub async fn find_project(
    conn: &mut PgConnection,
    organization: OrganizationId,
    id: ProjectId,
) -> Result<Option<Project>, sqlx::Error> {
    let projects = list_projects(conn, organization).await?;
    Ok(projects.into_iter().find(|project| project.id == id))
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

/// All projects of an organization, the default one first.
///
/// # Errors
/// When the database fails.
pub async fn list_projects(conn: &mut PgConnection, of: OrganizationId) -> Result<Vec<Project>, sqlx::Error> {
    sqlx::query_as!(
        Project,
        r#"select project_id as "id: ProjectId", organization_id as "organization: OrganizationId", name, is_default,
                  created_at as "created_at: Timestamp"
             from projects where organization_id = $1 order by is_default desc, project_id"#,
        of as OrganizationId,
    )
    .fetch_all(conn)
    .await
}

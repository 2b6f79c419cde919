//! Which models a project's keys may ask for. Whoever changes that announces the project's keys.

use protocol::ProjectId;
use sqlx::PgConnection;

use crate::keys::{ModelPermissions, PermissionMode};

/// What a project was told; `None` when all models are open to it.
///
/// # Errors
/// When the database fails.
pub async fn find(conn: &mut PgConnection, project: ProjectId) -> Result<Option<ModelPermissions>, sqlx::Error> {
    let row = sqlx::query!("select mode, models from model_permissions where project_id = $1", project as ProjectId)
        .fetch_optional(conn)
        .await?;
    row.map(|row| parse(&row.mode, row.models)).transpose()
}

/// From its columns.
pub(super) fn parse(mode: &str, models: Vec<String>) -> Result<ModelPermissions, sqlx::Error> {
    let mode = match mode {
        "allow_list" => PermissionMode::AllowList,
        "deny_list" => PermissionMode::DenyList,
        other => return Err(sqlx::Error::Decode(format!("model permissions of an unknown mode {other:?}").into())),
    };
    Ok(ModelPermissions { mode, models })
}

/// Replaces what a project may ask for.
///
/// # Errors
/// When the database fails.
pub async fn set(
    conn: &mut PgConnection,
    project: ProjectId,
    permissions: &ModelPermissions,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into model_permissions (project_id, mode, models) values ($1, $2, $3)
         on conflict (project_id) do update set mode = excluded.mode, models = excluded.models",
        project as ProjectId,
        permissions.mode.name(),
        &permissions.models,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Opens all models to a project.
///
/// # Errors
/// When the database fails.
pub async fn remove(conn: &mut PgConnection, project: ProjectId) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from model_permissions where project_id = $1", project as ProjectId).execute(conn).await?;
    Ok(())
}

//! A project, by the admin key of its organization.

use axum::extract::FromRequestParts;
use http::request::Parts;
use protocol::ProjectId;

use super::caller::Admin;
use super::path;
use crate::error::ApiError;
use crate::state::AppState;
use crate::store::organizations::{self, Project};

/// Whoever holds an admin key, and the project of that organization that the path names.
#[derive(Debug, Clone)]
pub struct ProjectAdmin {
    /// Who acts.
    pub admin: Admin,
    /// Which project. It may be archived.
    pub project: Project,
}

impl ProjectAdmin {
    /// Refuses a change of a project that is closed for good.
    ///
    /// # Errors
    /// 400 `invalid_state`.
    pub fn open(&self) -> Result<(), ApiError> {
        match self.project.archived_at {
            None => Ok(()),
            Some(_) => Err(ApiError::invalid_state("the project is archived")),
        }
    }
}

impl FromRequestParts<AppState> for ProjectAdmin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        let admin = Admin::from_request_parts(parts, app).await?;
        let id = path::param::<ProjectId>(parts, "project").await?;
        let mut conn = app.db.acquire().await?;
        // Another organization's id is answered as one that does not exist.
        let project = organizations::find_project(&mut conn, admin.organization, id).await?;
        Ok(Self { admin, project: project.ok_or_else(path::not_found)? })
    }
}

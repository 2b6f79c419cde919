//! A node, by its session.

use axum::extract::FromRequestParts;
use http::request::Parts;
use protocol::{NodeId, ProviderId, Timestamp};

use super::caller::bearer;
use super::path;
use super::provider::ProviderCaller;
use crate::error::ApiError;
use crate::sessions::Sessions;
use crate::state::AppState;
use crate::store::audit::Actor;

/// The node the path names, by the session it opened with its own key.
#[derive(Debug, Clone, Copy)]
pub struct NodeCaller {
    /// Who is calling.
    pub node: NodeId,
    /// Whose node it is.
    pub provider: ProviderId,
    /// When the session ends.
    pub expires_at: Timestamp,
}

impl FromRequestParts<AppState> for NodeCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        let token = bearer(&parts.headers).ok_or_else(|| ApiError::unauthorized(false))?;
        let session = app.sessions.find(token).await?;
        let provider = path::param::<ProviderId>(parts, "provider").await?;
        let node = path::param::<NodeId>(parts, "node").await?;
        if (session.provider, session.node) != (provider, node) {
            return Err(path::not_found());
        }
        Ok(Self { node, provider, expires_at: session.expires_at })
    }
}

/// Whoever may act for the node the path names: the node itself, or its provider's key.
#[derive(Debug, Clone)]
pub struct Supplier {
    /// The node the path names. That it belongs to the provider is for each query to check.
    pub node: NodeId,
    /// Whose node it is.
    pub provider: ProviderId,
    /// Who acts, for the audit trail.
    pub actor: Actor,
}

impl FromRequestParts<AppState> for Supplier {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        if bearer(&parts.headers).is_some_and(Sessions::is_token) {
            let caller = NodeCaller::from_request_parts(parts, app).await?;
            return Ok(Self { node: caller.node, provider: caller.provider, actor: Actor::Node(caller.node) });
        }
        let caller = ProviderCaller::from_request_parts(parts, app).await?;
        let node = path::param::<NodeId>(parts, "node").await?;
        Ok(Self { node, provider: caller.provider, actor: Actor::Key(caller.key) })
    }
}

//! A provider, by its key.

use axum::extract::FromRequestParts;
use http::request::Parts;
use protocol::{KeyId, ProviderId};

use super::caller::{authenticate, wrong_kind};
use super::path;
use crate::error::ApiError;
use crate::keys::{Holder, KeyKind};
use crate::state::AppState;

/// Whoever holds the key of the provider the path names.
#[derive(Debug, Clone, Copy)]
pub struct ProviderCaller {
    /// The key used.
    pub key: KeyId,
    /// Whose it is, and what the path says.
    pub provider: ProviderId,
}

impl FromRequestParts<AppState> for ProviderCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        let record = authenticate(app, &parts.headers).await?;
        let Holder::Provider { provider } = record.holder else {
            return Err(wrong_kind(KeyKind::Provider, record.kind()));
        };
        // Another provider's id is answered as one that does not exist.
        if path::param::<ProviderId>(parts, "provider").await? != provider {
            return Err(path::not_found());
        }
        Ok(Self { key: record.id, provider })
    }
}

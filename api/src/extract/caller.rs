//! Who is calling, by the key they sent.

use std::str::FromStr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use protocol::{KeyId, OrganizationId, ProjectId};

use crate::addresses::Peer;
use crate::error::ApiError;
use crate::keys::{Holder, KeyKind, KeyRecord};
use crate::state::{App, AppState};

/// Longest credential looked at; ours are about 60 characters.
const MAX_CREDENTIAL: usize = 256;

/// Whoever holds an inference key.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The key used.
    pub key: KeyId,
    /// Who pays.
    pub organization: OrganizationId,
    /// What for.
    pub project: ProjectId,
    /// The key as stored.
    pub record: Arc<KeyRecord>,
}

impl Caller {
    /// Whoever holds `record`, where that is an inference key.
    pub(crate) fn of(record: Arc<KeyRecord>) -> Option<Self> {
        match record.holder {
            Holder::Inference { organization, project } => Some(Self { key: record.id, organization, project, record }),
            _ => None,
        }
    }

    /// Refuses a model the key's project may not ask for. `model` is an id without a routing suffix.
    ///
    /// # Errors
    /// 403 `model_not_permitted`.
    pub fn may_ask_for(&self, model: &str) -> Result<(), ApiError> {
        if self.record.permits(model) {
            return Ok(());
        }
        let message = format!("the project of this key may not ask for the model {model:?}");
        Err(ApiError::forbidden("model_not_permitted", message).with_param("model"))
    }
}

/// Whoever holds a management key.
#[derive(Debug, Clone)]
pub struct Manager {
    /// The key used.
    pub key: KeyId,
    /// Who pays.
    pub organization: OrganizationId,
    /// Where keys are managed.
    pub project: ProjectId,
}

/// Whoever holds an organization-admin key.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The key used.
    pub key: KeyId,
    /// What is managed.
    pub organization: OrganizationId,
}

/// Whoever may see an organization's balance: the holder of an inference or a management key of it.
#[derive(Debug, Clone)]
pub struct Payer {
    /// Who pays.
    pub organization: OrganizationId,
}

/// The credential a request carries: `authorization: Bearer …`, else `x-api-key`.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = authorization.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let credential = bearer.or_else(|| headers.get("x-api-key").and_then(|value| value.to_str().ok()))?;
    (!credential.is_empty() && credential.len() <= MAX_CREDENTIAL).then_some(credential)
}

/// The key a request carries, of any kind, with the headers that must agree with it.
///
/// # Errors
/// 401 when there is none, it does not count, or `OpenAI-Organization` or `OpenAI-Project` names
/// something else than what the key belongs to.
pub async fn authenticate(app: &App, headers: &HeaderMap) -> Result<Arc<KeyRecord>, ApiError> {
    let Some(credential) = bearer(headers) else {
        let sent = headers.contains_key(AUTHORIZATION) || headers.contains_key("x-api-key");
        return Err(ApiError::unauthorized(sent));
    };
    let record = app.keys.find(credential).await?;
    let (organization, project) = match record.holder {
        Holder::Inference { organization, project } | Holder::Management { organization, project } => {
            (Some(organization), Some(project))
        }
        Holder::Admin { organization } => (Some(organization), None),
        Holder::Provider { .. } => (None, None),
    };
    matches(headers, "openai-organization", organization)?;
    matches(headers, "openai-project", project)?;
    Ok(record)
}

/// A key that names no project may be used with any project header: there is nothing to contradict.
fn matches<T: FromStr + PartialEq>(headers: &HeaderMap, name: &str, own: Option<T>) -> Result<(), ApiError> {
    let (Some(value), Some(own)) = (headers.get(name), own) else { return Ok(()) };
    let named = value.to_str().ok().filter(|text| !text.is_empty()).and_then(|text| text.parse().ok());
    if named == Some(own) || value.is_empty() {
        return Ok(());
    }
    Err(ApiError::unauthorized(true).with_message(format!("the API key does not belong to what {name} names")))
}

/// The refusal of a key that counts, but for something else.
pub(super) fn wrong_kind(needed: KeyKind, had: KeyKind) -> ApiError {
    let message = format!("this call needs a key of kind {}, not {}", needed.name(), had.name());
    ApiError::forbidden("insufficient_permissions", message)
}

/// The same, and remembers where the key is used from.
async fn authenticate_and_note(app: &App, parts: &Parts) -> Result<Arc<KeyRecord>, ApiError> {
    let record = authenticate(app, &parts.headers).await?;
    if let Some(peer) = parts.extensions.get::<Peer>() {
        app.addresses.note(record.id, *peer, &parts.headers, app.env.now());
    }
    Ok(record)
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        let record = authenticate_and_note(app, parts).await?;
        let had = record.kind();
        Self::of(record).ok_or_else(|| wrong_kind(KeyKind::Inference, had))
    }
}

impl FromRequestParts<AppState> for Manager {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        let record = authenticate_and_note(app, parts).await?;
        match record.holder {
            Holder::Management { organization, project } => Ok(Self { key: record.id, organization, project }),
            _ => Err(wrong_kind(KeyKind::Management, record.kind())),
        }
    }
}

impl FromRequestParts<AppState> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        let record = authenticate_and_note(app, parts).await?;
        match record.holder {
            Holder::Admin { organization } => Ok(Self { key: record.id, organization }),
            _ => Err(wrong_kind(KeyKind::Admin, record.kind())),
        }
    }
}

impl FromRequestParts<AppState> for Payer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        let record = authenticate_and_note(app, parts).await?;
        match record.holder {
            Holder::Inference { organization, .. } | Holder::Management { organization, .. } => {
                Ok(Self { organization })
            }
            _ => Err(wrong_kind(KeyKind::Inference, record.kind())),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn headers_of(name: &'static str, value: &str) -> HeaderMap {
        headers(&[(name, value)])
    }

    #[test]
    fn a_credential_comes_as_a_bearer_or_in_its_own_header() {
        assert_eq!(bearer(&headers_of("authorization", "Bearer abc")), Some("abc"));
        assert_eq!(bearer(&headers_of("authorization", "bearer  abc ")), Some("abc"));
        assert_eq!(bearer(&headers_of("x-api-key", "abc")), Some("abc"));
        assert_eq!(bearer(&headers_of("authorization", "Basic abc")), None);
        assert_eq!(bearer(&headers_of("authorization", "Bearer ")), None);
        assert_eq!(bearer(&headers_of("authorization", &format!("Bearer {}", "a".repeat(300)))), None);
    }

    #[test]
    fn a_header_that_contradicts_the_key_is_refused() {
        use protocol::Id as _;
        let own = ProjectId::from_uuid(uuid::Uuid::from_u128(1));
        let other = ProjectId::from_uuid(uuid::Uuid::from_u128(2));
        let check = |value: &str| matches(&headers_of("openai-project", value), "openai-project", Some(own));
        assert!(check(&own.to_string()).is_ok());
        assert!(check("").is_ok());
        assert_eq!(check(&other.to_string()).unwrap_err().status(), 401);
        assert_eq!(check("default").unwrap_err().status(), 401);
    }
}

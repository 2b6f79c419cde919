//! Values in the path.

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// Path parameters. What can't be read names nothing of ours, so it is not found rather than invalid.
#[derive(Debug, Clone, Copy)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(_) => Err(not_found()),
        }
    }
}

/// Reads one parameter by name.
pub(super) async fn param<T: std::str::FromStr>(parts: &mut Parts, name: &str) -> Result<T, ApiError> {
    let params = RawPathParams::from_request_parts(parts, &()).await.map_err(|_| not_found())?;
    let value = params.iter().find(|(key, _)| *key == name).map(|(_, value)| value);
    value.and_then(|value| value.parse().ok()).ok_or_else(not_found)
}

/// 404 for what is not there, or not there for this caller: the two can't be told apart.
#[must_use]
pub fn not_found() -> ApiError {
    ApiError::not_found("not_found", "nothing of that id is here for this caller")
}

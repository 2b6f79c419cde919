//! Values in the query.

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// Query parameters.
#[derive(Debug, Clone, Copy)]
pub struct Query<T>(pub T);

/// Length of a page when nothing is asked.
const DEFAULT_LIMIT: u32 = 20;
/// Longest page.
const MAX_LIMIT: u32 = 100;

/// Which part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// At most this many, 1 to 100.
    pub limit: u32,
    /// Those after this id.
    pub after: Option<String>,
}

#[derive(Deserialize)]
struct RawPage {
    limit: Option<u32>,
    after: Option<String>,
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(error) => Err(ApiError::invalid(None::<&str>, error.body_text())),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Page {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Query(RawPage { limit, after }) = Query::from_request_parts(parts, state).await?;
        let limit = limit.unwrap_or(DEFAULT_LIMIT);
        if limit == 0 || limit > MAX_LIMIT {
            return Err(ApiError::invalid("limit", format!("between 1 and {MAX_LIMIT}")));
        }
        Ok(Self { limit, after: after.filter(|after| !after.is_empty()) })
    }
}

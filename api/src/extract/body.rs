//! JSON in and out.

use std::future::Future;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use crate::envelope::check_object;
use crate::error::ApiError;
use crate::state::{App, AppState};

/// Largest body of a call that is not inference: 500 usage reports fit four times.
pub const BODY_LIMIT: usize = 2 * 1024 * 1024;

/// What JSON's one charset is called, and the one that is a part of it.
const UTF_8: [&str; 3] = ["utf-8", "utf8", "us-ascii"];

/// A JSON body. Coming in, an empty one is `{}`; going out, it never fails half-way.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<AppState> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &AppState) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = read_body_in_time(app, &parts.headers, body, BODY_LIMIT).await?;
        parse(&bytes).map(Self)
    }
}

/// [`read_body`] under the deadline for bodies: who sends one byte a minute is not waited for, key or none.
///
/// # Errors
/// As [`read_body`]; 400 when the body is not there in time.
pub async fn read_body_in_time(app: &App, headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, ApiError> {
    in_time(app, read_body(headers, body, limit)).await
}

/// Reads all of a JSON body of at most `limit` bytes.
///
/// # Errors
/// 415 when there is one and it is not said to be JSON, 413 over the limit, 400 when it breaks off.
pub async fn read_body(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let bytes = read_bytes(headers, body, limit).await?;
    if !bytes.is_empty() && !is_json(headers) {
        return Err(ApiError::unsupported_media_type());
    }
    unencoded(headers, bytes)
}

/// Reads all of a form of at most `limit` bytes, under the same deadline.
///
/// # Errors
/// As [`read_body_in_time`], where it is not said to be a form.
pub async fn read_form_in_time(app: &App, headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let bytes = in_time(app, read_bytes(headers, body, limit)).await?;
    if !is_form(headers) {
        return Err(ApiError::unsupported_media_type().with_message("the body must be multipart/form-data"));
    }
    unencoded(headers, bytes)
}

async fn in_time(app: &App, reading: impl Future<Output = Result<Bytes, ApiError>>) -> Result<Bytes, ApiError> {
    let patience = Duration::from_millis(app.config.server.body_timeout_ms);
    let read = tokio::time::timeout(patience, reading).await;
    read.map_err(|_| ApiError::invalid(None::<&str>, "the request body did not arrive in time"))?
}

async fn read_bytes(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, ApiError> {
    // Refused by what it says before any of it is read.
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(ApiError::too_large(limit));
    }
    to_bytes(body, limit).await.map_err(|error| {
        let source = std::error::Error::source(&error);
        if source.is_some_and(|source| source.is::<http_body_util::LengthLimitError>()) {
            ApiError::too_large(limit)
        } else {
            ApiError::invalid(None::<&str>, "the request body broke off")
        }
    })
}

/// `multipart/form-data`, which alone has files.
#[must_use]
pub fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map_or(b"".as_slice(), HeaderValue::as_bytes);
    kind.get(..FORM.len()).is_some_and(|start| start.eq_ignore_ascii_case(FORM))
}

const FORM: &[u8] = b"multipart/form-data";

/// `application/json`, or anything built on it such as `application/problem+json`; with any parameters but a charset
/// that is not JSON's own.
#[must_use]
pub fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let mut parts = value.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let mut charsets = parts.filter_map(|part| {
        let (name, charset) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| charset.trim().trim_matches('"'))
    });
    let in_utf8 = charsets.all(|charset| UTF_8.iter().any(|known| charset.eq_ignore_ascii_case(known)));
    in_utf8 && (essence.eq_ignore_ascii_case("application/json") || essence.to_ascii_lowercase().ends_with("+json"))
}

/// A body that is compressed is not looked into: what it unpacks to has no bound.
fn unencoded(headers: &HeaderMap, bytes: Bytes) -> Result<Bytes, ApiError> {
    let encoded =
        headers.get_all(CONTENT_ENCODING).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
    if !bytes.is_empty() && encoded {
        return Err(ApiError::unsupported_media_type().with_message("the body must be sent without content-encoding"));
    }
    Ok(bytes)
}

/// The body of a POST that needs no fields. What comes all the same must at least be a body.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct NoFields {}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    // serde looks neither at what it ignores nor, where it builds a struct, at whether that is an object.
    check_object(bytes)?;
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        // The JSON is sound by now. What serde can't read of it all the same is a number past all bounds, or something
        // else where one of a few words belongs.
        let words = if inner.is_data() { inner.to_string() } else { "of the wrong type, or out of range".to_owned() };
        let param = param(&path, &words);
        ApiError::invalid(param.as_deref(), words)
    })
}

/// Reads a field whose null means something else than its absence, together with `#[serde(default)]`.
///
/// # Errors
/// When the value is of another type.
pub fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(reader: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(reader).map(Some)
}

/// The path of the field at fault. A missing field has no place of its own: its object's path and its name make one.
fn param(path: &str, words: &str) -> Option<String> {
    let missing = words.strip_prefix("missing field `").and_then(|rest| rest.split_once('`')).map(|(name, _)| name);
    match (path, missing) {
        (".", missing) => missing.map(str::to_owned),
        (path, Some(missing)) => Some(format!("{path}.{missing}")),
        (path, None) => Some(path.to_owned()),
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], bytes).into_response(),
            Err(error) => ApiError::internal(&error).into_response(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Inner {
        #[allow(dead_code)]
        count: u32,
    }

    #[derive(Debug, Deserialize)]
    struct Outer {
        #[serde(default)]
        items: Vec<Inner>,
    }

    #[test]
    fn a_wrong_field_is_named_by_its_path() {
        let error = parse::<Outer>(br#"{"items":[{"count":1},{"count":"two"}]}"#).unwrap_err();
        assert_eq!(error.body()["error"]["param"], "items[1].count");
        let error = parse::<Outer>(br#"{"items":[{}]}"#).unwrap_err();
        assert_eq!(error.body()["error"]["param"], "items[0].count");
        let error = parse::<Outer>(br#"{"items":[{"count":1e999}]}"#).unwrap_err();
        assert_eq!(error.body()["error"]["param"], "items[0].count");
        let error = parse::<Inner>(b"{}").unwrap_err();
        assert_eq!(error.body()["error"]["param"], "count");
        assert_eq!(error.status(), 400);
    }

    #[test]
    fn an_empty_body_is_an_empty_object_and_unknown_fields_are_ignored() {
        assert!(parse::<Outer>(b"").unwrap().items.is_empty());
        assert!(parse::<Outer>(br#"{"later": 1}"#).unwrap().items.is_empty());
    }

    #[test]
    fn what_is_not_json_is_said_to_be_so() {
        for text in ["{", "{\"items\":}", "{} {}", "[]", "{\"later\":[}", "\"later\""] {
            let error = parse::<Outer>(text.as_bytes()).unwrap_err();
            assert!(error.message().contains("JSON"), "{error:?}");
            assert!(error.body()["error"]["param"].is_null());
        }
    }

    #[test]
    fn a_body_is_held_to_json_where_nobody_reads_it() {
        let refused = |body: &[u8]| parse::<Outer>(body).unwrap_err().body()["error"]["param"].clone();
        assert_eq!(refused(br#"{"later":1,"items":[],"later":2}"#), "later");
        assert!(refused(format!(r#"{{"later":{}{}}}"#, "[".repeat(200), "]".repeat(200)).as_bytes()).is_null());
        assert!(refused(b"{\"later\":\"\xff\"}").is_null());
    }

    #[test]
    fn json_is_sent_in_its_own_charset() {
        let of =
            |value: &'static str| is_json(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]));
        for taken in ["application/json", "application/JSON; charset=\"UTF-8\"", "a/b+json; v=1; charset=us-ascii"] {
            assert!(of(taken), "{taken}");
        }
        for other in ["application/json; charset=utf-16", "application/json;charset=latin1; v=1", "text/json"] {
            assert!(!of(other), "{other}");
        }
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_whether_or_not_it_says_so() {
        let json = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let silent = read_body(&json, Body::from("[1,2,3]"), 3).await.unwrap_err();
        assert_eq!(silent.status(), 413);
        let mut honest = json.clone();
        honest.insert(CONTENT_LENGTH, HeaderValue::from(7));
        assert_eq!(read_body(&honest, Body::empty(), 3).await.unwrap_err().status(), 413);
        assert_eq!(read_body(&HeaderMap::new(), Body::from("{}"), 3).await.unwrap_err().status(), 415);
        assert!(read_body(&HeaderMap::new(), Body::empty(), 3).await.unwrap().is_empty());
    }
}

//! Bodies as they pass through a node: boxed streams of bytes, and small whole answers.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};

/// Why a body broke off.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Any body. `Unsync`, because exactly one task reads it.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A body with nothing in it.
#[must_use]
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body known whole.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Boxes any body.
pub fn boxed<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// Reads a body whole, or gives up past `most` bytes.
///
/// # Errors
/// Whatever broke the body off, or that it is too long.
pub async fn collect(mut body: Body, most: usize) -> Result<Bytes, BoxError> {
    let mut whole = bytes::BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            if whole.len() + data.len() > most {
                return Err("the body is too long".into());
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.freeze())
}

/// A JSON answer.
#[must_use]
pub fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(full(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An error answer in the broker's shape: four keys, always.
#[must_use]
pub fn error(status: StatusCode, kind: &str, code: Option<&str>, message: &str) -> Response<Body> {
    let error = serde_json::json!({"message": message, "type": kind, "param": null, "code": code});
    json(status, &serde_json::json!({ "error": error }))
}

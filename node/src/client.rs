//! Plain calls to the broker: JSON in, JSON out, the broker's own words when it refuses.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use protocol::{header, version};
use rustls::ClientConfig;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::connect::{self, Pool};
use crate::{Error, body};

/// Longest a whole call may take. Calls are small; a broker slower than this is treated as away.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Largest answer read: a full set of offers stays far below it.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// As long as a day's receipts may take over a slow line.
const LARGE_TIMEOUT: Duration = Duration::from_secs(300);
/// A busy provider's day: some hundred thousand receipts.
const MAX_LARGE_BYTES: usize = 512 << 20;
/// Idle connections outlive the time between two heartbeats.
const IDLE: Duration = Duration::from_secs(30);

/// A client of one broker URL. Clones share its connections.
#[derive(Clone)]
pub struct Client {
    base: Url,
    pool: Pool,
    tls: Arc<ClientConfig>,
}

/// One call, built up and sent.
pub struct Call<'a> {
    client: &'a Client,
    method: Method,
    path: String,
    bearer: Option<&'a str>,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
    timeout: Duration,
    most_bytes: usize,
}

impl Client {
    /// A client of the broker at `base`.
    ///
    /// # Errors
    /// [`Error::Config`] for a URL that is not `https`, or `http` on this machine or network.
    pub fn new(base: &Url) -> Result<Self, Error> {
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(Error::Config(format!("the broker's address {base} must be an https:// or http:// URL")));
        }
        let tls = connect::tls()?;
        Ok(Self { base: base.clone(), pool: connect::pool(&tls, IDLE), tls })
    }

    /// Where the broker is.
    #[must_use]
    pub fn base(&self) -> &Url {
        &self.base
    }

    pub(crate) fn tls(&self) -> &Arc<ClientConfig> {
        &self.tls
    }

    /// Starts a call to `path`, which begins with a slash.
    #[must_use]
    pub fn call(&self, method: Method, path: impl Into<String>) -> Call<'_> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(HeaderName::from_static(header::PROTOCOL), HeaderValue::from(version::CURRENT));
        Call {
            client: self,
            method,
            path: path.into(),
            bearer: None,
            headers,
            body: None,
            timeout: CALL_TIMEOUT,
            most_bytes: MAX_ANSWER_BYTES,
        }
    }
}

/// `base` followed by `path`, whatever slashes they meet with.
pub(crate) fn join(base: &Url, path: &str) -> String {
    format!("{}/{}", base.as_str().trim_end_matches('/'), path.trim_start_matches('/'))
}

impl<'a> Call<'a> {
    /// Shows a key or token.
    #[must_use]
    pub fn bearer(mut self, secret: &'a str) -> Self {
        self.bearer = Some(secret);
        self
    }

    /// Shows the provider key.
    #[must_use]
    pub fn provider(self, key: &'a SecretString) -> Self {
        self.bearer(key.expose_secret())
    }

    /// Expects the documents of a payout: they may be large, and take their time.
    #[must_use]
    pub fn large(self) -> Self {
        Self { timeout: LARGE_TIMEOUT, most_bytes: MAX_LARGE_BYTES, ..self }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sends `value` as JSON.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it can't be written as JSON.
    pub fn json(mut self, value: &impl Serialize) -> Result<Self, Error> {
        let bytes = serde_json::to_vec(value)
            .map_err(|error| Error::Malformed { call: self.path.clone(), reason: error.to_string() })?;
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.body = Some(bytes);
        Ok(self)
    }

    /// Sends bytes that mean nothing.
    #[must_use]
    pub(crate) fn bytes(mut self, bytes: Vec<u8>) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        self.body = Some(bytes);
        self
    }

    /// Sends the call; how many bytes came back.
    ///
    /// # Errors
    /// [`Error::Unreachable`] or [`Error::Refused`].
    pub(crate) async fn length(self) -> Result<usize, Error> {
        self.exchange().await.map(|(_, _, bytes)| bytes.len())
    }

    /// Sends the call and reads a JSON answer with its headers.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Refused`] or [`Error::Malformed`].
    pub async fn send<T: DeserializeOwned>(self) -> Result<(HeaderMap, T), Error> {
        let call = format!("{} {}", self.method, self.path);
        let (_, headers, bytes) = self.exchange().await?;
        let value =
            serde_json::from_slice(&bytes).map_err(|error| Error::Malformed { call, reason: error.to_string() })?;
        Ok((headers, value))
    }

    /// Sends the call and ignores what a success says.
    ///
    /// # Errors
    /// [`Error::Unreachable`] or [`Error::Refused`].
    pub async fn done(self) -> Result<(), Error> {
        self.exchange().await.map(|_| ())
    }

    async fn exchange(self) -> Result<(StatusCode, HeaderMap, bytes::Bytes), Error> {
        let url = join(&self.client.base, &self.path);
        let unreachable = |reason: String| Error::Unreachable { url: url.clone(), reason };
        let mut request = Request::new(self.body.map_or_else(body::empty, body::full));
        *request.method_mut() = self.method;
        *request.uri_mut() = url.parse().map_err(|_| Error::Config(format!("{url} is no URL")))?;
        *request.headers_mut() = self.headers;
        if let Some(secret) = self.bearer {
            let mut value = HeaderValue::from_str(&format!("Bearer {secret}"))
                .map_err(|_| Error::Config("the key holds characters no header can carry".into()))?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let exchange = async {
            let response = self.client.pool.request(request).await.map_err(|e| unreachable(chain(&e)))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, self.most_bytes).collect().await;
            let bytes = body.map_err(|error| unreachable(error.to_string()))?.to_bytes();
            Ok::<_, Error>((head.status, head.headers, bytes))
        };
        let Ok(answer) = tokio::time::timeout(self.timeout, exchange).await else {
            return Err(unreachable(format!("no answer within {} s", self.timeout.as_secs())));
        };
        let (status, headers, bytes) = answer?;
        if status.is_success() { Ok((status, headers, bytes)) } else { Err(refusal(status, &bytes)) }
    }
}

/// The broker's error as it said it, or its first words when it was something else that answered.
pub(crate) fn refusal(status: StatusCode, bytes: &[u8]) -> Error {
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let text = |field: &str| value["error"][field].as_str().map(str::to_owned);
    let message = text("message").unwrap_or_else(|| {
        let words = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).trim().to_owned();
        if words.is_empty() { "no words came with it".to_owned() } else { words }
    });
    Error::Refused { status, code: text("code").unwrap_or_else(|| "-".into()), message }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

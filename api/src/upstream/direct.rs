//! Nodes with a public address, and receivers of webhooks. Redirects are not followed.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderValue, Uri, header};
use http_body_util::combinators::BoxBody;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::lanes;

use super::target::{PublicResolver, check_target, judge};
use super::{NodeRequest, NodeResponse, Refusal, SendError};

/// How direct nodes are called.
#[derive(Debug, Clone, Copy)]
pub struct DirectConfig {
    /// Lets loopback and private addresses and plain HTTP through. For tests and demos only.
    pub allow_private: bool,
    /// Longest wait for a connection: its name, its socket and its TLS together.
    pub connect_timeout: Duration,
    /// Lanes of the server: each keeps connections of its own.
    pub lanes: usize,
}

type HttpClient = Client<Bounded<Https>, BoxBody<Bytes, std::convert::Infallible>>;
type Https = HttpsConnector<HttpConnector<PublicResolver>>;

/// The client for direct nodes: HTTP/1.1 with keep-alive.
#[derive(Clone)]
pub struct Direct {
    /// The shared runtime's, and one for each lane.
    clients: Arc<[HttpClient]>,
    allow_private: bool,
    connect_timeout: Duration,
}

impl Direct {
    /// A client with an empty pool.
    #[must_use]
    pub fn new(config: DirectConfig) -> Self {
        let mut http = HttpConnector::new_with_resolver(PublicResolver { allow_private: config.allow_private });
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(Duration::from_secs(30)));
        http.set_connect_timeout(Some(config.connect_timeout));
        let https = hyper_rustls::HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = || {
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(Duration::from_secs(60))
                .build(Bounded { inner: https.clone(), limit: config.connect_timeout })
        };
        let clients = (0..=config.lanes).map(|_| client()).collect();
        Self { clients, allow_private: config.allow_private, connect_timeout: config.connect_timeout }
    }

    /// Sends a request to `base_url` + the request's path.
    ///
    /// # Errors
    /// [`SendError`]; nothing was answered.
    pub async fn send(
        &self,
        base_url: &str,
        key: Option<&str>,
        mut request: NodeRequest,
    ) -> Result<NodeResponse, SendError> {
        *request.uri_mut() = self.target(base_url, request.uri())?;
        if let Some(key) = key {
            let mut bearer = HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| Refusal::Url)?;
            bearer.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, bearer);
        }
        self.call(request).await
    }

    /// Sends a request to exactly `url`, by the same rules.
    ///
    /// # Errors
    /// [`SendError`]; nothing was answered.
    pub async fn send_to(&self, url: &str, mut request: NodeRequest) -> Result<NodeResponse, SendError> {
        check_target(url, self.allow_private)?;
        *request.uri_mut() = url.parse().map_err(|_| Refusal::Url)?;
        self.call(request).await
    }

    async fn call(&self, request: NodeRequest) -> Result<NodeResponse, SendError> {
        let client = self.clients.get(lanes::here()).unwrap_or(&self.clients[0]);
        client.request(request).await.map_err(|error| {
            if error.is_connect() && is_timeout(&error) {
                SendError::ConnectTimeout(self.connect_timeout)
            } else {
                SendError::Broken(error.into())
            }
        })
    }

    fn target(&self, base_url: &str, path: &Uri) -> Result<Uri, Refusal> {
        let base: Uri = base_url.parse().map_err(|_| Refusal::Url)?;
        let authority: &Authority = base.authority().ok_or(Refusal::Url)?;
        // A literal address never reaches the resolver, so it is judged here, on every call.
        if let Ok(literal) = authority.host().trim_matches(['[', ']']).parse::<IpAddr>() {
            judge(literal, self.allow_private)?;
        }
        let prefix = base.path().trim_end_matches('/');
        let prefix = prefix.strip_suffix("/v1").unwrap_or(prefix);
        let scheme = base.scheme_str().ok_or(Refusal::Url)?;
        let target = format!("{scheme}://{authority}{prefix}{}", path.path());
        target.parse().map_err(|_| Refusal::Url)
    }
}

fn is_timeout(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::TimedOut) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A connector whose whole work has one limit. The library's own covers the socket only, and a name that never
/// resolves or a handshake that never ends would hold an attempt for as long as a first token may take.
#[derive(Clone)]
struct Bounded<C> {
    inner: C,
    limit: Duration,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<C> tower::Service<Uri> for Bounded<C>
where
    C: tower::Service<Uri>,
    C::Error: Into<BoxError>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let connecting = tokio::time::timeout(self.limit, self.inner.call(target));
        Box::pin(async move {
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, "connecting took too long");
            connecting.await.map_err(late)?.map_err(Into::into)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_that_never_ends_its_handshake_is_given_up_within_the_limit() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("https://{}/v1", silent.local_addr().unwrap());
        let limit = Duration::from_millis(200);
        let direct = Direct::new(DirectConfig { allow_private: true, connect_timeout: limit, lanes: 0 });
        let request = http::Request::post("http://node/v1/chat/completions");
        let request = request.body(BoxBody::new(http_body_util::Empty::new())).unwrap();
        let sent = tokio::time::timeout(10 * limit, direct.send(&base_url, None, request)).await;
        let error = sent.expect("the limit covers TLS as well").unwrap_err();
        assert!(matches!(error, SendError::ConnectTimeout(told) if told == limit), "{error:?}");
        assert!(error.is_unsent());
    }

    #[test]
    fn a_literal_address_is_judged_at_each_call_too() {
        let direct =
            Direct::new(DirectConfig { allow_private: false, connect_timeout: Duration::from_secs(1), lanes: 0 });
        let path = Uri::from_static("/v1/chat/completions");
        assert!(matches!(direct.target("https://127.0.0.1:1/v1", &path), Err(Refusal::Private(_))));
        let target = direct.target("https://gpu.example/api/v1/", &path).unwrap();
        assert_eq!(target.to_string(), "https://gpu.example/api/v1/chat/completions");
    }
}

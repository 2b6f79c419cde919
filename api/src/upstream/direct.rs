//! Nodes with a public address. A provider names the URL, so it is data: only public addresses are
//! called, redirects are not followed, and what was checked is what is connected to.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
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
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use url::{Host, Url};

use crate::lanes;

use super::{NodeRequest, NodeResponse, SendError};

/// Why an address is not called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a URL this gateway can call.
    #[error("not an absolute https URL without credentials, query or fragment")]
    Url,
    /// Plain HTTP to the outside.
    #[error("plain http is only for addresses that providers.allow_private admits")]
    Plain,
    /// An address inside some network.
    #[error("{0} is not a public address")]
    Private(IpAddr),
}

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

/// Checks a URL when a provider registers it; the same rules hold again at each call.
///
/// # Errors
/// [`Refusal`] with the reason.
pub fn check_url(text: &str, allow_private: bool) -> Result<(), Refusal> {
    let url = Url::parse(text).map_err(|_| Refusal::Url)?;
    if url.query().is_some() {
        return Err(Refusal::Url);
    }
    check(&url, allow_private)
}

/// Checks a URL that is called as it stands, query and all.
///
/// # Errors
/// [`Refusal`] with the reason.
pub fn check_target(text: &str, allow_private: bool) -> Result<(), Refusal> {
    check(&Url::parse(text).map_err(|_| Refusal::Url)?, allow_private)
}

fn check(url: &Url, allow_private: bool) -> Result<(), Refusal> {
    let bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    if !bare || !matches!(url.scheme(), "https" | "http") {
        return Err(Refusal::Url);
    }
    if url.scheme() == "http" && !allow_private {
        return Err(Refusal::Plain);
    }
    match url.host().ok_or(Refusal::Url)? {
        Host::Ipv4(ip) => judge(ip.into(), allow_private),
        Host::Ipv6(ip) => judge(ip.into(), allow_private),
        Host::Domain(_) => Ok(()),
    }
}

fn judge(ip: IpAddr, allow_private: bool) -> Result<(), Refusal> {
    if allow_private || is_public(ip) { Ok(()) } else { Err(Refusal::Private(ip)) }
}

/// Whether an address is routed on the public internet, by the special-purpose registries (RFC 6890).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        // An IPv4 address in IPv6 clothes is judged as what it is.
        IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or_else(|| is_public_v6(ip), is_public_v4),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_broadcast()
        || ip.is_documentation()
        || ip.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b)) // carrier-grade NAT
        || (a == 198 && (18..20).contains(&b)) // benchmarks
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99);
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    // Only 2000::/3 is global unicast; inside it, documentation, 6to4 and Teredo can hide inner addresses.
    let global = segments[0] & 0xe000 == 0x2000;
    let hidden = segments[0] == 0x2002 || (segments[0] == 0x2001 && (segments[1] < 0x200 || segments[1] == 0xdb8));
    global && !hidden
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

/// Resolves names and refuses those with any address inside some network: what passes is connected to as is.
#[derive(Debug, Clone, Copy)]
struct PublicResolver {
    allow_private: bool,
}

impl tower::Service<Name> for PublicResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            for address in &found {
                judge(address.ip(), allow_private).map_err(std::io::Error::other)?;
            }
            Ok(found.into_iter())
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
    fn only_public_addresses_are_called() {
        let inside = [
            "http://127.0.0.1/v1",
            "https://127.0.0.1/v1",
            "https://10.0.0.1",
            "https://169.254.169.254/latest",
            "https://[::1]/v1",
            "https://[::ffff:127.0.0.1]",
            "https://[fd00::1]",
            "https://100.64.0.1",
            "https://0.0.0.0",
            "https://192.168.1.1",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://[2002:7f00:1::]",
            "https://224.0.0.1",
        ];
        for url in inside {
            assert!(check_url(url, false).is_err(), "{url}");
        }
        for url in
            ["ftp://example.com", "https://user@example.com", "https://example.com?x=1", "example.com", "https://"]
        {
            assert_eq!(check_url(url, true), Err(Refusal::Url), "{url}");
        }
        check_url("https://93.184.215.14/v1", false).unwrap();
        check_url("https://gpu.example/v1", false).unwrap();
        check_url("http://127.0.0.1:8080/v1", true).unwrap();
        check_target("https://gpu.example/hook?token=x", false).unwrap();
        assert!(matches!(check_target("https://10.0.0.1/hook?token=x", false), Err(Refusal::Private(_))));
        assert_eq!(check_target("http://gpu.example/hook", false), Err(Refusal::Plain));
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

    #[tokio::test]
    async fn a_name_that_leads_inside_is_refused() {
        use std::str::FromStr;
        let mut resolver = PublicResolver { allow_private: false };
        let error = tower::Service::call(&mut resolver, Name::from_str("localhost").unwrap()).await.unwrap_err();
        assert!(error.to_string().contains("not a public address"), "{error}");
    }
}

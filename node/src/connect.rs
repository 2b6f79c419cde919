//! Sockets to the broker and the engine: plain for this machine, TLS with the public roots otherwise.

use std::sync::Arc;
use std::time::Duration;

use hyper::rt::{Read, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use url::Url;

use crate::Error;
use crate::body::Body;

/// A broker or engine that takes longer than this to accept a connection is down or far overloaded.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client that keeps connections for reuse.
pub(crate) type Pool = Client<HttpsConnector<HttpConnector>, Body>;

/// Any open byte stream.
pub(crate) trait Stream: Read + Write + Send + Unpin {}
impl<T: Read + Write + Send + Unpin> Stream for T {}

/// TLS as every outgoing connection of a node speaks it.
pub(crate) fn tls() -> Result<Arc<ClientConfig>, Error> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Config(format!("TLS can't be set up: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// A pooling client; idle connections are closed after `idle`.
pub(crate) fn pool(tls: &Arc<ClientConfig>, idle: Duration) -> Pool {
    let mut http = HttpConnector::new();
    http.set_nodelay(true);
    http.enforce_http(false);
    http.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls.as_ref().clone())
        .https_or_http()
        .enable_http1()
        .wrap_connector(http);
    Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).pool_idle_timeout(idle).build(connector)
}

/// One connection of its own, for a tunnel.
pub(crate) async fn dial(url: &Url, tls: &Arc<ClientConfig>) -> Result<Box<dyn Stream>, Error> {
    let unreachable = |reason: String| Error::Unreachable { url: url.to_string(), reason };
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(Error::Config(format!("{url} names no host")));
    };
    // An IPv6 literal stands in brackets in a URL and nowhere else.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect((host, port)));
    let socket = match connecting.await {
        Ok(Ok(socket)) => socket,
        Ok(Err(error)) => return Err(unreachable(error.to_string())),
        Err(_) => return Err(unreachable("connecting took more than 5 s".into())),
    };
    // Without this, small frames wait for the acknowledgement of the ones before.
    socket.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
    if url.scheme() == "http" {
        return Ok(Box::new(TokioIo::new(socket)));
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|error| unreachable(error.to_string()))?;
    let handshake = tokio_rustls::TlsConnector::from(tls.clone()).connect(name, socket);
    match tokio::time::timeout(CONNECT_TIMEOUT, handshake).await {
        Ok(Ok(stream)) => Ok(Box::new(TokioIo::new(stream))),
        Ok(Err(error)) => Err(unreachable(format!("TLS: {error}"))),
        Err(_) => Err(unreachable("the TLS handshake took more than 5 s".into())),
    }
}

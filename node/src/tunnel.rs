//! Tunnels: the node dials, then the roles turn round and the broker calls over HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONNECTION, HOST, HeaderName, HeaderValue, UPGRADE};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use protocol::{Env, NodeId, header, version};
use rustls::ClientConfig;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use crate::config::Carrier;
use crate::connect::{self, Stream};
use crate::credit::ReplicaName;
use crate::serve::{self, Door, Site, TunnelDoor};
use crate::session::{Backoff, Token};
use crate::{Error, websocket};

/// How long the broker may take to agree to a tunnel.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// First and longest wait before dialling again: a restarted broker has its nodes back within seconds,
/// and a broker that is down for long is not hammered.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// A tunnel that held this long did not fail for the reason the last one did.
const STABLE: Duration = Duration::from_secs(10);
/// Answers still on their way when the node closes its tunnels.
const CLOSING: Duration = Duration::from_secs(2);
/// Bytes of one stream that may wait for a broker that reads slowly: a few hundred chunks.
const SEND_BUFFER: usize = 64 << 10;
/// Words of a refusal worth reading.
const MAX_REFUSAL_BYTES: usize = 64 << 10;

/// Everything the tunnels to one broker address share.
pub(crate) struct Link {
    pub(crate) url: Url,
    pub(crate) path: String,
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) site: Arc<Site>,
    pub(crate) token: Token,
    pub(crate) carrier: Carrier,
    pub(crate) name: Arc<Mutex<ReplicaName>>,
    /// Tunnels open now, over all addresses.
    pub(crate) open: watch::Sender<u32>,
    pub(crate) env: Env,
}

/// Counts a tunnel while it is open.
struct Counted<'a>(&'a watch::Sender<u32>);

impl<'a> Counted<'a> {
    fn new(open: &'a watch::Sender<u32>) -> Self {
        open.send_modify(|open| *open += 1);
        Self(open)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

/// An agreed tunnel: its bytes, and what the replica at its other end is called.
type Opened = (Box<dyn Stream>, Option<ReplicaName>);

/// No tunnel this time.
struct Missed {
    error: Error,
    /// Something between here and the broker may have been in the way: another carrier may pass it.
    between: bool,
}

impl From<Error> for Missed {
    fn from(error: Error) -> Self {
        // The broker itself knows what it refuses; a 400 or 426 from it means that our upgrade got lost.
        let between = match &error {
            Error::Refused { status, code, .. } => {
                code == "-" || matches!(*status, StatusCode::BAD_REQUEST | StatusCode::UPGRADE_REQUIRED)
            }
            _ => false,
        };
        Self { error, between }
    }
}

/// The path of a node's tunnel.
pub(crate) fn path(provider: protocol::ProviderId, node: NodeId) -> String {
    format!("/v1/providers/{provider}/nodes/{node}/tunnel")
}

/// Keeps one tunnel open until told to stop.
pub(crate) async fn keep(link: Arc<Link>, shutdown: CancellationToken) {
    let mut backoff = Backoff::new(link.env.seed(), FIRST_WAIT, LONGEST_WAIT);
    let preferred = link.carrier == Carrier::Websocket;
    let mut websocket = preferred;
    loop {
        let started = Instant::now();
        let result = tokio::select! {
            () = shutdown.cancelled() => return,
            result = open(link.clone(), websocket) => result,
        };
        match result {
            Ok((io, replica)) => {
                tracing::info!(broker.url = %link.url, replica = replica.as_deref(), websocket, "tunnel open");
                serve(link.clone(), io, replica, shutdown.clone()).await;
                if shutdown.is_cancelled() {
                    return;
                }
                tracing::warn!(broker.url = %link.url, "tunnel lost");
                // What was in the way then need not be now.
                websocket = preferred;
            }
            Err(Missed { error, between }) => {
                tracing::warn!(%error, broker.url = %link.url, websocket, "no tunnel");
                websocket ^= between && link.carrier == Carrier::Auto;
            }
        }
        if started.elapsed() >= STABLE {
            backoff.reset();
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = backoff.wait() => {}
        }
    }
}

/// Dials, asks for the upgrade, and takes the stream with every byte that came after the answer.
async fn open(link: Arc<Link>, websocket: bool) -> Result<Opened, Missed> {
    let bearer = link.token.get().await;
    let io = connect::dial(&link.url, &link.tls).await?;
    let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, shake(&link, io, &bearer, websocket)).await;
    shaken.unwrap_or_else(|_| Err(in_between(&link, "the tunnel was not agreed on within 10 s")))
}

/// The connection stood, and then it broke or fell silent.
fn in_between(link: &Link, reason: &str) -> Missed {
    Missed { error: unreachable(link, reason), between: true }
}

async fn shake(link: &Link, io: Box<dyn Stream>, bearer: &str, websocket: bool) -> Result<Opened, Missed> {
    let broken = |error: hyper::Error| in_between(link, &crate::client::chain(&error));
    let (mut sender, connection) = http1::handshake::<_, Empty<bytes::Bytes>>(io).await.map_err(broken)?;
    // Ends by itself once the stream is handed over, and with this function if it never is.
    let _driver = AbortOnDropHandle::new(tokio::spawn(connection.with_upgrades()));
    let mut request = request(link, bearer)?;
    let accept = websocket.then(|| websocket::ask(request.headers_mut()));
    let response = sender.send_request(request).await.map_err(broken)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refusal(link, bearer, response).await);
    }
    if accept.as_ref().is_some_and(|accept| !websocket::accepted(response.headers(), accept)) {
        return Err(in_between(link, "the answer belongs to another WebSocket"));
    }
    let replica = response.headers().get(header::REPLICA).and_then(|name| name.to_str().ok());
    let replica = replica.map(ReplicaName::from);
    let upgraded = hyper::upgrade::on(response).await.map_err(broken)?;
    Ok((if websocket { websocket::inside(upgraded).await } else { Box::new(upgraded) }, replica))
}

fn unreachable(link: &Link, reason: &str) -> Error {
    Error::Unreachable { url: link.url.to_string(), reason: reason.to_owned() }
}

fn request(link: &Link, bearer: &str) -> Result<Request<Empty<bytes::Bytes>>, Error> {
    let wrong = |what: &str| Error::Config(format!("{what} can't be carried in a header"));
    let mut request = Request::new(Empty::new());
    let base = link.url.path().trim_end_matches('/');
    *request.uri_mut() = format!("{base}{}", link.path).parse().map_err(|_| wrong("the broker's path"))?;
    let host = match link.url.port() {
        Some(port) => format!("{}:{port}", link.url.host_str().unwrap_or_default()),
        None => link.url.host_str().unwrap_or_default().to_owned(),
    };
    let mut bearer = HeaderValue::from_str(&format!("Bearer {bearer}")).map_err(|_| wrong("the token"))?;
    bearer.set_sensitive(true);
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_str(&host).map_err(|_| wrong("the broker's host"))?);
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(header::TUNNEL_UPGRADE));
    headers.insert(HeaderName::from_static(header::PROTOCOL), HeaderValue::from(version::CURRENT));
    headers.insert(AUTHORIZATION, bearer);
    Ok(request)
}

async fn refusal(link: &Link, bearer: &str, response: http::Response<hyper::body::Incoming>) -> Missed {
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_REFUSAL_BYTES).collect().await;
    let bytes = body.map(|body| body.to_bytes()).unwrap_or_default();
    let missed = Missed::from(crate::client::refusal(status, &bytes));
    // What stands in between knows nothing of our token.
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) && !missed.between {
        link.token.refuse(bearer);
    }
    missed
}

/// Answers the broker's requests until the tunnel breaks or the node stops.
async fn serve(link: Arc<Link>, io: Box<dyn Stream>, replica: Option<ReplicaName>, shutdown: CancellationToken) {
    let _counted = Counted::new(&link.open);
    let door = Arc::new(Door::Tunnel(TunnelDoor::new(&link.site.gate, &link.name, replica)));
    let site = link.site.clone();
    let service = service_fn(move |request| serve::handle(site.clone(), door.clone(), request));
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(serve::MAX_STREAMS)
        .max_pending_accept_reset_streams(serve::MAX_PENDING_RESETS)
        .max_local_error_reset_streams(serve::LATE_FRAMES)
        .initial_stream_window_size(serve::STREAM_WINDOW)
        .initial_connection_window_size(serve::CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(serve::PING_INTERVAL)
        .keep_alive_timeout(serve::PING_TIMEOUT);
    let connection = builder.serve_connection(io, service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            // A standing stream never ends by itself, so this wait does.
            tokio::time::timeout(CLOSING, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %crate::client::chain(&error), broker.url = %link.url, "a tunnel broke");
    }
}

//! What a node answers, in a tunnel or on a port of its own: work, the control stream, its health.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use protocol::{Env, header};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::body::{self, Body};
use crate::credit::ReplicaName;
use crate::engine::Engine;
use crate::gate::{Gate, Presence};
use crate::reports::Reporter;
use crate::{control, work};

/// Streams of one connection: about what a gateway opens on one tunnel, so a failure stays small.
pub(crate) const MAX_STREAMS: u32 = 512;
/// Bytes of a request body a peer may send ahead, per stream and per connection.
pub(crate) const STREAM_WINDOW: u32 = 1 << 20;
pub(crate) const CONNECTION_WINDOW: u32 = 16 << 20;
/// A gateway that cancels many streams during a stall must not lose the connection over it.
pub(crate) const MAX_PENDING_RESETS: usize = 100_000;
/// What arrives for streams this side has ended already is a gateway's frames under way, not an attack.
pub(crate) const LATE_FRAMES: usize = 100_000;
/// A peer that is gone is noticed within the sum of the two.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(5);
pub(crate) const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Most connections a node's own port serves at once.
const MAX_CONNECTIONS: usize = 1_024;
/// How long answers on a closing port may take beyond the drain.
const CLOSING: Duration = Duration::from_secs(2);

/// What answering needs, shared by all connections of a node.
pub(crate) struct Site {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) gate: Gate,
    pub(crate) reporter: Reporter,
    pub(crate) env: Env,
}

/// Where a request came in.
pub(crate) enum Door {
    /// Through a tunnel this node dialled.
    Tunnel(TunnelDoor),
    /// At the node's own port; the key the broker must show.
    Port(Option<SecretString>),
}

/// The peer of one tunnel, which may name itself late.
pub(crate) struct TunnelDoor {
    gate: Gate,
    /// What the last peer on any tunnel to the same URL called itself.
    link: Arc<Mutex<ReplicaName>>,
    peer: Mutex<Peer>,
}

struct Peer {
    presence: Presence,
    /// Whether this very tunnel's peer gave its name.
    named: bool,
}

impl TunnelDoor {
    /// A tunnel whose peer is called `named`, or whatever is known of its URL.
    pub(crate) fn new(gate: &Gate, link: &Arc<Mutex<ReplicaName>>, named: Option<ReplicaName>) -> Self {
        let is_named = named.is_some();
        if let Some(name) = named {
            *link.lock() = name;
        }
        let presence = gate.attach(link.lock().clone());
        Self { gate: gate.clone(), link: link.clone(), peer: Mutex::new(Peer { presence, named: is_named }) }
    }

    /// The replica a request comes from.
    fn replica(&self, headers: &HeaderMap) -> ReplicaName {
        let named = headers.get(header::REPLICA).and_then(|value| value.to_str().ok());
        let mut peer = self.peer.lock();
        if let Some(named) = named {
            peer.named = true;
            if named != &**peer.presence.replica() {
                let name = ReplicaName::from(named);
                peer.presence = self.gate.attach(name.clone());
                *self.link.lock() = name;
            }
        } else if !peer.named {
            let link = self.link.lock().clone();
            if *peer.presence.replica() != link {
                peer.presence = self.gate.attach(link);
            }
        }
        peer.presence.replica().clone()
    }
}

/// Answers one request. Never fails: every trouble is an answer.
pub(crate) async fn handle(
    site: Arc<Site>,
    door: Arc<Door>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let request = request.map(body::boxed);
    let replica = match &*door {
        Door::Tunnel(tunnel) => Some(tunnel.replica(request.headers())),
        Door::Port(key) if allowed(key.as_ref(), request.headers()) => None,
        Door::Port(_) => {
            let message = "this node answers its broker only";
            return Ok(body::error(
                StatusCode::UNAUTHORIZED,
                "invalid_request_error",
                Some("invalid_api_key"),
                message,
            ));
        }
    };
    Ok(match (request.method(), request.uri().path()) {
        (&Method::GET, header::HEALTH_PATH) => health(&site),
        (&Method::POST, header::CONTROL_PATH) => match replica {
            Some(replica) => control::answer(&site.gate, &site.engine, replica, request),
            None => unknown("credits are granted inside tunnels only"),
        },
        (_, path) if path.starts_with("/v1/") => work::answer(&site, replica.as_ref(), request).await,
        _ => unknown("a node answers /v1/… and /steelyard/v1/… only"),
    })
}

fn unknown(message: &str) -> Response<Body> {
    body::error(StatusCode::NOT_FOUND, "invalid_request_error", Some("unknown_url"), message)
}

fn health(site: &Site) -> Response<Body> {
    let state = if site.gate.draining() { "draining" } else { "ok" };
    let told = serde_json::json!({
        "status": state, "engine_ready": site.engine.ready(),
        "running": site.gate.running(), "slots": site.gate.slots(),
    });
    body::json(StatusCode::OK, &told)
}

/// Compares in a time that does not depend on where the first difference lies.
fn allowed(key: Option<&SecretString>, headers: &HeaderMap) -> bool {
    let Some(key) = key else { return true };
    let shown = headers.get(AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
    let shown = shown.strip_prefix(b"Bearer ").unwrap_or_default();
    bool::from(shown.ct_eq(key.expose_secret().as_bytes()))
}

/// Serves a port of the node's own, HTTP/1.1 and HTTP/2, until told to stop.
pub(crate) async fn listen(
    site: Arc<Site>,
    listener: TcpListener,
    key: Option<SecretString>,
    shutdown: CancellationToken,
) {
    let door = Arc::new(Door::Port(key));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => accepted,
            _ = connections.join_next(), if connections.len() >= MAX_CONNECTIONS => continue,
        };
        match accepted {
            Ok((socket, _)) => {
                let _ = socket.set_nodelay(true);
                connections.spawn(connection(site.clone(), door.clone(), socket, shutdown.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    let ended = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(CLOSING, ended).await;
}

async fn connection(site: Arc<Site>, door: Arc<Door>, socket: tokio::net::TcpStream, shutdown: CancellationToken) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let service = service_fn(move |request| handle(site.clone(), door.clone(), request));
    let connection = builder.serve_connection(TokioIo::new(socket), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "a connection ended badly");
    }
}

//! A node dials in: the connection is upgraded, and from then on the node serves and we ask.

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::rt::{Read, Write};
use hyper::upgrade::OnUpgrade;
use protocol::session::NodeMode;
use protocol::{NodeId, header as ours, version};

use super::nodes;
use crate::error::ApiError;
use crate::extract::NodeCaller;
use crate::state::AppState;
use crate::upstream::{Tunnel, accept_websocket, drive_control, inside_websocket};

/// What carries a tunnel's bytes.
enum Carrier {
    /// The connection itself.
    Upgrade,
    /// A WebSocket on it, accepted with this.
    WebSocket(HeaderValue),
}

/// The tunnel route.
pub fn routes() -> Router<AppState> {
    Router::new().route("/providers/{provider}/nodes/{node}/tunnel", get(open))
}

/// Upgrades to a tunnel. The session token names the node; the path must agree with it.
#[tracing::instrument(name = "api.tunnel.open", skip_all, fields(node.id = %caller.node))]
async fn open(State(app): State<AppState>, caller: NodeCaller, mut request: Request) -> Result<Response, ApiError> {
    let carrier = carrier(request.headers())?;
    let spoken = request.headers().get(ours::PROTOCOL).and_then(|value| value.to_str().ok());
    let spoken = version::negotiate(spoken).map_err(|error| ApiError::invalid(None, error.to_string()))?;
    let node = nodes::present(&mut *app.db.acquire().await?, caller.provider, caller.node).await?;
    if node.mode == NodeMode::Direct {
        let message = "a direct node is called at its base_url and opens no tunnel; register it with mode tunnel first";
        return Err(ApiError::invalid_state(message));
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let (node, owner, websocket) = (caller.node, app.clone(), matches!(carrier, Carrier::WebSocket(_)));
    app.shutdown.spawn(async move { upgraded(owner, node, upgrade, websocket).await });
    // A node that dials through a balancer learns here whose tunnel this is.
    let replica = HeaderValue::try_from(app.billing.boot().to_string()).map_err(|error| ApiError::internal(&error))?;
    let headers = [
        (header::HeaderName::from_static(ours::REPLICA), replica),
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::HeaderName::from_static(ours::PROTOCOL), HeaderValue::from(spoken)),
    ];
    let tunnel = HeaderValue::from_static(ours::TUNNEL_UPGRADE);
    let agreed = match carrier {
        Carrier::Upgrade => [(header::UPGRADE, tunnel)].into_response(),
        Carrier::WebSocket(accept) => [
            (header::UPGRADE, HeaderValue::from_static("websocket")),
            (header::SEC_WEBSOCKET_ACCEPT, accept),
            (header::SEC_WEBSOCKET_PROTOCOL, tunnel),
        ]
        .into_response(),
    };
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers, agreed).into_response())
}

fn carrier(headers: &HeaderMap) -> Result<Carrier, ApiError> {
    let asked = headers
        .get(header::UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(ours::TUNNEL_UPGRADE.as_bytes()));
    if asked {
        return Ok(Carrier::Upgrade);
    }
    accept_websocket(headers).map(Carrier::WebSocket).ok_or_else(|| {
        ApiError::invalid(
            None,
            "this URL is for steelyard-node: send `connection: upgrade` and `upgrade: steelyard-h2`, or open a WebSocket",
        )
    })
}

/// `Upgraded` replays what the node sent right behind its request.
async fn upgraded(app: AppState, node: NodeId, upgrade: OnUpgrade, websocket: bool) {
    match upgrade.await {
        Ok(upgraded) if websocket => hold(app, node, inside_websocket(upgraded).await).await,
        Ok(upgraded) => hold(app, node, upgraded).await,
        Err(error) => tracing::debug!(node.id = %node, %error, "a tunnel was never upgraded"),
    }
}

/// Keeps one tunnel until it breaks or the broker stops. Whichever tunnel of the node is free to takes the
/// control stream; when that one breaks the next takes over.
async fn hold(app: AppState, node: NodeId, io: impl Read + Write + Unpin + Send + 'static) {
    let (tunnel, drive) = match Tunnel::open(node, io, app.upstreams.closing().clone()).await {
        Ok(opened) => opened,
        Err(error) => return tracing::debug!(node.id = %node, %error, "a tunnel did not speak HTTP/2"),
    };
    let Some(_registered) = app.upstreams.register(node, &tunnel) else {
        return tracing::warn!(node.id = %node, "the node opened more tunnels than it may");
    };
    let _presence = app.scheduler.connected(node);
    tracing::info!(node.id = %node, tunnels = app.upstreams.tunnels(node), "a tunnel opened");
    tokio::select! {
        () = drive => {}
        () = drive_control(&app, node, &tunnel) => {}
        () = app.removals.of(node) => {}
        () = app.upstreams.closing().cancelled() => {}
    }
    tracing::info!(node.id = %node, "a tunnel closed");
}

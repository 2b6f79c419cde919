//! How a node is reached: through the tunnels it dialled, or at its public URL. One way to speak: HTTP.

mod control;
mod cut;
mod direct;
mod pool;
mod target;
mod tunnel;
mod websocket;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use protocol::NodeId;

pub use control::{Turn, drive as drive_control};
pub use direct::{Direct, DirectConfig};
pub use pool::{Answer, Registered, Upstreams};
pub use target::{Refusal, check_target, check_url, is_public};
pub use tunnel::Tunnel;
pub use websocket::{accept as accept_websocket, inside as inside_websocket};

/// A request to a node.
pub type NodeRequest = Request<BoxBody<Bytes, std::convert::Infallible>>;

/// Where one node is.
#[derive(Debug, Clone)]
pub enum Route {
    /// Through whichever tunnel of the node is least busy.
    Tunnel(NodeId),
    /// At its own address.
    Direct {
        /// Such as `https://gpu.example/v1`.
        base_url: Arc<str>,
        /// Shown as a bearer token, where the node asks for one.
        key: Option<Arc<str>>,
    },
}

/// Why a node could not be reached. Nothing of the request has taken effect when it says so.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No live tunnel.
    #[error("the node has no open tunnel")]
    NoTunnel,
    /// Every tunnel carries as many streams as it may.
    #[error("the node's tunnels are full")]
    Full,
    /// No connection or stream within the limit.
    #[error("connecting took longer than {0:?}")]
    ConnectTimeout(Duration),
    /// The address may not be called.
    #[error("the node's address may not be called: {0}")]
    Refused(#[from] Refusal),
    /// The connection broke before an answer came.
    #[error("the connection to the node broke")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl SendError {
    /// Whether nothing of the request has left: its credit was never used. A connection that broke may have
    /// carried it.
    #[must_use]
    pub const fn is_unsent(&self) -> bool {
        match self {
            Self::NoTunnel | Self::Full | Self::ConnectTimeout(_) | Self::Refused(_) => true,
            Self::Broken(_) => false,
        }
    }
}

/// An answer's head and its body, still arriving.
pub type NodeResponse = Response<Incoming>;

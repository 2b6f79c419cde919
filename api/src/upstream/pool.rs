//! Which tunnels are open, by node.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::body::Incoming;
use papaya::HashMap;
use protocol::NodeId;
use tokio_util::sync::CancellationToken;

use super::control::Turn;
use super::direct::Direct;
use super::tunnel::{Place, Tunnel};
use super::{NodeRequest, NodeResponse, Route, SendError};

/// Tunnels one node may hold open to one replica.
pub const MAX_TUNNELS_PER_NODE: usize = 8;

type Tunnels = ArcSwap<Vec<Arc<Tunnel>>>;

/// Every way out of this replica. Cheap to clone.
#[derive(Clone)]
pub struct Upstreams(Arc<Inner>);

struct Inner {
    tunnels: HashMap<NodeId, Arc<Tunnels>>,
    turns: HashMap<NodeId, Turn>,
    direct: Direct,
    closed: CancellationToken,
}

/// A tunnel's entry in the pool; leaves it on drop.
pub struct Registered {
    pool: Upstreams,
    node: NodeId,
    tunnel: Arc<Tunnel>,
}

/// An answer, and what must live as long as its body.
pub struct Answer {
    /// Head and body.
    pub response: NodeResponse,
    /// The stream's place in its tunnel.
    pub place: Option<Place>,
}

impl Answer {
    /// What is still arriving.
    pub fn body(&mut self) -> &mut Incoming {
        self.response.body_mut()
    }
}

impl Upstreams {
    /// No tunnels yet.
    #[must_use]
    pub fn new(direct: Direct) -> Self {
        let closed = CancellationToken::new();
        Self(Arc::new(Inner { tunnels: HashMap::new(), turns: HashMap::new(), direct, closed }))
    }

    /// Tunnels of `node` that are open to this replica.
    #[must_use]
    pub fn tunnels(&self, node: NodeId) -> u32 {
        let tunnels = self.0.tunnels.pin();
        let live = tunnels.get(&node).map_or(0, |list| list.load().iter().filter(|tunnel| tunnel.is_live()).count());
        u32::try_from(live).unwrap_or(u32::MAX)
    }

    /// Ends every tunnel for good, with what is under way in it.
    pub fn close(&self) {
        self.0.closed.cancel();
    }

    /// Cancelled by [`Upstreams::close`]; whoever cancels it closes.
    #[must_use]
    pub fn closing(&self) -> &CancellationToken {
        &self.0.closed
    }

    /// Who carries the node's control stream: one tunnel at a time.
    #[must_use]
    pub fn turn(&self, node: NodeId) -> Turn {
        Arc::clone(self.0.turns.pin().get_or_insert_with(node, Turn::default))
    }

    /// Adds a tunnel, or `None` when the node already holds as many as it may.
    #[must_use]
    pub fn register(&self, node: NodeId, tunnel: &Arc<Tunnel>) -> Option<Registered> {
        let map = self.0.tunnels.pin();
        let list = map.get_or_insert_with(node, || Arc::new(ArcSwap::from_pointee(Vec::new())));
        let mut fits = false;
        list.rcu(|old| {
            let mut live: Vec<_> = old.iter().filter(|tunnel| tunnel.is_live()).cloned().collect();
            fits = live.len() < MAX_TUNNELS_PER_NODE;
            if fits {
                live.push(Arc::clone(tunnel));
            }
            live
        });
        fits.then(|| Registered { pool: self.clone(), node, tunnel: Arc::clone(tunnel) })
    }

    /// Sends a request on the node's least busy tunnel, or to its address. `connect` bounds the wait for a
    /// stream; connections to addresses have the limit of [`super::DirectConfig`].
    ///
    /// # Errors
    /// [`SendError`]; nothing was answered.
    pub async fn send(&self, route: &Route, request: NodeRequest, connect: Duration) -> Result<Answer, SendError> {
        match route {
            Route::Tunnel(node) => {
                let place = self.enter(*node)?;
                let response = place.send(request, connect).await?;
                Ok(Answer { response, place: Some(place) })
            }
            Route::Direct { base_url, key } => {
                let response = self.0.direct.send(base_url, key.as_deref(), request).await?;
                Ok(Answer { response, place: None })
            }
        }
    }

    fn enter(&self, node: NodeId) -> Result<Place, SendError> {
        let list = self.0.tunnels.pin().get(&node).map(|list| list.load_full()).ok_or(SendError::NoTunnel)?;
        let live = || list.iter().filter(|tunnel| tunnel.is_live());
        let calmest = live().min_by_key(|tunnel| tunnel.streams()).ok_or(SendError::NoTunnel)?;
        calmest.enter().or_else(|| live().find_map(Tunnel::enter)).ok_or(SendError::Full)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let map = self.pool.0.tunnels.pin();
        if let Some(list) = map.get(&self.node) {
            list.rcu(|old| {
                let others = old.iter().filter(|tunnel| !Arc::ptr_eq(tunnel, &self.tunnel));
                others.cloned().collect::<Vec<_>>()
            });
        }
    }
}

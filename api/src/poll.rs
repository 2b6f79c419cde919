//! Direct nodes beside which nobody runs `steelyard-node`: what they list is read every minute and becomes their
//! offers. A node that sends heartbeats puts its offers itself and is left alone.

mod document;

use std::collections::HashMap;
use std::time::Duration;

use http::{Method, Request, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use platform::worker::{Next, Worker};
use protocol::event::Event;
use protocol::offer::OfferSpec;
use protocol::{NodeId, Timestamp};
use scheduler::provider::{Node, NodeState, UpstreamKey};
use scheduler::store::{nodes, offers};
use tokio::task::JoinSet;

use crate::error::ApiError;
use crate::routes;
use crate::state::AppState;
use crate::store;
use crate::upstream::Route;
use document::{Listed, Passed};

/// Between two looks at one node.
const EVERY: Duration = Duration::from_secs(60);
/// Looks under way at once: with each done in its limit, a thousand nodes are looked at within a minute.
const MAX_AT_ONCE: usize = 64;
/// The longest a look may take.
const LIMIT: Duration = Duration::from_secs(10);
/// The longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// How long a tick waits for one of them.
const GLANCE: Duration = Duration::from_millis(250);
/// Longest list read.
const MAX_BYTES: usize = 2 << 20;
/// Looks that fail in a row before the node counts as gone: one alone may be a blink of the line.
const MAX_FAILURES: u32 = 3;

/// Reads lists of direct nodes. Dropping it ends what is under way.
pub struct Poller {
    app: AppState,
    nodes: HashMap<NodeId, Turn>,
    running: JoinSet<(NodeId, Result<(), Trouble>)>,
}

#[derive(Debug, Default)]
struct Turn {
    due_at: Timestamp,
    failures: u32,
    running: bool,
}

/// Why a look came to nothing.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("it has no address")]
    NoAddress,
    #[error("it could not be asked: {0}")]
    Send(#[from] crate::upstream::SendError),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("its list broke off or is too long")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("its list can't be read: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("no whole list within {LIMIT:?}")]
    Timeout,
    #[error("its offers could not be stored: {0}")]
    Store(#[from] ApiError),
}

impl Poller {
    /// Has looked at nothing yet.
    #[must_use]
    pub fn new(app: AppState) -> Self {
        Self { app, nodes: HashMap::new(), running: JoinSet::new() }
    }

    async fn send(&mut self, now: Timestamp) -> Result<(), scheduler::Error> {
        let silent = nodes::list_unreported(&mut *self.app.db.acquire().await?).await?;
        self.nodes.retain(|node, turn| turn.running || silent.iter().any(|one| one.id == *node));
        for node in silent {
            let turn = self.nodes.entry(node.id).or_default();
            if !turn.running && turn.due_at <= now && self.running.len() < MAX_AT_ONCE {
                (turn.running, turn.due_at) = (true, now.plus(EVERY));
                let app = self.app.clone();
                self.running.spawn(async move { (node.id, look(&app, node).await) });
            }
        }
        Ok(())
    }

    /// Takes what came of looks that ended, waiting a little for the first. Returns nodes that count as gone.
    async fn gather(&mut self) -> Vec<NodeId> {
        let mut gone = Vec::new();
        let mut next = tokio::time::timeout(GLANCE, self.running.join_next()).await.ok().flatten();
        while let Some(Ok((node, outcome))) = next {
            let turn = self.nodes.entry(node).or_default();
            turn.running = false;
            match outcome {
                Ok(()) => turn.failures = 0,
                Err(error) => {
                    turn.failures += 1;
                    tracing::info!(node.id = %node, %error, failures = turn.failures, "a direct node's list was not read");
                    if turn.failures == MAX_FAILURES {
                        gone.push(node);
                    }
                }
            }
            next = self.running.try_join_next();
        }
        gone
    }

    /// Stores that a node is gone, and tells the others where that is news.
    async fn take_offline(&self, node: NodeId, now: Timestamp) -> Result<(), scheduler::Error> {
        let mut tx = self.app.db.begin().await?;
        if !nodes::mark_offline(&mut tx, &[node], now).await?.is_empty() {
            platform::outbox::append(&mut tx, self.app.env.mint(), &Event::NodeOffline { node }, now).await?;
            tracing::warn!(node.id = %node, "a direct node's list can't be read any more, and it is offline");
        }
        Ok(tx.commit().await?)
    }
}

impl Worker for Poller {
    type Error = scheduler::Error;

    fn name(&self) -> &'static str {
        "api.poll"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(2)
    }

    async fn tick(&mut self, now: Timestamp) -> Result<Next, scheduler::Error> {
        self.send(now).await?;
        for node in self.gather().await {
            self.take_offline(node, now).await?;
        }
        Ok(Next::Wait)
    }
}

async fn look(app: &AppState, node: Node) -> Result<(), Trouble> {
    let bytes = tokio::time::timeout(LIMIT, fetch(app, &node)).await.map_err(|_| Trouble::Timeout)??;
    let (listed, passed) = document::read(&bytes)?;
    for Passed { id, why } in &passed {
        tracing::debug!(node.id = %node.id, document = id, why, "a listed model can't be offered");
    }
    store(app, node, listed).await?;
    Ok(())
}

/// Asks for the list, by the client and under the rules that requests to this node go by.
async fn fetch(app: &AppState, node: &Node) -> Result<bytes::Bytes, Trouble> {
    let base_url = node.base_url.as_deref().ok_or(Trouble::NoAddress)?.into();
    let route = Route::Direct { base_url, key: node.upstream_key.as_ref().map(UpstreamKey::expose).map(Into::into) };
    let mut request = Request::new(BoxBody::new(Full::default()));
    *request.method_mut() = Method::GET;
    *request.uri_mut() = http::Uri::from_static("http://node/v1/models");
    request.headers_mut().insert(header::ACCEPT, http::HeaderValue::from_static("application/json"));
    let answer = app.upstreams.send(&route, request, CONNECT).await?;
    if answer.response.status() != StatusCode::OK {
        return Err(Trouble::Status(answer.response.status()));
    }
    let body = Limited::new(answer.response.into_body(), MAX_BYTES).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(Trouble::Broken)
}

/// Makes the list the node's offers, where it says something else than before, and the node ready.
///
/// A list of which nothing can be offered changes nothing: it is an engine's own, which names no prices.
async fn store(app: &AppState, node: Node, listed: Vec<Listed>) -> Result<(), ApiError> {
    let now = app.env.now();
    let mut tx = app.db.begin().await?;
    let specs = catalogued(&mut tx, listed).await?;
    if specs.is_empty() {
        return Ok(());
    }
    let (_, there) = offers::list_of(&mut tx, node.id).await?;
    let same = there.len() == specs.len() && specs.iter().all(|spec| there.iter().any(|offer| offer.spec == *spec));
    if !same {
        offers::claim_set(&mut tx, node.id, None).await?;
        routes::offers::replace(&mut tx, app, node.id, &specs, now).await?;
        tracing::info!(node.id = %node.id, offers = specs.len(), "a direct node's list became its offers");
    }
    if matches!(node.state, NodeState::Pending | NodeState::Verifying | NodeState::Offline) {
        nodes::set_state(&mut tx, node.id, NodeState::Ready).await?;
    }
    tx.commit().await?;
    if !same && let Err(error) = app.billing.reload_prices().await {
        tracing::warn!(%error, "posted prices will be read a little later");
    }
    Ok(())
}

/// Offers of models in the catalogue, each model once, under the name it has there.
async fn catalogued(conn: &mut sqlx::PgConnection, listed: Vec<Listed>) -> Result<Vec<OfferSpec>, sqlx::Error> {
    let names: Vec<String> = listed.iter().flat_map(|one| one.names.clone()).collect();
    let missing = store::models::list_missing(conn, &names).await?;
    let mut specs: Vec<OfferSpec> = Vec::new();
    for Listed { names, spec } in listed {
        let known = names.into_iter().find(|name| !missing.contains(name));
        if let Some(model) = known.filter(|model| specs.iter().all(|spec| spec.model != *model)) {
            specs.push(OfferSpec { model, ..spec });
        }
    }
    Ok(specs)
}

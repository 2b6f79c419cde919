//! The node's standing with the broker: registered, in session, offers put, heard of every few seconds.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ETAG, IF_MATCH};
use http::{HeaderMap, Method, StatusCode};
use parking_lot::Mutex;
use protocol::offer::OfferSpec;
use protocol::session::{
    AnnounceReceiptKey, Command, CreateNode, Heartbeat, HeartbeatReply, NodeMode, NodeState, NodeView, OfferLoad,
    OffersView, PutOffers, ReceiptKeyView, SessionToken,
};
use protocol::typed::Domain;
use protocol::{Env, NodeId, OfferId};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::client::Client;
use crate::config::NodeConfig;
use crate::engine::{Description, Engine};
use crate::gate::Gate;
use crate::keys::NodeKey;
use crate::vouch::ReportKey;
use crate::{Error, inventory, offers};

/// The broker may ask for another rhythm, within these bounds: it must neither be flooded nor lose us.
const HEARTBEAT: Duration = Duration::from_secs(5);
const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(100);
const LONGEST_HEARTBEAT: Duration = Duration::from_secs(10);
/// Attempts to put the set of offers while somebody else changes it.
const PUT_ATTEMPTS: usize = 3;

/// Waits that double, with a random half, so a thousand nodes don't return at the same instant.
pub(crate) struct Backoff {
    rng: SmallRng,
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(seed: u64, first: Duration, most: Duration) -> Self {
        Self { rng: SmallRng::seed_from_u64(seed), first, most, next: first }
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }

    pub(crate) fn draw(&mut self) -> Duration {
        let wait = self.next.mul_f64(self.rng.random_range(0.5..1.0));
        self.next = (self.next * 2).min(self.most);
        wait
    }

    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.draw()).await;
    }
}

/// The session's bearer, as everybody who calls needs it. Clones share it.
#[derive(Clone)]
pub(crate) struct Token {
    current: Arc<watch::Sender<Option<Arc<str>>>>,
    refused: Arc<Notify>,
}

impl Token {
    pub(crate) fn new() -> Self {
        Self { current: Arc::new(watch::Sender::new(None)), refused: Arc::default() }
    }

    /// The bearer, once there is one.
    pub(crate) async fn get(&self) -> Arc<str> {
        let mut receiver = self.current.subscribe();
        let value = receiver.wait_for(Option::is_some).await.ok().and_then(|value| value.clone());
        value.expect("waited for a value, and the sender is held by self")
    }

    fn set(&self, token: &str) {
        self.current.send_replace(Some(token.into()));
    }

    /// The broker did not know `bearer`: unless another one is here already, a new session is opened.
    pub(crate) fn refuse(&self, bearer: &str) {
        let is_current =
            |current: &mut Option<Arc<str>>| current.as_deref() == Some(bearer) && current.take().is_some();
        if self.current.send_if_modified(is_current) {
            self.refused.notify_one();
        }
    }
}

/// What keeps a node in touch with its broker.
pub(crate) struct Session {
    pub(crate) config: NodeConfig,
    pub(crate) client: Client,
    pub(crate) env: Env,
    pub(crate) key: NodeKey,
    pub(crate) report_key: ReportKey,
    /// Where reports count, as the broker says.
    pub(crate) domain: watch::Sender<Option<Domain>>,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) gate: Gate,
    pub(crate) token: Token,
    pub(crate) told: Description,
    pub(crate) offers: watch::Sender<Vec<OfferId>>,
    /// Rings for a heartbeat out of turn.
    pub(crate) bell: Arc<Notify>,
    /// Ends what still runs when a drain's time is over.
    pub(crate) deadline: Mutex<Option<AbortOnDropHandle<()>>>,
}

/// An open session.
struct Open {
    renew_at: Instant,
    seq: u64,
    /// Its own bearer. Waiting for the shared one would be waiting for itself: a tunnel may have had it refused,
    /// and only this session's task opens the next.
    bearer: Arc<str>,
}

impl Session {
    /// The provider key, or words on where to put it.
    pub(crate) fn provider_key(&self) -> Result<&SecretString, Error> {
        provider_key(&self.config)
    }

    /// Makes the node known to the broker, or finds it again by its key.
    pub(crate) async fn register(&self) -> Result<NodeId, Error> {
        let direct = self.config.direct.as_ref();
        let hardware = match &self.config.hardware {
            Some(told) => told.clone(),
            None => inventory::hardware().await,
        };
        let node = CreateNode {
            public_key: self.key.public_hex(),
            mode: if direct.is_some() { NodeMode::Direct } else { NodeMode::Tunnel },
            base_url: direct.map(|direct| direct.base_url.to_string()),
            upstream_key: direct.map(|direct| direct.upstream_key.expose_secret().to_owned()),
            hardware,
            location: self.config.location.clone(),
            engine: self.told.info.clone(),
            privacy: self.config.privacy,
        };
        let path = format!("/v1/providers/{}/nodes", self.config.provider);
        let key = self.provider_key()?;
        let call = self.client.call(Method::POST, path).bearer(key.expose_secret()).json(&node)?;
        let (_, view) = call.send::<NodeView>().await?;
        tracing::info!(node.id = %view.id, node.state = %view.state, "the broker knows this node");
        Ok(view.id)
    }

    /// This node as the broker has it.
    pub(crate) async fn view(&self, node: NodeId) -> Result<NodeView, Error> {
        let path = format!("/v1/providers/{}/nodes/{node}", self.config.provider);
        let key = self.provider_key()?;
        Ok(self.client.call(Method::GET, path).bearer(key.expose_secret()).send::<NodeView>().await?.1)
    }

    /// Stays in session until a call fails; the caller waits a little and comes again.
    pub(crate) async fn live(&self, node: NodeId) -> Result<(), Error> {
        let mut open = self.open(node).await?;
        self.announce(node, &open).await?;
        self.put_offers(node, &open).await?;
        let mut ready = self.engine.ready();
        let mut next = Instant::now();
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = self.bell.notified() => {}
                () = self.token.refused.notified() => {
                    tracing::info!(node.id = %node, "the broker asks for a new session");
                    open = self.open(node).await?;
                }
            }
            if Instant::now() >= open.renew_at {
                open = self.open(node).await?;
            }
            if std::mem::replace(&mut ready, self.engine.ready()) != ready {
                self.put_offers(node, &open).await?;
            }
            let reply = self.beat(node, &mut open).await?;
            next = Instant::now() + rhythm(reply.next_in_ms);
            for command in &reply.commands {
                self.obey(node, &open, command, reply.server_time_ms).await?;
            }
        }
    }

    async fn open(&self, node: NodeId) -> Result<Open, Error> {
        let path = format!("/v1/providers/{}/nodes/{node}/sessions", self.config.provider);
        let proof = self.key.open_session(node, &self.env);
        let key = self.provider_key()?;
        let call = self.client.call(Method::POST, path).bearer(key.expose_secret()).json(&proof)?;
        let (_, session) = call.send::<SessionToken>().await?;
        let skew_ms = session.server_time_ms - self.env.now().unix_ms();
        if skew_ms.abs() > 5_000 {
            tracing::warn!(skew_ms, "this machine's clock is off; sessions are refused beyond 30 s");
        }
        let life_ms = u64::try_from(session.expires_at_ms - session.server_time_ms).unwrap_or(0);
        let bearer: Arc<str> = session.token.into();
        self.token.set(&bearer);
        // At two thirds of its life: time enough to try again before it ends.
        let renew_at = Instant::now() + Duration::from_millis(life_ms * 2 / 3);
        tracing::debug!(node.id = %node, life_ms, "session opened");
        Ok(Open { renew_at, seq: 0, bearer })
    }

    /// Makes the receipt key known, and learns where its signatures count.
    async fn announce(&self, node: NodeId, open: &Open) -> Result<(), Error> {
        let path = format!("/v1/providers/{}/nodes/{node}/receipt_keys", self.config.provider);
        let key = AnnounceReceiptKey { key: self.report_key.address(), delegation: self.report_key.delegation };
        let call = self.client.call(Method::POST, path).bearer(&open.bearer).json(&key)?;
        let (_, known) = call.send::<ReceiptKeyView>().await?;
        if !known.delegated {
            tracing::warn!(key = %known.key, "no wallet vouches for this node's reports; run `steelyard-node vouch`");
        }
        self.domain.send_replace(Some(known.domain));
        Ok(())
    }

    /// Puts the whole set, unless the broker has exactly it already.
    async fn put_offers(&self, node: NodeId, open: &Open) -> Result<(), Error> {
        let specs = offers::resolve(
            &self.configured(),
            &self.told,
            u32::try_from(self.gate.slots()).unwrap_or(u32::MAX),
            self.engine.ready(),
        )?;
        let path = format!("/v1/providers/{}/nodes/{node}/offers", self.config.provider);
        for _ in 0..PUT_ATTEMPTS {
            let (headers, there) =
                self.client.call(Method::GET, &path).bearer(&open.bearer).send::<OffersView>().await?;
            // In whatever order: models are unique on both sides.
            let stands = |spec: &OfferSpec| there.data.iter().any(|view| view.spec == *spec && view.state != "retired");
            let unchanged = there.data.len() == specs.len() && specs.iter().all(stands);
            if unchanged {
                self.note(&there);
                return Ok(());
            }
            let call = self.client.call(Method::PUT, &path).bearer(&open.bearer);
            let call = matching(call, &headers).json(&PutOffers { offers: specs.clone() })?;
            match call.send::<OffersView>().await {
                Ok((_, view)) => {
                    self.note(&view);
                    tracing::info!(node.id = %node, offers = view.data.len(), "offers put");
                    return Ok(());
                }
                Err(error) if error.is_status(StatusCode::PRECONDITION_FAILED) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Malformed { call: path, reason: "somebody else keeps changing the offers".into() })
    }

    fn note(&self, view: &OffersView) {
        self.offers.send_replace(view.data.iter().map(|offer| offer.id).collect());
    }

    /// The offers of the configuration file as it is now; those the node started with when it can't be read.
    fn configured(&self) -> Vec<crate::config::OfferConfig> {
        let Some(path) = &self.config.source else { return self.config.offers.clone() };
        match NodeConfig::load(path, |name| std::env::var(name).ok()) {
            Ok(config) => config.offers,
            Err(error) => {
                tracing::warn!(%error, "the configuration can't be read again; the offers stay as they are");
                self.config.offers.clone()
            }
        }
    }

    async fn beat(&self, node: NodeId, open: &mut Open) -> Result<HeartbeatReply, Error> {
        open.seq += 1;
        let load = self.engine.load();
        let offers = self.offers.borrow().clone();
        let state = match (self.gate.draining(), self.engine.ready()) {
            (true, _) => NodeState::Draining,
            (false, true) => NodeState::Ready,
            (false, false) => NodeState::Busy,
        };
        let offers = offers.into_iter().map(|offer_id| OfferLoad {
            offer_id,
            in_flight: self.gate.by_offer(offer_id),
            queued: load.queued,
            kv_cache_free: Some(f64::from(load.kv_free_permille) / 1_000.0),
        });
        let beat = Heartbeat {
            seq: open.seq,
            sent_at_ms: self.env.now().unix_ms(),
            state,
            offers: offers.collect(),
            gpus: inventory::gpu_loads(self.config.hardware.is_none()).await,
        };
        let path = format!("/v1/providers/{}/nodes/{node}/heartbeat", self.config.provider);
        let call = self.client.call(Method::POST, path).bearer(&open.bearer).json(&beat)?;
        Ok(call.send::<HeartbeatReply>().await?.1)
    }

    /// By the broker's clock, which also set the deadline; at once when it has passed.
    fn cut_in(&self, left_ms: i64) -> AbortOnDropHandle<()> {
        let (gate, left) = (self.gate.clone(), Duration::from_millis(u64::try_from(left_ms).unwrap_or(0)));
        AbortOnDropHandle::new(tokio::spawn(async move {
            tokio::time::sleep(left).await;
            let running = gate.running();
            if running > 0 {
                tracing::warn!(running, "the drain deadline has passed; running answers are cut off");
            }
            gate.cut();
        }))
    }

    async fn obey(&self, node: NodeId, open: &Open, command: &Command, server_time_ms: i64) -> Result<(), Error> {
        tracing::info!(command.id = %command.id, command.kind = %command.kind, "the broker asks");
        match command.kind.as_str() {
            "drain" => {
                self.gate.set_draining(true);
                let deadline_ms = command.args["deadline_ms"].as_i64();
                *self.deadline.lock() = deadline_ms.map(|at_ms| self.cut_in(at_ms.saturating_sub(server_time_ms)));
            }
            "resume" => {
                *self.deadline.lock() = None;
                self.gate.set_draining(false);
            }
            "reload_offers" => self.put_offers(node, open).await?,
            "update_required" => tracing::error!("the broker asks for a newer steelyard-node; please update"),
            kind => tracing::warn!(kind, "this build does not know that command"),
        }
        Ok(())
    }
}

/// The provider key of `config`, or words on where to put it.
pub(crate) fn provider_key(config: &NodeConfig) -> Result<&SecretString, Error> {
    config.provider_key.as_ref().ok_or_else(|| {
        let text = "no provider key: run `steelyard-node register`, or set STEELYARD_PROVIDER_KEY";
        Error::Config(text.into())
    })
}

/// Sends back the version of the set that was read; a broker that gives none is not asked to compare.
fn matching<'a>(call: crate::client::Call<'a>, headers: &HeaderMap) -> crate::client::Call<'a> {
    match headers.get(ETAG) {
        Some(etag) => call.header(IF_MATCH, etag.clone()),
        None => call,
    }
}

fn rhythm(next_in_ms: u64) -> Duration {
    if next_in_ms == 0 {
        return HEARTBEAT;
    }
    Duration::from_millis(next_in_ms).clamp(SHORTEST_HEARTBEAT, LONGEST_HEARTBEAT)
}

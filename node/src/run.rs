//! A node from start to drain: engine, registration, session, tunnels, reports.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;
use protocol::{Env, NodeId, OfferId};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::config::NodeConfig;
use crate::engine::{Description, Engine};
use crate::gate::Gate;
use crate::keys::{NodeKey, write_secret};
use crate::reports::{self, Reporter, Store};
use crate::serve::{self, Site};
use crate::session::{Backoff, Session, Token};
use crate::spool::Spool;
use crate::tunnel::{self, Link};
use crate::vouch::ReportKey;
use crate::{Error, offers};

/// Between two questions to an engine that does not answer yet, and between two words about it.
const ENGINE_POLL: Duration = Duration::from_millis(250);
const ENGINE_PROGRESS: Duration = Duration::from_secs(10);
/// Between attempts to be in session again.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// A session that held this long did not fail for the reason the last one did.
const STABLE: Duration = Duration::from_secs(30);
/// The broker's word for a node its provider took out.
const NODE_REMOVED: &str = "node_removed";
/// Reports are kept anyway: delivering the last ones must not hold up a stop.
const FLUSH: Duration = Duration::from_secs(5);
/// How long answers that were cut off may take to let go.
const CUTTING: Duration = Duration::from_millis(500);
/// Longest wait for parts that were told to stop; an engine gets 7 s of it.
const STOPPING: Duration = Duration::from_secs(10);

/// What the state folder remembers of the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// At which broker.
    pub broker: String,
    /// Whose.
    pub provider: protocol::ProviderId,
    /// Under which name.
    pub node: NodeId,
}

impl Identity {
    /// What is remembered in `folder`, if anything.
    #[must_use]
    pub fn read(folder: &Path) -> Option<Self> {
        serde_json::from_str(&std::fs::read_to_string(folder.join("node.json")).ok()?).ok()
    }

    fn write(&self, folder: &Path) -> Result<(), Error> {
        write_secret(&folder.join("node.json"), &serde_json::json!(self).to_string())
    }
}

/// How a running node stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Its id, once the broker knows it.
    pub node: Option<NodeId>,
    /// Its offers, once put.
    pub offers: Vec<OfferId>,
    /// Tunnels open now.
    pub tunnels: u32,
}

/// Runs one node until `shutdown`, then drains: no new work, running answers finish, reports are
/// delivered. Dropping the future instead is a crash: everything stops at once.
///
/// # Errors
/// [`Error`] when the configuration, the state folder or the provider key can't be used. Trouble with
/// broker or engine is waited out.
pub async fn run(
    config: NodeConfig,
    engine: Arc<dyn Engine>,
    env: Env,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    drive(config, engine, env, shutdown, Arc::new(watch::Sender::new(Status::default()))).await
}

/// A node running in the background.
pub struct Handle {
    task: tokio::task::JoinHandle<Result<(), Error>>,
    shutdown: CancellationToken,
    status: watch::Receiver<Status>,
}

/// Starts one node on the current runtime. Nothing is shared between nodes but what is handed in.
#[must_use]
pub fn start(config: NodeConfig, engine: Arc<dyn Engine>, env: Env) -> Handle {
    let shutdown = CancellationToken::new();
    let sender = Arc::new(watch::Sender::new(Status::default()));
    let status = sender.subscribe();
    let task = tokio::spawn(drive(config, engine, env, shutdown.clone(), sender));
    Handle { task, shutdown, status }
}

impl Handle {
    /// How the node stands now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Waits until the node is in session, its offers are put and `tunnels` tunnels are open.
    ///
    /// # Errors
    /// The node's own error when it ends before.
    pub async fn ready(&mut self, tunnels: u32) -> Result<Status, Error> {
        let good = |status: &Status| status.tunnels >= tunnels && status.node.is_some() && !status.offers.is_empty();
        let ended = match self.status.wait_for(good).await {
            Ok(status) => return Ok(status.clone()),
            Err(_) => (&mut self.task).await,
        };
        match ended {
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) | Err(_) => Err(Error::Config("the node ended before it was ready".into())),
        }
    }

    /// Drains the node and waits for its end.
    ///
    /// # Errors
    /// The node's own error.
    pub async fn stop(self) -> Result<(), Error> {
        self.shutdown.cancel();
        self.task.await.unwrap_or_else(|error| Err(Error::Config(format!("the node was cut off: {error}"))))
    }

    /// Stops the node as a crash would: no drain, no goodbye.
    pub fn kill(&self) {
        self.task.abort();
    }
}

async fn drive(
    config: NodeConfig,
    engine: Arc<dyn Engine>,
    env: Env,
    shutdown: CancellationToken,
    status: Arc<watch::Sender<Status>>,
) -> Result<(), Error> {
    config.check()?;
    crate::session::provider_key(&config)?;
    let client = Client::new(&config.broker)?;
    let (key, report_key, spool) = open_state(&config, &env)?;
    let stop = CancellationToken::new();
    // Cancelled as well when this future is dropped: an engine's keeper then lets go of it.
    let _stop_on_drop = stop.clone().drop_guard();
    // Parts that end when told to, and parts that only ever end with the node.
    let mut tasks: JoinSet<&'static str> = JoinSet::new();
    let mut endless: JoinSet<&'static str> = JoinSet::new();
    let (upkeep, told) = (engine.clone(), stop.clone());
    tasks.spawn(async move {
        upkeep.upkeep(told).await;
        "engine"
    });
    let learned = tokio::select! {
        learned = learn(&*engine) => Some(learned),
        () = shutdown.cancelled() => None,
    };
    let Some(told) = learned else {
        stop.cancel();
        end(tasks).await;
        return Ok(());
    };
    let slots = offers::slots(&config, &told);
    // Said now, where somebody reads it, rather than by every later attempt.
    offers::resolve(&config.offers, &told, slots, true)?;
    let gate = Gate::new(env.clone(), slots);
    let domain = watch::Sender::new(None);
    let (reporter, writer, store) = Reporter::new(env.clone(), report_key.clone(), spool, domain.subscribe());
    let site = Arc::new(Site { engine: engine.clone(), gate: gate.clone(), reporter, env: env.clone() });
    let listener = match &config.direct {
        Some(direct) => Some(TcpListener::bind(direct.listen).await.map_err(|error| {
            Error::Config(format!("direct.listen {} can't be listened on: {error}", direct.listen))
        })?),
        None => None,
    };
    let session = Arc::new(Session {
        config: config.clone(),
        client: client.clone(),
        env: env.clone(),
        key,
        report_key,
        domain,
        engine,
        gate: gate.clone(),
        token: Token::new(),
        told,
        offers: watch::Sender::new(Vec::new()),
        bell: Arc::default(),
        deadline: Mutex::new(None),
    });
    let node = tokio::select! {
        node = identify(&session) => node?,
        () = shutdown.cancelled() => {
            stop.cancel();
            end(tasks).await;
            return Ok(());
        }
    };
    status.send_modify(|status| status.node = Some(node));
    let reports_path = format!("/v1/providers/{}/nodes/{node}/reports", config.provider);
    let (ends, mut ended) = mpsc::channel(1);
    spawn_parts(&mut endless, &session, node, writer, &store, &reports_path, ends);
    if let (Some(listener), Some(direct)) = (listener, &config.direct) {
        let (site, key, stop) = (site.clone(), direct.upstream_key.clone(), stop.clone());
        tasks.spawn(async move {
            serve::listen(site, listener, Some(key), stop).await;
            "listener"
        });
    }
    let open = spawn_tunnels(&mut tasks, &session, node, &site, &stop);
    endless.spawn(mirror(status, open, session.offers.subscribe()));

    let outcome = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        Some(error) = ended.recv() => Err(error),
        part = first_end(&mut tasks, &mut endless) => Err(Error::Config(format!("the node can't go on: {part} ended"))),
    };
    drain(&config, &gate, &session).await;
    let flushing = reports::flush(&store, &client, &reports_path, &session.token);
    if tokio::time::timeout(FLUSH, flushing).await.is_err() {
        tracing::warn!("usage reports are kept for the next start");
    }
    stop.cancel();
    end(tasks).await;
    outcome
}

fn open_state(config: &NodeConfig, env: &Env) -> Result<(NodeKey, ReportKey, Spool), Error> {
    match &config.state_dir {
        Some(folder) => {
            let key = NodeKey::load_or_generate(&folder.join("node.key"), env)?;
            let report_key = ReportKey::load_or_generate(folder, env)?;
            Ok((key, report_key, Spool::open(&folder.join("reports"))?))
        }
        None => Ok((NodeKey::generate(env), ReportKey::generate(env)?, Spool::memory())),
    }
}

/// Asks the engine about itself until it answers with at least one model.
async fn learn(engine: &dyn Engine) -> Description {
    let mut said: Option<Instant> = None;
    loop {
        let trouble = match engine.describe().await {
            Ok(told) if !told.models.is_empty() => return told,
            Ok(_) => "it lists no model".to_owned(),
            Err(error) => error.to_string(),
        };
        if said.is_none_or(|at| at.elapsed() >= ENGINE_PROGRESS) {
            said = Some(Instant::now());
            tracing::info!(reason = %trouble, "waiting for the engine");
        }
        tokio::time::sleep(ENGINE_POLL).await;
    }
}

/// The node's id: remembered, else asked of the broker for as long as it takes.
async fn identify(session: &Session) -> Result<NodeId, Error> {
    let config = &session.config;
    let remembered = config
        .state_dir
        .as_deref()
        .and_then(Identity::read)
        .filter(|identity| identity.broker == config.broker.as_str() && identity.provider == config.provider);
    let mut backoff = Backoff::new(session.env.seed(), FIRST_WAIT, LONGEST_WAIT);
    loop {
        match join(session, remembered.as_ref()).await {
            Ok(node) => {
                if let Some(folder) = &config.state_dir {
                    let identity = Identity { broker: config.broker.to_string(), provider: config.provider, node };
                    identity.write(folder)?;
                }
                return Ok(node);
            }
            Err(error) if error.is_transient() => {
                if let Some(identity) = &remembered {
                    tracing::warn!(%error, node.id = %identity.node, "the broker is away; going by what it said before");
                    return Ok(identity.node);
                }
                tracing::warn!(%error, "not registered yet");
                backoff.wait().await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Registers, unless this node is known here and was removed: that it starts is no reason to bring it back.
async fn join(session: &Session, remembered: Option<&Identity>) -> Result<NodeId, Error> {
    if let Some(identity) = remembered {
        match session.view(identity.node).await {
            Ok(view) if view.state == "removed" => return Err(Error::Removed(identity.node)),
            Err(error) if error.is_transient() => return Err(error),
            // Whatever else is wrong, registering says it better; and a node nobody knows registers.
            Ok(_) | Err(_) => {}
        }
    }
    session.register().await
}

fn spawn_parts(
    tasks: &mut JoinSet<&'static str>,
    session: &Arc<Session>,
    node: NodeId,
    writer: reports::Writer,
    store: &Store,
    reports_path: &str,
    ends: mpsc::Sender<Error>,
) {
    tasks.spawn(async move {
        writer.run(node).await;
        "report writer"
    });
    let (store, client, path) = (store.clone(), session.client.clone(), reports_path.to_owned());
    let (token, env) = (session.token.clone(), session.env.clone());
    tasks.spawn(async move {
        reports::deliver(store, client, path, token, env).await;
        "report delivery"
    });
    tasks.spawn(keep_session(session.clone(), node, ends));
}

/// In session for as long as the broker lets us, and again when it is back. What no waiting cures goes to `ends`.
async fn keep_session(session: Arc<Session>, node: NodeId, ends: mpsc::Sender<Error>) -> &'static str {
    let mut backoff = Backoff::new(session.env.seed(), FIRST_WAIT, LONGEST_WAIT);
    loop {
        let started = Instant::now();
        let Err(error) = session.live(node).await else { continue };
        if error.is_code(NODE_REMOVED) {
            // Whoever waits for it ends the node; a second word would say nothing new.
            let _ = ends.try_send(Error::Removed(node));
        } else if error.is_status(StatusCode::NOT_FOUND) {
            // A broker that forgot us knows the key again once it is registered anew.
            match session.register().await {
                Ok(again) if again != node => {
                    let text = "the broker gave this node another name; start it again";
                    let _ = ends.try_send(Error::Config(text.into()));
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "the broker does not know this node"),
            }
        }
        if started.elapsed() >= STABLE {
            backoff.reset();
        }
        let wait = backoff.draw();
        tracing::warn!(%error, wait_ms = wait.as_millis() as u64, "out of session; serving on");
        tokio::time::sleep(wait).await;
    }
}

fn spawn_tunnels(
    tasks: &mut JoinSet<&'static str>,
    session: &Arc<Session>,
    node: NodeId,
    site: &Arc<Site>,
    stop: &CancellationToken,
) -> watch::Sender<u32> {
    let open = watch::Sender::new(0);
    let config = &session.config;
    if config.direct.is_some() {
        // Nothing to wait for: the port is open.
        open.send_replace(u32::MAX);
    } else {
        for url in std::iter::once(&config.broker).chain(&config.replicas) {
            let link = Arc::new(Link {
                url: url.clone(),
                path: tunnel::path(config.provider, node),
                tls: session.client.tls().clone(),
                site: site.clone(),
                token: session.token.clone(),
                carrier: config.carrier,
                name: Arc::new(Mutex::new(url.as_str().into())),
                open: open.clone(),
                env: session.env.clone(),
            });
            for _ in 0..config.tunnels {
                let (link, stop) = (link.clone(), stop.clone());
                tasks.spawn(async move {
                    tunnel::keep(link, stop).await;
                    "tunnel"
                });
            }
        }
    }
    open
}

/// Copies what parts of the node know into its status. Holds the count's sender, so it never runs dry.
async fn mirror(
    status: Arc<watch::Sender<Status>>,
    open: watch::Sender<u32>,
    mut offers: watch::Receiver<Vec<OfferId>>,
) -> &'static str {
    let mut tunnels = open.subscribe();
    loop {
        status.send_modify(|status| {
            status.tunnels = *tunnels.borrow_and_update();
            status.offers = offers.borrow_and_update().clone();
        });
        let changed = tokio::select! {
            changed = tunnels.changed() => changed,
            changed = offers.changed() => changed,
        };
        if changed.is_err() {
            // The session is gone, and the node with it.
            return "session";
        }
    }
}

/// Refuses new work, says so, and lets what runs come to its end.
async fn drain(config: &NodeConfig, gate: &Gate, session: &Session) {
    gate.set_draining(true);
    session.bell.notify_one();
    let running = gate.running();
    tracing::info!(running, deadline_s = config.drain_s, "draining");
    if tokio::time::timeout(Duration::from_secs(config.drain_s), gate.idle()).await.is_err() {
        tracing::warn!(running = gate.running(), "the deadline has passed; running answers are cut off");
        gate.cut();
        // So that what they used is reported with the rest.
        let _ = tokio::time::timeout(CUTTING, gate.idle()).await;
    }
}

/// The name of a part that ended though nobody told it to.
async fn first_end(tasks: &mut JoinSet<&'static str>, endless: &mut JoinSet<&'static str>) -> &'static str {
    let ended = tokio::select! {
        ended = tasks.join_next() => ended,
        ended = endless.join_next() => ended,
    };
    ended.and_then(Result::ok).unwrap_or("a part that panicked")
}

async fn end(mut tasks: JoinSet<&'static str>) {
    let ended = tokio::time::timeout(STOPPING, async { while tasks.join_next().await.is_some() {} });
    if ended.await.is_err() {
        tracing::warn!("some parts are slow to stop and are cut off");
    }
}

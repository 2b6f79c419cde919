//! An engine this node starts, watches, restarts and stops.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::{Request, Response};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::attach::Attached;
use super::{BoxFuture, CallError, Description, Engine, EngineLoad};
use crate::Error;
use crate::body::Body;

/// Runs the engine and reads a pipe whose other end only the node holds. When the node is gone,
/// however it went, the pipe ends and the engine is stopped; nothing needs to run in the node then.
const KEEPER: &str = r#"
exec 3<&0 </dev/null
"$@" 3<&- &
engine=$!
trap 'kill -TERM "$engine" 2>/dev/null' TERM INT
( while read -r _; do :; done <&3; kill -TERM "$engine" 2>/dev/null; sleep 5; kill -KILL 0 ) &
watcher=$!
exec 3<&-
wait "$engine"
status=$?
while kill -0 "$engine" 2>/dev/null; do wait "$engine"; status=$?; done
kill -KILL "$watcher" 2>/dev/null
exit "$status"
"#;

/// First wait before a restart; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// A model that can't load should not be loaded in a tight loop.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// An engine that stayed up this long failed for a new reason.
const STABLE: Duration = Duration::from_secs(60);
/// How often a starting engine is asked whether it is ready.
const POLL: Duration = Duration::from_millis(250);
/// How often waiting for it is reported.
const PROGRESS: Duration = Duration::from_secs(5);
/// How long stopping may take: the keeper kills an engine that ignores the request after 5 s.
const STOP_PATIENCE: Duration = Duration::from_secs(7);

/// What to start, and where it will listen.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The program.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Where it will answer.
    pub url: Url,
    /// Its health page.
    pub health: String,
    /// Where its output goes; nowhere without one.
    pub log: Option<PathBuf>,
}

/// An engine this node runs.
pub struct Supervised {
    spec: Spec,
    attached: Attached,
    starts: AtomicU32,
}

/// A running engine. Dropping it closes the pipe, and with it the engine.
struct Running {
    keeper: Child,
    pipe: Option<ChildStdin>,
}

impl Supervised {
    /// Prepares the engine; [`Engine::upkeep`] starts it.
    ///
    /// # Errors
    /// [`Error::Config`] when TLS can't be set up.
    pub fn new(spec: Spec) -> Result<Self, Error> {
        let attached = Attached::new(&spec.url, &spec.health)?;
        Ok(Self { spec, attached, starts: AtomicU32::new(0) })
    }

    /// How many times it was started.
    #[must_use]
    pub fn starts(&self) -> u32 {
        self.starts.load(Ordering::Relaxed)
    }

    fn spawn(&self) -> Result<Running, Error> {
        let output = || match &self.spec.log {
            Some(path) => {
                let file = File::options().create(true).append(true).open(path);
                file.map(Stdio::from).map_err(Error::file(path, "opening the engine's log"))
            }
            None => Ok(Stdio::null()),
        };
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", KEEPER, "steelyard-engine", &self.spec.command]).args(&self.spec.args);
        command.stdin(Stdio::piped()).stdout(output()?).stderr(output()?).process_group(0);
        // The engine has no business with the provider's key.
        command.env_remove("STEELYARD_PROVIDER_KEY");
        let mut keeper = Command::from(command)
            .spawn()
            .map_err(|error| Error::Engine(format!("{} can't be started: {error}", self.spec.command)))?;
        let pipe = keeper.stdin.take();
        self.starts.fetch_add(1, Ordering::Relaxed);
        tracing::info!(engine.command = %self.spec.command, engine.pid = keeper.id(), "engine started");
        Ok(Running { keeper, pipe })
    }

    /// Runs the engine once; returns how long it was up when it ended by itself, nothing when told to stop.
    async fn once(&self, shutdown: &CancellationToken) -> Result<Option<Duration>, Error> {
        let mut running = self.spawn()?;
        let started = Instant::now();
        let status = tokio::select! {
            status = running.keeper.wait() => status,
            () = self.watch(started) => running.keeper.wait().await,
            () = shutdown.cancelled() => {
                drop(running.pipe.take());
                if tokio::time::timeout(STOP_PATIENCE, running.keeper.wait()).await.is_err() {
                    tracing::warn!(engine.command = %self.spec.command, "the engine is slow to stop");
                }
                return Ok(None);
            }
        };
        self.attached.check().await;
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        tracing::warn!(%status, log = ?self.spec.log, "the engine ended by itself");
        Ok(Some(started.elapsed()))
    }

    /// Waits until the engine answers, saying so, and looks after its health from then on.
    async fn watch(&self, started: Instant) {
        let mut told = Instant::now();
        while !self.attached.check().await {
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                let waited_s = started.elapsed().as_secs();
                tracing::info!(waited_s, engine.url = %self.spec.url, "waiting for the engine to load");
            }
            tokio::time::sleep(POLL).await;
        }
        tracing::info!(took_ms = started.elapsed().as_millis() as u64, "engine is ready");
        self.attached.upkeep(CancellationToken::new()).await;
    }

    async fn keep(&self, shutdown: CancellationToken) {
        let mut wait = FIRST_WAIT;
        loop {
            match self.once(&shutdown).await {
                Ok(None) => return,
                Ok(Some(up)) if up >= STABLE => wait = FIRST_WAIT,
                Ok(Some(_)) => {}
                Err(error) => tracing::error!(%error, "the engine can't be started"),
            }
            tracing::info!(wait_ms = wait.as_millis() as u64, "the engine will be restarted");
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}

impl Engine for Supervised {
    fn describe(&self) -> BoxFuture<'_, Result<Description, Error>> {
        self.attached.describe()
    }

    fn call(&self, request: Request<Body>) -> BoxFuture<'_, Result<Response<Body>, CallError>> {
        self.attached.call(request)
    }

    fn ready(&self) -> bool {
        self.attached.ready()
    }

    fn load(&self) -> EngineLoad {
        self.attached.load()
    }

    fn upkeep(&self, shutdown: CancellationToken) -> BoxFuture<'_, ()> {
        Box::pin(self.keep(shutdown))
    }
}

//! What every handler may reach: narrow handles, cheap to clone.

use std::ops::Deref;
use std::sync::Arc;

use platform::shutdown::Shutdown;
use protocol::Env;
use scheduler::attempt::seed::SeedKey;
use sqlx::PgPool;

use crate::config::Config;
use crate::keys::Keys;
use crate::sessions::Sessions;
use crate::tokenizer::Tokenizers;
use crate::upstream::Upstreams;

/// The broker's parts.
pub struct App {
    /// Time and chance.
    pub env: Env,
    /// Truth.
    pub db: PgPool,
    /// What the operator set.
    pub config: Config,
    /// API keys, cached.
    pub keys: Keys,
    /// Sessions of nodes, cached.
    pub sessions: Sessions,
    /// Money.
    pub billing: billing::Billing,
    /// Placement.
    pub scheduler: scheduler::Scheduler,
    /// Ways to nodes.
    pub upstreams: Upstreams,
    /// Own token counts.
    pub tokenizers: Tokenizers,
    /// Which models are loaded.
    pub catalogue: tokio::sync::Mutex<crate::catalogue::Catalogue>,
    /// Seeds for requests that bring none, so that answers can be judged later.
    pub seeds: SeedKey,
    /// Requests with an `Idempotency-Key` that run here.
    pub running: crate::idempotency::Running,
    /// What `/metrics` prints.
    pub metrics: platform::telemetry::Metrics,
    /// Owner of every task.
    pub shutdown: Shutdown,
}

/// A shared [`App`].
#[derive(Clone)]
pub struct AppState(pub Arc<App>);

impl Deref for AppState {
    type Target = App;

    fn deref(&self) -> &App {
        &self.0
    }
}

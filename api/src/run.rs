//! Builds the broker's parts and starts everything that runs beside requests.

use std::time::Duration;

use platform::shutdown::Shutdown;
use platform::telemetry::Metrics;
use platform::worker::{self, Next, Worker};
use protocol::event::Event;
use protocol::{Env, Timestamp};
use scheduler::Scheduler;
use scheduler::attempt::seed::SeedKey;
use sqlx::PgPool;
use tokio::sync::Mutex;

use crate::addresses::{self, Addresses};
use crate::catalogue::{Catalogue, CatalogueError};
use crate::commands::Error;
use crate::config::Config;
use crate::keys::Keys;
use crate::limits::{self, Limits};
use crate::poll::Poller;
use crate::probe::{Prober, Probes};
use crate::removal::{Lookout, Removals};
use crate::routes::providers::PENDING_FOR;
use crate::sessions::Sessions;
use crate::state::{App, AppState};
use crate::tokenizer::Tokenizers;
use crate::upstream::{Direct, DirectConfig, Upstreams};
use crate::{idempotency, webhooks};

impl App {
    /// Builds every part on a migrated database. Nothing runs yet but billing's own loops.
    ///
    /// # Errors
    /// [`Error`] names what is missing.
    pub async fn build(
        config: Config,
        env: Env,
        db: PgPool,
        metrics: Metrics,
        shutdown: Shutdown,
    ) -> Result<Self, Error> {
        let billing =
            billing::Billing::start(db.clone(), env.clone(), config.billing.clone(), &config.server.replica).await?;
        let cards = billing::Cards::new(db.clone(), env.clone(), config.stripe.clone())?;
        let receipts = billing::Receipts::new(db.clone(), env.clone(), config.receipts.clone())?;
        let rail = billing::Ethereum::open(db.clone(), env.clone(), config.receipts.domain(), &config.payouts);
        let rail = Box::pin(rail).await?;
        let epochs = receipts.clone().map(|receipts| epochs(receipts, &config, rail.as_ref())).transpose()?;
        let scheduler = Scheduler::new(env.clone(), config.scheduler.clone());
        scheduler.reload(&mut *db.acquire().await?).await?;
        let (tokenizers, mut catalogue) = (Tokenizers::new(), Catalogue::default());
        catalogue.refresh(&db, &tokenizers).await?;
        let running = idempotency::Running::new(billing.boot());
        if billing.is_sole_bearer() {
            idempotency::lapse_earlier_boots(&db, &config.server, &running).await?;
        }
        let limits = Limits::start(&config.limits, &config.redis, &config.server.replica, env.clone()).await;
        let limits = limits.map_err(Error::Usage)?;
        limits.reload(&db).await?;
        let direct = Direct::new(DirectConfig {
            allow_private: config.providers.allow_private,
            connect_timeout: Duration::from_millis(config.scheduler.attempt.connect_direct_ms),
            lanes: config.server.lanes,
        });
        Ok(Self {
            keys: Keys::new(db.clone(), env.clone()),
            addresses: Addresses::new(config.server.trusted_proxies.clone()),
            registrations: crate::registrations::Registrations::default(),
            sessions: Sessions::new(db.clone(), env.clone()),
            upstreams: Upstreams::new(direct),
            probes: Probes::default(),
            removals: Removals::default(),
            address: std::sync::OnceLock::new(),
            seeds: SeedKey::new(env.bytes()),
            catalogue: Mutex::new(catalogue),
            billing,
            limits,
            cards,
            receipts,
            rail,
            epochs,
            running,
            scheduler,
            tokenizers,
            metrics,
            shutdown,
            config,
            env,
            db,
        })
    }

    /// Takes in models that were added or changed.
    ///
    /// # Errors
    /// [`CatalogueError`]; what was loaded stays in use.
    pub async fn refresh_catalogue(&self) -> Result<usize, CatalogueError> {
        self.catalogue.lock().await.refresh(&self.db, &self.tokenizers).await
    }
}

/// Payouts as configured: with the chain they are made on and the feed that says what a token is worth, where they are
/// set.
///
/// # Errors
/// [`Error::Billing`] for a chain whose address is none.
pub fn epochs(
    receipts: billing::Receipts,
    config: &Config,
    rail: Option<&billing::Ethereum>,
) -> Result<billing::Epochs, Error> {
    let payouts = &config.payouts;
    let mut epochs = billing::Epochs::new(receipts, payouts.clone());
    if let Some(feed) = billing::rail::Feed::open(&payouts.chain, config.receipts.chain_id, payouts.token_decimals)? {
        epochs = epochs.with_prices(std::sync::Arc::new(feed));
    }
    if let Some(rail) = rail {
        epochs = epochs.with_rail(std::sync::Arc::new(rail.clone()));
    }
    Ok(epochs)
}

/// Starts everything that runs beside requests; the shutdown owns it all.
pub fn spawn_all(app: &AppState) {
    let shutdown = &app.shutdown;
    let stop = shutdown.token().clone();
    let pool = scheduler::run::keep_current(
        app.scheduler.clone(),
        app.db.clone(),
        app.env.clone(),
        stop.clone().cancelled_owned(),
    );
    shutdown.spawn(pool);
    shutdown.spawn(app.keys.clone().listen(stop));
    if let Some(cards) = &app.cards {
        billing::stripe::run::spawn(cards, shutdown);
    }
    if let Some(receipts) = &app.receipts {
        billing::receipt::run::spawn(receipts, shutdown);
    }
    if let Some(epochs) = app.epochs.as_ref().filter(|epochs| epochs.config().enabled) {
        billing::epoch::spawn(epochs, shutdown);
    }
    if let Some(rail) = &app.rail {
        billing::rail::spawn(rail, shutdown);
    }
    worker::spawn(app.env.clone(), Prober::new(app.clone()), shutdown);
    worker::spawn(app.env.clone(), Poller::new(app.clone()), shutdown);
    worker::spawn(app.env.clone(), Models(app.clone()), shutdown);
    worker::spawn(app.env.clone(), Silence(app.clone()), shutdown);
    worker::spawn(app.env.clone(), Lookout(app.clone()), shutdown);
    worker::spawn(app.env.clone(), app.metrics.upkeep(), shutdown);
    worker::spawn(app.env.clone(), webhooks::Fanout::new(app.db.clone(), app.env.clone()), shutdown);
    worker::spawn(app.env.clone(), webhooks::Deliverer::new(app.clone()), shutdown);
    let upkeep = idempotency::Upkeep::new(app.db.clone(), app.running.clone());
    worker::spawn(app.env.clone(), upkeep, shutdown);
    app.limits.spawn(shutdown);
    worker::spawn(app.env.clone(), limits::Upkeep::new(app.limits.clone(), app.db.clone()), shutdown);
    worker::spawn(app.env.clone(), addresses::Upkeep(app.clone()), shutdown);
    worker::spawn(app.env.clone(), Pruning(app.clone()), shutdown);
}

/// Facts in the outbox are kept for this long after every consumer has read them.
const KEEP_EVENTS: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Providers dropped in one go: more wait for the next tick.
const DROP_BATCH: i64 = 1_000;

/// Deletes what nobody needs any more: facts read long ago, texts nobody signed, providers that proved nothing,
/// addresses no dispute can be about.
pub struct Pruning(pub AppState);

impl Worker for Pruning {
    type Error = scheduler::Error;

    fn name(&self) -> &'static str {
        "api.prune"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(300)
    }

    async fn tick(&mut self, now: Timestamp) -> Result<Next, scheduler::Error> {
        let mut conn = self.0.db.acquire().await?;
        platform::outbox::prune(&mut conn, now, KEEP_EVENTS).await?;
        crate::store::addresses::prune(&mut conn, now.minus(addresses::KEEP)).await?;
        crate::store::challenges::prune(&mut conn, now.minus(PENDING_FOR)).await?;
        scheduler::store::providers::drop_pending(&mut conn, now.minus(PENDING_FOR), DROP_BATCH).await?;
        Ok(Next::Wait)
    }
}

/// Takes in models an operator adds while the broker runs.
struct Models(AppState);

impl Worker for Models {
    type Error = CatalogueError;

    fn name(&self) -> &'static str {
        "api.catalogue"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(5)
    }

    async fn tick(&mut self, _: Timestamp) -> Result<Next, CatalogueError> {
        self.0.refresh_catalogue().await.map(|_| Next::Wait)
    }
}

/// Marks nodes offline that nobody has heard of, and tells the others once for each time it happens.
pub struct Silence(pub AppState);

impl Worker for Silence {
    type Error = scheduler::Error;

    fn name(&self) -> &'static str {
        "scheduler.silence"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(5)
    }

    async fn tick(&mut self, now: Timestamp) -> Result<Next, scheduler::Error> {
        take_offline(&self.0, now).await.map(|()| Next::Wait)
    }
}

/// Marks nodes offline that were silent too long, and says so to whoever listens.
///
/// # Errors
/// When the database fails; nothing is marked then.
pub async fn take_offline(app: &App, now: Timestamp) -> Result<(), scheduler::Error> {
    let mut tx = app.db.begin().await?;
    let silent = scheduler::run::take_offline(&app.scheduler, &mut tx, now).await?;
    for node in &silent {
        platform::outbox::append(&mut tx, app.env.mint(), &Event::NodeOffline { node: *node }, now).await?;
    }
    tx.commit().await?;
    for node in silent {
        tracing::warn!(node.id = %node, "a node was silent for a minute and is offline");
    }
    Ok(())
}

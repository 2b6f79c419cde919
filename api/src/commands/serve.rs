//! `steelyard serve`: config → state → serve → drain.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use platform::db::DatabaseConfig;
use platform::embedded::{Embedded, EmbeddedConfig};
use platform::shutdown::Shutdown;
use platform::worker;
use protocol::Env;
use tokio::net::TcpListener;

use super::Error;
use crate::config::Config;
use crate::lanes::Lanes;
use crate::limits::Presence;
use crate::state::{App, AppState};
use crate::{run, serve};

/// Options of `steelyard serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the settings in force, secrets redacted, and exit.
    #[arg(long)]
    print_config: bool,
    /// Write the listening address to this file once requests are taken: how others learn a port chosen with 0.
    #[arg(long, value_name = "FILE")]
    address_file: Option<PathBuf>,
}

pub(super) async fn run(args: Args, config: Config, env: Env) -> Result<(), Error> {
    if args.print_config {
        print!("{}", platform::config::print_config(&config)?);
        return Ok(());
    }
    let telemetry = platform::telemetry::init(&config.telemetry)?;
    let shutdown = Shutdown::new();
    shutdown.on_signals().map_err(Error::io("listening for signals"))?;
    let (database, embedded) = database(&config).await?;
    let broker = Broker::start(config, env, database, telemetry.metrics.clone(), shutdown).await?;
    if let Some(file) = &args.address_file {
        write_address(file, broker.address)?;
    }
    tracing::info!(listen = %broker.address, "the broker is ready");
    broker.until_stopped().await;
    if let Some(embedded) = embedded {
        embedded.stop().await?;
    }
    telemetry.shutdown();
    Ok(())
}

/// Written aside and moved: whoever waits for the file never reads half of it.
fn write_address(file: &Path, address: SocketAddr) -> Result<(), Error> {
    let draft = file.with_extension("new");
    std::fs::write(&draft, address.to_string())
        .and_then(|()| std::fs::rename(&draft, file))
        .map_err(Error::io(format!("writing {}", file.display())))
}

/// Where the database is: as configured, else the embedded one, started if nobody has.
pub(super) async fn database(config: &Config) -> Result<(DatabaseConfig, Option<Embedded>), Error> {
    if config.database.url.is_some() {
        return Ok((config.database.clone(), None));
    }
    let embedded = Embedded::start(EmbeddedConfig::new(&config.embedded.data_dir)).await?;
    Ok((config.database.clone().with_url(embedded.url()), Some(embedded)))
}

async fn bind(setting: &str, listen: SocketAddr) -> Result<TcpListener, Error> {
    let bound = TcpListener::bind(listen).await;
    bound.map_err(Error::io(format!("listening on {listen} (set {setting} to a free address)")))
}

/// Serves the numbers by themselves, until the broker stops.
fn serve_metrics(app: &AppState, listener: TcpListener) {
    let (router, stop) = (crate::router::metrics_router(app.clone()), app.shutdown.token().clone());
    app.shutdown.spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "metrics are served no more");
        }
    });
}

/// A running broker.
pub struct Broker {
    /// Its parts.
    pub app: AppState,
    /// Where it listens.
    pub address: SocketAddr,
    lanes: Arc<Lanes>,
    serving: tokio::task::JoinHandle<()>,
}

impl Broker {
    /// Migrates, builds every part, and listens. Nothing is accepted before everything stands.
    ///
    /// # Errors
    /// [`Error`] names what is missing.
    pub async fn start(
        config: Config,
        env: Env,
        database: DatabaseConfig,
        metrics: platform::telemetry::Metrics,
        shutdown: Shutdown,
    ) -> Result<Self, Error> {
        let listen = config.server.listen;
        let db = platform::db::connect(&database).await?;
        platform::db::migrate(&db).await?;
        let presence = Presence::claim(&db, &config.limits, &config.redis).await?;
        let app = AppState(Arc::new(App::build(config, env, db, metrics, shutdown).await?));
        run::spawn_all(&app);
        worker::spawn(app.env.clone(), presence, &app.shutdown);
        if let Some(listen) = app.config.server.metrics_listen {
            serve_metrics(&app, bind("server.metrics_listen", listen).await?);
        } else if !app.config.server.metrics_beside_api() {
            tracing::warn!(
                "no metrics are served: set server.metrics_listen to an address that your Prometheus alone reaches"
            );
        }
        let listener = bind("server.listen", listen).await?;
        let address = listener.local_addr().map_err(Error::io("reading the listening address"))?;
        // Set once here: nobody has been answered before.
        let _ = app.address.set(address);
        let router = crate::router::router(app.clone());
        let (server, stop) = (app.config.server.clone(), app.shutdown.token().clone());
        let cut = app.upstreams.closing().clone();
        let lanes = Arc::new(Lanes::start(server.lanes).map_err(Error::io("starting the lanes"))?);
        let on = Arc::clone(&lanes);
        let serving = tokio::spawn(async move { serve::serve(listener, router, &server, &on, stop, &cut).await });
        Ok(Self { app, address, lanes, serving })
    }

    /// Serves until told to stop; then drains streams, settles what they used, and hands credit back.
    pub async fn until_stopped(self) {
        let Self { app, lanes, serving, .. } = self;
        app.shutdown.begun().await;
        tracing::info!("stopping: no new work; answers in flight may finish");
        if let Err(error) = serving.await {
            tracing::error!(%error, "the accept loop panicked");
        }
        // No answer is under way any more: a tunnel left open would only hold up the stop.
        app.upstreams.close();
        if let Err(error) = app.billing.stop().await {
            tracing::error!(%error, "credit could not be handed back; its leases will be reaped");
        }
        app.limits.stop().await;
        if let Err(error) = app.addresses.write(&app.db).await {
            tracing::warn!(%error, "where keys were used from in the last seconds is lost");
        }
        app.shutdown.drain(std::time::Duration::from_secs(5)).await;
        // Not before: what answers left to be finished behind them runs there.
        drop(lanes);
        app.db.close().await;
    }
}

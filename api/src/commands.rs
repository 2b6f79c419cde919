//! One file per subcommand.

pub mod admin;
mod demo;
pub mod epoch;
pub mod ledger;
mod openapi;
pub mod reconcile;
mod serve;
pub mod stripe;
pub mod verify_payout;
pub mod webhooks;

use std::path::PathBuf;
use std::process::ExitCode;

use billing::{Cards, StripeConfig};
use clap::{Parser, Subcommand};
use protocol::Env;
use sqlx::PgPool;

use crate::config::Config;
use crate::store::audit::Actor;

/// A centralized API over a decentralized supply of GPUs.
///
/// `steelyard demo` runs everything on this machine and answers one request. `steelyard serve` is the broker.
/// Settings come from --config, then from STEELYARD_… variables (STEELYARD_SERVER__LISTEN sets server.listen).
#[derive(Debug, Parser)]
#[command(name = "steelyard", version, propagate_version = true)]
pub struct Args {
    /// A TOML file of settings; every key has a default.
    #[arg(long, global = true, env = "STEELYARD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker: gateway, provider API and workers.
    Serve(serve::Args),
    /// Run everything on this machine: Postgres, broker, one node with a real engine, one streamed answer and its bill.
    Demo(demo::Args),
    /// Manage organizations, keys, credit, models, prices, providers and the treasury.
    Admin(admin::Args),
    /// Check that the books add up. Exits 1 when they don't.
    Reconcile(reconcile::Args),
    /// Show the books as they stand.
    Ledger(ledger::Args),
    /// What has no known outcome at the card processor, and what moved there without a booking here.
    Stripe(stripe::Args),
    /// What the card processor told: what was given up, and what was never told.
    Webhooks(webhooks::Args),
    /// What providers are paid: the steps of an epoch by hand, and what waits for a person.
    Epoch(epoch::Args),
    /// Check a payout against everything it rests on, offline. Exits 1 when anything is wrong.
    VerifyPayout(verify_payout::Args),
    /// Bring the database's schema up to date and exit.
    Migrate,
    /// Print the OpenAPI document.
    Openapi(openapi::Args),
}

/// Why a command ended without doing its work. The message names the fix where there is one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings can't be used.
    #[error("{0}")]
    Config(#[from] platform::config::Error),
    /// The schema.
    #[error("the schema could not be brought up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// Logs, traces or metrics can't be set up.
    #[error("telemetry: {0}")]
    Telemetry(#[from] platform::telemetry::Error),
    /// The catalogue of models can't be loaded.
    #[error("{0}")]
    Catalogue(#[from] crate::catalogue::CatalogueError),
    /// Postgres itself can't be run.
    #[error("{0}")]
    Postgres(#[from] platform::embedded::Error),
    /// A query failed.
    #[error("the database refused: {0}")]
    Query(#[from] sqlx::Error),
    /// Money could not be set up.
    #[error("billing: {0}")]
    Billing(#[from] billing::Error),
    /// A chain could not be used.
    #[error("chain: {0}")]
    Chain(#[from] onchain::Error),
    /// The pool could not be set up.
    #[error("scheduler: {0}")]
    Scheduler(#[from] scheduler::Error),
    /// Another gateway counts limits apart from this one.
    #[error(transparent)]
    Presence(#[from] crate::limits::Refused),
    /// A file or socket.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What came back.
        source: std::io::Error,
    },
    /// Anything a person must mend.
    #[error("{0}")]
    Usage(String),
    /// Checks ran and found differences.
    #[error("the books do not add up: {0} differences")]
    Differences(usize),
}

impl Error {
    /// An I/O failure and what was tried.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// Runs a command to its end; the exit code is 0 when it did what was asked.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    // Every TLS client in this process uses this provider; installing it twice is harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Error::io("starting the runtime")(error)),
    };
    match runtime.block_on(Box::pin(dispatch(args))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

async fn dispatch(args: Args) -> Result<(), Error> {
    let config = Config::load(args.config.as_deref())?;
    let env = Env::system();
    match args.command {
        Command::Serve(args) => serve::run(args, config, env).await,
        Command::Demo(args) => demo::run(args, config, env).await,
        Command::Admin(args) => admin::run(args, open(&config).await?, env, config).await,
        Command::Reconcile(args) => reconcile::run(args, open(&config).await?, env, config).await,
        Command::Ledger(args) => ledger::run(args, open(&config).await?).await,
        Command::Stripe(args) => stripe::run(args, open(&config).await?).await,
        Command::Webhooks(args) => webhooks::run(args, open(&config).await?, env, config.stripe).await,
        Command::Epoch(args) => epoch::run(args, open(&config).await?, env, &config).await,
        Command::VerifyPayout(args) => verify_payout::run(&args),
        Command::Migrate => {
            let db = open(&config).await?;
            platform::db::migrate(&db).await?;
            println!("the schema is up to date");
            Ok(())
        }
        Command::Openapi(args) => openapi::run(&args),
    }
}

/// Connects to the database a running broker uses: by address, or by the embedded one's socket.
async fn open(config: &Config) -> Result<PgPool, Error> {
    let (database, _embedded) = serve::database(config).await?;
    Ok(platform::db::connect(&database).await?)
}

/// The card processor, for a command that can't do without.
fn cards(db: PgPool, env: Env, config: StripeConfig) -> Result<Cards, Error> {
    let cards = Cards::new(db, env, config)?;
    cards.ok_or_else(|| Error::Usage("no card processor: set stripe.secret_key".to_owned()))
}

/// Whoever sits at this machine, by the name it knows them under.
fn operator() -> Actor {
    let name = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER"));
    Actor::Operator(name.unwrap_or_else(|_| "operator".to_owned()))
}

fn report(error: &Error) -> ExitCode {
    eprintln!("steelyard: {error}");
    ExitCode::FAILURE
}

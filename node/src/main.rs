//! `steelyard-node`: joins this machine and its engine to a Steelyard broker.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use http::Method;
use node::config::{EngineConfig, NodeConfig};
use node::doctor::{self, Outcome};
use node::engine::supervise::Spec;
use node::engine::{Attached, Supervised};
use node::register::{self, Applicant};
use node::{Engine, Error, Simulated, claim, client::Client, earnings, systemd};
use protocol::Env;
use protocol::bundle::Bundle;
use protocol::session::{DrainRequest, NodeView};
use protocol::wallet::Address;
use secrecy::ExposeSecret;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use url::Url;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Where the configuration is looked for.
const CONFIG: &str = "/etc/steelyard/node.toml";
/// Where keys and undelivered reports are kept unless told otherwise.
const STATE: &str = "/var/lib/steelyard-node";

/// Joins this machine and its engine to a Steelyard broker.
///
/// The first time: `steelyard-node register` makes you a provider and prints a configuration; put it
/// in a file, name your engine and prices in it, check with `steelyard-node doctor`, then
/// `steelyard-node run`. The node dials out only: no port needs to be opened.
#[derive(Parser)]
#[command(
    name = "steelyard-node",
    version,
    after_help = "Logs go to standard error; RUST_LOG=debug says more. \
    STEELYARD_BROKER_URL and STEELYARD_PROVIDER_KEY override the file."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Become a provider: a wallet signs the broker's challenge, and the provider key is kept here.
    Register(Box<Register>),
    /// Serve until SIGTERM or Ctrl-C, then finish what runs; a second signal stops at once.
    Run {
        #[command(flatten)]
        config: Config,
        /// Stop as well when standard input ends: whoever started this node with a pipe is gone, however it went.
        #[arg(long)]
        until_stdin_ends: bool,
    },
    /// Show what the broker thinks of this node.
    Status(Config),
    /// Ask the broker to send no new work; what runs may finish.
    Drain {
        #[command(flatten)]
        config: Config,
        /// Seconds that running work may still take.
        #[arg(long, default_value_t = 30)]
        deadline_s: u32,
        /// For people.
        #[arg(long)]
        reason: Option<String>,
        /// Take work again instead.
        #[arg(long)]
        resume: bool,
    },
    /// Check engine, GPU, disk, clock and broker, and name the fix for whatever fails.
    Doctor {
        #[command(flatten)]
        config: Config,
        /// Machine-readable.
        #[arg(long)]
        json: bool,
    },
    /// Have your wallet vouch for the key this node signs its usage reports with.
    Vouch {
        #[command(flatten)]
        config: Config,
        /// A file with your wallet's key, 64 hex digits.
        #[arg(long)]
        wallet_key_file: PathBuf,
    },
    /// Check a payout against everything it rests on, offline: a folder with the files of its bundle.
    VerifyPayout {
        /// The folder.
        dir: PathBuf,
    },
    /// Show what you earned, and where the money is: pending, held, released, paid.
    #[command(
        after_help = "pending   earned, and not released yet: users may still dispute what they paid (three days)
held      released, and kept back: a case that a person decides, a change of account, a missing account
released  waiting for the next daily payout, or in a payout tree for you to claim
paid      in your payout account, and final on the chain

Needs the provider key of the configuration, or STEELYARD_PROVIDER_KEY."
    )]
    Earnings {
        #[command(flatten)]
        config: Config,
        /// Days that gross, fee and net are of, today included.
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=i64::from(earnings::MAX_DAYS)))]
        days: u32,
        /// Machine-readable.
        #[arg(long)]
        json: bool,
    },
    /// Claim your tokens at the payout contract, after checking offline that they are right.
    #[command(
        after_help = "The broker claims for everybody by itself; this is for whoever will not wait for it, or not rely on it.

  steelyard-node claim                            checks, and prints the call for any wallet
  steelyard-node claim --rpc URL                  asks the contract what it would pay, too
  steelyard-node claim --rpc URL --keystore gas.json --password-file gas.pass
                                                  sends it, and waits for its block

The tokens go to the payout account of your leaf, whoever sends the call and pays its gas. A leaf holds everything
since the beginning and the contract pays what was not paid before: claiming twice pays once."
    )]
    Claim(Box<Claim>),
    /// Print a systemd unit.
    Systemd(Config),
}

#[derive(Args)]
struct Config {
    /// The configuration file.
    #[arg(long, short, env = "STEELYARD_NODE_CONFIG", default_value = CONFIG)]
    config: PathBuf,
}

#[derive(Args)]
struct Register {
    /// Where the broker is, such as https://broker.example.
    #[arg(long, env = "STEELYARD_BROKER_URL")]
    broker: Url,
    /// Shown to users.
    #[arg(long)]
    name: String,
    /// Short name: lower-case letters, digits and dashes.
    #[arg(long)]
    slug: String,
    /// Where notices go.
    #[arg(long)]
    email: String,
    /// Your country, two letters, such as DE.
    #[arg(long)]
    country: String,
    /// The terms you accept.
    #[arg(long, default_value = "1")]
    terms_version: String,
    /// Where payouts go (CAIP-10); your wallet on Base when absent.
    #[arg(long)]
    payout_account: Option<String>,
    /// A file with your wallet's key, 64 hex digits.
    #[arg(long, conflicts_with = "generate_wallet")]
    wallet_key_file: Option<PathBuf>,
    /// Make a new wallet and keep its key in the state folder. Keep a copy: payouts go there.
    #[arg(long)]
    generate_wallet: bool,
    /// Where keys are kept.
    #[arg(long, default_value = STATE)]
    state_dir: PathBuf,
}

#[derive(Args)]
struct Claim {
    #[command(flatten)]
    config: Config,
    /// The JSON-RPC of the chain the leaf is for.
    #[arg(long, value_name = "URL", env = "STEELYARD_RPC_URL", hide_env_values = true)]
    rpc: Option<String>,
    /// An encrypted keystore file whose account pays the gas; it need not be the one that is paid.
    #[arg(long, value_name = "FILE", requires_all = ["rpc", "password_file"])]
    keystore: Option<PathBuf>,
    /// A file with the keystore's password in its first line.
    #[arg(long, value_name = "FILE", requires = "keystore")]
    password_file: Option<PathBuf>,
    /// Do everything but send.
    #[arg(long)]
    dry_run: bool,
    /// The broker's receipt key, where you know it: a claim that anybody else signed is refused.
    #[arg(long, value_name = "ADDRESS")]
    signer: Option<Address>,
    /// The most the gas may cost, in millionths of the chain's coin.
    #[arg(long, value_name = "AMOUNT", default_value_t = 50_000)]
    fee_limit_micro_eth: u32,
    /// Seconds to wait for the block.
    #[arg(long, default_value_t = 600)]
    wait_s: u32,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no threads to run on: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(dispatch(cli.command));
    // A blocking call that hangs, such as a sync of a dead disk, must not hold up the end.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", causes(&error));
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(command: Command) -> Result<ExitCode, Error> {
    match command {
        Command::Register(options) => register_provider(*options).await?,
        Command::Run { config, until_stdin_ends } => run(load(&config.config)?, until_stdin_ends).await?,
        Command::Status(options) => status(&load(&options.config)?).await?,
        Command::Drain { config, deadline_s, reason, resume } => {
            let body = DrainRequest { deadline_s: Some(deadline_s), reason };
            drain(&load(&config.config)?, &body, resume).await?;
        }
        Command::Doctor { config, json } => return Ok(examine(&load(&config.config)?, json).await),
        Command::Vouch { config, wallet_key_file } => vouch(&load(&config.config)?, &wallet_key_file)?,
        Command::VerifyPayout { dir } => verify_payout(&dir)?,
        Command::Earnings { config, days, json } => show_earnings(&load(&config.config)?, days, json).await?,
        Command::Claim(options) => claim_payout(*options).await?,
        Command::Systemd(options) => {
            let drain_s = load(&options.config).map_or(30, |config| config.drain_s);
            let program = std::env::current_exe().unwrap_or_else(|_| "/usr/local/bin/steelyard-node".into());
            print!("{}", systemd::unit(&program, &options.config, drain_s));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn load(path: &Path) -> Result<NodeConfig, Error> {
    NodeConfig::load(path, |name| std::env::var(name).ok())
}

fn engine(config: &NodeConfig) -> Result<Arc<dyn Engine>, Error> {
    Ok(match &config.engine {
        EngineConfig::Attach { url, health, .. } => Arc::new(Attached::new(url, health)?),
        EngineConfig::Supervise { command, args, url, health, .. } => {
            let log = config.state_dir.as_ref().map(|folder| folder.join("engine.log"));
            if let Some(folder) = &config.state_dir {
                std::fs::create_dir_all(folder).map_err(|source| Error::File {
                    path: folder.clone(),
                    doing: "making the state folder",
                    source,
                })?;
            }
            Arc::new(Supervised::new(Spec {
                command: command.clone(),
                args: args.clone(),
                url: url.clone(),
                health: health.clone(),
                log,
            })?)
        }
        EngineConfig::Simulated { model, slots, latency, faults } => {
            tracing::warn!("SIMULATED ENGINE: no model runs here, and every answer says so");
            let engine = Simulated::new(model.clone(), *slots, *latency);
            engine.set_faults(*faults);
            Arc::new(engine)
        }
    })
}

async fn run(config: NodeConfig, until_stdin_ends: bool) -> Result<(), Error> {
    let shutdown = CancellationToken::new();
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return Err(Error::Config("signals can't be received here".into()));
    };
    let told = shutdown.clone();
    let watching = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = stdin_ended(), if until_stdin_ends => {}
        }
        tracing::info!("finishing what runs; a second signal stops at once");
        told.cancel();
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    };
    let engine = engine(&config)?;
    tokio::select! {
        result = node::run(config, engine, Env::system(), shutdown) => result,
        () = watching => Ok(()),
    }
}

/// Returns once nobody can write to standard input any more. What is written there is ignored.
async fn stdin_ended() {
    // An input that can't be read has ended too. The thread waits for good; the end of the process doesn't wait for it.
    let _ = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await;
}

async fn register_provider(options: Register) -> Result<(), Error> {
    let env = Env::system();
    let file = match (&options.wallet_key_file, options.generate_wallet) {
        (Some(file), _) => file.clone(),
        (None, true) => options.state_dir.join("wallet.key"),
        (None, false) => {
            return Err(Error::Config("name your wallet with --wallet-key-file, or use --generate-wallet".into()));
        }
    };
    let wallet = register::wallet(&file, options.generate_wallet, &env)?;
    let applicant = Applicant {
        name: options.name,
        slug: options.slug,
        contact_email: options.email,
        country: options.country,
        terms_version: options.terms_version,
        payout_account: options.payout_account,
    };
    let done = register::register(&options.broker, applicant, &wallet, &options.state_dir, &env).await?;
    eprintln!("registered {} with wallet {}", done.provider, wallet.address());
    eprintln!("the provider key is in {}; write this to {CONFIG} and set engine and prices:", done.key_file.display());
    println!("{}", done.config);
    Ok(())
}

/// A client, and the path of this node at the broker.
fn at_broker(config: &NodeConfig) -> Result<(Client, String, &str), Error> {
    let identity = config.state_dir.as_deref().and_then(node::Identity::read);
    let Some(identity) = identity else {
        return Err(Error::Config("this node has not joined yet: run `steelyard-node run` first".into()));
    };
    let Some(key) = &config.provider_key else {
        return Err(Error::Config("no provider key: set STEELYARD_PROVIDER_KEY".into()));
    };
    let path = format!("/v1/providers/{}/nodes/{}", config.provider, identity.node);
    Ok((Client::new(&config.broker)?, path, key.expose_secret()))
}

fn vouch(config: &NodeConfig, wallet_key_file: &Path) -> Result<(), Error> {
    let env = Env::system();
    let Some(folder) = &config.state_dir else {
        return Err(Error::Config("without state_dir this node's receipt key ends with its process".into()));
    };
    let wallet = register::wallet(wallet_key_file, false, &env)?;
    let key = node::vouch::vouch(folder, config.provider, &wallet, &env)?;
    println!("{} vouches for {key}; restart the node to say so", wallet.address());
    Ok(())
}

/// The same check as the broker's `steelyard verify-payout`, without the broker.
fn verify_payout(dir: &Path) -> Result<(), Error> {
    let bundle = Bundle::read_from(|name| std::fs::read(dir.join(name)).ok());
    let verified = bundle.verify().map_err(|flaw| Error::Config(format!("NOT verified: {flaw}")))?;
    let statement = &verified.statement;
    println!("verified   epoch {} of {}", statement.epoch, statement.provider);
    println!("receipts   {}, {} of them without a report", statement.receipts, verified.unsigned);
    println!("paid       {} base units, {} in all", statement.tokens, statement.cumulative);
    println!("left over  {} USD", statement.carried_out);
    println!("wallet     {}, which {} keys lack the word of", statement.wallet, verified.unvouched);
    println!("contract   {} must have root {}", statement.domain.distributor, verified.leaves_root);
    println!("           and manifest {}, signed by {}", verified.manifest_hash, statement.signer);
    Ok(())
}

async fn show_earnings(config: &NodeConfig, days: u32, json: bool) -> Result<(), Error> {
    let earnings = earnings::fetch(config, days, Env::system().now()).await?;
    if json {
        println!("{}", serde_json::json!(earnings));
    } else {
        print!("{earnings}");
    }
    Ok(())
}

async fn claim_payout(options: Claim) -> Result<(), Error> {
    let config = load(&options.config.config)?;
    let options = claim::Options {
        signer: options.signer,
        rpc: options.rpc.map(Into::into),
        keystore: options.keystore.zip(options.password_file),
        dry_run: options.dry_run,
        fee_limit_micro_eth: options.fee_limit_micro_eth,
        wait_s: options.wait_s,
    };
    claim::run(&config, &options, |line| println!("{line}")).await
}

async fn status(config: &NodeConfig) -> Result<(), Error> {
    let (client, path, key) = at_broker(config)?;
    let (_, view) = client.call(Method::GET, path).bearer(key).send::<NodeView>().await?;
    println!("node     {}", view.id);
    println!("state    {}", view.state);
    println!("trust    {}", serde_json::json!(view.trust).as_str().unwrap_or("-"));
    println!("tunnels  {}", view.tunnels);
    match view.last_seen_at {
        Some(at) => println!("seen     {} s ago", (Env::system().now().unix_seconds() - at).max(0)),
        None => println!("seen     never"),
    }
    for check in &view.checks {
        println!("FAIL     {}: {}\n         fix: {}", check.name, check.seen, check.fix);
    }
    Ok(())
}

async fn drain(config: &NodeConfig, body: &DrainRequest, resume: bool) -> Result<(), Error> {
    let (client, path, key) = at_broker(config)?;
    let verb = if resume { "resume" } else { "drain" };
    client.call(Method::POST, format!("{path}/{verb}")).bearer(key).json(body)?.done().await?;
    println!("{}", if resume { "takes work again" } else { "no new work; what runs may finish" });
    Ok(())
}

async fn examine(config: &NodeConfig, json: bool) -> ExitCode {
    let checks = doctor::examine(config, &Env::system()).await;
    if json {
        println!("{}", serde_json::json!({ "checks": checks }));
    } else {
        for check in &checks {
            let mark = match check.outcome {
                Outcome::Ok => "ok  ",
                Outcome::Warning => "note",
                Outcome::Failed => "FAIL",
            };
            println!("{mark}  {:<13} {}", check.name, check.seen);
            if let Some(fix) = &check.fix {
                println!("      {:<13} fix: {fix}", "");
            }
        }
    }
    let failed = checks.iter().any(|check| check.outcome == Outcome::Failed);
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

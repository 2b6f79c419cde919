//! `steelyard demo`: the whole chain on this machine, and one answer with its bill.

mod bill;
mod cards;
mod chain;
mod children;
mod client;
mod setup;

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use platform::embedded::{Embedded, EmbeddedConfig};
use platform::shutdown::Shutdown;
use platform::telemetry::TelemetryConfig;
use protocol::Env;
use secrecy::SecretString;

use self::cards::Till;
use self::children::Node;
use self::setup::Customer;
use super::Error;
use super::serve::Broker;
use crate::config::Config;

/// Options of `steelyard demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What answers: the real llama.cpp engine, or a built-in stand-in that only looks like one.
    #[arg(long, value_enum, default_value_t = Engine::Llama)]
    engine: Engine,
    /// Show how providers are paid instead: fifty of them over three epochs, on a chain of this machine.
    #[arg(long, value_enum)]
    chain: Option<Chain>,
    /// Stop after the bill instead of staying up.
    #[arg(long)]
    once: bool,
    /// Where everything is kept: database, node identity, logs.
    #[arg(long, default_value = "target/demo", value_name = "DIR")]
    dir: PathBuf,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The folder the engine was set up in: its Python, its model.
    #[arg(long, env = "STEELYARD_ENGINE_DIR", value_name = "DIR")]
    engine_dir: Option<PathBuf>,
    /// What to ask.
    #[arg(long, default_value = "Explain in two sentences what a steelyard balance is.")]
    prompt: String,
}

/// What answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Engine {
    /// llama.cpp with SmolLM2-135M-Instruct.
    Llama,
    /// A latency model without any language model.
    Simulated,
    /// No node at all: the broker alone, for a node you join yourself.
    None,
}

/// On which chain providers are paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Chain {
    /// anvil, from `ANVIL_BIN` or `PATH`.
    Anvil,
}

/// How long an engine may take to load its model on a slow machine.
const READY_TIMEOUT: Duration = Duration::from_secs(180);

pub(super) async fn run(args: Args, mut config: Config, env: Env) -> Result<(), Error> {
    std::fs::create_dir_all(&args.dir).map_err(Error::io(format!("creating {}", args.dir.display())))?;
    let dir = args.dir.canonicalize().map_err(Error::io(format!("finding {}", args.dir.display())))?;
    if args.chain == Some(Chain::Anvil) {
        return Box::pin(chain::run(&dir)).await;
    }
    forget_env(&dir)?;
    config.server.listen = free_address(args.listen)?;
    config.providers.allow_private = true;
    config.providers.probes_to_activate = config.providers.probes_to_activate.min(2);
    if config.telemetry.log_filter == TelemetryConfig::default().log_filter {
        // The story is told on the terminal; what goes wrong still shows.
        config.telemetry.log_filter = "warn".to_owned();
    }
    let till = Till::start(&dir, &mut config, &format!("whsec_{}", hex::encode(env.bytes::<16>())))?;
    config.payouts.artefacts_dir = dir.join("artefacts");
    config.receipts.secret = Some(secret(&dir.join("receipts.secret"), &env)?);
    let telemetry = platform::telemetry::init(&config.telemetry)?;
    // Ctrl-C reaches this one; the broker stops later, once the node has drained and handed in its reports.
    let (asked, shutdown) = (Shutdown::new(), Shutdown::new());
    asked.on_signals().map_err(Error::io("listening for signals"))?;

    step("starting Postgres");
    let embedded = Embedded::start(EmbeddedConfig::new(dir.join("postgres")).guarded()).await?;
    step("starting the broker");
    let database = config.database.clone().with_url(embedded.url());
    let broker = Broker::start(config, env, database, telemetry.metrics.clone(), shutdown.clone()).await?;
    let database_url = embedded.url();
    let outcome = tokio::select! {
        outcome = Box::pin(show(&args, &dir, &broker, &database_url, till.as_ref())) => outcome,
        () = asked.begun() => Ok(None),
    };
    let node = match outcome {
        Ok(node) => node,
        Err(error) => {
            shutdown.begin();
            broker.until_stopped().await;
            embedded.stop().await?;
            return Err(error);
        }
    };
    if !args.once && !asked.is_stopping() {
        println!("\nEverything stays up until Ctrl-C.");
        asked.begun().await;
    }
    step("stopping");
    if let Some(node) = node {
        node.stop().await;
    }
    shutdown.begin();
    broker.until_stopped().await;
    embedded.stop().await?;
    Ok(())
}

/// Buys credit, joins a node, asks it one thing as a customer, and shows what that cost.
async fn show(
    args: &Args,
    dir: &Path,
    broker: &Broker,
    database_url: &str,
    till: Option<&Till>,
) -> Result<Option<Node>, Error> {
    let url = format!("http://{}", broker.address);
    step("creating an organization with 5.00 USD of promotional credit, and its keys");
    let model = setup::model(&broker.app, args).await?;
    let customer = setup::customer(&broker.app).await?;
    if let Some(till) = till {
        till.buy(&url, &customer).await?;
    }
    if args.engine == Engine::None {
        write_env(dir, &url, &customer, None, database_url)?;
        println!("\nThe broker is at {url}. Join a node with: steelyard-node register --broker {url} --help");
        return Ok(None);
    }
    if args.engine == Engine::Simulated {
        println!(
            "\n  !! The SIMULATED engine answers: no language model runs, the text is made up by a latency model. !!\n"
        );
    }
    step("registering a provider and joining its node through a tunnel");
    let node = Node::start(args, dir, &url, &model).await?;
    let ready = wait_until_served(broker, &node, &model);
    tokio::time::timeout(READY_TIMEOUT, ready).await.map_err(|_| {
        Error::Usage(format!("the node did not become ready in {READY_TIMEOUT:?}; see {}", node.log().display()))
    })??;
    write_env(dir, &url, &customer, Some(&node), database_url)?;
    let asked = client::ask(&url, &customer.key, model.id, &args.prompt).await?;
    bill::print(&broker.app, &customer, &asked).await?;
    bill::print_snippets(&url, &customer.key, model.id);
    Ok(Some(node))
}

/// Waits until the offer has passed its probes, showing that something is going on.
async fn wait_until_served(broker: &Broker, node: &Node, model: &setup::Model) -> Result<(), Error> {
    step("waiting for the engine to load and the offer to pass its probes");
    let mut dots = 0;
    while !broker.app.scheduler.is_served(model.id) {
        node.check_alive()?;
        tokio::time::sleep(Duration::from_millis(100)).await;
        dots += 1;
        if dots % 10 == 0 {
            print!(".");
            std::io::stdout().flush().map_err(Error::io("writing to the terminal"))?;
        }
    }
    if dots >= 10 {
        println!();
    }
    Ok(())
}

/// The secret kept in `path`, made first if there is none: receipts of the last demo stay signed by the same broker.
fn secret(path: &Path, env: &Env) -> Result<SecretString, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_owned().into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let made = hex::encode(env.bytes::<32>());
            let mut options = std::fs::OpenOptions::new();
            let written = options.write(true).create_new(true).mode(0o600).open(path);
            written
                .and_then(|mut file| writeln!(file, "{made}"))
                .map_err(Error::io(format!("writing {}", path.display())))?;
            Ok(made.into())
        }
        Err(error) => Err(Error::io(format!("reading {}", path.display()))(error)),
    }
}

/// Removes what the last demo left for scripts: its address and keys mean nothing now, and a script that
/// waits for the file waits for this one's.
fn forget_env(dir: &Path) -> Result<(), Error> {
    let path = dir.join("env");
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format!("removing {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}

/// What scripts need to use the demo: secrets, so only the owner may read it.
fn write_env(dir: &Path, url: &str, customer: &Customer, node: Option<&Node>, database_url: &str) -> Result<(), Error> {
    let path = dir.join("env");
    let provider = node.map(Node::provider_key).transpose()?.unwrap_or_default();
    // A shell reads this, and the database's address holds an ampersand: hence its quotes.
    let text = format!(
        "STEELYARD_URL={url}\nSTEELYARD_API_KEY={}\nSTEELYARD_ADMIN_KEY={}\nSTEELYARD_PROVIDER_KEY={provider}\nDATABASE_URL='{}'\n",
        customer.key, customer.admin_key, database_url,
    );
    // Written aside and moved: whoever waits for the file never reads half of it.
    let draft = dir.join("env.new");
    let _ = std::fs::remove_file(&draft);
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&draft, &path));
    written.map_err(Error::io(format!("writing {}", path.display())))
}

/// The address asked for, or a free port beside it when something else has it.
fn free_address(wanted: SocketAddr) -> Result<SocketAddr, Error> {
    if std::net::TcpListener::bind(wanted).is_ok() {
        return Ok(wanted);
    }
    let any = SocketAddr::new(wanted.ip(), 0);
    let free = std::net::TcpListener::bind(any).and_then(|listener| listener.local_addr());
    let free = free.map_err(Error::io(format!("listening on {}", wanted.ip())))?;
    println!("  {wanted} is taken; using {free}");
    Ok(free)
}

fn step(text: &str) {
    println!("• {text}");
}

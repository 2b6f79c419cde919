//! The subcommands: arguments in, a printed result and an exit code out.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use loadtest::client::Client;
use loadtest::compare::{self, Budget, Plan, Targets};
use loadtest::engine::{self, ModelSpec, Models};
use loadtest::scenario::Scenario;
use loadtest::{Error, books, fleet, proxy, report, run as load, serve};
use protocol::Env;
use tokio_util::sync::CancellationToken;
use url::Url;

/// Over how long the streams of a comparison open: a thousand at one instant would measure the listen queue.
const RAMP: Duration = Duration::from_secs(2);

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Open-loop load from a scenario file on one broker, then the money check.
    Run(RunArgs),
    /// The same short steps on several targets in turn; prints them side by side and against the budget.
    Compare(CompareArgs),
    /// Simulated nodes in one process, joined to a broker by the real node code.
    Fleet(FleetArgs),
    /// The simulated engine by itself, as an OpenAI-style server.
    Engine(EngineArgs),
    /// A proxy that only passes HTTP through: the yardstick.
    Proxy(ProxyArgs),
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// A TOML file; see loadtest/scenarios.
    scenario: PathBuf,
    /// The broker, or any OpenAI-style server.
    #[arg(long)]
    url: Url,
    /// A file with the key. Without a key nothing is billed and no money is checked.
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    key_file: Option<PathBuf>,
    /// The key itself; a file keeps it out of the process list.
    #[arg(long, env = "STEELYARD_API_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Instead of the scenario's model.
    #[arg(long)]
    model: Option<String>,
    /// Instead of the scenario's seed.
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// A TOML file: `baseline`, `yardstick`, and [[target]] with name, url, pids, beside, durable, key_file.
    #[arg(long, value_name = "FILE")]
    targets: PathBuf,
    /// A model that answers at once.
    #[arg(long, default_value = "load/fast")]
    fast: String,
    /// A model that says a token every --pace-ms.
    #[arg(long, default_value = "load/paced")]
    paced: String,
    /// A model that says a token a second.
    #[arg(long, default_value = "load/slow")]
    slow: String,
    /// How often the short steps are repeated.
    #[arg(long, default_value_t = 3)]
    repetitions: u32,
    /// Length of a short step in seconds.
    #[arg(long, default_value_t = 3.0)]
    step_s: f64,
    /// Requests in flight in the short steps.
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
    /// Tokens of a small JSON answer.
    #[arg(long, default_value_t = 4)]
    json_tokens: u32,
    /// Streams open at once in the paced and idle steps.
    #[arg(long, default_value_t = 1_000)]
    streams: u32,
    /// Tokens of each paced stream.
    #[arg(long, default_value_t = 300)]
    stream_tokens: u32,
    /// Between two tokens of the paced model.
    #[arg(long, default_value_t = 20.0)]
    pace_ms: f64,
    /// Exit with 1 when a broker is over its budget, not only when answers or money are wrong. `make load` asks for
    /// this with LOAD_STRICT=1; without it a budget that is not kept is printed, and the exit code stays 0.
    #[arg(long)]
    strict: bool,
}

#[derive(Debug, Args)]
pub struct FleetArgs {
    /// The broker to join.
    #[arg(long)]
    broker: Url,
    /// How many nodes serve each model.
    #[arg(long, default_value_t = 1)]
    nodes: u32,
    /// What they serve and how fast: NAME[,ttft_ms=50][,tpot_ms=20][,tokens=N][,jitter=0][,seed=1]. Repeatable.
    #[arg(long = "model", value_parser = ModelSpec::parse, required = true)]
    models: Vec<ModelSpec>,
    /// Requests each node answers at once.
    #[arg(long, default_value_t = 64)]
    slots: u32,
    /// Tunnels of each node.
    #[arg(long, default_value_t = 2)]
    tunnels: u32,
    /// Listen for the broker on loopback ports instead of dialling it. The broker must allow private addresses.
    #[arg(long)]
    direct: bool,
    /// US dollars per million prompt tokens.
    #[arg(long, default_value = "0.10")]
    prompt_usd_per_million: String,
    /// US dollars per million output tokens.
    #[arg(long, default_value = "0.20")]
    completion_usd_per_million: String,
    /// Written once every node has joined: one line with the provider's id.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    #[command(flatten)]
    faults: FaultArgs,
}

#[derive(Debug, Args)]
pub struct EngineArgs {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// What it serves and how fast: NAME[,ttft_ms=50][,tpot_ms=20][,tokens=N][,jitter=0][,seed=1]. Repeatable.
    #[arg(long = "model", value_parser = ModelSpec::parse, required = true)]
    models: Vec<ModelSpec>,
    #[command(flatten)]
    faults: FaultArgs,
}

#[derive(Debug, Args)]
struct FaultArgs {
    /// What goes wrong, as JSON: {"kind":"close_after","chunks":5}. Kinds: refuse (status), hang_before_headers,
    /// hang_after_headers, close_after, error_after, garbage_after, stall_after (chunks), die (after_chunks).
    #[arg(long, value_name = "JSON")]
    fault: Option<String>,
    /// One request in this many is hit.
    #[arg(long, default_value_t = 1, value_name = "N")]
    fault_every: u32,
}

#[derive(Debug, Args)]
pub struct ProxyArgs {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// Where everything goes.
    #[arg(long)]
    upstream: Url,
}

/// Runs one subcommand. The code is 1 when the run was made and found something wrong.
pub async fn run(command: Command, json: Option<&Path>) -> Result<ExitCode, Error> {
    let fine = match command {
        Command::Run(args) => run_scenario(args, json).await?,
        Command::Compare(args) => compare_targets(args, json).await?,
        Command::Fleet(args) => run_fleet(args).await?,
        Command::Engine(args) => {
            let faults = engine::faults(args.faults.fault.as_deref(), args.faults.fault_every)?;
            let models = Models::new(&args.models, u32::MAX, faults);
            engine::run(serve::listen(args.listen).await?, models, until_signalled()).await;
            true
        }
        Command::Proxy(args) => {
            proxy::run(serve::listen(args.listen).await?, &args.upstream, until_signalled()).await?;
            true
        }
    };
    Ok(ExitCode::from(u8::from(!fine)))
}

async fn run_scenario(args: RunArgs, json: Option<&Path>) -> Result<bool, Error> {
    let mut scenario = Scenario::load(&args.scenario)?;
    scenario.model = args.model.unwrap_or(scenario.model);
    scenario.seed = args.seed.unwrap_or(scenario.seed);
    let key = match &args.key_file {
        Some(path) => Some(read_key(path)?),
        None => args.key,
    };
    let client = Arc::new(Client::connect(&args.url, key.as_deref(), scenario.connections).await?);
    let before = match key {
        Some(_) => Some(books::total_usage(&client).await?),
        None => None,
    };
    let begun = std::time::Instant::now();
    let record = load::open_loop(&client, &scenario).await;
    let seconds = begun.elapsed().as_secs_f64();
    print!("{}", report::run(&scenario.name, &record, seconds));
    let mut fine = record.broken_count() == 0;
    let mut result = report::run_json(&scenario.name, &record, seconds);
    if let Some(before) = before {
        let verdict = books::check(&client, before, &record).await?;
        println!("{verdict}");
        fine &= verdict.agrees();
        result["money_agrees"] = verdict.agrees().into();
    }
    write_json(json, &result)?;
    Ok(fine)
}

async fn compare_targets(args: CompareArgs, json: Option<&Path>) -> Result<bool, Error> {
    let targets = Targets::load(&args.targets)?;
    let step = Duration::try_from_secs_f64(args.step_s).map_err(|_| Error::Invalid("--step-s: not a time".into()))?;
    let pace_ms = args.pace_ms;
    let plan = Plan {
        fast: args.fast,
        paced: args.paced,
        slow: args.slow,
        repetitions: args.repetitions,
        step,
        concurrency: args.concurrency,
        json_tokens: args.json_tokens,
        streams: args.streams,
        stream_tokens: args.stream_tokens,
        pace_ms,
        ramp: RAMP,
    };
    let found = compare::run(targets, &plan).await?;
    let budget = Budget::default();
    println!("{}", compare::print(&found));
    let mut fine = found.figures.iter().all(|figures| figures.broken.is_empty());
    for (line, kept) in compare::verdicts(&found, &budget, pace_ms) {
        println!("{line}");
        fine &= kept || !args.strict;
    }
    for (name, verdict) in &found.money {
        println!("{name}: {verdict}");
        fine &= verdict.agrees();
    }
    write_json(json, &compare::to_json(&found, &budget))?;
    Ok(fine)
}

async fn run_fleet(args: FleetArgs) -> Result<bool, Error> {
    let faults = engine::faults(args.faults.fault.as_deref(), args.faults.fault_every)?;
    let plan = fleet::Plan {
        broker: args.broker,
        nodes_per_model: args.nodes,
        models: args.models,
        slots: args.slots,
        tunnels: args.tunnels,
        direct: args.direct,
        prompt_usd_per_million: args.prompt_usd_per_million,
        completion_usd_per_million: args.completion_usd_per_million,
        faults,
    };
    let running = fleet::start(&plan, &Env::system()).await?;
    println!("provider {} has {} nodes", running.provider(), running.members().len());
    if let Some(path) = &args.ready_file {
        std::fs::write(path, format!("{}\n", running.provider()))
            .map_err(Error::file(path, "writing the ready file"))?;
    }
    until_signalled().cancelled().await;
    running.stop().await?;
    Ok(true)
}

/// Cancelled at the first SIGINT or SIGTERM.
fn until_signalled() -> CancellationToken {
    let token = CancellationToken::new();
    let stop = token.clone();
    // Lives as long as the process: there is nothing after the signal.
    tokio::spawn(async move {
        let _guard = stop.drop_guard();
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    });
    token
}

fn read_key(path: &Path) -> Result<String, Error> {
    let text = std::fs::read_to_string(path).map_err(Error::file(path, "reading the key"))?;
    Ok(text.trim().to_owned())
}

fn write_json(path: Option<&Path>, value: &serde_json::Value) -> Result<(), Error> {
    match path {
        Some(path) => std::fs::write(path, format!("{value:#}\n")).map_err(Error::file(path, "writing the result")),
        None => Ok(()),
    }
}

//! `steelyard-load`: puts load on a broker and judges the answer, the time and the bill.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use loadtest::Error;
use tracing_subscriber::EnvFilter;

mod commands;

use commands::Command;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Puts load on a Steelyard broker, as its customers and providers make it.
///
/// Latencies count from when a request was meant to start, so a server that stalls can't hide the
/// requests that would have come meanwhile. Every stream must end in [DONE] with a finish reason or
/// a stated error, and the costs customers saw must add up to what the ledger booked, to the
/// billionth of a dollar: if either fails, so does the command.
#[derive(Debug, Parser)]
#[command(name = "steelyard-load", version, max_term_width = 110)]
#[command(after_help = "EXAMPLES:
  A hundred simulated nodes for a broker on this machine, then load on them:
    steelyard-load fleet --broker http://127.0.0.1:8080 --nodes 100 --model demo/model,tpot_ms=20
    steelyard-load run loadtest/scenarios/chat.toml --url http://127.0.0.1:8080 --key-file key --model demo/model

  An engine without a model, and a proxy that does nothing, to compare with:
    steelyard-load engine --listen 127.0.0.1:9000 --model fast,ttft_ms=0,tpot_ms=0
    steelyard-load proxy --listen 127.0.0.1:9001 --upstream http://127.0.0.1:9000

  All of it beside each other, with a broker: make load")]
struct Args {
    #[command(subcommand)]
    command: Command,
    /// Worker threads. One leaves the other cores to what is measured; a proxy wants one per core.
    #[arg(long, global = true)]
    threads: Option<usize>,
    /// Also write the result as JSON to this file.
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,loadtest=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    loadtest::process::raise_open_files();
    match start(args) {
        Ok(code) => code,
        Err(error) => {
            let mut text = error.to_string();
            let mut next = std::error::Error::source(&error);
            while let Some(cause) = next {
                text.push_str(&format!(": {cause}"));
                next = cause.source();
            }
            eprintln!("steelyard-load: {text}");
            ExitCode::from(2)
        }
    }
}

fn start(args: Args) -> Result<ExitCode, Error> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = args.threads.unwrap_or(if matches!(args.command, Command::Proxy(_)) { cores } else { 1 });
    let mut builder = match threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder
        .worker_threads(threads.max(1))
        .enable_all()
        .build()
        .map_err(|error| Error::Invalid(format!("no async runtime: {error}")))?;
    runtime.block_on(commands::run(args.command, args.json.as_deref()))
}

//! The processor as a program, for the demo and for trying things by hand.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use fake_stripe::{FakeStripe, Knobs};
use protocol::Env;

/// A card processor that behaves like Stripe. No money moves.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Where it listens.
    #[arg(long, default_value = "127.0.0.1:12111")]
    listen: SocketAddr,
    /// Where webhooks go.
    #[arg(long)]
    webhook_url: Option<String>,
    /// What webhooks are signed with.
    #[arg(long, default_value = "whsec_fake")]
    webhook_secret: String,
    /// How it misbehaves: a file of JSON with the fields that `GET /_fake/knobs` shows.
    #[arg(long)]
    knobs: Option<PathBuf>,
    /// Stop when the input ends, as it does when the process that gave it is gone.
    #[arg(long)]
    until_stdin_ends: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let args = Args::parse();
    let mut knobs: Knobs = match &args.knobs {
        Some(path) => serde_json::from_slice(&std::fs::read(path)?)?,
        None => Knobs::default(),
    };
    knobs.webhooks.url = args.webhook_url.or(knobs.webhooks.url);
    knobs.webhooks.secret = args.webhook_secret;
    let fake = FakeStripe::start(args.listen, Env::system(), knobs).await?;
    tracing::info!(url = fake.url(), "the fake processor listens");
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        () = stdin_ended(), if args.until_stdin_ends => {}
    }
    Ok(())
}

/// Waits for the end of the input; what comes before it is nobody's.
async fn stdin_ended() {
    let (ended, told) = tokio::sync::oneshot::channel();
    // A thread nobody joins: a read of the input can't be broken off, and must not keep the program from ending.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = ended.send(());
    });
    let _ = told.await;
}

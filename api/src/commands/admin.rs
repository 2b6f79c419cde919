//! `steelyard admin …`: what an operator does by hand. Every change leaves an audit event.

mod dispute;
mod evidence;
mod grant;
mod key;
mod limit;
mod model;
mod org;
mod output;
mod price;
mod project;
mod provider;
mod quarantine;
mod rate_limit;
mod treasury;
mod whose;

use billing::{Cards, PayoutsConfig};
use clap::Subcommand;
use protocol::Env;
use serde_json::Value;
use sqlx::PgPool;

use super::{Error, operator};
use crate::config::Config;
use crate::store::audit::Actor;

/// Options of `steelyard admin`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    json: bool,
    /// What to manage.
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Organizations: who pays.
    #[command(subcommand)]
    Org(org::Command),
    /// Projects of an organization.
    #[command(subcommand)]
    Project(project::Command),
    /// API keys.
    #[command(subcommand)]
    Key(key::Command),
    /// What keys, projects and organizations may spend at most.
    #[command(subcommand)]
    Limit(limit::Command),
    /// How much keys, projects and organizations may ask for at a time: requests, tokens, places.
    #[command(subcommand)]
    RateLimit(rate_limit::Command),
    /// Give an organization credit.
    Grant(grant::Args),
    /// Take rates.
    #[command(subcommand)]
    Price(price::Command),
    /// The catalogue of models that providers may offer.
    #[command(subcommand)]
    Model(model::Command),
    /// Providers.
    #[command(subcommand)]
    Provider(provider::Command),
    /// Payments cardholders want back.
    #[command(subcommand)]
    Dispute(dispute::Command),
    /// Settlements the books refused.
    #[command(subcommand)]
    Quarantine(quarantine::Command),
    /// Coins that providers and gas are paid with: what was bought, and what it is worth.
    #[command(subcommand)]
    Treasury(treasury::Command),
}

/// What every command works with.
struct Desk {
    db: PgPool,
    env: Env,
    actor: Actor,
    /// Where bought credit is sent back; `None` when no card is taken.
    cards: Option<Cards>,
    /// Which token providers are paid in, and who says what it is worth.
    payouts: PayoutsConfig,
    /// On which chain.
    chain_id: u64,
}

/// Does what was asked and prints the outcome.
///
/// # Errors
/// [`Error::Usage`] names what the operator can mend; the rest says what failed.
pub async fn run(args: Args, db: PgPool, env: Env, config: Config) -> Result<(), Error> {
    let json = args.json;
    let cards = Cards::new(db.clone(), env.clone(), config.stripe.clone())?;
    let outcome = execute_with(args, db, env, operator(), cards, &config).await?;
    output::print(&outcome, json);
    Ok(())
}

/// Does what was asked on behalf of `actor` and returns what there is to print: an object, or a list of them.
///
/// # Errors
/// As [`run`].
pub async fn execute(args: Args, db: PgPool, env: Env, actor: Actor) -> Result<Value, Error> {
    // Settings are large, and whoever waits for this would carry them.
    let config = Box::new(Config::default());
    execute_with(args, db, env, actor, None, &config).await
}

/// The same with a card processor at hand, and the settings of this installation.
///
/// # Errors
/// As [`run`].
pub async fn execute_with(
    args: Args,
    db: PgPool,
    env: Env,
    actor: Actor,
    cards: Option<Cards>,
    config: &Config,
) -> Result<Value, Error> {
    let desk = Desk { db, env, actor, cards, payouts: config.payouts.clone(), chain_id: config.receipts.chain_id };
    match args.command {
        Command::Org(command) => org::run(&desk, command).await,
        Command::Project(command) => project::run(&desk, command).await,
        Command::Key(command) => key::run(&desk, command).await,
        Command::Limit(command) => limit::run(&desk, command).await,
        Command::RateLimit(command) => rate_limit::run(&desk, command).await,
        Command::Grant(args) => grant::run(&desk, args).await,
        Command::Price(command) => price::run(&desk, command).await,
        Command::Model(command) => model::run(&desk, command).await,
        Command::Provider(command) => provider::run(&desk, command).await,
        Command::Dispute(command) => dispute::run(&desk, command).await,
        Command::Quarantine(command) => quarantine::run(&desk, command).await,
        Command::Treasury(command) => treasury::run(&desk, command).await,
    }
}

/// A name people give to things: not empty, and short enough to show.
fn name(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > 200 {
        return Err("a name has 1 to 200 characters".to_owned());
    }
    Ok(text.to_owned())
}

fn missing(what: &str, id: impl std::fmt::Display) -> Error {
    Error::Usage(format!("there is no {what} {id}"))
}

//! `steelyard reconcile`: whether the books add up.

use protocol::Env;
use serde_json::json;
use sqlx::PgPool;

use super::Error;
use crate::config::Config;

/// Options of `steelyard reconcile`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
    /// Read the card processor's account, too, and match it with the books line by line.
    #[arg(long)]
    stripe: bool,
    /// Ask the payout contract, too, and compare what it owes, has paid and holds with the books.
    #[arg(long)]
    chain: bool,
}

/// Runs every check and prints a line each, and a line per difference.
///
/// # Errors
/// [`Error::Differences`] when there are any, so that the exit code says so too.
pub async fn run(args: Args, db: PgPool, env: Env, config: Config) -> Result<(), Error> {
    let mut report = billing::reconcile_with(&db, &config.billing.lease).await?;
    // Whoever mended a difference ends the alarm about it by this.
    if let Err(error) = billing::reconcile::remember(&db, &report, env.now()).await {
        tracing::warn!(%error, "replicas go on telling of the check before: this one could not be written down");
    }
    if args.chain {
        let (domain, payouts) = (config.receipts.domain(), &config.payouts);
        let rail = billing::Ethereum::open(db.clone(), env.clone(), domain, payouts).await?;
        let rail = rail.ok_or_else(|| Error::Usage("there is no chain: set payouts.chain.rpc_url".to_owned()))?;
        report.checks.push(rail.compare().await?);
    }
    if args.stripe {
        let cards = super::cards(db, env, config.stripe)?;
        report.checks.extend(billing::reconcile_stripe(&cards).await?.checks);
    }
    let differences: usize = report.checks.iter().map(|check| check.differences.len()).sum();
    if args.json {
        let checks: Vec<_> = report
            .checks
            .iter()
            .map(|check| json!({ "check": check.name, "examined": check.examined, "differences": check.differences }))
            .collect();
        println!("{:#}", json!({ "differences": differences, "checks": checks }));
    } else {
        for check in &report.checks {
            let verdict = if check.differences.is_empty() { "ok" } else { "DIFFERS" };
            println!("{verdict:8} {} ({} examined)", check.name, check.examined);
            for difference in &check.differences {
                println!("         {difference}");
            }
        }
    }
    if differences == 0 { Ok(()) } else { Err(Error::Differences(differences)) }
}

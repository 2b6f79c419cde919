//! `steelyard ledger`: the books as they stand.

use billing::store::transfers::{self, Line};
use clap::Subcommand;
use protocol::{Id as _, OrganizationId, ProviderId};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};

use super::Error;

/// The longest the balance may take: a request's limit is far too short for sums over everything.
const STATEMENT_TIMEOUT_MS: u64 = 1_800_000;

/// Options of `steelyard ledger`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print the trial balance: what every kind of account has turned over. Exits 1 when it is not zero.
    Show {
        /// Only the accounts of this organization.
        #[arg(long, conflicts_with = "provider")]
        org: Option<OrganizationId>,
        /// Only the accounts of this provider.
        #[arg(long)]
        provider: Option<ProviderId>,
        /// Print JSON instead of text.
        #[arg(long)]
        json: bool,
    },
}

/// Prints it.
///
/// # Errors
/// [`Error::Query`]; [`Error::Differences`] when debits and credits of the whole are not the same.
pub async fn run(args: Args, db: PgPool) -> Result<(), Error> {
    let What::Show { org, provider, json } = args.what;
    let owner = org.map(|id| id.uuid()).or_else(|| provider.map(|id| id.uuid()));
    let mut tx = db.begin().await?;
    sqlx::query(AssertSqlSafe(format!("set local statement_timeout = {STATEMENT_TIMEOUT_MS}")))
        .execute(&mut *tx)
        .await?;
    let lines = transfers::trial_balance(&mut tx, owner).await?;
    tx.rollback().await?;
    if json {
        println!("{:#}", lines.iter().map(shown).collect::<Value>());
    } else {
        print(&lines);
    }
    let is_out = |line: &&Line| line.kind.is_none() && line.debited != line.credited;
    let differences = if owner.is_none() { lines.iter().filter(is_out).count() } else { 0 };
    if differences == 0 { Ok(()) } else { Err(Error::Differences(differences)) }
}

fn shown(line: &Line) -> Value {
    json!({
        "kind": line.kind, "currency": line.currency, "accounts": line.accounts, "debited": line.debited,
        "credited": line.credited, "balance": line.balance, "side": line.side,
    })
}

fn print(lines: &[Line]) {
    println!("{:<20} {:>9} {:>24} {:>24} {:>24}", "account", "currency", "debited", "credited", "balance");
    for line in lines {
        let kind = line.kind.as_deref().unwrap_or("total");
        let Line { currency, debited, credited, balance, side, .. } = line;
        println!("{kind:<20} {currency:>9} {debited:>24} {credited:>24} {balance:>24} {side}");
    }
}

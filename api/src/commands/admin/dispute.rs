//! `steelyard admin dispute …`

use std::path::PathBuf;

use billing::dispute::Dispute;
use billing::store::disputes::{self, Which};
use protocol::OrganizationId;
use serde_json::{Value, json};

use super::{Desk, Error, evidence, missing};
use crate::store::audit::{self, Entry};

/// Most rows printed: more than a person looks through.
const MAX_ROWS: i64 = 1_000;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Disputes, newest first.
    List {
        /// Of one organization only.
        #[arg(long)]
        org: Option<OrganizationId>,
        /// Only those the bank has not decided.
        #[arg(long)]
        undecided: bool,
    },
    /// Pack what speaks for us into one tar file: the purchase, what it was used for, and with which keys.
    ///
    /// Nothing is sent. Whoever reads it takes what helps and submits that on Stripe's page of the dispute.
    Evidence {
        /// `du_…` or `dp_…`, as `list` shows it.
        dispute: String,
        /// Where to write it, to a file that is not there yet; the dispute's name with `.tar` when absent.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

pub(super) async fn run(desk: &Desk, command: Command) -> Result<Value, Error> {
    match command {
        Command::List { org, undecided } => list(desk, org, undecided).await,
        Command::Evidence { dispute, out } => pack(desk, &dispute, out).await,
    }
}

async fn list(desk: &Desk, org: Option<OrganizationId>, undecided: bool) -> Result<Value, Error> {
    let which = Which { account: org, undecided, ..Which::default() };
    let rows = disputes::list(&mut *desk.db.acquire().await?, which, MAX_ROWS).await?;
    Ok(rows.iter().map(row).collect())
}

fn row(dispute: &Dispute) -> Value {
    json!({
        "dispute": dispute.id,
        "organization": dispute.account,
        "topup": dispute.topup,
        "state": dispute.state.as_str(),
        "reason": dispute.reason,
        "amount_usd": dispute.amount,
        "frozen_usd": dispute.frozen,
        "taken_usd": dispute.taken,
        "lost_usd": dispute.lost,
        "opened_at": dispute.opened_at.rfc3339(),
        "due_at": dispute.due_at.map(|at| at.rfc3339()),
    })
}

async fn pack(desk: &Desk, id: &str, out: Option<PathBuf>) -> Result<Value, Error> {
    let mut tx = desk.db.begin().await?;
    let dispute = disputes::find(&mut tx, id).await?.ok_or_else(|| missing("dispute", id))?;
    let pack = evidence::collect(&mut tx, &dispute).await?;
    let file = out.unwrap_or_else(|| PathBuf::from(format!("{}.tar", evidence::file_name(&dispute.id))));
    let bytes = pack.tar(desk.env.now()).map_err(Error::io("packing the evidence"))?;
    // Never over a file that is there: it may be the evidence of another day.
    let mut target = std::fs::File::create_new(&file).map_err(Error::io(file.display().to_string()))?;
    std::io::Write::write_all(&mut target, &bytes).map_err(Error::io(file.display().to_string()))?;
    let entry = Entry::new(desk.env.mint(), desk.env.now(), desk.actor.clone(), "dispute.evidence_packed", id);
    audit::insert(&mut tx, entry.of_organization(dispute.account)).await?;
    tx.commit().await?;
    Ok(json!({
        "dispute": dispute.id,
        "file": file.display().to_string(),
        "requests": pack.requests(),
        "due_at": dispute.due_at.map(|at| at.rfc3339()),
        "submit_at": evidence::page_of(&dispute.id),
    }))
}

//! `steelyard epoch`: each step of a payout by hand, and what waits for a person.

use std::sync::Arc;

use billing::payout::PayoutRail;
use billing::receipt::cases;
use billing::store::epochs::{self, Epoch};
use billing::store::payees;
use billing::store::receipt_cases::{self, CaseKind};
use billing::{Epochs, Receipts};
use clap::Subcommand;
use protocol::statement::Document as _;
use protocol::{CaseId, Env, NanoUsd, OrganizationId, ProviderId, Timestamp};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::Error;
use crate::config::Config;

/// Most entries shown at once: more than a person looks through.
const SHOWN: i64 = 100;

/// Options of `steelyard epoch`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show one epoch, or the newest.
    Show {
        /// Its number.
        epoch: Option<u64>,
    },
    /// Decide what an epoch pays. One that was frozen or held before is decided anew.
    Freeze {
        /// Its number.
        epoch: u64,
    },
    /// Price an epoch and make its documents.
    Build {
        /// Its number.
        epoch: u64,
        /// Print the root and write nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Hand an epoch's tree to the contract.
    Propose {
        /// Its number.
        epoch: u64,
    },
    /// Hold an epoch until it is frozen again.
    Hold {
        /// Its number.
        epoch: u64,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// Decide an epoch anew whose tree the guardian refused.
    Veto {
        /// Its number.
        epoch: u64,
    },
    /// List cases about receipts, oldest first. A provider with one about all of its receipts is not paid.
    Cases,
    /// Open a case about a provider: fraud was seen.
    Suspect {
        /// `prov_…`
        provider: ProviderId,
        /// What was seen.
        #[arg(long)]
        reason: String,
    },
    /// Decide a case.
    Decide {
        /// `case_…`, as `cases` lists it.
        case: CaseId,
        /// The case is right. Fraud: what no epoch has is taken back. Without it the case is wrong.
        #[arg(long)]
        uphold: bool,
        /// For a dispute: US dollars owed on top.
        #[arg(long, requires = "uphold")]
        adjustment_usd: Option<NanoUsd>,
    },
    /// Write down that a payer and a provider belong together: what one pays the other waits two weeks.
    Link {
        /// `org-…`
        organization: OrganizationId,
        /// `prov_…`
        provider: ProviderId,
        /// How that is known.
        #[arg(long)]
        reason: String,
    },
}

/// Does it, and prints what came of it as JSON.
///
/// # Errors
/// As [`execute`].
pub async fn run(args: Args, db: PgPool, env: Env, config: &Config) -> Result<(), Error> {
    let rail = billing::Ethereum::open(db.clone(), env.clone(), config.receipts.domain(), &config.payouts).await?;
    println!("{:#}", execute(args, db, env, config, rail.map(|rail| Arc::new(rail) as Arc<dyn PayoutRail>)).await?);
    Ok(())
}

/// The same without printing, and with a way to the contract.
///
/// # Errors
/// [`Error::Usage`] for what is not there, or without a secret; [`Error::Query`]; [`Error::Billing`].
pub async fn execute(
    args: Args,
    db: PgPool,
    env: Env,
    config: &Config,
    rail: Option<Arc<dyn PayoutRail>>,
) -> Result<Value, Error> {
    let now = env.now();
    let receipts = Receipts::new(db.clone(), env.clone(), config.receipts.clone())?;
    let receipts = receipts.ok_or_else(|| Error::Usage("no receipts are given: set receipts.secret".to_owned()))?;
    let has_rail = rail.is_some();
    let epochs = crate::run::epochs(receipts.clone(), config, None)?;
    let epochs = match rail {
        Some(rail) => epochs.with_rail(rail),
        None => epochs,
    };
    let mut conn = db.acquire().await?;
    match args.what {
        What::Show { epoch: None } => {
            let listed = epochs::list(&mut conn, SHOWN).await?;
            return Ok(json!({ "epochs": listed.iter().map(shown).collect::<Vec<_>>() }));
        }
        What::Show { epoch: Some(epoch) } => return show(&db, epoch).await,
        What::Cases => {
            let open = receipt_cases::list_open(&mut conn, SHOWN).await?;
            let shown = open.iter().map(|case| {
                json!({ "case": case.id, "kind": case.kind, "provider": case.provider, "receipt": case.receipt,
                        "reason": case.reason, "since": case.opened_at.rfc3339() })
            });
            return Ok(json!({ "cases": shown.collect::<Vec<_>>() }));
        }
        What::Suspect { provider, reason } => {
            let id = env.mint::<CaseId>();
            let opened = receipt_cases::open(&mut conn, id, provider, CaseKind::Fraud, &reason, now).await?;
            return Ok(json!({ "case": opened.then_some(id), "opened": opened }));
        }
        What::Link { organization, provider, reason } => {
            payees::link(&mut conn, organization, provider, &reason, now).await?;
            return Ok(json!({ "organization": organization, "provider": provider, "linked": true }));
        }
        What::Decide { case, uphold, adjustment_usd } => {
            let adjustment = adjustment_usd.unwrap_or(NanoUsd::ZERO);
            let decided = cases::decide(&receipts, case, uphold, adjustment, now).await?;
            return Ok(json!({ "case": decided.id, "verdict": decided.verdict, "adjustment_usd": decided.adjustment }));
        }
        What::Build { epoch, dry_run: true } => {
            price(&epochs, &db, epoch, now).await?;
            let built = epochs.rehearse(epoch).await?.manifest;
            return Ok(
                json!({ "epoch": epoch, "root": built.leaves_root, "total": built.total, "hash": built.hash() }),
            );
        }
        What::Freeze { epoch } => {
            epochs.freeze(epoch, now).await?;
        }
        What::Build { epoch, dry_run: false } => {
            price(&epochs, &db, epoch, now).await?;
            epochs.build(epoch, now).await?;
        }
        What::Propose { epoch } => {
            epochs.propose(epoch, now).await?;
            let found = epochs::find(&mut conn, epoch).await?;
            if !has_rail && found.is_some_and(|found| found.state == epochs::EpochState::Built) {
                return Err(Error::Usage("there is no way to a contract: set payouts.chain.rpc_url".to_owned()));
            }
        }
        What::Hold { epoch, reason } => {
            epochs.hold(epoch, &reason, now).await?;
        }
        What::Veto { epoch } => {
            epochs.veto(epoch, now).await?;
        }
    }
    drop(conn);
    let moved = epochs::list(&mut *db.acquire().await?, SHOWN).await?;
    Ok(json!({ "epochs": moved.iter().take(3).map(shown).collect::<Vec<_>>() }))
}

/// Building begins with a price, unless there is one.
async fn price(epochs: &Epochs, db: &PgPool, epoch: u64, now: Timestamp) -> Result<(), Error> {
    let found = epochs::find(&mut *db.acquire().await?, epoch).await?;
    if found.is_some_and(|found| found.state == epochs::EpochState::Frozen) {
        epochs.price(epoch, now).await?;
    }
    Ok(())
}

async fn show(db: &PgPool, epoch: u64) -> Result<Value, Error> {
    let found = epochs::find(&mut *db.acquire().await?, epoch).await?;
    let found = found.ok_or_else(|| Error::Usage(format!("there is no epoch {epoch}")))?;
    Ok(shown(&found))
}

fn shown(epoch: &Epoch) -> Value {
    let manifest = epoch.manifest.as_ref().map(|sealed| &sealed.document);
    json!({
        "epoch": epoch.number,
        "state": epoch.state.as_str(),
        "held": epoch.held_reason,
        "starts": epoch.starts_at.rfc3339(),
        "ends": epoch.ends_at.rfc3339(),
        "vetoes": epoch.vetoes,
        "price_usd": epoch.price.as_ref().map(|price| price.usd_per_token),
        "statements": manifest.map(|manifest| manifest.statements),
        "total": manifest.map(|manifest| manifest.total),
        "root": manifest.map(|manifest| manifest.leaves_root),
        "manifest_hash": manifest.map(protocol::statement::Document::hash),
        "proposal": manifest.and_then(|manifest| manifest.proposal),
        "active": epoch.active_at.map(Timestamp::rfc3339),
    })
}

//! `steelyard verify-payout`: a payout against everything it rests on, without a network or a database.

use std::path::{Path, PathBuf};

use protocol::bundle::{Bundle, RECEIPTS, Verified};
use protocol::wallet::Address;
use serde::Deserialize;

use super::Error;

/// Options of `steelyard verify-payout`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A folder with the files of a bundle, or the bundle as it was downloaded.
    bundle: PathBuf,
    /// The broker's receipt key, where you know it: a bundle signed by anybody else is none.
    #[arg(long, value_name = "ADDRESS")]
    signer: Option<Address>,
    /// The provider's wallet, where you know it.
    #[arg(long, value_name = "ADDRESS")]
    wallet: Option<Address>,
    /// A folder of the node's own reports (`state_dir/reports`): lists those the statement lacks.
    #[arg(long, value_name = "DIR")]
    reports: Option<PathBuf>,
}

/// Checks it and prints what holds.
///
/// # Errors
/// [`Error::Usage`] names the file and the flaw; [`Error::Io`].
pub fn run(args: &Args) -> Result<(), Error> {
    println!("{:#}", execute(args)?);
    Ok(())
}

/// The same without printing.
///
/// # Errors
/// As [`run`].
pub fn execute(args: &Args) -> Result<serde_json::Value, Error> {
    let bundle = read(&args.bundle)?;
    let verified = bundle.verify().map_err(|flaw| Error::Usage(format!("NOT verified: {flaw}")))?;
    let statement = &verified.statement;
    expect("signed", args.signer, statement.signer)?;
    expect("vouched for", args.wallet, statement.wallet)?;
    let missing = args.reports.as_deref().map(|folder| missing(folder, &bundle)).transpose()?;
    Ok(told(&verified, missing))
}

fn told(verified: &Verified, missing: Option<Vec<String>>) -> serde_json::Value {
    let statement = &verified.statement;
    serde_json::json!({
        "verified": true,
        "epoch": statement.epoch,
        "provider": statement.provider,
        "wallet": statement.wallet,
        "payee": statement.payee,
        "receipts": statement.receipts,
        "unsigned_receipts": verified.unsigned,
        "keys_without_a_wallet": verified.unvouched,
        "released_usd": statement.released,
        "carried_in_usd": statement.carried_in,
        "carried_out_usd": statement.carried_out,
        "tokens": statement.tokens,
        "cumulative": statement.cumulative,
        "chain_id": statement.domain.chain_id,
        "distributor": statement.domain.distributor,
        "manifest_hash": verified.manifest_hash,
        "root": verified.leaves_root,
        "proof": verified.claim,
        "signer": statement.signer,
        "reports_without_a_receipt": missing,
    })
}

fn expect(what: &str, wanted: Option<Address>, found: Address) -> Result<(), Error> {
    match wanted {
        Some(wanted) if wanted != found => {
            Err(Error::Usage(format!("NOT verified: it is {what} by {found}, not by {wanted}")))
        }
        _ => Ok(()),
    }
}

/// A bundle as the API gives it.
#[derive(Deserialize)]
struct Download {
    files: std::collections::BTreeMap<String, String>,
}

fn read(path: &Path) -> Result<Bundle, Error> {
    if path.is_dir() {
        return Ok(Bundle::read_from(|name| std::fs::read(path.join(name)).ok()));
    }
    let bytes = std::fs::read(path).map_err(Error::io(format!("reading {}", path.display())))?;
    let download: Download = serde_json::from_slice(&bytes)
        .map_err(|error| Error::Usage(format!("{} is no bundle: {error}", path.display())))?;
    Ok(Bundle::read_from(|name| download.files.get(name).map(|text| text.clone().into_bytes())))
}

/// Attempts the node reported of which the bundle has no receipt: inside the delay of payouts that is no wonder.
fn missing(folder: &Path, bundle: &Bundle) -> Result<Vec<String>, Error> {
    let receipts = bundle.0.get(RECEIPTS).map(|bytes| String::from_utf8_lossy(bytes)).unwrap_or_default();
    let mut missing = Vec::new();
    let reading = || Error::io(format!("reading {}", folder.display()));
    for entry in std::fs::read_dir(folder).map_err(reading())? {
        let path = entry.map_err(reading())?.path();
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(reading())?;
        let reports =
            text.lines().filter_map(|line| serde_json::from_str::<protocol::receipt::SignedReport>(line).ok());
        let attempts = reports.map(|signed| signed.report.attempt.to_string());
        missing.extend(attempts.filter(|attempt| !receipts.contains(attempt.as_str())));
    }
    Ok(missing)
}

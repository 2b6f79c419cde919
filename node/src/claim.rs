//! Getting paid without waiting for anybody: what the broker's payout tree owes this provider, checked down to the
//! receipts, and then claimed at the contract.
//!
//! The broker is believed nothing. A claim is made only of what the same check as `verify-payout` found right, and the
//! contract is asked whether it pays by that very tree.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::Method;
use onchain::{Claim, Due, Endpoint, Key, Patience, Payer, Sent};
use protocol::ProviderId;
use protocol::bundle::{Bundle, Flaw, LEAVES, MANIFEST, MANIFEST_SIGNATURE, Verified};
use protocol::merkle::Tree;
use protocol::purse::ClaimRef;
use protocol::wallet::Address;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::Client;
use crate::config::NodeConfig;
use crate::session::provider_key;
use crate::{Error, purse};

/// Longest wait for one answer of the chain.
const RPC_TIMEOUT: Duration = Duration::from_secs(20);
/// A block comes every few seconds, and a look is one small call.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A millionth of a coin, in wei.
const MICRO: u128 = 1_000_000_000_000;

/// How a claim is made.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The broker's receipt key, where it is known: a claim that anybody else signed is none.
    pub signer: Option<Address>,
    /// Where the chain's JSON-RPC is. Without one the call is only told.
    pub rpc: Option<SecretString>,
    /// Who pays the gas: a keystore file, and the file with its password. Without one nothing is sent.
    pub keystore: Option<(PathBuf, PathBuf)>,
    /// Do everything but send.
    pub dry_run: bool,
    /// The most the gas may cost, in millionths of the chain's coin.
    pub fee_limit_micro_eth: u32,
    /// How long to wait for the block, in seconds.
    pub wait_s: u32,
}

/// A claim that was found right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// What is claimed.
    pub claim: Claim,
    /// The newest statement behind it.
    pub verified: Verified,
}

#[derive(Deserialize)]
struct Files {
    files: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Public {
    manifest: Box<RawValue>,
    signature: Box<RawValue>,
    leaves: Box<RawValue>,
}

/// Does all of it, and says each step.
///
/// # Errors
/// [`Error`] of the step that failed. Whatever it was, doing it again is harmless: the contract pays what the leaf
/// exceeds what it paid before.
pub async fn run(config: &NodeConfig, options: &Options, mut say: impl FnMut(String) + Send) -> Result<(), Error> {
    let Some(checked) = fetch(config, options.signer).await? else {
        say("nothing to claim: no payout tree has a leaf of yours yet".to_owned());
        return Ok(());
    };
    let Checked { claim, verified } = &checked;
    let (leaf, statement) = (&claim.leaf, &verified.statement);
    say(format!(
        "verified   {} receipts of epoch {}, signed by {}",
        statement.receipts, statement.epoch, statement.signer
    ));
    say(format!("leaf       {} base units since the beginning, to {}", leaf.cumulative, leaf.payee));
    say(format!("contract   {} of chain {}", claim.domain.distributor, claim.domain.chain_id));
    say(format!("root       {}", claim.root));
    let Some(rpc) = &options.rpc else {
        told(claim, &mut say);
        return Ok(());
    };
    let endpoint = Endpoint::new(rpc, "--rpc", RPC_TIMEOUT)?;
    let due = claim.due(&endpoint).await?;
    if due.due.is_zero() {
        say(format!("nothing to claim: all of it, {}, was paid before", tokens(&due, due.paid)));
        return Ok(());
    }
    say(format!("due        {}, after {} before", tokens(&due, due.due), tokens(&due, due.paid)));
    match &options.keystore {
        Some((file, password)) => {
            let key = Key::open(file.clone(), password.clone()).await?;
            say(format!("gas        is paid by {}", key.account()));
            claim.rehearse(&endpoint, Some(key.account())).await?;
            if options.dry_run {
                say("nothing was sent: the contract would pay".to_owned());
                return Ok(());
            }
            send(claim, &endpoint, key, options, &mut say).await
        }
        None => {
            claim.rehearse(&endpoint, None).await?;
            told(claim, &mut say);
            Ok(())
        }
    }
}

async fn send(
    claim: &Claim,
    endpoint: &Endpoint,
    key: Key,
    options: &Options,
    say: &mut (impl FnMut(String) + Send),
) -> Result<(), Error> {
    let payer = Payer { key, fee_limit: u128::from(options.fee_limit_micro_eth) * MICRO };
    let looks = u32::try_from(Duration::from_secs(options.wait_s.into()).as_millis() / LOOK_EVERY.as_millis());
    let patience = Patience { every: LOOK_EVERY, looks: looks.unwrap_or(u32::MAX).max(1) };
    let sending =
        |hash| say(format!("sent       {hash}; waiting for its block. Stopping here and starting again pays once"));
    match claim.send(endpoint, &payer, patience, sending).await? {
        Sent::Nothing => say("nothing to claim: it was paid meanwhile".to_owned()),
        Sent::Mined { hash, block, cost } => {
            say(format!("paid       in block {block} by {hash}, for {cost} wei of gas"))
        }
    }
    Ok(())
}

/// The call, for whoever has a wallet elsewhere.
fn told(claim: &Claim, say: &mut impl FnMut(String)) {
    let (to, data) = (claim.domain.distributor, hex::encode(claim.data()));
    say("nothing was sent. Anybody can send it, from any wallet, and the tokens go to the leaf's account:".to_owned());
    say(format!("to         {to}"));
    say(format!("data       0x{data}"));
    say(format!("           cast send {to} 0x{data} --rpc-url URL --chain {}", claim.domain.chain_id));
}

fn tokens(due: &Due, amount: protocol::token::TokenAmount) -> String {
    format!("{} {}", amount.in_tokens(due.decimals), due.symbol)
}

/// Fetches what can be claimed and checks it; `None` where no tree has a leaf of the provider.
///
/// # Errors
/// [`Error::Unverified`] names the file and the flaw; others when the broker can't be asked.
pub async fn fetch(config: &NodeConfig, signer: Option<Address>) -> Result<Option<Checked>, Error> {
    let (client, key) = (Client::new(&config.broker)?, provider_key(config)?);
    let balance = purse::balance(&client, config.provider, key).await?;
    let Some(ClaimRef { epoch, payout }) = balance.claim else { return Ok(None) };
    let path = format!("/v1/providers/{}/payouts/{payout}/bundle", config.provider);
    let (_, bundle) =
        client.call(Method::GET, path).provider(key).large().send::<Files>().await.map_err(purse::advise)?;
    let bundle = Bundle::read_from(|name| bundle.files.get(name).map(|text| text.clone().into_bytes()));
    let path = format!("/v1/epochs/{epoch}/manifest");
    let (_, public) = client.call(Method::GET, path).large().send::<Public>().await?;
    let tree = Bundle::read_from(|name| match name {
        MANIFEST => Some(public.manifest.get().into()),
        MANIFEST_SIGNATURE => Some(public.signature.get().into()),
        LEAVES => Some(public.leaves.get().into()),
        _ => None,
    });
    let provider = config.provider;
    // A day's receipts are seconds of signatures.
    let checking = tokio::task::spawn_blocking(move || check(provider, &bundle, &tree, signer));
    let checked = checking.await.map_err(|error| Error::Config(format!("the check broke off: {error}")))?;
    Ok(Some(checked?))
}

/// Checks a payout down to its receipts, and that the active tree has its leaf. The tree may be of a later epoch, in which
/// the provider was owed nothing new.
///
/// # Errors
/// The first [`Flaw`].
pub fn check(provider: ProviderId, bundle: &Bundle, tree: &Bundle, signer: Option<Address>) -> Result<Checked, Flaw> {
    let verified = bundle.verify()?;
    let (manifest, leaves) = tree.verify_tree()?;
    let statement = &verified.statement;
    let flaw = |what: &'static str| Flaw { file: MANIFEST, what };
    if statement.provider != provider {
        return Err(flaw("it is another provider's"));
    }
    if (manifest.domain, manifest.epoch >= statement.epoch) != (statement.domain, true) {
        return Err(flaw("it is of another contract, or older than the statement"));
    }
    if signer.is_some_and(|signer| signer != manifest.signer || signer != statement.signer) {
        return Err(flaw("it is not signed by --signer"));
    }
    let leaf = leaves.iter().find(|leaf| leaf.provider == provider);
    let leaf = *leaf.ok_or_else(|| flaw("its tree has no leaf of the provider"))?;
    if (leaf.cumulative, Some(leaf.payee)) != (statement.cumulative, statement.payee) {
        return Err(flaw("its leaf is not what the newest statement says"));
    }
    let domain = manifest.domain;
    let tree = Tree::of(leaves.iter().map(|leaf| leaf.hash(&domain)).collect());
    let proof = tree.proof(&leaf.hash(&domain)).ok_or_else(|| flaw("its tree does not prove its leaf"))?;
    Ok(Checked { claim: Claim { domain, root: manifest.leaves_root, leaf, proof }, verified })
}

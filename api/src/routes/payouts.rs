//! What epochs owe a provider, with the proof; and what of an epoch is everybody's.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use billing::Epochs;
use billing::payout::{epoch_of, payout_id};
use billing::store::epochs::{self, EpochState, Payout};
use http::header::CONTENT_TYPE;
use protocol::bundle::{Bundle, LEAVES, MANIFEST, MANIFEST_SIGNATURE, STATEMENT, STATEMENT_PROOF};
use protocol::token::TokenAmount;
use protocol::typed::Word;
use protocol::wallet::Address;
use protocol::{NanoUsd, PayoutId, ProviderId};
use serde::Serialize;
use serde_json::value::RawValue;

use super::list::List;
use crate::error::ApiError;
use crate::extract::{Json, Page, Path, ProviderCaller};
use crate::state::{App, AppState};

/// The routes of this file.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/epochs/{epoch}/manifest", get(manifest))
        .route("/providers/{provider}/payouts", get(list))
        .route("/providers/{provider}/payouts/{payout}", get(show))
        .route("/providers/{provider}/payouts/{payout}/statement", get(statement))
        .route("/providers/{provider}/payouts/{payout}/bundle", get(bundle))
        .route("/providers/{provider}/payouts/{payout}/verification", get(verification))
}

#[derive(Debug, Serialize)]
struct View {
    id: PayoutId,
    object: &'static str,
    epoch: u64,
    status: &'static str,
    /// Everything that was due, in USD; null before the epoch is built.
    usd: Option<NanoUsd>,
    /// Of it, left for the next.
    carried_usd: Option<NanoUsd>,
    /// Why all of it was.
    waiting: Option<serde_json::Value>,
    token_amount: Option<TokenAmount>,
    cumulative_token_amount: Option<TokenAmount>,
    payee: Option<Address>,
    receipts: Option<u64>,
    /// When the contract had paid it, in Unix seconds.
    paid_at: Option<i64>,
}

/// The provider's payouts, newest first.
#[tracing::instrument(name = "api.payouts.list", skip_all, fields(provider.id = %caller.provider))]
async fn list(State(app): State<AppState>, caller: ProviderCaller, page: Page) -> Result<Json<List<View>>, ApiError> {
    let after = page.after.map(|after| after.parse::<PayoutId>()).transpose();
    let after = after.map_err(|error| ApiError::invalid("after", error.to_string()))?;
    let before = after.map(|after| epoch_of(caller.provider, after).unwrap_or(0));
    let mut conn = app.db.acquire().await?;
    let found = epochs::list_payouts(&mut conn, caller.provider, before, i64::from(page.limit) + 1).await?;
    let views = found.into_iter().map(|payout| view(caller.provider, payout)).collect();
    Ok(Json(List::of(views, page.limit, |view: &View| view.id.to_string())))
}

/// One payout.
#[tracing::instrument(name = "api.payouts.show", skip_all, fields(provider.id = %caller.provider))]
async fn show(
    State(app): State<AppState>,
    caller: ProviderCaller,
    Path((_, payout)): Path<(ProviderId, PayoutId)>,
) -> Result<Json<View>, ApiError> {
    let epoch = epoch_of(caller.provider, payout).ok_or_else(|| not_found(payout))?;
    let mut conn = app.db.acquire().await?;
    let found = epochs::list_payouts(&mut conn, caller.provider, Some(epoch.saturating_add(1)), 1).await?;
    let found = found.into_iter().find(|found| found.epoch == epoch).ok_or_else(|| not_found(payout))?;
    Ok(Json(view(caller.provider, found)))
}

/// A statement in its own bytes, signed, and the way from it to the manifest and to the contract.
#[derive(Serialize)]
struct StatementView {
    id: PayoutId,
    object: &'static str,
    statement: Box<RawValue>,
    /// From the statement to the manifest's root of statements.
    proof: Box<RawValue>,
    manifest_hash: Word,
    /// What a claim takes besides provider, payee and sum; null where nothing was ever paid.
    claim: Option<Claim>,
}

#[derive(Serialize)]
struct Claim {
    root: Word,
    proof: Vec<Word>,
}

/// What a payout is made of, in short: receipts root and proofs.
#[tracing::instrument(name = "api.payouts.statement", skip_all, fields(provider.id = %caller.provider))]
async fn statement(
    State(app): State<AppState>,
    caller: ProviderCaller,
    Path((_, payout)): Path<(ProviderId, PayoutId)>,
) -> Result<Json<StatementView>, ApiError> {
    let bundle = bundle_of(&app, caller.provider, payout).await?;
    let verified = check(bundle.clone()).await?.map_err(|flaw| ApiError::internal(&flaw))?;
    Ok(Json(StatementView {
        id: payout,
        object: "payout.statement",
        statement: raw(&bundle, STATEMENT)?,
        proof: raw(&bundle, STATEMENT_PROOF)?,
        manifest_hash: verified.manifest_hash,
        claim: verified.claim.map(|proof| Claim { root: verified.leaves_root, proof }),
    }))
}

#[derive(Serialize)]
struct BundleView {
    id: PayoutId,
    object: &'static str,
    /// By name, each as it must lie in a folder for `steelyard verify-payout`.
    files: BTreeMap<&'static str, String>,
}

/// Everything to verify a payout offline.
#[tracing::instrument(name = "api.payouts.bundle", skip_all, fields(provider.id = %caller.provider))]
async fn bundle(
    State(app): State<AppState>,
    caller: ProviderCaller,
    Path((_, payout)): Path<(ProviderId, PayoutId)>,
) -> Result<Json<BundleView>, ApiError> {
    let bundle = bundle_of(&app, caller.provider, payout).await?;
    let files = bundle.0.into_iter().map(|(name, bytes)| (name, String::from_utf8_lossy(&bytes).into_owned()));
    Ok(Json(BundleView { id: payout, object: "payout.bundle", files: files.collect() }))
}

#[derive(Serialize)]
struct Verification {
    id: PayoutId,
    object: &'static str,
    verified: bool,
    /// The first flaw, where there is one.
    flaw: Option<String>,
    manifest_hash: Option<Word>,
    leaves_root: Option<Word>,
    /// Receipts without a report.
    unsigned: Option<u64>,
    /// Keys no wallet vouched for.
    unvouched: Option<u64>,
}

/// The broker's own check of a payout: the same that anybody can run on the bundle.
#[tracing::instrument(name = "api.payouts.verification", skip_all, fields(provider.id = %caller.provider))]
async fn verification(
    State(app): State<AppState>,
    caller: ProviderCaller,
    Path((_, payout)): Path<(ProviderId, PayoutId)>,
) -> Result<Json<Verification>, ApiError> {
    let checked = check(bundle_of(&app, caller.provider, payout).await?).await?;
    let good = checked.as_ref().ok();
    Ok(Json(Verification {
        id: payout,
        object: "payout.verification",
        verified: good.is_some(),
        flaw: checked.as_ref().err().map(ToString::to_string),
        manifest_hash: good.map(|verified| verified.manifest_hash),
        leaves_root: good.map(|verified| verified.leaves_root),
        unsigned: good.map(|verified| verified.unsigned),
        unvouched: good.map(|verified| verified.unvouched),
    }))
}

#[derive(Serialize)]
struct ManifestView {
    object: &'static str,
    epoch: u64,
    manifest: Box<RawValue>,
    signature: Box<RawValue>,
    leaves: Box<RawValue>,
}

/// What an epoch comes to, and the whole tree. Public, in the very bytes that were hashed.
#[tracing::instrument(name = "api.epochs.manifest", skip_all, fields(epoch))]
async fn manifest(State(app): State<AppState>, Path(epoch): Path<u64>) -> Result<Response, ApiError> {
    let missing = || ApiError::not_found("not_found", format!("there is no manifest of epoch {epoch}"));
    let public = match app.epochs.as_ref().filter(|_| epoch <= i64::MAX.unsigned_abs()) {
        Some(epochs) => epochs.public(epoch).await?,
        None => return Err(missing()),
    };
    if !public.0.contains_key(MANIFEST) {
        return Err(missing());
    }
    let view = ManifestView {
        object: "epoch.manifest",
        epoch,
        manifest: raw(&public, MANIFEST)?,
        signature: raw(&public, MANIFEST_SIGNATURE)?,
        leaves: raw(&public, LEAVES)?,
    };
    let body = serde_json::to_vec(&view).map_err(|error| ApiError::internal(&error))?;
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

fn view(provider: ProviderId, payout: Payout) -> View {
    let status = status(&payout);
    let statement = payout.statement.map(|sealed| sealed.document);
    View {
        id: payout_id(provider, payout.epoch),
        object: "payout",
        epoch: payout.epoch,
        status,
        usd: statement.as_ref().and_then(|statement| statement.due()),
        carried_usd: statement.as_ref().map(|statement| statement.carried_out),
        waiting: statement.as_ref().and_then(|statement| statement.waiting).map(|why| serde_json::json!(why)),
        token_amount: statement.as_ref().map(|statement| statement.tokens),
        cumulative_token_amount: statement.as_ref().map(|statement| statement.cumulative),
        payee: statement.as_ref().and_then(|statement| statement.payee),
        receipts: statement.map(|statement| statement.receipts),
        paid_at: payout.claimed_at.map(|at| at.unix_seconds()),
    }
}

/// As providers are told it.
fn status(payout: &Payout) -> &'static str {
    match payout.state {
        _ if payout.claimed_at.is_some() => "paid",
        _ if payout.is_vetoed => "failed",
        EpochState::Open => "open",
        EpochState::Frozen | EpochState::Priced | EpochState::Built | EpochState::Held => "frozen",
        EpochState::Proposed => "proposed",
        EpochState::Active => "claimable",
    }
}

async fn bundle_of(app: &App, provider: ProviderId, payout: PayoutId) -> Result<Bundle, ApiError> {
    let epoch = epoch_of(provider, payout).ok_or_else(|| not_found(payout))?;
    let epochs: &Epochs = app.epochs.as_ref().ok_or_else(|| not_found(payout))?;
    epochs.bundle(epoch, provider).await?.ok_or_else(|| not_found(payout))
}

/// A day's receipts are seconds of signatures: not on a thread that relays streams.
async fn check(bundle: Bundle) -> Result<Result<protocol::bundle::Verified, protocol::bundle::Flaw>, ApiError> {
    let checking = tokio::task::spawn_blocking(move || bundle.verify());
    checking.await.map_err(|error| ApiError::internal(&error))
}

/// A document as it was hashed, byte for byte.
fn raw(bundle: &Bundle, name: &'static str) -> Result<Box<RawValue>, ApiError> {
    let text = bundle.0.get(name).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
    RawValue::from_string(text).map_err(|error| ApiError::internal(&error))
}

fn not_found(payout: PayoutId) -> ApiError {
    ApiError::not_found("not_found", format!("there is no payout {payout}"))
}

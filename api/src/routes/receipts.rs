//! What a provider was given for each attempt, and its word against it.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use billing::store::{receipt_cases, receipts};
use http::StatusCode;
use protocol::issued::{Issued, Receipt};
use protocol::wallet::Signed;
use protocol::{CaseId, NanoUsd, NodeId, OfferId, ProviderId, ReceiptId, RequestId, Units};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::list::List;
use crate::error::ApiError;
use crate::extract::{Json, Page, Path, ProviderCaller};
use crate::state::AppState;
use crate::store::audit::{self, Actor, Entry};

/// Longest text of a dispute.
const MAX_REASON: usize = 2_000;
/// How long after it was released a receipt can be disputed.
const DISPUTED_FOR: Duration = Duration::from_secs(30 * 24 * 3_600);

/// The routes of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/providers/{provider}/receipts", get(list))
        .route("/providers/{provider}/receipts/{receipt}", get(show))
        .route("/providers/{provider}/receipts/{receipt}/dispute", post(dispute))
}

#[derive(Debug, Serialize)]
struct View {
    id: ReceiptId,
    object: &'static str,
    generation_id: String,
    request_id: RequestId,
    node_id: NodeId,
    offer_id: OfferId,
    price_version: u32,
    model: String,
    units: Vec<Count>,
    started_at_ms: i64,
    finished_at_ms: i64,
    settled_at_ms: i64,
    /// When it may be paid, in Unix seconds.
    release_at: i64,
    status: String,
    request_sha256: Option<String>,
    response_sha256: Option<String>,
    gross_usd: NanoUsd,
    fee_usd: NanoUsd,
    net_usd: NanoUsd,
    /// `unsigned`, `apart`, `recovered`.
    flags: Vec<&'static str>,
    provider_signature: Option<Signed>,
    gateway_signature: Signed,
    /// `open`, `upheld` or `rejected`, where the provider disputed it.
    dispute: Option<String>,
}

#[derive(Debug, Serialize)]
struct Count {
    r#type: &'static str,
    count: u32,
}

/// The provider's receipts, newest first.
#[tracing::instrument(name = "api.receipts.list", skip_all, fields(provider.id = %caller.provider))]
async fn list(State(app): State<AppState>, caller: ProviderCaller, page: Page) -> Result<Json<List<View>>, ApiError> {
    let after = page.after.map(|after| after.parse::<ReceiptId>()).transpose();
    let after = after.map_err(|error| ApiError::invalid("after", error.to_string()))?;
    let mut conn = app.db.acquire().await?;
    let found = receipts::list_of(&mut conn, caller.provider, after, i64::from(page.limit) + 1).await?;
    let views = found.into_iter().map(view).collect();
    Ok(Json(List::of(views, page.limit, |view: &View| view.id.to_string())))
}

/// One receipt.
#[tracing::instrument(name = "api.receipts.show", skip_all, fields(provider.id = %caller.provider))]
async fn show(
    State(app): State<AppState>,
    caller: ProviderCaller,
    Path((_, receipt)): Path<(ProviderId, ReceiptId)>,
) -> Result<Json<View>, ApiError> {
    let mut conn = app.db.acquire().await?;
    let found = receipts::find(&mut conn, caller.provider, receipt).await?;
    Ok(Json(view(found.ok_or_else(|| not_found(receipt))?)))
}

#[derive(Debug, Deserialize)]
struct Dispute {
    reason: String,
}

/// Takes a provider's word against a receipt, once. It stays as it is: what a person decides is paid beside it.
#[tracing::instrument(name = "api.receipts.dispute", skip_all, fields(provider.id = %caller.provider))]
async fn dispute(
    State(app): State<AppState>,
    caller: ProviderCaller,
    Path((_, receipt)): Path<(ProviderId, ReceiptId)>,
    Json(body): Json<Dispute>,
) -> Result<(StatusCode, Json<View>), ApiError> {
    if body.reason.is_empty() || body.reason.chars().count() > MAX_REASON {
        return Err(ApiError::invalid("reason", format!("1 to {MAX_REASON} characters")).with_code("invalid_value"));
    }
    let now = app.env.now();
    let mut tx = app.db.begin().await?;
    let found = receipts::find(&mut tx, caller.provider, receipt).await?.ok_or_else(|| not_found(receipt))?;
    if now > found.release_at.plus(DISPUTED_FOR) {
        return Err(ApiError::invalid_state("a receipt can be disputed for 30 days after its release"));
    }
    let id = app.env.mint::<CaseId>();
    let opened = receipt_cases::dispute(&mut tx, id, caller.provider, receipt, &body.reason, now).await?;
    if let Some(case) = opened {
        let entry = Entry::new(app.env.mint(), now, Actor::Key(caller.key), "receipt.disputed", receipt);
        audit::insert(&mut tx, entry.of_provider(caller.provider).with(json!({ "case": case }))).await?;
    }
    let found = receipts::find(&mut tx, caller.provider, receipt).await?.ok_or_else(|| not_found(receipt))?;
    tx.commit().await?;
    let status = if opened.is_some() { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(view(found))))
}

fn not_found(receipt: ReceiptId) -> ApiError {
    ApiError::not_found("not_found", format!("there is no receipt {receipt}"))
}

fn view(kept: receipts::Kept) -> View {
    let Issued { receipt, signature, report } = kept.issued;
    let flags = [(receipt.is_unsigned, "unsigned"), (receipt.is_apart, "apart"), (receipt.is_recovered, "recovered")];
    View {
        id: receipt.id(),
        object: "receipt",
        generation_id: receipt.request.chat_completion(),
        request_id: receipt.request,
        node_id: receipt.node,
        offer_id: receipt.offer,
        price_version: receipt.price_version,
        units: units(&receipt),
        started_at_ms: receipt.started_at_ms,
        finished_at_ms: receipt.finished_at_ms,
        settled_at_ms: receipt.settled_at_ms,
        release_at: kept.release_at.unix_seconds(),
        request_sha256: report.as_ref().map(|signed| signed.report.request_sha256.to_string()),
        response_sha256: report.as_ref().map(|signed| signed.report.response_sha256.to_string()),
        gross_usd: receipt.gross,
        fee_usd: receipt.fee,
        net_usd: receipt.net,
        flags: flags.into_iter().filter_map(|(set, name)| set.then_some(name)).collect(),
        provider_signature: report.map(|signed| signed.signature),
        gateway_signature: signature,
        dispute: kept.dispute,
        model: receipt.model,
        status: receipt.outcome,
    }
}

/// What is paid for, by the price it is paid at. Text that had to be read again is prompt.
fn units(receipt: &Receipt) -> Vec<Count> {
    let Units { prompt, cached_prompt, cache_write, completion, internal_reasoning, request } = receipt.units;
    let counts = [
        ("prompt", prompt.saturating_add(receipt.reread)),
        ("cached_prompt", cached_prompt),
        ("cache_write", cache_write),
        ("completion", completion),
        ("internal_reasoning", internal_reasoning),
        ("request", request),
    ];
    counts.into_iter().filter(|(_, count)| *count > 0).map(|(r#type, count)| Count { r#type, count }).collect()
}

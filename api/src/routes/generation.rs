//! One answer after the fact: what it took, what it cost, who tried.

use std::collections::HashMap;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use billing::store::receipts;
use billing::store::views::{Generation, find_generation};
use protocol::{NanoUsd, ProviderId, ReceiptId, RequestId, Timestamp};
use scheduler::provider::Provider;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;

use crate::error::ApiError;
use crate::extract::{Json, Payer, Query};
use crate::state::AppState;

/// The routes of this file.
pub fn routes() -> Router<AppState> {
    Router::new().route("/generation", get(show))
}

#[derive(Debug, Deserialize)]
struct Which {
    id: Option<String>,
}

#[derive(Debug, Serialize)]
struct Envelope {
    data: View,
}

#[derive(Debug, Serialize)]
struct View {
    id: String,
    model: String,
    provider_name: Option<String>,
    created_at: i64,
    streamed: bool,
    cancelled: bool,
    finish_reason: Option<String>,
    native_finish_reason: Option<String>,
    tokens_prompt: u64,
    tokens_completion: u64,
    native_tokens_prompt: u64,
    native_tokens_completion: u64,
    native_tokens_reasoning: u32,
    native_tokens_cached: u32,
    /// Milliseconds until the first output.
    latency: Option<i64>,
    /// Milliseconds from there to the end.
    generation_time: Option<i64>,
    total_cost: NanoUsd,
    usage: NanoUsd,
    /// Where the last machine that tried stands: its region, else its country, as `provider.regions` takes them.
    data_region: Option<String>,
    service_tier: Option<String>,
    request_id: RequestId,
    /// Its provider's receipt, once it is given.
    receipt_id: Option<ReceiptId>,
    attempts: Vec<AttemptView>,
    /// What was considered, where the request asked for it.
    routing: Option<Value>,
}

#[derive(Debug, Serialize)]
struct AttemptView {
    provider: Option<String>,
    status: Option<i32>,
    code: Option<String>,
}

/// An answer of the caller's organization, by any id a client may hold of it.
#[tracing::instrument(name = "api.generation.show", skip_all, fields(account.id = %payer.organization))]
async fn show(
    State(app): State<AppState>,
    payer: Payer,
    Query(which): Query<Which>,
) -> Result<Json<Envelope>, ApiError> {
    let id = which.id.ok_or_else(|| ApiError::invalid("id", "the id of an answer is required"))?;
    let not_found = || ApiError::not_found("not_found", format!("there is no answer {id:?}")).with_param("id");
    let request = RequestId::parse_any(&id).map_err(|_| not_found())?;
    let mut conn = app.db.acquire().await?;
    let found = find_generation(&mut conn, payer.organization, request).await?.ok_or_else(not_found)?;
    let providers = providers(&mut conn, &found).await?;
    let region = region(&mut conn, &found).await?;
    let attempts: Vec<_> = found.attempts.iter().map(|attempt| attempt.attempt).collect();
    let receipt = receipts::find_last(&mut conn, &attempts).await?;
    Ok(Json(Envelope { data: view(found, &providers, region, receipt) }))
}

/// The providers that tried: a handful at most.
async fn providers(
    conn: &mut PgConnection,
    generation: &Generation,
) -> Result<HashMap<ProviderId, Provider>, ApiError> {
    let mut providers = HashMap::new();
    for attempt in &generation.attempts {
        if !providers.contains_key(&attempt.provider)
            && let Some(provider) = scheduler::store::providers::find(conn, attempt.provider).await?
        {
            providers.insert(attempt.provider, provider);
        }
    }
    Ok(providers)
}

async fn region(conn: &mut PgConnection, generation: &Generation) -> Result<Option<String>, ApiError> {
    let Some(last) = generation.attempts.last() else { return Ok(None) };
    let Some(node) = scheduler::store::nodes::find(conn, last.node).await? else { return Ok(None) };
    Ok(Some(node.location.region.unwrap_or(node.location.country_code).to_ascii_lowercase()))
}

fn view(
    found: Generation,
    providers: &HashMap<ProviderId, Provider>,
    region: Option<String>,
    receipt_id: Option<ReceiptId>,
) -> View {
    let ms = |from: Timestamp, to: Timestamp| to.unix_ms() - from.unix_ms();
    let (prompt, completion) = (found.units.prompt_total(), found.units.completion_total());
    let served = found.attempts.last().and_then(|attempt| providers.get(&attempt.provider));
    View {
        id: found.request.chat_completion(),
        provider_name: served.map(|provider| provider.name.clone()),
        created_at: found.received_at.unix_seconds(),
        streamed: found.streamed,
        cancelled: matches!(found.outcome.as_str(), "client_left" | "cancelled"),
        tokens_prompt: prompt,
        tokens_completion: completion,
        native_tokens_prompt: prompt,
        native_tokens_completion: completion,
        native_tokens_reasoning: found.units.internal_reasoning,
        native_tokens_cached: found.units.cached_prompt,
        latency: found.first_output_at.map(|first| ms(found.received_at, first)),
        generation_time: found.first_output_at.map(|first| ms(first, found.finished_at)),
        total_cost: found.charge,
        usage: found.charge,
        data_region: region,
        service_tier: found.service_tier,
        request_id: found.request,
        receipt_id,
        attempts: found
            .attempts
            .into_iter()
            .map(|attempt| AttemptView {
                provider: providers.get(&attempt.provider).map(|provider| provider.slug.clone()),
                status: attempt.status,
                code: attempt.error_code,
            })
            .collect(),
        routing: found.routing,
        model: found.model,
        finish_reason: found.finish_reason,
        native_finish_reason: found.native_finish_reason,
    }
}

//! The offers of a model one by one, as people compare them: what was promised, and what was measured.

use std::collections::HashMap;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use billing::store::uptime::{self, Uptime};
use http::HeaderMap;
use protocol::offer::{Quantization, TrustLevel};
use protocol::{OfferId, Timestamp};
use scheduler::measure::recent::Percentiles;
use scheduler::pool::snapshot::ModelPool;
use scheduler::provider::OfferState;
use scheduler::{OfferEntry, Snapshot};
use serde::Serialize;

use super::models::{self, Architecture, Pricing};
use crate::envelope::ModelRef;
use crate::error::ApiError;
use crate::extract::Json;
use crate::state::AppState;
use crate::store;

/// The routes of this file. A model's own list is reached through the model.
pub fn routes() -> Router<AppState> {
    Router::new().route("/endpoints/zdr", get(zdr))
}

/// Takes users' work.
const NORMAL: i8 = 0;
/// Takes it when no better one is left: 80 to 95 % uptime, or said to be degraded.
const DEGRADED: i8 = -1;
/// Takes it last: under 80 % uptime.
const LAST_RESORT: i8 = -2;
/// Takes none just now.
const OUT: i8 = -5;

#[derive(Debug, Serialize)]
pub(super) struct Envelope<T> {
    data: T,
}

/// A model with its offers.
#[derive(Debug, Serialize)]
pub(super) struct ModelEndpoints {
    id: String,
    name: String,
    created: i64,
    description: String,
    architecture: Architecture,
    endpoints: Vec<Endpoint>,
}

/// One offer. What was not measured lately is null.
#[derive(Debug, Serialize)]
pub(super) struct Endpoint {
    name: String,
    provider_name: String,
    /// As the `provider` object of a request names it: slug, or slug/region.
    tag: String,
    model_id: String,
    context_length: u32,
    quantization: Option<Quantization>,
    max_completion_tokens: Option<u32>,
    /// Nothing but the context bounds a prompt.
    max_prompt_tokens: Option<u32>,
    pricing: Pricing,
    supported_parameters: Vec<String>,
    status: i8,
    /// Percent.
    uptime_last_5m: Option<f64>,
    uptime_last_30m: Option<f64>,
    uptime_last_1d: Option<f64>,
    /// Seconds to the first content.
    latency_last_30m: Option<Percentiles>,
    /// Output tokens per second; so many in a hundred answers were at least this fast.
    throughput_last_30m: Option<Percentiles>,
    region: Option<String>,
    trust: TrustLevel,
    privacy: Promised,
}

#[derive(Debug, Serialize)]
struct Promised {
    zdr: bool,
    training: bool,
}

/// The offers of one model. A routing suffix on the id is no part of it.
///
/// # Errors
/// 404 when nobody offers the model.
pub(super) async fn of_model(app: &AppState, id: &str) -> Result<Json<Envelope<ModelEndpoints>>, ApiError> {
    let asked = ModelRef::parse(id.into());
    let (now, snapshot) = (app.env.now(), app.scheduler.snapshot());
    let pool = snapshot.model(&asked.id).ok_or_else(|| ApiError::model_not_found(id))?;
    let mut conn = app.db.acquire().await?;
    let model = store::models::find(&mut conn, &asked.id).await?.ok_or_else(|| ApiError::model_not_found(id))?;
    let offers: Vec<OfferId> = pool.offers.iter().map(|offer| offer.id()).collect();
    let uptimes = uptime::list(&mut conn, &offers, now).await?;
    let data = ModelEndpoints {
        name: model.name,
        created: model.created_at.unix_seconds(),
        description: model.description,
        architecture: models::architecture(pool),
        endpoints: endpoints(pool, &uptimes, now, |_| true),
        id: model.id,
    };
    Ok(Json(Envelope { data }))
}

/// Every offer that promises to keep nothing.
#[tracing::instrument(name = "api.endpoints.zdr", skip_all)]
async fn zdr(State(app): State<AppState>, headers: HeaderMap) -> Result<Json<Envelope<Vec<Endpoint>>>, ApiError> {
    models::check_key(&app, &headers).await?;
    let (now, snapshot) = (app.env.now(), app.scheduler.snapshot());
    let keeps_nothing = |offer: &OfferEntry| offer.listing.node.privacy.zdr;
    let offers: Vec<OfferId> = snapshot.offers().filter(|offer| keeps_nothing(offer)).map(|offer| offer.id()).collect();
    let mut conn = app.db.acquire().await?;
    let uptimes = uptime::list(&mut conn, &offers, now).await?;
    let data = by_model(&snapshot).into_iter().flat_map(|pool| endpoints(pool, &uptimes, now, keeps_nothing)).collect();
    Ok(Json(Envelope { data }))
}

/// The models of a snapshot by their ids, so that two calls give one order.
fn by_model(snapshot: &Snapshot) -> Vec<&ModelPool> {
    let mut pools: Vec<&ModelPool> = snapshot.models().collect();
    pools.sort_by(|a, b| a.id.cmp(&b.id));
    pools
}

/// The offers that are past their probes and that `wanted` keeps.
fn endpoints(
    pool: &ModelPool,
    uptimes: &HashMap<OfferId, Uptime>,
    now: Timestamp,
    wanted: impl Fn(&OfferEntry) -> bool,
) -> Vec<Endpoint> {
    let shown = |offer: &OfferEntry| offer.listing.offer.state != OfferState::Staged && wanted(offer);
    let offers = pool.offers.iter().enumerate().filter(|(_, offer)| shown(offer));
    let view = |(index, offer): (usize, &std::sync::Arc<OfferEntry>)| {
        let uptime = uptimes.get(&offer.id()).copied().unwrap_or_default();
        endpoint(offer, status(pool, index, now), uptime, now)
    };
    offers.map(view).collect()
}

fn endpoint(offer: &OfferEntry, status: i8, uptime: Uptime, now: Timestamp) -> Endpoint {
    let (listing, lately) = (&offer.listing, offer.live.lately(now));
    let (spec, node) = (&listing.offer.spec, &listing.node);
    Endpoint {
        name: format!("{} | {}", listing.provider.name, listing.model),
        provider_name: listing.provider.name.clone(),
        tag: listing.tag.to_string(),
        model_id: listing.model.to_string(),
        context_length: spec.context_length,
        quantization: spec.quantization,
        max_completion_tokens: spec.max_output_tokens,
        max_prompt_tokens: None,
        pricing: models::pricing(&offer.price.prices),
        supported_parameters: spec.offered_parameters().map(str::to_owned).collect(),
        status,
        uptime_last_5m: uptime.last_5m,
        uptime_last_30m: uptime.last_30m,
        uptime_last_1d: uptime.last_1d,
        latency_last_30m: lately.latency_s,
        throughput_last_30m: lately.tokens_per_s,
        region: node.location.region.clone(),
        trust: node.trust,
        privacy: Promised { zdr: node.privacy.zdr, training: node.privacy.training },
    }
}

fn status(pool: &ModelPool, index: usize, now: Timestamp) -> i8 {
    let offer = &pool.offers[index];
    if !pool.is_up(index) || offer.live.exclusion(now).is_some() {
        return OUT;
    }
    match pool.tier(index) {
        0 if offer.listing.offer.state == OfferState::Degraded => DEGRADED,
        0 => NORMAL,
        1 => DEGRADED,
        _ => LAST_RESORT,
    }
}

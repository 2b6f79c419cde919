//! The catalogue as users see it: what somebody offers, at the price of the cheapest offer that takes work.

use std::collections::BTreeSet;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use protocol::{Prices, Timestamp};
use scheduler::OfferEntry;
use scheduler::pool::snapshot::ModelPool;
use serde::Serialize;

use super::endpoints;
use crate::dialect::messages;
use crate::envelope::ModelRef;
use crate::error::ApiError;
use crate::extract::{Json, Path, authenticate, bearer};
use crate::state::AppState;
use crate::store;
use crate::store::models::Model;

/// The routes of this file. A model id keeps its slash, written raw or percent-encoded; what comes after it is
/// told apart here, because nothing may follow a wildcard.
pub fn routes() -> Router<AppState> {
    Router::new().route("/models", get(list)).route("/models/{*id}", get(show))
}

/// One page with every model.
#[derive(Debug, Serialize)]
struct List {
    object: &'static str,
    data: Vec<View>,
}

#[derive(Debug, Serialize)]
struct View {
    id: String,
    object: &'static str,
    created: i64,
    owned_by: String,
    canonical_slug: String,
    name: String,
    description: String,
    context_length: u32,
    hugging_face_id: Option<String>,
    architecture: Architecture,
    pricing: Pricing,
    top_provider: TopProvider,
    supported_parameters: BTreeSet<String>,
    per_request_limits: Option<()>,
}

/// What goes in and what comes out.
#[derive(Debug, Serialize)]
pub(super) struct Architecture {
    modality: String,
    input_modalities: BTreeSet<String>,
    output_modalities: BTreeSet<String>,
    tokenizer: &'static str,
    instruct_type: Option<()>,
}

/// US dollars per token or request, decimal strings.
#[derive(Debug, Serialize)]
pub(super) struct Pricing {
    prompt: String,
    completion: String,
    request: String,
    input_cache_read: String,
    input_cache_write: String,
}

#[derive(Debug, Serialize)]
struct TopProvider {
    context_length: u32,
    max_completion_tokens: Option<u32>,
    is_moderated: bool,
}

/// All models somebody offers.
#[tracing::instrument(name = "api.models.list", skip_all)]
async fn list(State(app): State<AppState>, headers: HeaderMap) -> Result<Response, ApiError> {
    check_key(&app, &headers).await?;
    let mut conn = app.db.acquire().await?;
    let models = store::models::list(&mut conn).await?;
    drop(conn);
    let snapshot = app.scheduler.snapshot();
    let data: Vec<View> = models.into_iter().filter_map(|model| view(model, &snapshot)).collect();
    if headers.contains_key(ANTHROPIC) {
        let models: Vec<_> = data.iter().map(theirs).collect();
        return Ok(([JSON], messages::model_list(&models)).into_response());
    }
    Ok(Json(List { object: "list", data }).into_response())
}

/// One model that somebody offers. A routing suffix on the id is no part of it.
#[tracing::instrument(name = "api.models.show", skip_all)]
async fn show(State(app): State<AppState>, headers: HeaderMap, Path(id): Path<String>) -> Result<Response, ApiError> {
    check_key(&app, &headers).await?;
    if let Some(model) = id.strip_suffix(ENDPOINTS) {
        return Ok(endpoints::of_model(&app, model).await?.into_response());
    }
    let asked = ModelRef::parse(id.as_str().into());
    let mut conn = app.db.acquire().await?;
    let model = store::models::find(&mut conn, &asked.id).await?;
    drop(conn);
    let view = model.and_then(|model| view(model, &app.scheduler.snapshot()));
    let view = view.ok_or_else(|| ApiError::model_not_found(&id))?;
    if headers.contains_key(ANTHROPIC) {
        return Ok(([JSON], messages::model(&theirs(&view))).into_response());
    }
    Ok(Json(view).into_response())
}

/// What asks for a model's offers instead of the model.
const ENDPOINTS: &str = "/endpoints";
/// What Anthropic's clients send with every call; they read models in a shape of their own.
const ANTHROPIC: &str = "anthropic-version";
const JSON: (HeaderName, HeaderValue) = (CONTENT_TYPE, HeaderValue::from_static("application/json"));

fn theirs(view: &View) -> messages::Model<'_> {
    let created_at = Timestamp::from_unix_seconds(view.created);
    messages::Model { id: &view.id, display_name: &view.name, created_at }
}

/// The catalogue is public, but clients also use it to try a key: one that is sent must count.
pub(super) async fn check_key(app: &AppState, headers: &HeaderMap) -> Result<(), ApiError> {
    if bearer(headers).is_some() {
        authenticate(app, headers).await?;
    }
    Ok(())
}

/// `None` while nobody offers the model. Where every offer is out for the moment, the price of one of them
/// is shown, so that a model does not come and go with its nodes.
fn view(model: Model, snapshot: &scheduler::Snapshot) -> Option<View> {
    let pool = snapshot.model(&model.id)?;
    let top = pool.cheapest().or_else(|| pool.offers.first())?;
    let spec = &top.listing.offer.spec;
    Some(View {
        object: "model",
        created: model.created_at.unix_seconds(),
        owned_by: model.id.split_once('/').map_or("steelyard", |(author, _)| author).to_owned(),
        canonical_slug: model.id.clone(),
        name: model.name,
        description: model.description,
        context_length: model.context_length,
        hugging_face_id: model.hugging_face_id,
        architecture: architecture(pool),
        pricing: pricing(&top.price.prices),
        top_provider: TopProvider {
            context_length: spec.context_length,
            max_completion_tokens: spec.max_output_tokens,
            is_moderated: false,
        },
        supported_parameters: union(pool, |offer| offer.listing.offer.spec.offered_parameters()),
        per_request_limits: None,
        id: model.id,
    })
}

pub(super) fn architecture(pool: &ModelPool) -> Architecture {
    let input_modalities = union(pool, |offer| offer.listing.offer.spec.input_modalities.iter().map(String::as_str));
    let output_modalities = union(pool, |offer| offer.listing.offer.spec.output_modalities.iter().map(String::as_str));
    Architecture {
        modality: format!("{}->{}", join(&input_modalities), join(&output_modalities)),
        input_modalities,
        output_modalities,
        tokenizer: "Other",
        instruct_type: None,
    }
}

/// What any offer of the model can do.
fn union<'a, I: Iterator<Item = &'a str>>(
    pool: &'a ModelPool,
    names: impl Fn(&'a OfferEntry) -> I,
) -> BTreeSet<String> {
    pool.offers.iter().flat_map(|offer| names(offer)).map(str::to_owned).collect()
}

fn join(names: &BTreeSet<String>) -> String {
    // Text leads, as everywhere this notation is used; the rest follows by name.
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_by_key(|name| *name != "text");
    names.join("+")
}

pub(super) fn pricing(prices: &Prices) -> Pricing {
    Pricing {
        prompt: prices.prompt.to_string(),
        completion: prices.completion.to_string(),
        request: prices.request.to_string(),
        input_cache_read: prices.cached_prompt.unwrap_or(prices.prompt).to_string(),
        input_cache_write: prices.cache_write.unwrap_or(prices.prompt).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Price;

    #[test]
    fn text_leads_a_modality() {
        let names = ["audio", "image", "text"].map(str::to_owned).into();
        assert_eq!(join(&names), "text+audio+image");
    }

    #[test]
    fn a_class_without_a_price_shows_its_parents() {
        let prompt = Price::from_pico(100_000).unwrap_or_default();
        let shown = pricing(&Prices { prompt, cached_prompt: Some(Price::ZERO), ..Prices::default() });
        assert_eq!([shown.prompt.as_str(), &shown.input_cache_write], ["0.0000001", "0.0000001"]);
        assert_eq!([shown.input_cache_read.as_str(), &shown.request], ["0", "0"]);
    }
}

//! What a node offers: the whole set at once, under an entity tag.

use std::collections::HashSet;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::header::{ETAG, IF_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue};
use protocol::offer::OfferSpec;
use protocol::session::{OfferView, OffersView, PutOffers};
use protocol::{NodeId, Timestamp};
use scheduler::provider::{Offer, OfferState, PriceVersion};
use scheduler::store::offers;
use serde_json::json;
use sqlx::PgConnection;

use super::{nodes, providers};
use crate::error::ApiError;
use crate::extract::{Json, Supplier};
use crate::state::AppState;
use crate::store;
use crate::store::audit::{self, Entry};

/// Models one machine may offer: far more than fit in its memory at once.
const MAX_OFFERS: usize = 100;

/// The routes of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/providers/{provider}/nodes/{node}/offers", get(list).put(put))
}

type Tagged = ([(HeaderName, HeaderValue); 1], Json<OffersView>);

/// The set as it stands.
#[tracing::instrument(name = "api.offers.list", skip_all, fields(node.id = %caller.node))]
async fn list(State(app): State<AppState>, caller: Supplier) -> Result<Tagged, ApiError> {
    let mut conn = app.db.acquire().await?;
    let node = nodes::owned(&mut conn, caller.provider, caller.node).await?;
    let (version, offers) = offers::list_of(&mut conn, node.id).await?;
    Ok(tagged(version, &offers, app.env.now()))
}

/// Replaces the set and posts its prices, both or neither. An offer keeps its id while node and model stay.
#[tracing::instrument(name = "api.offers.put", skip_all, fields(node.id = %caller.node))]
async fn put(
    State(app): State<AppState>,
    caller: Supplier,
    headers: HeaderMap,
    Json(body): Json<PutOffers>,
) -> Result<Tagged, ApiError> {
    check(&body.offers)?;
    let expected = if_match(&headers)?;
    let now = app.env.now();
    let mut tx = app.db.begin().await?;
    known(&mut tx, &body.offers).await?;
    providers::active(&scheduler::store::providers::get(&mut tx, caller.provider).await?)?;
    let node = nodes::present(&mut tx, caller.provider, caller.node).await?;
    offers::claim_set(&mut tx, node.id, expected).await?;
    let kept = replace(&mut tx, &app, node.id, &body.offers, now).await?;
    let entry = Entry::new(app.env.mint(), now, caller.actor, "offers.put", caller.node);
    audit::insert(&mut tx, entry.of_provider(caller.provider).with(json!({ "models": kept }))).await?;
    let (version, offers) = offers::list_of(&mut tx, node.id).await?;
    tx.commit().await?;
    // Only this replica's own haste: all of them read new prices every so often anyway.
    if let Err(error) = app.billing.reload_prices().await {
        tracing::warn!(%error, "posted prices will be read a little later");
    }
    Ok(tagged(version, &offers, now))
}

/// Makes `specs` the whole of a claimed set and posts their prices. Returns their models.
pub(crate) async fn replace(
    conn: &mut PgConnection,
    app: &AppState,
    node: NodeId,
    specs: &[OfferSpec],
    now: Timestamp,
) -> Result<Vec<String>, ApiError> {
    for spec in specs {
        put_one(conn, app, node, spec, now).await?;
    }
    let kept: Vec<String> = specs.iter().map(|offer| offer.model.clone()).collect();
    offers::retire_others(conn, node, &kept).await?;
    Ok(kept)
}

/// Stores one offer of a claimed set and posts its price. A new one is checked before customers get to it.
async fn put_one(
    conn: &mut PgConnection,
    app: &AppState,
    node: NodeId,
    spec: &OfferSpec,
    now: Timestamp,
) -> Result<(), ApiError> {
    let state = if app.config.providers.probes_to_activate == 0 { OfferState::Active } else { OfferState::Staged };
    let offer = offers::put(conn, app.env.mint(), node, spec, state, now).await?;
    let prices = spec.prices().map_err(|error| ApiError::invalid(error.field, error.reason))?;
    let pricing = &app.config.billing.pricing;
    let row = billing::store::prices::post(conn, pricing, offer.id, &spec.model, &prices, now).await?;
    let posted = PriceVersion { version: row.version, prices: row.user, effective_at: row.effective_at };
    Ok(offers::set_price(conn, offer.id, &posted, now).await?)
}

fn check(offers: &[OfferSpec]) -> Result<(), ApiError> {
    if offers.len() > MAX_OFFERS {
        return Err(ApiError::invalid("offers", format!("at most {MAX_OFFERS}")));
    }
    let mut models = HashSet::new();
    for (index, offer) in offers.iter().enumerate() {
        let invalid = |field: &str, message: String| {
            ApiError::invalid(format!("offers[{index}].{field}").as_str(), message).with_code("invalid_value")
        };
        offer.validate().map_err(|error| invalid(error.field, error.reason))?;
        if !models.insert(offer.model.as_str()) {
            return Err(invalid("model", format!("{:?} is offered twice by one node", offer.model)));
        }
    }
    Ok(())
}

/// Only models of the catalogue can be offered: their tokenizer and their share are the operator's to set.
async fn known(conn: &mut PgConnection, offers: &[OfferSpec]) -> Result<(), ApiError> {
    let models: Vec<String> = offers.iter().map(|offer| offer.model.clone()).collect();
    let Some(missing) = store::models::list_missing(conn, &models).await?.into_iter().next() else { return Ok(()) };
    let index = models.iter().position(|model| *model == missing).unwrap_or(0);
    let message = format!(
        "{missing:?} is not in the broker's catalogue; its operator adds it with \
         `steelyard admin model add --id {missing} --context-length N`"
    );
    Err(ApiError::invalid(format!("offers[{index}].model").as_str(), message).with_code("model_not_found"))
}

/// What the caller had read: a version, or `None` where it does not care. `*` fits any set there is.
fn if_match(headers: &HeaderMap) -> Result<Option<i64>, ApiError> {
    let Some(value) = headers.get(IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let tag = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match tag.and_then(|tag| tag.parse().ok()) {
        Some(version) => Ok(Some(version)),
        // A tag of no form of ours can't be the current one.
        None => Err(ApiError::precondition("if-match is not an entity tag of this set")),
    }
}

fn tagged(version: i64, offers: &[Offer], now: Timestamp) -> Tagged {
    let etag = HeaderValue::try_from(format!("\"{version}\"")).expect("a number in quotes is a header value");
    let data = offers.iter().map(|offer| view(offer, now)).collect();
    ([(ETAG, etag)], Json(OffersView { object: "list".to_owned(), data }))
}

fn view(offer: &Offer, now: Timestamp) -> OfferView {
    OfferView {
        id: offer.id,
        state: offer.state.as_str().to_owned(),
        price_version: offer.price_at(now).map_or(0, |price| price.version),
        spec: offer.spec.clone(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn tag(value: &'static str) -> Result<Option<i64>, u16> {
        let headers = HeaderMap::from_iter([(IF_MATCH, HeaderValue::from_static(value))]);
        if_match(&headers).map_err(|error| error.status().as_u16())
    }

    #[test]
    fn a_tag_is_a_quoted_version() {
        assert_eq!(if_match(&HeaderMap::new()).unwrap(), None);
        assert_eq!(tag("*"), Ok(None));
        assert_eq!(tag("\"7\""), Ok(Some(7)));
        for wrong in ["7", "W/\"7\"", "\"x\"", ""] {
            assert_eq!(tag(wrong), Err(412), "{wrong}");
        }
    }

    #[test]
    fn an_offer_at_fault_is_named_by_its_place() {
        let offer: OfferSpec = serde_json::from_value(json!({
            "model": "org/name", "upstream_model": "x", "context_length": 4096,
            "pricing": [{ "type": "prompt", "unit": "token", "cost_usd": "0" },
                        { "type": "completion", "unit": "token", "cost_usd": "0" }],
        }))
        .unwrap();
        let twice = check(&[offer.clone(), offer.clone()]).unwrap_err();
        assert_eq!(twice.body()["error"]["param"], "offers[1].model");
        let dear = OfferSpec { context_length: 0, ..offer };
        assert_eq!(check(&[dear]).unwrap_err().body()["error"]["param"], "offers[0].context_length");
    }
}

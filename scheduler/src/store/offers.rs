//! Offers: a node's whole set is put at once, guarded by its version.

use protocol::offer::OfferSpec;
use protocol::{NodeId, OfferId, Prices, Timestamp};
use sqlx::PgConnection;

use super::{corrupt, json, notify, to_json};
use crate::error::Error;
use crate::provider::{Offer, OfferState, PriceVersion};

/// Takes the right to change a node's offers, which holds until the transaction ends, and raises
/// their version. `expected` is what the caller has read; `None` overwrites whatever is there.
///
/// # Errors
/// [`Error::OffersChanged`] when somebody else changed them since; [`Error::NodeRemoved`] and
/// [`Error::NodeNotFound`].
pub async fn claim_set(conn: &mut PgConnection, node: NodeId, expected: Option<i64>) -> Result<i64, Error> {
    let row = sqlx::query!(
        r#"select offers_version, removed_at as "removed_at: Timestamp" from nodes where node_id = $1 for update"#,
        node as NodeId,
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or(Error::NodeNotFound(node))?;
    if row.removed_at.is_some() {
        return Err(Error::NodeRemoved(node));
    }
    let actual = row.offers_version;
    if let Some(expected) = expected.filter(|expected| *expected != actual) {
        return Err(Error::OffersChanged { node, expected, actual });
    }
    sqlx::query!("update nodes set offers_version = offers_version + 1 where node_id = $1", node as NodeId)
        .execute(conn)
        .await?;
    Ok(actual + 1)
}

/// Puts one offer of a claimed set. The offer of the same model on the same node keeps its id, state
/// and prices; a retired one, and one that another model of the engine's is to serve, start over as `state`:
/// what was checked is not what customers would get. Returns what is stored.
///
/// # Errors
/// [`Error::Database`] or [`Error::Corrupt`].
pub async fn put(
    conn: &mut PgConnection,
    id: OfferId,
    node: NodeId,
    spec: &OfferSpec,
    state: OfferState,
    now: Timestamp,
) -> Result<Offer, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"insert into offers as o (offer_id, node_id, model, spec, state, created_at)
           values ($1, $2, $3, $4, $5, $6)
           on conflict (node_id, model) do update
              set spec = excluded.spec,
                  state = case when o.state = 'retired' then excluded.state
                               when o.spec->>'upstream_model' is distinct from excluded.spec->>'upstream_model'
                               then excluded.state
                               else o.state end
           returning offer_id as "offer_id: OfferId", node_id as "node_id: NodeId", spec, state, price_version, price,
                     price_at as "price_at: Timestamp", next_price_version, next_price,
                     next_price_at as "next_price_at: Timestamp", created_at as "created_at: Timestamp""#,
        id as OfferId,
        node as NodeId,
        spec.model,
        to_json(spec),
        state.as_str(),
        now as Timestamp,
    )
    .fetch_one(&mut *conn)
    .await?;
    notify(conn).await?;
    row.into_offer()
}

/// Retires every offer of a claimed set whose model is not in `kept`. Rows stay: receipts name them.
///
/// # Errors
/// [`Error::Database`].
pub async fn retire_others(conn: &mut PgConnection, node: NodeId, kept: &[String]) -> Result<Vec<OfferId>, Error> {
    let retired = sqlx::query_scalar!(
        r#"update offers set state = 'retired'
            where node_id = $1 and state <> 'retired' and not (model = any($2))
        returning offer_id as "offer_id: OfferId""#,
        node as NodeId,
        kept,
    )
    .fetch_all(&mut *conn)
    .await?;
    if !retired.is_empty() {
        notify(conn).await?;
    }
    Ok(retired)
}

/// Stages a node's offers anew, because it is reached elsewhere from now on. Raises the set's version, so
/// that probes of what was there before let nothing in.
///
/// # Errors
/// [`Error::NodeRemoved`] or [`Error::NodeNotFound`].
pub async fn restage(conn: &mut PgConnection, node: NodeId) -> Result<(), Error> {
    claim_set(conn, node, None).await?;
    sqlx::query!(
        "update offers set state = 'staged' where node_id = $1 and state in ('active', 'degraded')",
        node as NodeId,
    )
    .execute(&mut *conn)
    .await?;
    Ok(notify(conn).await?)
}

/// Lets a staged offer in, provided its node's set is still the one that was probed. False when it is not.
///
/// # Errors
/// [`Error::Database`].
pub async fn activate(conn: &mut PgConnection, id: OfferId, version: i64) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update offers as o set state = 'active' from nodes as n
          where o.offer_id = $1 and o.state = 'staged' and n.node_id = o.node_id and n.offers_version = $2",
        id as OfferId,
        version,
    )
    .execute(&mut *conn)
    .await?;
    notify(conn).await?;
    Ok(done.rows_affected() == 1)
}

/// An offer, if there is one.
///
/// # Errors
/// [`Error::Database`] or [`Error::Corrupt`].
pub async fn find(conn: &mut PgConnection, id: OfferId) -> Result<Option<Offer>, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select offer_id as "offer_id: OfferId", node_id as "node_id: NodeId", spec, state, price_version, price,
                  price_at as "price_at: Timestamp", next_price_version, next_price,
                  next_price_at as "next_price_at: Timestamp", created_at as "created_at: Timestamp"
             from offers where offer_id = $1"#,
        id as OfferId,
    )
    .fetch_optional(conn)
    .await?;
    row.map(Row::into_offer).transpose()
}

/// A node's offers that are not retired, by model, and the version of the set.
///
/// # Errors
/// [`Error::NodeNotFound`].
pub async fn list_of(conn: &mut PgConnection, node: NodeId) -> Result<(i64, Vec<Offer>), Error> {
    let version = sqlx::query_scalar!("select offers_version from nodes where node_id = $1", node as NodeId)
        .fetch_optional(&mut *conn)
        .await?
        .ok_or(Error::NodeNotFound(node))?;
    let rows = sqlx::query_as!(
        Row,
        r#"select offer_id as "offer_id: OfferId", node_id as "node_id: NodeId", spec, state, price_version, price,
                  price_at as "price_at: Timestamp", next_price_version, next_price,
                  next_price_at as "next_price_at: Timestamp", created_at as "created_at: Timestamp"
             from offers where node_id = $1 and state <> 'retired' order by model"#,
        node as NodeId,
    )
    .fetch_all(conn)
    .await?;
    let offers = rows.into_iter().map(Row::into_offer).collect::<Result<_, _>>()?;
    Ok((version, offers))
}

/// Models that answer in `modality`, by id: as their first offer says, so that whoever offers one later can't make it
/// something else for everybody.
///
/// # Errors
/// [`Error::Database`].
pub async fn list_models_answering_in(conn: &mut PgConnection, modality: &str) -> Result<Vec<String>, Error> {
    let models = sqlx::query_scalar!(
        "select model from (
           select distinct on (model) model, spec from offers order by model, created_at, offer_id) first
          where spec -> 'output_modalities' ? $1 order by model",
        modality,
    );
    Ok(models.fetch_all(conn).await?)
}

/// Moves an offer to a state.
///
/// # Errors
/// [`Error::OfferNotFound`], also for a retired one: only putting it again brings it back.
pub async fn set_state(conn: &mut PgConnection, id: OfferId, state: OfferState) -> Result<(), Error> {
    let done = sqlx::query!(
        "update offers set state = $2 where offer_id = $1 and state <> 'retired'",
        id as OfferId,
        state.as_str(),
    )
    .execute(&mut *conn)
    .await?;
    if done.rows_affected() == 0 {
        return Err(Error::OfferNotFound(id));
    }
    Ok(notify(conn).await?)
}

/// Copies a price version just posted to the price book, in the transaction that posts it. One that
/// applies at `now` becomes the current one; a later one waits, and the current one stays as it is.
///
/// # Errors
/// [`Error::OfferNotFound`].
pub async fn set_price(
    conn: &mut PgConnection,
    id: OfferId,
    posted: &PriceVersion,
    now: Timestamp,
) -> Result<(), Error> {
    let offer = sqlx::query_as!(
        Row,
        r#"select offer_id as "offer_id: OfferId", node_id as "node_id: NodeId", spec, state, price_version, price,
                  price_at as "price_at: Timestamp", next_price_version, next_price,
                  next_price_at as "next_price_at: Timestamp", created_at as "created_at: Timestamp"
             from offers where offer_id = $1 for update"#,
        id as OfferId,
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or(Error::OfferNotFound(id))?
    .into_offer()?;
    // A first price has nothing to wait behind: until it applies there would be none at all.
    let at_once = posted.effective_at <= now || offer.price.is_none();
    let (current, next) = if at_once { (Some(*posted), None) } else { (offer.price_at(now), Some(*posted)) };
    let column = |version: &Option<PriceVersion>| {
        let number = version.map(|version| i32::try_from(version.version).unwrap_or(i32::MAX));
        (number, version.map(|version| to_json(&version.prices)), version.map(|version| version.effective_at))
    };
    let ((version, price, at), (next_version, next_price, next_at)) = (column(&current), column(&next));
    sqlx::query!(
        "update offers set price_version = $2, price = $3, price_at = $4,
                           next_price_version = $5, next_price = $6, next_price_at = $7
          where offer_id = $1",
        id as OfferId,
        version,
        price,
        at as Option<Timestamp>,
        next_version,
        next_price,
        next_at as Option<Timestamp>,
    )
    .execute(&mut *conn)
    .await?;
    Ok(notify(conn).await?)
}

pub(super) struct Row {
    pub(super) offer_id: OfferId,
    pub(super) node_id: NodeId,
    pub(super) spec: serde_json::Value,
    pub(super) state: String,
    pub(super) price_version: Option<i32>,
    pub(super) price: Option<serde_json::Value>,
    pub(super) price_at: Option<Timestamp>,
    pub(super) next_price_version: Option<i32>,
    pub(super) next_price: Option<serde_json::Value>,
    pub(super) next_price_at: Option<Timestamp>,
    pub(super) created_at: Timestamp,
}

impl Row {
    pub(super) fn into_offer(self) -> Result<Offer, Error> {
        let id = self.offer_id;
        Ok(Offer {
            id,
            node: self.node_id,
            spec: json(self.spec, "spec", id)?,
            state: self.state.parse().map_err(corrupt("state", id))?,
            price: version(self.price_version, self.price, self.price_at, id)?,
            next_price: version(self.next_price_version, self.next_price, self.next_price_at, id)?,
            created_at: self.created_at,
        })
    }
}

fn version(
    number: Option<i32>,
    prices: Option<serde_json::Value>,
    at: Option<Timestamp>,
    id: OfferId,
) -> Result<Option<PriceVersion>, Error> {
    let (Some(number), Some(prices), Some(effective_at)) = (number, prices, at) else { return Ok(None) };
    let version = u32::try_from(number).map_err(corrupt("price_version", id))?;
    let prices: Prices = json(prices, "price", id)?;
    Ok(Some(PriceVersion { version, prices, effective_at }))
}

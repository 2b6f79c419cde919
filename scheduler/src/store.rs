//! Rows of providers, nodes and offers. Functions take the connection first and never begin or
//! commit; those that change what placement reads also notify it, which takes effect at commit.
//!
//! Locks are taken in this order: provider, node, offer.

pub mod nodes;
pub mod offers;
pub mod pool;
pub mod providers;

use serde::de::DeserializeOwned;
use sqlx::PgConnection;

use crate::error::Error;

/// Tells every replica that the pool changed.
pub(crate) async fn notify(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(r#"select pg_notify('steelyard_pool', '') as "sent: String""#).fetch_one(conn).await.map(drop)
}

fn corrupt<E>(what: &'static str, id: impl ToString) -> impl FnOnce(E) -> Error
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |source| Error::Corrupt { what, id: id.to_string(), source: Box::new(source) }
}

fn json<T: DeserializeOwned>(value: serde_json::Value, what: &'static str, id: impl ToString) -> Result<T, Error> {
    serde_json::from_value(value).map_err(corrupt(what, id))
}

/// A value of ours as JSON.
fn to_json<T: serde::Serialize>(value: &T) -> serde_json::Value {
    serde_json::to_value(value).expect("plain structs with string keys always serialise")
}

/// The name an enum has in JSON, which is also its name in the database.
fn name<T: serde::Serialize>(value: &T) -> String {
    match to_json(value) {
        serde_json::Value::String(name) => name,
        other => other.to_string(),
    }
}

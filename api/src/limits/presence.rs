//! Whether the gateways on one database count limits together: one that counts by itself must be the only one.

use std::time::Duration;

use platform::worker::{Next, Worker};
use protocol::Timestamp;
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::time::Instant;

use super::config::{LimitsConfig, RedisConfig};
use crate::store::gateways;

/// How long and how often a starting gateway asks: after a crash the server may take a moment to notice that the
/// one before is gone.
const CLAIM: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(20));
/// The longest wait for one answer of the database.
const ANSWER: Duration = Duration::from_secs(2);
/// How often a gateway looks whether the others still know of it: what a lost connection may cost.
const LOOK: Duration = Duration::from_secs(5);

/// A gateway's place among those of its database, for as long as its connection lives. Those that count together
/// share the place; one that counts by itself has it alone.
pub struct Presence {
    db: PgPool,
    /// It counts by itself, and nobody allowed that beside others.
    alone: bool,
    held: Option<Held>,
}

struct Held {
    conn: PgConnection,
    /// False while a gateway that does not fit has the place.
    is_ours: bool,
}

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It would count by itself beside others.
    #[error(
        "another gateway runs on this database, and without Redis each would count limits by itself: a customer could \
         use every limit once at each. Set redis.url for all of them, or limits.allow_unshared = true for all of them \
         where that is meant"
    )]
    Alone,
    /// Another counts by itself already.
    #[error(
        "another gateway on this database counts limits by itself: it has neither redis.url nor limits.allow_unshared. \
         Stop it, or start it again with one of them, before this one"
    )]
    BesideOne,
    /// The database did not say.
    #[error("asking for other gateways: {0}")]
    Database(#[from] sqlx::Error),
}

impl Presence {
    /// Takes the place that these settings ask for.
    ///
    /// # Errors
    /// [`Refused`] when a gateway has it that does not count together with this one.
    pub async fn claim(db: &PgPool, limits: &LimitsConfig, redis: &RedisConfig) -> Result<Self, Refused> {
        let alone = redis.url.is_none() && !limits.allow_unshared;
        let mut presence = Self { db: db.clone(), alone, held: None };
        let deadline = Instant::now() + CLAIM.0;
        while !presence.ask().await? {
            if Instant::now() >= deadline {
                return Err(if alone { Refused::Alone } else { Refused::BesideOne });
            }
            tokio::time::sleep(CLAIM.1).await;
        }
        Ok(presence)
    }

    /// Whether the place is ours; asks for it when it is not.
    async fn ask(&mut self) -> Result<bool, sqlx::Error> {
        // Taken out meanwhile: a connection that fails is gone, and does not hold the place against us.
        let held = self.held.take();
        let asked = async {
            let mut held = match held {
                Some(held) => held,
                None => Held { conn: self.db.acquire().await?.detach(), is_ours: false },
            };
            if held.is_ours {
                held.conn.ping().await?;
            } else {
                held.is_ours = gateways::claim(&mut held.conn, self.alone).await?;
            }
            Ok(held)
        };
        let held = tokio::time::timeout(ANSWER, asked).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
        Ok(self.held.insert(held).is_ours)
    }
}

impl Worker for Presence {
    type Error = sqlx::Error;

    fn name(&self) -> &'static str {
        "api.presence"
    }

    fn interval(&self) -> Duration {
        LOOK
    }

    /// Takes the place again when its connection was lost, as with a restart of the database. Whoever took it
    /// meanwhile is not driven out: two that count apart are better than none that answers.
    async fn tick(&mut self, _: Timestamp) -> Result<Next, sqlx::Error> {
        let was_apart = self.held.as_ref().is_some_and(|held| !held.is_ours);
        let is_ours = self.ask().await?;
        metrics::gauge!("steelyard_limits_unshared").set(if is_ours { 0.0 } else { 1.0 });
        if !is_ours && !was_apart {
            tracing::error!("another gateway runs on this database and counts limits apart from this one");
        }
        Ok(Next::Wait)
    }
}

//! How much may be asked for: requests, tokens and places, of each key, project and organization.
//!
//! A request takes its place and its tokens, prompt and longest answer, before anything is dispatched; what it did
//! not use is free again when it ends, however it ends. One process counts for itself; several share through Redis.

mod bucket;
pub mod config;
mod gcra;
mod headers;
mod line;
mod permit;
mod presence;
mod rows;
mod share;
mod shared;
mod shares;
mod upkeep;

use std::sync::Arc;
use std::time::Duration;

use platform::shutdown::Shutdown;
use protocol::Env;
use sqlx::PgPool;

use self::bucket::{Bucket, Kind, Scope};
use self::config::{LimitsConfig, RedisConfig};
use self::rows::RowTable;
use self::shared::Shared;
use self::shares::{InProcess, Shares};
use crate::extract::Caller;
use crate::store::rate_limits;

pub use headers::RateHeaders;
pub use permit::Permit;
pub use presence::{Presence, Refused};
pub use upkeep::Upkeep;

/// The limits in force. Clones share one count.
#[derive(Clone)]
pub struct Limits(Arc<Inner>);

struct Inner {
    env: Env,
    config: LimitsConfig,
    rows: RowTable,
    shares: Box<dyn Shares>,
    /// The same, where they are shared.
    shared: Option<Shared>,
}

impl Limits {
    /// Limits as set, counted here alone or, where Redis is set, together.
    ///
    /// # Errors
    /// Which setting can't be meant.
    pub async fn start(config: &LimitsConfig, redis: &RedisConfig, replica: &str, env: Env) -> Result<Self, String> {
        config.check()?;
        let shared = match redis.client()? {
            Some(client) => {
                let timeout = Duration::from_millis(redis.timeout_ms);
                Some(Shared::start(client, timeout, replica, env.clone()).await)
            }
            None => None,
        };
        let shares: Box<dyn Shares> = match &shared {
            Some(shared) => Box::new(shared.clone()),
            None => Box::new(InProcess::default()),
        };
        Ok(Self(Arc::new(Inner { env, config: config.clone(), rows: RowTable::default(), shares, shared })))
    }

    /// Takes in the limits of single keys, projects and organizations as they are stored now.
    ///
    /// # Errors
    /// When the database fails; those before stay in force.
    pub async fn reload(&self, db: &PgPool) -> Result<(), sqlx::Error> {
        let rows = rate_limits::list_all(&mut *db.acquire().await?).await?;
        self.0.rows.replace(rows.into_iter().map(Into::into));
        Ok(())
    }

    /// Starts the exchange with Redis, where there is one.
    pub fn spawn(&self, shutdown: &Shutdown) {
        if let Some(shared) = self.0.shared.clone() {
            shutdown.spawn(shared.run(shutdown.token().clone()));
        }
    }

    /// Hands back what this replica holds.
    pub async fn stop(&self) {
        self.0.shares.stop().await;
    }

    /// Where the limits of requests and tokens of `caller` stand, all models together.
    #[must_use]
    pub fn standing(&self, caller: &Caller) -> RateHeaders {
        self.standing_of(scopes(caller))
    }

    fn standing_of(&self, scopes: [Scope; 3]) -> RateHeaders {
        let (now, mut told) = (self.0.env.now(), RateHeaders::default());
        for bucket in self.general(scopes, &[Kind::Requests, Kind::Tokens]) {
            told.take_in(bucket.id.kind, self.0.shares.standing(&bucket, now));
        }
        told
    }

    fn tidy(&self) {
        self.0.shares.tidy(self.0.env.now());
    }

    fn general(&self, scopes: [Scope; 3], kinds: &[Kind]) -> Vec<Bucket> {
        let mut buckets = Vec::new();
        for scope in scopes {
            rows::general(&self.0.config, &self.0.rows.rows_of(scope), scope, kinds, &mut buckets);
        }
        buckets
    }

    fn special(&self, scopes: [Scope; 3], model: &str) -> Vec<Bucket> {
        let mut buckets = Vec::new();
        for scope in scopes {
            rows::special(&self.0.rows.rows_of(scope), scope, model, &mut buckets);
        }
        buckets
    }
}

fn scopes(caller: &Caller) -> [Scope; 3] {
    [Scope::Key(caller.key), Scope::Project(caller.project), Scope::Organization(caller.organization)]
}

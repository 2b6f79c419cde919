//! Keeps the stored limits current and the memory of old ones small.

use std::time::Duration;

use platform::worker::{Next, Worker};
use protocol::Timestamp;
use sqlx::PgPool;

use super::Limits;

/// The loop beside requests.
pub struct Upkeep {
    limits: Limits,
    db: PgPool,
}

impl Upkeep {
    /// For these limits.
    #[must_use]
    pub fn new(limits: Limits, db: PgPool) -> Self {
        Self { limits, db }
    }
}

impl Worker for Upkeep {
    type Error = sqlx::Error;

    fn name(&self) -> &'static str {
        "api.limits"
    }

    /// How late a changed limit is in force on the replicas that did not change it.
    fn interval(&self) -> Duration {
        Duration::from_secs(2)
    }

    async fn tick(&mut self, _: Timestamp) -> Result<Next, sqlx::Error> {
        self.limits.tidy();
        self.limits.reload(&self.db).await.map(|()| Next::Wait)
    }
}

//! Says of running requests that they go on, and forgets old answers.

use std::time::Duration;

use platform::worker::{Next, Worker};
use protocol::Timestamp;
use sqlx::PgPool;

use super::{LIVES_FOR, RENEW_EVERY, Running};
use crate::config::Server;
use crate::store::idempotency as store;

/// Renews and prunes.
pub struct Upkeep {
    db: PgPool,
    running: Running,
}

impl Upkeep {
    /// Of the requests in `running`.
    #[must_use]
    pub fn new(db: PgPool, running: Running) -> Self {
        Self { db, running }
    }
}

impl Worker for Upkeep {
    type Error = sqlx::Error;

    fn name(&self) -> &'static str {
        "api.idempotency"
    }

    fn interval(&self) -> Duration {
        RENEW_EVERY
    }

    async fn tick(&mut self, now: Timestamp) -> Result<Next, sqlx::Error> {
        let mut conn = self.db.acquire().await?;
        let names = self.running.names();
        if !names.is_empty() {
            store::renew(&mut conn, self.running.boot, &names, LIVES_FOR).await?;
        }
        let pruned = store::prune(&mut conn, now).await?;
        Ok(if pruned == store::PRUNE_BATCH.unsigned_abs() { Next::Again } else { Next::Wait })
    }
}

/// Frees what earlier boots of this replica left running. Only for a process that knows them to be gone.
///
/// # Errors
/// When the database fails.
pub async fn lapse_earlier_boots(db: &PgPool, server: &Server, running: &Running) -> Result<(), sqlx::Error> {
    let mut conn = db.acquire().await?;
    let lapsed = store::lapse_earlier_boots(&mut conn, &server.replica, running.boot).await?;
    if lapsed > 0 {
        tracing::info!(lapsed, replica = server.replica, "keyed requests of earlier boots may run again");
    }
    Ok(())
}

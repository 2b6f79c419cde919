//! Hears from Postgres which keys have changed.

use std::time::Duration;

use sqlx::Executor as _;
use sqlx::postgres::PgListener;
use tokio_util::sync::CancellationToken;

use super::{Digest, Inner, Keys};
use crate::store;

/// After this much silence the channel is tried, so that one that died unnoticed is found in time.
const QUIET: Duration = Duration::from_millis(250);
/// Longest wait for the answer to such a try.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);
/// Pause before the channel is opened again.
const REOPEN_AFTER: Duration = Duration::from_millis(250);

impl Keys {
    /// Keeps the notice channel open until `stop`. Without it the cache is right but asks more often.
    pub async fn listen(self, stop: CancellationToken) {
        while stop.run_until_cancelled(self.hear()).await.is_some() {
            self.0.lost();
            if stop.run_until_cancelled(tokio::time::sleep(REOPEN_AFTER)).await.is_none() {
                break;
            }
        }
        self.0.lost();
    }

    /// Returns when the channel is lost.
    async fn hear(&self) {
        if let Err(error) = follow(&self.0).await {
            tracing::warn!(%error, "the notice channel for keys was lost; keys are checked against the database");
        }
    }
}

async fn follow(inner: &Inner) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(&inner.db).await?;
    listener.listen(store::keys::CHANNEL).await?;
    // From here on nothing is missed; what was announced before was, so nothing remembered may stay.
    inner.forget_all();
    inner.heard();
    loop {
        match tokio::time::timeout(QUIET, listener.try_recv()).await {
            Ok(Ok(Some(notice))) => take(inner, notice.payload()),
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let probe = listener.execute("select 1");
                tokio::time::timeout(PROBE_TIMEOUT, probe).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
                // Notices that came before the probe's answer are buffered: they count before it does.
                while let Some(notice) = listener.next_buffered() {
                    take(inner, notice.payload());
                }
                inner.heard();
            }
        }
    }
}

fn take(inner: &Inner, payload: &str) {
    let mut digest = Digest::default();
    match hex::decode_to_slice(payload, &mut digest) {
        Ok(()) => inner.forget(&digest),
        // A notice we can't read may be about any key.
        Err(_) => inner.forget_all(),
    }
}

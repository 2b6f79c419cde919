//! The loops: keep the snapshot current, keep credits moving, notice who left.

use std::time::Duration;

use protocol::{NodeId, Timestamp};
use sqlx::postgres::PgListener;
use sqlx::{PgConnection, PgPool};

use crate::error::Error;
use crate::facade::Scheduler;
use crate::liveness::OFFLINE;
use crate::store;

/// Name of the notification sent by whoever changes providers, nodes or offers.
pub const CHANNEL: &str = "steelyard_pool";
/// How often idle credits and silent nodes are looked after, and the snapshot's age bound.
const TEND: Duration = Duration::from_secs(1);

/// Pause after a rebuild, in times its length: building takes a fifth of one core at most, however
/// large the pool.
const PAUSE_FACTOR: u32 = 4;

/// Keeps a scheduler current until `stopped` resolves: rows on notification and at an interval,
/// the snapshot at most every rebuild interval when something changed, credits every second.
///
/// A database that is away changes nothing: placement goes on with what was read last.
pub async fn keep_current(scheduler: Scheduler, db: PgPool, env: protocol::Env, stopped: impl Future<Output = ()>) {
    let mut stopped = std::pin::pin!(stopped);
    let config = scheduler.config().clone();
    let least_pause = Duration::from_millis(config.rebuild_ms);
    let mut listener: Option<PgListener> = None;
    let mut tend = tokio::time::interval(TEND);
    let mut reload = tokio::time::interval(Duration::from_millis(config.reload_ms.max(1)));
    for interval in [&mut tend, &mut reload] {
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    }
    loop {
        if listener.is_none() {
            listener = listen(&db).await;
        }
        let mut read = false;
        let mut worked = Duration::ZERO;
        tokio::select! {
            () = &mut stopped => return,
            heard = notified(&mut listener) => read = heard,
            _ = reload.tick() => read = true,
            _ = tend.tick() => {
                scheduler.tend(env.now());
                worked = rebuild(&scheduler, env.now()).await;
            }
            () = scheduler.changed() => {
                if scheduler.is_changed() {
                    worked = rebuild(&scheduler, env.now()).await;
                } else {
                    scheduler.tend(env.now());
                }
            }
        }
        if read && let Err(error) = read_again(&scheduler, &db).await {
            tracing::warn!(error = %error, "the pool could not be read; the last snapshot stays in use");
        }
        // No rebuild sooner than this after the last one; changes meanwhile are taken together.
        tokio::select! {
            () = &mut stopped => return,
            () = tokio::time::sleep(least_pause.max(worked * PAUSE_FACTOR)) => {}
        }
    }
}

/// Off the runtime's own threads: ten thousand offers take tens of milliseconds, in which no stream
/// on the same thread would move.
async fn rebuild(scheduler: &Scheduler, now: Timestamp) -> Duration {
    let began = tokio::time::Instant::now();
    let own = scheduler.clone();
    let building = tokio::task::spawn_blocking(move || {
        own.rebuild(now);
        own.replay(now);
    });
    if let Err(error) = building.await {
        tracing::error!(error = %error, "the snapshot could not be built; the last one stays in use");
    }
    began.elapsed()
}

async fn listen(db: &PgPool) -> Option<PgListener> {
    let mut listener = PgListener::connect_with(db).await.ok()?;
    listener.listen(CHANNEL).await.ok()?;
    Some(listener)
}

/// Resolves when the pool changed: true to read it. A broken listener is given up, and never resolves
/// until it is made anew.
async fn notified(listener: &mut Option<PgListener>) -> bool {
    let Some(open) = listener else { return std::future::pending().await };
    if open.try_recv().await.is_ok_and(|notification| notification.is_some()) {
        return true;
    }
    // Notifications may have been missed while the connection was away.
    *listener = None;
    true
}

async fn read_again(scheduler: &Scheduler, db: &PgPool) -> Result<(), Error> {
    let mut conn = db.acquire().await?;
    scheduler.reload(&mut conn).await
}

/// Stores that silent nodes are offline. Returns those that were not before: who calls this tells
/// the others in the same transaction.
///
/// # Errors
/// [`Error::Database`].
pub async fn take_offline(
    scheduler: &Scheduler,
    conn: &mut PgConnection,
    now: Timestamp,
) -> Result<Vec<NodeId>, Error> {
    let silent = scheduler.silent_nodes(now);
    if silent.is_empty() {
        return Ok(Vec::new());
    }
    store::nodes::mark_offline(conn, &silent, now.minus(OFFLINE)).await
}

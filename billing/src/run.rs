//! The loops beside the request path, each a step that can be called alone.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use protocol::{BootId, Env, NanoUsd, OrganizationId, Timestamp};
use sqlx::postgres::PgListener;
use sqlx::{PgConnection, PgPool};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Leasing;
use crate::lease::Purse;
use crate::lease::keeper::Keeper;
use crate::lease::recall::CHANNEL;
use crate::price_book::PriceBook;
use crate::settle::Buffer;
use crate::{Config, Error, grant, store};

/// Partitions exist this many days ahead: a week for someone to notice that they are no longer made.
const PARTITION_DAYS_AHEAD: i64 = 7;
/// Leases closed, and accounts burned, per statement: small enough that nobody waits long on their locks.
const SLICE: i64 = 500;
/// Purses attended at once: each is a loan, and a loan is one row lock.
const ATTENDED_AT_ONCE: usize = 16;
/// Pause before listening again after the connection broke.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// What the loops work with.
#[derive(Clone)]
pub(crate) struct Parts {
    pub db: PgPool,
    pub env: Env,
    pub config: Config,
    pub keeper: Arc<Keeper>,
    pub prices: Arc<PriceBook>,
    pub buffer: Arc<Buffer>,
}

/// Starts the loops. They end with `stop`, and `tasks` owns them.
pub(crate) fn spawn(
    parts: &Parts,
    attention: mpsc::UnboundedReceiver<Arc<Purse>>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let loops = &parts.config.loops;
    let period = Duration::from_millis;
    let p = parts.clone();
    every(tasks, stop, "fold", period(loops.fold_ms), move || {
        let p = p.clone();
        async move { Ok(fold(&p.db).await?) }
    });
    let p = parts.clone();
    every(tasks, stop, "burn", period(loops.burn_ms), move || {
        let p = p.clone();
        async move { burn(&p.db, &p.env).await.map(drop) }
    });
    let p = parts.clone();
    every(tasks, stop, "reap", period(loops.reap_ms), move || {
        let p = p.clone();
        async move { reap(&p.db, &p.config.lease).await.map(drop) }
    });
    let p = parts.clone();
    every(tasks, stop, "partitions", period(loops.partitions_ms), move || {
        let p = p.clone();
        async move { ensure_partitions(&p.db, p.env.now()).await }
    });
    let p = parts.clone();
    every(tasks, stop, "prices", period(loops.prices_ms), move || {
        let p = p.clone();
        async move { p.prices.reload(&p.db, p.env.now()).await.map(drop).map_err(Error::from) }
    });
    let p = parts.clone();
    every(tasks, stop, "renew", Duration::from_secs(parts.config.lease.renew_s.into()), move || {
        let p = p.clone();
        async move {
            let waited = u32::try_from(p.buffer.oldest(p.env.now()).as_millis()).unwrap_or(u32::MAX);
            metrics::gauge!("steelyard_billing_settle_oldest_ms").set(f64::from(waited));
            Ok(p.keeper.renew().await?)
        }
    });
    tasks.spawn(attend(Arc::clone(&parts.keeper), attention, stop.clone()));
    tasks.spawn(listen(parts.db.clone(), Arc::clone(&parts.keeper), stop.clone()));
}

/// Calls `step` on a period until stopped. A step that fails is logged and tried again at the next beat.
fn every<F, S>(tasks: &TaskTracker, stop: &CancellationToken, name: &'static str, period: Duration, mut step: S)
where
    S: FnMut() -> F + Send + 'static,
    F: Future<Output = Result<(), Error>> + Send,
{
    let stop = stop.clone();
    tasks.spawn(async move {
        let mut beat = tokio::time::interval(period.max(Duration::from_millis(1)));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first beat is at once, and the start has done that work already.
        beat.tick().await;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = beat.tick() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                result = step() => if let Err(error) = result {
                    metrics::counter!("steelyard_billing_loop_failures", "loop" => name).increment(1);
                    tracing::warn!(%error, name, "a billing loop failed and will try again");
                },
            }
        }
    });
}

/// Attends the purses that called, several at once.
async fn attend(keeper: Arc<Keeper>, mut queue: mpsc::UnboundedReceiver<Arc<Purse>>, stop: CancellationToken) {
    let mut running = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = running.join_next(), if !running.is_empty() => {}
            called = queue.recv(), if running.len() < ATTENDED_AT_ONCE => {
                let Some(purse) = called else { break };
                let keeper = Arc::clone(&keeper);
                running.spawn(async move {
                    // Cleared first: a call that comes meanwhile is not lost.
                    purse.queued.store(false, std::sync::atomic::Ordering::Release);
                    if let Err(error) = keeper.attend(&purse, false).await {
                        tracing::warn!(%error, scope = ?purse.scope, "a lease could not be refreshed or handed back");
                    }
                });
            }
        }
    }
    while running.join_next().await.is_some() {}
}

/// Hears what other replicas say. While it can't, limits and suspensions act at the next renewal.
async fn listen(db: PgPool, keeper: Arc<Keeper>, stop: CancellationToken) {
    loop {
        let heard = async {
            let mut listener = PgListener::connect_with(&db).await?;
            listener.listen(CHANNEL).await?;
            loop {
                let hint = listener.recv().await?;
                if let Ok(hint) = hint.payload().parse()
                    && let Err(error) = keeper.hinted(hint).await
                {
                    tracing::warn!(%error, ?hint, "a hint could not be followed");
                }
            }
        };
        let broken: Result<(), sqlx::Error> = tokio::select! {
            () = stop.cancelled() => return,
            result = heard => result,
        };
        if let Err(error) = broken {
            tracing::warn!(%error, "hints from other replicas are not heard, listening again");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LISTEN_AGAIN) => {}
        }
    }
}

/// Adds new postings and usage to balances and hourly sums.
///
/// # Errors
/// When the database call fails; nothing is folded then.
pub async fn fold(db: &PgPool) -> Result<(), sqlx::Error> {
    let mut tx = db.begin().await?;
    store::folds::fold(&mut tx).await?;
    tx.commit().await
}

/// Takes what was spent from grants, and expired promo credit from accounts. Returns how much went from
/// grants.
///
/// # Errors
/// When a database call fails; accounts done before it stay done.
pub async fn burn(db: &PgPool, env: &Env) -> Result<NanoUsd, Error> {
    let (mut after, mut burned): (Option<OrganizationId>, _) = (None, NanoUsd::ZERO);
    loop {
        let mut conn = db.acquire().await?;
        let accounts = store::grants::list_to_burn(&mut conn, after, env.now(), SLICE).await?;
        drop(conn);
        let Some(last) = accounts.last() else { return Ok(burned) };
        after = Some(*last);
        for account in accounts {
            let mut tx = db.begin().await?;
            burned = burned.saturating_add(grant::burn(&mut tx, account).await?);
            grant::expire(&mut tx, env, account).await?;
            tx.commit().await?;
        }
    }
}

/// Closes leases that expired longer than the grace ago. Returns how many.
///
/// # Errors
/// When a database call fails; leases closed before it stay closed.
pub async fn reap(db: &PgPool, config: &Leasing) -> Result<usize, Error> {
    let grace = f64::from(config.grace_s);
    let mut conn = db.acquire().await?;
    let due = store::leases::list_expired(&mut conn, grace, SLICE).await?;
    let accounts = store::leases::close(&mut conn, &due, Some(grace)).await?.len();
    let due = store::budget_leases::list_expired(&mut conn, grace, SLICE).await?;
    let budgets = store::budget_leases::close(&mut conn, &due, Some(grace)).await?.len();
    if accounts + budgets > 0 {
        metrics::counter!("steelyard_billing_leases_reaped").increment((accounts + budgets) as u64);
        tracing::warn!(accounts, budgets, "reaped leases nobody renewed");
    }
    Ok(accounts + budgets)
}

/// Makes the partitions of the days around `now`.
///
/// # Errors
/// When a database call fails; nothing is made then.
pub async fn ensure_partitions(db: &PgPool, now: Timestamp) -> Result<(), Error> {
    let mut tx = db.begin().await?;
    let made = store::partitions::ensure(&mut tx, now, PARTITION_DAYS_AHEAD).await?;
    let ahead = store::partitions::ahead(&mut tx, now).await?;
    tx.commit().await?;
    metrics::gauge!("steelyard_billing_partitions_ahead").set(f64::from(i32::try_from(ahead).unwrap_or(i32::MAX)));
    if !made.is_empty() {
        tracing::info!(made = made.len(), "made daily partitions");
    }
    Ok(())
}

/// Closes what earlier boots of this replica left open. The caller holds the lock on the replica's name.
pub(crate) async fn close_earlier_boots(
    conn: &mut PgConnection,
    replica: &str,
    boot: BootId,
) -> Result<usize, sqlx::Error> {
    let leases = store::leases::list_of_earlier_boots(conn, replica, boot).await?;
    let accounts = store::leases::close(conn, &leases, None).await?.len();
    let leases = store::budget_leases::list_of_earlier_boots(conn, replica, boot).await?;
    Ok(accounts + store::budget_leases::close(conn, &leases, None).await?.len())
}

//! The loops beside the request path, each a step that can be called alone.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use platform::outbox;
use platform::shutdown::Shutdown;
use platform::worker::{self, Next, Worker};
use protocol::{BootId, Env, EventId, NanoUsd, OrganizationId, Timestamp};
use sqlx::postgres::PgListener;
use sqlx::{PgConnection, PgPool};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::config::Leasing;
use crate::lease::Purse;
use crate::lease::keeper::Keeper;
use crate::lease::recall::CHANNEL;
use crate::name::Name;
use crate::price_book::PriceBook;
use crate::settle::Buffer;
use crate::{Config, Error, document, grant, reconcile, store};

/// Partitions exist this many days ahead: a week for someone to notice that they are no longer made.
const PARTITION_DAYS_AHEAD: i64 = 7;
/// Leases closed, and accounts burned, per statement: small enough that nobody waits long on their locks.
const SLICE: i64 = 500;
/// Purses attended at once: each is a loan, and a loan is one row lock.
const ATTENDED_AT_ONCE: usize = 16;
/// Spend alerts told of in one transaction: writers of other facts wait for none of them long.
const ALERTS_AT_ONCE: usize = 100;
/// Pause before listening again after the connection broke.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// How often it is looked whether this replica still has its name: a restart of the server takes it away, and
/// a second process must not start under it meanwhile.
const KEEP_NAME: Duration = Duration::from_secs(2);

/// What the loops work with.
#[derive(Clone)]
pub(crate) struct Parts {
    pub db: PgPool,
    pub env: Env,
    pub config: Config,
    pub keeper: Arc<Keeper>,
    pub prices: Arc<PriceBook>,
    pub buffer: Arc<Buffer>,
    pub name: Arc<Name>,
}

/// Starts the loops, owned by `shutdown`.
pub(crate) fn spawn(parts: &Parts, attention: mpsc::UnboundedReceiver<Arc<Purse>>, shutdown: &Shutdown) {
    let loops = &parts.config.loops;
    let beats = [
        (Job::Fold, loops.fold_ms),
        (Job::Burn, loops.burn_ms),
        (Job::Reap, loops.reap_ms),
        (Job::Partitions, loops.partitions_ms),
        (Job::Prices, loops.prices_ms),
        (Job::Reports, loops.reports_ms),
        (Job::Documents, loops.documents_ms),
        (Job::Reconcile, loops.reconcile_ms),
        (Job::Renew, u64::from(parts.config.lease.renew_s) * 1_000),
    ];
    for (job, period_ms) in beats {
        beat(parts, job, Duration::from_millis(period_ms), shutdown);
    }
    beat(parts, Job::Name, KEEP_NAME, shutdown);
    shutdown.spawn(attend(Arc::clone(&parts.keeper), attention, shutdown.token().clone()));
    let (db, keeper, stop) = (parts.db.clone(), Arc::clone(&parts.keeper), shutdown.token().clone());
    shutdown.spawn(listen(db, keeper, stop));
}

fn beat(parts: &Parts, job: Job, period: Duration, shutdown: &Shutdown) {
    let beat = Beat { parts: parts.clone(), job, period: period.max(Duration::from_millis(1)), is_first: true };
    worker::spawn(parts.env.clone(), beat, shutdown);
}

/// What is done again and again.
#[derive(Debug, Clone, Copy)]
enum Job {
    Fold,
    Burn,
    Reap,
    Partitions,
    Prices,
    Reports,
    Documents,
    Reconcile,
    Renew,
    Name,
}

/// One of it, on its period.
struct Beat {
    parts: Parts,
    job: Job,
    period: Duration,
    /// The start has done the first beat's work already.
    is_first: bool,
}

impl Worker for Beat {
    type Error = Error;

    fn name(&self) -> &'static str {
        match self.job {
            Job::Fold => "billing.fold",
            Job::Burn => "billing.burn",
            Job::Reap => "billing.reap",
            Job::Partitions => "billing.partitions",
            Job::Prices => "billing.prices",
            Job::Reports => "billing.reports",
            Job::Documents => "billing.documents",
            Job::Reconcile => "billing.reconcile",
            Job::Renew => "billing.renew",
            Job::Name => "billing.name",
        }
    }

    fn interval(&self) -> Duration {
        self.period
    }

    async fn tick(&mut self, now: Timestamp) -> Result<Next, Error> {
        if std::mem::take(&mut self.is_first) {
            return Ok(Next::Wait);
        }
        let p = &self.parts;
        match self.job {
            Job::Fold => {
                fold(&p.db).await?;
                return tell(&p.db, &p.env, now).await;
            }
            Job::Burn => burn(&p.db, &p.env).await.map(drop)?,
            Job::Reap => reap(&p.db, &p.config.lease).await.map(drop)?,
            Job::Partitions => ensure_partitions(&p.db, now).await?,
            Job::Prices => p.prices.reload(&p.db, now).await.map(drop)?,
            Job::Reports => return judge_reports(&p.db, now).await,
            Job::Documents => return document::issue(&p.db, &p.env, &p.config.documents.issuer, now).await,
            Job::Reconcile => reconcile::nightly(&p.db, &p.config.lease, now).await.map(drop)?,
            Job::Renew => {
                let waited = u32::try_from(p.buffer.oldest(now).as_millis()).unwrap_or(u32::MAX);
                metrics::gauge!("steelyard_billing_settle_oldest_ms").set(f64::from(waited));
                p.keeper.renew().await?;
            }
            // Not a failure of the tick, which would slow the beat: when the server comes back is when another
            // process may come, too.
            Job::Name => {
                if let Err(error) = p.name.keep().await {
                    tracing::warn!(%error, "this replica's name could not be asked for");
                }
            }
        }
        Ok(Next::Wait)
    }
}

/// Attends the purses that called, several at once.
async fn attend(keeper: Arc<Keeper>, mut queue: mpsc::UnboundedReceiver<Arc<Purse>>, stop: CancellationToken) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(done) = running.join_next(), if !running.is_empty() => noted(done),
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
    while let Some(done) = running.join_next().await {
        noted(done);
    }
}

/// A purse whose attendance panicked is looked after again at the next renewal; it must not go unseen.
fn noted(done: Result<(), JoinError>) {
    if let Err(error) = done {
        tracing::error!(%error, "attending a lease panicked");
    }
}

/// Hears what other replicas say. While it can't, limits and suspensions act at the next renewal.
async fn listen(db: PgPool, keeper: Arc<Keeper>, stop: CancellationToken) {
    loop {
        let heard = AssertUnwindSafe(hear(&db, &keeper)).catch_unwind();
        let heard = tokio::select! {
            () = stop.cancelled() => return,
            heard = heard => heard,
        };
        match heard {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "hints from other replicas are not heard, listening again"),
            Err(_panic) => tracing::error!("hearing other replicas panicked, listening again"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LISTEN_AGAIN) => {}
        }
    }
}

async fn hear(db: &PgPool, keeper: &Keeper) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(db).await?;
    listener.listen(CHANNEL).await?;
    loop {
        let hint = listener.recv().await?;
        if let Ok(hint) = hint.payload().parse()
            && let Err(error) = keeper.hinted(hint).await
        {
            tracing::warn!(%error, ?hint, "a hint could not be followed");
        }
    }
}

/// Adds new postings and usage to balances and hourly sums, and notices what of limits was reached.
///
/// # Errors
/// When the database call fails; nothing is folded then.
pub async fn fold(db: &PgPool) -> Result<(), sqlx::Error> {
    let mut tx = db.begin().await?;
    store::folds::fold(&mut tx).await?;
    tx.commit().await
}

/// Tells of parts of spend limits that a fold has noticed. Each becomes one fact, with what says so in the same
/// transaction: cut short anywhere, it is told later or was told already.
///
/// # Errors
/// When a database call fails; nothing is told then.
pub async fn tell(db: &PgPool, env: &Env, now: Timestamp) -> Result<Next, Error> {
    let mut tx = db.begin().await?;
    let untold = store::alerts::claim_untold(&mut tx, ALERTS_AT_ONCE).await?;
    let facts: Vec<EventId> = untold.iter().map(|_| env.mint()).collect();
    for (alert, fact) in untold.iter().zip(&facts) {
        store::alerts::told(&mut tx, alert, *fact).await?;
    }
    for (alert, fact) in untold.iter().zip(&facts) {
        outbox::append(&mut tx, *fact, &alert.event, now).await?;
    }
    tx.commit().await?;
    metrics::counter!("steelyard_billing_spend_alerts").increment(untold.len() as u64);
    Ok(if untold.len() == ALERTS_AT_ONCE { Next::Again } else { Next::Wait })
}

/// Takes what was spent from grants, and expired gifts from accounts. Returns how much went from
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

/// Makes the partitions of the days around `now`, and drops the minutes of offers that are past showing.
///
/// # Errors
/// When a database call fails; nothing is made then.
pub async fn ensure_partitions(db: &PgPool, now: Timestamp) -> Result<(), Error> {
    let mut tx = db.begin().await?;
    let made = store::partitions::ensure(&mut tx, now, PARTITION_DAYS_AHEAD).await?;
    let ahead = store::partitions::ahead(&mut tx, now).await?;
    store::uptime::prune(&mut tx, now).await?;
    tx.commit().await?;
    metrics::gauge!("steelyard_billing_partitions_ahead").set(f64::from(i32::try_from(ahead).unwrap_or(i32::MAX)));
    if !made.is_empty() {
        tracing::info!(made = made.len(), "made daily partitions");
    }
    Ok(())
}

/// Compares the next nodes' reports that are due with the gateway's own counts.
///
/// # Errors
/// When a database call fails; nothing is judged then.
pub async fn judge_reports(db: &PgPool, now: Timestamp) -> Result<Next, Error> {
    let mut tx = db.begin().await?;
    let judged = store::reports::judge(&mut tx, now).await?;
    tx.commit().await?;
    metrics::counter!("steelyard_billing_reports_judged").increment(judged.attempts);
    metrics::counter!("steelyard_billing_reports_apart").increment(judged.apart);
    metrics::counter!("steelyard_billing_reports_missing").increment(judged.unsigned);
    if judged.apart > 0 {
        tracing::warn!(apart = judged.apart, "nodes counted otherwise than the gateway");
    }
    Ok(if judged.is_full { Next::Again } else { Next::Wait })
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

//! Billing as the rest of the broker sees it: one handle, cheap to clone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use platform::shutdown::Shutdown;
use protocol::env::minted_at;
use protocol::{BootId, Env, NanoUsd, Timestamp};
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::budget::BudgetScope;
use crate::hold::{HoldRequest, LeaseHold, Taking};
use crate::lease::Scope;
use crate::lease::keeper::Keeper;
use crate::name::Name;
use crate::price_book::PriceBook;
use crate::settle::{Buffer, Writer};
use crate::{Config, Error, run, store};

/// A request id may be dated this far back: a client's longest queue, and the partitions that exist.
const OLDEST_REQUEST: Duration = Duration::from_secs(48 * 3_600);
/// And this far ahead, for clocks that differ.
const NEWEST_REQUEST: Duration = Duration::from_secs(300);
/// How often an orderly stop looks whether the buffer is empty.
const DRAIN_STEP: Duration = Duration::from_millis(5);
/// How long a stop lets a loop finish what it is at; what is cut off there is repeatable.
const LOOPS_DRAIN: Duration = Duration::from_secs(5);
/// The smallest hold: even a request that costs nothing needs an account in good standing.
const LEAST: NanoUsd = match NanoUsd::new(1) {
    Some(least) => least,
    None => NanoUsd::ZERO,
};

/// Holds, settlements, prices, and the loops that keep the books.
#[derive(Clone)]
pub struct Billing(Arc<Inner>);

struct Inner {
    db: PgPool,
    env: Env,
    config: Config,
    keeper: Arc<Keeper>,
    buffer: Arc<Buffer>,
    prices: Arc<PriceBook>,
    boot: BootId,
    stopping: AtomicBool,
    /// Owns the loops.
    loops: Shutdown,
    /// Ends the writer, after everything else.
    writer_stop: CancellationToken,
    writer: Mutex<Option<JoinHandle<()>>>,
    name: Arc<Name>,
}

impl Billing {
    /// Registers this start of the replica, closes the leases its earlier starts left behind, reads the
    /// prices, and starts the writer and the loops. They run until [`Billing::stop`].
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn start(db: PgPool, env: Env, config: Config, replica: &str) -> Result<Self, Error> {
        run::ensure_partitions(&db, env.now()).await?;
        let boot: BootId = env.mint();
        let name = Arc::new(Name::claim(&db, replica, boot).await?);
        let prices = Arc::new(PriceBook::default());
        prices.reload(&db, env.now()).await?;
        let (keeper, attention) = Keeper::new(db.clone(), env.clone(), config.lease.clone(), boot);
        let (buffer, queue) = Buffer::new(config.settlement.clone());
        let (keeper, buffer) = (Arc::new(keeper), Arc::new(buffer));
        keeper.join().await?;
        let writer =
            Writer { db: db.clone(), env: env.clone(), buffer: Arc::clone(&buffer), keeper: Arc::clone(&keeper) };
        let (loops, writer_stop) = (Shutdown::new(), CancellationToken::new());
        let writer = tokio::spawn(writer.run(queue, writer_stop.clone()));
        let parts = run::Parts {
            db: db.clone(),
            env: env.clone(),
            config: config.clone(),
            keeper: Arc::clone(&keeper),
            prices: Arc::clone(&prices),
            buffer: Arc::clone(&buffer),
            name: Arc::clone(&name),
        };
        run::spawn(&parts, attention, &loops);
        Ok(Self(Arc::new(Inner {
            db,
            env,
            config,
            keeper,
            buffer,
            prices,
            boot,
            stopping: AtomicBool::new(false),
            loops,
            writer_stop,
            writer: Mutex::new(Some(writer)),
            name,
        })))
    }

    /// Whether nobody else ran under this replica's name when it started: then its earlier boots are gone.
    #[must_use]
    pub fn is_sole_bearer(&self) -> bool {
        self.0.name.was_free()
    }

    /// Sets money aside for a request, from its account and every limit above it, or from none.
    /// In steady state the money is lent to this replica already, and nothing is awaited.
    ///
    /// # Errors
    /// Which of account, key, project or organization cannot cover it; [`Error::Suspended`];
    /// [`Error::Overloaded`]; [`Error::RequestIdDate`]; [`Error::Database`] when the ledger is needed and away.
    pub async fn hold(&self, who: HoldRequest) -> Result<LeaseHold, Error> {
        let inner = &*self.0;
        let now = inner.env.now();
        if inner.stopping.load(Ordering::Relaxed) {
            return Err(Error::Overloaded { queued: inner.buffer.queued() });
        }
        inner.buffer.admit(now)?;
        check_date(&who, now)?;
        let who = HoldRequest { ceiling: who.ceiling.max(LEAST), ..who };
        let scopes = [
            Scope::Account(who.organization),
            Scope::Budget(BudgetScope::Key(who.key)),
            Scope::Budget(BudgetScope::Project(who.project)),
            Scope::Budget(BudgetScope::Organization(who.organization)),
        ];
        let mut taking = Taking::new(&inner.keeper, who.ceiling);
        // Limits first: they refuse more often, and the account is where requests meet.
        for part in [1, 2, 3, 0] {
            let purse = inner.keeper.purse(scopes[part], now);
            if let Err(mut purse) = taking.try_take(part, purse, now) {
                // Many may queue for one loan while the database is away: none of them longer than this.
                let limit = Duration::from_millis(inner.config.lease.borrow_timeout_ms);
                let borrowed = tokio::time::timeout(limit, inner.keeper.take(&mut purse, who.ceiling.nano())).await;
                if let Some(lease) = borrowed.unwrap_or(Err(Error::Database(sqlx::Error::PoolTimedOut)))? {
                    taking.set(part, purse, lease);
                }
            }
        }
        Ok(LeaseHold::new(who, taking.complete(), Arc::clone(&inner.keeper), Arc::clone(&inner.buffer)))
    }

    /// Posted prices, in memory.
    #[must_use]
    pub fn prices(&self) -> Arc<PriceBook> {
        Arc::clone(&self.0.prices)
    }

    /// How billing is configured.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The id of this start of the replica.
    #[must_use]
    pub fn boot(&self) -> BootId {
        self.0.boot
    }

    /// Settled requests that are not in the books yet.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.0.buffer.queued()
    }

    /// Reads what was posted since the last look, as after posting a price.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn reload_prices(&self) -> Result<(), Error> {
        self.0.prices.reload(&self.0.db, self.0.env.now()).await?;
        Ok(())
    }

    /// Does at once what the loops do on their periods: keeps this replica's name, renews leases, learns changed
    /// limits, gives back what is idle.
    ///
    /// # Errors
    /// When the database call fails.
    pub async fn renew(&self) -> Result<(), Error> {
        self.0.name.keep().await?;
        self.0.keeper.renew().await?;
        Ok(())
    }

    /// Refuses new holds, waits until everything settled is in the books, hands all credit back and ends
    /// the tasks. Call it when no request is in flight any more; calling it again does nothing.
    ///
    /// # Errors
    /// When the ledger could not be reached; then the leases run out on their own.
    pub async fn stop(&self) -> Result<(), Error> {
        let inner = &*self.0;
        if inner.stopping.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let deadline = tokio::time::Instant::now() + Duration::from_millis(inner.config.settlement.drain_timeout_ms);
        while inner.buffer.queued() > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(DRAIN_STEP).await;
        }
        if inner.buffer.queued() > 0 {
            tracing::error!(rows = inner.buffer.queued(), "stopped before all settled requests were written");
        }
        inner.writer_stop.cancel();
        let writer = inner.writer.lock().take();
        if let Some(writer) = writer
            && let Err(error) = writer.await
        {
            tracing::error!(%error, "the settle writer failed");
        }
        inner.loops.drain(LOOPS_DRAIN).await;
        inner.keeper.close_everything().await?;
        let mut conn = inner.db.acquire().await?;
        store::replicas::stopped(&mut conn, inner.boot).await?;
        inner.name.release().await;
        Ok(())
    }
}

/// A request id dated outside the partitions that surely exist could be booked twice.
fn check_date(who: &HoldRequest, now: Timestamp) -> Result<(), Error> {
    use protocol::Id;
    let near =
        minted_at(who.request.uuid()).is_some_and(|at| at > now.minus(OLDEST_REQUEST) && at < now.plus(NEWEST_REQUEST));
    if near { Ok(()) } else { Err(Error::RequestIdDate { request: who.request }) }
}

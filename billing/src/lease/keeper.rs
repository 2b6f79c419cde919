//! Asks the ledger for credit ahead of need, renews it, and gives back what is idle.
//!
//! A loan is numbered. Its statement is marked as under way before it is sent, so a lost reply, like a
//! caller that goes away in the middle, leaves a mark instead of a guess: before anything else is asked
//! for on that lease, the same number is used up by a loan of nothing, and what the ledger then says is
//! adopted.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use papaya::HashMap;
use protocol::{BootId, Env, LeaseId, NanoUsd, Timestamp};
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::recall::Hint;
use super::{Chore, Purse, Refusal, Scope, Standing, Take, Terms};
use crate::Error;
use crate::budget::{BudgetScope, Window};
use crate::config::Leasing;
use crate::store::line::{Line, answer};
use crate::store::{self, Ask, LeaseRow, Lent};

/// A refused loan is not asked for again sooner: many waiters share one answer.
const REFUSAL_HOLDS: Duration = Duration::from_millis(20);
/// A waiter looks again this often, in case another replica gave something back.
const WAIT_STEP: Duration = Duration::from_millis(40);
/// Reopened and resolved at most this often within one loan: each try needs the ledger to have changed.
const MAX_LOAN_STEPS: u32 = 6;

/// The longest wait for one answer of the ledger: a loan takes milliseconds, and whoever waits for this purse
/// waits with it. Every statement can be sent again: loans by their number, the rest because repeating it changes
/// nothing.
const ANSWER: Duration = Duration::from_secs(5);

/// All purses of this replica, and the one who fills and empties them.
pub(crate) struct Keeper {
    pub db: PgPool,
    pub env: Env,
    pub config: Leasing,
    pub boot: BootId,
    /// Replicas alive, this one included.
    pub replicas: AtomicI64,
    purses: HashMap<Scope, Arc<Purse>>,
    attention: mpsc::UnboundedSender<Arc<Purse>>,
}

/// What a loan came to.
enum Loan {
    Lent,
    Unlimited,
    Refused(Standing),
    /// The ledger changed under every try, as it may while many ask.
    Contended,
}

impl Keeper {
    /// The queue's receiver belongs to the task that calls [`Keeper::attend`]; it holds each purse at most once.
    pub fn new(db: PgPool, env: Env, config: Leasing, boot: BootId) -> (Self, mpsc::UnboundedReceiver<Arc<Purse>>) {
        let (attention, queue) = mpsc::unbounded_channel();
        let keeper = Self { db, env, config, boot, replicas: AtomicI64::new(1), purses: HashMap::new(), attention };
        (keeper, queue)
    }

    /// The purse of a scope.
    pub fn purse(&self, scope: Scope, now: Timestamp) -> Arc<Purse> {
        let purses = self.purses.pin();
        if let Some(purse) = purses.get(&scope) {
            return Arc::clone(purse);
        }
        Arc::clone(purses.get_or_insert_with(scope, || Arc::new(Purse::new(scope, now))))
    }

    /// Queues a purse for the background, once.
    pub fn call(&self, purse: &Arc<Purse>) {
        if !purse.queued.swap(true, Ordering::AcqRel) {
            // The receiver is gone only after a stop, when nothing is left to do.
            let _ = self.attention.send(Arc::clone(purse));
        }
    }

    /// Sets money aside when it was not there at once: borrows, waits for what is idle elsewhere, or fails.
    /// `None` when no limit binds the scope.
    pub async fn take(&self, purse: &mut Arc<Purse>, amount: i64) -> Result<Option<LeaseId>, Error> {
        let deadline = Instant::now() + Duration::from_millis(self.config.recall_wait_ms);
        let mut asked = false;
        loop {
            let now = self.env.now();
            let held = Arc::clone(purse);
            let _waiting = held.wait_for(amount);
            let freed = held.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            let standing = {
                let mut refusal = held.lending.lock().await;
                match held.take(amount, now) {
                    Take::Taken { lease, .. } => return Ok(Some(lease)),
                    Take::Unlimited => return Ok(None),
                    Take::Retired => {
                        drop(refusal);
                        *purse = self.purse(held.scope, now);
                        continue;
                    }
                    Take::Short => {}
                }
                let fresh = refusal.filter(|r| r.at.elapsed() < REFUSAL_HOLDS && r.needed <= amount);
                match fresh {
                    Some(refused) => refused.standing,
                    None => match self.lend(&held, amount, held.waiting()).await? {
                        Loan::Unlimited => return Ok(None),
                        Loan::Lent => {
                            *refusal = None;
                            match held.take(amount, self.env.now()) {
                                Take::Taken { lease, refresh } => {
                                    if refresh {
                                        self.call(&held);
                                    }
                                    return Ok(Some(lease));
                                }
                                // Others were quicker; the next round borrows again.
                                _ => continue,
                            }
                        }
                        Loan::Refused(standing) => {
                            *refusal = Some(Refusal { at: Instant::now(), needed: amount, standing });
                            standing
                        }
                        Loan::Contended if Instant::now() >= deadline => {
                            return Err(Error::Database(sqlx::Error::PoolTimedOut));
                        }
                        Loan::Contended => continue,
                    },
                }
            };
            if standing.suspended {
                return Err(self.refused(held.scope, amount, standing, 0));
            }
            let reachable = standing.available.saturating_add(standing.lent_unspent) >= amount;
            if !reachable || Instant::now() >= deadline {
                return Err(self.refused(held.scope, amount, standing, held.free()));
            }
            if !asked && self.replicas.load(Ordering::Relaxed) > 1 {
                self.tell(Hint::Recall(held.scope)).await?;
                asked = true;
            }
            let _ = tokio::time::timeout_at(deadline.min(Instant::now() + WAIT_STEP), freed).await;
        }
    }

    /// The error a refusal comes to. What is in flight anywhere is told when it would have sufficed.
    fn refused(&self, scope: Scope, amount: i64, standing: Standing, free: i64) -> Error {
        let needed = NanoUsd::new(amount).unwrap_or(NanoUsd::ZERO);
        let in_flight = standing.lent_unspent.saturating_sub(free);
        let covers = in_flight > 0 && standing.available.saturating_add(standing.lent_unspent) >= amount;
        let held = covers.then(|| NanoUsd::new(in_flight)).flatten();
        metrics::counter!("steelyard_billing_holds_refused").increment(1);
        match scope {
            Scope::Account(account) if standing.suspended => Error::Suspended { account },
            Scope::Account(account) => Error::CreditExhausted { account, needed, held },
            Scope::Budget(BudgetScope::Key(key)) => Error::KeyLimit { key, needed, held },
            Scope::Budget(BudgetScope::Project(project)) => Error::ProjectLimit { project, needed, held },
            Scope::Budget(BudgetScope::Organization(organization)) => {
                Error::OrganizationLimit { organization, needed, held }
            }
        }
    }

    /// Borrows at least `need` (nothing, to borrow ahead only) and up to `want`. The caller has the purse's
    /// lending lock.
    async fn lend(&self, purse: &Purse, need: i64, want: i64) -> Result<Loan, sqlx::Error> {
        for _ in 0..MAX_LOAN_STEPS {
            if purse.terms() == Terms::Unknown {
                self.learn(purse).await?;
            }
            if purse.terms() == Terms::Unlimited {
                return Ok(Loan::Unlimited);
            }
            let now = self.env.now();
            let Some(loan) = purse.loan_for(now) else {
                if !self.open(purse, now).await? {
                    return Ok(Loan::Refused(Standing::default()));
                }
                continue;
            };
            if loan.uncertain {
                self.resolve(purse, loan.id, loan.seq).await?;
                continue;
            }
            let (burn, largest) = purse.demand(now);
            let low_below = self.replicas.load(Ordering::Relaxed).saturating_mul(largest.max(need));
            let ask = self.ask(loan.seq, need, want.max(need), burn, low_below);
            if !purse.begin(loan.id, 0) {
                continue;
            }
            if let Some(lent) = self.send(purse.scope, loan.id, &ask).await? {
                purse.confirmed(loan.id, lent.lent, lent.seq, Some(now.plus(self.config.usable())));
                // Without burn there is no target: an account asked once a minute costs one loan, not two.
                purse.resize(lent.target, lent.low);
                return Ok(Loan::Lent);
            }
            if !self.reread(purse, loan.id, loan.seq).await? {
                return Ok(Loan::Refused(self.standing(purse.scope, purse.terms(), loan.window).await?));
            }
        }
        Ok(Loan::Contended)
    }

    fn ask(&self, seq: i64, need: i64, want: i64, burn: i64, low_below: i64) -> Ask {
        let share_bps = i64::from(self.config.share_bps);
        Ask { seq, need, want, burn, low_below, share_bps, ttl_s: self.config.ttl_s.into(), fence: false }
    }

    /// Sends a hint to all replicas.
    async fn tell(&self, hint: Hint) -> Result<(), sqlx::Error> {
        let mut line = Line::open(&self.db).await?;
        let told = answer(ANSWER, store::accounts::hint(&mut line, hint)).await;
        line.hang_up(told)
    }

    /// Looks up which limit binds the scope.
    async fn learn(&self, purse: &Purse) -> Result<(), sqlx::Error> {
        let Scope::Budget(scope) = purse.scope else { return Ok(()) };
        let mut line = Line::open(&self.db).await?;
        let found = answer(ANSWER, store::budgets::find(&mut line, scope)).await;
        let budget = line.hang_up(found)?;
        purse.set_terms(budget.map_or(Terms::Unlimited, Terms::Limited));
        Ok(())
    }

    /// Opens a lease, or finds the one that is open. False when there is nothing to borrow from.
    async fn open(&self, purse: &Purse, now: Timestamp) -> Result<bool, sqlx::Error> {
        let (id, ttl_s) = (self.env.mint(), self.config.ttl_s.into());
        let mut line = Line::open(&self.db).await?;
        let (window, row) = match (purse.scope, purse.terms()) {
            (Scope::Account(account), _) => {
                let opening = store::leases::open(&mut line, id, account, self.boot, ttl_s);
                (Window::ALWAYS, answer(ANSWER, opening).await)
            }
            (Scope::Budget(_), Terms::Limited(budget)) => {
                let window = Window::of(budget.reset, now);
                let opening = store::budget_leases::open(&mut line, id, budget.id, window.starts_at, self.boot, ttl_s);
                (window, answer(ANSWER, opening).await)
            }
            (Scope::Budget(_), _) => return line.hang_up(Ok(true)),
        };
        let Some(row) = line.hang_up(row)? else { return Ok(false) };
        purse.adopt(row.lease, window, row.lent, row.spent, row.seq, now.plus(self.config.usable()));
        Ok(true)
    }

    async fn send(&self, scope: Scope, lease: LeaseId, ask: &Ask) -> Result<Option<Lent>, sqlx::Error> {
        let mut line = Line::open(&self.db).await?;
        let lent = match scope {
            Scope::Account(_) => answer(ANSWER, store::leases::lend(&mut line, lease, ask)).await,
            Scope::Budget(_) => answer(ANSWER, store::budget_leases::lend(&mut line, lease, ask)).await,
        };
        line.hang_up(lent)
    }

    async fn find(&self, scope: Scope, lease: LeaseId) -> Result<Option<LeaseRow>, sqlx::Error> {
        let mut line = Line::open(&self.db).await?;
        let found = match scope {
            Scope::Account(_) => answer(ANSWER, store::leases::find(&mut line, lease)).await,
            Scope::Budget(_) => answer(ANSWER, store::budget_leases::find(&mut line, lease)).await,
        };
        line.hang_up(found)
    }

    async fn standing(&self, scope: Scope, terms: Terms, window: Window) -> Result<Standing, sqlx::Error> {
        let mut line = Line::open(&self.db).await?;
        let standing = match (scope, terms) {
            (Scope::Account(account), _) => answer(ANSWER, store::leases::standing(&mut line, account)).await,
            (Scope::Budget(_), Terms::Limited(budget)) => {
                answer(ANSWER, store::budget_leases::standing(&mut line, budget.id, window.starts_at)).await
            }
            (Scope::Budget(_), _) => Ok(Standing::default()),
        };
        line.hang_up(standing)
    }

    /// Adopts the lease as the ledger has it. True when that differs from what was known, or it is gone.
    async fn reread(&self, purse: &Purse, lease: LeaseId, known_seq: i64) -> Result<bool, sqlx::Error> {
        match self.find(purse.scope, lease).await? {
            Some(row) if !row.closed => {
                purse.confirmed(lease, row.lent, row.seq, None);
                Ok(row.seq != known_seq)
            }
            Some(_) | None => {
                purse.lost(lease);
                Ok(true)
            }
        }
    }

    /// Settles a statement whose result is unknown: uses its number up, or learns that it was used.
    async fn resolve(&self, purse: &Purse, lease: LeaseId, seq: i64) -> Result<(), sqlx::Error> {
        let fence = Ask { fence: true, ..self.ask(seq, 0, 0, 0, 0) };
        match self.send(purse.scope, lease, &fence).await? {
            Some(lent) => purse.confirmed(lease, lent.lent, lent.seq, None),
            None => {
                self.reread(purse, lease, seq).await?;
            }
        }
        Ok(())
    }

    async fn hand_back(&self, purse: &Purse, lease: LeaseId, amount: i64) -> Result<(), sqlx::Error> {
        let Some(seq) = purse.seq(lease).filter(|_| purse.begin(lease, amount)) else { return Ok(()) };
        match self.send(purse.scope, lease, &self.ask(seq, -amount, 0, 0, 0)).await? {
            Some(lent) => purse.confirmed(lease, lent.lent, lent.seq, None),
            None => {
                self.reread(purse, lease, seq).await?;
            }
        }
        Ok(())
    }

    async fn close(&self, purse: &Purse, lease: LeaseId) -> Result<(), sqlx::Error> {
        self.close_all(purse.scope, &[lease]).await?;
        purse.lost(lease);
        Ok(())
    }

    async fn close_all(&self, scope: Scope, leases: &[LeaseId]) -> Result<(), sqlx::Error> {
        let mut line = Line::open(&self.db).await?;
        let closed = match scope {
            Scope::Account(_) => answer(ANSWER, store::leases::close(&mut line, leases, None)).await,
            Scope::Budget(_) => answer(ANSWER, store::budget_leases::close(&mut line, leases, None)).await,
        };
        line.hang_up(closed).map(drop)
    }

    /// Does what a purse needs: refresh, hand back, close, resolve.
    pub async fn attend(&self, purse: &Purse, recall: bool) -> Result<(), sqlx::Error> {
        // A bound, since each chore can leave another: what is left is found at the next renewal.
        for _ in 0..MAX_LOAN_STEPS {
            let _lending = purse.lending.lock().await;
            match purse.chore(recall) {
                None => return Ok(()),
                Some(Chore::Resolve(lease)) => {
                    if let Some(seq) = purse.seq(lease) {
                        self.resolve(purse, lease, seq).await?;
                    }
                }
                Some(Chore::Close(lease)) => self.close(purse, lease).await?,
                Some(Chore::HandBack(lease, amount)) => self.hand_back(purse, lease, amount).await?,
                Some(Chore::Refresh(want)) => {
                    self.lend(purse, 0, want).await?;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Acts on a hint from another replica.
    pub async fn hinted(&self, hint: Hint) -> Result<(), sqlx::Error> {
        let known = |scope| self.purses.pin().get(&scope).cloned();
        match hint {
            Hint::Joined(_) => self.count_replicas().await?,
            Hint::Recall(scope) => {
                if let Some(purse) = known(scope) {
                    self.attend(&purse, true).await?;
                }
            }
            Hint::Changed(scope) => match (scope, known(scope)) {
                (_, None) => {}
                (Scope::Account(_), Some(purse)) => purse.distrust(),
                (Scope::Budget(_), Some(purse)) => self.learn(&purse).await?,
            },
        }
        Ok(())
    }

    /// Makes this replica known to the others, and learns how many there are. Until it has, it would ask nobody
    /// for idle money and take an account for richer than it is; and so would they.
    pub async fn join(&self) -> Result<(), sqlx::Error> {
        self.count_replicas().await?;
        self.tell(Hint::Joined(self.boot)).await
    }

    async fn count_replicas(&self) -> Result<(), sqlx::Error> {
        let mut line = Line::open(&self.db).await?;
        let seen = answer(ANSWER, store::replicas::seen(&mut line, self.boot, f64::from(self.config.ttl_s))).await;
        self.replicas.store(line.hang_up(seen)?.max(1), Ordering::Relaxed);
        Ok(())
    }

    /// Renews all leases, learns changed limits, and puts away what nobody uses.
    pub async fn renew(&self) -> Result<(), sqlx::Error> {
        let now = self.env.now();
        let purses: Vec<Arc<Purse>> = self.purses.pin().values().cloned().collect();
        self.count_replicas().await?;
        let mut line = Line::open(&self.db).await?;
        let renewed = self.renew_on(&mut line, &purses).await;
        line.hang_up(renewed)?;
        let idle_before = now.minus(Duration::from_secs(self.config.idle_s.into()));
        for purse in &purses {
            if purse.retire(idle_before) {
                self.purses.pin().remove(&purse.scope);
            } else if purse.chore(false).is_some() {
                self.call(purse);
            }
        }
        Ok(())
    }

    async fn renew_on(&self, line: &mut Line, purses: &[Arc<Purse>]) -> Result<(), sqlx::Error> {
        let budgets: Vec<BudgetScope> =
            purses.iter().filter_map(|p| if let Scope::Budget(scope) = p.scope { Some(scope) } else { None }).collect();
        let limits = answer(ANSWER, store::budgets::list(line, &budgets)).await?;
        for purse in purses {
            if let Scope::Budget(scope) = purse.scope {
                let limit = limits.iter().find(|budget| budget.scope == scope);
                purse.set_terms(limit.copied().map_or(Terms::Unlimited, Terms::Limited));
            }
        }
        let ttl_s = f64::from(self.config.ttl_s);
        let (accounts, limited): (Vec<_>, Vec<_>) =
            purses.iter().partition(|purse| matches!(purse.scope, Scope::Account(_)));
        for (group, is_account) in [(&accounts, true), (&limited, false)] {
            let leases: Vec<LeaseId> = group.iter().flat_map(|purse| purse.leases()).collect();
            if leases.is_empty() {
                continue;
            }
            let asked_at = self.env.now();
            let renewed = if is_account {
                answer(ANSWER, store::leases::renew(line, &leases, ttl_s)).await?
            } else {
                answer(ANSWER, store::budget_leases::renew(line, &leases, ttl_s)).await?
            };
            let renewed: HashSet<LeaseId> = renewed.into_iter().collect();
            for purse in group.iter() {
                for lease in purse.leases().into_iter().filter(|lease| renewed.contains(lease)) {
                    purse.renewed(lease, asked_at.plus(self.config.usable()));
                }
            }
        }
        Ok(())
    }

    /// Gives everything back, as in an orderly stop. What is still held is settled late by whoever settles it.
    pub async fn close_everything(&self) -> Result<(), sqlx::Error> {
        let purses: Vec<Arc<Purse>> = self.purses.pin().values().cloned().collect();
        for is_account in [true, false] {
            let group = purses.iter().filter(|purse| matches!(purse.scope, Scope::Account(_)) == is_account);
            let leases: Vec<LeaseId> = group.flat_map(|purse| purse.leases()).collect();
            if let (false, Some(purse)) =
                (leases.is_empty(), purses.iter().find(|p| matches!(p.scope, Scope::Account(_)) == is_account))
            {
                self.close_all(purse.scope, &leases).await?;
                for purse in purses.iter().filter(|p| matches!(p.scope, Scope::Account(_)) == is_account) {
                    purse.leases().into_iter().for_each(|lease| purse.lost(lease));
                }
            }
        }
        Ok(())
    }
}

//! Credit lent to this replica, in memory: what one account or budget has lent, and what is set aside of it.
//!
//! Everything here is arithmetic under a short lock of its own per account or budget; the loans are
//! asked for and given back by [`keeper`].

pub(crate) mod demand;
pub(crate) mod keeper;
pub(crate) mod recall;

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use parking_lot::Mutex;
use protocol::{LeaseId, OrganizationId, Timestamp};
use tokio::sync::Notify;

use crate::budget::{Budget, BudgetScope, Window};
use demand::Demand;

/// Whose money a purse holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Scope {
    /// The credit of an organization.
    Account(OrganizationId),
    /// What a limit leaves.
    Budget(BudgetScope),
}

/// What is known of a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Terms {
    /// Nothing yet, or no longer.
    Unknown,
    /// No limit binds this scope.
    Unlimited,
    /// An account.
    Account,
    /// A limit.
    Limited(Budget),
}

/// One lease. `free + held + pending + limbo` is what the ledger counts as lent and not spent.
#[derive(Debug, Clone)]
pub(crate) struct Loan {
    pub id: LeaseId,
    pub window: Window,
    /// As the ledger last confirmed it.
    pub lent: i64,
    /// The number of the next loan.
    pub seq: i64,
    /// May be set aside.
    pub free: i64,
    /// Set aside for requests in flight.
    pub held: i64,
    /// Charged, and not yet known to be written.
    pub pending: i64,
    /// On its way back, unless the ledger says otherwise.
    limbo: i64,
    /// A statement was sent whose result is not known: it is settled by number before the next one.
    pub uncertain: bool,
    pub usable_until: Timestamp,
}

/// What came of asking a purse for money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Take {
    /// Set aside on this lease; `refresh` when little is left.
    Taken { lease: LeaseId, refresh: bool },
    /// No limit binds here.
    Unlimited,
    /// Not enough here: ask the ledger.
    Short,
    /// This purse was put away: look it up again.
    Retired,
}

/// The money of one scope on this replica.
pub(crate) struct Purse {
    pub scope: Scope,
    state: Mutex<State>,
    /// One loan is asked for at a time; remembers the last refusal so that waiters don't repeat it.
    pub lending: tokio::sync::Mutex<Option<Refusal>>,
    /// What requests that wait for money need together.
    waiting: AtomicI64,
    /// Money came back.
    pub freed: Notify,
    /// Already in the keeper's queue.
    pub queued: AtomicBool,
}

/// A loan the ledger refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refusal {
    pub at: tokio::time::Instant,
    pub needed: i64,
    pub standing: Standing,
}

/// What the ledger said when it refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub suspended: bool,
    pub available: i64,
    /// Lent to all replicas together and not spent.
    pub lent_unspent: i64,
}

#[derive(Debug)]
struct State {
    terms: Terms,
    current: Option<Loan>,
    /// Loans of windows gone by, and closed ones, until the last hold on them ends.
    old: Vec<Loan>,
    demand: Demand,
    /// The size below half of which the lease is refreshed.
    target: i64,
    /// The account is nearly empty: nothing idle is kept.
    low: bool,
    /// What an extension lacked; kept for it until it comes again, or its hold ends.
    short_of: i64,
    used_at: Timestamp,
    retired: bool,
}

/// What the keeper has to do about a purse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chore {
    /// Find out what became of a statement.
    Resolve(LeaseId),
    /// Give idle money back.
    HandBack(LeaseId, i64),
    /// Nothing is held on it any more.
    Close(LeaseId),
    /// Borrow ahead of need, and this much if it is there.
    Refresh(i64),
}

impl Purse {
    pub fn new(scope: Scope, now: Timestamp) -> Self {
        let terms = if matches!(scope, Scope::Account(_)) { Terms::Account } else { Terms::Unknown };
        let state = State {
            terms,
            current: None,
            old: Vec::new(),
            demand: Demand::default(),
            target: 0,
            low: false,
            short_of: 0,
            used_at: now,
            retired: false,
        };
        Self {
            scope,
            state: Mutex::new(state),
            lending: tokio::sync::Mutex::new(None),
            waiting: AtomicI64::new(0),
            freed: Notify::new(),
            queued: AtomicBool::new(false),
        }
    }

    /// Sets `amount` aside, if it is here.
    pub fn take(&self, amount: i64, now: Timestamp) -> Take {
        let mut state = self.state.lock();
        if state.retired {
            return Take::Retired;
        }
        state.used_at = now;
        match state.terms {
            Terms::Unknown => return Take::Short,
            Terms::Unlimited => return Take::Unlimited,
            Terms::Account | Terms::Limited(_) => {}
        }
        let State { current, demand, target, low, .. } = &mut *state;
        let Some(loan) = current.as_mut().filter(|loan| loan.usable(now) && loan.free >= amount) else {
            return Take::Short;
        };
        loan.free -= amount;
        loan.held += amount;
        demand.record(amount, now);
        Take::Taken { lease: loan.id, refresh: !*low && loan.free < *target / 2 }
    }

    /// Sets more aside on a lease that already holds something. False when it has too little left; the
    /// next [`Chore::Refresh`] then borrows it.
    pub fn extend(&self, lease: LeaseId, extra: i64, now: Timestamp) -> bool {
        let mut state = self.state.lock();
        let Some(loan) = state.loan(lease).filter(|loan| loan.now_before_expiry(now) && loan.free >= extra) else {
            state.short_of = state.short_of.max(extra);
            return false;
        };
        loan.free -= extra;
        loan.held += extra;
        state.short_of = 0;
        state.demand.record(extra, now);
        true
    }

    /// Frees what was set aside, less `charge`, which is spent but not yet written. True when the keeper has work.
    pub fn give_back(&self, lease: LeaseId, amount: i64, charge: i64) -> bool {
        let mut state = self.state.lock();
        let Some(loan) = state.loan(lease) else { return false };
        loan.held -= amount;
        loan.free += amount - charge;
        loan.pending += charge;
        state.short_of = 0;
        let attend = state.low || !state.old.is_empty();
        drop(state);
        self.wake();
        attend
    }

    /// A charge was written (`counted`), or turned out not to count. True when the keeper has work.
    pub fn written(&self, lease: LeaseId, charge: i64, counted: bool) -> bool {
        let mut state = self.state.lock();
        let Some(loan) = state.loan(lease) else { return false };
        loan.pending -= charge;
        if !counted {
            loan.free += charge;
        }
        state.low || !state.old.is_empty()
    }

    fn wake(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.freed.notify_waiters();
        }
    }

    /// Counts a request among those that wait, until the guard is dropped.
    pub fn wait_for(&self, amount: i64) -> Waiting<'_> {
        self.waiting.fetch_add(amount, Ordering::Relaxed);
        Waiting { purse: self, amount }
    }

    /// What waiting requests need together.
    pub fn waiting(&self) -> i64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// What is known of the scope.
    pub fn terms(&self) -> Terms {
        self.state.lock().terms
    }

    /// Adopts what the ledger says of the scope. A changed budget gets a new loan.
    pub fn set_terms(&self, terms: Terms) {
        let mut state = self.state.lock();
        let same_budget = match (state.terms, terms) {
            (Terms::Limited(old), Terms::Limited(new)) => old.id == new.id,
            (Terms::Account, Terms::Account) | (Terms::Unknown, _) | (_, Terms::Unknown) => true,
            _ => false,
        };
        if !same_budget {
            state.put_away_current();
        }
        state.terms = terms;
    }

    /// The current loan, when it is of the window `now` lies in; an older one is put away.
    pub fn loan_for(&self, now: Timestamp) -> Option<Loan> {
        let mut state = self.state.lock();
        if state.current.as_ref().is_some_and(|loan| now >= loan.window.ends_at) {
            state.put_away_current();
        }
        if let (Some(loan), Terms::Limited(budget)) = (&state.current, state.terms)
            && loan.window != Window::of(budget.reset, now)
        {
            state.put_away_current();
        }
        state.current.clone()
    }

    /// Starts using a lease the ledger opened or found open. One that was put away and is not closed yet is
    /// taken up again as it is: as a second loan of that id, closing the first would give back what is held here.
    pub fn adopt(&self, id: LeaseId, window: Window, lent: i64, spent: i64, seq: i64, usable_until: Timestamp) {
        let loan = Loan {
            id,
            window,
            lent,
            seq,
            free: lent - spent,
            held: 0,
            pending: 0,
            limbo: 0,
            uncertain: false,
            usable_until,
        };
        let mut state = self.state.lock();
        state.put_away_current();
        let put_away = state.old.iter().position(|old| old.id == id);
        state.current = Some(put_away.map_or(loan, |at| state.old.swap_remove(at)));
    }

    /// Marks that a statement about `lease` is under way, with `back` of its free money. Until
    /// [`Purse::confirmed`], its result is unknown. False when that much is no longer free.
    pub fn begin(&self, lease: LeaseId, back: i64) -> bool {
        let mut state = self.state.lock();
        match state.loan(lease) {
            Some(loan) if !loan.uncertain && loan.free >= back => {
                loan.free -= back;
                loan.limbo = back;
                loan.uncertain = true;
                true
            }
            _ => false,
        }
    }

    /// Adopts what the ledger confirmed: the difference to what was known is money that came or went.
    pub fn confirmed(&self, lease: LeaseId, lent: i64, seq: i64, usable_until: Option<Timestamp>) {
        let mut state = self.state.lock();
        let Some(loan) = state.loan(lease) else { return };
        loan.free += lent - loan.lent + loan.limbo;
        loan.lent = lent;
        loan.seq = seq;
        loan.limbo = 0;
        loan.uncertain = false;
        if let Some(until) = usable_until {
            loan.usable_until = loan.usable_until.max(until);
        }
        drop(state);
        self.wake();
    }

    /// The ledger has closed this lease: nothing on it is ours to lend any more.
    pub fn lost(&self, lease: LeaseId) {
        let mut state = self.state.lock();
        if state.current.as_ref().is_some_and(|loan| loan.id == lease) {
            state.current = None;
        }
        // Holds on it end on their own; their charges take the late path, by the lease's id.
        state.old.retain(|loan| loan.id != lease);
    }

    /// Notes what the last loan says about size: the next refresh, and whether the account is nearly empty.
    pub fn resize(&self, target: i64, low: bool) {
        let mut state = self.state.lock();
        state.target = target;
        state.low = low;
    }

    /// What was asked for in the last two seconds, and the largest hold of the last minutes.
    pub fn demand(&self, now: Timestamp) -> (i64, i64) {
        let mut state = self.state.lock();
        (state.demand.burn(now), state.demand.largest(now))
    }

    /// Money lent to this replica that is not free: held, or charged and not yet written.
    #[cfg(test)]
    pub fn busy(&self) -> i64 {
        let state = self.state.lock();
        state.current.iter().chain(&state.old).map(|loan| loan.held + loan.pending).sum()
    }

    /// What the current loan could give now.
    pub fn free(&self) -> i64 {
        self.state.lock().current.as_ref().map_or(0, |loan| loan.free)
    }

    /// The number of the next loan on a lease.
    pub fn seq(&self, lease: LeaseId) -> Option<i64> {
        self.state.lock().loan(lease).map(|loan| loan.seq)
    }

    /// Ids of all loans, to be renewed together.
    pub fn leases(&self) -> Vec<LeaseId> {
        let state = self.state.lock();
        state.current.iter().chain(&state.old).map(|loan| loan.id).collect()
    }

    /// The lease was renewed.
    pub fn renewed(&self, lease: LeaseId, usable_until: Timestamp) {
        if let Some(loan) = self.state.lock().loan(lease) {
            loan.usable_until = loan.usable_until.max(usable_until);
        }
    }

    /// Stops using the current loan until the ledger has been asked again.
    pub fn distrust(&self) {
        if let Some(loan) = &mut self.state.lock().current {
            loan.usable_until = Timestamp::EPOCH;
        }
    }

    /// The next thing to do. `recall` gives back all that is idle, whoever might need it soon here.
    pub fn chore(&self, recall: bool) -> Option<Chore> {
        let state = self.state.lock();
        let loans = || state.old.iter().chain(&state.current);
        if let Some(loan) = loans().find(|loan| loan.uncertain) {
            return Some(Chore::Resolve(loan.id));
        }
        if let Some(loan) = state.old.iter().find(|loan| loan.held == 0 && loan.pending == 0) {
            return Some(Chore::Close(loan.id));
        }
        if let Some(loan) = state.old.iter().find(|loan| loan.free > 0) {
            return Some(Chore::HandBack(loan.id, loan.free));
        }
        let loan = state.current.as_ref()?;
        if state.short_of > loan.free {
            return Some(Chore::Refresh(state.short_of));
        }
        let wanted = self.waiting() > 0 || state.short_of > 0;
        if (recall || state.low) && loan.free > 0 && !wanted {
            return Some(Chore::HandBack(loan.id, loan.free));
        }
        // Twice the target: below that, giving back and borrowing again would only chase each other.
        if !state.low && state.target > 0 && loan.free > state.target.saturating_mul(2) && !wanted {
            return Some(Chore::HandBack(loan.id, loan.free - state.target));
        }
        (!recall && !state.low && loan.free < state.target / 2).then_some(Chore::Refresh(0))
    }

    /// Puts a purse nobody used since `before` away. Its loan, if any, is to be closed.
    pub fn retire(&self, before: Timestamp) -> bool {
        let mut state = self.state.lock();
        let busy = state.current.iter().chain(&state.old).any(|loan| loan.held != 0 || loan.pending != 0);
        if busy || state.used_at > before || self.waiting() > 0 {
            return false;
        }
        state.put_away_current();
        state.retired = state.old.is_empty();
        state.retired
    }
}

impl State {
    fn loan(&mut self, lease: LeaseId) -> Option<&mut Loan> {
        self.current.iter_mut().chain(&mut self.old).find(|loan| loan.id == lease)
    }

    fn put_away_current(&mut self) {
        self.old.extend(self.current.take());
        self.target = 0;
        self.low = false;
    }
}

impl Loan {
    fn usable(&self, now: Timestamp) -> bool {
        now < self.window.ends_at && self.now_before_expiry(now)
    }

    fn now_before_expiry(&self, now: Timestamp) -> bool {
        now < self.usable_until
    }
}

/// A request that waits for money.
pub(crate) struct Waiting<'a> {
    purse: &'a Purse,
    amount: i64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.purse.waiting.fetch_sub(self.amount, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

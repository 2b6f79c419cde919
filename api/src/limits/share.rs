//! One replica's share of a limit that several replicas keep together.
//!
//! Redis knows what was used, a debt that drains, and what each replica holds, which does not. A replica admits
//! from what it holds and nothing else, so all of them together never pass the limit. What it holds is set aside
//! for requests under way, or stock for the next ones; both are told anew with every exchange, so an exchange that
//! was lost is made good by the one after.
//!
//! Without Redis a replica goes by an equal part of the limit, that part of everybody's debt already owed.

use std::time::Duration;

use protocol::Timestamp;
use tokio::sync::oneshot;

use super::gcra::{Gcra, Quota, Standing, Wait};
use super::shares::Attempt;

/// Stock nobody touched for this long is handed back.
const LINGER: Duration = Duration::from_secs(2);
/// Stock is kept for about twice what is taken in this time: some hundred exchanges' worth of waiting.
const WINDOW: Duration = Duration::from_millis(100);
/// The most stock, as a part of the limit: what lies here is missing elsewhere.
const STOCK_PART: u64 = 16;
/// A refusal is repeated without asking again for this long at most.
const REFUSED_FOR: Duration = Duration::from_millis(50);

/// How Redis stands, as far as a share must know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weather {
    /// Nobody answers there.
    pub away: bool,
    /// Replicas there were when it was last heard.
    pub replicas: u32,
}

/// What is told to Redis about one limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Told {
    /// How much is allowed.
    pub quota: Quota,
    /// What stays here in any case.
    pub keep: u64,
    /// What requests wait for.
    pub asked: u64,
    /// What would be good to have besides.
    pub want: u64,
    /// Used since it was last told.
    pub used: f64,
    /// Everybody's debt as far as it is known here, should Redis have lost it.
    pub lost: f64,
}

/// What Redis says of one limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Heard {
    /// What we hold besides what we kept.
    pub granted: u64,
    /// Everybody's debt.
    pub debt: f64,
    /// What the others hold.
    pub others: u64,
}

/// A replica by itself.
#[derive(Debug)]
struct Alone {
    /// What counts here.
    gcra: Gcra,
    /// What Redis had been told when it was lost.
    told: Gcra,
}

/// One replica's share of one limit.
#[derive(Debug)]
pub(super) struct Share {
    quota: Quota,
    /// Everybody's debt as last heard and ours since; what others hold and what is set aside here.
    view: Gcra,
    outstanding: u64,
    /// Held and free; below zero after an answer that used more than was set aside for it.
    stock: i64,
    /// Used and not yet told.
    used: u64,
    /// Told, and not yet heard to have arrived.
    telling: u64,
    asked: u64,
    asked_least: u64,
    waiting: Vec<oneshot::Sender<()>>,
    answered: Vec<oneshot::Sender<()>>,
    /// Taken in this window, and in the one before.
    taken: (u64, u64),
    window_at: Timestamp,
    touched_at: Timestamp,
    last_amount: u64,
    /// Lent for requests that waited, and when: theirs for a window, until all of them have run.
    promised: (u64, Timestamp),
    /// So much and more is refused until then.
    refused: Option<(u64, Timestamp)>,
    alone: Option<Alone>,
}

impl Share {
    pub fn new(quota: Quota, now: Timestamp) -> Self {
        Self {
            quota,
            view: Gcra::new(now),
            outstanding: 0,
            stock: 0,
            used: 0,
            telling: 0,
            asked: 0,
            asked_least: u64::MAX,
            waiting: Vec::new(),
            answered: Vec::new(),
            taken: (0, 0),
            window_at: now,
            touched_at: now,
            last_amount: 0,
            promised: (0, now),
            refused: None,
            alone: None,
        }
    }

    /// Sets `amount` aside if it is held here, or if nobody can be asked.
    pub fn try_reserve(&mut self, quota: Quota, amount: u64, weather: Weather, now: Timestamp) -> Attempt {
        (self.quota, self.touched_at) = (quota, now);
        if amount > quota.burst {
            return Attempt::Full(self.standing(weather, now), Wait::Never);
        }
        if weather.away {
            let part = quota.part(weather.replicas);
            if let Err(wait) = self.by_itself(weather, now).gcra.reserve(amount, part, now) {
                return Attempt::Full(self.standing(weather, now), wait);
            }
        } else if self.alone.is_some() {
            return Attempt::Ask;
        } else if self.stock < signed(amount) {
            return match self.refused {
                Some((least, until)) if amount >= least && now < until => {
                    Attempt::Full(self.standing(weather, now), self.wait(amount, now))
                }
                _ => Attempt::Ask,
            };
        }
        self.stock -= signed(amount);
        self.outstanding += amount;
        self.view.set_aside(amount);
        self.note(amount, now);
        Attempt::Taken(self.standing(weather, now))
    }

    /// What came of `reserved`.
    pub fn settle(&mut self, reserved: u64, used: u64, weather: Weather, now: Timestamp) {
        let quota = self.quota;
        self.outstanding = self.outstanding.saturating_sub(reserved);
        self.stock = self.stock.saturating_add(signed(reserved)).saturating_sub(signed(used));
        if weather.away {
            self.by_itself(weather, now);
        }
        match &mut self.alone {
            Some(alone) => alone.gcra.settle(reserved, used, quota.part(weather.replicas), now),
            None => self.used = self.used.saturating_add(used),
        }
        self.view.settle(reserved, used, quota, now);
    }

    /// Where the limit stands, everybody counted; alone, where its part does.
    pub fn standing(&self, weather: Weather, now: Timestamp) -> Standing {
        match &self.alone {
            Some(alone) if weather.away => alone.gcra.standing(self.quota.part(weather.replicas), now),
            _ => self.view.standing(self.quota, now),
        }
    }

    /// Whether an exchange now would spare the next request a wait.
    pub fn runs_low(&self) -> bool {
        self.stock < signed(self.target() / 2)
    }

    /// Wakes the receiver after the next exchange that takes `amount` into account.
    pub fn ask(&mut self, amount: u64) -> oneshot::Receiver<()> {
        let (wake, woken) = oneshot::channel();
        self.asked = self.asked.saturating_add(amount);
        self.asked_least = self.asked_least.min(amount);
        self.waiting.push(wake);
        woken
    }

    /// Whether Redis has to hear of it again, lest what is held here be taken for a dead replica's.
    pub fn is_in_use(&self) -> bool {
        self.outstanding > 0 || self.stock != 0 || self.used > 0 || self.alone.is_some()
    }

    /// Whether forgetting it would change nothing.
    pub fn is_idle(&self, now: Timestamp) -> bool {
        !self.is_in_use() && self.waiting.is_empty() && self.view.is_idle(self.quota, now)
    }

    /// What to tell Redis. Surplus stock is given up here and now: what Redis lends others is not used here.
    pub fn tell(&mut self, replicas: u32, now: Timestamp) -> Told {
        self.turn_window(now);
        let target = if now.since(self.touched_at) > LINGER { 0 } else { self.target() };
        let promised = if now.since(self.promised.1) < WINDOW { self.promised.0 } else { 0 };
        self.stock = self.stock.clamp(0, signed(target.max(promised)));
        let stock = self.stock.unsigned_abs();
        self.telling = std::mem::take(&mut self.used);
        self.answered = std::mem::take(&mut self.waiting);
        let (used, lost) = match &self.alone {
            // Both drained as they should have meanwhile: a debt of minutes ago is none any more.
            Some(alone) => {
                let parts = f64::from(replicas.max(1));
                let ours = alone.gcra.debt(self.quota.part(replicas), now);
                ((ours - alone.told.debt(self.quota, now) / parts).max(0.0), ours * parts)
            }
            None => (self.telling as f64, self.view.debt(self.quota, now)),
        };
        Told {
            quota: self.quota,
            keep: self.outstanding + stock,
            asked: std::mem::take(&mut self.asked),
            want: target.saturating_sub(stock),
            used,
            lost,
        }
    }

    /// Takes in the answer to `told`; `true` when there is reason for another exchange at once.
    pub fn hear(&mut self, told: &Told, heard: Heard, now: Timestamp) -> bool {
        (self.telling, self.alone) = (0, None);
        self.stock = self.stock.saturating_add(signed(heard.granted));
        self.view = Gcra::owing(heard.debt, heard.others.saturating_add(self.outstanding), now);
        self.view.settle(0, self.used, self.quota, now);
        // Part of what a large request wanted is of no use to it, and may be to others.
        let is_of_use = self.asked_least <= heard.granted;
        self.promised = (if is_of_use { heard.granted.min(told.asked) } else { 0 }, now);
        let short = heard.granted < told.asked;
        self.refused = short.then(|| (self.asked_least, now.plus(REFUSED_FOR)));
        self.asked_least = u64::MAX;
        for woken in self.answered.drain(..) {
            let _ = woken.send(());
        }
        short && heard.granted > 0 && !is_of_use
    }

    /// The exchange failed: what was told counts as not told.
    pub fn lose(&mut self) {
        self.used = self.used.saturating_add(std::mem::take(&mut self.telling));
        (self.asked, self.asked_least) = (0, u64::MAX);
        self.answered.clear();
        self.waiting.clear();
    }

    fn by_itself(&mut self, weather: Weather, now: Timestamp) -> &mut Alone {
        let (quota, replicas) = (self.quota, f64::from(weather.replicas.max(1)));
        let untold = std::mem::take(&mut self.used).saturating_add(std::mem::take(&mut self.telling));
        if self.alone.is_some() {
            self.used = untold;
        }
        let (view, outstanding) = (self.view, self.outstanding);
        self.alone.get_or_insert_with(|| {
            let debt = view.debt(quota, now);
            Alone {
                gcra: Gcra::owing(debt / replicas, outstanding, now),
                told: Gcra::owing(debt - untold as f64, 0, now),
            }
        })
    }

    fn wait(&self, amount: u64, now: Timestamp) -> Wait {
        let mut view = self.view;
        view.reserve(amount, self.quota, now).err().unwrap_or(Wait::For(REFUSED_FOR))
    }

    fn target(&self) -> u64 {
        let recent = self.taken.0.max(self.taken.1).saturating_mul(2);
        recent.max(self.last_amount).min(self.quota.burst / STOCK_PART)
    }

    fn note(&mut self, amount: u64, now: Timestamp) {
        self.turn_window(now);
        self.taken.0 = self.taken.0.saturating_add(amount);
        self.last_amount = amount;
    }

    fn turn_window(&mut self, now: Timestamp) {
        let passed = now.since(self.window_at);
        if passed >= WINDOW {
            self.taken = (0, if passed < WINDOW * 2 { self.taken.0 } else { 0 });
            self.window_at = now;
        }
    }
}

fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "share_tests.rs"]
mod tests;

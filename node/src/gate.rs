//! The one place where requests are counted in and out: credits, load, and who must hear of a change.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use protocol::load::Load;
use protocol::{Env, OfferId};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::credit::{Credits, Outgoing, Refused, ReplicaName, Slot};
use crate::engine::EngineLoad;

/// Counts requests in and out. Clones share everything.
#[derive(Clone)]
pub struct Gate(Arc<Shared>);

struct Shared {
    env: Env,
    state: Mutex<State>,
    draining: AtomicBool,
    /// Cancelled, and replaced, when what is inside may stay no longer.
    cut: Mutex<CancellationToken>,
    changed: Notify,
}

struct State {
    credits: Credits,
    running: u32,
    offers: HashMap<OfferId, u32>,
    links: HashMap<ReplicaName, Link>,
}

/// What is shared by all tunnels to one replica.
#[derive(Default)]
struct Link {
    tunnels: u32,
    /// The stream that speaks for the replica now: only the newest one does.
    control: Option<Arc<AtomicWaker>>,
}

/// One request inside. Dropping it lets it out, however it ended.
pub struct Pass {
    gate: Gate,
    slot: Option<Slot>,
    offer: Option<OfferId>,
    cut: CancellationToken,
}

/// One tunnel to a replica. The replica's credits are void when its last one is dropped.
pub struct Presence {
    gate: Gate,
    replica: ReplicaName,
}

impl Gate {
    /// A gate for an engine of `slots`.
    #[must_use]
    pub fn new(env: Env, slots: u32) -> Self {
        let state = State {
            credits: Credits::new(slots, env.seed()),
            running: 0,
            offers: HashMap::new(),
            links: HashMap::new(),
        };
        let (draining, cut, changed) = (AtomicBool::new(false), Mutex::default(), Notify::new());
        Self(Arc::new(Shared { env, state: Mutex::new(state), draining, cut, changed }))
    }

    /// Lets a request in, or refuses it at once. Nothing ever queues here.
    ///
    /// # Errors
    /// [`Refused`] beyond the credits granted, or while draining.
    pub fn enter(
        &self,
        replica: Option<&ReplicaName>,
        number: Option<u64>,
        weight: u64,
        offer: Option<OfferId>,
    ) -> Result<Pass, Refused> {
        let now = self.0.env.now();
        let mut state = self.0.state.lock();
        let admitted = match replica {
            Some(replica) => state.credits.admit(replica, number, weight.max(1), now),
            None => state.credits.admit_uncredited(weight.max(1)),
        };
        if admitted.is_ok() {
            state.running += 1;
            if let Some(offer) = offer {
                *state.offers.entry(offer).or_default() += 1;
            }
        }
        state.wake();
        let cut = self.0.cut.lock().clone();
        Ok(Pass { gate: self.clone(), slot: Some(admitted?), offer, cut })
    }

    /// Requests inside.
    #[must_use]
    pub fn running(&self) -> u32 {
        self.0.state.lock().running
    }

    /// Requests inside, by offer.
    #[must_use]
    pub fn by_offer(&self, offer: OfferId) -> u32 {
        self.0.state.lock().offers.get(&offer).copied().unwrap_or(0)
    }

    /// The engine's size.
    #[must_use]
    pub fn slots(&self) -> u64 {
        self.0.state.lock().credits.slots()
    }

    /// Changes the engine's size.
    pub fn set_slots(&self, slots: u32) {
        let mut state = self.0.state.lock();
        state.credits.set_slots(slots);
        state.wake();
    }

    /// Whether new work is refused.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    /// Stops or resumes taking work.
    pub fn set_draining(&self, draining: bool) {
        self.0.draining.store(draining, Ordering::Relaxed);
        let mut state = self.0.state.lock();
        state.credits.set_accepting(!draining);
        state.wake();
        drop(state);
        self.0.changed.notify_waiters();
    }

    /// Ends what is inside. What enters later is not concerned.
    pub fn cut(&self) {
        std::mem::take(&mut *self.0.cut.lock()).cancel();
    }

    /// Returns once nothing is inside.
    pub async fn idle(&self) {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.running() == 0 {
                return;
            }
            changed.await;
        }
    }

    /// A tunnel to `replica` is open.
    #[must_use]
    pub fn attach(&self, replica: ReplicaName) -> Presence {
        self.0.state.lock().links.entry(replica.clone()).or_default().tunnels += 1;
        Presence { gate: self.clone(), replica }
    }

    /// A control stream of `replica` begins; an older one of the same replica falls silent.
    pub(crate) fn open_control(&self, replica: &ReplicaName) -> Arc<AtomicWaker> {
        let waker = Arc::new(AtomicWaker::new());
        let mut state = self.0.state.lock();
        let old = state.links.entry(replica.clone()).or_default().control.replace(waker.clone());
        drop(state);
        if let Some(old) = old {
            old.wake();
        }
        waker
    }

    /// True while `waker` belongs to the newest control stream of `replica`.
    pub(crate) fn speaks(&self, replica: &ReplicaName, waker: &Arc<AtomicWaker>) -> bool {
        let state = self.0.state.lock();
        let control = state.links.get(replica).and_then(|link| link.control.as_ref());
        control.is_some_and(|control| Arc::ptr_eq(control, waker))
    }

    /// Changes the credits, and wakes every control stream that may have news for its replica.
    pub(crate) fn credits<T>(&self, change: impl FnOnce(&mut Credits, protocol::Timestamp) -> T) -> T {
        let now = self.0.env.now();
        let mut state = self.0.state.lock();
        let result = change(&mut state.credits, now);
        state.wake();
        result
    }

    /// What the control stream of `replica` should say.
    pub(crate) fn outgoing(&self, replica: &str, engine: EngineLoad) -> Option<(Outgoing, Load)> {
        let mut state = self.0.state.lock();
        let outgoing = state.credits.outgoing(replica)?;
        let load = Load {
            seen: outgoing.seen,
            running: state.running,
            queued: engine.queued,
            backlog_tokens: engine.backlog_tokens,
            kv_free_permille: engine.kv_free_permille,
        };
        Some((outgoing, load))
    }
}

impl State {
    fn wake(&self) {
        self.links.values().filter_map(|link| link.control.as_ref()).for_each(|control| control.wake());
    }
}

impl Pass {
    /// Cancelled when the request may go on no longer.
    pub(crate) fn cut_off(&self) -> &CancellationToken {
        &self.cut
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let now = self.gate.0.env.now();
        let mut state = self.gate.0.state.lock();
        if let Some(slot) = self.slot.take() {
            state.credits.finish(slot, now);
        }
        state.running -= 1;
        if let Some(offer) = self.offer
            && let Some(count) = state.offers.get_mut(&offer)
        {
            *count -= 1;
            if *count == 0 {
                state.offers.remove(&offer);
            }
        }
        state.wake();
        let idle = state.running == 0;
        drop(state);
        if idle {
            self.gate.0.changed.notify_waiters();
        }
    }
}

impl Presence {
    /// The replica at the other end.
    #[must_use]
    pub fn replica(&self) -> &ReplicaName {
        &self.replica
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut state = self.gate.0.state.lock();
        let Some(link) = state.links.get_mut(&self.replica) else { return };
        link.tunnels -= 1;
        if link.tunnels == 0 {
            state.links.remove(&self.replica);
            state.credits.void(&self.replica);
            state.wake();
        }
    }
}

//! Counters shared by successive snapshots, and the guards through which alone they change, so a
//! panic, a gone client or a cancelled future gives back what it took.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use protocol::{OfferId, Timestamp};

use super::node_live::NodeLive;
use super::snapshot::OfferEntry;
use crate::attempt::breaker::{Breaker, Exclusion, State};
use crate::config::Prior;
use crate::credit::Dispatch;
use crate::measure::{Circumstances, Estimate, Measure, Observation, Outcome};
use crate::place::room::Rooms;
use crate::telemetry::telemetry;

/// A first content later than this many times its prediction says the node is overloaded.
const OVERLOADED_FACTOR: f64 = 3.0;

/// What changes faster than a snapshot about a model as a whole.
#[derive(Debug, Default)]
pub struct ModelLive {
    /// Offers whose breaker is not closed.
    out: AtomicU32,
    /// Recent output and prompt tokens by owner, for the owners' shares.
    tokens: Mutex<HashMap<u64, f64>>,
}

impl ModelLive {
    /// Offers whose breaker is not closed.
    #[must_use]
    pub fn out(&self) -> u32 {
        self.out.load(Ordering::Acquire)
    }

    /// Recent tokens by owner; decayed by who reads them at each rebuild.
    pub(crate) fn decay(&self, keep: f64) -> HashMap<u64, f64> {
        let mut tokens = self.tokens.lock();
        tokens.values_mut().for_each(|count| *count *= keep);
        tokens.retain(|_, count| *count >= 1.0);
        tokens.clone()
    }

    fn add_tokens(&self, owner: u64, count: f64) {
        *self.tokens.lock().entry(owner).or_default() += count;
    }
}

/// What changes faster than a snapshot about one offer: its breaker and what was measured.
#[derive(Debug)]
pub struct OfferLive {
    /// Which offer.
    pub id: OfferId,
    model: Arc<ModelLive>,
    in_flight: AtomicU32,
    breaker: Mutex<Breaker>,
    /// A copy of the breaker's state that readers see without the lock.
    standing: ArcSwap<Breaker>,
    measure: Mutex<Measure>,
    estimate: ArcSwap<Estimate>,
}

impl OfferLive {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(id: OfferId, model: Arc<ModelLive>, prior: &Prior) -> Self {
        let (high, low) = protocol::Id::uuid(id).as_u64_pair();
        let breaker = Breaker::new(high ^ low);
        let measure = Measure::new(prior);
        Self {
            id,
            model,
            in_flight: AtomicU32::new(0),
            standing: ArcSwap::from_pointee(breaker.clone()),
            breaker: Mutex::new(breaker),
            estimate: ArcSwap::from_pointee(measure.estimate()),
            measure: Mutex::new(measure),
        }
    }

    /// What is believed of it now.
    #[must_use]
    pub fn estimate(&self) -> Estimate {
        **self.estimate.load()
    }

    /// Attempts in flight on it from this replica.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Why its breaker keeps it out at `now`, if so.
    #[must_use]
    pub fn exclusion(&self, now: Timestamp) -> Option<Exclusion> {
        self.standing.load().exclusion(now)
    }

    /// How often its breaker opened since it was last closed.
    #[must_use]
    pub fn trips(&self) -> u32 {
        self.standing.load().trips()
    }

    fn change_breaker<T>(&self, change: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut breaker = self.breaker.lock();
        let was_out = breaker.state() != State::Closed;
        let result = change(&mut breaker);
        let is_out = breaker.state() != State::Closed;
        match (was_out, is_out) {
            (false, true) => drop(self.model.out.fetch_add(1, Ordering::AcqRel)),
            (true, false) => drop(self.model.out.fetch_sub(1, Ordering::AcqRel)),
            _ => {}
        }
        if was_out || is_out {
            self.standing.store(Arc::new(breaker.clone()));
        }
        result
    }

    /// Counts a fault that was found out after the attempt's own end.
    pub(crate) fn blame(&self, now: Timestamp) {
        self.change_breaker(|breaker| breaker.record(false, false, now));
    }
}

impl Drop for OfferLive {
    fn drop(&mut self) {
        if self.breaker.get_mut().state() != State::Closed {
            self.model.out.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// One tunnel of a node. Dropping it takes the tunnel out of the count.
#[derive(Debug)]
pub struct Presence {
    node: Arc<NodeLive>,
}

impl Presence {
    pub(crate) fn new(node: Arc<NodeLive>, now: Timestamp) -> Self {
        node.tunnel_up(now);
        Self { node }
    }

    /// The node's counters.
    #[must_use]
    pub const fn node(&self) -> &Arc<NodeLive> {
        &self.node
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.node.tunnel_down();
    }
}

/// The right to dispatch one attempt, and its place in every counter. Dropping it gives all back;
/// [`Admission::finish`] also tells what was seen.
#[derive(Debug)]
pub struct Admission {
    offer: Arc<OfferEntry>,
    rooms: Arc<Rooms>,
    dispatch: Dispatch,
    circumstances: Circumstances,
    kappa: f64,
    reached: bool,
    probe: bool,
    told: bool,
}

impl Admission {
    /// Takes credit, a place under the learned cap and, where the breaker demands it, the probe.
    pub(crate) fn take(
        offer: &Arc<OfferEntry>,
        rooms: &Arc<Rooms>,
        weight: u32,
        circumstances: Circumstances,
        panicking: bool,
        now: Timestamp,
    ) -> Option<Self> {
        let node = &offer.node;
        if node.closed_until(now).is_some() {
            return None;
        }
        let dispatch = node.take(weight, circumstances.uncached_tokens, now)?;
        let probe = match offer.live.change_breaker(|breaker| breaker.pass(now)) {
            Some(probe) => probe,
            None if panicking => false,
            None => {
                node.end(dispatch, false);
                return None;
            }
        };
        offer.live.in_flight.fetch_add(1, Ordering::AcqRel);
        Some(Self {
            offer: Arc::clone(offer),
            rooms: Arc::clone(rooms),
            dispatch,
            circumstances,
            kappa: offer.live.estimate().kappa,
            reached: false,
            probe,
            told: false,
        })
    }

    /// The offer to call, with its price pinned.
    #[must_use]
    pub const fn offer(&self) -> &Arc<OfferEntry> {
        &self.offer
    }

    /// For `x-steelyard-dispatch`: this dispatch's number within the control stream.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.dispatch.number
    }

    /// For `x-steelyard-credits`: slots it takes.
    #[must_use]
    pub const fn weight(&self) -> u32 {
        self.dispatch.weight
    }

    /// The request is about to leave: from now on only the node gives the credit back.
    pub const fn sent(&mut self) {
        self.reached = true;
    }

    /// It did not leave after all: no stream, no connection, no address. Its credit was never used.
    pub const fn unsent(&mut self) {
        self.reached = false;
    }

    /// The first content came: the prompt no longer queues.
    pub fn first_content(&self) {
        if self.offer.node.began(self.dispatch) {
            self.rooms.room_freed();
        }
    }

    /// The attempt ended; what it showed counts from now on.
    pub fn finish(mut self, seen: &Observation) {
        self.told = true;
        telemetry().ended(&seen.outcome);
        let live = &self.offer.live;
        match seen.outcome {
            Outcome::Completed => self.count(true, seen.at),
            Outcome::NodeFault(_) => self.count(false, seen.at),
            Outcome::Busy { retry_after, credit } => self.busy(retry_after, credit, seen.at),
            Outcome::CallerFault { .. } | Outcome::Cancelled => self.forget_probe(),
        }
        if matches!(seen.outcome, Outcome::Completed) {
            self.offer.node.heard(seen.at);
            let tokens = f64::from(self.circumstances.uncached_tokens) + f64::from(seen.output_tokens);
            live.model.add_tokens(self.offer.owner, tokens);
        }
        // A whole answer's first content is its last: it says nothing of either.
        let first_content = seen.first_content.filter(|_| !seen.plain);
        let predicted_s = self.kappa * self.circumstances.predicted_first_s;
        if let Some(first) = first_content {
            telemetry().first_content(first, predicted_s);
        }
        let slow = first_content.is_some_and(|first| first.as_secs_f64() > OVERLOADED_FACTOR * predicted_s);
        // A prediction under a tenth of a second is too easily missed threefold by noise alone.
        if slow && first_content.is_some_and(|first| first.as_millis() >= 1_000) {
            self.offer.node.overloaded(seen.at);
        }
        let mut measure = live.measure.lock();
        measure.observe(seen, &self.circumstances, live.in_flight().saturating_sub(1));
        live.estimate.store(Arc::new(measure.estimate()));
    }

    fn count(&self, good: bool, now: Timestamp) {
        self.offer.live.change_breaker(|breaker| breaker.record(good, self.probe, now));
    }

    fn busy(&self, retry_after: Option<std::time::Duration>, credit: bool, now: Timestamp) {
        self.forget_probe();
        if credit {
            // Its grants and our count differ: not overload, only a lost frame. A request that never left was
            // refused by nobody but us.
            if self.reached {
                telemetry().credits_refused.increment(1);
                self.offer.node.refused();
            }
            return;
        }
        self.offer.node.overloaded(now);
        if let Some(wait) = retry_after {
            // Bounded: a node cannot shut itself out for longer than a minute by one header.
            self.offer.node.close_until(now.plus(wait.min(std::time::Duration::from_secs(60))));
        }
    }

    fn forget_probe(&self) {
        if self.probe {
            self.offer.live.change_breaker(Breaker::forget_probe);
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if !self.told {
            self.forget_probe();
        }
        self.offer.live.in_flight.fetch_sub(1, Ordering::AcqRel);
        self.offer.node.end(self.dispatch, self.reached);
        self.rooms.room_freed();
    }
}

//! Who may send how much to this engine: a pure state machine, told the time and asked what to do.
//!
//! Every gateway replica holds a cumulative limit: it may dispatch weight `w` while what it sent
//! plus `w` stays within the limit. The sum over all replicas of limit minus what has finished never
//! passes the engine's slots, and a dispatch beyond it is refused at once. So nothing is ever
//! over-committed, however late, often or out of order the frames of either side arrive.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use protocol::Timestamp;

/// Weight a replica says is running but which never shows up here is written off after this long:
/// far longer than a dispatch spends on the way.
const GHOST_GRACE: Duration = Duration::from_secs(2);
/// Dispatches whose numbers are missing below one that arrived, for this long, were lost on the way.
const LOSS_WINDOW: Duration = Duration::from_secs(5);
/// Demand counts half after each of these.
const DEMAND_WINDOW: Duration = Duration::from_secs(5);
/// Time between two recalls to one replica: it answers within a round trip, and idle ones by themselves.
const RECALL_INTERVAL: Duration = Duration::from_millis(500);

/// The name of a gateway replica, as its control stream gave it.
pub type ReplicaName = Arc<str>;

/// The credits of one engine.
#[derive(Debug)]
pub struct Credits {
    slots: u64,
    seed: u64,
    accepting: bool,
    epoch: u64,
    /// Weight still running that no replica holds: without credit, or of a replica that is gone.
    orphans: u64,
    replicas: BTreeMap<ReplicaName, Replica>,
}

#[derive(Debug)]
struct Replica {
    /// Counters belong to one hello; slots remember which.
    epoch: u64,
    /// The first hello since the replica came; slots older than that are orphans.
    born: u64,
    limit: u64,
    /// What was received since the hello, finished or refused, and what it restated that has ended.
    finished: u64,
    received: u64,
    /// The highest dispatch number seen since the hello.
    seen: u64,
    /// What the hello said was running and has not ended yet.
    restated: u64,
    restated_at: Timestamp,
    /// Running here from before the hello.
    carried: u64,
    /// Running here since the hello.
    running: u64,
    want: u64,
    /// What it is offered at most: what it kept when it last gave credits back.
    cap: u64,
    recall: u64,
    recalled_at: Option<Timestamp>,
    /// Least weight that was missing ever since anything was, and since when. The order of arrival is not the
    /// order of dispatch, so what is missing now may be missing for a moment only.
    missing: Option<(u64, Timestamp)>,
    window_at: Timestamp,
    /// Weight dispatched lately, halved each window: demand.
    demand: u64,
}

/// An admitted dispatch. Give it back with [`Credits::finish`].
#[derive(Debug)]
#[must_use]
pub struct Slot {
    replica: Option<ReplicaName>,
    epoch: u64,
    weight: u64,
}

/// A dispatch beyond what was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// What a control stream should be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outgoing {
    /// The replica's limit.
    pub limit: u64,
    /// The highest dispatch number seen.
    pub seen: u64,
    /// Which hello the limit belongs to.
    pub epoch: u64,
    /// Credits asked back; zero for none.
    pub recall: u64,
    /// What it may still send.
    pub available: u64,
}

impl Replica {
    /// Weight this replica occupies: what it may still have running, and what it forgot it has.
    fn held(&self) -> u64 {
        let known = self.running + self.carried.min(self.restated);
        self.limit.saturating_sub(self.finished).max(known) + self.carried.saturating_sub(self.restated)
    }

    fn available(&self) -> u64 {
        self.limit.saturating_sub(self.received)
    }

    /// Takes note of what lies below the highest number seen and has not come.
    fn note_missing(&mut self, now: Timestamp) {
        let missing = self.seen.saturating_sub(self.received);
        self.missing = match self.missing {
            _ if missing == 0 => None,
            Some((least, since)) => Some((least.min(missing), since)),
            None => Some((missing, now)),
        };
    }

    fn unmet(&self) -> u64 {
        self.want.saturating_sub(self.available())
    }
}

impl Credits {
    /// An engine of `slots`; `seed` decides who comes first where replicas are many and slots few.
    #[must_use]
    pub fn new(slots: u32, seed: u64) -> Self {
        Self { slots: u64::from(slots), seed, accepting: true, epoch: 0, orphans: 0, replicas: BTreeMap::new() }
    }

    /// The engine's size.
    #[must_use]
    pub fn slots(&self) -> u64 {
        self.slots
    }

    /// Changes the engine's size. Credits already granted run out by themselves.
    pub fn set_slots(&mut self, slots: u32) {
        self.slots = u64::from(slots);
        self.replicas.values_mut().for_each(|replica| replica.cap = self.slots);
        self.grant();
    }

    /// Starts or stops granting and admitting.
    pub fn set_accepting(&mut self, accepting: bool) {
        self.accepting = accepting;
        self.grant();
    }

    /// Everything occupied: never above the slots, unless those were just lowered.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.orphans + self.replicas.values().map(Replica::held).sum::<u64>()
    }

    /// Weight running now.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.orphans + self.replicas.values().map(|replica| replica.running + replica.carried).sum::<u64>()
    }

    /// A control stream was opened, with this much weight still running by the replica's own count.
    /// Counters start over.
    pub fn hello(&mut self, name: &ReplicaName, running: u64, now: Timestamp) {
        self.epoch += 1;
        let (epoch, slots) = (self.epoch, self.slots);
        let others: u64 = self.replicas.iter().filter(|(other, _)| *other != name).map(|(_, r)| r.held()).sum();
        let old = self.replicas.remove(name);
        let carried = old.as_ref().map_or(0, |old| old.running + old.carried);
        // A replica can't claim more than there is room for, whatever it says.
        let room = slots.saturating_sub(others + self.orphans).max(carried);
        let restated = running.min(room);
        let fresh = Replica {
            epoch,
            born: old.as_ref().map_or(epoch, |old| old.born),
            limit: running,
            finished: running - restated,
            received: running,
            seen: 0,
            restated,
            restated_at: now,
            carried,
            running: 0,
            want: 0,
            cap: slots,
            recall: 0,
            recalled_at: None,
            missing: None,
            window_at: now,
            demand: old.map_or(0, |old| old.demand),
        };
        self.replicas.insert(name.clone(), fresh);
        self.grant();
    }

    /// The replica's last tunnel is gone: its credits are void.
    pub fn void(&mut self, name: &str) {
        if let Some(gone) = self.replicas.remove(name) {
            self.orphans += gone.running + gone.carried;
            self.grant();
        }
    }

    /// The replica lowered its own limit.
    pub fn yielded(&mut self, name: &str, limit: u64) {
        if let Some(replica) = self.replicas.get_mut(name) {
            // Never below what has arrived, never up: a late frame can mint nothing.
            replica.limit = limit.max(replica.received).min(replica.limit);
            replica.cap = replica.held().max(1);
            replica.recall = 0;
            self.grant();
        }
    }

    /// The replica has this much weight waiting.
    pub fn wanted(&mut self, name: &str, weight: u64, now: Timestamp) {
        let slots = self.slots;
        if let Some(replica) = self.replicas.get_mut(name) {
            replica.want = weight.min(slots);
            if weight > 0 {
                replica.cap = slots;
            }
            self.grant();
            self.recall(now);
        }
    }

    /// A dispatch arrived from a replica with a control stream.
    ///
    /// # Errors
    /// [`Refused`] when it goes beyond the limit; the weight then counts as finished.
    pub fn admit(
        &mut self,
        name: &ReplicaName,
        number: Option<u64>,
        weight: u64,
        now: Timestamp,
    ) -> Result<Slot, Refused> {
        let full = self.in_flight().saturating_add(weight) > self.slots;
        let (slots, accepting) = (self.slots, self.accepting);
        let Some(replica) = self.replicas.get_mut(name) else {
            return self.admit_uncredited(weight);
        };
        if weight > slots {
            // No limit will ever cover it, so it is not counted either.
            return Err(Refused);
        }
        replica.received = replica.received.saturating_add(weight);
        replica.demand = replica.demand.saturating_add(weight);
        let number = number.unwrap_or(replica.received);
        replica.seen = replica.seen.max(number.min(replica.limit.max(replica.received)));
        replica.note_missing(now);
        replica.want = replica.want.saturating_sub(weight);
        let refused = full || !accepting || replica.received > replica.limit;
        if refused {
            replica.finished = replica.finished.saturating_add(weight);
        } else {
            replica.running += weight;
        }
        if replica.available() <= 1 {
            replica.cap = slots;
        }
        let slot = Slot { replica: Some(name.clone()), epoch: replica.epoch, weight };
        self.grant();
        self.recall(now);
        if refused { Err(Refused) } else { Ok(slot) }
    }

    /// A dispatch from somebody without a control stream: it takes what nobody was granted.
    ///
    /// # Errors
    /// [`Refused`] when nothing is left.
    pub fn admit_uncredited(&mut self, weight: u64) -> Result<Slot, Refused> {
        if !self.accepting || self.used().saturating_add(weight) > self.slots {
            return Err(Refused);
        }
        self.orphans += weight;
        Ok(Slot { replica: None, epoch: 0, weight })
    }

    /// A dispatch ended, however it ended.
    pub fn finish(&mut self, slot: Slot, now: Timestamp) {
        let Slot { replica, epoch, weight } = slot;
        match replica.and_then(|name| self.replicas.get_mut(&name)) {
            Some(replica) if replica.epoch == epoch => {
                replica.running -= weight;
                replica.finished += weight;
            }
            Some(replica) if replica.born <= epoch => {
                replica.carried -= weight;
                let ended = weight.min(replica.restated);
                replica.restated -= ended;
                replica.finished += ended;
            }
            _ => self.orphans -= weight,
        }
        self.grant();
        self.recall(now);
    }

    /// Writes off what was lost on the way. Called every second or so.
    pub fn tick(&mut self, now: Timestamp) {
        for replica in self.replicas.values_mut() {
            if now.since(replica.restated_at) >= GHOST_GRACE {
                let ghosts = replica.restated.saturating_sub(replica.carried);
                replica.restated -= ghosts;
                replica.finished += ghosts;
            }
            if let Some((least, since)) = replica.missing
                && now.since(since) >= LOSS_WINDOW
            {
                let lost = least.min(replica.available());
                replica.received += lost;
                replica.finished += lost;
                replica.missing = None;
                replica.note_missing(now);
            }
            if now.since(replica.window_at) >= DEMAND_WINDOW {
                replica.demand /= 2;
                replica.window_at = now;
            }
        }
        self.grant();
        self.recall(now);
    }

    /// What to tell a replica; `None` before its hello. A recall is handed out once.
    pub fn outgoing(&mut self, name: &str) -> Option<Outgoing> {
        let replica = self.replicas.get_mut(name)?;
        let recall = std::mem::take(&mut replica.recall);
        Some(Outgoing {
            limit: replica.limit,
            seen: replica.seen,
            epoch: replica.epoch,
            recall,
            available: replica.available(),
        })
    }

    /// Hands out what is free, one at a time, to whoever is worth it most.
    fn grant(&mut self) {
        if !self.accepting {
            return;
        }
        let mut free = self.slots.saturating_sub(self.used());
        while free > 0 {
            let seed = self.seed;
            let open = self.replicas.iter_mut().filter(|(_, replica)| replica.held() < replica.cap.min(self.slots));
            let Some((_, best)) = open.max_by_key(|(name, replica)| {
                // Demand per credit, scaled so that small differences still show.
                let pull = replica.demand.saturating_mul(1_024) / (replica.available() + 1);
                (replica.unmet(), replica.available() == 0, pull, u64::MAX - replica.available(), rank(seed, name))
            }) else {
                return;
            };
            let before = best.held();
            best.limit = best.limit.max(best.finished) + 1;
            free -= best.held() - before;
        }
    }

    /// Asks for unused credits where somebody waits and nothing is free.
    fn recall(&mut self, now: Timestamp) {
        let free = self.slots.saturating_sub(self.used());
        let starving = |replica: &&Replica| replica.unmet() > 0 || (replica.held() == 0 && replica.cap > 0);
        let needed: u64 = self.replicas.values().filter(starving).map(|replica| replica.unmet().max(1)).sum();
        if !self.accepting || free > 0 || needed == 0 {
            return;
        }
        let rested = |replica: &Replica| replica.recalled_at.is_none_or(|at| now.since(at) >= RECALL_INTERVAL);
        let idle = |replica: &Replica| if replica.want > 0 { 0 } else { replica.available().saturating_sub(1) };
        let richest = self.replicas.values_mut().filter(|replica| rested(replica)).max_by_key(|replica| idle(replica));
        if let Some(richest) = richest.filter(|replica| idle(replica) > 0) {
            richest.recall = needed.min(idle(richest));
            richest.recalled_at = Some(now);
        }
    }
}

/// The node's own order of replicas: each node draws another one, so they don't all favour the same.
fn rank(seed: u64, name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, name).hash(&mut hasher);
    hasher.finish()
}

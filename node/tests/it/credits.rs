//! Credits against a model of a lossy world: whatever arrives, and whenever, slots are never over-committed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use node::credit::{Credits, ReplicaName, Slot};
use proptest::collection::vec;
use proptest::prelude::*;
use protocol::Timestamp;

#[derive(Debug, Clone)]
enum Op {
    Hello {
        replica: usize,
        running: u64,
    },
    /// A dispatch the replica believes it may send, or one it just sends; lost or delivered.
    Dispatch {
        replica: usize,
        weight: u64,
        honest: bool,
        lost: bool,
    },
    Finish {
        which: usize,
    },
    Yield {
        replica: usize,
        limit: u64,
    },
    Want {
        replica: usize,
        weight: u64,
    },
    /// The replica reads its limit, or misses it.
    Read {
        replica: usize,
    },
    LastTunnelLost {
        replica: usize,
    },
    Uncredited {
        weight: u64,
    },
    Wait {
        ms: u64,
    },
    Drain(bool),
}

fn op() -> impl Strategy<Value = Op> {
    let replica = 0..3_usize;
    prop_oneof![
        2 => (replica.clone(), 0..12_u64).prop_map(|(replica, running)| Op::Hello { replica, running }),
        8 => (replica.clone(), 1..4_u64, prop::bool::weighted(0.9), prop::bool::weighted(0.1))
            .prop_map(|(replica, weight, honest, lost)| Op::Dispatch { replica, weight, honest, lost }),
        8 => any::<usize>().prop_map(|which| Op::Finish { which }),
        2 => (replica.clone(), 0..40_u64).prop_map(|(replica, limit)| Op::Yield { replica, limit }),
        2 => (replica.clone(), 0..12_u64).prop_map(|(replica, weight)| Op::Want { replica, weight }),
        6 => replica.clone().prop_map(|replica| Op::Read { replica }),
        1 => replica.prop_map(|replica| Op::LastTunnelLost { replica }),
        1 => (1..3_u64).prop_map(|weight| Op::Uncredited { weight }),
        3 => (1..8_000_u64).prop_map(|ms| Op::Wait { ms }),
        1 => any::<bool>().prop_map(Op::Drain),
    ]
}

/// What a replica believes.
#[derive(Default, Clone, Copy)]
struct Replica {
    sent: u64,
    limit: u64,
}

struct World {
    credits: Credits,
    now: Timestamp,
    names: Vec<ReplicaName>,
    replicas: HashMap<usize, Replica>,
    running: Vec<(Slot, u64)>,
}

impl World {
    fn new(slots: u32) -> Self {
        Self {
            credits: Credits::new(slots, 7),
            now: Timestamp::from_unix_seconds(1_000),
            names: (0..3).map(|n| Arc::from(format!("replica-{n}"))).collect(),
            replicas: HashMap::new(),
            running: Vec::new(),
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Hello { replica, running } => {
                self.credits.hello(&self.names[replica], running, self.now);
                self.replicas.insert(replica, Replica { sent: running, limit: running });
            }
            Op::Dispatch { replica, weight, honest, lost } => self.dispatch(replica, weight, honest, lost),
            Op::Finish { which } => {
                if !self.running.is_empty() {
                    let (slot, _) = self.running.swap_remove(which % self.running.len());
                    self.credits.finish(slot, self.now);
                }
            }
            Op::Yield { replica, limit } => self.credits.yielded(&self.names[replica], limit),
            Op::Want { replica, weight } => self.credits.wanted(&self.names[replica], weight, self.now),
            Op::Read { replica } => {
                if let (Some(told), Some(replica)) =
                    (self.credits.outgoing(&self.names[replica]), self.replicas.get_mut(&replica))
                {
                    replica.limit = replica.limit.max(told.limit);
                }
            }
            Op::LastTunnelLost { replica } => {
                self.credits.void(&self.names[replica]);
                self.replicas.remove(&replica);
            }
            Op::Uncredited { weight } => {
                if let Ok(slot) = self.credits.admit_uncredited(weight) {
                    self.running.push((slot, weight));
                }
            }
            Op::Wait { ms } => {
                self.now = self.now.plus(Duration::from_millis(ms));
                self.credits.tick(self.now);
            }
            Op::Drain(draining) => self.credits.set_accepting(!draining),
        }
    }

    fn dispatch(&mut self, replica: usize, weight: u64, honest: bool, lost: bool) {
        let Some(state) = self.replicas.get_mut(&replica) else { return };
        if honest && state.sent + weight > state.limit {
            return;
        }
        state.sent += weight;
        if lost {
            return;
        }
        let number = state.sent;
        if let Ok(slot) = self.credits.admit(&self.names[replica], Some(number), weight, self.now) {
            self.running.push((slot, weight));
        }
    }

    fn running(&self) -> u64 {
        self.running.iter().map(|(_, weight)| weight).sum()
    }
}

proptest! {
    /// What runs, and what may still come, never passes the slots, after any step of any story.
    #[test]
    fn slots_are_never_over_committed(slots in 1..12_u32, ops in vec(op(), 1..300)) {
        let mut world = World::new(slots);
        for op in &ops {
            world.apply(op);
            prop_assert!(world.credits.used() <= u64::from(slots), "{} used after {op:?}", world.credits.used());
            prop_assert_eq!(world.credits.in_flight(), world.running(), "after {:?}", op);
            prop_assert!(world.running() <= u64::from(slots));
        }
    }

    /// When everything has ended and losses are written off, the whole engine is for whoever asks.
    #[test]
    fn nothing_leaks(slots in 1..12_u32, ops in vec(op(), 1..200)) {
        let mut world = World::new(slots);
        ops.iter().for_each(|op| world.apply(op));
        while !world.running.is_empty() {
            world.apply(&Op::Finish { which: 0 });
        }
        for replica in 1..3 {
            world.apply(&Op::LastTunnelLost { replica });
        }
        world.apply(&Op::Drain(false));
        world.apply(&Op::Hello { replica: 0, running: 0 });
        let told = world.credits.outgoing("replica-0").unwrap();
        prop_assert_eq!(told.available, u64::from(slots));
    }
}

fn name(text: &str) -> ReplicaName {
    text.into()
}

const T0: Timestamp = Timestamp::from_unix_seconds(1_000);

#[test]
fn one_replica_gets_everything_and_gives_back_what_it_does_not_use() {
    let mut credits = Credits::new(8, 1);
    let a = name("a");
    credits.hello(&a, 0, T0);
    assert_eq!(credits.outgoing("a").unwrap().limit, 8);
    credits.yielded("a", 1);
    assert_eq!(credits.outgoing("a").unwrap().limit, 1, "not pushed back at it");
    let slot = credits.admit(&a, Some(1), 1, T0).unwrap();
    assert_eq!(credits.outgoing("a").unwrap().limit, 8, "its last one in use: there may be more to come");
    credits.finish(slot, T0);
    assert_eq!(credits.outgoing("a").unwrap().limit, 9);
}

#[test]
fn a_waiting_replica_comes_first_and_idle_credits_are_recalled_for_it() {
    let mut credits = Credits::new(4, 1);
    let (a, b) = (name("a"), name("b"));
    credits.hello(&a, 0, T0);
    credits.hello(&b, 0, T0);
    assert_eq!(credits.outgoing("b").unwrap().available, 0);
    credits.wanted("b", 2, T0);
    assert_eq!(credits.outgoing("a").unwrap().recall, 2);
    credits.yielded("a", 2);
    let told = credits.outgoing("b").unwrap();
    assert_eq!((told.available, credits.outgoing("a").unwrap().available), (2, 2));
}

#[test]
fn a_replica_that_left_has_its_slots_granted_elsewhere_once_its_work_is_gone() {
    let mut credits = Credits::new(2, 1);
    let (a, b) = (name("a"), name("b"));
    credits.hello(&a, 0, T0);
    let slot = credits.admit(&a, Some(1), 1, T0).unwrap();
    credits.hello(&b, 0, T0);
    credits.void("a");
    assert_eq!(credits.outgoing("b").unwrap().available, 1, "one still runs");
    credits.finish(slot, T0);
    assert_eq!(credits.outgoing("b").unwrap().available, 2);
}

#[test]
fn dispatches_lost_on_the_way_are_written_off() {
    let mut credits = Credits::new(2, 1);
    let a = name("a");
    credits.hello(&a, 0, T0);
    let later = T0.plus(Duration::from_secs(6));
    // The first was lost; the second shows it.
    let slot = credits.admit(&a, Some(2), 1, T0).unwrap();
    credits.finish(slot, T0);
    credits.tick(later);
    assert_eq!(credits.outgoing("a").unwrap().limit, 4);
}

#[test]
fn a_reopened_control_stream_starts_over_from_what_runs() {
    let mut credits = Credits::new(4, 1);
    let a = name("a");
    credits.hello(&a, 0, T0);
    let mut slots: Vec<Slot> = (1..=3).map(|n| credits.admit(&a, Some(n), 1, T0).unwrap()).collect();
    credits.hello(&a, 3, T0);
    let told = credits.outgoing("a").unwrap();
    assert_eq!((told.limit, told.available), (4, 1));
    credits.finish(slots.pop().unwrap(), T0);
    assert_eq!(credits.outgoing("a").unwrap().limit, 5);
    // What the replica restated and nobody runs is written off after a moment.
    credits.hello(&a, 3, T0);
    assert_eq!(credits.outgoing("a").unwrap().available, 1);
    credits.tick(T0.plus(Duration::from_secs(3)));
    assert_eq!(credits.outgoing("a").unwrap().available, 2);
}

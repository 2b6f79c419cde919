//! One node's slots under several replicas, with frames lost, late, repeated and reordered, and
//! streams that break: the node is never over-committed, and nothing unused is lost for good.

use std::time::Duration;

use proptest::prelude::*;
use protocol::Timestamp;
use protocol::load::{NodeFrame, ReplicaFrame};
use scheduler::credit::{Account, Cap, Dispatch};

use crate::world::START;

const REPLICAS: usize = 3;

/// A node as it must behave: it enforces what it granted.
struct Node {
    slots: u64,
    limit: [u64; REPLICAS],
    /// Weight that arrived, and that which is over; a refused dispatch is both at once.
    received: [u64; REPLICAS],
    finished: [u64; REPLICAS],
    running: [Vec<(u64, u64)>; REPLICAS],
}

impl Node {
    fn runs(&self, r: usize) -> u64 {
        self.running[r].iter().map(|(_, weight)| weight).sum()
    }

    fn committed(&self) -> u64 {
        (0..REPLICAS).map(|r| self.limit[r].saturating_sub(self.finished[r]).max(self.runs(r))).sum()
    }

    /// Raises a limit by so much that no more than `count` slots are newly committed.
    fn grant(&mut self, r: usize, count: u64) -> NodeFrame {
        let count = count.min(self.slots - self.committed());
        if count > 0 {
            self.limit[r] = self.limit[r].max(self.received[r]) + count;
        }
        NodeFrame::Limit { limit: self.limit[r] }
    }

    /// A dispatch beyond the grant is refused at once, never queued.
    fn arrive(&mut self, r: usize, ticket: u64, weight: u64) -> bool {
        let fits = self.received[r] + weight <= self.limit[r];
        self.received[r] += weight;
        if fits {
            self.running[r].push((ticket, weight));
        } else {
            self.finished[r] += weight;
        }
        fits
    }

    fn finish(&mut self, r: usize, ticket: u64) {
        if let Some(at) = self.running[r].iter().position(|(own, _)| *own == ticket) {
            self.finished[r] += self.running[r].swap_remove(at).1;
        }
    }

    fn on_frame(&mut self, r: usize, frame: ReplicaFrame) {
        match frame {
            // Both sides count anew from what really runs here.
            ReplicaFrame::Hello { .. } => {
                let runs = self.runs(r);
                (self.limit[r], self.received[r], self.finished[r]) = (runs, runs, 0);
            }
            ReplicaFrame::Yield { limit } => {
                self.limit[r] = self.limit[r].min(limit.max(self.received[r]));
            }
            ReplicaFrame::Want { .. } => {}
        }
    }
}

#[derive(Debug, Clone)]
enum Op {
    Grant(usize, u64),
    /// Deliver the nth frame in flight to the replica, and perhaps keep it to deliver again.
    Deliver(usize, prop::sample::Index, bool),
    Lose(usize, prop::sample::Index),
    Dispatch(usize, u32, bool),
    Finish(usize, prop::sample::Index),
    Recall(usize, u64),
    Reopen(usize),
    Idle(usize),
    Void(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let r = || 0..REPLICAS;
    let which = any::<prop::sample::Index>;
    prop_oneof![
        3 => (r(), 1..4_u64).prop_map(|(r, n)| Op::Grant(r, n)),
        4 => (r(), which(), any::<bool>()).prop_map(|(r, i, again)| Op::Deliver(r, i, again)),
        1 => (r(), which()).prop_map(|(r, i)| Op::Lose(r, i)),
        4 => (r(), 1..4_u32, prop::bool::weighted(0.8)).prop_map(|(r, w, reaches)| Op::Dispatch(r, w, reaches)),
        3 => (r(), which()).prop_map(|(r, i)| Op::Finish(r, i)),
        1 => (r(), 1..4_u64).prop_map(|(r, n)| Op::Recall(r, n)),
        1 => r().prop_map(Op::Reopen),
        1 => r().prop_map(Op::Idle),
        1 => r().prop_map(Op::Void),
    ]
}

struct World {
    node: Node,
    accounts: Vec<Account>,
    sessions: [u64; REPLICAS],
    in_flight: [Vec<(u64, NodeFrame)>; REPLICAS],
    held: [Vec<Dispatch>; REPLICAS],
    now: Timestamp,
}

impl World {
    fn new(slots: u64) -> Self {
        let node = Node {
            slots,
            limit: [0; REPLICAS],
            received: [0; REPLICAS],
            finished: [0; REPLICAS],
            running: Default::default(),
        };
        let account = || Account::new(true, Cap::new(1_000.0, 1_000, START), START);
        let mut world = Self {
            node,
            accounts: (0..REPLICAS).map(|_| account()).collect(),
            sessions: [0; REPLICAS],
            in_flight: Default::default(),
            held: Default::default(),
            now: START,
        };
        (0..REPLICAS).for_each(|r| world.reopen(r));
        world
    }

    /// A new stream: what ran over the old tunnel is cancelled there, and frames of the old one may
    /// still arrive.
    fn reopen(&mut self, r: usize) {
        for dispatch in std::mem::take(&mut self.held[r]) {
            self.accounts[r].end(dispatch, true);
            self.node.finish(r, dispatch.ticket);
        }
        let (session, hello) = self.accounts[r].open(self.now);
        self.sessions[r] = session;
        self.node.on_frame(r, hello);
    }

    fn apply(&mut self, op: &Op) {
        self.now = self.now.plus(Duration::from_secs(1));
        match op {
            Op::Grant(r, count) => {
                let frame = self.node.grant(*r, *count);
                self.in_flight[*r].push((self.sessions[*r], frame));
            }
            Op::Recall(r, count) => self.in_flight[*r].push((self.sessions[*r], NodeFrame::Recall { count: *count })),
            Op::Deliver(r, which, again) => {
                if self.in_flight[*r].is_empty() {
                    return;
                }
                let at = which.index(self.in_flight[*r].len());
                let (session, frame) = self.in_flight[*r][at];
                if !again {
                    self.in_flight[*r].remove(at);
                }
                if let Some(answer) = self.accounts[*r].on_frame(session, frame) {
                    self.node.on_frame(*r, answer);
                }
            }
            Op::Lose(r, which) => {
                if !self.in_flight[*r].is_empty() {
                    let at = which.index(self.in_flight[*r].len());
                    self.in_flight[*r].remove(at);
                }
            }
            Op::Dispatch(r, weight, reaches) => {
                let Some(dispatch) = self.accounts[*r].take(*weight, 10, self.now) else { return };
                if !reaches {
                    self.accounts[*r].end(dispatch, false);
                } else if self.node.arrive(*r, dispatch.ticket, u64::from(*weight)) {
                    self.held[*r].push(dispatch);
                } else {
                    // It reached the node, which counted it as over: so does the account.
                    self.accounts[*r].refused();
                    self.accounts[*r].end(dispatch, true);
                }
            }
            Op::Finish(r, which) => {
                if !self.held[*r].is_empty() {
                    let at = which.index(self.held[*r].len());
                    let dispatch = self.held[*r].swap_remove(at);
                    self.accounts[*r].end(dispatch, true);
                    self.node.finish(*r, dispatch.ticket);
                }
            }
            Op::Reopen(r) => self.reopen(*r),
            Op::Idle(r) => {
                self.now = self.now.plus(Duration::from_secs(10));
                if let Some(frame) = self.accounts[*r].idle(self.now) {
                    self.node.on_frame(*r, frame);
                }
            }
            Op::Void(r) => {
                self.accounts[*r].void();
                self.reopen(*r);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn slots_are_never_over_committed_and_never_lost(slots in 1..12_u64, ops in prop::collection::vec(op(), 1..200)) {
        let mut world = World::new(slots);
        for op in &ops {
            world.apply(op);
            prop_assert!(world.node.committed() <= slots, "after {op:?}");
            let running: u64 = (0..REPLICAS).map(|r| world.node.runs(r)).sum();
            prop_assert!(running <= slots, "after {op:?}");
            for r in 0..REPLICAS {
                prop_assert_eq!(world.accounts[r].in_flight() as usize, world.held[r].len());
            }
        }
        // When all is over every counter is zero, and every slot can be granted again.
        (0..REPLICAS).for_each(|r| world.reopen(r));
        for r in 0..REPLICAS {
            prop_assert_eq!((world.accounts[r].in_flight(), world.accounts[r].own()), (0, (0, 0)));
        }
        let frame = world.node.grant(0, slots);
        world.accounts[0].on_frame(world.sessions[0], frame);
        prop_assert_eq!(world.accounts[0].free_credit(), slots);
    }
}

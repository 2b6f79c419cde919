//! Both sides of the credits at once, the node's and the gateway's, in a world that loses dispatches without
//! a word: nothing is ever over-committed, and whatever was lost is given back.

use std::sync::Arc;
use std::time::Duration;

use node::credit::{Credits, ReplicaName, Slot};
use proptest::prelude::*;
use proptest::sample::Index;
use protocol::Timestamp;
use protocol::load::{Load, NodeFrame, ReplicaFrame};
use scheduler::credit::{Account, Cap, Dispatch};

const REPLICAS: usize = 2;
const START: Timestamp = Timestamp::from_unix_seconds(1_000);

/// What becomes of a dispatch that counts as sent.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Arrives,
    /// The gateway learns that it could not be sent.
    Unsent,
    /// Nobody learns anything: its caller left while it was on its way.
    Vanishes,
}

#[derive(Debug, Clone)]
enum Op {
    Dispatch(usize, u32, Fate),
    Finish(Index),
    Want(usize, u64),
    Second,
}

fn op() -> impl Strategy<Value = Op> {
    let fate = prop_oneof![4 => Just(Fate::Arrives), 1 => Just(Fate::Unsent), 2 => Just(Fate::Vanishes)];
    prop_oneof![
        6 => (0..REPLICAS, 1..3_u32, fate).prop_map(|(r, weight, fate)| Op::Dispatch(r, weight, fate)),
        4 => any::<Index>().prop_map(Op::Finish),
        1 => (0..REPLICAS, 0..4_u64).prop_map(|(r, weight)| Op::Want(r, weight)),
        2 => Just(Op::Second),
    ]
}

struct World {
    credits: Credits,
    names: Vec<ReplicaName>,
    accounts: Vec<Account>,
    sessions: Vec<u64>,
    running: Vec<(usize, Dispatch, Slot)>,
    now: Timestamp,
}

impl World {
    fn new(slots: u32) -> Self {
        let account = |_| Account::new(true, Cap::new(1_000.0, 1_000, START), START);
        let mut world = Self {
            credits: Credits::new(slots, 7),
            names: (0..REPLICAS).map(|r| Arc::from(format!("replica-{r}"))).collect(),
            accounts: (0..REPLICAS).map(account).collect(),
            sessions: vec![0; REPLICAS],
            running: Vec::new(),
            now: START,
        };
        (0..REPLICAS).for_each(|r| world.open(r));
        world.talk();
        world
    }

    /// The control stream of a replica begins.
    fn open(&mut self, r: usize) {
        let (session, hello) = self.accounts[r].open(self.now);
        self.sessions[r] = session;
        self.hear(r, hello);
    }

    fn hear(&mut self, r: usize, frame: ReplicaFrame) {
        let name = &self.names[r];
        match frame {
            ReplicaFrame::Hello { running } => self.credits.hello(name, running, self.now),
            ReplicaFrame::Yield { limit } => self.credits.yielded(name, limit),
            ReplicaFrame::Want { weight } => self.credits.wanted(name, weight, self.now),
        }
    }

    /// Everything either side has to say, until there is nothing new.
    fn talk(&mut self) {
        for _ in 0..8 {
            for r in 0..REPLICAS {
                let told = self.credits.outgoing(&self.names[r]).unwrap();
                let mut frames = vec![
                    NodeFrame::Limit { limit: told.limit },
                    NodeFrame::Load(Load { seen: told.seen, ..Load::default() }),
                ];
                frames.extend((told.recall > 0).then_some(NodeFrame::Recall { count: told.recall }));
                for frame in frames {
                    if let Some(answer) = self.accounts[r].on_frame(self.sessions[r], frame) {
                        self.hear(r, answer);
                    }
                }
            }
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Dispatch(r, weight, fate) => self.dispatch(r, weight, fate),
            Op::Finish(which) if !self.running.is_empty() => self.finish(which.index(self.running.len())),
            Op::Finish(_) => {}
            Op::Want(r, weight) => self.want(r, weight),
            Op::Second => self.second(),
        }
        self.talk();
    }

    fn dispatch(&mut self, r: usize, weight: u32, fate: Fate) {
        let Some(dispatch) = self.accounts[r].take(weight, 10, self.now) else { return };
        match fate {
            Fate::Unsent => self.accounts[r].end(dispatch, false),
            Fate::Vanishes => self.accounts[r].end(dispatch, true),
            Fate::Arrives => {
                let (name, number) = (&self.names[r], Some(dispatch.number));
                match self.credits.admit(name, number, u64::from(weight), self.now) {
                    Ok(slot) => self.running.push((r, dispatch, slot)),
                    Err(_) => {
                        self.accounts[r].refused();
                        self.accounts[r].end(dispatch, true);
                    }
                }
            }
        }
    }

    fn finish(&mut self, which: usize) {
        let (r, dispatch, slot) = self.running.swap_remove(which);
        self.accounts[r].end(dispatch, true);
        self.credits.finish(slot, self.now);
    }

    fn want(&mut self, r: usize, weight: u64) {
        if let Some(frame) = self.accounts[r].want(weight) {
            self.hear(r, frame);
        }
    }

    /// A second passes, and both sides look after their counters.
    fn second(&mut self) {
        self.now = self.now.plus(Duration::from_secs(1));
        self.credits.tick(self.now);
        for r in 0..REPLICAS {
            if let Some(frame) = self.accounts[r].idle(self.now) {
                self.hear(r, frame);
            }
            if self.accounts[r].is_adrift(self.now) {
                self.open(r);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn dispatches_that_vanish_cost_a_node_no_slot_for_good(slots in 1..6_u32, ops in prop::collection::vec(op(), 1..80)) {
        let mut world = World::new(slots);
        for op in &ops {
            world.apply(op);
            prop_assert!(world.credits.used() <= u64::from(slots), "after {op:?}");
        }
        while !world.running.is_empty() {
            world.finish(0);
        }
        // Somebody waits for all of it, and for nothing else.
        world.want(1, 0);
        let mut most = 0;
        for _ in 0..40 {
            world.want(0, u64::from(slots));
            world.apply(&Op::Second);
            most = most.max(world.accounts[0].free_credit());
        }
        let free: u64 = world.accounts.iter().map(Account::free_credit).sum();
        prop_assert_eq!(world.credits.used(), free, "nothing is kept for what will never come");
        // The other replica keeps one at most, for its next request.
        prop_assert!(most + 1 >= u64::from(slots), "{most} of {slots}");
    }
}

#[test]
fn a_node_with_one_slot_survives_the_loss_of_its_only_dispatch() {
    let mut world = World::new(1);
    let r = usize::from(world.accounts[0].free_credit() == 0);
    world.apply(&Op::Dispatch(r, 1, Fate::Vanishes));
    assert!(world.accounts.iter().all(|account| account.free_credit() == 0));
    (0..4).for_each(|_| world.apply(&Op::Second));
    assert_eq!(world.accounts.iter().map(Account::free_credit).sum::<u64>(), 1);
}

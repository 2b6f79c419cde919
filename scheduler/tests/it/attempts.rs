//! The attempt machine over all short histories, and over those that matter most.

use std::time::Duration;

use protocol::Timestamp;
use scheduler::attempt::classify::NodeFault;
use scheduler::attempt::{Candidate, FailureKind};
use scheduler::config::AttemptConfig;
use scheduler::{Action, Event, Machine, Outcome, Step};

use crate::world::{self, START};

fn candidates(from: u128, count: u128) -> Vec<Candidate> {
    let candidate = |n| Candidate {
        offer: world::offer_id(n),
        node: world::node_id(n),
        tunnel: true,
        first_content_s: 0.5,
        gap_s: 0.05,
    };
    (from..from + count).map(candidate).collect()
}

fn head(status: u16) -> Event {
    Event::Head { status, retry_after: None, credit: false }
}

const CONTENT: Event = Event::Content { tokens: 1 };
const END: Event = Event::End { finished: true };
const CUT: Event = Event::End { finished: false };

/// Drives a machine and checks what must always hold.
struct Driver {
    machine: Machine,
    now: Timestamp,
    plans: u128,
    most_plans: u128,
    dispatched: u32,
    ended: u32,
    skipped: u32,
    forwarded: u32,
    connected: bool,
    last: Option<Action>,
}

impl Driver {
    fn new(plan: u128, most_plans: u128) -> Self {
        let machine = Machine::new(AttemptConfig::default(), candidates(1, plan), START);
        let mut driver = Self {
            machine,
            now: START,
            plans: 1,
            most_plans,
            dispatched: 0,
            ended: 0,
            skipped: 0,
            forwarded: 0,
            connected: false,
            last: None,
        };
        let first = driver.machine.start(START);
        driver.take(first);
        driver
    }

    fn over(&self) -> bool {
        matches!(self.last, Some(Action::Finish | Action::Fail(_) | Action::Stop))
    }

    fn send(&mut self, event: Event) {
        if event == Event::Tick
            && let Some(deadline) = self.machine.deadline()
        {
            self.now = self.now.max(deadline);
        }
        let before = self.over();
        let running = self.dispatched > self.ended + self.skipped;
        if event == Event::NotAdmitted && running && !before && !self.connected {
            self.skipped += 1;
        }
        self.connected |= matches!(event, Event::Connected | Event::Content { .. }) || event == head(200);
        let step = self.machine.on(event, self.now);
        if before {
            assert_eq!(step, Step { action: Action::Stop, ended: None, blamed: None }, "it ended before");
            return;
        }
        self.take(step);
    }

    fn take(&mut self, step: Step) {
        self.ended += u32::from(step.ended.is_some());
        match &step.action {
            Action::Dispatch { attempt, .. } => {
                assert_eq!(self.forwarded, 0, "nothing is replaced once content was released");
                assert_eq!(*attempt + self.skipped, self.dispatched);
                self.dispatched += 1;
                self.connected = false;
                assert_eq!(self.dispatched, self.ended + self.skipped + 1, "one attempt at a time");
            }
            Action::Forward => self.forwarded += 1,
            Action::Finish => assert_eq!(self.forwarded, 1),
            Action::Fail(failure) => assert_eq!(failure.in_band, self.forwarded == 1),
            Action::Wait | Action::Replan | Action::Stop => {}
        }
        let replan = step.action == Action::Replan;
        self.last = Some(step.action);
        if replan {
            let plan = if self.plans < self.most_plans { candidates(100 * self.plans, 1) } else { Vec::new() };
            self.plans += 1;
            let next = self.machine.replanned(plan, self.now);
            self.take(next);
        }
    }
}

/// Every history of up to six of these events, with one, two and five offers, ends at most once,
/// never has two attempts at a time, and closes each it opened.
#[test]
fn every_short_history_keeps_its_promises() {
    let events = [
        Event::Connected,
        head(200),
        head(500),
        head(429),
        head(400),
        CONTENT,
        END,
        CUT,
        Event::Error(NodeFault::Reset),
        Event::Tick,
        Event::NotAdmitted,
        Event::Full,
        Event::ClientGone,
    ];
    for (plan, most_plans) in [(1, 1), (2, 2)] {
        for history in 0..events.len().pow(5) {
            walk(&events, history, 5, plan, most_plans);
        }
    }
    // Six deep over those that move the machine most.
    let moving = [head(200), head(500), head(400), CONTENT, END, Event::Tick, Event::ClientGone];
    for history in 0..moving.len().pow(6) {
        walk(&moving, history, 6, 5, 1);
    }
}

fn walk(events: &[Event], mut history: usize, length: usize, plan: u128, most_plans: u128) {
    let mut driver = Driver::new(plan, most_plans);
    for _ in 0..length {
        driver.send(events[history % events.len()]);
        history /= events.len();
    }
    if driver.over() {
        assert_eq!(driver.dispatched, driver.ended + driver.skipped, "every attempt is closed");
        assert_eq!(driver.machine.deadline(), None);
    }
    assert!(driver.dispatched - driver.skipped <= AttemptConfig::default().most_attempts);
    assert_eq!(driver.machine.records().len() as u32, driver.ended);
    // Left alone, it ends by its own timers.
    for _ in 0..12 {
        driver.send(Event::Tick);
    }
    assert!(driver.over(), "{:?}", driver.last);
    assert_eq!(driver.dispatched, driver.ended + driver.skipped);
}

#[test]
fn a_node_whose_last_room_went_to_somebody_else_may_be_planned_again() {
    let mut machine = Machine::new(AttemptConfig::default(), candidates(1, 1), START);
    let mut step = machine.start(START);
    let mut races = 0;
    while let Action::Dispatch { attempt, .. } = step.action {
        assert_eq!(attempt, 0, "what was never sent is no attempt");
        races += 1;
        assert_eq!(machine.on(Event::NotAdmitted, START).action, Action::Replan);
        step = machine.replanned(candidates(1, 1), START);
    }
    assert!(races > 10, "it gave up after {races} lost races");
    assert!(matches!(step.action, Action::Fail(failure) if failure.kind == FailureKind::NothingTried), "{step:?}");
}

#[test]
fn failures_before_the_first_content_are_silent() {
    let mut driver = Driver::new(4, 1);
    for event in [head(500), Event::Error(NodeFault::Refused), END, Event::Connected, head(200), CONTENT, CONTENT, END]
    {
        driver.send(event);
    }
    assert_eq!(driver.last, Some(Action::Finish));
    let outcomes: Vec<Outcome> = driver.machine.records().iter().map(|record| record.outcome).collect();
    assert_eq!(
        outcomes,
        [
            Outcome::NodeFault(NodeFault::Status(500)),
            Outcome::NodeFault(NodeFault::Refused),
            Outcome::NodeFault(NodeFault::Empty),
            Outcome::Completed,
        ]
    );
}

#[test]
fn after_the_first_content_a_failure_is_in_band() {
    for (event, code) in [
        (CUT, "provider_disconnected"),
        (Event::Error(NodeFault::InBand), "provider_disconnected"),
        (Event::Tick, "provider_timeout"),
    ] {
        let mut driver = Driver::new(4, 1);
        driver.send(head(200));
        driver.send(CONTENT);
        driver.send(event);
        let Some(Action::Fail(failure)) = driver.last else { panic!("{:?}", driver.last) };
        assert_eq!((failure.in_band, failure.status().1), (true, code));
        assert_eq!(driver.dispatched, 1);
    }
}

#[test]
fn the_callers_fault_needs_a_second_opinion() {
    let mut agreed = Driver::new(3, 1);
    agreed.send(head(400));
    assert_eq!(agreed.dispatched, 2, "another one is asked");
    agreed.send(head(422));
    let Some(Action::Fail(failure)) = agreed.last else { panic!("{:?}", agreed.last) };
    assert_eq!(failure.kind, FailureKind::Caller { status: 400 });

    let mut alone = Driver::new(1, 1);
    alone.send(head(413));
    let Some(Action::Fail(failure)) = alone.last else { panic!("{:?}", alone.last) };
    assert_eq!(failure.status().0, 413, "nobody else is eligible");
}

#[test]
fn a_refusal_that_another_contradicts_was_the_nodes_own_fault() {
    let mut machine = Machine::new(AttemptConfig::default(), candidates(1, 2), START);
    machine.start(START);
    machine.on(head(400), START);
    machine.on(head(200), START);
    let step = machine.on(CONTENT, START);
    assert_eq!((step.action, step.blamed), (Action::Forward, Some(world::offer_id(1))));
    assert_eq!(machine.on(END, START).action, Action::Finish);
}

#[test]
fn all_busy_is_429_with_the_soonest_wish() {
    let mut driver = Driver::new(2, 1);
    for seconds in [9, 4] {
        driver.send(Event::Head { status: 429, retry_after: Some(Duration::from_secs(seconds)), credit: false });
    }
    let Some(Action::Fail(failure)) = driver.last else { panic!("{:?}", driver.last) };
    assert_eq!(failure.kind, FailureKind::Busy { retry_after: Some(Duration::from_secs(4)) });
    assert_eq!(failure.status(), (429, "capacity_exhausted"));
}

#[test]
fn full_tunnels_are_nobodys_fault() {
    let mut driver = Driver::new(2, 1);
    for event in [Event::Connected, Event::Full, Event::Connected, Event::Full] {
        driver.send(event);
    }
    let outcomes: Vec<Outcome> = driver.machine.records().iter().map(|record| record.outcome).collect();
    assert_eq!(outcomes, [Outcome::Busy { retry_after: None, credit: true }; 2]);
    let Some(Action::Fail(failure)) = driver.last else { panic!("{:?}", driver.last) };
    assert_eq!(failure.kind, FailureKind::Busy { retry_after: None });
}

#[test]
fn a_plain_answer_says_so_in_what_it_showed() {
    let mut machine = Machine::new(AttemptConfig::default(), candidates(1, 1), START);
    machine.start(START);
    for event in [head(200), Event::Plain, CONTENT] {
        machine.on(event, START);
    }
    assert!(machine.on(END, START).ended.unwrap().plain);
}

#[test]
fn an_old_plan_is_made_anew() {
    let mut driver = Driver::new(3, 2);
    driver.now = START.plus(Duration::from_millis(300));
    driver.send(head(500));
    assert_eq!(driver.plans, 2);
    assert_eq!(driver.dispatched, 2);
}

#[test]
fn no_answer_is_tried_more_than_four_times_or_two_minutes() {
    let mut driver = Driver::new(5, 1);
    (0..5).for_each(|_| driver.send(head(500)));
    let Some(Action::Fail(failure)) = driver.last else { panic!("{:?}", driver.last) };
    assert_eq!((driver.dispatched, failure.status()), (4, (502, "provider_error")));

    let mut slow = Driver::new(1, 100);
    while !slow.over() {
        slow.send(head(200));
        slow.send(Event::Tick);
    }
    let Some(Action::Fail(failure)) = slow.last else { panic!("{:?}", slow.last) };
    assert_eq!(failure.status(), (504, "provider_timeout"));
    assert!(slow.now.since(START) <= Duration::from_secs(120));
}

#[test]
fn an_endless_answer_is_cut_after_fifteen_minutes() {
    let mut driver = Driver::new(1, 1);
    driver.send(head(200));
    while !driver.over() {
        driver.now = driver.now.plus(Duration::from_secs(1));
        driver.send(CONTENT);
        let step = driver.machine.on(Event::Tick, driver.now);
        driver.take(step);
    }
    assert_eq!(driver.now.since(START), Duration::from_secs(900));
    assert!(matches!(driver.machine.records()[0].outcome, Outcome::NodeFault(NodeFault::TotalTimeout)));
}

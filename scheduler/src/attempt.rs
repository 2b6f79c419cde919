//! One answer over one or more attempts, without I/O: events in, actions out.
//!
//! The head of the answer is withheld until real content has arrived. Before it a failed attempt is
//! replaced silently; after it the answer is bound to its node, and a failure is told in band.
//! Whoever drives the machine owns sockets and timers, and does what each [`Step`] says.

pub mod breaker;
pub mod classify;
pub mod deadline;
pub mod failure;
pub mod seed;

use std::time::Duration;

use protocol::{NodeId, OfferId, Timestamp};

use crate::config::AttemptConfig;
use crate::measure::{Observation, Outcome};
use classify::{NodeFault, StatusClass};
use deadline::Limits;
pub use failure::{Failure, FailureKind};

/// An offer that may be tried, with what is predicted of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Which offer.
    pub offer: OfferId,
    /// On which node.
    pub node: NodeId,
    /// Reached through a tunnel rather than by URL.
    pub tunnel: bool,
    /// Predicted seconds to the first content.
    pub first_content_s: f64,
    /// A long but ordinary silence between its tokens, in seconds.
    pub gap_s: f64,
}

/// What happened to the current attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// There was no credit after all; nothing was sent. Means nothing once a connection is open.
    NotAdmitted,
    /// A connection or stream is open.
    Connected,
    /// The status line arrived.
    Head {
        /// HTTP status.
        status: u16,
        /// From its `retry-after`.
        retry_after: Option<Duration>,
        /// It carried `x-steelyard-refused: credit`.
        credit: bool,
    },
    /// Every tunnel of the node carries as many streams as we open: nothing was sent, and nobody is to blame.
    Full,
    /// The answer comes whole rather than as a stream: its first content will be its last.
    Plain,
    /// Text, reasoning or a fragment of a tool call. A role or an empty delta is not content.
    Content {
        /// Tokens in it.
        tokens: u32,
    },
    /// The body ended.
    End {
        /// With a finish reason and the terminal event; else it was cut off.
        finished: bool,
    },
    /// The transport failed, or what was sent is no answer.
    Error(NodeFault),
    /// A deadline may have passed.
    Tick,
    /// The client left.
    ClientGone,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Wait for the next event, or for [`Machine::deadline`] and then send [`Event::Tick`].
    Wait,
    /// Drop the attempt before, if any, and send the request to this offer.
    Dispatch {
        /// Index into the candidates given last.
        index: usize,
        /// Counts from zero over the whole answer.
        attempt: u32,
        /// Its timers, for who wants to show them.
        limits: Limits,
    },
    /// Ask for a new placement without [`Machine::tried`], then call [`Machine::replanned`].
    Replan,
    /// Real content is here: the head may go to the client, and all that follows.
    Forward,
    /// The answer is whole.
    Finish,
    /// No attempt can succeed any more.
    Fail(Failure),
    /// Nothing more: the client is gone or the answer ended before.
    Stop,
}

/// What to do, and what the attempt that just ended has shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What to do next.
    pub action: Action,
    /// For the admission of the attempt that ended with this event.
    pub ended: Option<Observation>,
    /// An earlier offer whose refusal of the request turned out to be its own fault.
    pub blamed: Option<OfferId>,
}

/// One attempt, for explanations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Record {
    /// Which offer.
    pub offer: OfferId,
    /// On which node.
    pub node: NodeId,
    /// How it ended.
    pub outcome: Outcome,
    /// From dispatch to end.
    pub elapsed: Duration,
}

#[derive(Debug)]
struct Running {
    candidate: Candidate,
    limits: Limits,
    started: Timestamp,
    connected: bool,
    first_content: Option<Timestamp>,
    last_content: Timestamp,
    longest_gap: Duration,
    tokens: u32,
    plain: bool,
}

#[derive(Debug)]
enum State {
    /// Between attempts: a plan is asked for.
    Planning,
    Running(Running),
    Done,
}

/// How often the last room on a node may go to somebody else before the node counts as tried: each time
/// another request was served with it, so nobody spins, and a burst waits in its room instead of failing.
const MOST_RACES_LOST: u32 = 16;

/// Drives one answer to exactly one end.
#[derive(Debug)]
pub struct Machine {
    config: AttemptConfig,
    candidates: Vec<Candidate>,
    planned_at: Timestamp,
    next: usize,
    started: Timestamp,
    attempts: u32,
    state: State,
    tried: Vec<NodeId>,
    records: Vec<Record>,
    refusal: Option<(OfferId, u16)>,
    races_lost: u32,
}

impl Machine {
    /// A machine with an ordered list of offers, decided at `now`. Call [`Machine::start`] next.
    #[must_use]
    pub fn new(config: AttemptConfig, candidates: Vec<Candidate>, now: Timestamp) -> Self {
        Self {
            config,
            candidates,
            planned_at: now,
            next: 0,
            started: now,
            attempts: 0,
            state: State::Planning,
            tried: Vec::new(),
            records: Vec::new(),
            refusal: None,
            races_lost: 0,
        }
    }

    /// The first step.
    pub fn start(&mut self, now: Timestamp) -> Step {
        self.another(None, now)
    }

    /// Nodes that must not be tried again.
    #[must_use]
    pub fn tried(&self) -> &[NodeId] {
        &self.tried
    }

    /// The attempts that ended so far.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// True from the first released content on.
    #[must_use]
    pub fn released(&self) -> bool {
        matches!(&self.state, State::Running(Running { first_content: Some(_), .. }))
    }

    /// When to send [`Event::Tick`] if nothing else happens; `None` once all is over.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        let total = self.started.plus(ms(self.config.total_ms));
        match &self.state {
            State::Done => None,
            State::Planning => Some(total.min(self.first_content_end())),
            State::Running(run) => Some(total.min(match run.first_content {
                Some(_) => run.last_content.plus(run.limits.gap),
                None if run.connected => run.started.plus(run.limits.first_content).min(self.first_content_end()),
                None => run.started.plus(run.limits.connect).min(self.first_content_end()),
            })),
        }
    }

    /// A new plan after [`Action::Replan`]; empty when nobody else is eligible.
    pub fn replanned(&mut self, mut candidates: Vec<Candidate>, now: Timestamp) -> Step {
        if !matches!(self.state, State::Planning) {
            return self.step(Action::Stop);
        }
        // A plan of nodes already tried is no plan: asking again would never end.
        candidates.retain(|candidate| !self.tried.contains(&candidate.node));
        if candidates.is_empty() {
            return self.fail(None);
        }
        (self.candidates, self.next, self.planned_at) = (candidates, 0, now);
        self.another(None, now)
    }

    /// Takes an event of the current attempt. After the end every event is answered with [`Action::Stop`].
    pub fn on(&mut self, event: Event, now: Timestamp) -> Step {
        match &mut self.state {
            State::Done => self.step(Action::Stop),
            State::Planning => match event {
                Event::ClientGone => self.stop(),
                Event::Tick if self.deadline().is_some_and(|end| now >= end) => self.fail(None),
                _ => self.step(Action::Wait),
            },
            State::Running(run) => match event {
                Event::NotAdmitted if run.connected => self.step(Action::Wait),
                Event::NotAdmitted => self.skip(now),
                Event::Connected => {
                    run.connected = true;
                    self.step(Action::Wait)
                }
                // Means nothing once content came: then there was a stream.
                Event::Full if run.first_content.is_some() => self.step(Action::Wait),
                Event::Full => {
                    let ended = self.close(Outcome::Busy { retry_after: None, credit: true }, now);
                    self.another(ended, now)
                }
                Event::Plain => {
                    run.plain = true;
                    self.step(Action::Wait)
                }
                // A second head is no answer; released content can't be taken back for its sake.
                Event::Head { .. } if run.first_content.is_some() => self.broken(NodeFault::Malformed, now),
                Event::Head { status, retry_after, credit } => self.head(status, retry_after, credit, now),
                Event::Content { tokens } => self.content(tokens, now),
                Event::End { finished } => self.end(finished, now),
                Event::Error(fault) => self.broken(fault, now),
                Event::Tick => self.tick(now),
                Event::ClientGone => {
                    let ended = self.close(Outcome::Cancelled, now);
                    Step { ended, ..self.stop() }
                }
            },
        }
    }

    fn head(&mut self, status: u16, retry_after: Option<Duration>, credit: bool, now: Timestamp) -> Step {
        let outcome = match classify::status(status, retry_after, credit) {
            StatusClass::Good => {
                if let State::Running(run) = &mut self.state {
                    run.connected = true;
                }
                return self.step(Action::Wait);
            }
            StatusClass::Node(fault) => return self.broken(fault, now),
            StatusClass::Busy { retry_after, credit } => Outcome::Busy { retry_after, credit },
            StatusClass::Caller(status) => return self.refused(status, now),
        };
        let ended = self.close(outcome, now);
        self.another(ended, now)
    }

    /// One node's word is not enough: another one has to agree before the caller sees it.
    fn refused(&mut self, status: u16, now: Timestamp) -> Step {
        let offer = self.current();
        let ended = self.close(Outcome::CallerFault { status }, now);
        if self.refusal.is_some() {
            return self.fail(ended);
        }
        self.refusal = offer.map(|offer| (offer, status));
        self.another(ended, now)
    }

    fn content(&mut self, tokens: u32, now: Timestamp) -> Step {
        let State::Running(run) = &mut self.state else { return self.step(Action::Wait) };
        run.connected = true;
        run.tokens = run.tokens.saturating_add(tokens);
        if run.first_content.is_some() {
            run.longest_gap = run.longest_gap.max(now.since(run.last_content));
            run.last_content = now;
            return self.step(Action::Wait);
        }
        run.first_content = Some(now);
        run.last_content = now;
        let blamed = self.refusal.take().map(|(offer, _)| offer);
        Step { action: Action::Forward, ended: None, blamed }
    }

    fn end(&mut self, finished: bool, now: Timestamp) -> Step {
        match (finished, self.released()) {
            (true, true) => {
                let ended = self.close(Outcome::Completed, now);
                self.state = State::Done;
                Step { action: Action::Finish, ended, blamed: None }
            }
            (true, false) => self.broken(NodeFault::Empty, now),
            (false, _) => self.broken(NodeFault::Truncated, now),
        }
    }

    fn tick(&mut self, now: Timestamp) -> Step {
        if self.deadline().is_none_or(|end| now < end) {
            return self.step(Action::Wait);
        }
        let State::Running(run) = &self.state else { return self.step(Action::Wait) };
        let fault = if now >= self.started.plus(ms(self.config.total_ms)) {
            NodeFault::TotalTimeout
        } else if run.first_content.is_some() {
            NodeFault::GapTimeout
        } else if run.connected {
            NodeFault::FirstContentTimeout
        } else {
            NodeFault::ConnectTimeout
        };
        self.broken(fault, now)
    }

    /// The node failed: silently another one before the first content, in band after it.
    fn broken(&mut self, fault: NodeFault, now: Timestamp) -> Step {
        let released = self.released();
        let ended = self.close(Outcome::NodeFault(fault), now);
        if released {
            self.state = State::Done;
            let failure = Failure { kind: FailureKind::Node(fault), in_band: true };
            return Step { action: Action::Fail(failure), ended, blamed: None };
        }
        self.another(ended, now)
    }

    /// Nothing was sent: the next offer, without counting an attempt. A full node is not a failed one: a new
    /// plan may name it again once it has room.
    fn skip(&mut self, now: Timestamp) -> Step {
        if let State::Running(run) = &self.state {
            self.races_lost += 1;
            if self.races_lost > MOST_RACES_LOST {
                self.tried.push(run.candidate.node);
            }
            self.attempts -= 1;
        }
        self.state = State::Planning;
        self.another(None, now)
    }

    fn another(&mut self, ended: Option<Observation>, now: Timestamp) -> Step {
        let out_of_time = now >= self.first_content_end() || now >= self.started.plus(ms(self.config.total_ms));
        if self.attempts >= self.config.most_attempts || out_of_time {
            return self.fail(ended);
        }
        self.state = State::Planning;
        let fresh = now.since(self.planned_at) <= ms(self.config.plan_fresh_ms);
        while fresh && self.next < self.candidates.len() {
            let index = self.next;
            self.next += 1;
            let candidate = self.candidates[index];
            if self.tried.contains(&candidate.node) {
                continue;
            }
            return Step { action: self.dispatch(index, candidate, now), ended, blamed: None };
        }
        Step { action: Action::Replan, ended, blamed: None }
    }

    fn dispatch(&mut self, index: usize, candidate: Candidate, now: Timestamp) -> Action {
        let limits = Limits::new(&self.config, candidate.tunnel, candidate.first_content_s, candidate.gap_s);
        let attempt = self.attempts;
        self.attempts += 1;
        self.state = State::Running(Running {
            candidate,
            limits,
            started: now,
            connected: false,
            first_content: None,
            last_content: now,
            longest_gap: Duration::ZERO,
            tokens: 0,
            plain: false,
        });
        Action::Dispatch { index, attempt, limits }
    }

    /// Ends the current attempt and says what it has shown.
    fn close(&mut self, outcome: Outcome, now: Timestamp) -> Option<Observation> {
        let State::Running(run) = std::mem::replace(&mut self.state, State::Planning) else { return None };
        let elapsed = now.since(run.started);
        self.tried.push(run.candidate.node);
        self.records.push(Record { offer: run.candidate.offer, node: run.candidate.node, outcome, elapsed });
        Some(Observation {
            outcome,
            at: now,
            elapsed,
            first_content: run.first_content.map(|first| first.since(run.started)),
            generating: run.first_content.map_or(Duration::ZERO, |first| run.last_content.since(first)),
            longest_gap: run.longest_gap,
            output_tokens: run.tokens,
            plain: run.plain,
        })
    }

    fn fail(&mut self, ended: Option<Observation>) -> Step {
        self.state = State::Done;
        let kind = failure::sum_up(self.refusal.map(|(_, status)| status), &self.records);
        Step { action: Action::Fail(Failure { kind, in_band: false }), ended, blamed: None }
    }

    fn stop(&mut self) -> Step {
        self.state = State::Done;
        self.step(Action::Stop)
    }

    fn current(&self) -> Option<OfferId> {
        match &self.state {
            State::Running(run) => Some(run.candidate.offer),
            State::Planning | State::Done => None,
        }
    }

    fn first_content_end(&self) -> Timestamp {
        self.started.plus(ms(self.config.first_content_total_ms))
    }

    const fn step(&self, action: Action) -> Step {
        Step { action, ended: None, blamed: None }
    }
}

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

//! What this replica may dispatch to one node, and what it has dispatched.
//!
//! Slots belong to the node. It grants them as a cumulative limit: this replica may dispatch weight
//! `w` while `sent + w ≤ limit`. Lost, late or repeated frames cannot mint slots, and only the
//! replica lowers its own limit. A learned cap sits on top, so a boastful node gains nothing; for
//! direct nodes, which grant nothing, it is the only bound.

pub mod cap;

use std::time::Duration;

use protocol::Timestamp;
use protocol::load::{Load, NodeFrame, ReplicaFrame};

pub use cap::Cap;

/// Credits beyond one that lay unused this long are given back.
pub const IDLE_BEFORE_YIELD: Duration = Duration::from_secs(10);

/// Nothing runs, and for this long the node has not seen what was sent, or has granted nothing of what is wanted:
/// longer than any dispatch, report or grant is on its way.
pub const ADRIFT_AFTER: Duration = Duration::from_secs(2);
/// Least time between two restatements: a node whose slots are all elsewhere has nothing to restate.
const RESTATE_EVERY: Duration = Duration::from_secs(10);

/// Slots a request takes: long ones weigh several.
///
/// `tokens_per_slot` is the KV memory behind one slot; a request that fits takes one.
#[must_use]
pub fn weight(prompt_tokens: u32, output_p90: u32, tokens_per_slot: u32) -> u32 {
    prompt_tokens.saturating_add(output_p90).div_ceil(tokens_per_slot.max(1)).max(1)
}

/// One dispatch this replica has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dispatch {
    /// Unique within this account.
    pub ticket: u64,
    /// Cumulative weight sent in its session, this one included: its number on the wire.
    pub number: u64,
    /// Slots it takes.
    pub weight: u32,
    session: u64,
}

/// A dispatch the node's last report does not contain yet.
#[derive(Debug, Clone, Copy)]
struct Own {
    ticket: u64,
    number: u64,
    tokens: u32,
}

/// Credits, dispatches in flight and the learned cap of one node, as this replica knows them.
#[derive(Debug)]
pub struct Account {
    /// False for direct nodes, which grant no credits.
    metered: bool,
    session: u64,
    limit: u64,
    sent: u64,
    /// `sent` as the session began: the node never sees those numbers.
    base: u64,
    seen: u64,
    /// Dispatches that never left though newer ones may have: number and weight of each.
    unsent: Vec<(u64, u32)>,
    tickets: u64,
    in_flight: u32,
    in_flight_weight: u64,
    own: Vec<Own>,
    own_tokens: u64,
    cap: Cap,
    /// Least unused credit since `idle_since`.
    idle_least: u64,
    idle_since: Timestamp,
    /// What the node believes is waiting here; `None` once a dispatch was counted against it over there, or was lost.
    wanted: Option<u64>,
    adrift_since: Option<Timestamp>,
    restated_at: Option<Timestamp>,
}

impl Account {
    /// An account without any credit yet.
    #[must_use]
    pub fn new(metered: bool, cap: Cap, now: Timestamp) -> Self {
        Self {
            metered,
            session: 0,
            limit: 0,
            sent: 0,
            base: 0,
            seen: 0,
            unsent: Vec::new(),
            tickets: 0,
            in_flight: 0,
            in_flight_weight: 0,
            own: Vec::new(),
            own_tokens: 0,
            cap,
            idle_least: 0,
            idle_since: now,
            wanted: Some(0),
            adrift_since: None,
            restated_at: None,
        }
    }

    /// The control stream whose frames count now.
    #[must_use]
    pub const fn session(&self) -> u64 {
        self.session
    }

    /// Weight that may still be dispatched by credit alone.
    #[must_use]
    pub const fn free_credit(&self) -> u64 {
        if self.metered { self.limit.saturating_sub(self.sent) } else { u64::MAX }
    }

    /// Requests that may still be dispatched by the learned cap alone.
    #[must_use]
    pub fn free_cap(&self) -> u32 {
        self.cap.allowed().saturating_sub(self.in_flight)
    }

    /// Requests in flight from here.
    #[must_use]
    pub const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Requests and uncached prompt tokens sent from here that the last report does not contain.
    #[must_use]
    pub fn own(&self) -> (u32, u64) {
        (self.own.len() as u32, self.own_tokens)
    }

    /// The cap's own state, for its ceiling to be moved when declarations change.
    pub const fn cap_mut(&mut self) -> &mut Cap {
        &mut self.cap
    }

    /// Counts a dispatch, or returns `None` when there is no credit or the cap is reached.
    pub fn take(&mut self, weight: u32, tokens: u32, now: Timestamp) -> Option<Dispatch> {
        if self.free_credit() < u64::from(weight) || self.free_cap() == 0 {
            return None;
        }
        self.sent += u64::from(weight);
        self.tickets += 1;
        self.in_flight += 1;
        self.in_flight_weight += u64::from(weight);
        self.adrift_since = None;
        if self.wanted != Some(0) {
            self.wanted = None;
        }
        self.cap.used(self.in_flight, now);
        self.note_idle();
        self.own.push(Own { ticket: self.tickets, number: self.sent, tokens });
        self.own_tokens += u64::from(tokens);
        Some(Dispatch { ticket: self.tickets, number: self.sent, weight, session: self.session })
    }

    /// The node has read the prompt and answers: its tokens no longer queue. True when the cap rose for it.
    pub fn began(&mut self, dispatch: Dispatch) -> bool {
        if let Some(own) = self.own.iter_mut().find(|own| own.ticket == dispatch.ticket) {
            self.own_tokens -= u64::from(std::mem::take(&mut own.tokens));
        }
        self.cap.proved()
    }

    /// The dispatch is over. `reached` is false when the node cannot have seen it: then its credit
    /// was never used and returns; otherwise only the node gives slots back.
    pub fn end(&mut self, dispatch: Dispatch, reached: bool) {
        self.in_flight -= 1;
        self.in_flight_weight -= u64::from(dispatch.weight);
        if let Some(at) = self.own.iter().position(|own| own.ticket == dispatch.ticket) {
            let own = self.own.swap_remove(at);
            self.own_tokens -= u64::from(own.tokens);
        }
        if !reached && self.metered && dispatch.session == self.session {
            self.take_back(dispatch);
        }
    }

    /// Numbers are cumulative, so only the newest can be taken back at once. An older one waits for those
    /// after it: should any of them arrive, its number shows the node the gap, and the node gives it back.
    fn take_back(&mut self, dispatch: Dispatch) {
        self.unsent.push((dispatch.number, dispatch.weight));
        while let Some(at) = self.unsent.iter().position(|(number, _)| *number == self.sent) {
            self.sent -= u64::from(self.unsent.swap_remove(at).1);
        }
    }

    /// The node refused for want of credit: what we thought we had is not there.
    pub fn refused(&mut self) {
        self.limit = self.limit.min(self.sent);
    }

    /// A control stream was opened: counters start over on both sides, from what still runs.
    pub fn open(&mut self, now: Timestamp) -> (u64, ReplicaFrame) {
        self.session += 1;
        self.sent = self.in_flight_weight;
        self.limit = self.sent;
        self.base = self.sent;
        self.seen = 0;
        self.unsent.clear();
        self.adrift_since = None;
        // The node forgets what was wanted, too.
        self.wanted = Some(0);
        self.idle_least = 0;
        self.idle_since = now;
        // Still running, and part of whatever the node reports next.
        self.own.iter_mut().for_each(|own| own.number = 0);
        (self.session, ReplicaFrame::Hello { running: self.in_flight_weight })
    }

    /// The last tunnel is gone: the node grants its slots elsewhere at once, and what its control
    /// stream still says came too late.
    pub const fn void(&mut self) {
        self.limit = self.sent;
        self.session += 1;
    }

    /// Takes a frame of the control stream opened as `session`; older streams have no say.
    ///
    /// Returns what to answer, if anything.
    pub fn on_frame(&mut self, session: u64, frame: NodeFrame) -> Option<ReplicaFrame> {
        if session != self.session {
            return None;
        }
        match frame {
            NodeFrame::Limit { limit } => {
                self.limit = self.limit.max(limit);
                None
            }
            NodeFrame::Load(load) => {
                self.report(&load);
                None
            }
            NodeFrame::Recall { count } => self.give_back(count),
        }
    }

    /// Credits beyond one that lay unused for a while go back to the node. Called every second or so.
    pub fn idle(&mut self, now: Timestamp) -> Option<ReplicaFrame> {
        self.note_idle();
        if now.since(self.idle_since) < IDLE_BEFORE_YIELD {
            return None;
        }
        let spare = self.idle_least.saturating_sub(1);
        self.idle_since = now;
        self.idle_least = if self.metered { self.free_credit() } else { 0 };
        if spare == 0 { None } else { self.give_back(spare) }
    }

    /// States how much weight waits here for this node; `None` when that is no news.
    pub fn want(&mut self, weight: u64) -> Option<ReplicaFrame> {
        (self.metered && self.wanted.replace(weight) != Some(weight)).then_some(ReplicaFrame::Want { weight })
    }

    /// Whether both sides' counters have come apart, so that they must be restated on a new stream. Called
    /// every second or so.
    ///
    /// A dispatch that was lost after it had counted as sent shows at the next arrival. Where no other can
    /// come, because it took the last credit or nobody asks, nothing else would ever give it back.
    pub fn is_adrift(&mut self, now: Timestamp) -> bool {
        let lost = self.sent > self.seen.max(self.base);
        let starved = self.wanted.is_some_and(|weight| weight > 0) && self.free_credit() == 0;
        if !self.metered || self.in_flight > 0 || !(lost || starved) {
            self.adrift_since = None;
            return false;
        }
        let since = *self.adrift_since.get_or_insert(now);
        let rested = self.restated_at.is_none_or(|at| now.since(at) >= RESTATE_EVERY);
        let adrift = rested && now.since(since) >= ADRIFT_AFTER;
        if adrift {
            self.restated_at = Some(now);
        }
        adrift
    }

    fn give_back(&mut self, count: u64) -> Option<ReplicaFrame> {
        let unused = if self.metered { self.free_credit() } else { 0 };
        let count = count.min(unused);
        if count == 0 {
            return None;
        }
        self.limit -= count;
        self.idle_least = self.idle_least.min(self.free_credit());
        Some(ReplicaFrame::Yield { limit: self.limit })
    }

    /// Own increments up to the newest dispatch the node has seen are inside its report now, so
    /// they leave our own count exactly once. Reports that arrive late change nothing.
    fn report(&mut self, load: &Load) {
        if load.seen < self.seen {
            return;
        }
        self.seen = load.seen;
        let mut covered = 0;
        self.own.retain(|own| {
            let keep = own.number > load.seen;
            covered += if keep { 0 } else { u64::from(own.tokens) };
            keep
        });
        self.own_tokens -= covered;
        self.unsent.retain(|(number, _)| *number > load.seen);
    }

    fn note_idle(&mut self) {
        if self.metered {
            self.idle_least = self.idle_least.min(self.free_credit());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp::from_unix_seconds(1_000);

    fn at(seconds: u64) -> Timestamp {
        T0.plus(Duration::from_secs(seconds))
    }

    fn account() -> (Account, u64) {
        let mut account = Account::new(true, Cap::new(100.0, 100, T0), T0);
        let (session, hello) = account.open(T0);
        assert_eq!(hello, ReplicaFrame::Hello { running: 0 });
        (account, session)
    }

    #[test]
    fn nothing_is_dispatched_without_credit() {
        let (mut account, session) = account();
        assert!(account.take(1, 10, T0).is_none());
        account.on_frame(session, NodeFrame::Limit { limit: 3 });
        assert_eq!(account.take(2, 10, T0).unwrap().number, 2);
        assert!(account.take(2, 10, T0).is_none());
        assert_eq!(account.take(1, 10, T0).unwrap().number, 3);
    }

    #[test]
    fn what_waits_is_said_again_once_a_dispatch_has_counted_against_it() {
        let (mut account, session) = account();
        assert_eq!(account.want(0), None, "a node begins with that");
        assert_eq!(account.want(3), Some(ReplicaFrame::Want { weight: 3 }));
        assert_eq!(account.want(3), None, "no news");
        account.on_frame(session, NodeFrame::Limit { limit: 1 });
        let dispatch = account.take(1, 10, T0).unwrap();
        assert_eq!(account.want(3), Some(ReplicaFrame::Want { weight: 3 }), "the node counts two by now");
        account.end(dispatch, true);
        assert_eq!(account.want(0), Some(ReplicaFrame::Want { weight: 0 }));
        account.on_frame(session, NodeFrame::Limit { limit: 2 });
        account.take(1, 10, T0).unwrap();
        assert_eq!(account.want(0), None, "less than nothing is nothing");
    }

    #[test]
    fn late_and_repeated_limits_mint_nothing() {
        let (mut account, session) = account();
        for limit in [5, 3, 5, 1, 5] {
            account.on_frame(session, NodeFrame::Limit { limit });
        }
        assert_eq!(account.free_credit(), 5);
        let (next, _) = account.open(at(1));
        account.on_frame(session, NodeFrame::Limit { limit: 50 });
        assert_eq!(account.free_credit(), 0, "a frame of an older stream");
        account.on_frame(next, NodeFrame::Limit { limit: 2 });
        assert_eq!(account.free_credit(), 2);
    }

    #[test]
    fn a_report_takes_own_increments_out_exactly_once() {
        let (mut account, session) = account();
        account.on_frame(session, NodeFrame::Limit { limit: 10 });
        let first = account.take(1, 100, T0).unwrap();
        let second = account.take(1, 50, T0).unwrap();
        assert_eq!(account.own(), (2, 150));
        let load = |seen| NodeFrame::Load(Load { seen, running: 1, ..Load::default() });
        account.on_frame(session, load(first.number));
        assert_eq!(account.own(), (1, 50));
        account.on_frame(session, load(0));
        assert_eq!(account.own(), (1, 50), "an older report");
        account.began(second);
        assert_eq!(account.own(), (1, 0));
        account.end(first, true);
        account.end(second, true);
        assert_eq!((account.own(), account.in_flight(), account.free_credit()), ((0, 0), 0, 8));
    }

    #[test]
    fn a_dispatch_that_never_left_returns_its_credit() {
        let (mut account, session) = account();
        account.on_frame(session, NodeFrame::Limit { limit: 2 });
        let dispatch = account.take(2, 1, T0).unwrap();
        account.end(dispatch, false);
        assert_eq!(account.free_credit(), 2);
        let old = account.take(2, 1, T0).unwrap();
        account.open(T0);
        account.end(old, false);
        assert_eq!(account.free_credit(), 0, "an old session's credit is not this one's");
    }

    #[test]
    fn an_older_dispatch_that_never_left_waits_for_the_newer_ones() {
        let (mut account, session) = account();
        account.on_frame(session, NodeFrame::Limit { limit: 3 });
        let [first, second, third] = [1, 1, 1].map(|weight| account.take(weight, 1, T0).unwrap());
        account.end(first, false);
        assert_eq!(account.free_credit(), 0, "the node will see the gap when a newer one arrives");
        account.end(third, false);
        assert_eq!(account.free_credit(), 1);
        account.end(second, false);
        assert_eq!(account.free_credit(), 3, "none of them left");
        assert_eq!(account.take(1, 1, T0).unwrap().number, 1);
    }

    #[test]
    fn a_dispatch_lost_with_the_last_credit_is_noticed() {
        let (mut account, session) = account();
        account.on_frame(session, NodeFrame::Limit { limit: 1 });
        let lost = account.take(1, 1, T0).unwrap();
        assert!(!account.is_adrift(at(5)), "it may still arrive");
        account.end(lost, true);
        assert!(!account.is_adrift(at(6)) && !account.is_adrift(at(7)));
        assert!(account.is_adrift(at(8)));
        let (_, hello) = account.open(at(8));
        assert_eq!(hello, ReplicaFrame::Hello { running: 0 });
        assert!(!account.is_adrift(at(20)), "all is told");
    }

    #[test]
    fn a_node_that_has_seen_everything_is_not_adrift() {
        let (mut account, session) = account();
        account.on_frame(session, NodeFrame::Limit { limit: 1 });
        let dispatch = account.take(1, 1, T0).unwrap();
        account.end(dispatch, true);
        account.on_frame(session, NodeFrame::Load(Load { seen: 1, ..Load::default() }));
        (0..30).for_each(|second| assert!(!account.is_adrift(at(second))));
        account.want(1);
        let asked: Vec<u64> = (30..60).filter(|second| account.is_adrift(at(*second))).collect();
        assert_eq!(asked, [32, 42, 52], "who wants and gets nothing asks anew, but not all the time");
    }

    #[test]
    fn credits_beyond_one_come_back_after_ten_idle_seconds() {
        let (mut account, session) = account();
        account.on_frame(session, NodeFrame::Limit { limit: 8 });
        assert_eq!(account.idle(at(11)), None, "the first window saw no credit at its start");
        assert_eq!(account.idle(at(15)), None);
        assert_eq!(account.idle(at(22)), Some(ReplicaFrame::Yield { limit: 1 }));
        assert_eq!(account.idle(at(40)), None, "one is kept");
        assert!(account.take(1, 1, at(41)).is_some());
        assert!(account.take(1, 1, at(41)).is_none());
    }

    #[test]
    fn a_recall_is_answered_with_what_is_unused() {
        let (mut account, session) = account();
        account.on_frame(session, NodeFrame::Limit { limit: 4 });
        account.take(3, 1, T0).unwrap();
        assert_eq!(account.on_frame(session, NodeFrame::Recall { count: 9 }), Some(ReplicaFrame::Yield { limit: 3 }));
        assert_eq!(account.on_frame(session, NodeFrame::Recall { count: 9 }), None);
    }

    #[test]
    fn a_request_weighs_what_it_takes() {
        assert_eq!(weight(100, 100, 4_096), 1);
        assert_eq!(weight(4_096, 1, 4_096), 2);
        assert_eq!(weight(0, 0, 0), 1);
    }
}

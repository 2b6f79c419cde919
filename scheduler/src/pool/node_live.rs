//! What changes faster than a snapshot about one node: presence, load, credit, requests in flight.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use protocol::load::{Load, NodeFrame, ReplicaFrame};
use protocol::{NodeId, Timestamp};
use tokio::sync::Notify;

use crate::credit::{Account, Cap, Dispatch};

/// Most frames that may wait for a control stream to take them; older ones are superseded.
const OUTBOX: usize = 32;

/// One node's counters, shared by all snapshots. Readers on the placement path see atomics only;
/// the account behind the lock is touched by dispatches and frames, for nanoseconds.
#[derive(Debug)]
pub struct NodeLive {
    /// Which node.
    pub id: NodeId,
    tunnel: bool,
    tunnels: AtomicU32,
    heard_at: AtomicI64,
    /// The last heartbeat this replica took, and the last one that is stored, whoever took it.
    beat_at: AtomicI64,
    stored_beat_at: AtomicI64,
    draining: AtomicBool,
    closed_until: AtomicI64,
    /// Running, queued, backlog and free KV of the last report in one word.
    load: AtomicU64,
    load_at: AtomicI64,
    free_credit: AtomicU64,
    free_cap: AtomicU32,
    in_flight: AtomicU32,
    own_running: AtomicU32,
    own_tokens: AtomicU64,
    session: AtomicU64,
    account: Mutex<Account>,
    outbox: Mutex<Vec<ReplicaFrame>>,
    pub(crate) outbox_filled: Notify,
}

/// What placement reads of a node, copied once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeView {
    /// Requests running there, other replicas' included, and ours since its last report.
    pub running: u32,
    /// Prompt tokens queued there, and ours since its last report.
    pub queued_tokens: u64,
    /// Weight that may still be sent.
    pub free_credit: u64,
    /// Requests that may still be sent.
    pub free_cap: u32,
}

impl NodeLive {
    /// A node nothing was heard of.
    #[must_use]
    pub fn new(id: NodeId, tunnel: bool, cap: Cap, now: Timestamp) -> Self {
        let account = Account::new(tunnel, cap, now);
        let own = Self {
            id,
            tunnel,
            tunnels: AtomicU32::new(0),
            heard_at: AtomicI64::new(i64::MIN),
            beat_at: AtomicI64::new(i64::MIN),
            stored_beat_at: AtomicI64::new(i64::MIN),
            draining: AtomicBool::new(false),
            closed_until: AtomicI64::new(i64::MIN),
            load: AtomicU64::new(0),
            load_at: AtomicI64::new(i64::MIN),
            free_credit: AtomicU64::new(0),
            free_cap: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
            own_running: AtomicU32::new(0),
            own_tokens: AtomicU64::new(0),
            session: AtomicU64::new(0),
            account: Mutex::new(account),
            outbox: Mutex::new(Vec::new()),
            outbox_filled: Notify::new(),
        };
        own.with_account(|_| ());
        own
    }

    /// Dials in, rather than being called by URL.
    #[must_use]
    pub const fn is_tunnel(&self) -> bool {
        self.tunnel
    }

    /// Tunnels open to this replica.
    #[must_use]
    pub fn tunnels(&self) -> u32 {
        self.tunnels.load(Ordering::Acquire)
    }

    /// Requests in flight from this replica.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Acquire)
    }

    /// When anything was last heard of it, if ever.
    #[must_use]
    pub fn heard_at(&self) -> Option<Timestamp> {
        some_instant(self.heard_at.load(Ordering::Acquire))
    }

    /// It was heard of: a heartbeat, a frame, an answer.
    pub fn heard(&self, now: Timestamp) {
        self.heard_at.fetch_max(now.unix_micros(), Ordering::AcqRel);
    }

    /// It sent a heartbeat to this replica.
    pub fn beat(&self, now: Timestamp) {
        self.heard(now);
        self.beat_at.fetch_max(now.unix_micros(), Ordering::AcqRel);
    }

    /// A heartbeat of it is stored.
    pub fn beat_elsewhere(&self, at: Timestamp) {
        self.stored_beat_at.fetch_max(at.unix_micros(), Ordering::AcqRel);
    }

    /// The last heartbeat taken here, and the last one stored, if any.
    #[must_use]
    pub fn beats(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        let [here, stored] = [&self.beat_at, &self.stored_beat_at].map(|at| some_instant(at.load(Ordering::Acquire)));
        (here, stored)
    }

    /// It says whether it finishes what it has.
    pub fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::Release);
    }

    /// It finishes what it has and takes no more.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// It asked to be left alone until then.
    pub fn close_until(&self, until: Timestamp) {
        self.closed_until.fetch_max(until.unix_micros(), Ordering::AcqRel);
    }

    /// When it may be asked again, if it asked to be left alone.
    #[must_use]
    pub fn closed_until(&self, now: Timestamp) -> Option<Timestamp> {
        some_instant(self.closed_until.load(Ordering::Acquire)).filter(|until| *until > now)
    }

    /// Load and room as placement sees them. A report too old to mean anything counts as no room.
    #[must_use]
    pub fn view(&self, now: Timestamp, stale_after: Duration) -> NodeView {
        let load = unpack(self.load.load(Ordering::Acquire));
        let reported = some_instant(self.load_at.load(Ordering::Acquire));
        // Direct nodes never report; tunnel nodes have credit only after their first frames.
        let stale = self.tunnel && reported.is_some_and(|at| now.since(at) > stale_after);
        NodeView {
            running: load.running + self.own_running.load(Ordering::Acquire),
            queued_tokens: u64::from(load.backlog_tokens) + self.own_tokens.load(Ordering::Acquire),
            free_credit: if stale { 0 } else { self.free_credit.load(Ordering::Acquire) },
            free_cap: self.free_cap.load(Ordering::Acquire),
        }
    }

    /// Counts a dispatch, or returns `None` when there is no room.
    pub(crate) fn take(&self, weight: u32, tokens: u32, now: Timestamp) -> Option<Dispatch> {
        self.with_account(|account| account.take(weight, tokens, now))
    }

    /// The prompt of this dispatch was read and its answer began. True when there is more room for it.
    pub(crate) fn began(&self, dispatch: Dispatch) -> bool {
        self.with_account(|account| account.began(dispatch))
    }

    /// The dispatch is over; `reached` is false when the node cannot have seen it.
    pub(crate) fn end(&self, dispatch: Dispatch, reached: bool) {
        self.with_account(|account| account.end(dispatch, reached));
    }

    /// It refused for want of credit.
    pub(crate) fn refused(&self) {
        self.with_account(Account::refused);
    }

    /// It was overloaded.
    pub(crate) fn overloaded(&self, now: Timestamp) {
        self.with_account(|account| account.cap_mut().overloaded(now));
    }

    /// What it declares it can carry.
    pub(crate) fn set_ceiling(&self, ceiling: u32) {
        self.with_account(|account| account.cap_mut().set_ceiling(ceiling));
    }

    /// A control stream was opened. Returns its session and queues the greeting.
    pub(crate) fn open_control(&self, now: Timestamp) -> u64 {
        // The lock order is account, then outbox, as everywhere: frames leave in the order decided.
        self.with_account(|account| {
            let (session, hello) = account.open(now);
            *self.outbox.lock() = vec![hello];
            self.outbox_filled.notify_waiters();
            session
        })
    }

    /// Whether that session's control stream still speaks for the node.
    pub(crate) fn is_open(&self, session: u64) -> bool {
        self.session.load(Ordering::Acquire) == session
    }

    /// A frame of that session; older ones have no say. Returns true when there may be more room than before.
    pub(crate) fn on_frame(&self, session: u64, frame: NodeFrame, now: Timestamp) -> bool {
        self.heard(now);
        self.with_account(|account| {
            if account.session() != session {
                return false;
            }
            let before = account.free_credit();
            let answer = account.on_frame(session, frame);
            if let NodeFrame::Load(load) = frame {
                self.store_load(&load, now);
            }
            self.push(answer);
            account.free_credit() > before
        })
    }

    /// A heartbeat confirms that the last report still holds: nodes report on change only.
    pub(crate) fn confirm_load(&self, now: Timestamp) {
        if self.load_at.load(Ordering::Acquire) != i64::MIN {
            self.load_at.fetch_max(now.unix_micros(), Ordering::AcqRel);
        }
    }

    /// Gives back what lies idle, and ends a session whose counters have come apart: its control stream is
    /// opened anew, which restates them. Called every second or so; true when it did the latter.
    pub(crate) fn tend(&self, now: Timestamp) -> bool {
        self.with_account(|account| {
            let frame = account.idle(now);
            self.push(frame);
            let adrift = self.tunnels() > 0 && account.is_adrift(now);
            if adrift {
                account.void();
            }
            adrift
        })
    }

    /// States how much weight waits for it.
    pub(crate) fn want(&self, weight: u64) {
        self.with_account(|account| {
            let frame = account.want(weight);
            self.push(frame);
        });
    }

    pub(crate) fn take_outbox(&self) -> Vec<ReplicaFrame> {
        std::mem::take(&mut *self.outbox.lock())
    }

    pub(crate) fn tunnel_up(&self, now: Timestamp) {
        self.heard(now);
        self.tunnels.fetch_add(1, Ordering::AcqRel);
    }

    /// Returns true when that was the last one: its credits are void.
    pub(crate) fn tunnel_down(&self) -> bool {
        let last = self.tunnels.fetch_sub(1, Ordering::AcqRel) == 1;
        if last {
            self.with_account(|account| account.void());
        }
        last
    }

    /// Changes the account and publishes what readers need of it.
    fn with_account<T>(&self, change: impl FnOnce(&mut Account) -> T) -> T {
        let mut account = self.account.lock();
        let result = change(&mut account);
        let (own_running, own_tokens) = account.own();
        self.free_credit.store(account.free_credit(), Ordering::Release);
        self.free_cap.store(account.free_cap(), Ordering::Release);
        self.in_flight.store(account.in_flight(), Ordering::Release);
        self.own_running.store(own_running, Ordering::Release);
        self.own_tokens.store(own_tokens, Ordering::Release);
        if self.session.swap(account.session(), Ordering::AcqRel) != account.session() {
            // Whoever waits for frames of the session before waits in vain.
            self.outbox_filled.notify_waiters();
        }
        result
    }

    fn push(&self, frame: Option<ReplicaFrame>) {
        let Some(frame) = frame else { return };
        let mut outbox = self.outbox.lock();
        if outbox.len() >= OUTBOX {
            // Nobody takes them: the next control stream begins with a greeting that restates all.
            outbox.clear();
        }
        outbox.push(frame);
        self.outbox_filled.notify_waiters();
    }

    fn store_load(&self, load: &Load, now: Timestamp) {
        self.load.store(pack(load), Ordering::Release);
        self.load_at.store(now.unix_micros(), Ordering::Release);
    }
}

fn some_instant(micros: i64) -> Option<Timestamp> {
    (micros != i64::MIN).then(|| Timestamp::from_unix_micros(micros))
}

/// Bits of the packed report: 12 running, 12 queued, 30 backlog, 10 free KV. Larger counts saturate:
/// past a thousand million queued tokens the difference no longer matters.
fn pack(load: &Load) -> u64 {
    let clip = |value: u32, bits: u32| u64::from(value.min((1 << bits) - 1));
    clip(load.running, 12)
        | clip(load.queued, 12) << 12
        | clip(load.backlog_tokens, 30) << 24
        | clip(u32::from(load.kv_free_permille), 10) << 54
}

fn unpack(word: u64) -> Load {
    let field = |shift: u32, bits: u32| (word >> shift & ((1 << bits) - 1)) as u32;
    Load {
        seen: 0,
        running: field(0, 12),
        queued: field(12, 12),
        backlog_tokens: field(24, 30),
        kv_free_permille: field(54, 10) as u16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Id;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_000);

    #[test]
    fn a_report_survives_packing_and_saturates() {
        let load = Load { seen: 0, running: 7, queued: 3, backlog_tokens: 123_456, kv_free_permille: 900 };
        assert_eq!(unpack(pack(&load)), load);
        let huge = Load { running: u32::MAX, backlog_tokens: u32::MAX, ..load };
        assert_eq!(unpack(pack(&huge)), Load { running: 4_095, backlog_tokens: (1 << 30) - 1, ..load });
    }

    #[test]
    fn a_node_without_tunnels_has_no_credit() {
        let node = NodeLive::new(NodeId::from_uuid(uuid::Uuid::nil()), true, Cap::new(8.0, 8, NOW), NOW);
        node.tunnel_up(NOW);
        let session = node.open_control(NOW);
        assert!(node.on_frame(session, NodeFrame::Limit { limit: 4 }, NOW));
        assert_eq!(node.view(NOW, Duration::from_secs(15)).free_credit, 4);
        assert!(node.tunnel_down());
        assert_eq!(node.view(NOW, Duration::from_secs(15)).free_credit, 0);
        assert_eq!(node.take_outbox(), [ReplicaFrame::Hello { running: 0 }]);
    }

    #[test]
    fn a_stream_that_was_replaced_reports_no_load() {
        let node = NodeLive::new(NodeId::from_uuid(uuid::Uuid::nil()), true, Cap::new(8.0, 8, NOW), NOW);
        node.tunnel_up(NOW);
        let old = node.open_control(NOW);
        let new = node.open_control(NOW);
        node.on_frame(new, NodeFrame::Load(Load { running: 2, ..Load::default() }), NOW);
        node.on_frame(old, NodeFrame::Load(Load { running: 9, ..Load::default() }), NOW);
        assert_eq!(node.view(NOW, Duration::from_secs(15)).running, 2);
        assert!(node.is_open(new) && !node.is_open(old));
    }

    #[test]
    fn an_old_report_counts_as_saturated_unless_a_heartbeat_confirms_it() {
        let node = NodeLive::new(NodeId::from_uuid(uuid::Uuid::nil()), true, Cap::new(8.0, 8, NOW), NOW);
        node.tunnel_up(NOW);
        let session = node.open_control(NOW);
        node.on_frame(session, NodeFrame::Limit { limit: 4 }, NOW);
        node.on_frame(session, NodeFrame::Load(Load { running: 2, ..Load::default() }), NOW);
        let later = NOW.plus(Duration::from_secs(16));
        assert_eq!(node.view(later, Duration::from_secs(15)).free_credit, 0);
        node.confirm_load(later);
        assert_eq!(node.view(later, Duration::from_secs(15)).free_credit, 4);
        assert_eq!(node.view(later, Duration::from_secs(15)).running, 2);
    }
}

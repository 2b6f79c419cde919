//! Who is there: heard of lately, silent, or gone. Silence stops new work; it ends nothing.

use std::collections::HashMap;
use std::time::Duration;

use protocol::{NodeId, Timestamp};

use crate::error::Error;
use crate::pool::node_live::NodeLive;

/// Silence after which a node gets no new work.
pub const NO_NEW_WORK: Duration = Duration::from_secs(15);
/// Silence after which a node counts as gone.
pub const OFFLINE: Duration = Duration::from_secs(60);
/// After a start of the broker, this long counts as heard: our outage is not the nodes'.
pub const START_GRACE: Duration = Duration::from_secs(60);
/// How far a node's clock may be off.
const MOST_SKEW_MS: i64 = 30_000;
/// The last heartbeat is stored at most this often.
const STORE_EVERY: Duration = Duration::from_secs(30);
/// What a heartbeat that another replica took may take longer to be known here: until it is stored, and until
/// rows are read again.
const HEARD_ELSEWHERE: Duration = STORE_EVERY.saturating_mul(2);

/// How long a node has been silent, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Takes new work.
    Fresh,
    /// Takes no new work.
    Silent,
    /// Gone.
    Offline,
}

/// Where a node stands at `now`.
///
/// A direct node need not report: until it has sent a heartbeat, its rows and its breaker decide. Once it has,
/// its silence counts as any other's. A node behind tunnels needs one to this replica, besides being heard.
#[must_use]
pub fn standing(node: &NodeLive, now: Timestamp, grace_until: Timestamp) -> Standing {
    let (heard, slack) = if node.is_tunnel() {
        (node.heard_at(), Duration::ZERO)
    } else {
        let (here, elsewhere) = node.beats();
        let slack = if elsewhere > here { HEARD_ELSEWHERE } else { Duration::ZERO };
        let Some(beat) = here.max(elsewhere) else { return Standing::Fresh };
        (Some(beat), slack)
    };
    // Within the grace it counts as heard just now; afterwards silence counts from the end of it.
    let graced = now.min(grace_until);
    let heard = heard.map_or(graced, |at| at.max(graced));
    let silence = now.since(heard).saturating_sub(slack);
    if silence > OFFLINE {
        Standing::Offline
    } else if silence > NO_NEW_WORK || (node.is_tunnel() && node.tunnels() == 0) {
        Standing::Silent
    } else {
        Standing::Fresh
    }
}

/// What to do with a heartbeat that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// The row should be written: the last time was half a minute ago, or the state changed.
    pub store: bool,
}

/// Numbers of heartbeats, and when each node was last stored.
#[derive(Debug, Default)]
pub struct Heartbeats {
    last: HashMap<NodeId, Last>,
}

#[derive(Debug)]
struct Last {
    seq: Option<u64>,
    stored_at: Option<Timestamp>,
    draining: bool,
}

impl Heartbeats {
    /// A new session begins: numbers start over.
    pub fn session(&mut self, node: NodeId) {
        self.entry(node).seq = None;
    }

    /// Takes a heartbeat.
    ///
    /// # Errors
    /// [`Error::StaleHeartbeat`] when its number does not rise within the session, so that a repeated
    /// one cannot keep a dead node alive; [`Error::ClockSkew`] when its clock is too far off.
    pub fn take(
        &mut self,
        node: NodeId,
        seq: u64,
        sent_at_ms: i64,
        draining: bool,
        now: Timestamp,
    ) -> Result<Heard, Error> {
        let offset_ms = sent_at_ms.saturating_sub(now.unix_ms());
        if offset_ms.abs() > MOST_SKEW_MS {
            return Err(Error::ClockSkew { node, offset_ms });
        }
        let last = self.entry(node);
        if let Some(before) = last.seq.filter(|before| seq <= *before) {
            return Err(Error::StaleHeartbeat { node, seq, last: before });
        }
        last.seq = Some(seq);
        let due = last.stored_at.is_none_or(|at| now.since(at) >= STORE_EVERY);
        let changed = std::mem::replace(&mut last.draining, draining) != draining;
        let store = due || changed;
        if store {
            last.stored_at = Some(now);
        }
        Ok(Heard { store })
    }

    fn entry(&mut self, node: NodeId) -> &mut Last {
        self.last.entry(node).or_insert(Last { seq: None, stored_at: None, draining: false })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::credit::Cap;
    use protocol::Id;

    const T0: Timestamp = Timestamp::from_unix_seconds(1_000);

    fn at(seconds: u64) -> Timestamp {
        T0.plus(Duration::from_secs(seconds))
    }

    fn node(tunnel: bool) -> NodeLive {
        NodeLive::new(NodeId::from_uuid(uuid::Uuid::nil()), tunnel, Cap::new(4.0, 4, T0), T0)
    }

    #[test]
    fn fifteen_seconds_stop_new_work_and_sixty_are_offline() {
        let node = node(true);
        node.tunnel_up(at(0));
        assert_eq!(standing(&node, at(15), T0), Standing::Fresh);
        assert_eq!(standing(&node, at(16), T0), Standing::Silent);
        assert_eq!(standing(&node, at(60), T0), Standing::Silent);
        assert_eq!(standing(&node, at(61), T0), Standing::Offline);
        node.heard(at(62));
        assert_eq!(standing(&node, at(70), T0), Standing::Fresh);
        node.tunnel_down();
        assert_eq!(standing(&node, at(70), T0), Standing::Silent, "heard of, but not reachable from here");
    }

    #[test]
    fn the_first_minute_after_a_start_counts_as_heard() {
        let node = node(true);
        let grace = at(60);
        assert_eq!(standing(&node, at(59), grace), Standing::Silent, "not offline, but no tunnel yet");
        assert_eq!(standing(&node, at(119), grace), Standing::Silent);
        assert_eq!(standing(&node, at(121), grace), Standing::Offline);
    }

    #[test]
    fn a_direct_node_need_not_report_but_one_that_did_must_go_on() {
        let node = node(false);
        assert_eq!(standing(&node, at(10_000), T0), Standing::Fresh);
        node.beat(at(10_000));
        assert_eq!(standing(&node, at(10_015), T0), Standing::Fresh);
        assert_eq!(standing(&node, at(10_016), T0), Standing::Silent);
        node.heard(at(10_060));
        assert_eq!(standing(&node, at(10_061), T0), Standing::Offline, "an answer is no heartbeat");
        node.beat(at(10_062));
        assert_eq!(standing(&node, at(10_062), T0), Standing::Fresh);
    }

    #[test]
    fn a_direct_node_that_another_replica_hears_is_given_time_to_be_stored() {
        let node = node(false);
        node.beat_elsewhere(at(100));
        assert_eq!(standing(&node, at(170), T0), Standing::Fresh);
        assert_eq!(standing(&node, at(176), T0), Standing::Silent);
        assert_eq!(standing(&node, at(221), T0), Standing::Offline);
    }

    #[test]
    fn heartbeats_must_rise_and_are_stored_seldom() {
        let mut beats = Heartbeats::default();
        let id = NodeId::from_uuid(uuid::Uuid::nil());
        let mut take = |seq, second| beats.take(id, seq, at(second).unix_ms(), false, at(second));
        assert!(take(1, 0).unwrap().store);
        assert!(!take(2, 5).unwrap().store);
        assert!(matches!(take(2, 6), Err(Error::StaleHeartbeat { last: 2, .. })));
        assert!(take(3, 30).unwrap().store);
        assert!(beats.take(id, 4, at(31).unix_ms(), true, at(31)).unwrap().store, "the state changed");
        beats.session(id);
        assert!(beats.take(id, 1, at(32).unix_ms(), true, at(32)).is_ok());
        let far = at(33 + 31).unix_ms();
        assert!(matches!(beats.take(id, 2, far, true, at(33)), Err(Error::ClockSkew { offset_ms: 31_000, .. })));
    }
}

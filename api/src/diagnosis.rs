//! What keeps a node from work, in words for its provider, each with the fix.

use protocol::Timestamp;
use protocol::session::{NodeCheck, NodeMode};
use scheduler::liveness::Standing;
use scheduler::provider::{Node, NodeState, Offer, OfferState};

use crate::state::App;

/// Everything that is wrong with a node and its offers, as this replica sees it.
#[must_use]
pub fn node(app: &App, node: &Node, offers: &[Offer], now: Timestamp) -> Vec<NodeCheck> {
    if node.removed_at.is_some() {
        let fix =
            "register its key again; with steelyard-node, delete node.json in its state folder and start it again";
        return vec![check("removed", "its provider removed it", fix)];
    }
    let mut checks: Vec<NodeCheck> = ordered(node).into_iter().chain(silence(app, node, now)).collect();
    if offers.is_empty() {
        checks.push(check("offers", "it offers nothing", "put at least one offer; with steelyard-node, an [[offer]]"));
    }
    checks.extend(offers.iter().filter_map(|offer| unready(app, offer, now)));
    checks
}

/// What somebody decided about it.
fn ordered(node: &Node) -> Option<NodeCheck> {
    match node.state {
        NodeState::Draining => {
            Some(check("state", "it drains", "resume it: POST …/resume, or `steelyard-node drain --resume`"))
        }
        NodeState::Quarantined => Some(check("state", "it is quarantined", "write to the broker's operator")),
        NodeState::Pending | NodeState::Verifying | NodeState::Ready | NodeState::Degraded | NodeState::Offline => None,
    }
}

fn silence(app: &App, node: &Node, now: Timestamp) -> Option<NodeCheck> {
    let (standing, _) = app.scheduler.standing(node.id, now);
    let Some(seen_at) = node.last_seen_at else {
        let fix = "start steelyard-node and read its log, or run `steelyard-node doctor`";
        // Whoever runs a direct node without ours sends no heartbeats, and need not.
        return (node.mode == NodeMode::Tunnel).then(|| check("heartbeat", "it was never heard of", fix));
    };
    if node.mode == NodeMode::Tunnel && app.upstreams.tunnels(node.id) == 0 {
        let fix = "let steelyard-node reach the broker: outgoing connections and HTTP/1.1 upgrades must pass";
        return Some(check("tunnel", "no tunnel is open to this replica", fix));
    }
    (standing != Standing::Fresh).then(|| {
        let seen = format!("last heard of {} s ago", now.since(seen_at).as_secs());
        check("heartbeat", &seen, "see that steelyard-node runs and reaches the broker; its log says why not")
    })
}

fn unready(app: &App, offer: &Offer, now: Timestamp) -> Option<NodeCheck> {
    let model = &offer.spec.model;
    if !offer.spec.is_ready {
        let seen = format!("{model}: the node says that it is not ready");
        return Some(check("engine", &seen, "see that the engine runs and has loaded its model"));
    }
    if let Some(failing) = (offer.state == OfferState::Staged).then(|| app.probes.failing(offer.id)).flatten() {
        let seen = format!("{model}: {} probe(s) failed in a row; {}", failing.failures, failing.why);
        let fix = "ask the engine for a short streamed chat completion by hand: it must bring text and end in [DONE]";
        return Some(NodeCheck { next_at: Some(failing.next_at.unix_seconds()), ..check("probe", &seen, fix) });
    }
    let snapshot = app.scheduler.snapshot();
    let entry = snapshot.offers().find(|entry| entry.id() == offer.id)?;
    entry.live.exclusion(now).map(|exclusion| {
        let seen = format!("{model}: kept out after requests failed there");
        let fix = "read the engine's log for what went wrong; the next request that succeeds brings it back";
        NodeCheck { next_at: Some(exclusion.until.unix_seconds()), ..check("breaker", &seen, fix) }
    })
}

fn check(name: &str, seen: &str, fix: &str) -> NodeCheck {
    NodeCheck { name: name.to_owned(), seen: seen.to_owned(), fix: fix.to_owned(), next_at: None }
}

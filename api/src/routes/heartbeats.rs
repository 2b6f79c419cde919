//! Nodes say every few seconds that they are there.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use protocol::session::{Command, Heartbeat, HeartbeatReply, NodeState};
use protocol::{Env, EventId, Timestamp};
use serde_json::json;

use crate::error::ApiError;
use crate::extract::{Json, NodeCaller};
use crate::state::AppState;
use crate::store::orders::{self, Order, OrderKind};

/// How often a node should say so: two may be lost before it gets no more work.
const INTERVAL_MS: u64 = 5_000;
/// Lines a heartbeat may carry: as many as a node may have offers, and more GPUs than a machine takes.
const MAX_LINES: usize = 100;
/// The end of what is stored of a beat's number.
const MAX_SEQ: u64 = i64::MAX.cast_unsigned();
/// How long a resume is repeated. Later a node that drains does so for reasons of its own.
const RESUME_FOR: Duration = Duration::from_secs(60);

/// The routes of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/providers/{provider}/nodes/{node}/heartbeat", post(beat))
}

/// Takes a heartbeat and answers with the time, the interval and what the provider wants of its node.
#[tracing::instrument(name = "api.nodes.heartbeat", skip_all, fields(node.id = %caller.node))]
async fn beat(
    State(app): State<AppState>,
    caller: NodeCaller,
    Json(mut body): Json<Heartbeat>,
) -> Result<Json<HeartbeatReply>, ApiError> {
    for (field, lines) in [("offers", body.offers.len()), ("gpus", body.gpus.len())] {
        if lines > MAX_LINES {
            return Err(ApiError::invalid(field, format!("at most {MAX_LINES} lines")).with_code("invalid_value"));
        }
    }
    // Past it no later one could be told from this, and the node would never be heard again.
    if body.seq >= MAX_SEQ {
        return Err(ApiError::invalid("seq", format!("below {MAX_SEQ}")).with_code("invalid_value"));
    }
    let now = app.env.now();
    let mut conn = app.db.acquire().await?;
    let order = orders::find(&mut conn, caller.node).await?;
    let command = command(order.as_ref(), body.state, &app.env, now);
    match order.map(|order| order.kind) {
        // What the provider said counts at once, whether or not its node has heard of it.
        Some(OrderKind::Drain) => body.state = NodeState::Draining,
        Some(OrderKind::Resume) if body.state != NodeState::Draining => {
            orders::forget_resume(&mut conn, caller.node).await?;
        }
        Some(OrderKind::Resume) | None => {}
    }
    let heard = app.scheduler.on_heartbeat(caller.node, &body, now)?;
    if heard.store {
        let draining = body.state == NodeState::Draining;
        scheduler::store::nodes::touch(&mut conn, caller.node, body.seq, draining, now).await?;
    }
    let commands = command.into_iter().collect();
    Ok(Json(HeartbeatReply { server_time_ms: now.unix_ms(), next_in_ms: INTERVAL_MS, commands }))
}

/// What the node has yet to do of its provider's order.
fn command(order: Option<&Order>, state: NodeState, env: &Env, now: Timestamp) -> Option<Command> {
    let order = order?;
    let draining = state == NodeState::Draining;
    let open = match order.kind {
        OrderKind::Drain => !draining,
        OrderKind::Resume => draining && now.since(order.given_at) < RESUME_FOR,
    };
    let args = json!({ "deadline_ms": order.deadline_at.map(Timestamp::unix_ms), "reason": order.reason });
    open.then(|| Command { id: env.mint::<EventId>().to_string(), kind: order.kind.name().to_owned(), args })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_repeated_until_it_is_done() {
        let (env, clock) = Env::manual(Timestamp::from_unix_seconds(1_000), 1);
        let given =
            |kind| Order { kind, reason: None, deadline_at: None, given_at: Timestamp::from_unix_seconds(1_000) };
        let told = |order: Option<&Order>, state| command(order, state, &env, env.now()).map(|command| command.kind);
        assert_eq!(told(None, NodeState::Ready), None);
        let drain = given(OrderKind::Drain);
        assert_eq!(told(Some(&drain), NodeState::Busy).as_deref(), Some("drain"));
        assert_eq!(told(Some(&drain), NodeState::Draining), None);
        let resume = given(OrderKind::Resume);
        assert_eq!(told(Some(&resume), NodeState::Draining).as_deref(), Some("resume"));
        assert_eq!(told(Some(&resume), NodeState::Ready), None);
        clock.advance(RESUME_FOR);
        assert_eq!(told(Some(&resume), NodeState::Draining), None, "it drains for a reason of its own");
        assert_eq!(told(Some(&drain), NodeState::Ready).as_deref(), Some("drain"));
    }
}

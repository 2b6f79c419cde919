//! Machines of a provider.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use ed25519_dalek::VerifyingKey;
use http::StatusCode;
use protocol::offer::TrustLevel;
use protocol::session::{CreateNode, DrainRequest, NodeMode, NodeView};
use protocol::{Env, NodeId, ProviderId, Timestamp};
use scheduler::Placement;
use scheduler::provider::{Node, NodeState, UpstreamKey};
use serde::Serialize;
use serde_json::json;
use sqlx::PgConnection;

use super::providers;
use crate::check;
use crate::diagnosis;
use crate::error::ApiError;
use crate::extract::{Json, NoFields, Page, Path, ProviderCaller, Supplier};
use crate::state::AppState;
use crate::store;
use crate::store::audit::{self, Actor, Entry};
use crate::store::orders::{Order, OrderKind};
use crate::upstream;

/// Longest bearer a provider may ask us to show its direct node.
const MAX_UPSTREAM_KEY: usize = 500;
/// Nodes of one provider: beyond it somebody should be spoken to first.
const MAX_NODES: usize = 10_000;
/// Longest drain a node may announce: a day.
const MAX_DRAIN_S: u32 = 86_400;

/// The routes of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/providers/{provider}/nodes", post(create).get(list))
        .route("/providers/{provider}/nodes/{node}", get(show).delete(remove))
        .route("/providers/{provider}/nodes/{node}/drain", post(drain))
        .route("/providers/{provider}/nodes/{node}/resume", post(resume))
}

/// A page of nodes.
#[derive(Debug, Serialize)]
struct List {
    object: &'static str,
    data: Vec<NodeView>,
    first_id: Option<NodeId>,
    last_id: Option<NodeId>,
    has_more: bool,
}

/// Registers a machine by its key. The same key again renews what was declared and returns the same node.
#[tracing::instrument(name = "api.nodes.create", skip_all, fields(provider.id = %caller.provider))]
async fn create(
    State(app): State<AppState>,
    caller: ProviderCaller,
    Json(body): Json<CreateNode>,
) -> Result<(StatusCode, Json<NodeView>), ApiError> {
    let new = declared(&app, caller.provider, body)?;
    let mut tx = app.db.begin().await?;
    providers::active(&scheduler::store::providers::get(&mut tx, caller.provider).await?)?;
    let before = scheduler::store::nodes::claim_by_key(&mut tx, caller.provider, &new.public_key).await?;
    let known = scheduler::store::nodes::list_of(&mut tx, caller.provider).await?;
    if known.iter().filter(|node| node.removed_at.is_none()).count() >= MAX_NODES {
        return Err(ApiError::invalid_state(format!("a provider has at most {MAX_NODES} nodes")));
    }
    let node = scheduler::store::nodes::insert(&mut tx, &new).await.map_err(|error| match error {
        scheduler::Error::NodeNotFound(_) => taken(),
        other => other.into(),
    })?;
    let moved = before.is_some_and(|before| (before.mode, &before.base_url) != (node.mode, &node.base_url));
    if moved && app.config.providers.probes_to_activate > 0 {
        // Whatever answers there has yet to show that it is the same.
        scheduler::store::offers::restage(&mut tx, node.id).await?;
    }
    let is_new = node.id == new.id;
    let action = if is_new { "node.registered" } else { "node.changed" };
    record(&mut tx, &app.env, Actor::Key(caller.key), action, &node, json!({})).await?;
    tx.commit().await?;
    app.removals.forget(node.id);
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(view(&app, &node))))
}

/// A key names one node of one provider.
fn taken() -> ApiError {
    ApiError::invalid("public_key", "another provider's node has this key").with_code("invalid_value")
}

/// Checks a registration and gives it an id of its own, in case it is new.
fn declared(app: &AppState, provider: ProviderId, body: CreateNode) -> Result<Node, ApiError> {
    check::machine(&body.hardware, &body.location, &body.engine)?;
    match (body.mode, &body.base_url) {
        (NodeMode::Direct, Some(url)) if url.len() <= 500 => {
            upstream::check_url(url, app.config.providers.allow_private)
                .map_err(|refusal| ApiError::invalid("base_url", refusal.to_string()).with_code("invalid_value"))?;
        }
        (NodeMode::Direct, _) => return Err(ApiError::invalid("base_url", "a direct node has an https URL")),
        (NodeMode::Tunnel, None) => {}
        (NodeMode::Tunnel, Some(_)) => return Err(ApiError::invalid("base_url", "only a direct node has one")),
    }
    if body.upstream_key.as_ref().is_some_and(|key| key.len() > MAX_UPSTREAM_KEY || !key.is_ascii()) {
        return Err(ApiError::invalid("upstream_key", "at most 500 ASCII characters"));
    }
    Ok(Node {
        id: app.env.mint(),
        provider,
        public_key: public_key(&body.public_key)?,
        mode: body.mode,
        base_url: body.base_url,
        upstream_key: body.upstream_key.map(UpstreamKey::new),
        hardware: body.hardware,
        location: body.location,
        engine: body.engine,
        privacy: body.privacy,
        trust: TrustLevel::Declared,
        state: NodeState::Pending,
        offers_version: 0,
        last_seen_at: None,
        heartbeat_seq: 0,
        created_at: app.env.now(),
        removed_at: None,
    })
}

/// A key under which anybody could sign, or which is no point of the curve, proves nothing.
fn public_key(text: &str) -> Result<[u8; 32], ApiError> {
    let mut bytes = [0; 32];
    let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
    let decoded = hex::decode_to_slice(text, &mut bytes).is_ok() && lower;
    let sound = decoded && VerifyingKey::from_bytes(&bytes).is_ok_and(|key| !key.is_weak());
    if sound {
        Ok(bytes)
    } else {
        Err(ApiError::invalid("public_key", "an ed25519 public key as 64 lower-case hex digits"))
    }
}

/// The caller's nodes, newest first.
#[tracing::instrument(name = "api.nodes.list", skip_all, fields(provider.id = %caller.provider))]
async fn list(State(app): State<AppState>, caller: ProviderCaller, page: Page) -> Result<Json<List>, ApiError> {
    let after = page.after.map(|after| after.parse::<NodeId>()).transpose();
    let after = after.map_err(|error| ApiError::invalid("after", error.to_string()))?;
    let mut conn = app.db.acquire().await?;
    let mut nodes = scheduler::store::nodes::list_of(&mut conn, caller.provider).await?;
    nodes.retain(|node| after.is_none_or(|after| node.id < after));
    nodes.reverse();
    let has_more = nodes.len() > page.limit as usize;
    nodes.truncate(page.limit as usize);
    let data: Vec<NodeView> = nodes.iter().map(|node| view(&app, node)).collect();
    let (first_id, last_id) = (data.first().map(|node| node.id), data.last().map(|node| node.id));
    Ok(Json(List { object: "list", data, first_id, last_id, has_more }))
}

/// A node with everything its provider may want to know.
#[derive(Debug, Serialize)]
struct Detail {
    #[serde(flatten)]
    node: NodeView,
    #[serde(skip_serializing_if = "Option::is_none")]
    placement: Option<Placement>,
}

/// One node: how it stands, what keeps it from work, and how it fares among others.
#[tracing::instrument(name = "api.nodes.show", skip_all, fields(node.id = %caller.node))]
async fn show(State(app): State<AppState>, caller: Supplier) -> Result<Json<Detail>, ApiError> {
    let now = app.env.now();
    let mut conn = app.db.acquire().await?;
    let node = owned(&mut conn, caller.provider, caller.node).await?;
    let (_, offers) = scheduler::store::offers::list_of(&mut conn, node.id).await?;
    let checks = diagnosis::node(&app, &node, &offers, now);
    let placement = app.scheduler.placement(node.id, now);
    Ok(Json(Detail { node: NodeView { checks, ..view(&app, &node) }, placement }))
}

/// Takes a node out: its offers retire, its sessions and tunnels end, and it opens no new ones. The row stays, since
/// receipts name it; registering the same key brings it back.
#[tracing::instrument(name = "api.nodes.remove", skip_all, fields(provider.id = %caller.provider))]
async fn remove(
    State(app): State<AppState>,
    caller: ProviderCaller,
    Path((_, node)): Path<(ProviderId, NodeId)>,
) -> Result<Json<serde_json::Value>, ApiError> {
    let mut tx = app.db.begin().await?;
    let node = owned(&mut tx, caller.provider, node).await?;
    if node.removed_at.is_none() {
        scheduler::store::offers::claim_set(&mut tx, node.id, None).await?;
        scheduler::store::offers::retire_others(&mut tx, node.id, &[]).await?;
        scheduler::store::nodes::remove(&mut tx, node.id, app.env.now()).await?;
        store::sessions::end_of_node(&mut tx, node.id).await?;
        store::orders::forget(&mut tx, node.id).await?;
        record(&mut tx, &app.env, Actor::Key(caller.key), "node.removed", &node, json!({})).await?;
        tx.commit().await?;
    }
    app.removals.note(node.id);
    Ok(Json(json!({ "id": node.id, "object": "node", "deleted": true })))
}

/// No new work from now on; what runs may finish until the deadline. Stands until it is taken back.
#[tracing::instrument(name = "api.nodes.drain", skip_all, fields(provider.id = %caller.provider))]
async fn drain(
    State(app): State<AppState>,
    caller: ProviderCaller,
    Path((_, node)): Path<(ProviderId, NodeId)>,
    Json(body): Json<DrainRequest>,
) -> Result<Json<NodeView>, ApiError> {
    if body.deadline_s.is_some_and(|seconds| seconds > MAX_DRAIN_S) {
        return Err(ApiError::invalid("deadline_s", format!("at most {MAX_DRAIN_S}")).with_code("invalid_value"));
    }
    check::optional("reason", body.reason.as_deref(), 200)?;
    let given_at = app.env.now();
    let deadline_at = body.deadline_s.map(|seconds| given_at.plus(Duration::from_secs(u64::from(seconds))));
    let order = Order { kind: OrderKind::Drain, reason: body.reason, deadline_at, given_at };
    let mut tx = app.db.begin().await?;
    let mut node = present(&mut tx, caller.provider, node).await?;
    if node.state.takes_work() {
        scheduler::store::nodes::set_state(&mut tx, node.id, NodeState::Draining).await?;
        node.state = NodeState::Draining;
    }
    obey(&mut tx, &app.env, &caller, &node, &order).await?;
    tx.commit().await?;
    Ok(Json(view(&app, &node)))
}

/// Takes work again, once the node has heard of it.
#[tracing::instrument(name = "api.nodes.resume", skip_all, fields(provider.id = %caller.provider))]
async fn resume(
    State(app): State<AppState>,
    caller: ProviderCaller,
    Path((_, node)): Path<(ProviderId, NodeId)>,
    Json(_): Json<NoFields>,
) -> Result<Json<NodeView>, ApiError> {
    let order = Order { kind: OrderKind::Resume, reason: None, deadline_at: None, given_at: app.env.now() };
    let mut tx = app.db.begin().await?;
    let node = present(&mut tx, caller.provider, node).await?;
    obey(&mut tx, &app.env, &caller, &node, &order).await?;
    tx.commit().await?;
    Ok(Json(view(&app, &node)))
}

async fn obey(
    conn: &mut PgConnection,
    env: &Env,
    caller: &ProviderCaller,
    node: &Node,
    order: &Order,
) -> Result<(), sqlx::Error> {
    store::orders::put(conn, node.id, order).await?;
    let action = match order.kind {
        OrderKind::Drain => "node.drained",
        OrderKind::Resume => "node.resumed",
    };
    let detail = json!({ "reason": order.reason, "deadline_at": order.deadline_at.map(Timestamp::unix_seconds) });
    record(conn, env, Actor::Key(caller.key), action, node, detail).await
}

/// A node of this provider; another provider's is answered as one that does not exist.
pub(super) async fn owned(conn: &mut PgConnection, provider: ProviderId, node: NodeId) -> Result<Node, ApiError> {
    let found = scheduler::store::nodes::find(conn, node).await?.filter(|found| found.provider == provider);
    found.ok_or_else(|| scheduler::Error::NodeNotFound(node).into())
}

/// A node of this provider that was not removed.
pub(super) async fn present(conn: &mut PgConnection, provider: ProviderId, node: NodeId) -> Result<Node, ApiError> {
    let node = owned(conn, provider, node).await?;
    if node.removed_at.is_some() { Err(scheduler::Error::NodeRemoved(node.id).into()) } else { Ok(node) }
}

async fn record(
    conn: &mut PgConnection,
    env: &Env,
    actor: Actor,
    action: &'static str,
    node: &Node,
    detail: serde_json::Value,
) -> Result<(), sqlx::Error> {
    let entry = Entry::new(env.mint(), env.now(), actor, action, node.id);
    audit::insert(conn, entry.of_provider(node.provider).with(detail)).await
}

fn view(app: &AppState, node: &Node) -> NodeView {
    NodeView {
        id: node.id,
        object: "node".to_owned(),
        provider_id: node.provider,
        state: if node.removed_at.is_some() { "removed" } else { node.state.as_str() }.to_owned(),
        trust: node.trust,
        mode: node.mode,
        created_at: node.created_at.unix_seconds(),
        last_seen_at: node.last_seen_at.map(Timestamp::unix_seconds),
        tunnels: app.upstreams.tunnels(node.id),
        checks: Vec::new(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_proves_nothing_is_refused() {
        let sound = hex::encode(ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key().to_bytes());
        assert!(public_key(&sound).is_ok());
        // The neutral element: every signature of zero verifies under it.
        let weak = format!("01{}", "00".repeat(31));
        for wrong in [weak.as_str(), &sound.to_uppercase(), &sound[2..], "", "zz"] {
            assert!(public_key(wrong).is_err(), "{wrong}");
        }
    }
}

//! Direct nodes that list their models and send no heartbeats.

use std::sync::Arc;
use std::time::Duration;

use api::poll::Poller;
use axum::routing::get;
use axum::{Json, Router};
use parking_lot::Mutex;
use platform::worker::Worker as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::live::{PATIENCE, until};
use crate::support::{Joined, TestApp, node_body};

fn document(prompt: &str) -> Value {
    json!({
        "id": "llama-fast", "hugging_face_id": "org/name", "context_length": 4096, "quantization": "fp8",
        "pricing": { "prompt": prompt, "completion": "0.000002", "image": "0" },
        "supported_sampling_parameters": ["temperature"],
    })
}

/// A node's own server; what it lists can be changed.
struct Server {
    base_url: String,
    list: Arc<Mutex<Value>>,
    _serving: AbortOnDropHandle<()>,
}

impl Server {
    async fn start() -> Self {
        let unknown = json!({ "id": "other", "context_length": 1, "pricing": { "prompt": "0", "completion": "0" } });
        let list = Arc::new(Mutex::new(json!({ "data": [document("0.000001"), unknown] })));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let shown = Arc::clone(&list);
        let show = move || std::future::ready(Json(shown.lock().clone()));
        let router = Router::new().route("/v1/models", get(show));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { base_url, list, _serving: AbortOnDropHandle::new(serving) }
    }
}

async fn joined(test: &TestApp, base_url: &str) -> Joined {
    let node = test.join(1).await;
    let mut body = node_body(&node.node_key);
    (body["mode"], body["base_url"]) = (json!("direct"), json!(base_url));
    let path = format!("/v1/providers/{}/nodes", node.provider);
    let reply = test.post(&path, &body).bearer(&node.key).send().await;
    assert_eq!(reply.status, 200, "{}", reply.json);
    node
}

async fn start() -> TestApp {
    let test = TestApp::start_with(|config| {
        config.providers.probes_to_activate = 0;
        config.providers.allow_private = true;
    })
    .await;
    test.admin(&["model", "add", "--id", "org/name", "--context-length", "4096"]).await;
    test
}

async fn state(test: &TestApp, node: &Joined) -> Value {
    test.get(&node.path("")).bearer(&node.key).send().await.json["state"].clone()
}

async fn offers(test: &TestApp, node: &Joined) -> Value {
    test.get(&node.path("/offers")).bearer(&node.key).send().await.json["data"].clone()
}

#[tokio::test]
async fn a_direct_node_that_lists_its_models_is_ready_and_its_offers_stay_current() {
    let (test, server) = (start().await, Server::start().await);
    let node = joined(&test, &server.base_url).await;
    assert_eq!(state(&test, &node).await, "pending");
    let mut poller = Poller::new(test.app.clone());
    let ready = async || {
        poller.tick(test.app.env.now()).await.unwrap();
        state(&test, &node).await == "ready"
    };
    until("the node is ready", PATIENCE, ready).await;
    let first = offers(&test, &node).await;
    assert_eq!(first.as_array().unwrap().len(), 1, "what is not in the catalogue is passed over");
    assert_eq!((&first[0]["model"], &first[0]["upstream_model"]), (&json!("org/name"), &json!("llama-fast")));
    assert_eq!((&first[0]["state"], &first[0]["price_version"]), (&json!("active"), &json!(1)));

    *server.list.lock() = json!({ "data": [document("0.0000005")] });
    poller.tick(test.app.env.now()).await.unwrap();
    assert_eq!(offers(&test, &node).await, first, "it is not asked again at once");
    test.clock.advance(Duration::from_secs(60));
    let cheaper = async || {
        poller.tick(test.app.env.now()).await.unwrap();
        offers(&test, &node).await[0]["price_version"] == 2
    };
    until("the cut is posted", PATIENCE, cheaper).await;
    assert_eq!(offers(&test, &node).await[0]["id"], first[0]["id"]);

    *server.list.lock() = json!("gone");
    for _ in 0..2 {
        test.clock.advance(Duration::from_secs(60));
        poller.tick(test.app.env.now()).await.unwrap();
    }
    assert_eq!(state(&test, &node).await, "ready", "one look may fail");
    let gone = async || {
        test.clock.advance(Duration::from_secs(60));
        poller.tick(test.app.env.now()).await.unwrap();
        state(&test, &node).await == "offline"
    };
    until("the node is offline", PATIENCE, gone).await;
    let told =
        sqlx::query_scalar!(r#"select count(*) as "count!" from outbox_events where body->>'type' = 'node_offline'"#);
    assert_eq!(told.fetch_one(&test.app.db).await.unwrap(), 1);
}

#[tokio::test]
async fn a_list_without_prices_and_a_node_with_heartbeats_are_left_alone() {
    let (test, server) = (start().await, Server::start().await);
    *server.list.lock() = json!({ "data": [{ "id": "org/name", "object": "model", "context_length": 4096 }] });
    let node = joined(&test, &server.base_url).await;
    let mut poller = Poller::new(test.app.clone());
    for _ in 0..3 {
        poller.tick(test.app.env.now()).await.unwrap();
    }
    assert_eq!((state(&test, &node).await, offers(&test, &node).await), (json!("pending"), json!([])));
    *server.list.lock() = json!({ "data": [document("0.000001")] });
    let token = node.open(&test, "0123456789abcdef").await;
    let beat = json!({ "seq": 1, "sent_at_ms": test.app.env.now().unix_ms(), "state": "ready" });
    assert_eq!(test.post(&node.path("/heartbeat"), &beat).bearer(&token).send().await.status, 200);
    test.clock.advance(Duration::from_secs(60));
    for _ in 0..3 {
        poller.tick(test.app.env.now()).await.unwrap();
    }
    assert_eq!(offers(&test, &node).await, json!([]), "it puts its offers itself");
}

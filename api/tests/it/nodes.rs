//! Nodes that are removed, that move, that fall silent.

use std::time::Duration;

use api::run::Silence;
use http::Method;
use platform::worker::Worker as _;
use protocol::event::Event;
use scheduler::provider::OfferState;
use serde_json::{Value, json};

use crate::support::{Joined, TestApp, node_body, offer, text};

const MODEL: &str = "org/name";

async fn broker(probes: u32) -> TestApp {
    let test = TestApp::start_with(|config| {
        config.providers.probes_to_activate = probes;
        config.providers.allow_private = true;
    })
    .await;
    test.admin(&["model", "add", "--id", MODEL, "--context-length", "4096"]).await;
    test
}

fn direct(node: &Joined, base_url: &str) -> Value {
    let mut body = node_body(&node.node_key);
    (body["mode"], body["base_url"]) = (json!("direct"), json!(base_url));
    body
}

async fn register(test: &TestApp, node: &Joined, body: &Value) -> Value {
    let path = format!("/v1/providers/{}/nodes", node.provider);
    let reply = test.post(&path, body).bearer(&node.key).send().await;
    assert_eq!(reply.status, 200, "{}", reply.json);
    reply.json
}

async fn put(test: &TestApp, node: &Joined, upstream: &str) -> Value {
    let mut offer = offer(MODEL, "1", "2");
    offer["upstream_model"] = json!(upstream);
    let body = json!({ "offers": [offer] });
    let reply = test.call(Method::PUT, &node.path("/offers")).bearer(&node.key).json(&body).send().await;
    assert_eq!(reply.status, 200, "{}", reply.json);
    reply.json["data"][0].clone()
}

/// Lets the node's one offer in, as its probes would.
async fn pass(test: &TestApp, id: &Value) {
    let mut conn = test.app.db.acquire().await.unwrap();
    let id = text(id).parse().unwrap();
    scheduler::store::offers::set_state(&mut conn, id, OfferState::Active).await.unwrap();
}

async fn state(test: &TestApp, node: &Joined) -> Value {
    test.get(&node.path("/offers")).bearer(&node.key).send().await.json["data"][0]["state"].clone()
}

#[tokio::test]
async fn a_removed_node_stays_out_until_its_key_is_registered_again() {
    let test = broker(0).await;
    let node = test.join(1).await;
    let token = node.open(&test, "0123456789abcdef").await;
    put(&test, &node, "engine-name").await;
    for _ in 0..2 {
        let removed = test.call(Method::DELETE, &node.path("")).bearer(&node.key).send().await;
        assert_eq!((removed.status.as_u16(), &removed.json["deleted"]), (200, &json!(true)), "{}", removed.json);
    }
    assert_eq!(test.get(&node.path("")).bearer(&node.key).send().await.json["state"], "removed");
    assert_eq!(test.get(&node.path("/offers")).bearer(&token).send().await.status, 401, "its sessions ended");

    let body = node.session_body("0123456789abcdeg", test.app.env.now().unix_ms());
    let offers = json!({ "offers": [offer(MODEL, "1", "2")] });
    let calls = [
        test.post(&node.path("/sessions"), &body),
        test.call(Method::PUT, &node.path("/offers")).bearer(&node.key).json(&offers),
        test.post(&node.path("/resume"), &json!({})).bearer(&node.key),
    ];
    for call in calls {
        let refused = call.send().await;
        assert_eq!((refused.status.as_u16(), refused.code()), (403, Some("node_removed")), "{}", refused.json);
        assert_eq!(refused.header("x-should-retry"), Some("false"));
    }
    let view = register(&test, &node, &node_body(&node.node_key)).await;
    assert_eq!((view["id"].clone(), view["state"].clone()), (json!(node.node), json!("offline")));
    assert_eq!(test.post(&node.path("/sessions"), &body).send().await.status, 201);
    let back = put(&test, &node, "engine-name").await;
    assert_eq!(back["state"], "active");
}

#[tokio::test]
async fn a_direct_node_opens_no_tunnel() {
    let test = broker(0).await;
    let node = test.join(1).await;
    register(&test, &node, &direct(&node, "http://127.0.0.1:1/v1")).await;
    let token = node.open(&test, "0123456789abcdef").await;
    let dial = test.get(&node.path("/tunnel")).bearer(&token).header("upgrade", "steelyard-h2");
    let refused = dial.header("connection", "upgrade").send().await;
    assert_eq!((refused.status.as_u16(), refused.code()), (400, Some("invalid_state")), "{}", refused.json);
}

#[tokio::test]
async fn an_offer_that_another_model_is_to_serve_is_probed_anew() {
    let test = broker(3).await;
    let node = test.join(1).await;
    let put_first = put(&test, &node, "small").await;
    assert_eq!(put_first["state"], "staged");
    pass(&test, &put_first["id"]).await;
    let same = put(&test, &node, "small").await;
    assert_eq!(same["state"], "active", "the same set changes nothing");
    let other = put(&test, &node, "smaller").await;
    assert_eq!((&other["id"], &other["state"]), (&put_first["id"], &json!("staged")));
}

#[tokio::test]
async fn a_direct_node_that_moved_is_probed_anew() {
    let test = broker(3).await;
    let node = test.join(1).await;
    register(&test, &node, &direct(&node, "http://127.0.0.1:1/v1")).await;
    let offer = put(&test, &node, "small").await;
    pass(&test, &offer["id"]).await;
    register(&test, &node, &direct(&node, "http://127.0.0.1:1/v1")).await;
    assert_eq!(state(&test, &node).await, "active");
    register(&test, &node, &direct(&node, "http://127.0.0.1:2/v1")).await;
    assert_eq!(state(&test, &node).await, "staged");
}

async fn beat(test: &TestApp, node: &Joined, token: &str, seq: u64) {
    let body = json!({ "seq": seq, "sent_at_ms": test.app.env.now().unix_ms(), "state": "ready" });
    let reply = test.post(&node.path("/heartbeat"), &body).bearer(token).send().await;
    assert_eq!(reply.status, 200, "{}", reply.json);
    test.app.scheduler.reload(&mut test.app.db.acquire().await.unwrap()).await.unwrap();
}

/// How often the others were told that a node went.
async fn told(test: &TestApp) -> i64 {
    let count =
        sqlx::query_scalar!(r#"select count(*) as "count!" from outbox_events where body->>'type' = 'node_offline'"#,);
    count.fetch_one(&test.app.db).await.unwrap()
}

#[tokio::test]
async fn a_node_that_falls_silent_is_told_of_once_each_time() {
    let test = broker(0).await;
    for (mode, seed) in [("tunnel", 1), ("direct", 2)] {
        let node = test.join(seed).await;
        if mode == "direct" {
            register(&test, &node, &direct(&node, "http://127.0.0.1:1/v1")).await;
        }
        put(&test, &node, "engine-name").await;
        let mut silence = Silence(test.app.clone());
        let before = told(&test).await;
        for round in 1..=2_u64 {
            let token = node.open(&test, &format!("0123456789abcde{round}")).await;
            beat(&test, &node, &token, 1).await;
            silence.tick(test.app.env.now()).await.unwrap();
            assert_eq!(told(&test).await - before, i64::try_from(round).unwrap() - 1);
            // Past the grace of the start as well.
            test.clock.advance(Duration::from_secs(121));
            for _ in 0..3 {
                silence.tick(test.app.env.now()).await.unwrap();
            }
            assert_eq!(told(&test).await - before, i64::try_from(round).unwrap(), "{mode}");
            let view = test.get(&node.path("")).bearer(&node.key).send().await.json;
            assert_eq!(view["state"], "offline");
        }
    }
    let mut events = Vec::new();
    let bodies = sqlx::query_scalar!("select body from outbox_events where body->>'type' = 'node_offline'");
    for body in bodies.fetch_all(&test.app.db).await.unwrap() {
        events.push(serde_json::from_value::<Event>(body).unwrap());
    }
    assert!(events.iter().all(|event| matches!(event, Event::NodeOffline { .. })));
}

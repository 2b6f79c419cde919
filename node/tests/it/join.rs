//! Joining, staying, and coming back.

use std::sync::Arc;

use node::config::OfferConfig;
use node::engine::Latency;
use node::{Handle, NodeConfig, Simulated, start};
use protocol::session::{Command, NodeState};
use protocol::{Env, Price};

use crate::broker::{Broker, PROVIDER_KEY};
use crate::eventually;

pub fn config(broker: &Broker) -> NodeConfig {
    let offer = OfferConfig::new("org/name", Price::per_million("0.1").unwrap(), Price::per_million("0.2").unwrap());
    let mut config = NodeConfig::simulated(broker.url.clone(), broker.provider, PROVIDER_KEY.into(), offer);
    config.drain_s = 5;
    config
}

pub fn engine(slots: u32, tokens: u32, tpot_ms: f64) -> Simulated {
    let latency = Latency { ttft_ms: 5.0, tpot_ms, tokens, jitter: 0.0, seed: 7 };
    Simulated::new("org/name", slots, latency)
}

/// A node that is in session with both its tunnels open.
pub async fn joined(broker: &Broker, mut config: NodeConfig, engine: &Simulated, slots: u32) -> Handle {
    if let node::config::EngineConfig::Simulated { slots: own, .. } = &mut config.engine {
        *own = slots;
    }
    let mut handle = start(config, Arc::new(engine.clone()), Env::system());
    handle.ready(2).await.unwrap();
    eventually("both tunnels at the broker", || {
        broker.seen.lock().tunnels.iter().filter(|tunnel| !tunnel.is_closed()).count() >= 2
    })
    .await;
    handle
}

#[tokio::test]
async fn a_node_registers_puts_its_offer_and_is_heard_of() {
    let broker = Broker::start().await;
    let engine = engine(4, 4, 1.0);
    let handle = joined(&broker, config(&broker), &engine, 4).await;
    eventually("three heartbeats", || broker.seen.lock().beats.len() >= 3).await;
    {
        let seen = broker.seen.lock();
        let rising = seen.beats.windows(2).all(|pair| pair[0].seq < pair[1].seq);
        assert!(rising && seen.beats[0].state == NodeState::Ready);
        assert_eq!(seen.offers[0].spec.model, "org/name");
        assert_eq!(seen.offers[0].spec.concurrency(), Some(4));
        assert_eq!(seen.beats[0].offers[0].offer_id, seen.offers[0].id);
    }
    handle.stop().await.unwrap();
    assert_eq!(broker.seen.lock().beats.last().unwrap().state, NodeState::Draining, "the broker was told");
}

#[tokio::test]
async fn a_wrong_provider_key_ends_the_node_with_the_brokers_words() {
    let broker = Broker::start().await;
    let mut config = config(&broker);
    config.provider_key = Some("sk-prov-wrong".into());
    let mut handle = start(config, Arc::new(engine(1, 1, 1.0)), Env::system());
    let error = handle.ready(1).await.unwrap_err().to_string();
    assert!(error.contains("invalid_api_key"), "{error}");
}

#[tokio::test]
async fn a_broker_killed_and_restarted_has_its_node_back_in_seconds() {
    let broker = Broker::start().await;
    let engine = engine(4, 4, 1.0);
    let handle = joined(&broker, config(&broker), &engine, 4).await;
    let (before, sessions) = (handle.status().node, broker.seen.lock().sessions);
    let (addr, seen) = broker.kill();
    let status = handle.status();
    assert_eq!(status.node, before);
    eventually("the node notices", || handle.status().tunnels == 0).await;
    seen.lock().forget_tokens = true;
    let broker = Broker::start_at(addr, seen).await;
    eventually("tunnels again", || handle.status().tunnels >= 2).await;
    assert_eq!(handle.status().node, before, "the same node, adopted again");
    assert!(broker.seen.lock().sessions > sessions, "a new session was opened");
    handle.stop().await.unwrap();
}

#[tokio::test]
async fn the_broker_can_drain_and_resume_a_node() {
    let broker = Broker::start().await;
    let engine = engine(4, 4, 1.0);
    let handle = joined(&broker, config(&broker), &engine, 4).await;
    let command = |kind: &str| Command { id: "cmd_1".into(), kind: kind.into(), args: serde_json::Value::Null };
    let chat = serde_json::json!({"messages": [], "stream": true});
    for (kind, state, status) in [("drain", NodeState::Draining, 429), ("resume", NodeState::Ready, 200)] {
        broker.seen.lock().commands.push(command(kind));
        eventually(kind, || broker.seen.lock().beats.last().is_some_and(|beat| beat.state == state)).await;
        let (_, request) = broker.chat(&chat);
        assert_eq!(broker.tunnel().send_request(request).await.unwrap().status(), status);
    }
    handle.stop().await.unwrap();
}

#[tokio::test]
async fn offers_listed_in_another_order_are_the_same_offers() {
    let broker = Broker::start().await;
    let engine = engine(4, 4, 1.0);
    let mut config = config(&broker);
    let mut second = config.offers[0].clone();
    second.model = "org/another".into();
    second.upstream_model = Some("org/name".into());
    config.offers.push(second);
    let handle = joined(&broker, config, &engine, 4).await;
    let sessions = broker.seen.lock().sessions;
    let put = broker.seen.lock().etag;
    let (addr, seen) = broker.kill();
    eventually("the node notices", || handle.status().tunnels == 0).await;
    let broker = Broker::start_at(addr, seen).await;
    broker.seen.lock().forget_tokens = true;
    eventually("a session anew", || broker.seen.lock().sessions > sessions).await;
    let beats = broker.seen.lock().beats.len();
    eventually("the offers were looked at", || broker.seen.lock().beats.len() > beats).await;
    assert_eq!((put, broker.seen.lock().etag), (1, 1), "the set stands as it was put");
    handle.stop().await.unwrap();
}

#[tokio::test]
async fn a_removed_node_stops_and_names_the_way_back() {
    let folder = std::env::temp_dir().join(format!("steelyard-removed-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    let broker = Broker::start().await;
    let engine = engine(4, 4, 1.0);
    let mut config = config(&broker);
    config.state_dir = Some(folder.clone());
    config.drain_s = 0;
    let mut handle = joined(&broker, config.clone(), &engine, 4).await;
    broker.seen.lock().removed = true;
    let ended = tokio::time::timeout(std::time::Duration::from_secs(10), handle.ready(99)).await;
    let error = ended.expect("it stops by itself").unwrap_err().to_string();
    assert!(error.contains("removed by its provider") && error.contains("node.json"), "{error}");

    let mut again = start(config.clone(), Arc::new(engine.clone()), Env::system());
    let error = again.ready(1).await.unwrap_err().to_string();
    assert!(error.contains("removed by its provider"), "starting it is no way back: {error}");
    assert!(broker.seen.lock().removed);

    std::fs::remove_file(folder.join("node.json")).unwrap();
    let back = joined(&broker, config, &engine, 4).await;
    assert!(!broker.seen.lock().removed);
    back.stop().await.unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn what_runs_past_the_drain_deadline_is_cut_off_and_reported() {
    use http_body_util::BodyExt;
    use protocol::receipt::ReportStatus;

    let broker = Broker::start().await;
    let engine = engine(4, 10_000, 10.0);
    let handle = joined(&broker, config(&broker), &engine, 4).await;
    let (attempt, request) = broker.chat(&serde_json::json!({"messages": [], "stream": true}));
    let mut response = broker.tunnel().send_request(request).await.unwrap();
    response.body_mut().frame().await.unwrap().unwrap();
    let deadline_ms = broker.env.now().unix_ms() + 400;
    let args = serde_json::json!({ "deadline_ms": deadline_ms, "reason": null });
    broker.seen.lock().commands.push(Command { id: "cmd_1".into(), kind: "drain".into(), args });
    eventually("the node drains", || {
        broker.seen.lock().beats.last().is_some_and(|beat| beat.state == NodeState::Draining)
    })
    .await;
    assert_eq!(engine.active(), 1, "until the deadline it goes on");
    let broken = async { while response.body_mut().frame().await.expect("it breaks off").is_ok() {} };
    tokio::time::timeout(std::time::Duration::from_secs(5), broken).await.expect("it is cut off");
    assert!(broker.env.now().unix_ms() >= deadline_ms, "not before its time");
    eventually("an idle engine", || engine.active() == 0).await;
    eventually("the report", || broker.report(attempt).is_some()).await;
    let report = broker.report(attempt).unwrap().report;
    assert_eq!(report.status, ReportStatus::Cancelled);
    assert!(report.units.completion > 0, "what was made until then is told");
    let resume = Command { id: "cmd_2".into(), kind: "resume".into(), args: serde_json::Value::Null };
    broker.seen.lock().commands.push(resume);
    eventually("it takes work again", || {
        broker.seen.lock().beats.last().is_some_and(|beat| beat.state == NodeState::Ready)
    })
    .await;
    let (_, request) = broker.chat(&serde_json::json!({"messages": [], "stream": true, "max_tokens": 3}));
    let whole = broker.tunnel().send_request(request).await.unwrap().into_body().collect().await.unwrap();
    assert!(whole.to_bytes().ends_with(b"data: [DONE]\n\n"), "what comes later is not cut off");
    handle.stop().await.unwrap();
}

#[tokio::test]
async fn a_stopping_node_finishes_what_it_has_begun() {
    use http_body_util::BodyExt;

    let broker = Broker::start().await;
    let engine = engine(4, 20, 20.0);
    let handle = joined(&broker, config(&broker), &engine, 4).await;
    let (attempt, request) = broker.chat(&serde_json::json!({"messages": [], "stream": true}));
    let response = broker.tunnel().send_request(request).await.unwrap();
    let (whole, stopped) = tokio::join!(response.into_body().collect(), handle.stop());
    stopped.unwrap();
    let text = String::from_utf8(whole.unwrap().to_bytes().to_vec()).unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"));
    assert!(broker.report(attempt).is_some(), "its report was delivered before the end");
}

#[tokio::test]
async fn a_fleet_of_nodes_shares_one_process() {
    use node::fleet;

    let broker = Broker::start().await;
    let plan = fleet::Plan {
        broker: broker.url.clone(),
        provider: broker.provider,
        key: PROVIDER_KEY.into(),
        offer: config(&broker).offers.remove(0),
        slots: 3,
        tunnels: 2,
        latency: Latency::default(),
    };
    let mut members = fleet::launch(&plan, 1, &Env::system());
    let status = fleet::ready(&mut members, 2).await.unwrap();
    assert_eq!((status.len(), status[0].tunnels), (1, 2));
    fleet::stop(members).await.unwrap();
}

//! Staged offers, good and bad, and nodes that are taken out, on a whole broker.

use std::time::{Duration, Instant};

use http::Method;
use node::engine::Fault;
use protocol::OfferId;
use scheduler::provider::OfferState;
use serde_json::json;

use crate::live::{Live, PATIENCE, Setup, until};

fn active(live: &Live) -> Vec<OfferId> {
    let snapshot = live.app.scheduler.snapshot();
    let active = snapshot.offers().filter(|offer| offer.listing.offer.state == OfferState::Active);
    active.map(|offer| offer.id()).collect()
}

#[tokio::test]
async fn an_engine_that_hangs_keeps_no_other_provider_from_its_customers() {
    let mut live = Setup::nodes(0).start().await;
    let setup = Setup::nodes(0);
    live.launch(1, &setup, live.address).await;
    live.break_node(0, Fault::HangBeforeHeaders);
    let hangs = async || live.nodes[0].engine.active() == 1;
    until("the first node's engine hangs in a probe", PATIENCE, hangs).await;
    let began = Instant::now();
    live.launch(2, &setup, live.address).await;
    until("the second provider's offer takes customers", PATIENCE, async || active(&live).len() == 1).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(live.nodes[0].engine.active(), 1, "the first one hangs all the while");
}

#[tokio::test]
async fn an_offer_that_fails_its_probe_is_asked_again_after_pauses_and_let_in_once_it_answers() {
    let mut live = Setup::nodes(0).start().await;
    let setup = Setup::nodes(0);
    live.launch(1, &setup, live.address).await;
    live.break_node(0, Fault::Refuse { status: 500 });
    let offer = async || live.nodes[0].handle.status().offers.first().copied();
    until("the offer is put", PATIENCE, async || offer().await.is_some()).await;
    let offer = offer().await.unwrap();
    let failures = || live.app.probes.failing(offer).map_or(0, |failing| failing.failures);
    until("two probes failed", PATIENCE, async || failures() >= 2).await;
    assert!(failures() <= 3, "it is not asked over and over");
    assert!(active(&live).is_empty());
    let view = live.node_view(0).await;
    let check = view["checks"].as_array().unwrap().iter().find(|check| check["name"] == "probe").unwrap();
    assert!(check["seen"].as_str().unwrap().contains("500") && check["fix"].is_string(), "{check}");
    assert!(check["next_at"].as_i64().unwrap() >= live.app.env.now().unix_seconds() - 1);
    live.nodes[0].engine.set_faults(node::engine::Faults::default());
    until("the offer takes customers", PATIENCE, async || active(&live) == [offer]).await;
}

#[tokio::test]
async fn a_removed_node_stops_by_itself_and_its_tunnels_close() {
    let mut live = Setup::nodes(2).start().await;
    let node = live.nodes[0].handle.status().node.unwrap();
    let key = live.provider_keys[0].clone();
    let path = format!("/v1/providers/{}/nodes/{node}", live.providers[0]);
    let removed = live.call(Method::DELETE, &path, Some(&key), "").await.reply().await;
    assert_eq!(removed.status, 200, "{}", removed.json);
    until("its tunnels are closed", Duration::from_secs(2), async || live.app.upstreams.tunnels(node) == 0).await;
    let ended = tokio::time::timeout(PATIENCE, live.nodes[0].handle.ready(99)).await.expect("it stops by itself");
    assert!(ended.unwrap_err().to_string().contains("removed by its provider"));
    let view = live.node_view(0).await;
    assert_eq!((&view["state"], &view["checks"][0]["name"]), (&json!("removed"), &json!("removed")));
    let offers = live.call(Method::GET, &format!("{path}/offers"), Some(&key), "").await.reply().await.json;
    assert_eq!(offers["data"], json!([]), "it put none again");
    assert_eq!(active(&live).len(), 1);
    let served = live.chat(json!({})).await.reply().await;
    assert_eq!(served.status, 200, "the other node serves");
    live.books_add_up().await;
}

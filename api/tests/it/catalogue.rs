//! Offers one by one as users compare them: what was promised, and what was measured and settled.

use http::Method;
use node::engine::Fault;
use serde_json::{Value, json};

use crate::live::{Live, MODEL, PATIENCE, Setup, until};
use crate::support::{Joined, TestApp, offer};

async fn reload(test: &TestApp) {
    let mut conn = test.app.db.acquire().await.unwrap();
    test.app.scheduler.reload(&mut conn).await.unwrap();
}

async fn offering(test: &TestApp, seed: u8, change: impl FnOnce(&mut Value)) -> Joined {
    let node = test.join(seed).await;
    let mut offer = offer("org/name", "1", "2");
    change(&mut offer);
    let body = json!({ "offers": [offer] });
    let put = test.call(Method::PUT, &node.path("/offers")).bearer(&node.key).json(&body).send().await;
    assert_eq!(put.status, 200, "{}", put.json);
    node
}

async fn catalogue() -> TestApp {
    let test = TestApp::start().await;
    test.admin(&["model", "add", "--id", "org/name", "--context-length", "4096"]).await;
    test
}

#[tokio::test]
async fn an_offer_nobody_asked_shows_its_promises_and_nothing_measured() {
    let test = catalogue().await;
    offering(&test, 1, |offer| {
        (offer["quantization"], offer["max_output_tokens"]) = (json!("fp8"), json!(512));
        offer["supported_parameters"] = json!(["tools"]);
    })
    .await;
    reload(&test).await;
    let listed = test.get("/v1/models/org/name/endpoints").send().await;
    assert_eq!(listed.status, 200, "{}", listed.json);
    let model = &listed.json["data"];
    // Its node holds no tunnel, so it takes no work.
    assert_eq!((&model["id"], &model["architecture"]["modality"]), (&json!("org/name"), &json!("text->text")));
    let expected = json!([{
        "name": "Provider 1 | org/name", "provider_name": "Provider 1", "tag": "provider-1/fra1", "model_id": "org/name",
        "context_length": 4096, "quantization": "fp8", "max_completion_tokens": 512, "max_prompt_tokens": null,
        "pricing": { "prompt": "0.0000011", "completion": "0.0000022", "request": "0",
            "input_cache_read": "0.0000011", "input_cache_write": "0.0000011" },
        "supported_parameters": ["tools"], "status": -5,
        "uptime_last_5m": null, "uptime_last_30m": null, "uptime_last_1d": null,
        "latency_last_30m": null, "throughput_last_30m": null,
        "region": "fra1", "trust": "declared", "privacy": { "zdr": false, "training": false },
    }]);
    assert_eq!(model["endpoints"], expected);
}

#[tokio::test]
async fn the_offers_of_a_model_are_found_by_its_id_in_either_spelling() {
    let test = catalogue().await;
    offering(&test, 1, |_| {}).await;
    reload(&test).await;
    for id in ["org/name", "org%2Fname", "org/name:floor"] {
        let reply = test.get(&format!("/v1/models/{id}/endpoints")).send().await;
        assert_eq!((reply.status.as_u16(), &reply.json["data"]["id"]), (200, &json!("org/name")), "{id}");
    }
    let unknown = test.get("/v1/models/org/other/endpoints").send().await;
    assert_eq!((unknown.status.as_u16(), unknown.code()), (404, Some("model_not_found")));
    let bad_key = test.get("/v1/models/org/name/endpoints").bearer("sk-nonsense").send().await;
    assert_eq!(bad_key.status, 401);
}

#[tokio::test]
async fn only_offers_that_keep_nothing_are_listed_as_such() {
    let test = catalogue().await;
    let keeps_nothing = offering(&test, 1, |_| {}).await;
    offering(&test, 2, |_| {}).await;
    let node: protocol::NodeId = keeps_nothing.node.parse().unwrap();
    let update = sqlx::query("update nodes set privacy = '{\"zdr\": true}' where node_id = $1");
    update.bind(protocol::Id::uuid(node)).execute(&test.app.db).await.unwrap();
    reload(&test).await;
    let listed = test.get("/v1/endpoints/zdr").send().await;
    let endpoints = listed.json["data"].as_array().unwrap();
    assert_eq!(endpoints.len(), 1, "{}", listed.json);
    assert_eq!((&endpoints[0]["tag"], &endpoints[0]["privacy"]["zdr"]), (&json!("provider-1/fra1"), &json!(true)));
}

#[tokio::test]
async fn providers_that_offer_something_are_listed_by_slug() {
    let test = catalogue().await;
    offering(&test, 2, |_| {}).await;
    offering(&test, 1, |_| {}).await;
    // Joined, and offers nothing.
    test.join(3).await;
    reload(&test).await;
    let listed = test.get("/v1/providers").send().await;
    let providers = listed.json["data"].as_array().unwrap();
    let slugs: Vec<&Value> = providers.iter().map(|provider| &provider["slug"]).collect();
    assert_eq!(slugs, ["provider-1", "provider-2"]);
    let expected = json!({ "slug": "provider-1", "name": "Provider 1", "country": "DE", "website": null,
        "privacy_policy_url": null, "terms_of_service_url": null, "status_page_url": null });
    assert_eq!(providers[0], expected);
}

/// The offer of a provider, once everything settled is added up.
async fn endpoint(live: &Live, slug: &str) -> Value {
    let db = &live.app.db;
    // A fold leaves out what an older transaction may still add, also one of another database of the server.
    let now: i64 = sqlx::query_scalar("select pg_current_xact_id()::text::bigint").fetch_one(db).await.unwrap();
    let is_over = "select pg_snapshot_xmin(pg_current_snapshot())::text::bigint > $1";
    until("older transactions are over", PATIENCE, async || {
        sqlx::query_scalar(is_over).bind(now).fetch_one(db).await.unwrap()
    })
    .await;
    billing::run::fold(db).await.unwrap();
    let path = format!("/v1/models/{MODEL}/endpoints");
    let listed = live.call(Method::GET, &path, None, "").await.reply().await.json;
    let of = |endpoint: &&Value| endpoint["tag"].as_str().unwrap().split('/').next() == Some(slug);
    listed["data"]["endpoints"].as_array().unwrap().iter().find(of).unwrap().clone()
}

#[tokio::test]
async fn an_offer_shows_how_often_how_soon_and_how_fast_it_answered() {
    let live = Setup::nodes(2).pace(8, 5.0).start().await;
    let only = |slug: &str| json!({ "provider": { "only": [slug] } });
    for _ in 0..3 {
        let (request, _) = live.told(only("provider-1")).await;
        live.billed(request).await;
    }
    live.break_node(0, Fault::Refuse { status: 500 });
    let failed = live.chat(only("provider-1")).await;
    let request = failed.request();
    assert_eq!(failed.reply().await.status, 502);
    live.billed(request).await;
    // Neither is the node's fault.
    for status in [400, 429] {
        live.break_node(0, Fault::Refuse { status });
        let refused = live.chat(only("provider-1")).await;
        let request = refused.request();
        assert_eq!(refused.reply().await.status, status);
        live.billed(request).await;
    }
    // What is settled is added up once no older transaction is open.
    let all = async || endpoint(&live, "provider-1").await["uptime_last_1d"] == json!(75.0);
    until("every attempt is added up", PATIENCE, all).await;
    let seen = endpoint(&live, "provider-1").await;
    for span in ["uptime_last_5m", "uptime_last_30m", "uptime_last_1d"] {
        assert_eq!(seen[span], json!(75.0), "{span}: {seen}");
    }
    let (latency, speed) = (&seen["latency_last_30m"], &seen["throughput_last_30m"]);
    let second = |name: &str| latency[name].as_f64().unwrap();
    assert!(second("p50") >= 0.005 && second("p99") >= second("p50"), "{latency}");
    let (median, slowest) = (speed["p50"].as_f64().unwrap(), speed["p99"].as_f64().unwrap());
    assert!(slowest > 0.0 && slowest <= median && median < 1_000.0, "{speed}");

    let quiet = endpoint(&live, "provider-2").await;
    assert_eq!((&quiet["uptime_last_1d"], &quiet["status"]), (&json!(null), &json!(0)), "nobody asked it: {quiet}");
}

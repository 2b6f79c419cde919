//! The catalogue as users see it.

use http::Method;
use serde_json::json;

use crate::support::{Joined, TestApp, offer};

async fn reload(test: &TestApp) {
    let mut conn = test.app.db.acquire().await.unwrap();
    test.app.scheduler.reload(&mut conn).await.unwrap();
}

async fn offering(test: &TestApp, seed: u8, prompt: &str) -> Joined {
    let node = test.join(seed).await;
    let body = json!({ "offers": [offer("org/name", prompt, "2")] });
    let put = test.call(Method::PUT, &node.path("/offers")).bearer(&node.key).json(&body).send().await;
    assert_eq!(put.status, 200, "{}", put.json);
    node
}

#[tokio::test]
async fn a_model_is_listed_with_its_cheapest_price_once_somebody_offers_it() {
    let test = TestApp::start().await;
    test.admin(&["model", "add", "--id", "org/name", "--context-length", "4096"]).await;
    test.admin(&["model", "add", "--id", "org/idle", "--context-length", "4096"]).await;
    let (_, key) = test.customer().await;
    let list = || test.get("/v1/models").bearer(&key).send();
    assert_eq!(list().await.json["data"], json!([]));

    offering(&test, 1, "1").await;
    reload(&test).await;
    let listed = list().await;
    assert_eq!(listed.json["object"], "list");
    let model = &listed.json["data"][0];
    assert_eq!((&model["id"], &model["owned_by"]), (&json!("org/name"), &json!("org")));
    // A dollar per million tokens and the platform's tenth.
    assert_eq!(model["pricing"]["prompt"], "0.0000011");
    assert_eq!(model["pricing"]["input_cache_read"], "0.0000011");
    assert_eq!(model["architecture"]["modality"], "text->text");
    assert_eq!(listed.json["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_model_id_keeps_its_slash_in_either_spelling() {
    let test = TestApp::start().await;
    test.admin(&["model", "add", "--id", "org/name", "--context-length", "4096"]).await;
    offering(&test, 1, "1").await;
    reload(&test).await;
    for base in ["/v1", "/api/v1"] {
        for id in ["org/name", "org%2Fname", "org/name:floor"] {
            let reply = test.get(&format!("{base}/models/{id}")).send().await;
            assert_eq!((reply.status.as_u16(), &reply.json["id"]), (200, &json!("org/name")), "{base} {id}");
        }
    }
    let unknown = test.get("/v1/models/org/other").send().await;
    assert_eq!((unknown.status.as_u16(), unknown.code()), (404, Some("model_not_found")));
    let bad_key = test.get("/v1/models").bearer("sk-nonsense").send().await;
    assert_eq!(bad_key.status, 401, "a key that is sent is checked");
}

#[tokio::test]
async fn a_replica_says_whether_it_lives_and_whether_it_wants_work() {
    let test = TestApp::start().await;
    assert_eq!(test.get("/health/live").send().await.status, 200);
    assert_eq!(test.get("/health/ready").send().await.json, json!({ "status": "ok" }));
    assert_eq!(test.get("/metrics").send().await.status, 200);
}

#[tokio::test]
async fn what_a_replica_measured_is_not_shown_to_everybody() {
    let everywhere = TestApp::start_with(|config| config.server.listen = ([0, 0, 0, 0], 8080).into()).await;
    assert_eq!(everywhere.get("/metrics").send().await.status, 404);
    assert_eq!(everywhere.get("/health/live").send().await.status, 200);
    let apart = TestApp::start_with(|config| config.server.metrics_listen = Some(([127, 0, 0, 1], 9464).into())).await;
    assert_eq!(apart.get("/metrics").send().await.status, 404);
    let here = TestApp::start().await;
    let sent_on = here.get("/metrics").header("x-forwarded-for", "203.0.113.7").send().await;
    assert_eq!(sent_on.status, 404, "a proxy on the same machine shows everything to everybody");
}

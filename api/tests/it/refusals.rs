//! Why nobody may serve a request, told so that a program can tell.

use http::Method;
use node::engine::Fault;
use serde_json::{Value, json};

use crate::live::{Live, MODEL, Setup};
use crate::support::{Reply, TestApp, offer};

/// One offer, whose node trains on prompts, and a customer without a cent.
async fn world() -> (TestApp, String) {
    let test = TestApp::start().await;
    test.admin(&["model", "add", "--id", "org/name", "--context-length", "4096"]).await;
    let node = test.join(1).await;
    let mut offer = offer("org/name", "1", "2");
    (offer["quantization"], offer["max_output_tokens"]) = (json!("fp8"), json!(512));
    let put = test.call(Method::PUT, &node.path("/offers")).bearer(&node.key).json(&json!({ "offers": [offer] }));
    assert_eq!(put.send().await.status, 200);
    sqlx::query("update nodes set privacy = '{\"training\": true}'").execute(&test.app.db).await.unwrap();
    reload(&test).await;
    let (_, key) = test.customer().await;
    (test, key)
}

async fn reload(test: &TestApp) {
    let mut conn = test.app.db.acquire().await.unwrap();
    test.app.scheduler.reload(&mut conn).await.unwrap();
}

async fn chat(test: &TestApp, key: &str, fields: &Value) -> Reply {
    let mut body = json!({ "model": "org/name", "messages": [{ "role": "user", "content": "Hi" }] });
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    test.post("/v1/chat/completions", &body).bearer(key).send().await
}

#[tokio::test]
async fn every_demand_that_leaves_nobody_is_named() {
    let (test, key) = world().await;
    let provider = |wish: Value| json!({ "provider": wish });
    let mut parameter = provider(json!({ "require_parameters": true }));
    parameter["top_k"] = json!(5);
    for (fields, code, excluded_by, field) in [
        (provider(json!({ "regions": ["us"] })), "region_restricted", "geo", "provider.regions"),
        (provider(json!({ "zdr": true })), "privacy_restricted", "data_policy:zdr", "provider.zdr"),
        (
            provider(json!({ "data_collection": "deny" })),
            "privacy_restricted",
            "data_policy:training",
            "provider.data_collection",
        ),
        (provider(json!({ "max_price": { "prompt": 0.1 } })), "constraint_filtered", "max_price", "provider.max_price"),
        (provider(json!({ "trust": "attested" })), "constraint_filtered", "trust", "provider.trust"),
        (json!({ "max_tokens": 1_000 }), "constraint_filtered", "context_length", "max_tokens"),
        (parameter, "constraint_filtered", "require_parameters", "provider.require_parameters"),
        (
            provider(json!({ "quantizations": ["int4"] })),
            "constraint_filtered",
            "quantization",
            "provider.quantizations",
        ),
        (provider(json!({ "only": ["nobody"] })), "constraint_filtered", "allowed_providers", "provider.only"),
        (provider(json!({ "ignore": ["provider-1"] })), "constraint_filtered", "allowed_providers", "provider.ignore"),
        (
            provider(json!({ "order": ["nobody"], "allow_fallbacks": false })),
            "constraint_filtered",
            "allowed_providers",
            "provider.order",
        ),
    ] {
        let reply = chat(&test, &key, &fields).await;
        assert_eq!((reply.status.as_u16(), reply.code()), (404, Some("no_eligible_provider")), "{fields}");
        let error = &reply.json["error"];
        assert_eq!((&error["type"], &error["param"]), (&json!("invalid_request_error"), &json!("model")), "{fields}");
        let mut told = error["availability"].clone();
        let detail = told["constraint"]["detail"].take();
        assert!(detail.as_str().is_some_and(|detail| !detail.is_empty()), "{fields}: {error}");
        let expected = json!({
            "code": code, "retryable": false, "retry_after": null, "requested_models": ["org/name"],
            "excluded_by": [excluded_by], "fallback_models": [], "constraint": { "field": field, "detail": null },
        });
        assert_eq!(told, expected, "{fields}");
        assert_eq!(reply.header("retry-after"), None, "{fields}");
    }
}

#[tokio::test]
async fn what_is_not_there_or_is_out_names_no_demand() {
    let (test, key) = world().await;
    let image = json!([{ "type": "image_url", "image_url": { "url": "data:image/png;base64,aaaa" } }]);
    let image = json!({ "messages": [{ "role": "user", "content": image }] });
    let told = async |fields: &Value| {
        let reply = chat(&test, &key, fields).await;
        let availability = reply.json["error"]["availability"].clone();
        assert_eq!(availability["excluded_by"], json!([]), "{}", reply.json);
        assert_eq!(availability["retryable"], json!(reply.header("retry-after").is_some()), "{}", reply.json);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (reply.status.as_u16(), text(&reply.json["error"]["code"]), text(&availability["code"]))
    };
    let case = |status, code: &str, kind: &str| (status, code.to_owned(), kind.to_owned());
    let unknown = json!({ "model": "org/other" });
    assert_eq!(told(&unknown).await, case(404, "model_not_found", "model_not_found"));
    assert_eq!(told(&image).await, case(404, "no_eligible_provider", "no_endpoints"));
    // Its node holds no tunnel.
    assert_eq!(told(&json!({})).await, case(503, "temporarily_unavailable", "temporarily_unavailable"));
}

#[tokio::test]
async fn when_all_are_full_no_demand_is_named() {
    let live = Setup::nodes(1).start().await;
    live.break_node(0, Fault::Refuse { status: 429 });
    let reply = live.chat(json!({})).await.reply().await;
    let told = &reply.json["error"]["availability"];
    assert_eq!((reply.status.as_u16(), &told["code"]), (429, &json!("capacity_exhausted")), "{}", reply.json);
    assert_eq!((&told["excluded_by"], &told["requested_models"]), (&json!([]), &json!([MODEL])));
    let wait = told["retry_after"].as_u64().unwrap();
    assert_eq!(reply.header("retry-after"), Some(wait.to_string().as_str()));
}

#[tokio::test]
async fn fallbacks_are_named_in_the_refusal() {
    let (test, key) = world().await;
    let fields = json!({ "models": ["org/other"], "provider": { "zdr": true } });
    let reply = chat(&test, &key, &fields).await;
    assert_eq!(reply.json["error"]["availability"]["fallback_models"], json!(["org/other"]));
}

#[tokio::test]
async fn what_no_context_holds_is_told_before_any_money_is_looked_at() {
    let (test, key) = world().await;
    let words = "word ".repeat(5_000);
    for (path, body, param) in [
        ("chat/completions", json!({ "messages": [{ "role": "user", "content": words }] }), "messages"),
        (
            "chat/completions",
            json!({ "messages": [{ "role": "user", "content": "Hi" }], "max_tokens": 5_000 }),
            "messages",
        ),
        ("completions", json!({ "prompt": words }), "prompt"),
        ("embeddings", json!({ "input": words }), "input"),
        ("responses", json!({ "input": words }), "input"),
    ] {
        let mut body = body;
        body["model"] = json!("org/name");
        let reply = test.post(&format!("/v1/{path}"), &body).bearer(&key).send().await;
        let error = &reply.json["error"];
        assert_eq!((reply.status.as_u16(), reply.code()), (400, Some("context_length_exceeded")), "{path}: {error}");
        assert_eq!((&error["type"], &error["param"]), (&json!("invalid_request_error"), &json!(param)), "{path}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("maximum context length is 4096 tokens"), "{path}: {message}");
    }
    // It fits, and only then is there no money for it.
    let fits = chat(&test, &key, &json!({})).await;
    assert_ne!(fits.status, 400, "{}", fits.json);
}

#[tokio::test]
async fn an_engine_that_finds_the_prompt_too_long_is_believed_and_not_blamed() {
    let live = Setup::nodes(2).start().await;
    (0..2).for_each(|node| live.break_node(node, Fault::TooLong));
    let refused = live.chat(json!({})).await;
    let request = refused.request();
    let reply = refused.reply().await;
    let error = &reply.json["error"];
    assert_eq!((reply.status.as_u16(), reply.code()), (400, Some("context_length_exceeded")), "{error}");
    assert_eq!(error["param"], "messages");
    assert!(!error.to_string().contains("n_ctx"), "an engine's own words leak: {error}");
    assert_eq!(live.billed(request).await.charge, 0);
    let snapshot = live.app.scheduler.snapshot();
    assert!(snapshot.offers().all(|offer| offer.live.exclusion(live.app.env.now()).is_none()));
    assert_eq!(snapshot.model(MODEL).unwrap().offers.len(), 2);
    live.books_add_up().await;
}

#[tokio::test]
async fn a_prompt_too_long_for_one_engine_is_served_by_another() {
    let live: Live = Setup::nodes(2).start().await;
    live.break_node(0, Fault::TooLong);
    let reply = live.chat(json!({ "provider": { "order": ["provider-1"] } })).await.reply().await;
    assert_eq!((reply.status.as_u16(), &reply.json["provider"]), (200, &json!("provider-2")), "{}", reply.json);
}

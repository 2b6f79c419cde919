//! The routing extension from a request to who serves it: every key of `provider`, and every suffix.

use http::Method;
use node::config::OfferConfig;
use node::engine::{Fault, Latency};
use protocol::offer::Quantization;
use protocol::{Id as _, Price, RequestId};
use serde_json::{Value, json};

use crate::live::{Live, MODEL, Setup, Wire, chat_body};

/// Provider 1 keeps nothing, 2 is quick and well checked and trains on prompts, 3 is free.
async fn world() -> Live {
    let setup = |ttft_ms, tpot_ms| {
        let setup = Setup::nodes(0);
        Setup { latency: Latency { ttft_ms, tpot_ms, ..setup.latency }, ..setup }
    };
    let (slow, quick) = (setup(600.0, 50.0), setup(5.0, 1.0));
    let price = |usd| Price::per_million(usd).unwrap();
    let offer = |prompt, completion, quantization| OfferConfig {
        quantization: Some(quantization),
        supported_parameters: Some(vec!["temperature".to_owned()]),
        ..OfferConfig::new(MODEL, price(prompt), price(completion))
    };
    let mut live = setup(5.0, 1.0).start().await;
    live.launch_offer(1, &slow, offer("1", "1", Quantization::Bf16)).await;
    let second = OfferConfig {
        request: Some("0.000001".parse().unwrap()),
        supported_parameters: Some(vec!["temperature".to_owned(), "top_k".to_owned()]),
        ..offer("2", "1.2", Quantization::Fp8)
    };
    live.launch_offer(2, &quick, second).await;
    live.launch_offer(3, &slow, offer("0", "0", Quantization::Int4)).await;
    live.until_ready(&quick).await;
    let traits = [
        (json!({ "country_code": "DE", "region": "fra1" }), json!({ "zdr": true }), "measured"),
        (json!({ "country_code": "US", "region": "iad1" }), json!({ "training": true }), "audited"),
        (json!({ "country_code": "FR", "region": "par1" }), json!({}), "declared"),
    ];
    for (provider, (location, privacy, trust)) in live.providers.iter().zip(traits) {
        let update = "update nodes set location = $2, privacy = $3, trust = $4 where provider_id = $1";
        let update = sqlx::query(update).bind(provider.uuid()).bind(location).bind(privacy).bind(trust);
        update.execute(&live.app.db).await.unwrap();
    }
    let mut conn = live.app.db.acquire().await.unwrap();
    live.app.scheduler.reload(&mut conn).await.unwrap();
    live
}

/// Lets the broker see how quick each is.
async fn measure(live: &Live) {
    for slug in ["provider-1", "provider-2", "provider-3"] {
        for _ in 0..4 {
            live.told(json!({ "provider": { "only": [slug] } })).await;
        }
    }
    live.app.scheduler.rebuild(live.app.env.now());
}

async fn served_by(live: &Live, fields: Value) -> String {
    let reply = live.chat(fields.clone()).await.reply().await;
    assert_eq!(reply.status, 200, "{fields}: {}", reply.json);
    reply.json["provider"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_demand_is_met_whomever_else_the_order_names_first() {
    let live = world().await;
    for (provider, slug) in [
        (json!({ "order": ["provider-2", "provider-1"] }), "provider-2"),
        (json!({ "order": ["provider-1/fra1"] }), "provider-1"),
        (json!({ "only": ["provider-1"] }), "provider-1"),
        (json!({ "only": ["provider-2/iad1"], "order": ["provider-1"] }), "provider-2"),
        (json!({ "ignore": ["provider-1", "provider-2/iad1"], "order": ["provider-1"] }), "provider-3"),
        (json!({ "data_collection": "deny", "order": ["provider-2"], "ignore": ["provider-3"] }), "provider-1"),
        (json!({ "data_collection": "allow", "order": ["provider-2"] }), "provider-2"),
        (json!({ "zdr": true, "order": ["provider-2"] }), "provider-1"),
        (json!({ "quantizations": ["fp8"], "order": ["provider-1"] }), "provider-2"),
        (json!({ "quantizations": ["int4", "bf16"], "order": ["provider-2", "provider-3"] }), "provider-3"),
        (json!({ "regions": ["fr"], "order": ["provider-1"] }), "provider-3"),
        (json!({ "regions": ["EU"], "order": ["provider-2"], "ignore": ["provider-3"] }), "provider-1"),
        (json!({ "regions": ["iad1"], "order": ["provider-1"] }), "provider-2"),
        (json!({ "trust": "audited", "order": ["provider-1"] }), "provider-2"),
        (json!({ "trust": "measured", "order": ["provider-3", "provider-1"] }), "provider-1"),
        (json!({ "max_price": { "prompt": 1.5 }, "order": ["provider-2", "provider-1"] }), "provider-1"),
        (json!({ "max_price": { "completion": "1.2" }, "order": ["provider-2", "provider-1"] }), "provider-1"),
        (json!({ "max_price": { "request": 0.0000005 }, "order": ["provider-2", "provider-1"] }), "provider-1"),
        (json!({ "max_price": { "prompt": 0, "image": 0 }, "order": ["provider-1"] }), "provider-3"),
    ] {
        assert_eq!(served_by(&live, json!({ "provider": provider })).await, slug, "{provider}");
    }
    let fields = json!({ "top_k": 5, "provider": { "require_parameters": true, "order": ["provider-1"] } });
    assert_eq!(served_by(&live, fields).await, "provider-2");
    let fields = json!({ "top_k": 5, "provider": { "require_parameters": false, "order": ["provider-1"] } });
    assert_eq!(served_by(&live, fields).await, "provider-1");
    live.books_add_up().await;
}

#[tokio::test]
async fn a_sort_a_suffix_or_a_preference_decides_who_is_tried_first() {
    let live = world().await;
    measure(&live).await;
    for (sort, slug) in [
        (json!("price"), "provider-3"),
        (json!({ "by": "price" }), "provider-3"),
        (json!("throughput"), "provider-2"),
        (json!({ "by": "throughput", "partition": "none" }), "provider-2"),
        (json!("latency"), "provider-2"),
        (json!({ "by": "latency", "partition": "model" }), "provider-2"),
    ] {
        assert_eq!(served_by(&live, json!({ "provider": { "sort": sort } })).await, slug, "{sort}");
    }
    for (suffix, slug) in [(":floor", "provider-3"), (":free", "provider-3"), (":nitro", "provider-2")] {
        assert_eq!(served_by(&live, json!({ "model": format!("{MODEL}{suffix}") })).await, slug, "{suffix}");
    }
    for wish in [
        json!({ "preferred_max_latency": 0.15 }),
        json!({ "preferred_max_latency": { "p90": 0.15 } }),
        json!({ "preferred_min_throughput": 100 }),
        json!({ "preferred_min_throughput": { "p50": 100 } }),
    ] {
        assert_eq!(served_by(&live, json!({ "provider": wish })).await, "provider-2", "{wish}");
    }
    // A preference nobody meets is none: it never refuses.
    served_by(&live, json!({ "provider": { "preferred_max_latency": 0.000001 } })).await;
}

#[tokio::test]
async fn models_are_kept_apart_while_sorting_unless_said_otherwise() {
    let setup = Setup::nodes(1);
    let mut live = Setup::nodes(1).start().await;
    live.admin(&["model", "add", "--id", "org/other", "--context-length", "32768"]).await;
    let price = |usd| Price::per_million(usd).unwrap();
    live.launch_offer(2, &setup, OfferConfig::new("org/other", price("0.1"), price("1"))).await;
    live.until_ready(&setup).await;
    for (partition, model) in [("model", MODEL), ("none", "org/other")] {
        let sort = json!({ "by": "price", "partition": partition });
        let reply = live.chat(json!({ "models": ["org/other"], "provider": { "sort": sort } })).await.reply().await;
        assert_eq!((reply.status.as_u16(), &reply.json["model"]), (200, &json!(model)), "{partition}: {}", reply.json);
    }
}

#[tokio::test]
async fn without_fallbacks_nobody_steps_in_for_the_first_choice() {
    let live = world().await;
    live.break_node(0, Fault::Refuse { status: 500 });
    let order = |fallbacks| json!({ "provider": { "order": ["provider-1"], "allow_fallbacks": fallbacks } });
    let refused = live.chat(order(false)).await.reply().await;
    assert_eq!((refused.status.as_u16(), refused.code()), (502, Some("provider_error")), "{}", refused.json);
    assert_eq!(refused.json["error"]["metadata"]["previous_errors"].as_array().unwrap().len(), 1);
    assert_ne!(served_by(&live, order(true)).await, "provider-1");
}

#[tokio::test]
async fn the_free_suffix_never_serves_what_costs() {
    let live = Live::start().await;
    let refused = live.chat(json!({ "model": format!("{MODEL}:free") })).await.reply().await;
    assert_eq!((refused.status.as_u16(), refused.code()), (404, Some("no_eligible_provider")));
    assert_eq!(refused.json["error"]["availability"]["excluded_by"], json!(["max_price"]));
}

/// A chat completion of someone who wants to know how it was placed.
async fn told_why(live: &Live, mut fields: Value, path: &str) -> Wire {
    fields["provider"] = json!({ "order": ["provider-1", "provider-2"] });
    let headers = [("x-steelyard-metadata", "enabled")];
    live.call_with(Method::POST, path, Some(&live.key), &headers, chat_body(fields).to_string()).await
}

async fn generation(live: &Live, request: RequestId) -> Value {
    live.billed(request).await;
    let path = format!("/v1/generation?id={request}");
    live.call(Method::GET, &path, Some(&live.key), "").await.reply().await.json["data"].clone()
}

#[tokio::test]
async fn who_asks_is_told_how_a_request_was_placed() {
    let live = Setup::nodes(2).start().await;
    live.break_node(0, Fault::Refuse { status: 500 });
    for stream in [false, true] {
        let wire = told_why(&live, json!({ "stream": stream }), "/v1/chat/completions").await;
        let request = wire.request();
        let record: Value = serde_json::from_str(wire.header("x-steelyard-metadata").unwrap()).unwrap();
        assert_eq!((&record["offers"], &record["eligible"]), (&json!(2), &json!(2)), "{record}");
        let considered: Vec<&Value> = record["candidates"].as_array().unwrap().iter().map(|c| &c["provider"]).collect();
        assert_eq!(considered, ["provider-1", "provider-2"]);
        assert!(record["candidates"][0]["predicted"]["first_content_s"].is_f64(), "{record}");
        assert!(record["candidates"][1]["cost"]["price"].is_f64(), "{record}");
        let [failed, serving] = &record["attempts"].as_array().unwrap()[..] else { panic!("{record}") };
        assert_eq!((&failed["provider"], &failed["status"]), (&json!("provider-1"), &json!("failed")));
        assert_eq!((&failed["code"], &failed["first_content_ms"]), (&json!("status"), &Value::Null));
        assert_eq!((&serving["provider"], &serving["status"]), (&json!("provider-2"), &json!("answering")));
        assert!(serving["first_content_ms"].as_u64().unwrap() <= serving["elapsed_ms"].as_u64().unwrap());
        wire.bytes().await;

        let kept = generation(&live, request).await;
        assert_eq!(kept["routing"]["candidates"], record["candidates"]);
        assert_eq!(kept["routing"]["attempts"][1]["status"], "completed", "{kept}");
        assert_eq!(kept["routing"]["attempts"][0], *failed);
    }
    let plain = live.chat(json!({})).await;
    let request = plain.request();
    assert_eq!(plain.header("x-steelyard-metadata"), None, "nobody asked");
    plain.reply().await;
    assert_eq!(generation(&live, request).await["routing"], Value::Null);
}

#[tokio::test]
async fn a_stream_whose_head_came_too_early_for_the_record_carries_it_in_a_comment() {
    let mut setup = Setup::default().with(|config| config.gateway.commit_after_ms = 50);
    setup.latency.ttft_ms = 500.0;
    let live = setup.start().await;
    for path in ["/v1/chat/completions", "/v1/messages"] {
        let wire = told_why(&live, json!({ "stream": true, "max_tokens": 5 }), path).await;
        assert_eq!((wire.status.as_u16(), wire.header("x-steelyard-metadata")), (200, None));
        let frames = wire.frames().await;
        let records: Vec<usize> =
            (0..frames.len()).filter(|at| frames[*at].text.starts_with(": x-steelyard-metadata ")).collect();
        let [at] = records[..] else { panic!("{path}: {frames:#?}") };
        assert!(frames[..at].iter().all(|frame| frame.delta().is_empty()), "{path}: text came before it");
        let record = frames[at].text.strip_prefix(": x-steelyard-metadata ").unwrap();
        let record: Value = serde_json::from_str(record).unwrap();
        assert_eq!(record["attempts"][0]["provider"], "provider-1", "{record}");
        assert_eq!(record["attempts"][0]["status"], "answering");
    }
    let (_, frames) = live.told(json!({})).await;
    assert!(frames.iter().all(|frame| !frame.text.contains("x-steelyard-metadata")), "nobody asked");
}

#[tokio::test]
async fn a_bill_says_where_and_on_what_terms_a_request_was_served() {
    let live = world().await;
    for (fields, tier, region) in [
        (json!({ "provider": { "only": ["provider-1"] } }), "default", "fra1"),
        (json!({ "service_tier": "flex", "provider": { "only": ["provider-2"] } }), "flex", "iad1"),
        (json!({ "service_tier": "fast", "provider": { "only": ["provider-3"] } }), "priority", "par1"),
    ] {
        let wire = live.chat(fields).await;
        let request = wire.request();
        assert_eq!(wire.reply().await.json["service_tier"], tier);
        let bill = generation(&live, request).await;
        assert_eq!((&bill["service_tier"], &bill["data_region"]), (&json!(tier), &json!(region)), "{bill}");
        assert_eq!(bill["receipt_id"], Value::Null);
    }
}

//! The routing extension from a request to who serves it: every key of `provider`, and every suffix.

use node::config::OfferConfig;
use node::engine::{Fault, Latency};
use protocol::offer::Quantization;
use protocol::{Id as _, Price};
use serde_json::{Value, json};

use crate::live::{Live, MODEL, Setup};

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

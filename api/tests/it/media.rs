//! Judgements, pictures and sounds: passed on as the engine gave them, and paid for by the request.

use bytes::Bytes;
use http::Method;
use node::config::OfferConfig;
use node::engine::Fault;
use protocol::Price;
use serde_json::{Value, json};

use crate::live::{Live, MODEL, Setup, Wire};

/// A tenth of a cent, to which the broker adds its tenth.
const PRICE: &str = "0.001";
const CHARGE: i64 = 1_100_000;
const FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=b1");

/// What takes and makes this, at a price per request and none per token.
fn offer(inputs: &[&str], outputs: &[&str]) -> OfferConfig {
    let names = |kinds: &[&str]| kinds.iter().map(|kind| (*kind).to_owned()).collect::<Vec<_>>();
    OfferConfig {
        input_modalities: names(inputs),
        output_modalities: names(outputs),
        request: Some(PRICE.parse().unwrap()),
        ..OfferConfig::new(MODEL, Price::ZERO, Price::ZERO)
    }
}

/// A broker with one such offer.
async fn offering(inputs: &[&str], outputs: &[&str]) -> Live {
    let mut live = Setup::nodes(0).start().await;
    live.launch_offer(1, &Setup::nodes(1), offer(inputs, outputs)).await;
    live.until_ready(&Setup::nodes(1)).await;
    live
}

async fn post(live: &Live, path: &str, mut body: Value) -> Wire {
    body["model"] = MODEL.into();
    live.call(Method::POST, path, Some(&live.key), body.to_string()).await
}

/// A form with a sound in it, under a boundary.
fn form(boundary: &str, fields: &[(&str, &str)]) -> Bytes {
    let part = |(name, value): &(&str, &str)| {
        format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let file = ("file\"; filename=\"a.wav", "RIFF\0\u{1}");
    let parts: String = fields.iter().chain([&file]).map(part).collect();
    format!("{parts}--{boundary}--\r\n").into()
}

async fn listen(live: &Live, path: &str, headers: &[(&str, &str)], body: Bytes) -> Wire {
    live.call_with(Method::POST, path, Some(&live.key), headers, body).await
}

#[tokio::test]
async fn judgements_come_as_the_engine_gave_them_for_the_price_of_a_request() {
    let live = offering(&["text"], &["moderation"]).await;
    let wire = post(&live, "/v1/moderations", json!({ "input": ["one", "two"] })).await;
    let request = wire.request();
    let reply = wire.reply().await;
    assert_eq!(reply.status.as_u16(), 200, "{}", reply.json);
    assert_eq!(reply.json["results"].as_array().unwrap().len(), 2);
    assert_eq!((reply.json["model"].as_str(), reply.json.get("usage")), (Some("simulated"), None));
    let billed = live.billed(request).await;
    assert_eq!((billed.outcome.as_str(), billed.completion, billed.charge), ("completed", 0, CHARGE));
    let parts = json!({ "input": [{ "type": "text", "text": "one" }] });
    assert_eq!(post(&live, "/v1/moderations", parts).await.reply().await.status.as_u16(), 200);
    let missing = post(&live, "/v1/moderations", json!({})).await.reply().await;
    assert_eq!((missing.status.as_u16(), &missing.json["error"]["param"]), (400, &json!("input")));
    live.books_add_up().await;
}

#[tokio::test]
async fn each_picture_is_paid_for_as_a_request() {
    let live = offering(&["text"], &["image"]).await;
    let wire = post(&live, "/v1/images/generations", json!({ "prompt": "a balance", "n": 3, "size": "1x1" })).await;
    let request = wire.request();
    let reply = wire.reply().await;
    assert_eq!(reply.status.as_u16(), 200, "{}", reply.json);
    assert_eq!(reply.json["data"].as_array().unwrap().len(), 3);
    assert_eq!(reply.json["data"][0]["revised_prompt"], "Simulated: a balance");
    let billed = live.billed(request).await;
    assert_eq!((billed.charge, billed.hold, billed.clamped), (3 * CHARGE, 3 * CHARGE, 0));
    for (fields, param) in [
        (json!({ "prompt": "x", "n": 11 }), "n"),
        (json!({ "prompt": "" }), "prompt"),
        (json!({ "prompt": "x", "stream": true }), "stream"),
    ] {
        let refused = post(&live, "/v1/images/generations", fields).await.reply().await;
        assert_eq!((refused.status.as_u16(), &refused.json["error"]["param"]), (400, &json!(param)));
    }
    live.books_add_up().await;
}

#[tokio::test]
async fn a_picture_costs_no_more_than_its_customer_allows() {
    let live = offering(&["text"], &["image"]).await;
    let paint = async |image: &str| {
        let body = json!({ "prompt": "a balance", "provider": { "max_price": { "image": image } } });
        post(&live, "/v1/images/generations", body).await.reply().await
    };
    let dear = paint("0.0009").await;
    assert_eq!((dear.status.as_u16(), dear.code()), (404, Some("no_eligible_provider")), "{}", dear.json);
    assert_eq!(dear.json["error"]["availability"]["excluded_by"], json!(["max_price"]));
    assert_eq!(paint("0.002").await.status.as_u16(), 200);
}

#[tokio::test]
async fn what_one_engine_fails_to_make_another_makes_for_one_charge() {
    let mut live = offering(&["text"], &["image"]).await;
    live.launch_offer(2, &Setup::nodes(1), offer(&["text"], &["image"])).await;
    live.until_ready(&Setup::nodes(2)).await;
    live.break_node(0, Fault::Refuse { status: 500 });
    let body = json!({ "prompt": "a balance", "provider": { "order": ["provider-1"] } });
    let wire = post(&live, "/v1/images/generations", body).await;
    let request = wire.request();
    let reply = wire.reply().await;
    assert_eq!(reply.status.as_u16(), 200, "{}", reply.json);
    assert_eq!(live.billed(request).await.charge, CHARGE);
    live.break_node(1, Fault::Refuse { status: 500 });
    let wire = post(&live, "/v1/images/generations", json!({ "prompt": "a balance" })).await;
    let request = wire.request();
    let reply = wire.reply().await;
    assert_eq!((reply.status.as_u16(), reply.code()), (502, Some("provider_error")), "{}", reply.json);
    assert_eq!(live.billed(request).await.charge, 0);
    live.books_add_up().await;
}

#[tokio::test]
async fn speech_is_a_sound_of_the_engines_own_kind_and_is_made_once_for_a_key() {
    let live = offering(&["text"], &["speech"]).await;
    let body = json!({ "model": MODEL, "input": "hello", "voice": "alloy" }).to_string();
    let speak = async || {
        let headers = [("idempotency-key", "one")];
        live.call_with(Method::POST, "/v1/audio/speech", Some(&live.key), &headers, body.clone()).await
    };
    let wire = speak().await;
    let request = wire.request();
    assert_eq!((wire.status.as_u16(), wire.header("content-type")), (200, Some("audio/wav")));
    let sound = wire.bytes().await;
    assert!(sound.starts_with(b"RIFF") && sound.len() == 44, "{sound:?}");
    assert_eq!(live.billed(request).await.charge, CHARGE);
    let again = speak().await;
    assert_eq!((again.header("idempotent-replayed"), again.header("content-type")), (Some("true"), Some("audio/wav")));
    assert_eq!((again.bytes().await, live.settled().await), (sound, 1));
    live.books_add_up().await;
}

#[tokio::test]
async fn the_words_of_a_sound_are_asked_for_by_a_form() {
    let live = offering(&["audio"], &["transcription"]).await;
    let fields = [("model", MODEL), ("language", "en"), ("user", "somebody")];
    for path in ["/v1/audio/transcriptions", "/v1/audio/translations"] {
        let wire = listen(&live, path, &[FORM], form("b1", &fields)).await;
        let request = wire.request();
        let reply = wire.reply().await;
        assert_eq!(reply.status.as_u16(), 200, "{}", reply.json);
        assert_eq!(reply.json, json!({ "text": "These words are simulated: nobody listened." }));
        assert_eq!(live.billed(request).await.charge, CHARGE);
    }
    let path = "/v1/audio/transcriptions";
    let json = live.call(Method::POST, path, Some(&live.key), "{}").await.reply().await;
    assert_eq!((json.status.as_u16(), json.code()), (415, Some("unsupported_media_type")));
    let without = "--b1\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nx\r\n--b1--\r\n";
    for (body, param) in [
        (Bytes::from(without), json!("file")),
        (form("b1", &[]), json!("model")),
        (form("b1", &[("model", MODEL), ("stream", "true")]), json!("stream")),
        (form("b1", &[("model", MODEL), ("provider", "{\"onyl\":1}")]), json!("provider.onyl")),
        (Bytes::from("no form"), Value::Null),
    ] {
        let refused = listen(&live, path, &[FORM], body).await.reply().await;
        assert_eq!((refused.status.as_u16(), &refused.json["error"]["param"]), (400, &param), "{}", refused.json);
    }
    live.books_add_up().await;
}

#[tokio::test]
async fn a_keyed_form_runs_once_whatever_its_boundary_and_has_a_largest_size() {
    let setup = Setup::nodes(0).with(|config| config.gateway.max_body_bytes = 4_096);
    let mut live = setup.start().await;
    let offer = OfferConfig {
        input_modalities: vec!["audio".to_owned()],
        output_modalities: vec!["transcription".to_owned()],
        ..OfferConfig::new(MODEL, Price::ZERO, Price::ZERO)
    };
    live.launch_offer(1, &Setup::nodes(1), offer).await;
    live.until_ready(&Setup::nodes(1)).await;
    let path = "/v1/audio/transcriptions";
    let keyed = async |boundary: &str, language: &str| {
        let kind = format!("multipart/form-data; boundary={boundary}");
        let headers = [("content-type", kind.as_str()), ("idempotency-key", "one")];
        let body = form(boundary, &[("model", MODEL), ("language", language)]);
        listen(&live, path, &headers, body).await.reply().await
    };
    let (first, again, other) = (keyed("b1", "en").await, keyed("b2", "en").await, keyed("b1", "fr").await);
    assert_eq!((first.status.as_u16(), again.header("idempotent-replayed")), (200, Some("true")), "{}", first.json);
    assert_eq!((first.json, live.settled().await), (again.json, 1));
    assert_eq!((other.status.as_u16(), other.code()), (422, Some("idempotency_key_reused")));
    let long = "x".repeat(5_000);
    let large = listen(&live, path, &[FORM], form("b1", &[("model", MODEL), ("prompt", &long)])).await.reply().await;
    assert_eq!((large.status.as_u16(), large.code()), (413, Some("request_too_large")));
}

#[tokio::test]
async fn a_model_that_nobody_offers_in_this_form_is_refused_before_anybody_is_asked() {
    let live = Live::start().await;
    let none = |told: Value| {
        let availability = &told["error"]["availability"];
        (&availability["code"], &availability["excluded_by"]) == (&json!("no_endpoints"), &json!([]))
    };
    for (path, fields) in [
        ("/v1/moderations", json!({ "input": "x" })),
        ("/v1/images/generations", json!({ "prompt": "x" })),
        ("/v1/audio/speech", json!({ "input": "x", "voice": "alloy" })),
    ] {
        let refused = post(&live, path, fields).await.reply().await;
        assert_eq!((refused.status.as_u16(), refused.code()), (404, Some("no_eligible_provider")), "{path}");
        assert!(none(refused.json), "{path}");
    }
    let refused =
        listen(&live, "/v1/audio/transcriptions", &[FORM], form("b1", &[("model", MODEL)])).await.reply().await;
    assert!(none(refused.json));
    assert_eq!(live.settled().await, 0);
}

//! Work other than chat, and other models than the one asked for first.

use http::Method;
use node::config::OfferConfig;
use node::engine::Fault;
use protocol::Price;
use serde_json::{Value, json};

use crate::live::{Frame, Live, MODEL, Setup, Wire};
use crate::support::Reply;

const OTHER: &str = "org/other";

async fn post(live: &Live, path: &str, body: Value) -> Wire {
    live.call(Method::POST, path, Some(&live.key), body.to_string()).await
}

async fn reply(live: &Live, path: &str, body: Value) -> Reply {
    post(live, path, body).await.reply().await
}

fn offer(model: &str) -> OfferConfig {
    let price = |usd| Price::per_million(usd).unwrap();
    OfferConfig::new(model, price("1"), price("10"))
}

#[tokio::test]
async fn completions_answer_every_prompt_and_are_billed_like_chat() {
    let live = Live::start().await;
    let body = json!({ "model": MODEL, "prompt": ["Once", "Twice"], "echo": true, "max_tokens": 3 });
    let whole = post(&live, "/v1/completions", body.clone()).await;
    let request = whole.request();
    let whole = whole.reply().await;
    assert_eq!(whole.status.as_u16(), 200, "{}", whole.json);
    assert_eq!(whole.json["id"], request.text_completion());
    let texts: Vec<&str> =
        whole.json["choices"].as_array().unwrap().iter().map(|choice| choice["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["OnceThis answer is", "TwiceThis answer is"]);
    assert_eq!(
        (&whole.json["object"], &whole.json["usage"]["completion_tokens"]),
        (&json!("text_completion"), &json!(6))
    );
    assert!(whole.json["usage"]["cost"].as_f64().is_some_and(|cost| cost > 0.0));
    let billed = live.billed(request).await;
    assert_eq!((billed.outcome.as_str(), billed.completion), ("length", 6));

    let mut streamed = body;
    (streamed["stream"], streamed["stream_options"]) = (true.into(), json!({ "include_usage": true }));
    let frames = post(&live, "/v1/completions", streamed).await.frames().await;
    let (done, chunks) = frames.split_last().unwrap();
    assert!(done.is_done());
    let chunks: Vec<Value> = chunks.iter().map(Frame::json).collect();
    let text: String = chunks
        .iter()
        .filter(|chunk| chunk["choices"][0]["index"] == 1)
        .map(|chunk| chunk["choices"][0]["text"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(text, "TwiceThis answer is");
    assert_eq!(chunks.last().unwrap()["usage"]["completion_tokens"], 6);
    live.books_add_up().await;
}

#[tokio::test]
async fn embeddings_come_in_order_in_either_form_for_the_price_of_their_prompt() {
    let mut live = Setup::nodes(0).start().await;
    let vectors = OfferConfig { output_modalities: vec!["embeddings".to_owned()], ..offer(MODEL) };
    live.launch_offer(1, &Setup::nodes(1), vectors).await;
    live.until_ready(&Setup::nodes(1)).await;
    let input = json!(["first text", "second text", "first text"]);
    let floats = post(&live, "/v1/embeddings", json!({ "model": MODEL, "input": input })).await;
    let request = floats.request();
    let floats = floats.reply().await;
    assert_eq!(floats.status.as_u16(), 200, "{}", floats.json);
    let vector = |reply: &Reply, at: usize| reply.json["data"][at]["embedding"].clone();
    assert_eq!((vector(&floats, 0), vector(&floats, 0).as_array().unwrap().len()), (vector(&floats, 2), 32));
    assert_ne!(vector(&floats, 0), vector(&floats, 1));
    let billed = live.billed(request).await;
    assert_eq!((billed.outcome.as_str(), billed.completion), ("completed", 0));
    assert!(billed.charge > 0 && billed.charge < 50_000, "{billed:?}");
    let base64 =
        reply(&live, "/v1/embeddings", json!({ "model": MODEL, "input": input, "encoding_format": "base64" })).await;
    let text = vector(&base64, 0);
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text.as_str().unwrap()).unwrap();
    let first = f32::from_le_bytes(bytes[..4].try_into().unwrap());
    assert!((f64::from(first) - vector(&floats, 0)[0].as_f64().unwrap()).abs() < 1e-6);
    // Who offers vectors offers no conversation.
    let chat = live.chat(json!({})).await.reply().await;
    assert_eq!((chat.status.as_u16(), chat.code()), (404, Some("no_eligible_provider")));
    live.books_add_up().await;
}

#[tokio::test]
async fn a_model_nobody_offers_is_replaced_by_the_next_one_named() {
    let live = Live::start().await;
    let reply = live.chat(json!({ "model": "org/absent", "models": ["org/absent-too", MODEL] })).await.reply().await;
    assert_eq!((reply.status.as_u16(), &reply.json["model"]), (200, &json!(MODEL)), "{}", reply.json);
    let none = live.chat(json!({ "model": "org/absent", "models": ["org/absent-too"] })).await.reply().await;
    assert_eq!((none.status.as_u16(), none.code()), (404, Some("model_not_found")));
    assert_eq!(none.json["error"]["availability"]["fallback_models"], json!(["org/absent-too"]));
}

#[tokio::test]
async fn a_model_whose_nodes_all_fail_is_replaced_before_the_client_notices() {
    let mut live = Live::start().await;
    live.admin(&["model", "add", "--id", OTHER, "--context-length", "32768"]).await;
    live.app.refresh_catalogue().await.unwrap();
    live.launch_offer(2, &Setup::nodes(1), offer(OTHER)).await;
    live.until_ready(&Setup::nodes(1)).await;
    live.break_node(0, Fault::ErrorAfter { chunks: 0 });
    for stream in [false, true] {
        let wire = live.chat(json!({ "models": [OTHER], "stream": stream })).await;
        let request = wire.request();
        assert_eq!(wire.status, 200);
        let model = if stream {
            wire.frames().await[0].json()["model"].clone()
        } else {
            wire.reply().await.json["model"].clone()
        };
        assert_eq!(model, OTHER);
        let billed = live.billed(request).await;
        assert_eq!((billed.outcome.as_str(), billed.attempts.len()), ("completed", 2), "{billed:?}");
        assert_eq!(billed.attempts[0].earned, 0);
    }
    live.books_add_up().await;
}

#[tokio::test]
async fn bad_completions_and_embeddings_name_their_field_and_cost_nothing() {
    let live = Live::start().await;
    for (path, body, param) in [
        ("/v1/completions", json!({ "model": MODEL }), "prompt"),
        ("/v1/completions", json!({ "model": MODEL, "prompt": [] }), "prompt"),
        ("/v1/completions", json!({ "model": MODEL, "prompt": "a", "suffix": "b" }), "suffix"),
        ("/v1/completions", json!({ "model": MODEL, "prompt": "a", "max_tokens": "b" }), "max_tokens"),
        ("/v1/embeddings", json!({ "model": MODEL }), "input"),
        ("/v1/embeddings", json!({ "model": MODEL, "input": [""] }), "input[0]"),
        ("/v1/embeddings", json!({ "model": MODEL, "input": "a", "encoding_format": "hex" }), "encoding_format"),
        ("/v1/embeddings", json!({ "input": "a" }), "model"),
    ] {
        let reply = reply(&live, path, body.clone()).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json["error"]["param"]),
            (400, &json!(param)),
            "{body}: {}",
            reply.json
        );
    }
    assert_eq!(live.charged().await, 0);
}

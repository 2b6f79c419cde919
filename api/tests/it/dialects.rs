//! Responses and Messages over a whole broker: the same answer, bill and books in other words.

use http::Method;
use node::engine::Fault;
use serde_json::{Value, json};

use crate::live::{Frame, Live, MODEL, Wire};

const ANSWER: &str = "This answer is simulated: no model ran";

async fn post(live: &Live, path: &str, body: Value) -> Wire {
    live.call(Method::POST, path, Some(&live.key), body.to_string()).await
}

/// An event's name and data; every frame with an `event:` line has both.
fn event(frame: &Frame) -> (String, Value) {
    let (name, data) = frame.text.split_once('\n').unwrap_or_else(|| panic!("{frame:?}"));
    let data = data.strip_prefix("data: ").unwrap();
    (name.strip_prefix("event: ").unwrap().to_owned(), serde_json::from_str(data).unwrap())
}

#[tokio::test]
async fn a_response_comes_whole_or_in_events_and_is_billed_once() {
    let live = Live::start().await;
    let body = json!({ "model": MODEL, "input": "hello", "instructions": "be brief" });
    let whole = post(&live, "/v1/responses", body.clone()).await;
    let request = whole.request();
    let reply = whole.reply().await;
    assert_eq!(reply.status.as_u16(), 200, "{}", reply.json);
    assert_eq!((&reply.json["id"], &reply.json["status"]), (&json!(request.response()), &json!("completed")));
    assert_eq!(reply.json["output"][0]["content"][0]["text"], ANSWER);
    assert_eq!((&reply.json["store"], &reply.json["usage"]["output_tokens"]), (&json!(false), &json!(8)));
    let billed = live.billed(request).await;
    assert_eq!((billed.outcome.as_str(), billed.completion), ("completed", 8));

    let mut streamed = body;
    streamed["stream"] = true.into();
    let wire = post(&live, "/v1/responses", streamed).await;
    let request = wire.request();
    let frames = wire.frames().await;
    let (done, events) = frames.split_last().unwrap();
    assert!(done.is_done());
    let events: Vec<(String, Value)> = events.iter().map(event).collect();
    for (number, (name, data)) in events.iter().enumerate() {
        assert_eq!((&data["type"], &data["sequence_number"]), (&json!(name), &json!(number)));
    }
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        (names[0], names[1], names[names.len() - 1]),
        ("response.created", "response.in_progress", "response.completed")
    );
    let text: String = events
        .iter()
        .filter(|(name, _)| name == "response.output_text.delta")
        .map(|(_, data)| data["delta"].as_str().unwrap())
        .collect();
    assert_eq!(text, ANSWER);
    assert!(events.last().unwrap().1["response"]["usage"]["cost"].as_f64().is_some_and(|cost| cost > 0.0));
    assert_eq!(live.billed(request).await.completion, 8);
    let absent = live.call(Method::GET, "/v1/responses/resp_1", Some(&live.key), "").await.reply().await;
    assert_eq!((absent.status.as_u16(), absent.code()), (404, Some("not_found")));
    let stored =
        post(&live, "/v1/responses", json!({ "model": MODEL, "input": "a", "background": true })).await.reply().await;
    assert_eq!((stored.status.as_u16(), stored.code()), (400, Some("unsupported_parameter")));
    live.books_add_up().await;
}

#[tokio::test]
async fn a_verb_of_responses_that_is_not_served_is_an_unknown_url() {
    let live = Live::start().await;
    let reply = post(&live, "/v1/responses/compact", json!({ "model": MODEL })).await.reply().await;
    assert_eq!((reply.status.as_u16(), reply.code()), (404, Some("unknown_url")));
    let reply = live.call(Method::DELETE, "/v1/responses/resp_1", Some(&live.key), "").await.reply().await;
    assert_eq!(reply.status.as_u16(), 405);
}

#[tokio::test]
async fn a_message_comes_whole_or_in_events_and_errors_are_in_its_own_shape() {
    let live = Live::start().await;
    let body = json!({ "model": MODEL, "max_tokens": 64, "messages": [{ "role": "user", "content": "hello" }] });
    let whole = post(&live, "/v1/messages", body.clone()).await;
    let request = whole.request();
    assert_eq!(whole.header("request-id"), whole.header("x-request-id"));
    let reply = whole.reply().await;
    assert_eq!(reply.status.as_u16(), 200, "{}", reply.json);
    assert_eq!((&reply.json["id"], &reply.json["type"]), (&json!(request.message()), &json!("message")));
    assert_eq!((&reply.json["content"][0]["text"], &reply.json["stop_reason"]), (&json!(ANSWER), &json!("end_turn")));
    assert_eq!(reply.json["usage"]["output_tokens"], 8);

    let mut streamed = body.clone();
    streamed["stream"] = true.into();
    let wire = post(&live, "/v1/messages", streamed.clone()).await;
    let request = wire.request();
    let events: Vec<(String, Value)> = wire.frames().await.iter().map(event).collect();
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((names[0], names[names.len() - 1]), ("message_start", "message_stop"));
    let text: String = events
        .iter()
        .filter(|(name, _)| name == "content_block_delta")
        .map(|(_, data)| data["delta"]["text"].as_str().unwrap())
        .collect();
    assert_eq!(text, ANSWER);
    assert_eq!(live.billed(request).await.completion, 8);

    for (change, status, kind) in [
        (json!({ "max_tokens": null }), 400, "invalid_request_error"),
        (json!({ "model": "org/absent" }), 404, "not_found_error"),
    ] {
        let mut bad = body.clone();
        change.as_object().unwrap().iter().for_each(|(name, value)| bad[name] = value.clone());
        let reply = post(&live, "/v1/messages", bad).await.reply().await;
        assert_eq!((reply.status.as_u16(), &reply.json["type"]), (status, &json!("error")), "{}", reply.json);
        assert_eq!(reply.json["error"]["type"], kind);
        assert!(reply.json["request_id"].as_str().unwrap().starts_with("req_"));
    }
    let unknown = live.call(Method::POST, "/v1/messages", Some("sk-none"), body.to_string()).await.reply().await;
    assert_eq!((unknown.status.as_u16(), &unknown.json["error"]["type"]), (401, &json!("authentication_error")));
    let count = post(&live, "/v1/messages/count_tokens", body.clone()).await.reply().await;
    assert!(count.json["input_tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{}", count.json);

    live.break_node(0, Fault::CloseAfter { chunks: 3 });
    let broken: Vec<(String, Value)> =
        post(&live, "/v1/messages", streamed).await.frames().await.iter().map(event).collect();
    let (name, data) = broken.last().unwrap();
    assert_eq!((name.as_str(), &data["type"]), ("error", &json!("error")));
    live.books_add_up().await;
}

#[tokio::test]
async fn refusals_from_around_the_messages_routes_are_in_their_shape_too() {
    let live = Live::start().await;
    let ask = async |method: Method, path: &str, content: &str| {
        let body = json!({ "model": MODEL, "messages": [{ "role": "user", "content": content }] }).to_string();
        live.call_with(method, path, Some(&live.key), &[("idempotency-key", "one")], body).await.reply().await
    };
    let counted = ask(Method::POST, "/v1/messages/count_tokens", "hello").await;
    assert_eq!(counted.status.as_u16(), 200, "{}", counted.json);
    for (method, path, status, kind, code) in [
        (Method::POST, "/v1/messages/count_tokens", 422, "invalid_request_error", Some("idempotency_key_reused")),
        (Method::GET, "/v1/messages", 405, "invalid_request_error", None),
        (Method::PUT, "/v1/messages/batches", 404, "not_found_error", Some("unknown_url")),
    ] {
        let reply = ask(method, path, "something else").await;
        assert_eq!((reply.status.as_u16(), reply.code()), (status, code), "{path}: {}", reply.json);
        assert_eq!((&reply.json["type"], &reply.json["error"]["type"]), (&json!("error"), &json!(kind)), "{path}");
        assert_eq!(reply.json["request_id"].as_str(), reply.header("request-id"));
    }
}

//! Nodes that fail: unnoticed while another can answer, told in words when none can.

use std::time::{Duration, Instant};

use node::engine::{Fault, Latency};
use serde_json::{Value, json};

use crate::live::{Billed, Frame, Live, MODEL, PATIENCE, Setup, content, finish, last_error, until};

/// What a simulated engine says in eight tokens.
const ANSWER: &str = "This answer is simulated: no model ran";

/// Deadlines that make a test short; the machine may be slow, so they are not tight.
fn impatient(setup: Setup) -> Setup {
    setup.with(|config| {
        let attempt = &mut config.scheduler.attempt;
        (attempt.first_content_min_ms, attempt.first_content_max_ms) = (500, 500);
        (attempt.gap_min_ms, attempt.gap_max_ms) = (500, 500);
    })
}

/// The broken node first, any other after it.
fn first_provider() -> Value {
    json!({ "order": ["provider-1"] })
}

/// What the client sees of a request that a broken node got first: all of it, from the other one.
async fn is_unnoticed(live: &Live, fault: Fault, code: &str, status: &[Option<i32>]) {
    live.break_node(0, fault);
    let fields = json!({ "provider": first_provider(), "stream_options": { "include_usage": true } });
    let (request, frames) = live.told(fields).await;
    assert_eq!(content(&frames, 0), ANSWER, "{fault:?}: {frames:?}");
    assert_eq!(finish(&frames), ["stop"], "{fault:?}");
    assert!(frames.last().is_some_and(Frame::is_done), "{fault:?}");
    let billed = live.billed(request).await;
    is_one_bill(&billed, code, status, fault);

    let plain = live.chat(json!({ "provider": first_provider() })).await;
    let request = plain.request();
    let reply = plain.reply().await;
    assert_eq!((reply.status.as_u16(), &reply.json["choices"][0]["finish_reason"]), (200, &json!("stop")), "{fault:?}");
    assert_eq!(reply.json["provider"], "provider-2");
    let billed = live.billed(request).await;
    assert_eq!((billed.outcome.as_str(), billed.completion), ("completed", 8), "{fault:?}");
}

fn is_one_bill(billed: &Billed, code: &str, status: &[Option<i32>], fault: Fault) {
    assert_eq!((billed.outcome.as_str(), billed.completion), ("completed", 8), "{fault:?}: {billed:?}");
    let [failed, served] = &billed.attempts[..] else { panic!("{fault:?}: {billed:?}") };
    assert_eq!((failed.outcome.as_str(), failed.earned), ("provider_failed", 0), "{fault:?}");
    assert_eq!(failed.code.as_deref(), Some(code), "{fault:?}");
    assert!(status.contains(&failed.status), "{fault:?}: {billed:?}");
    assert_eq!(served.outcome, "completed");
    assert!(served.earned > 0 && billed.charge > served.earned, "{billed:?}");
}

macro_rules! unnoticed {
    ($name:ident, $fault:expr, $code:literal, $status:expr) => {
        #[tokio::test]
        async fn $name() {
            let live = impatient(Setup::nodes(2)).start().await;
            is_unnoticed(&live, $fault, $code, &$status).await;
            live.books_add_up().await;
        }
    };
}

unnoticed!(an_engine_that_fails_is_not_noticed, Fault::Refuse { status: 500 }, "status", [Some(500)]);
unnoticed!(an_engine_that_is_full_is_not_noticed, Fault::Refuse { status: 429 }, "busy", [Some(429)]);
unnoticed!(an_engine_that_wants_another_key_is_not_noticed, Fault::Refuse { status: 401 }, "status", [Some(401)]);
unnoticed!(a_hang_before_headers_is_not_noticed, Fault::HangBeforeHeaders, "first_content_timeout", [None]);
unnoticed!(a_hang_after_headers_is_not_noticed, Fault::HangAfterHeaders, "first_content_timeout", [Some(200)]);
unnoticed!(garbage_before_content_is_not_noticed, Fault::GarbageAfter { chunks: 0 }, "malformed", [Some(200)]);
unnoticed!(an_error_before_content_is_not_noticed, Fault::ErrorAfter { chunks: 0 }, "in_band_error", [Some(200)]);
// A reset overtakes the headers before it, or does not.
unnoticed!(a_close_before_content_is_not_noticed, Fault::CloseAfter { chunks: 0 }, "reset", [Some(200), None]);
unnoticed!(an_engine_that_dies_is_not_noticed, Fault::Die { after_chunks: 0 }, "status", [Some(502)]);

#[tokio::test]
async fn when_every_node_fails_the_client_learns_who_did_and_pays_nothing() {
    let cases = [
        (Fault::Refuse { status: 500 }, 502, "provider_error", "status"),
        (Fault::HangBeforeHeaders, 504, "provider_timeout", "first_content_timeout"),
        (Fault::ErrorAfter { chunks: 0 }, 502, "provider_error", "in_band_error"),
    ];
    for (fault, status, code, word) in cases {
        // Afresh each time: the breakers remember.
        let live = impatient(Setup::nodes(2)).start().await;
        (0..2).for_each(|node| live.break_node(node, fault));
        for stream in [true, false] {
            let wire = live.chat(json!({ "stream": stream })).await;
            let request = wire.request();
            let reply = wire.reply().await;
            assert_eq!((reply.status.as_u16(), reply.code()), (status, Some(code)), "{fault:?} {}", reply.json);
            assert_eq!(reply.json["error"]["type"], "server_error");
            let previous = reply.json["error"]["metadata"]["previous_errors"].as_array().unwrap().clone();
            assert_eq!(previous.len(), 2, "{previous:?}");
            assert!(previous.iter().all(|one| one["code"] == word), "{previous:?}");
            assert_ne!(previous[0]["provider"], previous[1]["provider"]);
            assert!(!reply.json.to_string().contains("on purpose"), "an engine's own words leak: {}", reply.json);
            let billed = live.billed(request).await;
            assert_eq!((billed.charge, billed.attempts.len()), (0, 2));
            assert!(billed.attempts.iter().all(|one| one.earned == 0));
        }
        assert_eq!(live.charged().await, 0);
        live.books_add_up().await;
    }
}

#[tokio::test]
async fn when_every_node_is_full_the_client_is_told_when_to_come_back() {
    let live = impatient(Setup::nodes(2)).start().await;
    (0..2).for_each(|node| live.break_node(node, Fault::Refuse { status: 429 }));
    let reply = live.chat(json!({})).await.reply().await;
    assert_eq!((reply.status.as_u16(), reply.code()), (429, Some("capacity_exhausted")), "{}", reply.json);
    assert_eq!(reply.json["error"]["type"], "rate_limit_error");
    assert_eq!(reply.json["error"]["availability"]["retryable"], true);
    assert_eq!(reply.json["error"]["metadata"]["previous_errors"].as_array().unwrap().len(), 2);
    assert!(reply.header("retry-after").is_some_and(|wait| (1..=60).contains(&wait.parse().unwrap())));
    assert!(reply.header("retry-after-ms").is_some());
    assert_eq!(live.charged().await, 0);
}

#[tokio::test]
async fn a_request_that_two_engines_refuse_is_the_callers_fault() {
    let live = impatient(Setup::nodes(2)).start().await;
    live.break_node(0, Fault::Refuse { status: 400 });
    let reply = live.chat(json!({ "provider": first_provider() })).await.reply().await;
    assert_eq!(reply.status, 200, "one node's word is not enough: {}", reply.json);
    live.break_node(1, Fault::Refuse { status: 422 });
    let reply = live.chat(json!({})).await.reply().await;
    assert_eq!((reply.status.as_u16(), reply.code()), (400, Some("invalid_value")), "{}", reply.json);
    live.books_add_up().await;
}

/// What is seen of an answer that breaks after its first text: a word, in band, and no bill.
async fn is_told_in_band(live: &Live, fault: Fault, code: &str, status: u16) {
    live.break_node(0, fault);
    let (request, frames) = live.told(json!({})).await;
    let error = last_error(&frames);
    assert_eq!((&error["code"], &error["type"], &error["param"]), (&json!(code), &json!("server_error"), &Value::Null));
    assert_eq!(error["metadata"]["http_status"], status, "{fault:?}");
    assert!(error["message"].as_str().is_some_and(|words| !words.contains("on purpose")), "{error}");
    let chunk = frames[frames.len() - 2].json();
    assert_eq!((&chunk["id"], &chunk["model"]), (&json!(request.chat_completion()), &json!(MODEL)));
    assert!(!content(&frames, 0).is_empty(), "{fault:?} came before any text");
    is_not_charged(&live.billed(request).await);
}

fn is_not_charged(billed: &Billed) {
    assert_eq!((billed.outcome.as_str(), billed.charge), ("provider_failed", 0), "{billed:?}");
    assert!(billed.attempts.iter().all(|one| one.earned == 0), "{billed:?}");
}

#[tokio::test]
async fn an_answer_that_breaks_after_its_first_text_says_so_and_is_free() {
    let live = impatient(Setup::nodes(1)).start().await;
    is_told_in_band(&live, Fault::CloseAfter { chunks: 3 }, "provider_disconnected", 502).await;
    is_told_in_band(&live, Fault::ErrorAfter { chunks: 3 }, "provider_disconnected", 502).await;
    is_told_in_band(&live, Fault::GarbageAfter { chunks: 3 }, "provider_disconnected", 502).await;
    live.books_add_up().await;
}

#[tokio::test]
async fn an_answer_that_falls_silent_says_so_and_is_free() {
    let live = impatient(Setup::nodes(1)).start().await;
    is_told_in_band(&live, Fault::StallAfter { chunks: 3 }, "provider_timeout", 504).await;
    live.until_idle(Duration::from_secs(1)).await;
    live.books_add_up().await;
}

#[tokio::test]
async fn a_plain_answer_that_breaks_in_the_middle_is_an_error_and_free() {
    let live = impatient(Setup::nodes(1)).start().await;
    for (fault, status) in [(Fault::CloseAfter { chunks: 3 }, 502), (Fault::StallAfter { chunks: 3 }, 504)] {
        live.break_node(0, fault);
        let wire = live.chat(json!({})).await;
        let request = wire.request();
        let reply = wire.reply().await;
        assert_eq!(reply.status, status, "{}", reply.json);
        assert_eq!(reply.json["error"]["metadata"]["previous_errors"][0]["provider"], "provider-1");
        is_not_charged(&live.billed(request).await);
    }
    live.books_add_up().await;
}

#[tokio::test]
async fn a_node_that_vanishes_in_the_middle_of_an_answer_is_told_in_band() {
    let live = Setup::nodes(1).pace(500, 10.0).start().await;
    let mut wire = live.chat(json!({ "stream": true })).await;
    let request = wire.request();
    wire.until_text().await;
    let killed = Instant::now();
    live.nodes[0].handle.kill();
    let frames = wire.frames().await;
    assert!(killed.elapsed() < Duration::from_secs(2), "noticed after {:?}", killed.elapsed());
    assert_eq!(last_error(&frames)["code"], "provider_disconnected");
    is_not_charged(&live.billed(request).await);
    live.books_add_up().await;
}

#[tokio::test]
async fn a_node_that_vanishes_before_its_first_text_is_not_noticed() {
    let mut setup = Setup::nodes(2);
    setup.latency = Latency { ttft_ms: 400.0, ..setup.latency };
    let live = setup.start().await;
    live.until_idle(PATIENCE).await;
    let asking = live.told(json!({ "provider": first_provider() }));
    let killing = async {
        until("the first node is asked", PATIENCE, async || live.nodes[0].engine.active() == 1).await;
        live.nodes[0].handle.kill();
    };
    let ((request, frames), ()) = tokio::join!(asking, killing);
    assert_eq!(finish(&frames), ["stop"]);
    let billed = live.billed(request).await;
    assert_eq!((billed.outcome.as_str(), billed.attempts.len()), ("completed", 2), "{billed:?}");
    assert_eq!((billed.attempts[0].code.as_deref(), billed.attempts[0].earned), (Some("reset"), 0));
    // Nobody is sent there again while it is gone.
    for _ in 0..5 {
        let (_, frames) = live.told(json!({ "provider": first_provider() })).await;
        assert_eq!(finish(&frames), ["stop"]);
    }
    live.books_add_up().await;
}

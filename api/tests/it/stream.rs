//! Streams on the wire: their frames, their pace, and what becomes of them when somebody leaves.

use std::time::{Duration, Instant};

use node::engine::{Fault, Latency};
use protocol::NanoUsd;
use serde_json::{Value, json};

use crate::live::{Frame, Live, MODEL, Setup, content, finish, last_error};

fn chunks(frames: &[Frame]) -> Vec<Value> {
    let (done, chunks) = frames.split_last().unwrap();
    assert!(done.is_done(), "{frames:?}");
    chunks.iter().map(Frame::json).collect()
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// What holds for every chunk of every stream, whatever was asked for.
fn are_of_one_answer(chunks: &[Value], id: &str) {
    let created = &chunks[0]["created"];
    assert!(created.as_i64().is_some_and(|at| at > 1_700_000_000));
    for chunk in chunks {
        assert_eq!((&chunk["id"], &chunk["created"], &chunk["model"]), (&json!(id), created, &json!(MODEL)));
        assert_eq!(chunk["object"], "chat.completion.chunk");
        for choice in chunk["choices"].as_array().unwrap() {
            assert_eq!(keys(choice), ["delta", "finish_reason", "index", "logprobs"]);
        }
    }
}

#[tokio::test]
async fn a_stream_opens_speaks_finishes_and_ends() {
    let live = Live::start().await;
    let mut wire = live.chat(json!({ "stream": true })).await;
    assert_eq!(wire.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!((wire.header("cache-control"), wire.header("x-accel-buffering")), (Some("no-cache"), Some("no")));
    assert_eq!(wire.header("openai-version"), Some("2020-10-01"));
    let id = wire.request().chat_completion();
    let mut frames = Vec::new();
    while let Some(frame) = wire.frame().await {
        assert!(frame.text.starts_with("data: ") && !frame.text.contains('\n'), "{frame:?}");
        frames.push(frame);
    }
    let chunks = chunks(&frames);
    are_of_one_answer(&chunks, &id);
    assert_eq!(chunks.len(), 1 + 8 + 1);
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({ "role": "assistant", "content": "", "refusal": null }));
    for chunk in &chunks[1..9] {
        assert_eq!(keys(&chunk["choices"][0]["delta"]), ["content"]);
        assert_eq!(chunk["choices"][0]["finish_reason"], Value::Null);
    }
    assert_eq!(
        (&chunks[9]["choices"][0]["delta"], &chunks[9]["choices"][0]["finish_reason"]),
        (&json!({}), &json!("stop"))
    );
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()), "nobody asked for usage");
}

#[tokio::test]
async fn usage_comes_once_at_the_end_to_those_who_ask() {
    let live = Live::start().await;
    for wish in [json!({ "stream_options": { "include_usage": true } }), json!({ "usage": { "include": true } })] {
        let (request, frames) = live.told(wish).await;
        let chunks = chunks(&frames);
        are_of_one_answer(&chunks, &request.chat_completion());
        let (last, rest) = chunks.split_last().unwrap();
        assert!(rest.iter().all(|chunk| chunk.get("usage") == Some(&Value::Null) && chunk["choices"] != json!([])));
        assert_eq!(last["choices"], json!([]));
        let usage = &last["usage"];
        assert_eq!(usage["completion_tokens"], 8);
        let total = usage["prompt_tokens"].as_i64().unwrap() + 8;
        assert_eq!(usage["total_tokens"], total);
        assert!(usage["cost"].is_number() && usage["prompt_tokens_details"]["cached_tokens"] == 0);
        assert_eq!(usage["completion_tokens_details"]["reasoning_tokens"], 0);
    }
}

#[tokio::test]
async fn several_choices_open_in_order_and_each_finishes() {
    let live = Live::start().await;
    let (request, frames) = live.told(json!({ "n": 2, "max_tokens": 4 })).await;
    let chunks = chunks(&frames);
    are_of_one_answer(&chunks, &request.chat_completion());
    let opened: Vec<_> = chunks.iter().filter(|chunk| chunk["choices"][0]["delta"].get("role").is_some()).collect();
    assert_eq!(opened.iter().map(|chunk| chunk["choices"][0]["index"].as_i64().unwrap()).collect::<Vec<_>>(), [0, 1]);
    assert_eq!((content(&frames, 0), finish(&frames)), (content(&frames, 1), vec!["length".to_owned(); 2]));
    assert_eq!(live.billed(request).await.completion, 8);
    live.books_add_up().await;
}

#[tokio::test]
async fn a_plain_answer_is_one_whole_completion() {
    let live = Live::start().await;
    let wire = live.chat(json!({ "n": 2 })).await;
    let id = wire.request().chat_completion();
    assert_eq!(wire.header("content-type"), Some("application/json"));
    let answer = wire.reply().await.json;
    assert_eq!(
        (&answer["id"], &answer["object"], &answer["model"]),
        (&json!(id), &json!("chat.completion"), &json!(MODEL))
    );
    assert_eq!((&answer["provider"], &answer["service_tier"]), (&json!("provider-1"), &json!("default")));
    assert!(answer.get("system_fingerprint").is_none());
    for (index, choice) in answer["choices"].as_array().unwrap().iter().enumerate() {
        assert_eq!(
            (&choice["index"], &choice["finish_reason"], &choice["logprobs"]),
            (&json!(index), &json!("stop"), &Value::Null)
        );
        assert_eq!(keys(&choice["message"]), ["annotations", "content", "refusal", "role"]);
    }
    assert_eq!(answer["usage"]["completion_tokens"], 16);
}

#[tokio::test]
async fn a_long_silence_is_kept_company_and_failures_stay_in_band() {
    let mut setup = Setup::default().with(|config| {
        (config.gateway.commit_after_ms, config.gateway.keepalive_ms) = (150, 100);
    });
    setup.latency = Latency { ttft_ms: 700.0, ..setup.latency };
    let live = setup.start().await;
    let asked = Instant::now();
    let wire = live.chat(json!({ "stream": true })).await;
    assert!(asked.elapsed() < Duration::from_millis(600), "the status waited for the first token");
    let frames = wire.frames().await;
    let comments = frames.iter().take_while(|frame| frame.text == ": keepalive").count();
    assert!((2..=6).contains(&comments), "{comments} keep-alives in half a second");
    assert_eq!(finish(&frames), ["stop"]);

    live.break_node(0, Fault::Refuse { status: 500 });
    let early = live.chat(json!({ "stream": true })).await;
    assert_eq!(early.status, 502, "what fails before the status is out is a real status");
}

#[tokio::test]
async fn what_fails_after_the_status_is_out_is_told_in_band() {
    let live = Setup::default()
        .with(|config| {
            config.gateway.commit_after_ms = 50;
            let attempt = &mut config.scheduler.attempt;
            (attempt.first_content_min_ms, attempt.first_content_max_ms) = (400, 400);
        })
        .start()
        .await;
    live.break_node(0, Fault::HangAfterHeaders);
    let (request, frames) = live.told(json!({})).await;
    let error = last_error(&frames);
    assert_eq!((&error["code"], &error["metadata"]["http_status"]), (&json!("provider_timeout"), &json!(504)));
    assert_eq!(live.billed(request).await.charge, 0);
    live.books_add_up().await;
}

#[tokio::test]
async fn chunks_arrive_one_by_one() {
    let live = Setup::default().pace(20, 40.0).start().await;
    let (_, frames) = live.told(json!({})).await;
    let times: Vec<_> = frames.iter().filter(|frame| !frame.delta().is_empty()).map(|frame| frame.at).collect();
    assert_eq!(times.len(), 20);
    let apart = times.windows(2).filter(|pair| pair[1] - pair[0] > Duration::from_millis(10)).count();
    assert!(apart >= 15, "only {apart} of 19 chunks came apart from the one before");
    let whole = *times.last().unwrap() - times[0];
    assert!(whole > Duration::from_millis(600), "20 chunks 40 ms apart came within {whole:?}");
}

/// Holds that grow by few tokens. More is borrowed in the background, so the margin must last some 200 ms.
fn growing(tokens: u32) -> Setup {
    let small = |config: &mut api::config::Config| {
        let gateway = &mut config.gateway;
        (gateway.open_ended_tokens, gateway.extend_tokens, gateway.extend_below_tokens) = (32, 32, 24);
    };
    Setup::default().with(small).pace(tokens, 10.0)
}

#[tokio::test]
async fn the_hold_of_an_open_ended_answer_grows_with_it() {
    let live = growing(100).start().await;
    let (request, frames) = live.told(json!({})).await;
    assert_eq!(finish(&frames), ["stop"]);
    let billed = live.billed(request).await;
    assert_eq!((billed.completion, billed.clamped), (100, 0), "{billed:?}");
    assert!(billed.charge >= 100 * 11_000 && billed.hold >= billed.charge, "{billed:?}");
    live.books_add_up().await;
}

#[tokio::test]
async fn an_open_ended_answer_ends_where_the_money_does() {
    let live = growing(2_000).start().await;
    for stream in [true, false] {
        // The prompt's bytes bound its tokens in the hold; beside it there is room for the first part and little more.
        let (_, key) = live.customer("0.0006").await;
        let wire = live.chat_as(&key, json!({ "stream": stream })).await;
        let request = wire.request();
        assert_eq!(wire.status, 200);
        let reason = if stream {
            finish(&wire.frames().await).concat()
        } else {
            crate::support::text(&wire.reply().await.json["choices"][0]["finish_reason"])
        };
        assert_eq!(reason, "length");
        let billed = live.billed(request).await;
        assert_eq!((billed.outcome.as_str(), billed.clamped), ("length", 0), "{billed:?}");
        assert!(billed.completion >= 16 && billed.charge <= "0.0006".parse::<NanoUsd>().unwrap().nano(), "{billed:?}");
        live.until_idle(Duration::from_secs(1)).await;
    }
    live.books_add_up().await;
}

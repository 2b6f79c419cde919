#![allow(clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::tokenizer::Counter;

mod events;

const ID: &str = "chatcmpl-0198c1f2a3b47c5d8e9f00112233aabb";

fn request() -> RequestId {
    RequestId::parse_any(ID).unwrap()
}

fn spoken(dialect: &Dialect, streamed: bool) -> Box<dyn Voice + Send> {
    let (env, _) = platform::testing::env(1);
    let head = Head { request: request(), created_unix_s: 1700, model: "org/name", prompt_tokens: 3, env: &env };
    dialect.voice(head, streamed)
}

fn voice(include_usage: bool) -> Box<dyn Voice + Send> {
    spoken(&Dialect::Chat { include_usage }, true)
}

fn reader(include_usage: bool) -> Reader {
    Reader::new(request(), voice(include_usage))
}

fn whole(events: &[Bytes], tail: Tail<'_>) -> String {
    let mut reader = Reader::new(request(), spoken(&Dialect::Chat { include_usage: false }, false));
    let (mut counter, mut out) = (Counter::new(None), BytesMut::new());
    for event in events {
        reader.read(event, &mut out, &mut counter).unwrap();
    }
    assert!(out.is_empty(), "a whole answer says nothing piece by piece");
    String::from_utf8(reader.whole(tail)).unwrap()
}

/// A stream as llama.cpp writes it: its own order of keys, a time of its own in every chunk.
fn llama() -> String {
    let chunk = |created: u32, choice: &str, more: &str| {
        format!(
            "data: {{\"choices\":[{choice}],\"created\":{created},\"id\":\"chatcmpl-x\",\"model\":\"/m.gguf\",\
             \"system_fingerprint\":\"b1\",\"object\":\"chat.completion.chunk\"{more}}}\n\n"
        )
    };
    let text = |created, text: &str| {
        chunk(created, &format!("{{\"finish_reason\":null,\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}"), "")
    };
    let usage = ",\"usage\":{\"completion_tokens\":7,\"prompt_tokens\":37,\"total_tokens\":44,\"prompt_tokens_details\":\
                 {\"cached_tokens\":24}},\"timings\":{\"cache_n\":24,\"prompt_ms\":69.938}";
    [
        chunk(1, r#"{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}"#, ""),
        text(1, "Hel"),
        text(1, "lo \\\"you\\\"\\n"),
        text(1, "日本"),
        text(2, " and"),
        text(2, "\\ud83d"),
        text(2, "\\ude00"),
        text(2, "\\\\"),
        chunk(2, r#"{"finish_reason":"stop","index":0,"delta":{}}"#, ""),
        chunk(2, "", usage),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat()
}

/// A stream as vLLM writes it: reasoning, text and a tool call, two choices, CRLF and comments.
fn vllm() -> String {
    let chunk = |choice: &str| {
        format!(
            ": ping\r\n\r\nevent: message\r\nid: 7\r\ndata: {{\"id\":\"chatcmpl-y\",\"object\":\"chat.completion.chunk\",\
             \"created\":5,\"model\":\"m\",\"choices\":[{choice}],\"usage\":null}}\r\n\r\n"
        )
    };
    let delta = |index: u32, delta: &str| {
        chunk(&format!("{{\"index\":{index},\"delta\":{delta},\"logprobs\":null,\"finish_reason\":null}}"))
    };
    [
        delta(1, r#"{"role":"assistant","content":""}"#),
        delta(0, r#"{"role":"assistant","content":""}"#),
        delta(0, r#"{"reasoning_content":"Let"}"#),
        delta(0, r#"{"reasoning_content":" me"}"#),
        delta(1, r#"{"content":"A"}"#),
        delta(0, r#"{"reasoning_content":" see"}"#),
        delta(1, r#"{"content":"B"}"#),
        delta(0, r#"{"content":"Right"}"#),
        delta(0, r#"{"tool_calls":[{"id":"chatcmpl-tool-9","type":"function","index":0,"function":{"name":"get"}}]}"#),
        delta(0, r#"{"tool_calls":[{"index":0,"id":"again","type":"function","function":{"name":"get","arguments":"{\"a"}}]}"#),
        delta(0, r#"{"tool_calls":[{"index":0,"function":{"arguments":"\":1}"}},{"index":1,"id":"call_z","function":{"name":"set","arguments":{"b":2}}}]}"#),
        chunk(r#"{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":"tool_use","stop_reason":null}"#),
        chunk(r#"{"index":1,"delta":{"content":"C"},"logprobs":{"content":[{"token":"C"}]},"finish_reason":"eos_token"}"#),
        "data: [DONE]".to_owned(),
        "\r\n\r\n".to_owned(),
    ]
    .concat()
}

fn events(pieces: &[&[u8]]) -> Result<Vec<Bytes>, Error> {
    let mut scanner = EventScanner::new();
    let mut found = Vec::new();
    for piece in pieces {
        scanner.push(Bytes::copy_from_slice(piece));
        while let Some(event) = scanner.next_event()? {
            found.push(event);
        }
    }
    Ok(found)
}

struct Outcome {
    out: String,
    kinds: Vec<Kind>,
    counter: Counter,
    reader: Reader,
}

fn rewrite(events: &[Bytes], include_usage: bool, fast: bool) -> Outcome {
    let mut reader = reader(include_usage);
    let mut counter = Counter::new(None);
    let (mut out, mut kinds) = (BytesMut::new(), Vec::new());
    for event in events {
        if !fast {
            reader.forget_shapes();
        }
        kinds.push(reader.read(event, &mut out, &mut counter).unwrap());
    }
    Outcome { out: String::from_utf8(out.to_vec()).unwrap(), kinds, counter, reader }
}

fn one(stream: &str) -> Vec<Bytes> {
    events(&[stream.as_bytes()]).unwrap()
}

fn frame(choice: &str) -> String {
    format!(
        "data: {{\"id\":\"{ID}\",\"object\":\"chat.completion.chunk\",\"created\":1700,\"model\":\"org/name\",\"choices\":[{choice}]}}\n\n"
    )
}

fn delta(index: u32, delta: &str) -> String {
    frame(&format!("{{\"index\":{index},\"delta\":{{{delta}}},\"logprobs\":null,\"finish_reason\":null}}"))
}

const ROLE: &str = r#""role":"assistant","content":"","refusal":null"#;

#[test]
fn a_llama_stream_becomes_ours() {
    let outcome = rewrite(&one(&llama()), false, true);
    let expected = [
        delta(0, ROLE),
        delta(0, r#""content":"Hel""#),
        delta(0, r#""content":"lo \"you\"\n""#),
        delta(0, r#""content":"日本""#),
        delta(0, r#""content":" and""#),
        delta(0, r#""content":"\ud83d""#),
        delta(0, r#""content":"\ude00""#),
        delta(0, r#""content":"\\""#),
        frame(r#"{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}"#),
    ];
    assert_eq!(outcome.out, expected.concat());
    use Kind::{Content, Done, Finish, Role, UsageOnly};
    let content = [Content; 7];
    assert_eq!(outcome.kinds, [&[Role][..], &content, &[Finish, UsageOnly, Done]].concat());
    assert_eq!(outcome.counter.text(0, Channel::Content), "Hello \"you\"\n日本 and😀\\");
    let usage = UpstreamUsage { prompt_tokens: 37, completion_tokens: 7, cached_tokens: 24, reasoning_tokens: 0 };
    assert_eq!(outcome.reader.usage(), Some(usage));
    assert!(outcome.reader.is_complete(1) && !outcome.reader.is_complete(2));
    assert_eq!(outcome.reader.finish(0), Some(&super::Finish { reason: FinishReason::Stop, native: None }));
}

#[test]
fn a_vllm_stream_becomes_ours() {
    let outcome = rewrite(&one(&vllm()), false, true);
    let reasoning = |text: &str| delta(0, &format!("\"reasoning\":\"{text}\",\"reasoning_content\":\"{text}\""));
    let expected = [
        delta(0, ROLE),
        delta(1, ROLE),
        reasoning("Let"),
        reasoning(" me"),
        delta(1, r#""content":"A""#),
        reasoning(" see"),
        delta(1, r#""content":"B""#),
        delta(0, r#""content":"Right""#),
        delta(
            0,
            r#""tool_calls":[{"index":0,"id":"call_a3b47c5d8e9f00112233aabb00000000","type":"function","function":{"name":"get","arguments":""}}]"#,
        ),
        delta(0, r#""tool_calls":[{"index":0,"function":{"arguments":"{\"a"}}]"#),
        delta(0, r#""tool_calls":[{"index":0,"function":{"arguments":"\":1}"}}]"#),
        delta(
            0,
            r#""tool_calls":[{"index":1,"id":"call_z","type":"function","function":{"name":"set","arguments":""}}]"#,
        ),
        delta(0, r#""tool_calls":[{"index":1,"function":{"arguments":"{\"b\":2}"}}]"#),
        frame(
            r#"{"index":0,"delta":{},"logprobs":null,"finish_reason":"tool_calls","native_finish_reason":"tool_use"}"#,
        ),
        frame(
            r#"{"index":1,"delta":{"content":"C"},"logprobs":{"content":[{"token":"C"}],"refusal":null},"finish_reason":null}"#,
        ),
        frame(r#"{"index":1,"delta":{},"logprobs":null,"finish_reason":"stop","native_finish_reason":"eos_token"}"#),
    ];
    assert_eq!(outcome.out, expected.concat());
    assert_eq!(outcome.counter.text(0, Channel::Reasoning), "Let me see");
    assert_eq!(outcome.counter.text(0, Channel::Tool), r#"get{"a":1}set{"b":2}"#);
    assert!(outcome.reader.is_complete(2));
}

#[test]
fn usage_is_null_in_every_chunk_when_asked_for() {
    let outcome = rewrite(&one(&llama()), true, true);
    for line in outcome.out.split("\n\n").filter(|line| !line.is_empty()) {
        assert!(line.ends_with(",\"usage\":null}"), "{line}");
    }
    let mut out = BytesMut::new();
    let usage = Usage { prompt_tokens: 3, completion_tokens: 2, cost_nano_usd: 1_200, ..Usage::default() };
    voice(true).end(&usage, &mut out);
    let text = String::from_utf8(out.to_vec()).unwrap();
    let (chunk, rest) = text.split_once("\n\n").unwrap();
    assert_eq!(rest, "data: [DONE]\n\n");
    let chunk: Value = serde_json::from_str(chunk.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(chunk["choices"], json!([]));
    assert_eq!(chunk["usage"]["total_tokens"], 5);
    assert!(text.contains("\"cost\":0.0000012,"), "{text}");
}

#[test]
fn costs_are_written_exactly() {
    for (nano, text) in [(0, "0"), (1, "0.000000001"), (5_000_000_000, "5"), (1_230_000_000, "1.23")] {
        let mut out = BytesMut::new();
        Usage { cost_nano_usd: nano, ..Usage::default() }.write(&mut out);
        let json = String::from_utf8(out.to_vec()).unwrap();
        assert!(json.contains(&format!("\"cost\":{text},")), "{json}");
    }
}

#[test]
fn a_failure_is_told_in_band() {
    let mut out = BytesMut::new();
    let error = InBandError { message: "gone \"away\"", code: "provider_disconnected", http_status: 502 };
    voice(false).fail(error, &mut out);
    let expected = format!(
        "data: {{\"id\":\"{ID}\",\"object\":\"chat.completion.chunk\",\"created\":1700,\"model\":\"org/name\",\"choices\":\
         [{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"error\"}}],\"error\":{{\"message\":\"gone \\\"away\\\"\",\
         \"type\":\"server_error\",\"param\":null,\"code\":\"provider_disconnected\",\"metadata\":{{\"http_status\":502}}}}}}\n\ndata: [DONE]\n\n"
    );
    assert_eq!(String::from_utf8(out.to_vec()).unwrap(), expected);
}

#[test]
fn a_providers_error_never_reaches_the_client() {
    let cases = [
        (r#"{"error":{"message":"boom","type":"t","code":500}}"#, Some(500), None, "boom"),
        (r#"{"error":"boom"}"#, None, None, "boom"),
        (r#"{"object":"error","message":"boom","code":"bad"}"#, None, Some("bad"), "boom"),
        (
            r#"{"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"abort"}]}"#,
            None,
            Some("abort"),
            "the engine ended with \"abort\"",
        ),
    ];
    for (event, status, code, message) in cases {
        let mut out = BytesMut::from("before");
        let error = reader(false).read(event.as_bytes(), &mut out, &mut Counter::new(None)).unwrap_err();
        let Error::Upstream(found) = error else { panic!("{event}: {error}") };
        assert_eq!((found.status, found.code.as_deref(), found.message.as_str()), (status, code, message));
        assert_eq!(out, "before");
    }
}

#[test]
fn garbage_is_an_error_and_leaves_nothing_behind() {
    let cases: [&[u8]; 7] = [
        b"{",
        b"nonsense",
        b"[]",
        b"\xff{}",
        br#"{"choices":[{"index":0,"delta":{"content":5}}]}"#,
        br#"{"choices":[{"index":4000000000,"delta":{"content":"x"}}]}"#,
        br#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":99999,"function":{"name":"f"}}]}}]}"#,
    ];
    for event in cases {
        let mut out = BytesMut::new();
        let mut counter = Counter::new(None);
        let error = reader(false).read(event, &mut out, &mut counter).unwrap_err();
        assert!(matches!(error, Error::Malformed(_)), "{error}");
        assert!(out.is_empty());
    }
}

#[test]
fn a_chunk_that_only_looks_alike_is_parsed() {
    let chunk =
        |text: &str| Bytes::from(format!("{{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}"));
    for (text, fine) in [
        ("a\\", false),
        ("a\\x", false),
        ("a\\u12", false),
        ("a\n", false),
        ("x\"},\"finish_reason\":\"stop\",\"logprobs\":{\"content\":[\"", false),
        ("\\\"", true),
        ("\\\\", true),
    ] {
        let mut out = BytesMut::new();
        let mut counter = Counter::new(None);
        let mut reader = reader(false);
        reader.read(&chunk("first"), &mut out, &mut counter).unwrap();
        assert_eq!(reader.read(&chunk(text), &mut out, &mut counter).is_ok(), fine, "{text:?}");
    }
}

#[test]
fn nothing_follows_a_finish_and_nothing_is_said_twice() {
    let stream = llama();
    let mut all = one(&stream);
    // A second stream that continues the first, as after a lost provider.
    all.truncate(4);
    all.extend(one(&stream));
    all.push(Bytes::from_static(br#"{"choices":[{"index":0,"delta":{"content":"late"},"finish_reason":"stop"}]}"#));
    let outcome = rewrite(&all, false, true);
    assert_eq!(outcome.out.matches("\"role\"").count(), 1);
    assert_eq!(outcome.out.matches("\"finish_reason\":\"stop\"").count(), 1);
    assert!(!outcome.out.contains("late"));
    assert_eq!(outcome.kinds.last(), Some(&Kind::Empty));
}

#[test]
fn an_answer_is_assembled() {
    let usage = Usage { prompt_tokens: 3, completion_tokens: 9, cost_nano_usd: 7, ..Usage::default() };
    let tail = Tail { provider: Some("acme"), service_tier: "default", usage: Some(&usage) };
    let answer: Value = serde_json::from_str(&whole(&one(&vllm()), tail)).unwrap();
    let expected = json!({
        "id": ID, "object": "chat.completion", "created": 1700, "model": "org/name", "provider": "acme",
        "service_tier": "default",
        "choices": [
            {"index": 0, "message": {
                "role": "assistant", "content": "Right", "refusal": null, "annotations": [],
                "reasoning": "Let me see", "reasoning_content": "Let me see",
                "tool_calls": [
                    {"id": "call_a3b47c5d8e9f00112233aabb00000000", "type": "function",
                     "function": {"name": "get", "arguments": "{\"a\":1}"}},
                    {"id": "call_z", "type": "function", "function": {"name": "set", "arguments": "{\"b\":2}"}},
                ]},
             "logprobs": null, "finish_reason": "tool_calls", "native_finish_reason": "tool_use"},
            {"index": 1, "message": {"role": "assistant", "content": "ABC", "refusal": null, "annotations": []},
             "logprobs": {"content": [{"token": "C"}], "refusal": null},
             "finish_reason": "stop", "native_finish_reason": "eos_token"},
        ],
        "usage": {
            "prompt_tokens": 3, "completion_tokens": 9, "total_tokens": 12, "cost": 7e-9,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0,
                "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
        },
    });
    assert_eq!(answer, expected);
}

#[test]
fn a_plain_answer_has_the_exact_minimum() {
    let tail = Tail { provider: None, service_tier: "default", usage: None };
    assert_eq!(
        whole(&one(&llama()), tail),
        format!(
            "{{\"id\":\"{ID}\",\"object\":\"chat.completion\",\"created\":1700,\"model\":\"org/name\",\"service_tier\":\"default\",\
             \"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"Hello \\\"you\\\"\\n日本 and\\ud83d\\ude00\\\\\",\
             \"refusal\":null,\"annotations\":[]}},\"logprobs\":null,\"finish_reason\":\"stop\"}}]}}"
        )
    );
}

#[test]
fn a_call_without_text_has_null_content() {
    let event = Bytes::from_static(
        br#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}"#,
    );
    assert_eq!(rewrite(std::slice::from_ref(&event), false, true).kinds, [Kind::ToolCall]);
    let tail = Tail { provider: None, service_tier: "default", usage: None };
    let answer: Value = serde_json::from_str(&whole(&[event], tail)).unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], Value::Null);
    assert!(answer["choices"][0]["message"]["tool_calls"][0]["id"].as_str().unwrap().starts_with("call_"));
}

#[test]
fn a_completions_text_is_read_like_a_delta() {
    let chunk = |text: &str, finish: &str| {
        Bytes::from(format!("{{\"choices\":[{{\"text\":\"{text}\",\"index\":0,\"finish_reason\":{finish}}}]}}"))
    };
    let events = [chunk("a", "null"), chunk("b", "null"), chunk("", "\"length\"")];
    let echo = CompletionsEcho { n: 1, ..CompletionsEcho::default() };
    let mut reader = Reader::new(request(), spoken(&Dialect::Completions(echo), true));
    let (mut out, mut counter) = (BytesMut::new(), Counter::new(None));
    let kinds = events.map(|event| reader.read(&event, &mut out, &mut counter).unwrap());
    assert_eq!(kinds, [Kind::Content, Kind::Content, Kind::Finish]);
    assert_eq!(counter.text(0, Channel::Content), "ab");
    let told = String::from_utf8(out.to_vec()).unwrap();
    assert_eq!(told.matches("\"object\":\"text_completion\"").count(), 3);
    assert!(told.contains("\"id\":\"cmpl-0198c1f2a3b47c5d8e9f00112233aabb\""));
}

//! Bound answers, told as calls.

use bytes::BytesMut;
use protocol::RequestId;
use serde_json::{Value, json};

use super::*;
use crate::dialect::{Channel, ChatStream, ChatWhole, Error, Kind, Reader, Tail, Voice};
use crate::tokenizer::Counter;

const ID: &str = "chatcmpl-0198c1f2a3b47c5d8e9f00112233aabb";

fn any(words: bool) -> Expected {
    Expected::Call { names: ["weather".to_owned(), "ti\"me".to_owned()].into(), words }
}

fn only() -> Expected {
    Expected::Arguments("weather".into())
}

fn reader(expected: Expected, voice: Box<dyn Voice + Send>) -> Reader {
    Reader::new(RequestId::parse_any(ID).unwrap(), voice).expecting(expected)
}

fn chunk(delta: Value, finish: Option<&str>) -> Vec<u8> {
    let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
    json!({ "object": "chat.completion.chunk", "choices": [choice] }).to_string().into_bytes()
}

/// What an engine's pieces, ended like this, come to: the kinds of its events and the client's chunks.
fn told(expected: Expected, pieces: &[&str], finish: &str) -> Result<(Vec<Kind>, Vec<Value>), Error> {
    let mut reader = reader(expected, Box::new(ChatStream::new(ID, 1, "org/name", false)));
    let (mut out, mut counter) = (BytesMut::new(), Counter::new(None));
    let mut kinds = Vec::new();
    for piece in pieces {
        kinds.push(reader.read(&chunk(json!({ "content": piece }), None), &mut out, &mut counter)?);
    }
    kinds.push(reader.read(&chunk(json!({}), Some(finish)), &mut out, &mut counter)?);
    assert_eq!(counter.text(0, Channel::Content), pieces.concat(), "what the engine wrote is what is counted");
    let frames = std::str::from_utf8(&out).unwrap().split_terminator("\n\n");
    let choice = |frame: &str| {
        serde_json::from_str::<Value>(frame.strip_prefix("data: ").unwrap()).unwrap()["choices"][0].take()
    };
    Ok((kinds, frames.map(choice).collect()))
}

/// The name, the arguments, the words and the end of a stream.
fn joined(chunks: &[Value]) -> (Vec<String>, String, String, String) {
    let (mut names, mut arguments, mut words) = (Vec::new(), String::new(), String::new());
    for delta in chunks.iter().map(|chunk| &chunk["delta"]) {
        let call = &delta["tool_calls"][0];
        names.extend(call["function"]["name"].as_str().map(str::to_owned));
        arguments.push_str(call["function"]["arguments"].as_str().unwrap_or_default());
        words.push_str(delta["content"].as_str().unwrap_or_default());
    }
    let finish = chunks.last().unwrap()["finish_reason"].as_str().unwrap().to_owned();
    (names, arguments, words, finish)
}

#[test]
fn a_call_opens_with_its_name_and_its_arguments_follow_as_they_come() {
    let pieces = ["{ \"na", "me\": \"weather\",", " \"arguments\" : {\"ci", "ty\": \"Par", "is\\n}\"}", "}\n"];
    let (kinds, chunks) = told(any(false), &pieces, "stop").unwrap();
    use Kind::{Finish, Role, ToolCall};
    // Until the name is known nothing was said; then each piece is passed on. What closes the call says nothing.
    assert_eq!(kinds, [Role, ToolCall, ToolCall, ToolCall, ToolCall, Kind::Empty, Finish]);
    let function = |arguments: &str| json!({ "tool_calls": [{ "index": 0, "function": { "arguments": arguments } }] });
    let id = chunks[1]["delta"]["tool_calls"][0]["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("call_"), "{id}");
    let opening = json!({ "tool_calls": [
        { "index": 0, "id": id, "type": "function", "function": { "name": "weather", "arguments": "" } },
    ] });
    let deltas: Vec<&Value> = chunks.iter().map(|chunk| &chunk["delta"]).collect();
    let role = json!({ "role": "assistant", "content": "", "refusal": null });
    let rest = [function("{\"ci"), function("ty\": \"Par"), function("is\\n}\"}"), json!({})];
    assert_eq!(deltas, [&role, &opening, &rest[0], &rest[1], &rest[2], &rest[3]]);
    assert_eq!(
        (&chunks[5]["finish_reason"], &chunks[5]["native_finish_reason"]),
        (&json!("tool_calls"), &json!("stop"))
    );
}

#[test]
fn wherever_an_answer_is_cut_it_is_told_the_same() {
    let call = r#" {"name":"ti\"me","arguments":{"a":["\"}",{"b":"\\"}],"c":"é\u00e9"}}"#;
    let arguments = r#"{"a":["\"}",{"b":"\\"}],"c":"é\u00e9"}"#;
    let words = r#"{"reply":"Say \"é\"\n\ud83d\ude00 \ud83d! \udc00\ud83d\t\\"}"#;
    let said = "Say \"é\"\n😀 \u{fffd}! \u{fffd}\u{fffd}\t\\";
    for (expected, text, whole) in [
        (any(true), call, (vec!["ti\"me".to_owned()], arguments, "", "tool_calls")),
        (only(), arguments, (vec!["weather".to_owned()], arguments, "", "tool_calls")),
        (any(true), words, (vec![], "", said, "stop")),
    ] {
        let cuts = text.char_indices().map(|(at, _)| at);
        for (first, second) in cuts.clone().zip(cuts.skip(3)) {
            let pieces = [&text[..first], &text[first..second], &text[second..]];
            let (_, chunks) = told(expected.clone(), &pieces, "stop").unwrap();
            let (names, arguments, words, finish) = joined(&chunks);
            assert_eq!((names, arguments.as_str(), words.as_str(), finish.as_str()), whole, "{pieces:?}");
        }
    }
}

#[test]
fn a_character_cut_in_two_between_chunks_is_put_together() {
    let mut reader = reader(any(true), Box::new(ChatStream::new(ID, 1, "org/name", false)));
    let (mut out, mut counter) = (BytesMut::new(), Counter::new(None));
    for literal in [r#"{\"reply\":\"\ud83d"#, r#"\ude00\"}"#] {
        let event = format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"{literal}"}}}}]}}"#);
        reader.read(event.as_bytes(), &mut out, &mut counter).unwrap();
    }
    assert!(std::str::from_utf8(&out).unwrap().contains(r#""content":"😀""#), "{out:?}");
}

#[test]
fn an_answer_cut_at_its_length_says_so() {
    let (_, chunks) = told(only(), &["{\"city\": \"Pa"], "length").unwrap();
    assert_eq!(
        joined(&chunks),
        (vec!["weather".to_owned()], "{\"city\": \"Pa".to_owned(), String::new(), "length".to_owned())
    );
    let (kinds, chunks) = told(any(false), &["{\"na"], "length").unwrap();
    assert_eq!((kinds, chunks.len()), (vec![Kind::Role, Kind::Finish], 2));
}

#[test]
fn an_engine_that_breaks_the_form_is_at_fault() {
    for (expected, pieces, finish) in [
        (only(), vec!["The weather"], "stop"),
        (only(), vec!["{\"city\":1}", " and more"], "stop"),
        (only(), vec!["{\"city\": \"Pa"], "stop"),
        (only(), vec![], "stop"),
        (any(false), vec!["{\"arguments\":{}}"], "stop"),
        (any(false), vec!["{\"name\":\"absent\",\"arguments\":{}}"], "stop"),
        (any(false), vec!["{\"name\":\"weather\",\"arguments\":\"x\"}"], "stop"),
        (any(false), vec!["{\"name\":\"weather\",\"name\":\"weather\"}"], "stop"),
        (any(false), vec!["{\"name\":\"weather\"}"], "stop"),
        (any(false), vec!["{\"reply\":\"x\"}"], "stop"),
        (any(true), vec!["{\"reply\":\"\\x\"}"], "stop"),
        (any(true), vec!["{\"reply\":\"a\nb\"}"], "stop"),
    ] {
        let result = told(expected, &pieces, finish);
        assert!(matches!(result, Err(Error::Malformed(_))), "{pieces:?}: {result:?}");
    }
    let endless = format!("{{\"{}", "x".repeat(2_000));
    assert!(told(any(true), &[&endless], "length").is_err());
}

#[test]
fn a_whole_answer_is_told_whole() {
    let mut reader = reader(any(false), Box::new(ChatWhole::new(ID, 1, "org/name")));
    let (mut out, mut counter) = (BytesMut::new(), Counter::new(None));
    let content = r#"{"name": "weather", "arguments": {"city": "Paris"}}"#;
    let choice = json!({ "index": 0, "message": { "role": "assistant", "content": content }, "finish_reason": "stop" });
    let event = json!({ "choices": [choice], "usage": { "prompt_tokens": 9, "completion_tokens": 7 } }).to_string();
    assert_eq!(reader.read(event.as_bytes(), &mut out, &mut counter).unwrap(), Kind::ToolCall);
    assert!(reader.is_complete(1));
    let whole = reader.whole(Tail { provider: None, service_tier: "default", usage: None });
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    let message = &whole["choices"][0]["message"];
    assert_eq!((&message["content"], &whole["choices"][0]["finish_reason"]), (&json!(null), &json!("tool_calls")));
    let function = json!({ "name": "weather", "arguments": "{\"city\": \"Paris\"}" });
    assert_eq!(message["tool_calls"][0]["function"], function);
}

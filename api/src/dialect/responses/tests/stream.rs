//! Whole streams, byte for byte. `STEELYARD_WRITE_GOLDEN=1` writes them anew, to be read before they are kept.

use super::super::super::render::InBandError;
use super::super::super::wire::{Channel, FinishReason};
use super::super::super::{Said, Voice};
use super::*;

const CHOICE: Said<'static> = Said::Choice { choice: 0 };

fn said(channel: Channel, text: &'static str) -> Said<'static> {
    Said::Text { choice: 0, channel, text, logprobs: "null" }
}

fn content(text: &'static str) -> Said<'static> {
    said(Channel::Content, text)
}

fn call(index: u32, id: &'static str, name: &'static str) -> Said<'static> {
    Said::Call { choice: 0, index, id, name }
}

fn arguments(index: u32, arguments: &'static str) -> Said<'static> {
    Said::Arguments { choice: 0, index, arguments }
}

fn finish(reason: FinishReason) -> Said<'static> {
    Said::Finish { choice: 0, reason, native: None, logprobs: "null" }
}

/// Tells `sayings` in answer to `body`, and gives the stream and the whole answer.
fn tell(body: &str, sayings: &[Said<'_>]) -> (BytesMut, Value) {
    let (mut voice, mut out) = (voice(body), BytesMut::new());
    for said in sayings {
        voice.say(*said, &mut out);
    }
    voice.end(&USAGE, &mut out);
    (out, whole(&mut voice))
}

fn assert_golden(name: &str, out: &BytesMut) {
    let path = format!("{}/src/dialect/responses/golden/{name}.sse", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("STEELYARD_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, out).unwrap();
    }
    let golden = std::fs::read_to_string(&path).expect(&path);
    assert_eq!(std::str::from_utf8(out).unwrap(), golden, "{name}");
}

/// A stream as it was once, whose last object is the whole answer.
fn assert_told(name: &str, body: &str, sayings: &[Said<'_>]) -> Value {
    let (out, whole) = tell(body, sayings);
    assert_golden(name, &out);
    assert_eq!(events(&out).last().unwrap()["response"], whole);
    whole
}

#[test]
fn plain_text() {
    let sayings =
        [CHOICE, content("Hel"), content("lo \\\"you\\\"\\n"), content("\\ud83d\\ude00"), finish(FinishReason::Stop)];
    let whole = assert_told("plain", &with(""), &sayings);
    assert_eq!(whole["output"][0]["content"][0]["text"], json!("Hello \"you\"\n😀"));
    assert_eq!((&whole["status"], &whole["completed_at"]), (&json!("completed"), &json!(COMPLETED)));
    let usage = json!({ "input_tokens": 30, "input_tokens_details": { "cached_tokens": 8, "cache_write_tokens": 2 },
        "output_tokens": 12, "output_tokens_details": { "reasoning_tokens": 5 }, "total_tokens": 42, "cost": 0.0000015 });
    assert_eq!(whole["usage"], usage);
}

#[test]
fn reasoning_comes_before_the_text() {
    let reasoning = |text| said(Channel::Reasoning, text);
    let sayings = [CHOICE, reasoning("Let me"), reasoning(" see."), content("42"), finish(FinishReason::Stop)];
    let whole = assert_told("reasoning", &with(r#""reasoning":{"effort":"low"}"#), &sayings);
    let item = &whole["output"][0];
    assert_eq!((&item["type"], &item["content"][0]["text"]), (&json!("reasoning"), &json!("Let me see.")));
    assert!(item["id"].as_str().unwrap().starts_with("rs_"));
}

#[test]
fn parallel_calls_are_told_in_turns() {
    let sayings = [
        CHOICE,
        call(0, "call_a", "get"),
        arguments(0, "{\\\"a\\\""),
        call(1, "call_b", "set"),
        arguments(1, "{\\\"b\\\":"),
        arguments(0, ":1}"),
        arguments(1, "2}"),
        finish(FinishReason::ToolCalls),
    ];
    let body = with(r#""tools":[{"type":"function","name":"get"},{"type":"function","name":"set"}]"#);
    let whole = assert_told("parallel_calls", &body, &sayings);
    let output = &whole["output"];
    assert_eq!((&output[0]["arguments"], &output[1]["arguments"]), (&json!("{\"a\":1}"), &json!("{\"b\":2}")));
    assert_eq!((&output[0]["call_id"], &output[1]["call_id"]), (&json!("call_a"), &json!("call_b")));
}

#[test]
fn text_and_a_call_in_one_answer() {
    let sayings = [
        CHOICE,
        content("Let me look."),
        call(0, "call_a", "get"),
        arguments(0, "{}"),
        content("Wait."),
        finish(FinishReason::ToolCalls),
    ];
    let whole = assert_told("text_and_call", &with(""), &sayings);
    let kinds: Vec<&Value> = whole["output"].as_array().unwrap().iter().map(|item| &item["type"]).collect();
    assert_eq!(kinds, ["message", "function_call", "message"]);
}

#[test]
fn a_refusal_is_a_part_of_the_message() {
    let sayings = [
        CHOICE,
        content("Well"),
        said(Channel::Refusal, "I can"),
        said(Channel::Refusal, "not."),
        finish(FinishReason::Stop),
    ];
    let whole = assert_told("refusal", &with(""), &sayings);
    let parts = &whole["output"][0]["content"];
    assert_eq!(parts[1], json!({ "type": "refusal", "refusal": "I cannot." }));
}

#[test]
fn an_answer_cut_at_its_bound_is_incomplete() {
    let reasons = [(FinishReason::Length, "max_output_tokens"), (FinishReason::ContentFilter, "content_filter")];
    for (reason, told) in reasons {
        let sayings =
            [CHOICE, said(Channel::Reasoning, "Hm."), content("Once upon"), call(0, "call_a", "get"), finish(reason)];
        let whole = assert_told(told, &with(r#""max_output_tokens":16"#), &sayings);
        assert_eq!((&whole["status"], &whole["completed_at"]), (&json!("incomplete"), &Value::Null));
        assert_eq!(whole["incomplete_details"], json!({ "reason": told }));
        let output = &whole["output"];
        assert_eq!((&output[1]["status"], &output[2]["status"]), (&json!("completed"), &json!("incomplete")));
    }
}

#[test]
fn a_failure_is_told_twice_and_ends_the_stream() {
    let (mut voice, mut out) = (voice(&with("")), BytesMut::new());
    for said in [CHOICE, content("Hel")] {
        voice.say(said, &mut out);
    }
    let error = InBandError { message: "the provider \"left\"", code: "provider_disconnected", http_status: 502 };
    voice.fail(error, &mut out);
    assert_golden("failure", &out);
    let events = events(&out);
    let [.., error, failed] = events.as_slice() else { panic!("{events:?}") };
    let told = json!({ "type": "error", "sequence_number": 5, "code": "provider_disconnected",
        "message": "the provider \"left\"", "param": null });
    assert_eq!(error, &told);
    assert_eq!(failed["response"]["error"], json!({ "code": "server_error", "message": "the provider \"left\"" }));
    assert_eq!(
        (&failed["response"]["status"], &failed["response"]["output"][0]["status"]),
        (&json!("failed"), &json!("incomplete"))
    );
}

/// A client's library refuses a stream that does not begin with the response's creation.
#[test]
fn a_failure_before_the_first_word_still_begins_the_stream() {
    let (mut voice, mut out) = (voice(&with("")), BytesMut::new());
    voice.fail(InBandError { message: "full", code: "capacity_exhausted", http_status: 429 }, &mut out);
    let events = events(&out);
    let kinds: Vec<&Value> = events.iter().map(|event| &event["type"]).collect();
    assert_eq!(kinds, ["response.created", "response.in_progress", "error", "response.failed"]);
    assert_eq!(events[3]["response"]["error"]["code"], json!("rate_limit_exceeded"));
}

#[test]
fn a_custom_tool_takes_text() {
    let sayings = [
        CHOICE,
        call(0, "call_a", "sh\\u0065ll"),
        arguments(0, "ls "),
        arguments(0, "-l\\n"),
        call(1, "call_b", "get"),
        arguments(1, "{}"),
        finish(FinishReason::ToolCalls),
    ];
    let body = with(r#""tools":[{"type":"custom","name":"shell"},{"type":"function","name":"get"}]"#);
    let whole = assert_told("custom_tool", &body, &sayings);
    let item = &whole["output"][0];
    assert_eq!(
        (&item["type"], &item["input"], &item["name"]),
        (&json!("custom_tool_call"), &json!("ls -l\n"), &json!("shell"))
    );
    assert_eq!(whole["output"][1]["type"], json!("function_call"));
}

#[test]
fn a_call_in_the_older_form_is_a_function_call() {
    let function = |name, arguments| Said::Function { choice: 0, name, arguments };
    let sayings = [CHOICE, function(Some("get"), "{"), function(None, "}"), finish(FinishReason::FunctionCall)];
    let (out, whole) = tell(&with(""), &sayings);
    let item = &whole["output"][0];
    assert_eq!((&item["name"], &item["arguments"]), (&json!("get"), &json!("{}")));
    let call_id = item["call_id"].as_str().unwrap();
    assert!(call_id.starts_with("call_") && call_id.len() == 37, "{call_id}");
    assert_eq!(events(&out).last().unwrap()["response"], whole);
}

#[test]
fn log_probabilities_are_told_when_wanted() {
    const ENTRIES: &str = r#"{"content":[{"token":"é","logprob":-0.5,"bytes":null,"top_logprobs":[{"token":"é","logprob":-0.5,"bytes":[195, 169]},
        {"token":"e","logprob":-1.5}]}],"refusal":null}"#;
    const LAST: &str = r#"{"content":[{"token":"","logprob":-0.125,"bytes":[],"top_logprobs":[]}]}"#;
    let sayings = [
        CHOICE,
        Said::Text { choice: 0, channel: Channel::Reasoning, text: "Hm", logprobs: ENTRIES },
        Said::Text { choice: 0, channel: Channel::Content, text: "é", logprobs: ENTRIES },
        Said::Text { choice: 0, channel: Channel::Content, text: "!", logprobs: r#"{"content":"none"}"# },
        Said::Finish { choice: 0, reason: FinishReason::Stop, native: None, logprobs: LAST },
    ];
    let body = with(r#""include":["message.output_text.logprobs"],"top_logprobs":2"#);
    let whole = assert_told("logprobs", &body, &sayings);
    let wanted = json!([
        { "token": "é", "logprob": -0.5, "bytes": [195, 169], "top_logprobs": [
            { "token": "é", "logprob": -0.5, "bytes": [195, 169] }, { "token": "e", "logprob": -1.5, "bytes": [101] }] },
        { "token": "", "logprob": -0.125, "bytes": [], "top_logprobs": [] },
    ]);
    assert_eq!(whole["output"][1]["content"][0]["logprobs"], wanted);
    let (_, unasked) = tell(&with(""), &sayings);
    assert_eq!(unasked["output"][1]["content"][0]["logprobs"], json!([]));
}

#[test]
fn an_answer_in_a_schema_repeats_the_schema() {
    let body = with(
        r#""text":{"format":{"type":"json_schema","name":"s","strict":true,"schema":{
            "type": "object", "properties": { "a": { "type": "integer" } }, "required": ["a"], "additionalProperties": false }}}"#,
    );
    let sayings = [CHOICE, content("{\\\"a\\\""), content(":1}"), finish(FinishReason::Stop)];
    let whole = assert_told("schema", &body, &sayings);
    assert_eq!(whole["text"]["format"]["schema"]["required"], json!(["a"]));
    assert_eq!(whole["output"][0]["content"][0]["text"], json!("{\"a\":1}"));
}

#[test]
fn only_the_first_choice_is_told() {
    let other = [
        Said::Choice { choice: 1 },
        Said::Text { choice: 1, channel: Channel::Content, text: "x", logprobs: "null" },
        Said::Finish { choice: 1, reason: FinishReason::Length, native: None, logprobs: "null" },
    ];
    let first = [CHOICE, content("a"), finish(FinishReason::Stop)];
    let (alone, _) = tell(&with(""), &first);
    let (both, _) = tell(&with(""), &[first.as_slice(), other.as_slice()].concat());
    assert_eq!(alone, both);
}

/// A long answer costs each of its pieces once, and its text a few more times at the end.
#[test]
fn a_long_answer_takes_room_in_proportion() {
    let length = |pieces: usize| {
        let mut sayings = vec![CHOICE];
        sayings.resize(pieces + 1, content("word "));
        sayings.push(finish(FinishReason::Stop));
        tell(&with(""), &sayings).0.len()
    };
    let (short, long) = (length(1_000), length(10_000));
    assert!(long < 11 * short, "{short} bytes grew to {long}");
}

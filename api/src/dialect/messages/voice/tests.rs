#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use proptest::sample::Index;
use protocol::RequestId;
use serde_json::{Value, json};

use super::*;

const HEX: &str = "0198c1f2a3b47c5d8e9f00112233aabb";

fn request() -> RequestId {
    format!("req_{HEX}").parse().unwrap()
}

fn wants(stream: bool) -> Wants {
    Wants { stream, thinking: true, stop_sequences: Vec::new() }
}

fn voice(stream: bool) -> Messages {
    Messages::new(request(), "org/name", 12, wants(stream))
}

const USAGE: Usage = Usage {
    prompt_tokens: 20,
    completion_tokens: 9,
    cached_tokens: 5,
    cache_write_tokens: 3,
    reasoning_tokens: 4,
    cost_nano_usd: 77,
};

const OPEN: Said<'_> = Said::Choice { choice: 0 };

fn text(channel: Channel, text: &str) -> Said<'_> {
    Said::Text { choice: 0, channel, text, logprobs: "null" }
}

fn content(said: &str) -> Said<'_> {
    text(Channel::Content, said)
}

fn call(index: u32, name: &str) -> Said<'_> {
    Said::Call { choice: 0, index, id: "call_x", name }
}

fn arguments(index: u32, arguments: &str) -> Said<'_> {
    Said::Arguments { choice: 0, index, arguments }
}

fn finish(reason: FinishReason) -> Said<'static> {
    Said::Finish { choice: 0, reason, native: None, logprobs: "null" }
}

/// Says everything and returns the frames.
fn told(voice: &mut Messages, said: &[Said<'_>]) -> String {
    let mut out = BytesMut::new();
    said.iter().for_each(|said| voice.say(*said, &mut out));
    String::from_utf8(out.to_vec()).unwrap()
}

fn streamed(said: &[Said<'_>]) -> String {
    let mut voice = voice(true);
    let mut out = BytesMut::from(told(&mut voice, said).as_bytes());
    voice.end(&USAGE, &mut out);
    String::from_utf8(out.to_vec()).unwrap()
}

fn whole(said: &[Said<'_>]) -> Value {
    let mut voice = voice(false);
    assert_eq!(told(&mut voice, said), "", "a whole answer is not told in frames");
    let tail = Tail { provider: Some("acme"), service_tier: "default", usage: Some(&USAGE) };
    serde_json::from_slice(&voice.whole(tail)).unwrap()
}

/// Splits a stream into its events, checking what holds for every frame.
fn events(stream: &str) -> Vec<Value> {
    assert!(stream.ends_with("\n\n") && !stream.contains("[DONE]"), "{stream}");
    let frames = stream.trim_end().split("\n\n").map(|frame| {
        let (event, data) = frame.split_once('\n').unwrap();
        let event = event.strip_prefix("event: ").unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(data["type"], event, "{frame}");
        data
    });
    frames.collect()
}

/// A stream in short: the events of blocks only.
fn blocks(stream: &str) -> String {
    let short = events(stream).into_iter().filter_map(|event| {
        let index = &event["index"];
        Some(match event["type"].as_str()? {
            "content_block_start" => format!("+{index} {}", event["content_block"]["type"].as_str()?),
            "content_block_stop" => format!("-{index}"),
            "content_block_delta" => {
                let delta = event["delta"].as_object()?;
                let said = delta.iter().find(|(key, _)| *key != "type")?.1.as_str()?;
                format!("{index} {said}")
            }
            _ => return None,
        })
    });
    short.collect::<Vec<_>>().join("|")
}

/// Puts a stream together the way Anthropic's SDK does, checking its order on the way.
fn accumulate(stream: &str) -> Value {
    let (mut message, mut open, mut next, mut ended) = (Value::Null, None, 0, false);
    let mut input = String::new();
    for event in events(stream) {
        assert!(!ended, "nothing follows the end: {event}");
        let index = event["index"].as_u64().map(|index| usize::try_from(index).unwrap());
        match event["type"].as_str().unwrap() {
            "message_start" => {
                assert!(message.is_null());
                message = event["message"].clone();
            }
            "content_block_start" => {
                assert_eq!((open, index), (None, Some(next)), "one block is open at a time, and indices rise");
                (open, next) = (index, next + 1);
                message["content"].as_array_mut().unwrap().push(event["content_block"].clone());
                input.clear();
            }
            "content_block_delta" => {
                assert_eq!(open, index);
                let (delta, block) = (&event["delta"], &mut message["content"][index.unwrap()]);
                let mut join = |key: &str| {
                    let joined = format!("{}{}", block[key].as_str().unwrap(), delta[key].as_str().unwrap());
                    block[key] = joined.into();
                };
                match delta["type"].as_str().unwrap() {
                    "text_delta" => join("text"),
                    "thinking_delta" => join("thinking"),
                    "signature_delta" => join("signature"),
                    "input_json_delta" => input.push_str(delta["partial_json"].as_str().unwrap()),
                    other => panic!("{other}"),
                }
            }
            "content_block_stop" => {
                assert_eq!(open.take(), index);
                if !input.is_empty() {
                    message["content"][index.unwrap()]["input"] = serde_json::from_str(&input).unwrap();
                }
            }
            "message_delta" => {
                assert_eq!(open, None);
                for key in ["stop_reason", "stop_sequence", "stop_details"] {
                    message[key] = event["delta"][key].clone();
                }
                for (key, value) in event["usage"].as_object().unwrap().iter().filter(|(_, value)| !value.is_null()) {
                    message["usage"][key] = value.clone();
                }
            }
            "message_stop" => ended = true,
            "ping" => {}
            other => panic!("{other}"),
        }
    }
    assert!(ended);
    message
}

#[test]
fn plain_text_streams_in_anthropics_frames() {
    let stream = streamed(&[OPEN, content("Hel"), content("lo \\\"you\\\""), finish(FinishReason::Stop)]);
    let usage = |input: u32, output: u32, written: u32, read: u32, details: &str| {
        format!(
            "\"usage\":{{\"input_tokens\":{input},\"output_tokens\":{output},\"cache_creation_input_tokens\":{written},\
             \"cache_read_input_tokens\":{read},\"output_tokens_details\":{details},\"server_tool_use\":null"
        )
    };
    let expected = [
        format!("event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{{\"id\":\"msg_{HEX}\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"org/name\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"stop_details\":null,\"container\":null,{},\"cache_creation\":null,\"inference_geo\":null,\"service_tier\":\"standard\"}}}}}}\n\n", usage(12, 0, 0, 0, "null")),
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\",\"citations\":null}}\n\n".to_owned(),
        "event: ping\ndata: {\"type\":\"ping\"}\n\n".to_owned(),
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hel\"}}\n\n".to_owned(),
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"lo \\\"you\\\"\"}}\n\n".to_owned(),
        "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n".to_owned(),
        format!("event: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"end_turn\",\"stop_sequence\":null,\"stop_details\":null,\"container\":null}},{}}}}}\n\n", usage(12, 9, 3, 5, "{\"thinking_tokens\":4}")),
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n".to_owned(),
    ];
    assert_eq!(stream, expected.concat());
}

#[test]
fn a_whole_message_has_exactly_the_documented_keys() {
    let said = [OPEN, content("Hi"), call(0, "f"), arguments(0, r#"{\"a\":1}"#), finish(FinishReason::ToolCalls)];
    let expected = json!({
        "id": format!("msg_{HEX}"), "type": "message", "role": "assistant", "model": "org/name",
        "content": [
            {"type": "text", "text": "Hi", "citations": null},
            {"type": "tool_use", "id": request().part("toolu_", 0), "name": "f", "input": {"a": 1}, "caller": {"type": "direct"}},
        ],
        "stop_reason": "tool_use", "stop_sequence": null, "stop_details": null, "container": null,
        "usage": {
            "input_tokens": 12, "output_tokens": 9, "cache_creation": null, "cache_creation_input_tokens": 3,
            "cache_read_input_tokens": 5, "inference_geo": null, "output_tokens_details": {"thinking_tokens": 4},
            "server_tool_use": null, "service_tier": "standard",
        },
    });
    assert_eq!(whole(&said), expected);
    assert_eq!(accumulate(&streamed(&said)), expected);
}

#[test]
fn thinking_is_a_block_of_its_own_and_ends_with_a_signature() {
    let thought = |said| text(Channel::Reasoning, said);
    let said = [OPEN, thought("Let"), thought(" me"), content("Right"), finish(FinishReason::Stop)];
    let stream = streamed(&said);
    assert_eq!(blocks(&stream), "+0 thinking|0 Let|0  me|0 |-0|+1 text|1 Right|-1");
    assert!(stream.contains(r#"{"type":"signature_delta","signature":""}"#), "{stream}");
    let block = json!({"type": "thinking", "thinking": "Let me", "signature": ""});
    assert_eq!(whole(&said)["content"][0], block);
}

#[test]
fn thinking_is_kept_from_those_who_did_not_ask_for_it() {
    let mut voice = Messages::new(request(), "m", 1, Wants { stream: true, ..Wants::default() });
    let said = [OPEN, text(Channel::Reasoning, "hm"), content("Hi"), finish(FinishReason::Stop)];
    assert_eq!(blocks(&told(&mut voice, &said)), "+0 text|0 Hi|-0");
}

#[test]
fn calls_told_in_turns_are_streamed_one_after_the_other() {
    let said = [
        OPEN,
        content("I'll look"),
        call(0, "one"),
        arguments(0, r#"{\"a\""#),
        call(1, "two"),
        arguments(1, r#"{\"b\":"#),
        arguments(0, ":1}"),
        arguments(1, "2}"),
        finish(FinishReason::ToolCalls),
    ];
    let mut heard = voice(true);
    let mut so_far = Vec::new();
    for said in said {
        so_far.push(blocks(&(told(&mut heard, &[said]) + "event: ping\ndata: {\"type\":\"ping\"}\n\n")));
    }
    let expected = [
        "",
        "+0 text|0 I'll look",
        "-0|+1 tool_use",
        "1 {\"a\"",
        "",
        "",
        "1 :1}|-1|+2 tool_use|2 {\"b\":",
        "2 2}",
        "-2",
    ];
    assert_eq!(so_far, expected);
    let inputs = [json!({"a": 1}), json!({"b": 2})];
    assert_eq!([&whole(&said)["content"][1]["input"], &whole(&said)["content"][2]["input"]], [&inputs[0], &inputs[1]]);
}

#[test]
fn a_call_that_never_closes_its_object_holds_the_next_until_the_end() {
    let said =
        [OPEN, call(0, "one"), call(1, "two"), arguments(1, "{}"), content("and"), finish(FinishReason::ToolCalls)];
    assert_eq!(blocks(&streamed(&said)), "+0 tool_use|-0|+1 tool_use|1 {}|-1|+2 text|2 and|-2");
    assert_eq!(whole(&said)["content"][0]["input"], json!({}));
}

#[test]
fn arguments_after_a_closed_call_are_dropped() {
    let said = [
        OPEN,
        call(0, "f"),
        arguments(0, "{}"),
        content("x"),
        arguments(0, r#"{\"a\":1}"#),
        finish(FinishReason::ToolCalls),
    ];
    assert_eq!(blocks(&streamed(&said)), "+0 tool_use|0 {}|-0|+1 text|1 x|-1");
}

#[test]
fn the_older_function_call_is_a_tool_use_too() {
    let function = |name, arguments| Said::Function { choice: 0, name, arguments };
    let said = [OPEN, function(Some("f"), r#"{\"a\":"#), function(None, "1}"), finish(FinishReason::FunctionCall)];
    let message = whole(&said);
    assert_eq!((&message["content"][0]["input"], &message["stop_reason"]), (&json!({"a": 1}), &json!("tool_use")));
    assert_eq!(accumulate(&streamed(&said)), message);
}

#[test]
fn an_answer_says_why_it_ended() {
    let refusal = text(Channel::Refusal, "no");
    let cases: [(&[Said<'_>], FinishReason, &str); 9] = [
        (&[content("x")], FinishReason::Stop, "end_turn"),
        (&[content("x")], FinishReason::Length, "max_tokens"),
        (&[content("x")], FinishReason::ContentFilter, "refusal"),
        (&[refusal], FinishReason::Stop, "refusal"),
        (&[call(0, "f")], FinishReason::ToolCalls, "tool_use"),
        (&[call(0, "f")], FinishReason::Stop, "tool_use"),
        (&[call(0, "f")], FinishReason::Length, "max_tokens"),
        (&[content("x")], FinishReason::ToolCalls, "end_turn"),
        (&[], FinishReason::Stop, "end_turn"),
    ];
    for (said, reason, expected) in cases {
        let said = [&[OPEN], said, &[finish(reason)]].concat();
        assert_eq!(whole(&said)["stop_reason"], expected, "{said:?}");
        assert_eq!(accumulate(&streamed(&said))["stop_reason"], expected, "{said:?}");
    }
    let text = "no";
    assert_eq!(whole(&[OPEN, refusal, finish(FinishReason::Stop)])["content"][0]["text"], text);
}

#[test]
fn a_stop_sequence_is_named_where_the_engine_tells_and_only_one_can_be_meant() {
    let ended = |sequences: &[&str], native| {
        let stop_sequences = sequences.iter().map(|one| (*one).to_owned()).collect();
        let mut voice = Messages::new(request(), "m", 1, Wants { stop_sequences, ..Wants::default() });
        let reason = FinishReason::Stop;
        told(&mut voice, &[OPEN, Said::Finish { choice: 0, reason, native, logprobs: "null" }]);
        let tail = Tail { provider: None, service_tier: "default", usage: None };
        let message: Value = serde_json::from_slice(&voice.whole(tail)).unwrap();
        (message["stop_reason"].clone(), message["stop_sequence"].clone())
    };
    assert_eq!(ended(&["\n\""], Some("stop_sequence")), (json!("stop_sequence"), json!("\n\"")));
    assert_eq!(ended(&["a", "b"], Some("stop_sequence")), (json!("stop_sequence"), Value::Null));
    assert_eq!(ended(&[], Some("stop_sequence")), (json!("end_turn"), Value::Null));
    assert_eq!(ended(&["a"], Some("eos_token")), (json!("end_turn"), Value::Null));
    assert_eq!(ended(&["a"], None), (json!("end_turn"), Value::Null));
}

#[test]
fn a_failure_is_told_in_band() {
    let mut voice = voice(true);
    let mut out = BytesMut::from(told(&mut voice, &[OPEN, content("Hel")]).as_bytes());
    let before = out.len();
    voice.fail(InBandError { message: "lost \"it\"", code: "provider_timeout", http_status: 504 }, &mut out);
    let expected = format!(
        "event: error\ndata: {{\"type\":\"error\",\"error\":{{\"type\":\"timeout_error\",\"message\":\"lost \\\"it\\\"\",\"code\":\"provider_timeout\"}},\"request_id\":\"req_{HEX}\"}}\n\n"
    );
    assert_eq!(std::str::from_utf8(&out[before..]).unwrap(), expected);
}

#[test]
fn silence_is_bridged_by_pings() {
    assert_eq!(PING, b"event: ping\ndata: {\"type\":\"ping\"}\n\n");
}

#[test]
fn other_choices_are_not_told() {
    let other = Said::Text { choice: 1, channel: Channel::Content, text: "B", logprobs: "null" };
    let said = [OPEN, Said::Choice { choice: 1 }, other, content("A"), finish(FinishReason::Stop)];
    assert_eq!(blocks(&streamed(&said)), "+0 text|0 A|-0");
}

/// Something said at random: which sort, which of the calls so far, and text.
type Draw = (u8, Index, String);

/// What a model says, owned.
#[derive(Clone, Debug)]
enum Say {
    Text(Channel, String),
    Call(u32),
    Arguments(u32, String),
}

/// The inside of a literal that holds `text`.
fn literal(text: &str) -> String {
    let quoted = quoted(text);
    quoted[1..quoted.len() - 1].to_owned()
}

/// Makes a valid order of things said: calls open before their arguments, which come in turns and piece by piece.
fn script(draws: &[Draw], objects: &[Value]) -> Vec<Say> {
    let mut left: Vec<Vec<char>> = objects.iter().map(|object| object.to_string().chars().rev().collect()).collect();
    let (mut script, mut opened) = (Vec::new(), 0);
    let piece = |left: &mut Vec<char>, most: usize| -> String {
        let rest = left.len() - most.min(left.len());
        left.split_off(rest).into_iter().rev().collect()
    };
    for (sort, which, text) in draws {
        match sort % 6 {
            0 => script.push(Say::Text(Channel::Content, literal(text))),
            1 => script.push(Say::Text(Channel::Reasoning, literal(text))),
            2 => script.push(Say::Text(Channel::Refusal, literal(text))),
            3 if opened < objects.len() => {
                script.push(Say::Call(u32::try_from(opened).unwrap()));
                opened += 1;
            }
            _ if opened > 0 => {
                let call = which.index(opened);
                script.push(Say::Arguments(u32::try_from(call).unwrap(), literal(&piece(&mut left[call], text.len()))));
            }
            _ => {}
        }
    }
    for (call, left) in left[..opened].iter_mut().enumerate() {
        script.push(Say::Arguments(u32::try_from(call).unwrap(), literal(&piece(left, usize::MAX))));
    }
    let is_empty = |say: &Say| matches!(say, Say::Text(_, text) | Say::Arguments(_, text) if text.is_empty());
    script.retain(|say| !is_empty(say));
    script
}

fn object() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![any::<i32>().prop_map(Value::from), "[a\"\\\\{}\\[\\]é\n😀 ]{0,6}".prop_map(Value::from)];
    let value = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::hash_map("[a-c\"}]{0,2}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    prop::collection::hash_map("[a-c\"}]{0,2}", value, 0..3).prop_map(|map| Value::Object(map.into_iter().collect()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a model says in whatever turns, blocks open and close in order, no text is lost or moved to
    /// another block, and the stream put together is the whole message.
    #[test]
    fn a_stream_put_together_is_the_whole_message(
        draws in prop::collection::vec((any::<u8>(), any::<Index>(), "[a\"\\\\{é\n😀]{1,4}"), 0..40),
        objects in prop::collection::vec(object(), 0..4),
    ) {
        let script = script(&draws, &objects);
        let said = script.iter().map(|say| match say {
            Say::Text(channel, said) => text(*channel, said),
            Say::Call(index) => call(*index, "f"),
            Say::Arguments(index, said) => arguments(*index, said),
        });
        let said: Vec<Said<'_>> = [OPEN].into_iter().chain(said).chain([finish(FinishReason::Stop)]).collect();
        let stream = streamed(&said);
        let message = accumulate(&stream);
        prop_assert_eq!(&message, &whole(&said));

        let (mut texts, mut thoughts, mut calls) = (String::new(), String::new(), Vec::new());
        for block in message["content"].as_array().unwrap() {
            match block["type"].as_str().unwrap() {
                "text" => texts.push_str(block["text"].as_str().unwrap()),
                "thinking" => thoughts.push_str(block["thinking"].as_str().unwrap()),
                _ => calls.push(block["input"].clone()),
            }
        }
        let joined = |thinking: bool| -> String {
            let pieces = script.iter().filter_map(|say| match say {
                Say::Text(channel, text) if (*channel == Channel::Reasoning) == thinking => Some(text.as_str()),
                _ => None,
            });
            serde_json::from_str(&format!("\"{}\"", pieces.collect::<String>())).unwrap()
        };
        prop_assert_eq!(texts, joined(false));
        prop_assert_eq!(thoughts, joined(true));
        prop_assert_eq!(&calls[..], &objects[..calls.len()]);
    }
}

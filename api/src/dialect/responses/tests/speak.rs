//! Any answer, told in any valid order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::super::Said;
use super::super::super::render::quoted;
use super::super::super::wire::{Channel, FinishReason};
use super::*;

/// A [`Said`] that owns its texts; choice and indexes are filled in when it is told.
#[derive(Clone, Debug)]
enum Saying {
    Text(Channel, String),
    Call(String),
    /// A piece for one of the calls opened so far.
    Arguments(usize, String),
    Function(String),
}

/// The inside of a string literal.
fn literal() -> impl Strategy<Value = String> {
    ".{1,6}".prop_map(|text| {
        let quoted = quoted(&text);
        quoted[1..quoted.len() - 1].to_owned()
    })
}

fn saying() -> impl Strategy<Value = Saying> {
    let channel = prop_oneof![Just(Channel::Content), Just(Channel::Reasoning), Just(Channel::Refusal)];
    let name = prop_oneof![Just("get".to_owned()), Just("shell".to_owned()), literal()];
    prop_oneof![
        4 => (channel, literal()).prop_map(|(channel, text)| Saying::Text(channel, text)),
        1 => name.prop_map(Saying::Call),
        3 => (0..8_usize, literal()).prop_map(|(call, piece)| Saying::Arguments(call, piece)),
        1 => literal().prop_map(Saying::Function),
    ]
}

fn reason() -> impl Strategy<Value = FinishReason> {
    prop_oneof![Just(FinishReason::Stop), Just(FinishReason::Length), Just(FinishReason::ContentFilter)]
}

fn tell(sayings: &[Saying], reason: FinishReason) -> (Vec<Value>, Value) {
    let (mut voice, mut out) = (voice(&with(r#""tools":[{"type":"custom","name":"shell"}]"#)), BytesMut::new());
    voice.say(Said::Choice { choice: 0 }, &mut out);
    let (mut calls, mut named) = (0, false);
    for saying in sayings {
        match saying {
            Saying::Text(channel, text) => {
                voice.say(Said::Text { choice: 0, channel: *channel, text, logprobs: "null" }, &mut out);
            }
            Saying::Call(name) => {
                let id = format!("call_{calls}");
                voice.say(Said::Call { choice: 0, index: calls, id: &id, name }, &mut out);
                calls += 1;
            }
            Saying::Arguments(call, arguments) if calls > 0 => {
                let index = u32::try_from(*call).unwrap() % calls;
                voice.say(Said::Arguments { choice: 0, index, arguments }, &mut out);
            }
            Saying::Arguments(..) => {}
            Saying::Function(arguments) => {
                let name = (!std::mem::replace(&mut named, true)).then_some("old");
                voice.say(Said::Function { choice: 0, name, arguments }, &mut out);
            }
        }
    }
    voice.say(Said::Finish { choice: 0, reason, native: None, logprobs: "null" }, &mut out);
    voice.end(&USAGE, &mut out);
    (events(&out), whole(&mut voice))
}

/// What a client makes of the events: for each part or call, its id and the deltas so far.
#[derive(Default)]
struct Client {
    open: BTreeMap<u64, Value>,
    opened: u64,
    pieces: BTreeMap<(u64, u64), String>,
    done: Vec<(u64, Value)>,
}

impl Client {
    fn hear(&mut self, event: &Value) {
        let index = event["output_index"].as_u64();
        let part = event["content_index"].as_u64().unwrap_or(0);
        let kind = event["type"].as_str().unwrap();
        if let (Some(index), Some(id)) = (index, event["item_id"].as_str()) {
            assert_eq!(self.open[&index]["id"], json!(id), "{event}");
        }
        match kind.strip_prefix("response.").unwrap() {
            "created" | "in_progress" | "completed" | "incomplete" => {}
            "output_item.added" => {
                assert_eq!(index, Some(self.opened), "items open in order: {event}");
                assert_eq!(event["item"]["status"].as_str().unwrap_or("in_progress"), "in_progress");
                self.open.insert(self.opened, event["item"].clone());
                self.opened += 1;
            }
            "output_item.done" => {
                let added = self.open.remove(&index.unwrap()).expect("an item closes once");
                for key in ["id", "type", "call_id"] {
                    assert_eq!(added[key], event["item"][key], "{event}");
                }
                self.done.push((index.unwrap(), event["item"].clone()));
            }
            "content_part.added" => {
                assert!(self.pieces.insert((index.unwrap(), part), String::new()).is_none(), "{event}");
            }
            "content_part.done" => {
                let told = event["part"].get("text").or(event["part"].get("refusal")).unwrap();
                assert_eq!(told, &json!(self.pieces[&(index.unwrap(), part)]));
            }
            kind if kind.ends_with(".delta") => {
                self.pieces.entry((index.unwrap(), part)).or_default().push_str(event["delta"].as_str().unwrap());
            }
            kind if kind.ends_with(".done") => {
                let told = ["text", "refusal", "arguments", "input"].iter().find_map(|key| event.get(*key)).unwrap();
                let heard = self.pieces.get(&(index.unwrap(), part)).map_or("", String::as_str);
                assert_eq!(told, &json!(heard), "{event}");
            }
            other => panic!("an unknown event {other}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Deltas joined are the done texts, numbers have no gaps, items open in order and close once, and the last
    /// event holds the whole answer.
    #[test]
    fn a_stream_says_what_the_whole_answer_says(
        sayings in proptest::collection::vec(saying(), 0..24),
        reason in reason(),
    ) {
        let (events, whole) = tell(&sayings, reason);
        let mut client = Client::default();
        for (number, event) in events.iter().enumerate() {
            prop_assert_eq!(&event["sequence_number"], &json!(number));
            client.hear(event);
        }
        prop_assert!(client.open.is_empty());
        client.done.sort_by_key(|(index, _)| *index);
        let output: Vec<Value> = client.done.into_iter().map(|(_, item)| item).collect();
        prop_assert_eq!(&whole["output"], &json!(output));
        prop_assert_eq!(&events.last().unwrap()["response"], &whole);
        let mut ids: Vec<&str> = output.iter().filter_map(|item| item["id"].as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(ids.len(), output.len());

        // Nothing is lost on the way: each channel's text, in the order it was said.
        let said = |wanted: Channel| -> String {
            let pieces = sayings.iter().filter_map(|saying| match saying {
                Saying::Text(channel, text) if *channel == wanted => Some(text.as_str()),
                _ => None,
            });
            serde_json::from_str(&format!("\"{}\"", pieces.collect::<String>())).unwrap()
        };
        let told = |kind: &str, key: &str| -> String {
            let parts = output.iter().filter_map(|item| item["content"].as_array()).flatten();
            parts.filter(|part| part["type"] == kind).filter_map(|part| part[key].as_str()).collect()
        };
        prop_assert_eq!(told("output_text", "text"), said(Channel::Content));
        prop_assert_eq!(told("reasoning_text", "text"), said(Channel::Reasoning));
        prop_assert_eq!(told("refusal", "refusal"), said(Channel::Refusal));
    }
}

#![allow(clippy::unwrap_used)]

mod accepted;
mod input;
mod request;
mod speak;
mod stream;

use bytes::BytesMut;
use protocol::id::Id;
use protocol::{Env, RequestId, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::render::Usage;
use super::super::{Tail, Voice};
use super::*;
use crate::envelope::Envelope;

const CREATED: i64 = 1_700;
const COMPLETED: i64 = 1_703;

const USAGE: Usage = Usage {
    prompt_tokens: 30,
    completion_tokens: 12,
    cached_tokens: 8,
    cache_write_tokens: 2,
    reasoning_tokens: 5,
    cost_nano_usd: 1_500,
};

/// The least a request needs, and `fields`.
fn with(fields: &str) -> String {
    let separator = if fields.is_empty() { "" } else { "," };
    format!(r#"{{"model":"org/name","input":"hi"{separator}{fields}}}"#)
}

fn voice(body: &str) -> Responses {
    let uuid = Uuid::try_parse("0198c1f2a3b47c5d8e9f00112233aabb").unwrap();
    let (env, _) = Env::manual(Timestamp::from_unix_seconds(COMPLETED), 1);
    Responses::new(read(body.as_bytes()).expect(body).echo, RequestId::from_uuid(uuid), CREATED, "org/name", env)
}

/// The chat request for `body`, which the chat dialect's own reader accepts.
fn chat(body: &str) -> Value {
    let request = read(body.as_bytes()).expect(body);
    Envelope::parse(&request.chat).expect(body);
    serde_json::from_slice(&request.chat).unwrap()
}

fn refusal(body: &str) -> Invalid {
    read(body.as_bytes()).expect_err(body)
}

fn messages(input: &str) -> Value {
    chat(&format!(r#"{{"model":"m","input":{input}}}"#))["messages"].take()
}

/// The object of an answer to `body` that has not begun.
fn object(body: &str) -> Value {
    let tail = Tail { provider: None, service_tier: "default", usage: None };
    serde_json::from_slice(&voice(body).whole(tail)).unwrap()
}

fn whole(voice: &mut Responses) -> Value {
    let tail = Tail { provider: Some("acme"), service_tier: "default", usage: Some(&USAGE) };
    serde_json::from_slice(&voice.whole(tail)).unwrap()
}

/// The events of a stream, each checked to be one frame of one line, up to `[DONE]`.
fn events(out: &BytesMut) -> Vec<Value> {
    let text = std::str::from_utf8(out).unwrap();
    let frames: Vec<&str> = text.strip_suffix("data: [DONE]\n\n").unwrap().split_terminator("\n\n").collect();
    let event = |frame: &&str| {
        let (kind, data) = frame.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        assert!(!data.contains('\n'), "{frame}");
        let event: Value = serde_json::from_str(data).expect(data);
        assert_eq!(event["type"], json!(kind));
        event
    };
    frames.iter().map(event).collect()
}

//! The chat dialect: chunks of a `chat.completion.chunk` stream, or one `chat.completion`.

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::fast::Around;
use super::render::{DONE, InBandError, Usage, put, quoted};
use super::voice::{Said, Tail, Voice};
use super::wire::{Channel, FinishReason};

/// Says an answer as a stream of chunks.
#[derive(Debug)]
pub struct ChatStream {
    /// A chunk up to its choices.
    open: String,
    close: &'static str,
    include_usage: bool,
}

impl ChatStream {
    /// Describes an answer. `include_usage` says whether the client's stream ends with usage, which
    /// shows in every chunk.
    pub fn new(id: &str, created_unix_s: i64, model: &str, include_usage: bool) -> Self {
        let (id, model) = (quoted(id), quoted(model));
        let open = format!(
            "data: {{\"id\":{id},\"object\":\"chat.completion.chunk\",\"created\":{created_unix_s},\"model\":{model},\"choices\":["
        );
        let close = if include_usage { "],\"usage\":null}\n\n" } else { "]}\n\n" };
        Self { open, close, include_usage }
    }

    /// Writes a chunk for one choice around the inside of its delta.
    fn chunk(&self, out: &mut BytesMut, choice: u32, delta: std::fmt::Arguments<'_>, logprobs: &str) {
        self.begin(out, choice);
        put(out, delta);
        self.finish(out, logprobs, "null");
    }

    fn begin(&self, out: &mut BytesMut, choice: u32) {
        out.extend_from_slice(self.open.as_bytes());
        put(out, format_args!("{{\"index\":{choice},\"delta\":{{"));
    }

    fn finish(&self, out: &mut BytesMut, logprobs: &str, finish: &str) {
        out.extend_from_slice(b"},\"logprobs\":");
        // Read and written anew: engines leave out `refusal`, which the dialect requires.
        let mut both = Logprobs::default();
        both.add(logprobs);
        both.write(out);
        put(out, format_args!(",\"finish_reason\":{finish}}}{}", self.close));
    }
}

impl Voice for ChatStream {
    fn say(&mut self, said: Said<'_>, out: &mut BytesMut) {
        match said {
            Said::Choice { choice } => {
                self.chunk(out, choice, format_args!(r#""role":"assistant","content":"","refusal":null"#), "null");
            }
            Said::Text { choice, channel: Channel::Reasoning, text, logprobs } => {
                let delta = format_args!("\"reasoning\":\"{text}\",\"reasoning_content\":\"{text}\"");
                self.chunk(out, choice, delta, logprobs);
            }
            Said::Text { choice, channel, text, logprobs } => {
                let key = if channel == Channel::Refusal { "refusal" } else { "content" };
                self.chunk(out, choice, format_args!("\"{key}\":\"{text}\""), logprobs);
            }
            Said::Call { choice, index, id, name } => {
                let id = quoted(id);
                let delta = format_args!(
                    "\"tool_calls\":[{{\"index\":{index},\"id\":{id},\"type\":\"function\",\"function\":{{\"name\":\"{name}\",\"arguments\":\"\"}}}}]"
                );
                self.chunk(out, choice, delta, "null");
            }
            Said::Arguments { choice, index, arguments } => {
                let delta = format_args!(
                    "\"tool_calls\":[{{\"index\":{index},\"function\":{{\"arguments\":\"{arguments}\"}}}}]"
                );
                self.chunk(out, choice, delta, "null");
            }
            Said::Function { choice, name: Some(name), arguments } => {
                let delta = format_args!("\"function_call\":{{\"name\":\"{name}\",\"arguments\":\"{arguments}\"}}");
                self.chunk(out, choice, delta, "null");
            }
            Said::Function { choice, name: None, arguments } => {
                self.chunk(out, choice, format_args!("\"function_call\":{{\"arguments\":\"{arguments}\"}}"), "null");
            }
            Said::Finish { choice, reason, native, logprobs } => {
                self.begin(out, choice);
                self.finish(out, logprobs, &finish_of(reason, native));
            }
        }
    }

    fn around(&self, choice: u32, channel: Channel) -> Option<Around> {
        let (mut before, mut after) = (BytesMut::new(), BytesMut::from("\""));
        self.begin(&mut before, choice);
        let (key, between): (&[u8], _) = match channel {
            Channel::Reasoning => (b"\"reasoning\":\"", Some(Bytes::from_static(b"\",\"reasoning_content\":\""))),
            Channel::Content => (b"\"content\":\"", None),
            Channel::Refusal | Channel::Tool => return None,
        };
        before.extend_from_slice(key);
        self.finish(&mut after, "null", "null");
        Some(Around { before: before.freeze(), between, after: after.freeze() })
    }

    fn end(&mut self, usage: &Usage, out: &mut BytesMut) {
        if self.include_usage {
            out.extend_from_slice(self.open.as_bytes());
            out.extend_from_slice(b"],\"usage\":");
            usage.write(out);
            out.extend_from_slice(b"}\n\n");
        }
        out.extend_from_slice(DONE);
    }

    fn fail(&mut self, error: InBandError<'_>, out: &mut BytesMut) {
        out.extend_from_slice(self.open.as_bytes());
        put(out, format_args!("{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"error\"}}],\"error\":"));
        error.write(out);
        out.extend_from_slice(b"}\n\n");
        out.extend_from_slice(DONE);
    }

    /// A stream is never asked for this.
    fn whole(&mut self, _: Tail<'_>) -> Vec<u8> {
        Vec::new()
    }
}

/// Collects an answer into one `chat.completion`.
#[derive(Debug)]
pub struct ChatWhole {
    /// JSON literals, quotes included.
    id: String,
    model: String,
    created: i64,
    choices: Vec<Answer>,
}

/// One choice. Texts are kept as the insides of string literals, as they came and as they leave.
#[derive(Debug, Default)]
struct Answer {
    content: String,
    reasoning: String,
    refusal: String,
    tools: Vec<Call>,
    function: Call,
    logprobs: Logprobs,
    /// The value of `finish_reason`, with the engine's own word behind it where that differs.
    finish: Option<String>,
}

#[derive(Debug, Default)]
struct Call {
    index: u32,
    id: String,
    name: String,
    arguments: String,
}

/// Log probabilities of content and refusal, the insides of two arrays.
#[derive(Debug, Default)]
struct Logprobs {
    content: String,
    refusal: String,
}

impl ChatWhole {
    /// Nothing said yet.
    pub fn new(id: &str, created_unix_s: i64, model: &str) -> Self {
        Self { id: quoted(id), model: quoted(model), created: created_unix_s, choices: Vec::new() }
    }

    fn answer(&mut self, choice: u32) -> &mut Answer {
        let needed = choice as usize + 1;
        if self.choices.len() < needed {
            self.choices.resize_with(needed, Answer::default);
        }
        &mut self.choices[choice as usize]
    }
}

impl Voice for ChatWhole {
    fn say(&mut self, said: Said<'_>, _: &mut BytesMut) {
        match said {
            Said::Choice { choice } => drop(self.answer(choice)),
            Said::Text { choice, channel, text, logprobs } => {
                let answer = self.answer(choice);
                match channel {
                    Channel::Reasoning => answer.reasoning.push_str(text),
                    Channel::Refusal => answer.refusal.push_str(text),
                    Channel::Content | Channel::Tool => answer.content.push_str(text),
                }
                answer.logprobs.add(logprobs);
            }
            Said::Call { choice, index, id, name } => {
                let call = Call { index, id: quoted(id), name: name.to_owned(), arguments: String::new() };
                self.answer(choice).tools.push(call);
            }
            Said::Arguments { choice, index, arguments } => {
                if let Some(call) = self.answer(choice).tools.iter_mut().find(|call| call.index == index) {
                    call.arguments.push_str(arguments);
                }
            }
            Said::Function { choice, name, arguments } => {
                let function = &mut self.answer(choice).function;
                function.name.push_str(name.unwrap_or_default());
                function.arguments.push_str(arguments);
            }
            Said::Finish { choice, reason, native, logprobs } => {
                let answer = self.answer(choice);
                answer.logprobs.add(logprobs);
                answer.finish = Some(finish_of(reason, native));
            }
        }
    }

    /// A whole answer has no last frames.
    fn end(&mut self, _: &Usage, _: &mut BytesMut) {}

    /// Nor is a failure told inside it.
    fn fail(&mut self, _: InBandError<'_>, _: &mut BytesMut) {}

    fn whole(&mut self, tail: Tail<'_>) -> Vec<u8> {
        let size = |c: &Answer| c.content.len() + 2 * c.reasoning.len() + c.logprobs.content.len();
        let mut out = BytesMut::with_capacity(self.choices.iter().map(size).sum::<usize>() + 768);
        let Self { id, created, model, .. } = self;
        put(
            &mut out,
            format_args!("{{\"id\":{id},\"object\":\"chat.completion\",\"created\":{created},\"model\":{model},"),
        );
        if let Some(provider) = tail.provider {
            put(&mut out, format_args!("\"provider\":{},", quoted(provider)));
        }
        put(&mut out, format_args!("\"service_tier\":{},\"choices\":[", quoted(tail.service_tier)));
        for (index, answer) in (0..).zip(&self.choices) {
            if index > 0 {
                out.extend_from_slice(b",");
            }
            answer.write(&mut out, index);
        }
        out.extend_from_slice(b"]");
        if let Some(usage) = tail.usage {
            out.extend_from_slice(b",\"usage\":");
            usage.write(&mut out);
        }
        out.extend_from_slice(b"}");
        out.into()
    }
}

impl Answer {
    fn write(&self, out: &mut BytesMut, index: u32) {
        put(out, format_args!("{{\"index\":{index},\"message\":{{\"role\":\"assistant\",\"content\":"));
        let called = !self.tools.is_empty() || !self.function.name.is_empty();
        if self.content.is_empty() && (called || !self.refusal.is_empty()) {
            out.extend_from_slice(b"null");
        } else {
            put(out, format_args!("\"{}\"", self.content));
        }
        match self.refusal.as_str() {
            "" => out.extend_from_slice(b",\"refusal\":null"),
            refusal => put(out, format_args!(",\"refusal\":\"{refusal}\"")),
        }
        if !self.reasoning.is_empty() {
            let reasoning = &self.reasoning;
            put(out, format_args!(",\"reasoning\":\"{reasoning}\",\"reasoning_content\":\"{reasoning}\""));
        }
        self.write_calls(out);
        out.extend_from_slice(b",\"annotations\":[]},\"logprobs\":");
        self.logprobs.write(out);
        let finish = self.finish.as_deref().unwrap_or("null");
        put(out, format_args!(",\"finish_reason\":{finish}}}"));
    }

    fn write_calls(&self, out: &mut BytesMut) {
        let mut separator = ",\"tool_calls\":[";
        for Call { id, name, arguments, .. } in &self.tools {
            put(
                out,
                format_args!(
                    "{separator}{{\"id\":{id},\"type\":\"function\",\"function\":{{\"name\":\"{name}\",\"arguments\":\"{arguments}\"}}}}"
                ),
            );
            separator = ",";
        }
        if separator == "," {
            out.extend_from_slice(b"]");
        }
        if !self.function.name.is_empty() {
            let Call { name, arguments, .. } = &self.function;
            put(out, format_args!(",\"function_call\":{{\"name\":\"{name}\",\"arguments\":\"{arguments}\"}}"));
        }
    }
}

impl Logprobs {
    /// Takes in what came with one piece. What is not of the dialect's shape is left out: it is an extra.
    fn add(&mut self, raw: &str) {
        #[derive(Deserialize)]
        struct Piece<'a> {
            #[serde(borrow, default)]
            content: Option<Vec<&'a RawValue>>,
            #[serde(borrow, default)]
            refusal: Option<Vec<&'a RawValue>>,
        }
        if raw == "null" {
            return;
        }
        let Ok(piece) = serde_json::from_str::<Piece<'_>>(raw) else { return };
        for (into, entries) in [(&mut self.content, piece.content), (&mut self.refusal, piece.refusal)] {
            for entry in entries.iter().flatten() {
                if !into.is_empty() {
                    into.push(',');
                }
                into.push_str(entry.get());
            }
        }
    }

    fn write(&self, out: &mut BytesMut) {
        match (self.content.as_str(), self.refusal.as_str()) {
            ("", "") => out.extend_from_slice(b"null"),
            (content, "") => put(out, format_args!("{{\"content\":[{content}],\"refusal\":null}}")),
            ("", refusal) => put(out, format_args!("{{\"content\":null,\"refusal\":[{refusal}]}}")),
            (content, refusal) => put(out, format_args!("{{\"content\":[{content}],\"refusal\":[{refusal}]}}")),
        }
    }
}

/// The value of `finish_reason`, and the engine's own word where that differs.
fn finish_of(reason: FinishReason, native: Option<&str>) -> String {
    match native {
        None => quoted(reason.as_str()),
        Some(word) => format!("\"{}\",\"native_finish_reason\":{}", reason.as_str(), quoted(word)),
    }
}

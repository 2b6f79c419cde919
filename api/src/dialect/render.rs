//! Our own frames: what every chunk of an answer shares, and the chunks that are ours alone.

use std::fmt::Write as _;

use bytes::BytesMut;

use super::wire::Channel;

/// What is sent while an answer is silent; clients skip comments.
pub const KEEPALIVE: &[u8] = b": keepalive\n\n";

const DONE: &[u8] = b"data: [DONE]\n\n";

/// What every chunk of one answer shares.
#[derive(Clone, Debug)]
pub struct Head {
    /// JSON literals, quotes included.
    pub(super) id: String,
    pub(super) model: String,
    pub(super) created: i64,
    /// A chunk up to its choices.
    open: String,
    pub(super) close: &'static str,
    call_seed: String,
}

impl Head {
    /// Describes an answer. `include_usage` says whether the client's stream ends with usage, which
    /// shows in every chunk.
    pub fn new(id: &str, created_unix_s: i64, model: &str, include_usage: bool) -> Self {
        let id_literal = quoted(id);
        let model = quoted(model);
        let open = format!(
            "data: {{\"id\":{id_literal},\"object\":\"chat.completion.chunk\",\"created\":{created_unix_s},\"model\":{model},\"choices\":["
        );
        let close = if include_usage { "],\"usage\":null}\n\n" } else { "]}\n\n" };
        // The end of a completion's id is its random part, and keeps call ids apart between answers.
        let hex: Vec<char> = id.chars().filter(char::is_ascii_hexdigit).collect();
        let call_seed = hex[hex.len().saturating_sub(24)..].iter().collect();
        Self { id: id_literal, model, created: created_unix_s, open, close, call_seed }
    }

    /// Starts a chunk for one choice, up to the inside of its delta.
    pub(super) fn open(&self, out: &mut BytesMut, choice: u32) {
        out.extend_from_slice(self.open.as_bytes());
        put(out, format_args!("{{\"index\":{choice},\"delta\":{{"));
    }

    /// Ends a chunk opened by [`Self::open`].
    pub(super) fn close(&self, out: &mut BytesMut, logprobs: &str, finish: &str) {
        put(out, format_args!("}},\"logprobs\":{logprobs},\"finish_reason\":{finish}}}{}", self.close));
    }

    /// A choice's first chunk.
    pub(super) fn role(&self, out: &mut BytesMut, choice: u32) {
        self.open(out, choice);
        out.extend_from_slice(br#""role":"assistant","content":"","refusal":null"#);
        self.close(out, "null", "null");
    }

    /// A chunk of text; `text` is the inside of a string literal.
    pub(super) fn text(&self, out: &mut BytesMut, choice: u32, channel: Channel, text: &str, logprobs: &str) {
        self.open(out, choice);
        match channel {
            Channel::Reasoning => put(out, format_args!("\"reasoning\":\"{text}\",\"reasoning_content\":\"{text}\"")),
            Channel::Refusal => put(out, format_args!("\"refusal\":\"{text}\"")),
            Channel::Content | Channel::Tool => put(out, format_args!("\"content\":\"{text}\"")),
        }
        self.close(out, logprobs, "null");
    }

    /// An id for a tool call whose engine gave none of the right form.
    pub(super) fn call_id(&self, choice: u32, tool: u32) -> String {
        format!("call_{:0>24}{:08x}", self.call_seed, (choice << 16) | tool)
    }
}

/// Usage as the client and the bill see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Prompt tokens, cached ones included.
    pub prompt_tokens: u64,
    /// Generated tokens, reasoning included.
    pub completion_tokens: u64,
    /// Prompt tokens found in a cache.
    pub cached_tokens: u64,
    /// Prompt tokens written to a cache.
    pub cache_write_tokens: u64,
    /// Reasoning tokens.
    pub reasoning_tokens: u64,
    /// What it cost, in billionths of a dollar.
    pub cost_nano_usd: u64,
}

impl Usage {
    /// Writes the usage object.
    pub(super) fn write(&self, out: &mut BytesMut) {
        let Self { prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, .. } = self;
        let total = prompt_tokens.saturating_add(*completion_tokens);
        put(
            out,
            format_args!(
                "{{\"prompt_tokens\":{prompt_tokens},\"completion_tokens\":{completion_tokens},\"total_tokens\":{total},\"cost\":{},\
                 \"prompt_tokens_details\":{{\"cached_tokens\":{cached_tokens},\"cache_write_tokens\":{cache_write_tokens},\"audio_tokens\":0}},\
                 \"completion_tokens_details\":{{\"reasoning_tokens\":{reasoning_tokens},\"audio_tokens\":0,\
                 \"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}}}",
                dollars(self.cost_nano_usd)
            ),
        );
    }
}

/// The chunk that carries usage, sent just before the end when the client asked for it.
pub fn usage_chunk(head: &Head, usage: &Usage, out: &mut BytesMut) {
    out.extend_from_slice(head.open.as_bytes());
    out.extend_from_slice(b"],\"usage\":");
    usage.write(out);
    out.extend_from_slice(b"}\n\n");
}

/// The end of a stream.
pub fn done(out: &mut BytesMut) {
    out.extend_from_slice(DONE);
}

/// A failure told inside a stream that has begun.
#[derive(Clone, Copy, Debug)]
pub struct InBandError<'a> {
    /// For people.
    pub message: &'a str,
    /// For programs, such as `provider_disconnected`.
    pub code: &'a str,
    /// The status it would have been.
    pub http_status: u16,
}

/// Tells a failure in band and ends the stream: a bare close would look like success.
pub fn error_chunk(head: &Head, choice: u32, error: InBandError<'_>, out: &mut BytesMut) {
    let InBandError { message, code, http_status } = error;
    out.extend_from_slice(head.open.as_bytes());
    put(
        out,
        format_args!(
            "{{\"index\":{choice},\"delta\":{{}},\"finish_reason\":\"error\"}}],\"error\":{{\"message\":{},\"type\":\"server_error\",\
             \"param\":null,\"code\":{},\"metadata\":{{\"http_status\":{http_status}}}}}}}\n\n",
            quoted(message),
            quoted(code),
        ),
    );
    done(out);
}

/// A JSON number of dollars, exact, without trailing zeros.
pub(super) fn dollars(nano_usd: u64) -> String {
    let (whole, fraction) = (nano_usd / 1_000_000_000, nano_usd % 1_000_000_000);
    let digits = format!("{whole}.{fraction:09}");
    digits.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A JSON string literal.
pub(super) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("text is always representable as JSON")
}

/// Appends formatted text.
pub(super) fn put(out: &mut BytesMut, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing into memory cannot fail");
}

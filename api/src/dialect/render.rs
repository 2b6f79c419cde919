//! What the answers of several dialects share: usage, failures, and how text is written.

use std::fmt::Write as _;

use bytes::BytesMut;

/// What is sent while an answer is silent; clients skip comments.
pub const KEEPALIVE: &[u8] = b": keepalive\n\n";

/// The end of a stream in OpenAI's dialects.
pub(super) const DONE: &[u8] = b"data: [DONE]\n\n";

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
    /// Writes the usage object of chat and completions.
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

impl InBandError<'_> {
    /// Writes the `error` object of OpenAI's dialects.
    pub(super) fn write(&self, out: &mut BytesMut) {
        let Self { message, code, http_status } = self;
        put(
            out,
            format_args!(
                "{{\"message\":{},\"type\":\"{}\",\"param\":null,\"code\":{},\"metadata\":{{\"http_status\":{http_status}}}}}",
                quoted(message),
                crate::error::kind_name(*http_status),
                quoted(code),
            ),
        );
    }
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

//! Anthropic's Messages API, both ways: a request into the chat request that means the same, and an answer told
//! as a message.
//!
//! Engines speak chat completions only, so everything here is translation: bytes in, bytes out. Texts pass as the
//! insides of string literals and are never unescaped; a field's path in a refusal is the client's own.

mod content;
mod members;
mod request;
mod tools;
mod turns;

pub use self::request::{Request, Wants, count_tokens_request, read};

/// The body that answers a question how many tokens a prompt has.
pub fn token_count(input_tokens: u64) -> Vec<u8> {
    format!("{{\"input_tokens\":{input_tokens}}}").into_bytes()
}

//! Anthropic's Messages API, both ways: a request into the chat request that means the same, and an answer told
//! as a message.
//!
//! Engines speak chat completions only, so everything here is translation: bytes in, bytes out. Texts pass as the
//! insides of string literals and are never unescaped; a field's path in a refusal is the client's own.

mod arguments;
mod block;
mod content;
mod error;
mod members;
mod models;
mod request;
mod tools;
mod turns;
mod voice;

pub use self::error::{error_body, error_status};
pub use self::models::{Model, model, model_list};
pub use self::request::{Request, Wants, count_tokens_request, read};
pub use self::voice::{Messages, PING};

/// The body that answers a question how many tokens a prompt has.
pub fn token_count(input_tokens: u64) -> Vec<u8> {
    format!("{{\"input_tokens\":{input_tokens}}}").into_bytes()
}

//! The Responses dialect, without state: its requests as chat requests, and chat answers in its words.
//!
//! Engines speak chat completions only. [`read`] turns a request into the chat request that asks for the
//! same, and keeps as [`Echo`] what the answer repeats of it; [`Responses`] tells the answer. Nothing is stored
//! between requests, so whatever would need an earlier response is refused by name.

mod content;
mod echo;
mod format;
mod frames;
mod input;
mod item;
mod logprobs;
mod object;
mod request;
mod speak;
mod tools;

pub use self::echo::Echo;
pub use self::input::MAX_ITEMS;
pub use self::request::{Request, read};
pub use self::speak::Responses;

use crate::envelope::Invalid;

/// Says which field is missing.
fn missing(path: &str, key: &str) -> Invalid {
    Invalid::at(format!("{path}.{key}"), format!("`{path}.{key}` is required"))
}

#[cfg(test)]
mod tests;

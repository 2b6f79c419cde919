//! How an answer is told to its client: one implementation for each dialect of the API.
//!
//! Reading an engine's stream and saying it again are apart: [`super::ChunkRewriter`] reads chunks and says
//! what they bring as [`Said`], in an order every dialect can follow; a [`Voice`] writes frames.

use bytes::BytesMut;

use super::render::{InBandError, Usage};
use super::wire::{Channel, FinishReason};

/// One thing the model said. Texts are the insides of JSON string literals, as they came and as they leave.
///
/// A choice opens before anything else of it and says nothing after its finish; choices open in index order.
/// A call opens, with its name, before its arguments; calls of one choice may be told in turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// A choice opens.
    Choice {
        /// Which, from 0.
        choice: u32,
    },
    /// Text, never empty.
    Text {
        /// Whose.
        choice: u32,
        /// Content, reasoning or a refusal; never [`Channel::Tool`].
        channel: Channel,
        /// The inside of a string literal.
        text: &'a str,
        /// Log probabilities as the engine wrote them, a JSON value; `null` where there are none.
        logprobs: &'a str,
    },
    /// A tool call opens.
    Call {
        /// Whose.
        choice: u32,
        /// Which of its calls, from 0.
        index: u32,
        /// Its id, `call_…`, as plain text.
        id: &'a str,
        /// The tool's name, the inside of a string literal.
        name: &'a str,
    },
    /// A piece of a call's arguments, never empty.
    Arguments {
        /// Whose.
        choice: u32,
        /// Of which call.
        index: u32,
        /// The inside of a string literal: JSON text, escaped once more.
        arguments: &'a str,
    },
    /// A piece of a call in the older form, of which a choice has at most one.
    Function {
        /// Whose.
        choice: u32,
        /// The function's name, once, the inside of a string literal.
        name: Option<&'a str>,
        /// A piece of its arguments, the inside of a string literal.
        arguments: &'a str,
    },
    /// A choice ends.
    Finish {
        /// Whose.
        choice: u32,
        /// How, in the contract's words.
        reason: FinishReason,
        /// How, in the engine's word where that differs.
        native: Option<&'a str>,
        /// Log probabilities that came with the end.
        logprobs: &'a str,
    },
}

/// Tells one answer in one dialect, as a stream of frames or whole.
///
/// A streamed answer is [`Voice::say`] many times, then [`Voice::end`] or [`Voice::fail`] once. A whole one
/// is said into a buffer nobody sends, and written by [`Voice::whole`] at the end.
pub trait Voice {
    /// Appends the frames for `said` to `out`.
    fn say(&mut self, said: Said<'_>, out: &mut BytesMut);

    /// Appends the last frames: every choice has finished, and the bill is known.
    fn end(&mut self, usage: &Usage, out: &mut BytesMut);

    /// Tells a failure in band and ends the stream: a bare close would look like success.
    fn fail(&mut self, error: InBandError<'_>, out: &mut BytesMut);

    /// What is sent while an answer is silent.
    fn keepalive(&self) -> &'static [u8] {
        super::KEEPALIVE
    }

    /// The whole answer, once every choice has finished.
    fn whole(&mut self, tail: super::Tail<'_>) -> Vec<u8>;
}

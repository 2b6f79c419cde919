//! The chat dialect on the wire: cutting an upstream byte stream into events, and turning those
//! into our own chunks or into one whole answer.
//!
//! Everything here is pure: bytes in, bytes out. A stream's hot path is [`EventScanner`] →
//! [`ChunkRewriter`], which for a run of equal-looking chunks copies text without parsing. Other dialects are
//! translations of this one: a request into a chat request, and what the model said ([`Said`]) into their own
//! frames by their [`Voice`].

mod assemble;
mod chunk;
mod fast;
mod render;
pub mod responses;
mod scan;
mod voice;
mod wire;

pub use self::assemble::{Assembler, Tail};
pub use self::chunk::ChunkRewriter;
pub use self::render::{Head, InBandError, KEEPALIVE, Usage, done, error_chunk, usage_chunk};
pub use self::scan::{EventScanner, MAX_EVENT_BYTES};
pub use self::voice::{Said, Voice};
pub use self::wire::{Channel, FinishReason, UpstreamError, UpstreamUsage};

/// What one upstream event brought. Where it brought several things, the most telling one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A choice opened; nothing generated yet.
    Role,
    /// Text (or a refusal's text).
    Content,
    /// Reasoning text.
    Reasoning,
    /// A fragment of a tool call.
    ToolCall,
    /// A choice ended, without further text.
    Finish,
    /// Usage figures and nothing else; kept, not forwarded.
    UsageOnly,
    /// The end of the stream.
    Done,
    /// Nothing a client would see.
    Empty,
}

impl Kind {
    /// Whether something the model generated has arrived.
    pub fn is_generated(self) -> bool {
        matches!(self, Self::Content | Self::Reasoning | Self::ToolCall)
    }
}

/// Why an upstream stream can't go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// One event is larger than [`MAX_EVENT_BYTES`].
    #[error("an upstream event is larger than {MAX_EVENT_BYTES} bytes")]
    EventTooLarge,
    /// An event is not a chunk of the dialect.
    #[error("an upstream event is malformed: {0}")]
    Malformed(String),
    /// The provider reported a failure inside the stream. Its words are for our logs only.
    #[error("the provider reported an error in its stream")]
    Upstream(UpstreamError),
}

#[cfg(test)]
mod tests;

//! The dialects of the API on the wire: cutting an engine's byte stream into events, reading these, and
//! telling the answer in the words its client speaks.
//!
//! Everything here is pure: bytes in, bytes out. A stream's hot path is [`EventScanner`] → [`Reader`] →
//! [`Voice`], which for a run of equal-looking chunks copies text without parsing.

mod chat;
mod completions;
mod embeddings;
mod emulated;
mod fast;
pub mod messages;
mod reader;
mod relayed;
mod render;
pub mod responses;
mod scan;
mod voice;
mod wire;

pub use self::chat::{ChatStream, ChatWhole};
pub use self::completions::{Completions, Echo as CompletionsEcho};
pub use self::embeddings::Vectors;
pub use self::emulated::{Emulated, Expected};
pub use self::fast::Around;
pub use self::reader::{Finish, Reader};
pub use self::relayed::Relayed;
pub use self::render::{InBandError, KEEPALIVE, Usage};
pub use self::scan::{EventScanner, MAX_EVENT_BYTES};
pub use self::voice::{Said, Tail, Voice};
pub use self::wire::{Channel, FinishReason, UpstreamError, UpstreamUsage};

use protocol::{Env, RequestId};

/// The dialect a client is answered in, with what the answer repeats of its request.
#[derive(Clone, Debug)]
pub enum Dialect {
    /// Chat completions.
    Chat {
        /// Whether the client's stream ends with usage.
        include_usage: bool,
    },
    /// The older completions.
    Completions(CompletionsEcho),
    /// OpenAI's Responses.
    Responses(Box<responses::Echo>),
    /// Anthropic's Messages.
    Messages(messages::Wants),
}

/// What every part of one answer shares.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The request; every id of the answer shares its UUID.
    pub request: RequestId,
    /// When it came, in unix seconds.
    pub created_unix_s: i64,
    /// The model that serves.
    pub model: &'a str,
    /// The prompt's tokens as far as they are known.
    pub prompt_tokens: u32,
    /// The clock, for dialects that say when an answer ended.
    pub env: &'a Env,
}

impl Dialect {
    /// Who tells an answer, as a stream or whole.
    #[must_use]
    pub fn voice(&self, head: Head<'_>, streamed: bool) -> Box<dyn Voice + Send> {
        let Head { request, created_unix_s, model, prompt_tokens, env } = head;
        match self {
            Self::Chat { include_usage } if streamed => {
                Box::new(ChatStream::new(&request.chat_completion(), created_unix_s, model, *include_usage))
            }
            Self::Chat { .. } => Box::new(ChatWhole::new(&request.chat_completion(), created_unix_s, model)),
            Self::Completions(echo) => {
                let id = request.text_completion();
                Box::new(Completions::new(&id, created_unix_s, model, echo.clone(), streamed))
            }
            Self::Responses(echo) => {
                Box::new(responses::Responses::new((**echo).clone(), request, created_unix_s, model, env.clone()))
            }
            Self::Messages(wants) => {
                Box::new(messages::Messages::new(request, model, u64::from(prompt_tokens), wants.clone()))
            }
        }
    }

    /// What is sent while an answer is silent.
    #[must_use]
    pub const fn keepalive(&self) -> &'static [u8] {
        match self {
            Self::Chat { .. } | Self::Completions(_) | Self::Responses(_) => KEEPALIVE,
            Self::Messages(_) => messages::PING,
        }
    }
}

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

impl Error {
    /// Its kind, for logs: the words of a parser may quote what the model said.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::EventTooLarge => "event_too_large",
            Self::Malformed(_) => "malformed",
            Self::Upstream(_) => "in_band",
        }
    }
}

#[cfg(test)]
mod tests;

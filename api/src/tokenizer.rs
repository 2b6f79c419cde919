//! Counting tokens the way a model's own engine does: the gateway's count decides the bill.
//!
//! A [`ModelTokenizer`] is a vocabulary and a chat template. [`Tokenizers`] finds it by model id;
//! for a model without one, counts are [`Count::Unverified`] and the provider's figures stand.

mod bpe;
mod count;
mod cut;
mod gguf;
mod registry;
pub(crate) mod strftime;
mod template;

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tiktoken_rs::CoreBPE;

pub use self::gguf::{Gguf, GgufError};
pub use self::registry::Tokenizers;
pub use self::template::{ChatTemplate, Prompt};

use crate::dialect::Channel;

/// Names this artifact among other JSON documents.
const ARTIFACT: &str = "steelyard-tokenizer-1";

/// How many tokens something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Counted with the model's own vocabulary.
    Verified(u64),
    /// No vocabulary here for this model.
    Unverified,
}

impl Count {
    /// The number, when there is one.
    pub fn verified(self) -> Option<u64> {
        match self {
            Self::Verified(count) => Some(count),
            Self::Unverified => None,
        }
    }
}

/// Why a tokenizer can't be made or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file can't be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A model file's metadata can't be understood.
    #[error("the model file's metadata is unusable")]
    Gguf(#[from] GgufError),
    /// The vocabulary doesn't fit the tokenizer library.
    #[error("the vocabulary is unusable: {0}")]
    Vocabulary(String),
    /// A kind of vocabulary or pre-tokenizer this gateway doesn't know.
    #[error("tokenizer {0:?} is not supported")]
    Unsupported(String),
    /// A stored artifact is damaged or of another version.
    #[error("the tokenizer artifact is unusable: {0}")]
    Artifact(String),
    /// The chat template doesn't compile.
    #[error("the chat template does not compile: {0}")]
    Template(String),
    /// There is no chat template, so a conversation has no text to count.
    #[error("the model has no chat template")]
    NoTemplate,
    /// The chat template refuses these messages.
    #[error("the chat template refuses this conversation: {0}")]
    Render(String),
    /// The messages are not the JSON they were checked to be.
    #[error("the messages are unreadable: {0}")]
    Messages(String),
}

/// A vocabulary and a chat template. Immutable, and shared by all requests for a model.
pub struct ModelTokenizer {
    vocabulary: Vocabulary,
    template: Option<ChatTemplate>,
    settings: Settings,
}

enum Vocabulary {
    /// Of a common kind: an encoder of ours, and the `tokenizer.json` it was made from.
    Known(Box<count::Encoder>, Box<RawValue>),
    /// Of another kind: the library, slower and able to do everything.
    Library(Box<tokenizers::Tokenizer>),
    Tiktoken(&'static CoreBPE),
}

/// What a model file says besides its vocabulary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    pub(crate) bos: Option<String>,
    pub(crate) eos: Option<String>,
    /// The engine puts the first token in front of a prompt that lacks it.
    pub(crate) add_bos: bool,
    /// The engine continues a last message of the assistant instead of answering it.
    pub(crate) continues_assistant: bool,
}

/// How an artifact is stored: one JSON document, a few megabytes where a model file has hundreds.
#[derive(Serialize)]
struct ArtifactOut<'a> {
    format: &'static str,
    tokenizer: &'a RawValue,
    chat_template: Option<&'a str>,
    settings: &'a Settings,
}

#[derive(Deserialize)]
struct ArtifactIn<'a> {
    format: String,
    #[serde(borrow)]
    tokenizer: &'a RawValue,
    chat_template: Option<String>,
    settings: Settings,
}

impl ModelTokenizer {
    /// From a model file's metadata.
    ///
    /// # Errors
    /// [`Error::Unsupported`], [`Error::Vocabulary`] or [`Error::Template`].
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, Error> {
        let document = bpe::build(gguf)?;
        let settings = Settings {
            bos: gguf.token(gguf.bos).map(str::to_owned),
            eos: gguf.token(gguf.eos).map(str::to_owned),
            add_bos: gguf.add_bos,
            continues_assistant: true,
        };
        Self::new(&document, gguf.chat_template.clone(), settings)
    }

    /// From a Hugging Face `tokenizer.json` and, perhaps, a chat template.
    ///
    /// # Errors
    /// [`Error::Vocabulary`] or [`Error::Template`].
    pub fn from_huggingface(
        tokenizer_json: &[u8],
        chat_template: Option<String>,
        bos: Option<String>,
        eos: Option<String>,
    ) -> Result<Self, Error> {
        Self::new(tokenizer_json, chat_template, Settings { bos, eos, ..Settings::default() })
    }

    /// One of the published vocabularies, by name: `o200k_base` or `cl100k_base`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for any other name.
    pub fn tiktoken(name: &str) -> Result<Self, Error> {
        let vocabulary = match name {
            "o200k_base" => tiktoken_rs::o200k_base_singleton(),
            "cl100k_base" => tiktoken_rs::cl100k_base_singleton(),
            _ => return Err(Error::Unsupported(name.to_owned())),
        };
        let settings = Settings::default();
        Ok(Self { vocabulary: Vocabulary::Tiktoken(vocabulary), template: None, settings })
    }

    /// From what [`Self::export`] or [`export`] wrote.
    ///
    /// # Errors
    /// [`Error::Artifact`], [`Error::Vocabulary`] or [`Error::Template`].
    pub fn load(artifact: &[u8]) -> Result<Self, Error> {
        let artifact: ArtifactIn<'_> =
            serde_json::from_slice(artifact).map_err(|error| Error::Artifact(error.to_string()))?;
        if artifact.format != ARTIFACT {
            return Err(Error::Artifact(format!("its format is {:?}", artifact.format)));
        }
        Self::new(artifact.tokenizer.get().as_bytes(), artifact.chat_template, artifact.settings)
    }

    /// Writes everything needed to count, as one JSON document.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a published vocabulary, which is found by name instead.
    pub fn export(&self) -> Result<Vec<u8>, Error> {
        let document: Cow<'_, RawValue> = match &self.vocabulary {
            Vocabulary::Tiktoken(_) => return Err(Error::Unsupported("tiktoken".to_owned())),
            Vocabulary::Known(_, document) => Cow::Borrowed(document),
            Vocabulary::Library(tokenizer) => {
                let text = tokenizer.to_string(false).map_err(|error| Error::Vocabulary(error.to_string()))?;
                Cow::Owned(RawValue::from_string(text).map_err(|error| Error::Artifact(error.to_string()))?)
            }
        };
        let artifact = ArtifactOut {
            format: ARTIFACT,
            tokenizer: &document,
            chat_template: self.template.as_ref().map(ChatTemplate::source),
            settings: &self.settings,
        };
        serde_json::to_vec(&artifact).map_err(|error| Error::Artifact(error.to_string()))
    }

    fn new(document: &[u8], template: Option<String>, settings: Settings) -> Result<Self, Error> {
        let template = template.map(|source| ChatTemplate::compile(source, &settings)).transpose()?;
        let vocabulary = match count::Encoder::read(document)? {
            Some(encoder) => {
                let document =
                    serde_json::from_slice(document).map_err(|error| Error::Vocabulary(error.to_string()))?;
                Vocabulary::Known(Box::new(encoder), document)
            }
            None => Vocabulary::Library(Box::new(library(document)?)),
        };
        Ok(Self { vocabulary, template, settings })
    }

    /// How many tokens the engine is given for a conversation. Images and sounds count nothing
    /// here. Takes time in proportion to the text: tens of milliseconds for a megabyte.
    ///
    /// # Errors
    /// [`Error::NoTemplate`], [`Error::Render`] when the model's template refuses the
    /// conversation, [`Error::Messages`].
    pub fn count_prompt(&self, prompt: &Prompt<'_>) -> Result<u64, Error> {
        if let Vocabulary::Tiktoken(_) = self.vocabulary {
            return template::chat_overhead(prompt, |text| self.count_text(text));
        }
        let template = self.template.as_ref().ok_or(Error::NoTemplate)?;
        Ok(self.count_alone(&template.render(prompt)?))
    }

    /// How many tokens an engine is given for a text that is a whole prompt.
    pub fn count_alone(&self, text: &str) -> u64 {
        let bos = self.settings.bos.as_deref().filter(|_| self.settings.add_bos);
        self.count_text(text) + u64::from(bos.is_some_and(|bos| !text.starts_with(bos)))
    }

    /// How many tokens a text is, on its own.
    pub fn count_text(&self, text: &str) -> u64 {
        match &self.vocabulary {
            Vocabulary::Tiktoken(vocabulary) => vocabulary.count_ordinary(text) as u64,
            Vocabulary::Known(encoder, _) => encoder.count(text),
            Vocabulary::Library(tokenizer) => match tokenizer.encode_fast(text, false) {
                Ok(encoding) => encoding.len() as u64,
                // No byte-level vocabulary fails here. If one did, nobody may be overcharged for it.
                Err(error) => {
                    tracing::error!(%error, "a text could not be tokenized");
                    0
                }
            },
        }
    }
}

impl std::fmt::Debug for ModelTokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelTokenizer").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Turns a model file's metadata into the artifact that [`ModelTokenizer::load`] reads.
///
/// # Errors
/// As [`ModelTokenizer::from_gguf`].
pub fn export(gguf: &Gguf) -> Result<Vec<u8>, Error> {
    ModelTokenizer::from_gguf(gguf)?.export()
}

/// Reads a `tokenizer.json` and takes away what would change a count.
fn library(json: &[u8]) -> Result<tokenizers::Tokenizer, Error> {
    let unusable = |error: tokenizers::Error| Error::Vocabulary(error.to_string());
    let mut tokenizer = tokenizers::Tokenizer::from_bytes(json).map_err(unusable)?;
    tokenizer.with_truncation(None).map_err(unusable)?;
    tokenizer.with_padding(None);
    Ok(tokenizer)
}

/// Counts a generated answer as it passes by.
///
/// The pieces of a token may come in different chunks, so only the whole text has a count; until
/// then there are [`Counter::bounds`]. What is kept is the text as it came (the insides of JSON
/// string literals), so that the hot path only copies.
#[derive(Debug)]
pub struct Counter {
    tokenizer: Option<Arc<ModelTokenizer>>,
    /// One text for each choice and channel; nearly always one or two.
    lanes: Vec<Lane>,
    last: usize,
    pieces: u64,
    bytes: u64,
    /// Tokens of what was counted so far, piece by piece: hardly ever fewer than they are together.
    estimate: u64,
    /// Bytes that came since.
    uncounted: u64,
}

#[derive(Debug)]
struct Lane {
    choice: u32,
    channel: Channel,
    literal: Vec<u8>,
    /// How much of it is in the estimate.
    counted: usize,
}

impl Counter {
    /// A counter for one answer; without a tokenizer its result is [`Count::Unverified`].
    pub fn new(tokenizer: Option<Arc<ModelTokenizer>>) -> Self {
        Self { tokenizer, lanes: Vec::new(), last: 0, pieces: 0, bytes: 0, estimate: 0, uncounted: 0 }
    }

    /// Adds text that belongs to the first choice's content.
    pub fn push(&mut self, text: &str) {
        let literal = serde_json::to_string(text).expect("text is always representable as JSON");
        self.push_literal(0, Channel::Content, &literal.as_bytes()[1..literal.len() - 1]);
    }

    /// Adds the inside of a JSON string literal.
    pub fn push_literal(&mut self, choice: u32, channel: Channel, literal: &[u8]) {
        if literal.is_empty() {
            return;
        }
        self.pieces += 1;
        self.bytes += literal.len() as u64;
        self.uncounted += literal.len() as u64;
        let matches = |lane: &Lane| lane.choice == choice && lane.channel == channel;
        if !self.lanes.get(self.last).is_some_and(matches) {
            self.last = self.lanes.iter().position(matches).unwrap_or_else(|| {
                self.lanes.push(Lane { choice, channel, literal: Vec::with_capacity(1024), counted: 0 });
                self.lanes.len() - 1
            });
        }
        self.lanes[self.last].literal.extend_from_slice(literal);
    }

    /// How many pieces came, and how many bytes they were as JSON.
    ///
    /// Engines send at most one piece per token, and a token is at least one byte of text, so the
    /// count lies about between the two; several tokens to a piece are common, the reverse is not.
    pub fn bounds(&self) -> (u64, u64) {
        (self.pieces, self.bytes)
    }

    /// Whether more than `limit` tokens have come. Without a vocabulary a piece counts as one token, since
    /// engines send at most one piece for each.
    ///
    /// Cheap to ask after every piece: no token is less than a byte, so what has come is counted only where its
    /// bytes could pass the limit, and then only what is new. Close to the limit everything is counted together.
    pub fn passes(&mut self, limit: u64) -> bool {
        let Some(tokenizer) = &self.tokenizer else { return self.pieces > limit };
        if self.estimate + self.uncounted <= limit {
            return false;
        }
        for lane in &mut self.lanes {
            self.estimate += tokenizer.count_text(&unescape(&lane.literal[lane.counted..]));
            lane.counted = lane.literal.len();
        }
        self.uncounted = 0;
        if self.estimate > limit {
            self.estimate = self.lanes.iter().map(|lane| tokenizer.count_text(&unescape(&lane.literal))).sum();
        }
        self.estimate > limit
    }

    /// The text of one choice and channel so far.
    pub fn text(&self, choice: u32, channel: Channel) -> String {
        let lane = self.lanes.iter().find(|lane| lane.choice == choice && lane.channel == channel);
        lane.map(|lane| unescape(&lane.literal)).unwrap_or_default()
    }

    /// Counts everything that came.
    pub fn finish(self) -> Count {
        let Some(tokenizer) = &self.tokenizer else { return Count::Unverified };
        Count::Verified(self.lanes.iter().map(|lane| tokenizer.count_text(&unescape(&lane.literal))).sum())
    }

    /// Counts what came on one channel, of all choices.
    pub fn count_channel(&self, channel: Channel) -> Count {
        let Some(tokenizer) = &self.tokenizer else { return Count::Unverified };
        let lanes = self.lanes.iter().filter(|lane| lane.channel == channel);
        Count::Verified(lanes.map(|lane| tokenizer.count_text(&unescape(&lane.literal))).sum())
    }
}

/// The text of the inside of a JSON string literal. Half a surrogate pair becomes a replacement
/// character: a stream may end between the halves.
fn unescape(literal: &[u8]) -> String {
    let mut text = String::with_capacity(literal.len());
    let mut rest = literal;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        text.push_str(&String::from_utf8_lossy(&rest[..at]));
        let escape = rest.get(at + 1).copied().unwrap_or(b'\\');
        rest = rest.get(at + 2..).unwrap_or_default();
        match escape {
            b'n' => text.push('\n'),
            b't' => text.push('\t'),
            b'r' => text.push('\r'),
            b'b' => text.push('\u{8}'),
            b'f' => text.push('\u{c}'),
            b'u' => {
                let first = hex4(rest).unwrap_or(0xfffd);
                rest = rest.get(4..).unwrap_or_default();
                let second = rest.strip_prefix(b"\\u").and_then(hex4).filter(|low| (0xdc00..0xe000).contains(low));
                let whole = match second {
                    Some(low) if (0xd800..0xdc00).contains(&first) => {
                        rest = &rest[6..];
                        0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00)
                    }
                    _ => first,
                };
                text.push(char::from_u32(whole).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            other => text.push(char::from(other)),
        }
    }
    text.push_str(&String::from_utf8_lossy(rest));
    text
}

fn hex4(digits: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(digits.get(..4)?).ok()?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests;

//! Counting tokens the way a model's own engine does: the gateway's count decides the bill.
//!
//! A [`ModelTokenizer`] is a vocabulary and a chat template. [`Tokenizers`] finds it by model id;
//! for a model without one, counts are [`Count::Unverified`] and the provider's figures stand.

mod artifact;
mod bpe;
mod chars;
mod count;
mod counter;
mod cut;
mod document;
mod gguf;
mod pieces;
mod published;
mod registry;
pub(crate) mod strftime;
mod template;

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::artifact::Description;
pub use self::counter::Counter;
pub use self::gguf::{Gguf, GgufError};
pub use self::registry::Tokenizers;
pub use self::template::{ChatTemplate, Prompt};

use self::count::Encoder;

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

/// A vocabulary and how conversations become text. Immutable, and shared by all requests for a model.
pub struct ModelTokenizer {
    vocabulary: Vocabulary,
    prompts: Prompts,
    settings: Settings,
}

enum Vocabulary {
    /// Of a common kind: an encoder of ours, which models with a published vocabulary share.
    Known(Arc<Encoder>),
    /// Of another kind: the library, slower and able to do everything.
    Library(Box<tokenizers::Tokenizer>),
}

enum Prompts {
    /// By the model's own template.
    Template(Box<ChatTemplate>),
    /// By the published formula for models whose template is not.
    Formula,
    /// Not at all: the model completes texts.
    None,
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

impl ModelTokenizer {
    /// One of the published vocabularies, by name: `o200k_base` or `cl100k_base`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for any other name.
    pub fn published(name: &str) -> Result<Self, Error> {
        let encoder = published::find(name).ok_or_else(|| Error::Unsupported(name.to_owned()))?;
        let vocabulary = Vocabulary::Known(encoder);
        Ok(Self { vocabulary, prompts: Prompts::Formula, settings: Settings::default() })
    }

    /// The one that is described.
    ///
    /// # Errors
    /// [`Error::Vocabulary`] or [`Error::Template`].
    pub fn new(description: &Description) -> Result<Self, Error> {
        let settings = description.settings.clone();
        let prompts = match &description.chat_template {
            Some(source) => Prompts::Template(Box::new(ChatTemplate::compile(source, &settings)?)),
            None => Prompts::None,
        };
        let document = description.tokenizer.get().as_bytes();
        let vocabulary = match Encoder::read(document)? {
            Some(encoder) => Vocabulary::Known(Arc::new(encoder)),
            None => Vocabulary::Library(Box::new(library(document)?)),
        };
        Ok(Self { vocabulary, prompts, settings })
    }

    /// How many tokens the engine is given for a conversation. Images and sounds count nothing
    /// here. Takes time in proportion to the text: tens of milliseconds for a megabyte.
    ///
    /// # Errors
    /// [`Error::NoTemplate`], [`Error::Render`] when the model's template refuses the
    /// conversation, [`Error::Messages`].
    pub fn count_prompt(&self, prompt: &Prompt<'_>) -> Result<u64, Error> {
        match &self.prompts {
            Prompts::Formula => template::chat_overhead(prompt, |text| self.count_text(text)),
            Prompts::Template(template) => Ok(self.count_alone(&template.render(prompt)?)),
            Prompts::None => Err(Error::NoTemplate),
        }
    }

    /// How many tokens an engine is given for a text that is a whole prompt.
    pub fn count_alone(&self, text: &str) -> u64 {
        let bos = self.settings.bos.as_deref().filter(|_| self.settings.add_bos);
        self.count_text(text) + u64::from(bos.is_some_and(|bos| !text.starts_with(bos)))
    }

    /// How many tokens a text is, on its own.
    pub fn count_text(&self, text: &str) -> u64 {
        match &self.vocabulary {
            Vocabulary::Known(encoder) => encoder.count(text),
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

/// Reads a `tokenizer.json` and takes away what would change a count.
fn library(json: &[u8]) -> Result<tokenizers::Tokenizer, Error> {
    let unusable = |error: tokenizers::Error| Error::Vocabulary(error.to_string());
    let mut tokenizer = tokenizers::Tokenizer::from_bytes(json).map_err(unusable)?;
    tokenizer.with_truncation(None).map_err(unusable)?;
    tokenizer.with_padding(None);
    Ok(tokenizer)
}

#[cfg(test)]
mod tests;

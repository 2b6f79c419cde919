//! What a tokenizer is made of, and how it is kept: one JSON document, a few megabytes where a model file has
//! hundreds.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::{Error, Gguf, Settings, bpe};

/// Names this artifact among other JSON documents.
const FORMAT: &str = "steelyard-tokenizer-1";

/// A vocabulary, a chat template and a few settings: everything needed to count.
#[derive(Debug)]
pub struct Description {
    /// In the format of a Hugging Face `tokenizer.json`.
    pub(super) tokenizer: Box<RawValue>,
    pub(super) chat_template: Option<String>,
    pub(super) settings: Settings,
}

#[derive(Serialize)]
struct Written<'a> {
    format: &'static str,
    tokenizer: &'a RawValue,
    chat_template: Option<&'a str>,
    settings: &'a Settings,
}

#[derive(Deserialize)]
struct Read {
    format: String,
    tokenizer: Box<RawValue>,
    chat_template: Option<String>,
    settings: Settings,
}

impl Description {
    /// From a model file's metadata.
    ///
    /// # Errors
    /// [`Error::Unsupported`] or [`Error::Vocabulary`].
    pub fn of_gguf(gguf: &Gguf) -> Result<Self, Error> {
        let settings = Settings {
            bos: gguf.token(gguf.bos).map(str::to_owned),
            eos: gguf.token(gguf.eos).map(str::to_owned),
            add_bos: gguf.add_bos,
            continues_assistant: true,
        };
        let tokenizer = to_raw_value(&bpe::build(gguf)?).map_err(|error| Error::Vocabulary(error.to_string()))?;
        Ok(Self { tokenizer, chat_template: gguf.chat_template.clone(), settings })
    }

    /// From what [`Self::write`] wrote.
    ///
    /// # Errors
    /// [`Error::Artifact`].
    pub fn read(artifact: &[u8]) -> Result<Self, Error> {
        let Read { format, tokenizer, chat_template, settings } =
            serde_json::from_slice(artifact).map_err(|error| Error::Artifact(error.to_string()))?;
        if format != FORMAT {
            return Err(Error::Artifact(format!("its format is {format:?}")));
        }
        Ok(Self { tokenizer, chat_template, settings })
    }

    /// As one JSON document.
    ///
    /// # Errors
    /// [`Error::Artifact`].
    pub fn write(&self) -> Result<Vec<u8>, Error> {
        let Self { tokenizer, chat_template, settings } = self;
        let written = Written { format: FORMAT, tokenizer, chat_template: chat_template.as_deref(), settings };
        serde_json::to_vec(&written).map_err(|error| Error::Artifact(error.to_string()))
    }

    /// From wherever an operator keeps it: a model file (`.gguf`), a Hugging Face `tokenizer.json` with a
    /// `chat_template.jinja` or a `tokenizer_config.json` beside it, or an artifact of ours.
    ///
    /// # Errors
    /// [`Error::Read`], and what the format's own reader returns.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if path.extension().is_some_and(|extension| extension == "gguf") {
            return Self::of_gguf(&Gguf::open(path)?);
        }
        let bytes = read(path)?;
        if let Ok(description) = Self::read(&bytes) {
            return Ok(description);
        }
        let tokenizer = serde_json::from_slice(&bytes).map_err(|error| Error::Vocabulary(error.to_string()))?;
        let template = match beside(path, "chat_template.jinja")? {
            Some(text) => Some(String::from_utf8(text).map_err(|error| Error::Template(error.to_string()))?),
            None => None,
        };
        let config: Config = match beside(path, "tokenizer_config.json")? {
            Some(text) => serde_json::from_slice(&text).map_err(|error| Error::Vocabulary(error.to_string()))?,
            None => Config::default(),
        };
        let named = |token: Option<Token>| token.map(Token::text);
        let settings = Settings { bos: named(config.bos_token), eos: named(config.eos_token), ..Settings::default() };
        Ok(Self { tokenizer, chat_template: template.or(config.chat_template), settings })
    }
}

/// The part of a `tokenizer_config.json` that matters to chat templates.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    chat_template: Option<String>,
    bos_token: Option<Token>,
    eos_token: Option<Token>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Token {
    Text(String),
    Object { content: String },
}

impl Token {
    fn text(self) -> String {
        match self {
            Self::Text(text) | Self::Object { content: text } => text,
        }
    }
}

/// A file in the same folder, if there is one.
fn beside(path: &Path, name: &str) -> Result<Option<Vec<u8>>, Error> {
    let path = path.with_file_name(name);
    if path.exists() { read(&path).map(Some) } else { Ok(None) }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

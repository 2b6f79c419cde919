//! Tokenizers by model id.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{Count, Counter, Error, Gguf, ModelTokenizer, Prompt};

/// All tokenizers this process counts with. Reads take no lock; a change replaces the whole map.
#[derive(Debug, Default)]
pub struct Tokenizers {
    by_model: ArcSwap<HashMap<Arc<str>, Arc<ModelTokenizer>>>,
}

impl Tokenizers {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a model with this tokenizer from now on.
    pub fn set(&self, model: &str, tokenizer: Arc<ModelTokenizer>) {
        self.by_model.rcu(|current| {
            let mut next = HashMap::clone(current);
            next.insert(Arc::from(model), tokenizer.clone());
            next
        });
    }

    /// Stops counting a model.
    pub fn remove(&self, model: &str) {
        self.by_model.rcu(|current| {
            let mut next = HashMap::clone(current);
            next.remove(model);
            next
        });
    }

    /// A model's tokenizer.
    pub fn find(&self, model: &str) -> Option<Arc<ModelTokenizer>> {
        self.by_model.load().get(model).cloned()
    }

    /// Counts a conversation with a model.
    ///
    /// # Errors
    /// As [`ModelTokenizer::count_prompt`]. A model without a tokenizer is no error.
    pub fn count_prompt(&self, model: &str, prompt: &Prompt<'_>) -> Result<Count, Error> {
        self.find(model).map_or(Ok(Count::Unverified), |tokenizer| tokenizer.count_prompt(prompt).map(Count::Verified))
    }

    /// A counter for an answer of a model.
    pub fn counter(&self, model: &str) -> Counter {
        Counter::new(self.find(model))
    }
}

impl ModelTokenizer {
    /// Reads a tokenizer from wherever an operator keeps it: a model file (`.gguf`), a Hugging Face
    /// `tokenizer.json` with a `chat_template.jinja` beside it, or an artifact of ours.
    ///
    /// # Errors
    /// [`Error::Read`], and what the format's own reader returns.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if path.extension().is_some_and(|extension| extension == "gguf") {
            return Self::from_gguf(&Gguf::open(path)?);
        }
        let bytes = read(path)?;
        if let Ok(tokenizer) = Self::load(&bytes) {
            return Ok(tokenizer);
        }
        let beside = |name: &str| path.with_file_name(name);
        let template = beside("chat_template.jinja");
        let template = if template.exists() {
            let text = String::from_utf8(read(&template)?);
            Some(text.map_err(|error| Error::Template(error.to_string()))?)
        } else {
            None
        };
        let config = beside("tokenizer_config.json");
        let config: Config = match config.exists() {
            true => serde_json::from_slice(&read(&config)?).map_err(|error| Error::Vocabulary(error.to_string()))?,
            false => Config::default(),
        };
        let named = |token: Option<Token>| token.map(Token::text);
        let template = template.or(config.chat_template);
        Self::from_huggingface(&bytes, template, named(config.bos_token), named(config.eos_token))
    }
}

/// The part of a `tokenizer_config.json` that matters to chat templates.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Config {
    chat_template: Option<String>,
    bos_token: Option<Token>,
    eos_token: Option<Token>,
}

#[derive(serde::Deserialize)]
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

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

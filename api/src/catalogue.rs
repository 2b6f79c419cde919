//! Keeps the tokenizers in memory in step with the catalogue.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::PgPool;

use crate::keys::Digest;
use crate::store::tokenizers::{Artifact, TokenizerKind};
use crate::store::{models, tokenizers};
use crate::tokenizer::{Description, Error, ModelTokenizer, Tokenizers};

/// Which tokenizer each model was given last.
#[derive(Debug, Default)]
pub struct Catalogue {
    loaded: HashMap<String, Digest>,
}

/// A tokenizer that could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The database failed.
    #[error("the catalogue of models could not be read")]
    Database(#[from] sqlx::Error),
    /// What is stored can't be used.
    #[error("the tokenizer of model {model} cannot be used")]
    Tokenizer {
        /// Whose tokenizer.
        model: String,
        /// Why.
        #[source]
        source: Error,
    },
}

impl Catalogue {
    /// Loads the tokenizers of models that are new or changed, and drops those of models that went.
    /// Models with the same tokenizer share it. Returns how many models changed.
    ///
    /// # Errors
    /// [`CatalogueError`]; models before the one at fault are ready, the rest as they were.
    pub async fn refresh(&mut self, db: &PgPool, tokenizers: &Tokenizers) -> Result<usize, CatalogueError> {
        let mut conn = db.acquire().await?;
        let wanted: HashMap<String, Digest> =
            models::list(&mut conn).await?.into_iter().filter_map(|model| Some((model.id, model.tokenizer?))).collect();
        let mut changed = 0;
        let gone: Vec<String> = self.loaded.keys().filter(|model| !wanted.contains_key(*model)).cloned().collect();
        for model in gone {
            tokenizers.remove(&model);
            self.loaded.remove(&model);
            changed += 1;
        }
        for (model, digest) in wanted {
            if self.loaded.get(&model) == Some(&digest) {
                continue;
            }
            let twin = self.loaded.iter().find(|(_, other)| **other == digest).and_then(|(id, _)| tokenizers.find(id));
            let tokenizer = match twin {
                Some(tokenizer) => tokenizer,
                None => {
                    let Some(artifact) = tokenizers::find(&mut conn, &digest).await? else { continue };
                    load(&model, artifact).await?
                }
            };
            tokenizers.set(&model, tokenizer);
            self.loaded.insert(model, digest);
            changed += 1;
        }
        Ok(changed)
    }
}

/// Building a vocabulary takes a good part of a second: not on a thread that serves requests.
async fn load(model: &str, artifact: Artifact) -> Result<Arc<ModelTokenizer>, CatalogueError> {
    let task = tokio::task::spawn_blocking(move || open(&artifact));
    let failed = |source| CatalogueError::Tokenizer { model: model.to_owned(), source };
    let outcome = task.await.unwrap_or_else(|panic| Err(Error::Artifact(panic.to_string())));
    outcome.map(Arc::new).map_err(failed)
}

/// The tokenizer a stored artifact describes.
///
/// # Errors
/// [`Error`] when it is not readable.
pub fn open(artifact: &Artifact) -> Result<ModelTokenizer, Error> {
    match artifact.kind {
        TokenizerKind::Artifact => ModelTokenizer::new(&Description::read(&artifact.data)?),
        TokenizerKind::Tiktoken => {
            ModelTokenizer::published(std::str::from_utf8(&artifact.data).unwrap_or("not utf-8"))
        }
    }
}

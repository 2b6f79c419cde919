//! Tokenizers by model id.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{Count, Counter, Error, ModelTokenizer, Prompt};

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

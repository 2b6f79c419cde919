//! Reading a `tokenizer.json` for counting.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use super::count::Encoder;
use super::{Error, bpe};

/// The part of a `tokenizer.json` that decides counts.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    added_tokens: Vec<Added>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    model: Model,
}

#[derive(Deserialize)]
struct Added {
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    dropout: Option<f32>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    vocab: HashMap<String, u32>,
    merges: Vec<Merge>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Text(String),
}

impl Encoder {
    /// Arranges a `tokenizer.json`, or says with `None` that it is of a kind left to the library.
    ///
    /// # Errors
    /// [`Error::Vocabulary`] when a merge makes a token that isn't there.
    pub(super) fn read(json: &[u8]) -> Result<Option<Self>, Error> {
        // Vocabularies of other kinds have other fields; the library knows them all.
        let Ok(document) = serde_json::from_slice::<Document>(json) else { return Ok(None) };
        let Some(cut) = document.pre_tokenizer.as_ref().and_then(bpe::recognise) else { return Ok(None) };
        let plain = |added: &Added| !(added.single_word || added.lstrip || added.rstrip || added.normalized);
        if document.normalizer.is_some() || !document.added_tokens.iter().all(plain) || !document.model.is_plain() {
            return Ok(None);
        }
        let mut encoder = Self::empty(cut);
        encoder.add_everywhere(document.added_tokens.into_iter().map(|one| one.content));
        document.model.teach(&mut encoder)?;
        Ok(Some(encoder.ready()))
    }
}

impl Model {
    fn teach(&self, encoder: &mut Encoder) -> Result<(), Error> {
        let byte_of: HashMap<char, u8> = (0..=255).map(|byte| (letter_of(byte), byte)).collect();
        for (letter, byte) in &byte_of {
            if let Some(token) = self.vocab.get(letter.to_string().as_str()) {
                encoder.add_byte(*byte, *token);
            }
        }
        for (rank, merge) in (0..).zip(&self.merges) {
            let (left, right) = match merge {
                Merge::Pair(left, right) => (left.as_str(), right.as_str()),
                Merge::Text(text) => text.split_once(' ').unwrap_or_default(),
            };
            let id = |token: &str| {
                let id = self.vocab.get(token).copied();
                id.ok_or_else(|| Error::Vocabulary(format!("a merge names {token:?}, which is no token")))
            };
            encoder.add_merge((id(left)?, id(right)?), rank, id(&format!("{left}{right}"))?);
        }
        for token in self.vocab.keys() {
            let Some(bytes) = token.chars().map(|c| byte_of.get(&c).copied()).collect::<Option<Vec<u8>>>() else {
                continue;
            };
            if self.ignore_merges || encoder.merged(&bytes) == 1 {
                encoder.add_whole(&bytes);
            }
        }
        Ok(())
    }

    /// Whether this is byte-level merging and nothing else.
    fn is_plain(&self) -> bool {
        let unset = |text: &Option<String>| text.as_deref().unwrap_or_default().is_empty();
        self.kind.as_deref().unwrap_or("BPE") == "BPE"
            && self.dropout.is_none_or(|chance| chance == 0.0)
            && self.unk_token.is_none()
            && unset(&self.continuing_subword_prefix)
            && unset(&self.end_of_word_suffix)
            && !self.byte_fallback
    }
}

/// The letter that stands for a byte in byte-level vocabularies: itself where it can be printed,
/// else the next one from U+0100.
fn letter_of(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|byte| !printable(*byte)).count();
    char::from_u32(0x100 + u32::try_from(before).unwrap_or(0)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

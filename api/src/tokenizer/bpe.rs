//! A byte-level BPE tokenizer out of a model file's metadata.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use super::cut::Cut;
use super::{Error, Gguf};

/// Token types of GGUF that stand for themselves wherever they appear in a prompt.
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// The splitting pattern of Llama 3, and what Qwen 2 changed: digits one by one.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Builds the tokenizer's description.
///
/// It is described in the library's own file format rather than with its builders: that format is
/// also what gets stored, so there is one way in.
pub(super) fn build(gguf: &Gguf) -> Result<Value, Error> {
    if gguf.model != "gpt2" {
        return Err(Error::Unsupported(gguf.model.clone()));
    }
    let (pre_tokenizer, ignore_merges) = pre_tokenizer(&gguf.pre)?;
    check_bytes(gguf)?;
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens(gguf),
        "normalizer": null,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": null,
        "decoder": byte_level(false),
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": ignore_merges,
            "vocab": vocabulary(gguf),
            "merges": merges(gguf)?,
        },
    }))
}

/// Finds out which of the known ways of cutting a `tokenizer.json` describes.
pub(super) fn recognise(described: &Value) -> Option<Cut> {
    let known = [
        (byte_level(true), Cut::Gpt2),
        (digits(), Cut::Digits),
        (split(LLAMA3), Cut::Llama3 { digits: 3 }),
        (split(QWEN2), Cut::Llama3 { digits: 1 }),
        (split(tiktoken_rs::O200K_BASE_PAT_STR), Cut::O200k),
    ];
    known.into_iter().find(|(value, _)| value == described).map(|(_, cut)| cut)
}

/// How text is cut before merging, and whether a piece that is a token stays whole.
fn pre_tokenizer(name: &str) -> Result<(Value, bool), Error> {
    Ok(match name {
        "gpt-2" => (byte_level(true), false),
        "smollm" => (digits(), false),
        "llama-bpe" | "llama-v3" | "llama3" => (split(LLAMA3), true),
        "qwen2" | "deepseek-r1-qwen" => (split(QWEN2), false),
        other => return Err(Error::Unsupported(other.to_owned())),
    })
}

fn byte_level(use_regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex})
}

fn digits() -> Value {
    let digits = json!({"type": "Digits", "individual_digits": true});
    json!({"type": "Sequence", "pretokenizers": [digits, byte_level(true)]})
}

fn split(pattern: &str) -> Value {
    let split = json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    json!({"type": "Sequence", "pretokenizers": [split, byte_level(false)]})
}

fn vocabulary(gguf: &Gguf) -> BTreeMap<&str, usize> {
    // Padding may repeat a token; the first id is the one the engine finds.
    let mut vocabulary = BTreeMap::new();
    for (id, token) in gguf.tokens.iter().enumerate() {
        vocabulary.entry(token.as_str()).or_insert(id);
    }
    vocabulary
}

fn merges(gguf: &Gguf) -> Result<Vec<[&str; 2]>, Error> {
    let split = |merge: &'_ String| -> Option<usize> {
        merge.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(at, _)| at)
    };
    let pairs = gguf.merges.iter().map(|merge| {
        let at = split(merge).ok_or_else(|| Error::Vocabulary(format!("{merge:?} is not a merge")))?;
        Ok([&merge[..at], &merge[at + 1..]])
    });
    pairs.collect()
}

fn added_tokens(gguf: &Gguf) -> Vec<Value> {
    let tokens = gguf.tokens.iter().zip(&gguf.token_types).enumerate();
    let whole = tokens.filter(|(_, (token, kind))| matches!(**kind, CONTROL | USER_DEFINED) && !token.is_empty());
    whole
        .map(|(id, (content, kind))| {
            json!({
                "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": *kind == CONTROL,
            })
        })
        .collect()
}

/// Checks that the vocabulary is one of bytes at all: every printable ASCII character must have a
/// token. Vocabularies do lack some control bytes, which then vanish in the engine as they do here.
fn check_bytes(gguf: &Gguf) -> Result<(), Error> {
    let tokens: HashSet<&str> = gguf.tokens.iter().map(String::as_str).collect();
    match (b'!'..=b'~').map(char::from).find(|byte| !tokens.contains(byte.to_string().as_str())) {
        None => Ok(()),
        Some(byte) => Err(Error::Vocabulary(format!("there is no token for {byte:?}"))),
    }
}

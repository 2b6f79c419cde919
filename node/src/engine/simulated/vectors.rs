//! Vectors without a model: a few numbers drawn from the text, so that equal texts have equal vectors.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::answer::prompts;

/// Numbers in a vector: as many as a digest has bytes.
const DIMENSIONS: usize = 32;

#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    input: &'a RawValue,
}

/// The answer to a request for vectors, always as numbers.
pub(super) fn answer(body: &Bytes, model: &str) -> Result<Value, String> {
    let asked: Asked<'_> =
        serde_json::from_slice(body).map_err(|error| format!("the request is unreadable: {error}"))?;
    let raw = asked.input.get();
    let texts: Vec<&str> = match serde_json::from_str::<Vec<&RawValue>>(raw) {
        Ok(list) if prompts(raw) as usize == list.len() => list.iter().map(|text| text.get()).collect(),
        _ => vec![raw],
    };
    let data: Vec<Value> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| json!({"object": "embedding", "index": index, "embedding": vector(text)}))
        .collect();
    let tokens = (raw.len() / 4).max(1);
    Ok(json!({
        "object": "list", "data": data, "model": model, "system_fingerprint": "simulated",
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }))
}

/// Of length one, as real ones are.
fn vector(text: &str) -> Vec<f32> {
    let digest: [u8; DIMENSIONS] = Sha256::digest(text.as_bytes()).into();
    let raw = digest.map(|byte| f32::from(byte) - 127.5);
    let length = raw.iter().map(|number| number * number).sum::<f32>().sqrt();
    raw.iter().map(|number| number / length).collect()
}

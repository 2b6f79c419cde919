//! Embeddings: vectors in the order of their texts, as numbers or as base64 of 32-bit floats.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::render::{dollars, put, quoted};
use super::wire::upstream_error;
use super::{Error, Kind, Tail, UpstreamUsage};

/// The longest vector taken: far above what any model makes.
const MAX_DIMENSIONS: usize = 65_536;

/// One answer of vectors, converted to the form its client asked for.
#[derive(Debug)]
pub struct Vectors {
    model: String,
    base64: bool,
    count: usize,
    /// JSON values, by index.
    vectors: Vec<Option<String>>,
    usage: Option<UpstreamUsage>,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow, default)]
    data: Option<Vec<Vector<'a>>>,
    #[serde(default)]
    usage: Option<WireUsage>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Vector<'a> {
    #[serde(default)]
    index: Option<usize>,
    #[serde(borrow)]
    embedding: &'a RawValue,
}

#[derive(Deserialize)]
struct WireUsage {
    #[serde(default)]
    prompt_tokens: u64,
}

impl Vectors {
    /// Waits for `count` vectors; `base64` says in which form the client wants them.
    pub fn new(model: &str, count: usize, base64: bool) -> Self {
        Self { model: quoted(model), base64, count, vectors: vec![None; count], usage: None }
    }

    /// Takes in the whole answer of an engine.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is not one vector for each text; [`Error::Upstream`].
    pub fn read(&mut self, data: &[u8]) -> Result<Kind, Error> {
        let wire: Wire<'_> = serde_json::from_slice(data).map_err(|error| Error::Malformed(error.to_string()))?;
        if let Some(error) = wire.error {
            return Err(Error::Upstream(upstream_error(error.get())));
        }
        for (position, vector) in wire.data.unwrap_or_default().into_iter().enumerate() {
            let place = self.vectors.get_mut(vector.index.unwrap_or(position));
            let place = place.ok_or_else(|| Error::Malformed("more vectors than texts".to_owned()))?;
            *place = Some(convert(vector.embedding.get(), self.base64)?);
        }
        if !self.is_complete() {
            return Err(Error::Malformed(format!("fewer than {} vectors", self.count)));
        }
        self.usage =
            wire.usage.map(|usage| UpstreamUsage { prompt_tokens: usage.prompt_tokens, ..UpstreamUsage::default() });
        Ok(Kind::Content)
    }

    /// Usage as the provider counted it.
    pub fn usage(&self) -> Option<UpstreamUsage> {
        self.usage
    }

    /// Whether every text has its vector.
    pub fn is_complete(&self) -> bool {
        self.vectors.iter().all(Option::is_some)
    }

    /// The answer.
    pub fn whole(self, tail: Tail<'_>) -> Vec<u8> {
        let size: usize = self.vectors.iter().flatten().map(|vector| vector.len() + 64).sum();
        let mut out = BytesMut::with_capacity(size + 256);
        out.extend_from_slice(b"{\"object\":\"list\",\"data\":[");
        for (index, vector) in self.vectors.iter().flatten().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            put(&mut out, format_args!("{comma}{{\"object\":\"embedding\",\"index\":{index},\"embedding\":{vector}}}"));
        }
        put(&mut out, format_args!("],\"model\":{}", self.model));
        if let Some(provider) = tail.provider {
            put(&mut out, format_args!(",\"provider\":{}", quoted(provider)));
        }
        let usage = tail.usage.copied().unwrap_or_default();
        let (tokens, cost) = (usage.prompt_tokens, dollars(usage.cost_nano_usd));
        put(
            &mut out,
            format_args!(",\"usage\":{{\"prompt_tokens\":{tokens},\"total_tokens\":{tokens},\"cost\":{cost}}}}}"),
        );
        out.into()
    }
}

/// A vector in the form asked for; one that has it already keeps its bytes.
fn convert(raw: &str, base64: bool) -> Result<String, Error> {
    let malformed = |what: &str| Error::Malformed(format!("a vector is {what}"));
    match (raw.as_bytes().first(), base64) {
        (Some(b'['), false) => {
            numbers(raw)?;
            Ok(raw.to_owned())
        }
        (Some(b'['), true) => {
            let bytes: Vec<u8> = numbers(raw)?.iter().flat_map(|number| number.to_le_bytes()).collect();
            Ok(format!("\"{}\"", STANDARD.encode(bytes)))
        }
        (Some(b'"'), _) => {
            let text: Cow<'_, str> = serde_json::from_str(raw).map_err(|_| malformed("not text"))?;
            let bytes = STANDARD.decode(text.as_bytes()).map_err(|_| malformed("not base64"))?;
            if bytes.is_empty() || bytes.len() % 4 != 0 || bytes.len() / 4 > MAX_DIMENSIONS {
                return Err(malformed("not of 32-bit floats"));
            }
            if base64 {
                return Ok(format!("\"{}\"", STANDARD.encode(bytes)));
            }
            let numbers: Vec<f32> =
                bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect();
            if !numbers.iter().all(|number| number.is_finite()) {
                return Err(malformed("not of finite numbers"));
            }
            serde_json::to_string(&numbers).map_err(|_| malformed("not of numbers"))
        }
        _ => Err(malformed("neither numbers nor base64")),
    }
}

fn numbers(raw: &str) -> Result<Vec<f32>, Error> {
    let numbers: Vec<f32> = serde_json::from_str(raw).map_err(|error| Error::Malformed(error.to_string()))?;
    if numbers.is_empty() || numbers.len() > MAX_DIMENSIONS || !numbers.iter().all(|number| number.is_finite()) {
        return Err(Error::Malformed("a vector is empty, too long or not finite".to_owned()));
    }
    Ok(numbers)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::Usage;
    use super::*;
    use serde_json::{Value, json};

    /// 1.0 and -0.5 as little-endian 32-bit floats.
    const BASE64: &str = "AACAPwAAAL8=";

    fn answer(base64: bool, engine: &Value) -> Result<Value, Error> {
        let mut vectors = Vectors::new("org/name", 2, base64);
        vectors.read(engine.to_string().as_bytes())?;
        let usage = Usage { prompt_tokens: 3, cost_nano_usd: 30, ..Usage::default() };
        let tail = Tail { provider: Some("acme"), service_tier: "default", usage: Some(&usage) };
        Ok(serde_json::from_slice(&vectors.whole(tail)).unwrap())
    }

    #[test]
    fn vectors_come_in_the_order_of_their_texts_and_in_the_form_asked_for() {
        let engine = json!({"data": [
            {"index": 1, "embedding": BASE64},
            {"index": 0, "embedding": [1.0, -0.5]},
        ], "usage": {"prompt_tokens": 3, "total_tokens": 3}});
        for (base64, expected) in [(false, json!([1.0, -0.5])), (true, json!(BASE64))] {
            let answer = answer(base64, &engine).unwrap();
            assert_eq!((&answer["data"][0]["embedding"], &answer["data"][1]["embedding"]), (&expected, &expected));
            assert_eq!(answer["data"][1]["index"], 1);
            assert_eq!(answer["usage"], json!({"prompt_tokens": 3, "total_tokens": 3, "cost": 3e-8}));
            assert_eq!(answer["object"], "list");
        }
    }

    #[test]
    fn what_is_not_one_vector_for_each_text_is_malformed() {
        let vector = |index: usize, embedding: Value| json!({"index": index, "embedding": embedding});
        let good = || vector(0, json!([1.0]));
        for data in [
            json!([good()]),
            json!([good(), vector(2, json!([1.0]))]),
            json!([good(), vector(1, json!([]))]),
            json!([good(), vector(1, json!("AAA"))]),
            json!([good(), vector(1, json!("AACAfw=="))]),
            json!([good(), vector(1, json!({}))]),
            json!([good(), vector(1, json!(["1"]))]),
        ] {
            let error = answer(false, &json!({ "data": data })).unwrap_err();
            assert!(matches!(error, Error::Malformed(_)), "{data}");
        }
        let refused = answer(false, &json!({"error": {"message": "no"}})).unwrap_err();
        assert!(matches!(refused, Error::Upstream(_)));
    }
}

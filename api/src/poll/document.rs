//! What a direct node lists under `/models`, read as offers: OpenRouter's provider documents, with prices as a list of
//! lines or, as in the older flat form, by name. Pure.

use std::collections::BTreeMap;

use protocol::Price;
use protocol::offer::{CapacityItem, OfferSpec, PriceItem, PriceType, Quantization};
use serde::Deserialize;
use serde_json::Value;

/// Documents read of one list; as many as a node may have offers.
const MAX_DOCUMENTS: usize = 100;
/// Names in the flat form, and what they price. A name that is not here must be free: it can't be charged.
const FLAT: [(&str, PriceType); 8] = [
    ("prompt", PriceType::Prompt),
    ("completion", PriceType::Completion),
    ("request", PriceType::Request),
    ("input_cache_read", PriceType::CachedPrompt),
    ("input_cache_reads", PriceType::CachedPrompt),
    ("input_cache_write", PriceType::CacheWrite),
    ("input_cache_writes", PriceType::CacheWrite),
    ("internal_reasoning", PriceType::InternalReasoning),
];

/// One document, as far as it can be offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Public names the model may have in a catalogue, the likeliest first.
    pub names: Vec<String>,
    /// The offer; its model is the first of the names.
    pub spec: OfferSpec,
}

/// A document that can't be offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// How it calls itself.
    pub id: String,
    /// Why not.
    pub why: String,
}

#[derive(Deserialize)]
struct List {
    data: Vec<Value>,
}

#[derive(Deserialize)]
struct Document {
    id: String,
    #[serde(default)]
    openrouter: Option<Slug>,
    #[serde(default)]
    hugging_face_id: Option<String>,
    #[serde(default)]
    quantization: Option<Value>,
    context_length: u32,
    #[serde(default, alias = "max_completion_tokens", alias = "max_output_tokens")]
    max_output_length: Option<u32>,
    #[serde(default)]
    input_modalities: Vec<String>,
    #[serde(default)]
    output_modalities: Vec<String>,
    #[serde(default)]
    supported_sampling_parameters: Vec<String>,
    #[serde(default)]
    supported_features: Vec<String>,
    pricing: Pricing,
    #[serde(default)]
    capacity: Vec<CapacityItem>,
    #[serde(default = "yes")]
    is_ready: bool,
    #[serde(default)]
    deprecation_date: Option<String>,
}

#[derive(Deserialize)]
struct Slug {
    slug: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Pricing {
    Lines(Vec<PriceItem>),
    Flat(BTreeMap<String, Value>),
}

const fn yes() -> bool {
    true
}

/// Reads a list. One document that makes no sense does not take the others with it.
///
/// # Errors
/// When it is no list at all.
pub fn read(bytes: &[u8]) -> Result<(Vec<Listed>, Vec<Passed>), serde_json::Error> {
    let list: List = serde_json::from_slice(bytes)?;
    let (mut listed, mut passed) = (Vec::new(), Vec::new());
    for value in list.data.into_iter().take(MAX_DOCUMENTS) {
        let id = value["id"].as_str().unwrap_or("?").chars().take(200).collect();
        let read = serde_json::from_value::<Document>(value).map_err(|error| error.to_string()).and_then(one);
        match read {
            Ok(one) => listed.push(one),
            Err(why) => passed.push(Passed { id, why }),
        }
    }
    Ok((listed, passed))
}

fn one(document: Document) -> Result<Listed, String> {
    let slug = document.openrouter.map(|openrouter| openrouter.slug);
    let names = [slug, document.hugging_face_id, Some(document.id.clone())];
    let mut names: Vec<String> = names.into_iter().flatten().filter(|name| !name.is_empty()).collect();
    names.dedup();
    let text = |modalities: Vec<String>| if modalities.is_empty() { vec!["text".to_owned()] } else { modalities };
    let quantization = document.quantization.and_then(|value| serde_json::from_value::<Quantization>(value).ok());
    let mut parameters = document.supported_sampling_parameters;
    // What others call JSON mode is asked for by this field.
    parameters.extend(document.supported_features.into_iter().map(|name| match name.as_str() {
        "json_mode" => "response_format".to_owned(),
        _ => name,
    }));
    parameters.sort_unstable();
    parameters.dedup();
    let spec = OfferSpec {
        model: names.first().cloned().unwrap_or_default(),
        upstream_model: document.id,
        quantization,
        context_length: document.context_length,
        max_output_tokens: document.max_output_length.map(|most| most.min(document.context_length)),
        input_modalities: text(document.input_modalities),
        output_modalities: text(document.output_modalities),
        supported_parameters: parameters,
        kinds: vec![protocol::offer::OfferKind::Inference],
        pricing: lines(document.pricing)?,
        capacity: document.capacity,
        is_ready: document.is_ready,
        deprecation_date: document.deprecation_date,
    };
    spec.validate().map_err(|error| error.to_string())?;
    Ok(Listed { names, spec })
}

fn lines(pricing: Pricing) -> Result<Vec<PriceItem>, String> {
    let flat = match pricing {
        Pricing::Lines(lines) => return Ok(lines),
        Pricing::Flat(flat) => flat,
    };
    let mut lines: Vec<PriceItem> = Vec::new();
    for (name, value) in flat {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let cost_usd: Price = text.parse().map_err(|_| format!("the price {name} is no decimal number: {text}"))?;
        match FLAT.iter().find(|(known, ..)| *known == name) {
            Some((_, kind)) => lines.push(PriceItem::of(*kind, cost_usd)),
            None if cost_usd == Price::ZERO => {}
            None => return Err(format!("the price {name} can't be charged here")),
        }
    }
    Ok(lines)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn flat() -> Value {
        json!({
            "id": "llama-fast", "hugging_face_id": "org/name", "name": "Name", "created": 1_700_000_000,
            "input_modalities": ["text"], "output_modalities": ["text"], "quantization": "fp8",
            "context_length": 8192, "max_output_length": 100_000,
            "pricing": { "prompt": "0.0000002", "completion": "0.0000008", "image": "0", "request": "0",
                         "input_cache_reads": "0.0000001" },
            "supported_sampling_parameters": ["temperature", "stop"], "supported_features": ["tools", "json_mode"],
            "datacenters": [{ "country_code": "US" }],
        })
    }

    fn read_one(document: Value) -> Result<Listed, Passed> {
        let (mut listed, mut passed) = read(json!({ "data": [document] }).to_string().as_bytes()).unwrap();
        listed.pop().map_or_else(|| Err(passed.pop().unwrap()), Ok)
    }

    #[test]
    fn a_flat_document_is_an_offer() {
        let Listed { names, spec } = read_one(flat()).unwrap();
        assert_eq!(names, ["org/name", "llama-fast"]);
        assert_eq!((spec.model.as_str(), spec.upstream_model.as_str()), ("org/name", "llama-fast"));
        let prices = spec.prices().unwrap();
        assert_eq!((prices.prompt.pico(), prices.completion.pico()), (200_000, 800_000));
        assert_eq!(prices.cached_prompt.map(Price::pico), Some(100_000));
        assert_eq!(spec.max_output_tokens, Some(8192), "never more than the context holds");
        assert_eq!(spec.supported_parameters, ["response_format", "stop", "temperature", "tools"]);
        assert_eq!(spec.quantization, Some(Quantization::Fp8));
        assert!(spec.is_ready);
    }

    #[test]
    fn prices_may_come_as_lines_with_their_units() {
        let mut document = flat();
        document["openrouter"] = json!({ "slug": "maker/name" });
        document["is_ready"] = json!(false);
        document["capacity"] = json!([{ "type": "concurrency", "value": 3 }]);
        document["pricing"] = json!([
            { "type": "prompt", "unit": "token", "cost_usd": "0.000001" },
            { "type": "completion", "unit": "token", "cost_usd": "0.000002" },
        ]);
        let Listed { names, spec } = read_one(document.clone()).unwrap();
        assert_eq!(names, ["maker/name", "org/name", "llama-fast"]);
        assert_eq!((spec.prices().unwrap().completion.pico(), spec.concurrency()), (2_000_000, Some(3)));
        assert!(!spec.is_ready);
        document["pricing"][0]["unit"] = json!("million_tokens");
        assert!(read_one(document).unwrap_err().why.contains("for one token"), "nor a million times too dear");
    }

    #[test]
    fn what_can_not_be_offered_is_named_and_takes_nothing_with_it() {
        let without = |field: &str, value: Value| {
            let mut document = flat();
            document[field] = value;
            read_one(document).unwrap_err().why
        };
        assert!(without("pricing", json!({ "prompt": "0" })).contains("Completion has no price"));
        assert!(without("pricing", json!({ "prompt": "0", "completion": "0", "image": "0.1" })).contains("image"));
        assert!(without("pricing", json!({ "prompt": "free", "completion": "0" })).contains("prompt"));
        assert!(without("context_length", json!(0)).contains("context_length"));
        let list = json!({ "object": "list", "data": [{ "id": "bare", "object": "model" }, flat()] }).to_string();
        let (listed, passed) = read(list.as_bytes()).unwrap();
        assert_eq!((listed.len(), passed[0].id.as_str()), (1, "bare"));
        assert!(read(b"<html>").is_err());
    }
}

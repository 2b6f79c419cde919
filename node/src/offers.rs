//! From what is configured and what the engine says to the set of offers a node puts.

use protocol::offer::{CapacityItem, OfferSpec, PriceItem, PriceType};

use crate::config::{NodeConfig, OfferConfig};
use crate::engine::Description;
use crate::{Error, config::EngineConfig};

/// Request fields that llama.cpp, vLLM and SGLang all honour.
const COMMON_PARAMETERS: [&str; 14] = [
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "stop",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "response_format",
];
/// Slots where neither configuration nor engine names any: an engine that batches at all does two.
const DEFAULT_SLOTS: u32 = 1;

/// How many requests the engine may answer at once.
pub(crate) fn slots(config: &NodeConfig, told: &Description) -> u32 {
    let configured = match &config.engine {
        EngineConfig::Attach { slots, .. } | EngineConfig::Supervise { slots, .. } => *slots,
        EngineConfig::Simulated { slots, .. } => Some(*slots),
    };
    configured.or(told.slots).unwrap_or(DEFAULT_SLOTS).max(1)
}

/// The whole set, checked.
pub(crate) fn resolve(
    offers: &[OfferConfig],
    told: &Description,
    slots: u32,
    ready: bool,
) -> Result<Vec<OfferSpec>, Error> {
    offers.iter().map(|offer| one(offer, told, slots, ready)).collect()
}

fn one(offer: &OfferConfig, told: &Description, slots: u32, ready: bool) -> Result<OfferSpec, Error> {
    let wrong = |text: String| Error::Config(format!("offer {}: {text}", offer.model));
    let served = match &offer.upstream_model {
        Some(name) => told.models.iter().find(|model| model.id == *name),
        None if told.models.len() == 1 => told.models.first(),
        None => told.models.iter().find(|model| model.id == offer.model),
    };
    let names = || told.models.iter().map(|model| model.id.as_str()).collect::<Vec<_>>().join(", ");
    let upstream_model = match (served, &offer.upstream_model) {
        (Some(model), _) => model.id.clone(),
        // An engine that lists nothing may still serve it.
        (None, Some(name)) if told.models.is_empty() => name.clone(),
        (None, _) => {
            return Err(wrong(format!("set upstream_model to one of the engine's own: {}", names())));
        }
    };
    let context_length = offer
        .context_length
        .or_else(|| served.and_then(|model| model.context_length))
        .ok_or_else(|| wrong("the engine does not tell its context length: set context_length".into()))?;
    let seen = [(told.notices_leaving, "plain"), (told.holds_schemas, "structured_outputs")];
    let common = COMMON_PARAMETERS.into_iter().chain(seen.into_iter().filter_map(|(is, name)| is.then_some(name)));
    let parameters = offer.supported_parameters.clone();
    let spec = OfferSpec {
        model: offer.model.clone(),
        upstream_model,
        quantization: offer.quantization,
        context_length,
        max_output_tokens: offer.max_output_tokens,
        input_modalities: offer.input_modalities.clone(),
        output_modalities: offer.output_modalities.clone(),
        supported_parameters: parameters.unwrap_or_else(|| common.map(str::to_owned).collect()),
        kinds: offer.kinds.clone(),
        pricing: pricing(offer),
        capacity: vec![CapacityItem { kind: "concurrency".into(), unit: None, per: None, value: slots.into() }],
        is_ready: ready,
        deprecation_date: None,
    };
    spec.validate().map_err(|error| wrong(error.to_string()))?;
    Ok(spec)
}

fn pricing(offer: &OfferConfig) -> Vec<PriceItem> {
    let mut lines =
        vec![PriceItem::of(PriceType::Prompt, offer.prompt), PriceItem::of(PriceType::Completion, offer.completion)];
    lines.extend(offer.cached_prompt.map(|price| PriceItem::of(PriceType::CachedPrompt, price)));
    lines.extend(offer.request.map(|price| PriceItem::of(PriceType::Request, price)));
    lines
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::engine::Model;
    use protocol::Price;

    fn told(ids: &[&str]) -> Description {
        let model = |id: &&str| Model { id: (*id).to_owned(), context_length: Some(2_048) };
        Description { models: ids.iter().map(model).collect(), ..Description::default() }
    }

    fn offer() -> OfferConfig {
        OfferConfig::new("org/name", Price::per_million("0.1").unwrap(), Price::per_million("0.2").unwrap())
    }

    #[test]
    fn a_schema_is_promised_for_engines_that_hold_to_one() {
        let promised = |holds_schemas| {
            let told = Description { holds_schemas, ..told(&["m"]) };
            resolve(&[offer()], &told, 1, true).unwrap().remove(0).supported_parameters
        };
        assert!(promised(true).iter().any(|name| name == "structured_outputs"));
        assert!(!promised(false).iter().any(|name| name == "structured_outputs"));
    }

    #[test]
    fn an_engine_with_one_model_needs_no_name_for_it() {
        let specs = resolve(&[offer()], &told(&["name.gguf"]), 4, true).unwrap();
        assert_eq!((specs[0].upstream_model.as_str(), specs[0].context_length), ("name.gguf", 2_048));
        assert_eq!(specs[0].concurrency(), Some(4));
    }

    #[test]
    fn with_several_models_the_choice_must_be_made_and_the_error_lists_them() {
        let error = resolve(&[offer()], &told(&["a", "b"]), 4, true).unwrap_err().to_string();
        assert!(error.contains("a, b"), "{error}");
    }
}

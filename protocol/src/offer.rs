//! What a provider says it has: offers, hardware, place and promises. Declarations, not facts.

use serde::{Deserialize, Serialize};

use crate::price::{Price, Prices};

/// How much of a claim has been checked. Ordered: later is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrustLevel {
    /// Said by the provider.
    #[default]
    Declared,
    /// Benchmarked by the broker.
    Measured,
    /// Answers re-checked on other machines.
    Audited,
    /// Audited, with hardware evidence.
    Attested,
}

/// The precision a model's weights are served in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // Each name is its own explanation.
pub enum Quantization {
    Int4,
    Int8,
    Fp4,
    Mxfp4,
    Nvfp4,
    Fp6,
    Fp8,
    Mxfp8,
    Fp16,
    Bf16,
    Fp32,
}

/// What a unit of an offer's price is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PriceType {
    /// Prompt tokens.
    Prompt,
    /// Prompt tokens read from a cache.
    CachedPrompt,
    /// Prompt tokens written to a cache.
    CacheWrite,
    /// Output tokens.
    Completion,
    /// Hidden reasoning tokens.
    InternalReasoning,
    /// Whole requests.
    Request,
    /// Tokens trained on.
    TrainedToken,
    /// Seconds of one GPU.
    GpuSecond,
}

impl PriceType {
    /// What its price is for one of.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Prompt
            | Self::CachedPrompt
            | Self::CacheWrite
            | Self::Completion
            | Self::InternalReasoning
            | Self::TrainedToken => "token",
            Self::Request => "request",
            Self::GpuSecond => "second",
        }
    }
}

/// One line of an offer's price list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceItem {
    /// What is priced.
    #[serde(rename = "type")]
    pub kind: PriceType,
    /// What it is priced by: [`PriceType::unit`], and no other.
    pub unit: String,
    /// US dollars per unit, a decimal string.
    pub cost_usd: Price,
}

impl PriceItem {
    /// The price of one unit.
    #[must_use]
    pub fn of(kind: PriceType, cost_usd: Price) -> Self {
        Self { kind, unit: kind.unit().to_owned(), cost_usd }
    }
}

/// One line of what an offer can carry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapacityItem {
    /// `prompt`, `completion`, `request` or `concurrency`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `token` or `request`.
    #[serde(default)]
    pub unit: Option<String>,
    /// `minute`, `day`; absent for concurrency.
    #[serde(default)]
    pub per: Option<String>,
    /// How many.
    pub value: u64,
}

/// What an offer can be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OfferKind {
    /// Answers at once.
    Inference,
    /// Answers within a day.
    Batch,
    /// Training.
    FineTune,
}

/// One model at a price, as a node puts it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferSpec {
    /// The public model id, such as `org/name`.
    pub model: String,
    /// What the engine calls it.
    pub upstream_model: String,
    /// Weight precision; unknown when absent.
    #[serde(default)]
    pub quantization: Option<Quantization>,
    /// Prompt and output together, in tokens.
    pub context_length: u32,
    /// Most output tokens of one answer.
    #[serde(default)]
    pub max_output_tokens: Option<u32>,
    /// `text`, `image`, `audio`, `file`.
    #[serde(default = "text_only")]
    pub input_modalities: Vec<String>,
    /// `text`, `embeddings`, `moderation`, `image`, `speech` or `transcription`: what is asked for decides which it must be.
    #[serde(default = "text_only")]
    pub output_modalities: Vec<String>,
    /// Request fields the engine honours.
    #[serde(default)]
    pub supported_parameters: Vec<String>,
    /// What it may be used for.
    #[serde(default = "inference_only")]
    pub kinds: Vec<OfferKind>,
    /// Price list; `prompt` and `completion` are required.
    pub pricing: Vec<PriceItem>,
    /// Limits of the engine.
    #[serde(default)]
    pub capacity: Vec<CapacityItem>,
    /// False while the model is not loaded.
    #[serde(default = "yes")]
    pub is_ready: bool,
    /// When it will go, `YYYY-MM-DD`.
    #[serde(default)]
    pub deprecation_date: Option<String>,
}

fn text_only() -> Vec<String> {
    vec!["text".to_owned()]
}

fn inference_only() -> Vec<OfferKind> {
    vec![OfferKind::Inference]
}

const fn yes() -> bool {
    true
}

/// The name of what the broker adds to an offer whose engine calls no tools but holds its answers to a schema.
pub const TOOLS_EMULATED: &str = "tools_emulated";

/// Longest model id, engine name or parameter name accepted.
const MAX_NAME: usize = 200;
/// Most modalities an offer names on one side: more than there are.
const MAX_MODALITIES: usize = 16;
/// Most lines of a price list, of which each thing has one, and of what an engine can carry.
const MAX_LINES: usize = 64;
/// Longest context any offer may declare: beyond every published model, far below a 32-bit count.
const MAX_CONTEXT: u32 = 16_777_216;

/// Why an offer can't be taken as it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct InvalidOffer {
    /// The field at fault.
    pub field: &'static str,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl OfferSpec {
    /// Checks bounds and that the price list is complete and says each thing once.
    ///
    /// # Errors
    /// [`InvalidOffer`] names the first field at fault.
    pub fn validate(&self) -> Result<(), InvalidOffer> {
        let bad = |field, reason: &str| Err(InvalidOffer { field, reason: reason.to_owned() });
        let name_ok = |name: &str| {
            !name.is_empty() && name.len() <= MAX_NAME && !name.chars().any(|c| c.is_control() || c.is_whitespace())
        };
        if !name_ok(&self.model) || self.model.contains(':') {
            return bad("model", "1 to 200 characters without spaces or colons, such as \"org/name\"");
        }
        if !name_ok(&self.upstream_model) {
            return bad("upstream_model", "1 to 200 characters without spaces");
        }
        if self.context_length == 0 || self.context_length > MAX_CONTEXT {
            return bad("context_length", "between 1 and 16777216 tokens");
        }
        if self.max_output_tokens.is_some_and(|most| most == 0 || most > self.context_length) {
            return bad("max_output_tokens", "between 1 and context_length");
        }
        if self.kinds.is_empty() {
            return bad("kinds", "at least one of inference, batch, fine_tune");
        }
        if self.supported_parameters.len() > 128 || !self.supported_parameters.iter().all(|name| name_ok(name)) {
            return bad("supported_parameters", "at most 128 names");
        }
        // They are shown to everybody: in bounds, whatever a node says.
        let modalities_ok =
            |names: &[String]| (1..=MAX_MODALITIES).contains(&names.len()) && names.iter().all(|name| name_ok(name));
        if !modalities_ok(&self.input_modalities) {
            return bad("input_modalities", "1 to 16 names, such as \"text\"");
        }
        if !modalities_ok(&self.output_modalities) {
            return bad("output_modalities", "1 to 16 names, such as \"text\"");
        }
        let texts_ok = |line: &CapacityItem| {
            name_ok(&line.kind) && line.unit.as_deref().is_none_or(name_ok) && line.per.as_deref().is_none_or(name_ok)
        };
        if self.capacity.len() > MAX_LINES || !self.capacity.iter().all(texts_ok) {
            return bad("capacity", "at most 64 lines of names and numbers");
        }
        if self.pricing.len() > MAX_LINES {
            return bad("pricing", "at most 64 lines");
        }
        if self.deprecation_date.as_deref().is_some_and(|date| !name_ok(date)) {
            return bad("deprecation_date", "a day as YYYY-MM-DD");
        }
        self.prices().map(|_| ())
    }

    /// The price list as prices per class.
    ///
    /// # Errors
    /// [`InvalidOffer`] when a class is priced twice, or prompt or completion is not priced.
    pub fn prices(&self) -> Result<Prices, InvalidOffer> {
        let bad = |reason: String| InvalidOffer { field: "pricing", reason };
        // A price per million taken for one per token would be charged a million times over.
        if let Some(PriceItem { kind, .. }) = self.pricing.iter().find(|line| line.unit != line.kind.unit()) {
            return Err(bad(format!(
                "{kind:?} is priced by another unit; give its price for one {0}, as \"{0}\"",
                kind.unit()
            )));
        }
        let find = |kind: PriceType| -> Result<Option<Price>, InvalidOffer> {
            let mut lines = self.pricing.iter().filter(|line| line.kind == kind);
            let first = lines.next().map(|line| line.cost_usd);
            match lines.next() {
                Some(_) => Err(bad(format!("{kind:?} is priced more than once"))),
                None => Ok(first),
            }
        };
        let need =
            |kind: PriceType| find(kind)?.ok_or_else(|| bad(format!("{kind:?} has no price; use \"0\" for free")));
        Ok(Prices {
            prompt: need(PriceType::Prompt)?,
            cached_prompt: find(PriceType::CachedPrompt)?,
            cache_write: find(PriceType::CacheWrite)?,
            completion: need(PriceType::Completion)?,
            internal_reasoning: find(PriceType::InternalReasoning)?,
            request: find(PriceType::Request)?.unwrap_or(Price::ZERO),
        })
    }

    /// Whether the broker can have tools called here that the engine knows nothing of: it writes text, and holds it
    /// to a schema.
    #[must_use]
    pub fn emulates_tools(&self) -> bool {
        let declares = |name: &str| self.supported_parameters.iter().any(|known| known == name);
        declares("structured_outputs") && !declares("tools") && self.output_modalities.iter().any(|kind| kind == "text")
    }

    /// What users can ask for: what the engine honours, and what the broker adds to it. Only the broker says the latter.
    pub fn offered_parameters(&self) -> impl Iterator<Item = &str> {
        let own = self.supported_parameters.iter().map(String::as_str).filter(|name| *name != TOOLS_EMULATED);
        own.chain(self.emulates_tools().then_some(TOOLS_EMULATED))
    }

    /// Concurrent requests the provider declares, if it does.
    #[must_use]
    pub fn concurrency(&self) -> Option<u32> {
        let line = self.capacity.iter().find(|line| line.kind == "concurrency")?;
        u32::try_from(line.value).ok()
    }
}

/// One kind of GPU in a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// `nvidia`, `amd`, …
    pub vendor: String,
    /// As the driver names it.
    pub model: String,
    /// How many.
    pub count: u32,
    /// Memory of each.
    pub memory_mib: u64,
    /// `sxm`, `pcie`, …
    #[serde(default)]
    pub interface: Option<String>,
}

/// What a machine is made of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hardware {
    /// Its GPUs; none for a machine that serves from its processor.
    #[serde(default)]
    pub gpus: Vec<Gpu>,
    /// Processor cores.
    pub cpu_cores: u32,
    /// Main memory.
    pub ram_mib: u64,
    /// Free disk.
    #[serde(default)]
    pub disk_gib: u64,
    /// Network, both ways.
    #[serde(default)]
    pub net_mbps: u64,
    /// GPU driver version.
    #[serde(default)]
    pub driver: Option<String>,
}

/// Where a machine stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Location {
    /// ISO 3166 alpha-2, such as `DE`.
    pub country_code: String,
    /// A free name within the country, such as `fra1`.
    #[serde(default)]
    pub region: Option<String>,
}

/// The engine beside a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EngineInfo {
    /// `vllm`, `sglang`, `llama.cpp`, `tgi`, `simulated` or `other`.
    pub name: String,
    /// Its own version text.
    #[serde(default)]
    pub version: Option<String>,
}

/// What a provider promises about prompts and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Privacy {
    /// Nothing is kept after the answer.
    #[serde(default)]
    pub zdr: bool,
    /// Prompts may be trained on.
    #[serde(default)]
    pub training: bool,
    /// Days logs are kept.
    #[serde(default)]
    pub logging_days: u32,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn offer() -> OfferSpec {
        serde_json::from_value(serde_json::json!({
            "model": "org/name", "upstream_model": "name.gguf", "context_length": 4096,
            "pricing": [
                {"type": "prompt", "unit": "token", "cost_usd": "0.00000010"},
                {"type": "completion", "unit": "token", "cost_usd": "0.00000020"},
            ],
            "capacity": [{"type": "concurrency", "value": 8}],
        }))
        .unwrap()
    }

    #[test]
    fn a_plain_offer_is_text_inference_at_its_prices() {
        let offer = offer();
        offer.validate().unwrap();
        assert_eq!(offer.prices().unwrap().prompt.pico(), 100_000);
        assert_eq!(offer.concurrency(), Some(8));
        assert_eq!(offer.kinds, [OfferKind::Inference]);
    }

    #[test]
    fn the_bytes_of_an_offer_never_change() {
        let golden = include_str!("../tests/golden/offer.json").trim();
        let full = OfferSpec {
            quantization: Some(Quantization::Fp8),
            max_output_tokens: Some(1_024),
            supported_parameters: vec!["temperature".into(), "tools".into()],
            kinds: vec![OfferKind::Inference, OfferKind::FineTune],
            deprecation_date: Some("2027-01-01".into()),
            ..offer()
        };
        assert_eq!(serde_json::to_string(&full).unwrap(), golden);
        assert_eq!(serde_json::from_str::<OfferSpec>(golden).unwrap(), full);
    }

    #[test]
    fn tools_are_emulated_for_engines_that_hold_to_schemas_and_have_none() {
        let offered = |parameters: &[&str]| {
            let parameters = parameters.iter().map(|name| (*name).to_owned()).collect();
            let offer = OfferSpec { supported_parameters: parameters, ..offer() };
            offer.offered_parameters().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(offered(&["structured_outputs"]), ["structured_outputs", TOOLS_EMULATED]);
        assert_eq!(offered(&["structured_outputs", "tools"]), ["structured_outputs", "tools"]);
        // What the broker does, no provider can claim.
        assert_eq!(offered(&[TOOLS_EMULATED, "seed"]), ["seed"]);
    }

    #[test]
    fn a_bad_offer_names_the_field() {
        let field = |change: fn(&mut OfferSpec)| {
            let mut offer = offer();
            change(&mut offer);
            offer.validate().unwrap_err().field
        };
        assert_eq!(field(|o| o.model = "a b".into()), "model");
        assert_eq!(field(|o| o.model = "a:floor".into()), "model");
        assert_eq!(field(|o| o.context_length = 0), "context_length");
        assert_eq!(field(|o| o.max_output_tokens = Some(5_000)), "max_output_tokens");
        assert_eq!(field(|o| o.pricing.truncate(1)), "pricing");
        assert_eq!(field(|o| o.pricing.push(o.pricing[0].clone())), "pricing");
        assert_eq!(field(|o| o.kinds.clear()), "kinds");
        assert_eq!(field(|o| o.output_modalities = vec!["x".repeat(201)]), "output_modalities");
        assert_eq!(field(|o| o.input_modalities = vec!["text".into(); 17]), "input_modalities");
        assert_eq!(field(|o| o.input_modalities.clear()), "input_modalities");
        assert_eq!(field(|o| o.capacity[0].kind = "a\nb".into()), "capacity");
        assert_eq!(field(|o| o.pricing[0].unit = "million_tokens".to_owned()), "pricing");
        assert_eq!(field(|o| o.deprecation_date = Some(String::new())), "deprecation_date");
    }
}

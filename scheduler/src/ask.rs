//! What one request needs of an offer.

use std::sync::Arc;

use protocol::offer::{Quantization, TOOLS_EMULATED, TrustLevel};
use protocol::{NanoUsd, NodeId, OrganizationId, Price};

/// One request, as placement sees it. Nothing here names the user's words.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The public model id, without a routing suffix.
    pub model: Arc<str>,
    /// Who asks: rooms are fair between organizations.
    pub organization: OrganizationId,
    /// Counted with the model's tokenizer.
    pub prompt_tokens: u32,
    /// Tokens of the longest of several texts that the engine takes each on its own; `None` when the prompt is one.
    pub longest_prompt: Option<u32>,
    /// Tokens a choice will likely have: the median of this project and model, 256 when unknown.
    pub expected_output: u32,
    /// The output limit of a choice that the caller named; `None` leaves it to the engine.
    pub max_output: Option<u32>,
    /// Choices asked for: each is a sequence of its own to the engine.
    pub choices: u32,
    /// Requests it is paid for as: more than one where it asks for several pictures.
    pub requests: u32,
    /// What the request uses.
    pub needs: Needs,
    /// What the caller demands or prefers.
    pub provider: Preferences,
    /// Zero-price offers only.
    pub free_only: bool,
    /// What was set aside for it, once it was: no attempt may come to cost more.
    pub held: Option<Held>,
    /// How much a second is worth.
    pub tier: ServiceTier,
    /// Nodes that already failed this request.
    pub tried: Vec<NodeId>,
}

/// Money set aside for a request, and the tokens it was set aside for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Bounds the prompt, also where its tokens could only be guessed.
    pub prompt_tokens: u32,
    /// Bounds the output of all choices together.
    pub output_tokens: u32,
    /// The most they may cost.
    pub amount: NanoUsd,
}

/// What the request's fields require of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// Calls of tools: always required of an offer.
    pub tools: Tools,
    /// A JSON schema binds the output: always required of an offer.
    pub schema: bool,
    /// What the prompt contains.
    pub input: Modalities,
    /// What the answer must be.
    pub output: Modalities,
    /// Names of the other parameters used; they bind only with `require_parameters`.
    pub parameters: Vec<String>,
}

/// Who makes the calls of tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tools {
    /// Nobody: no tools are asked for.
    #[default]
    None,
    /// The engine itself.
    Native,
    /// The broker, out of an answer that the engine holds to a schema.
    Emulated,
}

impl Tools {
    /// What an offer must declare.
    pub(crate) const fn parameter(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Native => Some("tools"),
            Self::Emulated => Some(TOOLS_EMULATED),
        }
    }
}

/// A set of kinds of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Modalities(u16);

/// Kinds of content known to placement, in the order of their bits.
pub const MODALITY_NAMES: [&str; 10] =
    ["text", "image", "audio", "file", "video", "embeddings", "rerank", "speech", "moderation", "transcription"];

impl Modalities {
    /// No content at all.
    pub const NONE: Self = Self(0);
    /// Plain text.
    pub const TEXT: Self = Self(1);
    /// Pictures.
    pub const IMAGE: Self = Self(2);
    /// Sound.
    pub const AUDIO: Self = Self(4);
    /// Documents.
    pub const FILE: Self = Self(8);
    /// Vectors.
    pub const EMBEDDINGS: Self = Self(32);
    /// A text, spoken.
    pub const SPEECH: Self = Self(128);
    /// Whether something is harmless.
    pub const MODERATION: Self = Self(256);
    /// The words of a sound.
    pub const TRANSCRIPTION: Self = Self(512);

    /// The set of these names; unknown ones are left out, so they match no demand.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self(names.into_iter().fold(0, |set, name| {
            MODALITY_NAMES.iter().position(|known| *known == name).map_or(set, |bit| set | 1 << bit)
        }))
    }

    /// Both together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True when every kind in `other` is in this set.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits set, lowest first.
    pub(crate) fn bits(self) -> impl Iterator<Item = usize> {
        (0..MODALITY_NAMES.len()).filter(move |bit| self.0 >> bit & 1 == 1)
    }
}

impl Default for Needs {
    fn default() -> Self {
        Self {
            tools: Tools::None,
            schema: false,
            input: Modalities::TEXT,
            output: Modalities::TEXT,
            parameters: Vec::new(),
        }
    }
}

/// A provider by its short name, or one region of it: `acme` or `acme/fra1`. Lower-case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProviderRef(Arc<str>);

impl ProviderRef {
    /// Any text; one that names nobody simply matches nobody.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_ascii_lowercase().into())
    }

    /// The name as matched.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What the caller demands (hard) or prefers (soft) of the provider.
#[derive(Debug, Clone, PartialEq)]
pub struct Preferences {
    /// Tried first, in this order.
    pub order: Vec<ProviderRef>,
    /// Nobody else.
    pub only: Option<Vec<ProviderRef>>,
    /// Never these.
    pub ignore: Vec<ProviderRef>,
    /// What the caller's key permits; `None` permits all.
    pub permitted: Option<Arc<[ProviderRef]>>,
    /// Others may serve when the first choice can't.
    pub allow_fallbacks: bool,
    /// Every parameter used must be one the offer declares.
    pub require_parameters: bool,
    /// `data_collection: deny`: no offer that may train on prompts.
    pub deny_training: bool,
    /// Only offers that keep nothing.
    pub zdr: bool,
    /// Only these precisions; unknown precision fails any list.
    pub quantizations: Vec<Quantization>,
    /// Instead of least expected cost.
    pub sort: Option<Sort>,
    /// Hard price limits.
    pub max_price: MaxPrice,
    /// Only these regions or countries (`eu` stands for the Union's members). Lower-case.
    pub regions: Vec<String>,
    /// This level or better.
    pub trust: TrustLevel,
    /// Preferred times to the first token, all of them; never refuse.
    pub preferred_max_latency: Vec<Preferred>,
    /// Preferred tokens per second, all of them; never refuse.
    pub preferred_min_throughput: Vec<Preferred>,
}

impl Default for Preferences {
    fn default() -> Self {
        Self {
            order: Vec::new(),
            only: None,
            ignore: Vec::new(),
            permitted: None,
            allow_fallbacks: true,
            require_parameters: false,
            deny_training: false,
            zdr: false,
            quantizations: Vec::new(),
            sort: None,
            max_price: MaxPrice::default(),
            regions: Vec::new(),
            trust: TrustLevel::Declared,
            preferred_max_latency: Vec::new(),
            preferred_min_throughput: Vec::new(),
        }
    }
}

/// What the user would rather have least of, or most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Cheapest.
    Price,
    /// Most tokens per second.
    Throughput,
    /// Soonest first token.
    Latency,
}

/// Highest prices accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MaxPrice {
    /// Per prompt token.
    pub prompt: Option<Price>,
    /// Per output token.
    pub completion: Option<Price>,
    /// Per request.
    pub request: Option<Price>,
}

/// A wish about a measured quantity at a quantile, such as p90 ≤ 2 s.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preferred {
    /// Seconds for latency, tokens per second for throughput.
    pub value: f64,
    /// Between 0 and 1.
    pub quantile: f64,
}

/// How much a second is worth to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ServiceTier {
    /// Cheap and patient.
    Flex,
    /// As most.
    #[default]
    Default,
    /// In a hurry.
    Priority,
}

impl ServiceTier {
    /// As the API calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Default => "default",
            Self::Priority => "priority",
        }
    }

    /// Worth of a second, as a share of the ask's price: to the first token, and per output second.
    #[must_use]
    pub const fn worth_per_s(self) -> (f64, f64) {
        match self {
            Self::Flex => (0.02, 0.005),
            Self::Default => (0.15, 0.03),
            Self::Priority => (0.6, 0.12),
        }
    }
}

impl Ask {
    /// An ordinary ask: text in, text out, no demands.
    #[must_use]
    pub fn new(model: &str, organization: OrganizationId, prompt_tokens: u32) -> Self {
        Self {
            model: model.into(),
            organization,
            prompt_tokens,
            longest_prompt: None,
            expected_output: 256,
            max_output: None,
            choices: 1,
            requests: 1,
            needs: Needs::default(),
            provider: Preferences::default(),
            free_only: false,
            held: None,
            tier: ServiceTier::Default,
            tried: Vec::new(),
        }
    }

    /// Prompt and the output of one choice together: the least context that can hold this request.
    #[must_use]
    pub fn context(&self) -> u32 {
        self.longest_prompt.unwrap_or(self.prompt_tokens).saturating_add(self.max_output.unwrap_or(1).max(1))
    }

    /// Output tokens to expect of all choices, never above the caller's limit.
    #[must_use]
    pub fn output(&self) -> u32 {
        let each = self.max_output.map_or(self.expected_output, |most| most.min(self.expected_output)).max(1);
        each.saturating_mul(self.choices)
    }

    /// The prompt and output tokens a worst case is made of: what was held for, else what is known so far.
    #[must_use]
    pub fn worst_tokens(&self) -> (u32, u32) {
        let each = self.max_output.unwrap_or(self.expected_output);
        let unheld = (self.prompt_tokens, each.saturating_mul(self.choices));
        self.held.map_or(unheld, |held| (held.prompt_tokens, held.output_tokens))
    }

    /// Takes a routing suffix off a model id: `:free` demands, `:floor` and `:nitro` sort.
    ///
    /// Fine-tuned models (`ft:…`) have none: their ids contain colons of their own.
    #[must_use]
    pub fn split_suffix(model: &str) -> (&str, Option<Suffix>) {
        if model.starts_with("ft:") {
            return (model, None);
        }
        match model.rsplit_once(':') {
            Some((base, "free")) => (base, Some(Suffix::Free)),
            Some((base, "floor")) => (base, Some(Suffix::Floor)),
            Some((base, "nitro")) => (base, Some(Suffix::Nitro)),
            _ => (model, None),
        }
    }

    /// Applies a suffix. An explicit `sort` in the request is stronger than one implied by a suffix.
    pub fn apply_suffix(&mut self, suffix: Suffix) {
        match suffix {
            Suffix::Free => self.free_only = true,
            Suffix::Floor => self.provider.sort = self.provider.sort.or(Some(Sort::Price)),
            Suffix::Nitro => self.provider.sort = self.provider.sort.or(Some(Sort::Throughput)),
        }
    }
}

/// A routing wish written behind a model id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suffix {
    /// Zero-price offers only.
    Free,
    /// Cheapest first.
    Floor,
    /// Fastest first.
    Nitro,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use protocol::Id;

    #[test]
    fn suffixes_come_off_ordinary_models_only() {
        assert_eq!(Ask::split_suffix("org/m:free"), ("org/m", Some(Suffix::Free)));
        assert_eq!(Ask::split_suffix("org/m:nitro"), ("org/m", Some(Suffix::Nitro)));
        assert_eq!(Ask::split_suffix("org/m:other"), ("org/m:other", None));
        assert_eq!(Ask::split_suffix("ft:base:org:free"), ("ft:base:org:free", None));
    }

    #[test]
    fn a_named_limit_bounds_the_expected_output() {
        let mut ask = Ask::new("m", OrganizationId::from_uuid(uuid::Uuid::nil()), 10);
        assert_eq!((ask.output(), ask.context()), (256, 11));
        ask.max_output = Some(4);
        assert_eq!((ask.output(), ask.context()), (4, 14));
    }

    #[test]
    fn choices_share_a_prompt_and_have_a_context_each() {
        let org = OrganizationId::from_uuid(uuid::Uuid::nil());
        let ask = Ask { max_output: Some(100), choices: 3, ..Ask::new("m", org, 10) };
        assert_eq!((ask.output(), ask.context(), ask.worst_tokens()), (300, 110, (10, 300)));
    }

    #[test]
    fn an_explicit_sort_is_stronger_than_a_suffix() {
        let mut ask = Ask::new("m", OrganizationId::from_uuid(uuid::Uuid::nil()), 10);
        ask.provider.sort = Some(Sort::Latency);
        ask.apply_suffix(Suffix::Floor);
        assert_eq!(ask.provider.sort, Some(Sort::Latency));
    }
}

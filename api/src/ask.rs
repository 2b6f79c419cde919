//! From what a request says to what the scheduler asks of an offer.

use protocol::offer::{Quantization, TrustLevel};
use protocol::{OrganizationId, Price};
use scheduler::ask::{MaxPrice, Modalities, Preferred, ProviderRef, Suffix, Tools};
use scheduler::{Ask, Needs, Preferences, ServiceTier, Sort};

use crate::envelope::{self, DataCollection, Envelope, Format, ModelRef, ProviderPrefs, SortBy, Trust, Work};
use crate::error::ApiError;
use crate::prompt::PromptCount;

/// Output tokens expected of a request nobody has seen the like of.
const EXPECTED_OUTPUT: u32 = 256;

/// What `request` needs of `model`, for `organization`, with a prompt of so many tokens.
///
/// # Errors
/// [`ApiError`] when a routing field names a value that does not exist: a demand that silently
/// means nothing would be none.
pub fn of(
    request: &Envelope<'_>,
    model: &ModelRef<'_>,
    organization: OrganizationId,
    prompt: PromptCount,
) -> Result<Ask, ApiError> {
    // Vectors, pictures and sounds are no output that anybody counts.
    let (expected_output, max_output, choices) = if request.work.is_written() {
        (EXPECTED_OUTPUT, request.max_tokens, request.choices())
    } else {
        (0, Some(0), 1)
    };
    let mut ask = Ask {
        longest_prompt: Some(prompt.longest),
        expected_output,
        max_output,
        choices,
        requests: request.requests(),
        needs: needs(request),
        provider: preferences(request.work, &request.provider)?,
        tier: tier(request.service_tier.as_deref()),
        ..Ask::new(model.id.as_ref(), organization, prompt.likely)
    };
    if let Some(suffix) = model.suffix {
        ask.apply_suffix(match suffix {
            envelope::Suffix::Free => Suffix::Free,
            envelope::Suffix::Floor => Suffix::Floor,
            envelope::Suffix::Nitro => Suffix::Nitro,
        });
    }
    Ok(ask)
}

fn needs(request: &Envelope<'_>) -> Needs {
    let inputs = [
        (request.inputs.image, Modalities::IMAGE),
        (request.inputs.audio, Modalities::AUDIO),
        (request.inputs.file, Modalities::FILE),
    ];
    let base = if request.work.is_form() { Modalities::NONE } else { Modalities::TEXT };
    let input = inputs.into_iter().filter(|(used, _)| *used).fold(base, |set, (_, kind)| set.with(kind));
    Needs {
        tools: if request.has_tools { Tools::Native } else { Tools::None },
        schema: request.format != Format::Text,
        input,
        output: match request.work {
            Work::Chat | Work::Completion => Modalities::TEXT,
            Work::Embedding => Modalities::EMBEDDINGS,
            Work::Moderation => Modalities::MODERATION,
            Work::Image => Modalities::IMAGE,
            Work::Speech => Modalities::SPEECH,
            Work::Transcription | Work::Translation => Modalities::TRANSCRIPTION,
        },
        parameters: request.parameters.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn tier(name: Option<&str>) -> ServiceTier {
    match name {
        Some("flex") => ServiceTier::Flex,
        Some("priority" | "fast") => ServiceTier::Priority,
        _ => ServiceTier::Default,
    }
}

fn preferences(work: Work, wishes: &ProviderPrefs) -> Result<Preferences, ApiError> {
    // Each picture is paid for as a request.
    let per_image = wishes.max_price.image.filter(|_| work == Work::Image);
    let per_request = wishes.max_price.request.into_iter().chain(per_image).min();
    let list = |refs: &[envelope::ProviderRef]| refs.iter().map(provider_ref).collect::<Vec<_>>();
    Ok(Preferences {
        order: list(&wishes.order),
        only: (!wishes.only.is_empty()).then(|| list(&wishes.only)),
        ignore: list(&wishes.ignore),
        permitted: None,
        allow_fallbacks: wishes.allow_fallbacks,
        require_parameters: wishes.require_parameters,
        deny_training: wishes.data_collection == Some(DataCollection::Deny),
        zdr: wishes.zdr,
        quantizations: quantizations(&wishes.quantizations)?,
        sort: wishes.sort.map(|sort| match sort.by {
            SortBy::Price => Sort::Price,
            SortBy::Throughput => Sort::Throughput,
            SortBy::Latency => Sort::Latency,
        }),
        max_price: MaxPrice {
            prompt: wishes.max_price.prompt.and_then(Price::from_pico),
            completion: wishes.max_price.completion.and_then(Price::from_pico),
            request: per_request.and_then(Price::from_pico),
        },
        regions: wishes.regions.iter().map(|region| region.to_ascii_lowercase()).collect(),
        trust: wishes.trust.map_or(TrustLevel::Declared, trust),
        preferred_max_latency: wishes.preferred_max_latency.map(preferred).unwrap_or_default(),
        preferred_min_throughput: wishes.preferred_min_throughput.map(preferred).unwrap_or_default(),
    })
}

fn provider_ref(provider: &envelope::ProviderRef) -> ProviderRef {
    match &provider.region {
        Some(region) => ProviderRef::new(&format!("{}/{region}", provider.slug)),
        None => ProviderRef::new(&provider.slug),
    }
}

fn quantizations(names: &[String]) -> Result<Vec<Quantization>, ApiError> {
    let parse = |(at, name): (usize, &String)| {
        serde_json::from_value::<Quantization>(serde_json::Value::String(name.clone())).map_err(|_| {
            let param = format!("provider.quantizations[{at}]");
            ApiError::invalid(
                param.as_str(),
                format!("{name:?} is not a quantization; use int4, int8, fp8, fp16, bf16, …"),
            )
        })
    };
    names.iter().enumerate().map(parse).collect()
}

fn trust(level: Trust) -> TrustLevel {
    match level {
        Trust::Declared => TrustLevel::Declared,
        Trust::Measured => TrustLevel::Measured,
        Trust::Audited => TrustLevel::Audited,
        Trust::Attested => TrustLevel::Attested,
    }
}

/// One wish for each percentile that was named: all of them count.
fn preferred(wish: envelope::Preference) -> Vec<Preferred> {
    let named = [(wish.p50, 0.5), (wish.p75, 0.75), (wish.p90, 0.9), (wish.p99, 0.99)];
    named.into_iter().filter_map(|(value, quantile)| value.map(|value| Preferred { value, quantile })).collect()
}

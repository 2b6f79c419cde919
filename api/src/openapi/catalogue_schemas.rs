//! Shapes of the catalogue, for the document only.

use serde::Serialize;
use utoipa::ToSchema;

use super::schemas::shapes;

shapes! {
    /// A model with its offers.
    ModelEndpointsResponse { data: ModelEndpoints, }
    /// Offers of all models.
    EndpointsResponse { data: Vec<Endpoint>, }
    /// Providers.
    ProvidersResponse { data: Vec<ListedProvider>, }
    /// A model and its offers one by one.
    ModelEndpoints { id: String, name: String, created: i64, description: String, architecture: Architecture, endpoints: Vec<Endpoint>, }
    /// What goes in and what comes out.
    Architecture {
        /// Such as `text+image->text`.
        modality: String,
        input_modalities: Vec<String>, output_modalities: Vec<String>, tokenizer: String, instruct_type: Option<String>,
    }
    /// US dollars per token or request, decimal strings.
    Pricing { prompt: String, completion: String, request: String, input_cache_read: String, input_cache_write: String, }
    /// One offer.
    Endpoint {
        name: String, provider_name: String,
        /// Slug, or slug/region: what `provider.order`, `only` and `ignore` take.
        tag: String,
        model_id: String, context_length: u32,
        /// Such as `fp8`; null where it is not declared.
        quantization: Option<String>,
        max_completion_tokens: Option<u32>,
        /// Null: nothing but the context bounds a prompt.
        max_prompt_tokens: Option<u32>,
        pricing: Pricing, supported_parameters: Vec<String>,
        /// 0 takes work, -1 is degraded, -2 is a last resort, -5 takes none just now.
        status: i8,
        /// Percent of the attempts that count, to the minute; null where none was made.
        uptime_last_5m: Option<f64>,
        uptime_last_30m: Option<f64>,
        uptime_last_1d: Option<f64>,
        /// Seconds to the first token, of the latest streamed answers.
        latency_last_30m: Option<Percentiles>,
        /// Output tokens per second; `p90` is what nine answers in ten reached.
        throughput_last_30m: Option<Percentiles>,
        region: Option<String>,
        /// `declared`, `measured`, `audited` or `attested`.
        trust: String,
        privacy: EndpointPrivacy,
    }
    /// What so many answers in a hundred were at least as good as.
    Percentiles { p50: f64, p75: f64, p90: f64, p99: f64, }
    /// What is promised about prompts.
    EndpointPrivacy {
        /// Nothing is kept after the answer.
        zdr: bool,
        /// They may be trained on.
        training: bool,
    }
    /// A provider as users choose by.
    ListedProvider {
        slug: String, name: String,
        /// ISO 3166 alpha-2.
        country: String,
        website: Option<String>, privacy_policy_url: Option<String>, terms_of_service_url: Option<String>, status_page_url: Option<String>,
    }
}

//! Shapes of the catalogue, for the document only.

use super::shape::objects;

objects! {
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
    /// The bounds of the cheapest live offer.
    TopProvider { context_length: u32, max_completion_tokens: Option<u32>, is_moderated: bool, }
    /// Why routing found no place.
    Availability {
        /// `model_not_found`, `no_endpoints`, `constraint_filtered`, `privacy_restricted`, `region_restricted`,
        /// `capacity_exhausted` or `temporarily_unavailable`.
        code: String,
        retryable: bool,
        /// Seconds.
        retry_after: Option<u32>,
        requested_models: Vec<String>,
        /// Demands that removed offers: `geo`, `data_policy:zdr`, `data_policy:training`, `max_price`, `trust`,
        /// `context_length`, `require_parameters`, `quantization`, `allowed_providers`.
        excluded_by: Vec<String>,
        fallback_models: Vec<String>,
        ;
        /// The demand that removed the last ones.
        constraint: NearestMiss,
    }
    /// A demand, and what would have met it.
    NearestMiss { field: String, detail: String, }
    /// The bill of one answer, and how it came to be.
    Generation {
        id: String, model: String,
        /// Who tried last.
        provider_name: Option<String>,
        created_at: i64, streamed: bool, cancelled: bool, finish_reason: Option<String>, native_finish_reason: Option<String>,
        tokens_prompt: u64, tokens_completion: u64, native_tokens_prompt: u64, native_tokens_completion: u64,
        native_tokens_reasoning: u32, native_tokens_cached: u32,
        /// Milliseconds to the first output.
        latency: Option<i64>,
        /// Milliseconds from there to the end.
        generation_time: Option<i64>,
        total_cost: String, usage: String,
        /// Where the machine stands: its region, else its country.
        data_region: Option<String>,
        /// `flex`, `default` or `priority`.
        service_tier: Option<String>,
        request_id: String,
        /// Null: no receipts are given yet.
        receipt_id: Option<String>,
        attempts: Vec<GenerationAttempt>,
        /// What was considered, where the request was sent with `X-Steelyard-Metadata: enabled`.
        routing: Option<RoutingRecord>,
    }
    /// One provider that tried.
    GenerationAttempt { provider: Option<String>, status: Option<i32>, code: Option<String>, }
    /// How a request was placed.
    RoutingRecord {
        /// Offers of the model.
        offers: u32,
        /// Left by the demands of the request.
        eligible: u32,
        excluded: Vec<ExcludedBy>,
        /// The first choice and the second.
        candidates: Vec<Candidate>,
        attempts: Vec<RoutedAttempt>,
    }
    /// A demand or condition, and how many offers it removed.
    ExcludedBy { by: String, count: u32, }
    /// An offer whose cost was worked out, in billionths of a dollar.
    Candidate { provider: String, predicted: Prediction, cost: CostTerms, total: f64, }
    /// What was expected of an offer.
    Prediction { first_content_s: f64, uncorrected_s: f64, tpot_s: f64, failure: f64, }
    /// The terms of an expected cost.
    CostTerms { price: f64, first_content: f64, output: f64, failure: f64, owner: f64, }
    /// One attempt.
    RoutedAttempt {
        provider: Option<String>,
        /// `answering`, `failed`, `cancelled`, or how the answer ended.
        status: String,
        elapsed_ms: u64,
        ;
        code: String,
        /// True where calls of tools were to be made out of an answer that follows a schema.
        tools_emulated: bool,
        first_content_ms: u64,
    }
    /// What a key has used, and what it still may: US dollars as decimal strings.
    KeyUse {
        label: String, limit: Option<String>, limit_remaining: Option<String>, limit_reset: Option<String>,
        usage: String, usage_daily: String, usage_weekly: String, usage_monthly: String,
        /// The organization has never bought credit.
        is_free_tier: bool,
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
        pricing: Pricing,
        /// `tools_emulated` stands for tools that the engine does not have and the broker adds.
        supported_parameters: Vec<String>,
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

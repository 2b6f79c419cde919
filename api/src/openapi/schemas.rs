//! Shapes of the catalogue, of credit, and of errors.

use super::shape::{JsonObject, forms, objects};

objects! {
    /// The one shape of every error.
    ErrorResponse { error: ErrorBody, }
    /// What went wrong.
    ErrorBody {
        /// For people.
        message: String,
        /// Such as `invalid_request_error`, `insufficient_quota`, `rate_limit_error`, `server_error`.
        r#type: String,
        /// Path of the field at fault.
        param: Option<String>,
        /// Stable, for programs.
        code: Option<String>,
        ;
        /// What else may help.
        metadata: JsonObject,
        availability: Availability,
    }
    /// Why no offer may or can serve.
    Availability {
        /// Such as `model_not_found`, `constraint_filtered`, `capacity_exhausted`.
        code: String,
        retryable: bool,
        /// Seconds.
        retry_after: Option<u32>,
        requested_models: Vec<String>,
        /// The demands that left nothing, such as `geo` or `max_price`.
        excluded_by: Vec<String>,
        fallback_models: Vec<String>,
        ;
        constraint: JsonObject,
    }
    /// All models.
    ModelList {
        /// Always `list`.
        object: String,
        data: Vec<Model>,
    }
    /// A model and its cheapest live offer.
    Model {
        id: String,
        /// Always `model`.
        object: String,
        created: i64, owned_by: String, canonical_slug: String, name: String, description: String, context_length: u32,
        hugging_face_id: Option<String>, architecture: ModelArchitecture, pricing: ModelPricing,
        top_provider: TopProvider, supported_parameters: Vec<String>,
        /// Always null.
        per_request_limits: Option<JsonObject>,
    }
    /// What a model takes and gives.
    ModelArchitecture {
        /// Such as `text+image->text`.
        modality: String,
        input_modalities: Vec<String>, output_modalities: Vec<String>, tokenizer: String,
        /// Always null.
        instruct_type: Option<String>,
    }
    /// US dollars per token or request, as decimal strings.
    ModelPricing { prompt: String, completion: String, request: String, input_cache_read: String, input_cache_write: String, }
    /// Bounds of the cheapest live offer.
    TopProvider { context_length: u32, max_completion_tokens: Option<u32>, is_moderated: bool, }
    /// All models, in Anthropic's shape.
    MessagesModelList { data: Vec<MessagesModel>, has_more: bool, first_id: Option<String>, last_id: Option<String>, }
    /// A model, in Anthropic's shape.
    MessagesModel {
        /// Always `model`.
        r#type: String,
        id: String, display_name: String,
        /// RFC 3339.
        created_at: String,
    }
    /// A generation.
    GenerationResponse { data: Generation, }
    /// The bill and the attempts of one answer.
    Generation {
        id: String, model: String, provider_name: Option<String>,
        /// Unix seconds.
        created_at: i64,
        streamed: bool, cancelled: bool, finish_reason: Option<String>, native_finish_reason: Option<String>,
        tokens_prompt: u64, tokens_completion: u64, native_tokens_prompt: u64, native_tokens_completion: u64,
        native_tokens_reasoning: u64, native_tokens_cached: u64,
        /// Milliseconds until the first output.
        latency: Option<i64>,
        /// Milliseconds from there to the end.
        generation_time: Option<i64>,
        /// US dollars, as a decimal string.
        total_cost: String,
        /// The same as `total_cost`.
        usage: String,
        data_region: Option<String>, service_tier: String, request_id: String, receipt_id: Option<String>,
        attempts: Vec<GenerationAttempt>,
    }
    /// One try at one provider.
    GenerationAttempt { provider: Option<String>, status: Option<i32>, code: Option<String>, }
    /// Credit.
    CreditsResponse { data: Credits, }
    /// Two sums in US dollars, as decimal strings.
    Credits { total_credits: String, total_usage: String, }
    /// A key.
    KeyResponse { data: Key, }
    /// The key used for this very call. Money as decimal strings of US dollars; spans by the calendar, in UTC.
    Key {
        label: String, limit: Option<String>, limit_remaining: Option<String>, limit_reset: Option<String>,
        usage: String, usage_daily: String, usage_weekly: String, usage_monthly: String, is_free_tier: bool,
    }
    /// How the process is.
    Health {
        /// `ok` or `unavailable`.
        status: String,
        ;
        /// Why it is not.
        reason: String,
    }
}

forms! {
    /// All models; in Anthropic's shape for those who send `anthropic-version`.
    Models { Ours: ModelList, Theirs: MessagesModelList, }
    /// One model; in Anthropic's shape for those who send `anthropic-version`.
    ModelAnswer { Ours: Model, Theirs: MessagesModel, }
}

//! Shapes of inference that several dialects share; each dialect has a file of its own.

pub(super) mod chat;
pub(super) mod media;
pub(super) mod message_events;
pub(super) mod messages;
pub(super) mod response_events;
pub(super) mod responses;
pub(super) mod texts;

use super::shape::{forms, objects, requests};

objects! {
    /// Tokens and cost.
    Usage {
        prompt_tokens: u64, completion_tokens: u64, total_tokens: u64,
        /// US dollars.
        cost: f64,
        prompt_tokens_details: PromptTokensDetails, completion_tokens_details: CompletionTokensDetails,
    }
    /// Prompt tokens of a kind, all of them part of `prompt_tokens`.
    PromptTokensDetails { cached_tokens: u64, cache_write_tokens: u64, audio_tokens: u64, }
    /// Generated tokens of a kind, all of them part of `completion_tokens`.
    CompletionTokensDetails {
        reasoning_tokens: u64, audio_tokens: u64, accepted_prediction_tokens: u64, rejected_prediction_tokens: u64,
    }
}

requests! {
    /// How a stream is told. Only with `stream: true`.
    StreamOptions {;
        /// One more chunk with usage and cost before `[DONE]`.
        include_usage: bool,
        /// Taken, and without effect.
        include_obfuscation: bool,
    }
    /// Another way to ask for `stream_options.include_usage`.
    UsageOptions {; include: bool, }
    /// Routing wishes and demands. An unknown key is an error here: it could be a demand.
    #[serde(deny_unknown_fields)]
    ProviderPreferences {;
        /// Providers to try first, each a slug or `slug/region`.
        order: Vec<String>,
        /// The only providers allowed.
        only: Vec<String>,
        /// Providers never to use.
        ignore: Vec<String>,
        /// Whether providers beyond `order` may serve; true when absent.
        allow_fallbacks: bool,
        /// Only offers that declare every parameter in use.
        require_parameters: bool,
        /// `allow` or `deny`: whether providers that keep data may serve.
        data_collection: String,
        /// Only offers that retain nothing.
        zdr: bool,
        /// Allowed weight formats, such as `fp8`.
        quantizations: Vec<String>,
        sort: Sort,
        /// Tokens per second.
        preferred_min_throughput: Preference,
        /// Seconds to the first token.
        preferred_max_latency: Preference,
        max_price: MaxPrice,
        /// Allowed regions.
        regions: Vec<String>,
        /// `declared`, `measured`, `audited` or `attested`: this level or better.
        trust: String,
    }
    /// What decides the order of offers.
    #[serde(deny_unknown_fields)]
    SortBy {
        /// `price`, `throughput` or `latency`.
        by: String,
        ;
        /// `model` keeps fallback models apart, `none` puts all their offers in one order.
        partition: String,
    }
    /// Wishes by percentile.
    #[serde(deny_unknown_fields)]
    Percentiles {;
        #[schema(minimum = 0)]
        p50: f64,
        #[schema(minimum = 0)]
        p75: f64,
        #[schema(minimum = 0)]
        p90: f64,
        #[schema(minimum = 0)]
        p99: f64,
    }
    /// The most the client pays: US dollars per million tokens, or for each request or image.
    #[serde(deny_unknown_fields)]
    MaxPrice {; prompt: Cap, completion: Cap, request: Cap, image: Cap, }
}

forms! {
    /// `price`, `throughput` or `latency`, or that with a word on fallback models.
    Sort { Word: String, By: SortBy, }
    /// A number means the median.
    Preference { Median: f64, Percentiles: Percentiles, }
    /// A number or a decimal string, zero or more.
    Cap { Number: f64, Decimal: String, }
    /// Where the model stops.
    Stop { One: String, Several: Vec<String>, }
}

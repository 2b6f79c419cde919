//! The older completions, and embeddings.

use std::collections::BTreeMap;

use super::super::schemas::ErrorBody;
use super::super::shape::{JsonObject, forms, objects, requests};
use super::{ProviderPreferences, Stop, StreamOptions, Usage, UsageOptions};

requests! {
    /// Text to go on from. Fields not listed are passed on to the engine.
    CompletionRequest {
        /// The model's id; `:nitro`, `:floor` and `:free` change how offers are chosen.
        #[schema(min_length = 1, max_length = 256)]
        model: String,
        prompt: TextInput,
        ;
        /// Server-sent events.
        stream: bool,
        stream_options: StreamOptions,
        usage: UsageOptions,
        /// Most generated tokens of each choice; 16 when absent.
        #[schema(minimum = 1)]
        max_tokens: u32,
        /// Choices of each prompt. Prompts times `n` may be at most 128.
        #[schema(minimum = 1, maximum = 128)]
        n: u32,
        /// The same as `n`: choosing among more is not served.
        #[schema(minimum = 1, maximum = 128)]
        best_of: u32,
        /// Whether objects begin with their prompts.
        echo: bool,
        /// Must be empty.
        #[schema(max_length = 0)]
        suffix: String,
        /// Alternatives to each token.
        #[schema(minimum = 0, maximum = 5)]
        logprobs: u32,
        #[schema(minimum = 0, maximum = 2)]
        temperature: f64,
        #[schema(minimum = 0, maximum = 1)]
        top_p: f64,
        /// −1 is no bound.
        #[schema(minimum = -1)]
        top_k: i32,
        #[schema(minimum = 0, maximum = 1)]
        min_p: f64,
        #[schema(minimum = 0, maximum = 1)]
        top_a: f64,
        #[schema(minimum = 0, maximum = 2)]
        repetition_penalty: f64,
        #[schema(minimum = -2, maximum = 2)]
        presence_penalty: f64,
        #[schema(minimum = -2, maximum = 2)]
        frequency_penalty: f64,
        seed: i64,
        stop: Stop,
        /// By token, −100 to 100.
        logit_bias: BTreeMap<String, f64>,
        /// `auto`, `default`, `flex`, `priority`, `fast` or `scale`.
        service_tier: String,
        /// At most 16 pairs; keys of at most 64 characters, values of at most 512.
        metadata: BTreeMap<String, String>,
        /// A hint which requests share a prefix.
        prompt_cache_key: String,
        prompt_cache_options: JsonObject,
        #[schema(max_length = 64)]
        safety_identifier: String,
        user: String,
        /// Models to fall back on, in order.
        #[schema(max_items = 16)]
        models: Vec<String>,
        /// Which providers may serve, and which should.
        provider: ProviderPreferences,
    }
    /// Texts to be turned into vectors.
    EmbeddingRequest {
        /// The model's id; `:nitro`, `:floor` and `:free` change how offers are chosen.
        #[schema(min_length = 1, max_length = 256)]
        model: String,
        input: TextInput,
        ;
        /// Length of the vectors, where the model lets one choose.
        #[schema(minimum = 1)]
        dimensions: u32,
        /// `float`, or `base64` of little-endian 32-bit floats; `float` when absent.
        encoding_format: String,
        /// `auto`, `default`, `flex`, `priority`, `fast` or `scale`.
        service_tier: String,
        /// At most 16 pairs; keys of at most 64 characters, values of at most 512.
        metadata: BTreeMap<String, String>,
        #[schema(max_length = 64)]
        safety_identifier: String,
        user: String,
        /// Models to fall back on, in order.
        #[schema(max_items = 16)]
        models: Vec<String>,
        /// Which providers may serve, and which should.
        provider: ProviderPreferences,
    }
}

forms! {
    /// A text, texts, the tokens of one, or those of several: at most 2048, none of them empty.
    TextInput { Text: String, Texts: Vec<String>, Tokens: Vec<u32>, TokenLists: Vec<Vec<u32>>, }
    /// Numbers, or base64 of little-endian 32-bit floats.
    Vector { Numbers: Vec<f32>, Base64: String, }
}

objects! {
    /// A whole answer, or a piece of a streamed one.
    Completion {
        id: String,
        /// Always `text_completion`.
        object: String,
        /// Unix seconds.
        created: i64,
        /// The model that served.
        model: String,
        choices: Vec<CompletionChoice>,
        ;
        /// Who served it; in a whole answer.
        provider: String,
        /// In a whole answer, and at the end of a stream with `include_usage`, whose other pieces have a null.
        usage: Option<Usage>,
        /// Why the stream ends early; such a piece is the last before `[DONE]`.
        error: ErrorBody,
    }
    /// One of the objects asked for: the one numbered `i` to a prompt `p` has the index `p*n+i`.
    CompletionChoice {
        text: String, index: u32, logprobs: Option<CompletionLogprobs>,
        /// `stop`, `length` or `content_filter`; `error` where a stream ends early.
        finish_reason: Option<String>,
    }
    /// Log probabilities, one place for each token.
    CompletionLogprobs {
        tokens: Vec<String>, token_logprobs: Vec<Option<f64>>, top_logprobs: Vec<Option<BTreeMap<String, f64>>>,
        /// Where each token begins, in characters.
        text_offset: Vec<u64>,
    }
    /// Vectors in the order of their texts.
    EmbeddingList {
        /// Always `list`.
        object: String,
        data: Vec<Embedding>,
        /// The model that served.
        model: String,
        usage: EmbeddingUsage,
        ;
        /// Who served it.
        provider: String,
    }
    /// One vector.
    Embedding {
        /// Always `embedding`.
        object: String,
        index: u32, embedding: Vector,
    }
    /// Tokens and cost.
    EmbeddingUsage {
        prompt_tokens: u64, total_tokens: u64,
        /// US dollars.
        cost: f64,
    }
}

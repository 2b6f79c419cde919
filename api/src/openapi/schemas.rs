//! Shapes on the wire, for the document only: requests are read by the envelope, answers written by the relay.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

macro_rules! shapes {
    ($($(#[$attribute:meta])* $name:ident { $($(#[$field_attribute:meta])* $field:ident: $kind:ty,)* })+) => {
        $($(#[$attribute])* #[derive(Serialize, ToSchema)] #[allow(dead_code)]
        pub(super) struct $name { $($(#[$field_attribute])* pub $field: $kind,)* })+
    };
}

pub(super) use shapes;

shapes! {
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
        /// What else may help.
        #[schema(required = false)]
        metadata: Value,
        /// Why no offer may or can serve.
        #[schema(required = false)]
        availability: Value,
    }
    /// A conversation and how to answer it. Fields not listed are passed on to the engine.
    ChatCompletionRequest {
        /// The model's id; `:nitro`, `:floor` and `:free` change how offers are chosen.
        model: String,
        /// At least one.
        messages: Vec<Message>,
        /// Server-sent events.
        #[schema(required = false)]
        stream: bool,
        #[schema(required = false)]
        stream_options: StreamOptions,
        /// Most output tokens of each choice.
        #[schema(required = false, minimum = 1)]
        max_completion_tokens: u32,
        /// The older name of `max_completion_tokens`.
        #[schema(required = false, minimum = 1)]
        max_tokens: u32,
        #[schema(required = false, minimum = 0, maximum = 2)]
        temperature: f64,
        #[schema(required = false, minimum = 0, maximum = 1)]
        top_p: f64,
        #[schema(required = false, minimum = 1, maximum = 128)]
        n: u32,
        #[schema(required = false)]
        seed: i64,
        /// Models to fall back on.
        #[schema(required = false)]
        models: Vec<String>,
        /// Which providers may serve, and which should.
        #[schema(required = false)]
        provider: ProviderPreferences,
    }
    /// One message of a conversation.
    Message {
        /// `developer`, `system`, `user`, `assistant` or `tool`.
        role: String,
        /// Text, or a list of parts.
        content: Value,
    }
    /// How a stream ends.
    StreamOptions {
        /// One more chunk with usage and cost before `[DONE]`.
        #[schema(required = false)]
        include_usage: bool,
    }
    /// Routing wishes and demands. An unknown key is an error here: it could be a demand.
    ProviderPreferences {
        #[schema(required = false)]
        order: Vec<String>,
        #[schema(required = false)]
        only: Vec<String>,
        #[schema(required = false)]
        ignore: Vec<String>,
        #[schema(required = false)]
        allow_fallbacks: bool,
        #[schema(required = false)]
        require_parameters: bool,
        /// `allow` or `deny`.
        #[schema(required = false)]
        data_collection: String,
        #[schema(required = false)]
        zdr: bool,
        #[schema(required = false)]
        quantizations: Vec<String>,
        #[schema(required = false)]
        sort: Value,
        #[schema(required = false)]
        max_price: Value,
        #[schema(required = false)]
        regions: Vec<String>,
        /// `declared`, `measured`, `audited` or `attested`: this level or better.
        #[schema(required = false)]
        trust: String,
    }
    /// A whole answer.
    ChatCompletion {
        id: String,
        /// Always `chat.completion`.
        object: String,
        /// Unix seconds.
        created: i64,
        /// The model that served.
        model: String,
        /// Who served it.
        provider: String,
        service_tier: String,
        choices: Vec<Choice>,
        usage: Usage,
    }
    /// One of the answers asked for.
    Choice { index: u32, message: AssistantMessage, logprobs: Option<Value>,
        /// `stop`, `length`, `tool_calls`, `content_filter` or `function_call`.
        finish_reason: String, }
    /// What the model said.
    AssistantMessage { role: String, content: Option<String>, refusal: Option<String>, annotations: Vec<Value>, }
    /// A piece of a streamed answer.
    ChatCompletionChunk {
        id: String,
        /// Always `chat.completion.chunk`.
        object: String,
        created: i64,
        model: String,
        choices: Vec<ChunkChoice>,
    }
    /// What a piece adds to one choice.
    ChunkChoice { index: u32, delta: Value, logprobs: Option<Value>, finish_reason: Option<String>, }
    /// Tokens and cost.
    Usage {
        prompt_tokens: u64, completion_tokens: u64, total_tokens: u64,
        /// US dollars.
        cost: f64,
        prompt_tokens_details: Value, completion_tokens_details: Value,
    }
    /// All models.
    ModelList { object: String, data: Vec<Model>, }
    /// A model and its cheapest live offer.
    Model {
        id: String, object: String, created: i64, owned_by: String, name: String,
        context_length: u32, pricing: Value, architecture: Value, top_provider: Value, supported_parameters: Vec<String>,
    }
    /// A generation.
    GenerationResponse { data: Value, }
    /// Credit.
    CreditsResponse { data: Credits, }
    /// Two sums in US dollars, as decimal strings.
    Credits { total_credits: String, total_usage: String, }
    /// A key.
    KeyResponse { data: Value, }
    /// A provider to be.
    CreateProvider {
        name: String,
        /// Lower-case letters, digits and dashes.
        slug: String,
        contact_email: String,
        /// ISO 3166 alpha-2.
        country: String,
        terms_version: String,
        /// CAIP-10, such as `eip155:8453:0x…`.
        payout_account: String,
        /// The wallet that signs for the provider.
        receipt_address: String,
    }
    /// A pending provider.
    CreatedProvider { provider: Provider, challenge: Challenge, }
    /// A provider.
    Provider { id: String, object: String, name: String, slug: String, state: String, created_at: i64, }
    /// A text to be signed once with `personal_sign`.
    Challenge { id: String, message: String, expires_at: i64, }
    /// What a challenge is for.
    CreateChallenge { purpose: String, }
    /// A signed challenge.
    VerifyChallenge { challenge_id: String, signature: String, }
    /// An active provider and its key.
    VerifiedProvider { provider: Provider, key: String, }
    /// A machine to be.
    CreateNode {
        /// ed25519, 64 hex digits.
        public_key: String,
        /// `tunnel` or `direct`.
        mode: String,
        #[schema(required = false)]
        base_url: String,
        hardware: Value, location: Value, engine: Value, privacy: Value,
    }
    /// A machine.
    Node { id: String, object: String, provider_id: String, state: String, trust: String, mode: String, created_at: i64, tunnels: u32, }
    /// A machine, what keeps it from work, and how it fares among others.
    NodeDetail {
        id: String, object: String, provider_id: String, state: String, trust: String, mode: String, created_at: i64, tunnels: u32,
        /// What keeps it from work.
        #[schema(required = false)]
        checks: Vec<NodeCheck>,
        /// Counts of one ask in 64 since this replica began.
        #[schema(required = false)]
        placement: Value,
    }
    /// Something that keeps a machine from work.
    NodeCheck {
        name: String, seen: String,
        /// What to do about it.
        fix: String,
        /// When it is looked at again.
        #[schema(required = false)]
        next_at: i64,
    }
    /// What was earned, in buckets of time.
    EarningsPage { object: String, data: Vec<EarningsBucket>, has_more: bool, next_page: Option<String>, }
    /// One span of time.
    EarningsBucket { object: String, start_time: i64, end_time: i64, results: Vec<EarningsResult>, }
    /// Decimal strings, in USD: what users pay for the work, the broker's share of it, and the rest.
    EarningsResult {
        object: String, model: Option<String>, node_id: Option<String>, offer_id: Option<String>, attempts: i64,
        gross: String, fee: String, net: String,
    }
    /// Machines.
    NodeList { object: String, data: Vec<Node>, }
    /// Proof of a node's key.
    OpenSession { nonce: String, timestamp_ms: i64, signature: String, }
    /// A session.
    SessionToken { token: String, expires_at_ms: i64, server_time_ms: i64, }
    /// The whole set of a node's offers.
    PutOffers { offers: Vec<Offer>, }
    /// Offers as stored.
    OfferList { object: String, data: Vec<Offer>, }
    /// One model at a price.
    Offer { model: String, upstream_model: String, context_length: u32, pricing: Vec<Value>, }
    /// A sign of life.
    Heartbeat { seq: u64, sent_at_ms: i64, state: String, }
    /// What comes next.
    HeartbeatReply { server_time_ms: i64, next_in_ms: u64, commands: Vec<Value>, }
    /// How to drain.
    DrainRequest {
        #[schema(required = false)]
        deadline_s: u32,
        #[schema(required = false)]
        reason: String,
    }
    /// Reports.
    PutReports { reports: Vec<Value>, }
    /// What became of them.
    ReportsReply { accepted: u32, refused: Vec<Value>, }
}

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

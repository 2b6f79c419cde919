//! Shapes of the catalogue, of credit, and of errors.

use super::catalogue_schemas::{Architecture, Availability, Generation, KeyUse, Pricing, TopProvider};
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
        /// Why no offer may or can serve.
        availability: Availability,
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
        created: i64, owned_by: String, canonical_slug: String, name: String,
        description: String, context_length: u32, hugging_face_id: Option<String>, architecture: Architecture,
        pricing: Pricing, top_provider: TopProvider, supported_parameters: Vec<String>,
        /// Always null.
        per_request_limits: Option<JsonObject>,
    }
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
    /// Credit.
    CreditsResponse { data: Credits, }
    /// Two sums in US dollars, as decimal strings.
    Credits { total_credits: String, total_usage: String, }
    /// A key.
    KeyResponse { data: KeyUse, }
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

//! Shapes of webhooks: endpoints, and what they are sent.

use super::shape::{objects, requests};

requests! {
    /// What changes. What is absent stays.
    UpdateWebhook {;
        #[schema(max_length = 2048)]
        url: String,
        events: Vec<String>,
        #[schema(max_length = 200)]
        description: String,
        /// Switched on again, an endpoint is told of what is not older than three days.
        enabled: bool,
    }
}

objects! {
    /// An endpoint to be.
    CreateWebhook {
        /// A public `https` address.
        #[schema(max_length = 2048)]
        url: String,
        ;
        /// What to be told of; all there is when empty or absent.
        events: Vec<String>,
        #[schema(max_length = 200)]
        description: String,
    }
    /// An endpoint.
    WebhookEndpoint {
        id: String,
        /// Always `webhook_endpoint`.
        object: String,
        url: String, description: String,
        /// What it is told of; all there is when empty.
        events: Vec<String>,
        enabled: bool,
        /// Unix seconds.
        created_at: i64,
        ;
        /// Since when nothing was taken there, in unix seconds.
        failing_since: i64,
    }
    /// An endpoint and its secret, shown this once.
    WebhookEndpointWithSecret {
        id: String,
        /// Always `webhook_endpoint`.
        object: String,
        url: String, description: String,
        /// What it is told of; all there is when empty.
        events: Vec<String>,
        enabled: bool,
        /// Unix seconds.
        created_at: i64,
        /// `whsec_…`, for checking signatures.
        secret: String,
        ;
        /// Since when nothing was taken there, in unix seconds.
        failing_since: i64,
    }
    /// All endpoints, on one page.
    WebhookEndpointList {
        /// Always `list`.
        object: String,
        data: Vec<WebhookEndpoint>, first_id: Option<String>, last_id: Option<String>,
        /// Always false.
        has_more: bool,
    }
    /// What an endpoint is told.
    WebhookEvent {
        id: String,
        /// Always `event`.
        object: String,
        /// Unix seconds.
        created_at: i64,
        /// Such as `batch.completed`.
        r#type: String,
        data: WebhookSubject,
    }
    /// What an event is about.
    WebhookSubject {
        id: String,
        ;
        /// Of a spend limit: which part of it was reached.
        threshold_percent: u32,
        /// Of a spend limit: the whole, in US dollars as a decimal string.
        limit_usd: String,
        /// Of a spend limit: what was charged when it was noticed, in US dollars as a decimal string.
        spent_usd: String,
        /// Of a spend limit that starts anew: since when charges count, in unix seconds.
        window_starts_at: i64,
    }
}

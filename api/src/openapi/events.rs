//! What is sent to webhook endpoints, one entry for each type of event.

use serde_json::{Value, json};
use utoipa::ToSchema as _;

use super::webhook_schemas::WebhookEvent;
use crate::webhooks;

/// Headers of a delivery, as Standard Webhooks has them.
const HEADERS: [(&str, &str); 3] = [
    ("webhook-id", "The event's id, the same at every try"),
    ("webhook-timestamp", "Unix seconds of this try"),
    (
        "webhook-signature",
        "`v1,` and the base64 HMAC-SHA256 of `id.timestamp.body`; one for each secret that still signs",
    ),
];

/// Describes every type of event there is.
pub(super) fn add(document: &mut Value) {
    let parameters: Vec<Value> = HEADERS
        .iter()
        .map(|(name, description)| {
            json!({
                "name": name, "in": "header", "required": true, "description": description,
                "schema": { "type": "string" },
            })
        })
        .collect();
    let schema = json!({ "$ref": format!("#/components/schemas/{}", WebhookEvent::name()) });
    for kind in webhooks::event_types() {
        document["webhooks"][kind] = json!({ "post": {
            "tags": ["Webhooks"],
            "operationId": operation_id(kind),
            "summary": format!("Sent on `{kind}`"),
            "security": [],
            "parameters": parameters,
            "requestBody": { "required": true, "content": { "application/json": { "schema": schema } } },
            "responses": { "2XX": { "description": "Taken. Anything else is tried again for three days." } },
        } });
    }
}

/// `batch.completed` becomes `onBatchCompleted`.
fn operation_id(kind: &str) -> String {
    let mut id = "on".to_owned();
    for word in kind.split(['.', '_']) {
        let mut letters = word.chars();
        id.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        id.push_str(letters.as_str());
    }
    id
}

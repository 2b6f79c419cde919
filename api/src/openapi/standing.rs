//! Refusals that many operations share. Each is described once, under `components`, and named where it may be met.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use utoipa::IntoResponses;
use utoipa::openapi::{Ref, RefOr, Response};

use super::kind::{self, Kind};

/// Status, name and when it is met.
const REFUSALS: [(&str, &str, &str); 15] = [
    ("400", "BadRequest", "The request can't be taken as it stands"),
    ("401", "Unauthorized", "No key, or one that does not count"),
    ("402", "PaymentRequired", "No credit, or a limit is reached"),
    ("403", "Forbidden", "Known, and not allowed"),
    ("404", "NotFound", "Nothing of that name, as far as this caller may know"),
    ("409", "InProgress", "The first request with this `Idempotency-Key` has not ended yet"),
    ("413", "TooLarge", "The body is too large"),
    ("415", "NotJson", "The body is not said to be of the kind that is taken here"),
    ("422", "KeyReused", "This `Idempotency-Key` came before with another request"),
    ("426", "UpdateRequired", "A revision of the node protocol that is no longer understood"),
    ("429", "TooMany", "Full, or too much at a time; try again"),
    ("500", "Internal", "A fault of ours"),
    ("502", "ProviderFailed", "Every provider tried failed"),
    ("503", "Unavailable", "Not now; try again"),
    ("504", "ProviderTimeout", "No provider answered in time"),
];
const RESPONSES: &str = "#/components/responses/";
/// Before the names of the same refusals in Anthropic's shape.
const THEIRS: &str = "Messages";
/// What Anthropic's clients are told in place of 503.
const OVERLOADED: &str = "529";

/// A key need not be sent, or is no key: one that is sent and does not count is refused.
pub(super) struct Checked;

/// What the request names may not be there.
pub(super) struct Named;

/// Counts against the caller's limits.
pub(super) struct Limited;

/// Needs money, a model and somebody who serves it.
pub(super) struct FromModels;

/// Needs a node that may work, by its own key, in a revision that is understood.
pub(super) struct Sessions;

macro_rules! refuses {
    ($($operations:ident: $($status:literal)+;)+) => {
        $(impl IntoResponses for $operations {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                refusals(&[$($status),+])
            }
        })+
    };
}

refuses! {
    Checked: "401";
    Named: "404";
    Limited: "429";
    Sessions: "401" "403" "426";
    FromModels: "402" "404" "429" "502" "504";
}

fn refusals(statuses: &[&str]) -> BTreeMap<String, RefOr<Response>> {
    let listed = REFUSALS.iter().filter(|(status, ..)| statuses.contains(status));
    listed.map(|(status, name, _)| ((*status).to_owned(), RefOr::Ref(Ref::from_response_name(*name)))).collect()
}

/// Names the refusals in every operation that may answer with them, and describes those that are named.
pub(super) fn add(document: &mut Value) {
    let mut named = BTreeSet::new();
    kind::each(document, |kind, operation| {
        let responses = &mut operation["responses"];
        for (status, name, _) in REFUSALS.iter().filter(|(status, ..)| may_meet(kind, status)) {
            if responses.get(status).is_none() {
                responses[*status] = reference(name);
            }
        }
        if kind.messages {
            in_their_words(responses);
        }
        let references = responses.as_object().into_iter().flat_map(|all| all.values());
        named.extend(references.filter_map(|response| Some(response["$ref"].as_str()?.to_owned())));
    });
    for (_, name, description) in REFUSALS {
        for (name, shape) in [(name.to_owned(), "ErrorResponse"), (format!("{THEIRS}{name}"), "MessagesErrorResponse")]
        {
            if named.contains(&format!("{RESPONSES}{name}")) {
                let schema = json!({ "$ref": format!("#/components/schemas/{shape}") });
                document["components"]["responses"][name] =
                    json!({ "description": description, "content": { "application/json": { "schema": schema } } });
            }
        }
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("{RESPONSES}{name}") })
}

/// What follows from an operation's kind; what does not, it says itself.
fn may_meet(kind: Kind, status: &str) -> bool {
    match status {
        // A header every call may carry can be malformed, and every handler can panic.
        "400" | "500" => true,
        "401" | "403" => kind.secured,
        "404" => kind.named,
        "409" | "422" => kind.repeatable(),
        "413" | "415" => kind.body,
        "503" => !kind.internal,
        _ => false,
    }
}

fn in_their_words(responses: &mut Value) {
    let Some(responses) = responses.as_object_mut() else { return };
    for response in responses.values_mut() {
        if let Some(name) = response["$ref"].as_str().and_then(|named| named.strip_prefix(RESPONSES)) {
            *response = reference(&format!("{THEIRS}{name}"));
        }
    }
    if let Some(overloaded) = responses.remove("503") {
        responses.insert(OVERLOADED.to_owned(), overloaded);
    }
}

//! Headers, each described once under `components` and named where it is read or sent.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::kind::{self, Kind};

/// A header of a request: its name under `components`, its own name, its longest value, and what it does.
type Read = (&'static str, &'static str, Option<u32>, &'static str);

const CLIENT_REQUEST_ID: Read = (
    "ClientRequestId",
    "X-Client-Request-Id",
    Some(512),
    "The client's own name for the call, written beside ours in the log",
);
const IDEMPOTENCY_KEY: Read = (
    "IdempotencyKey",
    "Idempotency-Key",
    Some(255),
    "Kept for a day: the same key with the same request answers what was answered first",
);
const ORGANIZATION: Read = ("Organization", "OpenAI-Organization", None, "Must be the key's organization");
const PROJECT: Read = ("Project", "OpenAI-Project", None, "Must be the key's project");
const REFERER: Read = ("Referer", "HTTP-Referer", None, "What the call is made for: an address");
const TITLE: Read = ("Title", "X-Title", None, "What the call is made for: a name");
const METADATA: Read = (
    "RoutingMetadata",
    "X-Steelyard-Metadata",
    None,
    "`enabled` asks for a record of the routing: in a header of that name or, where a stream's head goes out before the \
     record is known, in the comment `: x-steelyard-metadata {…}` before its first event",
);
const ANTHROPIC_VERSION: Read =
    ("AnthropicVersion", "anthropic-version", None, "Sent by Anthropic's clients; models are told in their shape");

const READ: [Read; 8] =
    [CLIENT_REQUEST_ID, IDEMPOTENCY_KEY, ORGANIZATION, PROJECT, REFERER, TITLE, METADATA, ANTHROPIC_VERSION];

/// A header of an answer: its name under `components`, its own name, its type, and what it says.
type Sent = (&'static str, &'static str, &'static str, &'static str);

const STANDING: [Sent; 3] = [
    ("RequestId", "x-request-id", "string", "The call's id, `req_…`"),
    ("OpenAIVersion", "openai-version", "string", "The revision of OpenAI's API that answers follow"),
    ("ProcessingMs", "openai-processing-ms", "integer", "Milliseconds until the head of the answer"),
];
const ANTHROPIC_REQUEST_ID: Sent = ("AnthropicRequestId", "request-id", "string", "The same as `x-request-id`");
const REPLAYED: Sent =
    ("IdempotentReplayed", "idempotent-replayed", "string", "`true` on an answer that is repeated for its key");
const RETRY: [Sent; 2] = [
    ("RetryAfter", "retry-after", "integer", "Whole seconds, 1 to 60, after which another try is worth it"),
    ("RetryAfterMs", "retry-after-ms", "integer", "The same, in milliseconds"),
];
const SHOULD_RETRY: Sent = ("ShouldRetry", "x-should-retry", "string", "`false` where no retry can help");
const RATE_LIMITS: [Sent; 6] = [
    ("RateLimitLimitRequests", "x-ratelimit-limit-requests", "integer", "Requests allowed, where they are limited"),
    ("RateLimitLimitTokens", "x-ratelimit-limit-tokens", "integer", "Tokens allowed, where they are limited"),
    ("RateLimitRemainingRequests", "x-ratelimit-remaining-requests", "integer", "Requests left"),
    ("RateLimitRemainingTokens", "x-ratelimit-remaining-tokens", "integer", "Tokens left"),
    ("RateLimitResetRequests", "x-ratelimit-reset-requests", "string", "Until all requests are back, such as `6m0s`"),
    ("RateLimitResetTokens", "x-ratelimit-reset-tokens", "string", "Until all tokens are back, such as `12ms`"),
];

/// Refusals that say when to try again.
const WAIT: [&str; 4] = ["PaymentRequired", "InProgress", "TooMany", "Unavailable"];
/// Refusals that may say not to.
const FINAL: [&str; 6] = ["Unauthorized", "PaymentRequired", "Forbidden", "KeyReused", "UpdateRequired", "TooMany"];

/// Describes the headers, and names them wherever they are read or sent.
pub(super) fn add(document: &mut Value) {
    describe(&mut document["components"]);
    let limited = limited(document);
    for (name, response) in document["components"]["responses"].as_object_mut().into_iter().flatten() {
        let messages = name.starts_with("Messages");
        let refusal = name.trim_start_matches("Messages");
        send(response, STANDING.iter());
        send(response, messages.then_some(&ANTHROPIC_REQUEST_ID));
        send(response, RETRY.iter().filter(|_| WAIT.contains(&refusal)));
        send(response, FINAL.contains(&refusal).then_some(&SHOULD_RETRY));
        send(response, RATE_LIMITS.iter().filter(|_| limited.contains(name)));
    }
    kind::each(document, |kind, operation| {
        read(operation, kind);
        let responses = operation["responses"].as_object_mut().into_iter().flatten();
        for (status, response) in responses.filter(|(_, response)| response.get("$ref").is_none()) {
            let good = status.starts_with('2');
            send(response, STANDING.iter());
            send(response, kind.messages.then_some(&ANTHROPIC_REQUEST_ID));
            send(response, (good && kind.repeatable()).then_some(&REPLAYED));
            send(response, RATE_LIMITS.iter().filter(|_| good && kind.limited));
        }
    });
}

/// The refusals that say where limits stand: all of what counts against them, once it is known whose they are.
fn limited(document: &mut Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    kind::each(document, |kind, operation| {
        let responses = operation["responses"].as_object().into_iter().flat_map(|all| all.values());
        let references = responses.filter(|_| kind.limited).filter_map(|response| response["$ref"].as_str());
        let refusals = references.filter_map(|reference| reference.rsplit('/').next());
        names.extend(refusals.filter(|name| !name.ends_with("Unauthorized")).map(str::to_owned));
    });
    names
}

fn describe(components: &mut Value) {
    for (name, header, longest, description) in READ {
        let mut schema = json!({ "type": "string" });
        if let Some(longest) = longest {
            schema["maxLength"] = longest.into();
        }
        components["parameters"][name] = json!({
            "name": header, "in": "header", "required": false, "description": description, "schema": schema,
        });
    }
    let sent = STANDING.iter().chain(&RETRY).chain(&RATE_LIMITS);
    for (name, _, kind, description) in sent.chain([&ANTHROPIC_REQUEST_ID, &REPLAYED, &SHOULD_RETRY]) {
        components["headers"][*name] = json!({ "description": description, "schema": { "type": kind } });
    }
}

fn send<'a>(response: &mut Value, headers: impl IntoIterator<Item = &'a Sent>) {
    for (name, header, ..) in headers {
        response["headers"][*header] = json!({ "$ref": format!("#/components/headers/{name}") });
    }
}

fn read(operation: &mut Value, kind: Kind) {
    let catalogue = operation["tags"][0] == "Catalogue";
    let wanted = [
        (CLIENT_REQUEST_ID, true),
        (IDEMPOTENCY_KEY, kind.repeatable()),
        (ORGANIZATION, kind.customer),
        (PROJECT, kind.customer),
        (REFERER, kind.inference),
        (TITLE, kind.inference),
        (METADATA, kind.inference),
        (ANTHROPIC_VERSION, kind.messages || catalogue),
    ];
    if operation.get("parameters").is_none() {
        operation["parameters"] = json!([]);
    }
    let parameters = operation["parameters"].as_array_mut().into_iter();
    for list in parameters {
        let names = wanted.iter().filter(|(_, wanted)| *wanted).map(|((name, ..), _)| name);
        list.extend(names.map(|name| json!({ "$ref": format!("#/components/parameters/{name}") })));
    }
}

//! What an operation is, as far as that decides which refusals and headers it shares with others.

use serde_json::Value;

/// Methods a path may have.
const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];
/// Keys whose POSTs can be repeated with an `Idempotency-Key`.
const CUSTOMERS: [&str; 3] = ["inference", "management", "admin"];

/// One operation's kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    /// Whether it is a POST.
    pub(super) post: bool,
    /// Whether nobody but the holder of some key is answered.
    pub(super) secured: bool,
    /// Whether a customer's key may be sent.
    pub(super) customer: bool,
    /// Whether it takes a body; a POST does, if only an empty object.
    pub(super) body: bool,
    /// Whether its path names something.
    pub(super) named: bool,
    /// Whether it is about the process itself.
    pub(super) internal: bool,
    /// Whether it counts against the caller's limits.
    pub(super) limited: bool,
    /// Whether a model answers.
    pub(super) inference: bool,
    /// Whether it speaks Anthropic's dialect.
    pub(super) messages: bool,
}

impl Kind {
    /// Reads it off an operation's description.
    pub(super) fn of(path: &str, method: &str, operation: &Value) -> Self {
        let schemes = schemes(operation);
        let tag = operation["tags"][0].as_str().unwrap_or_default();
        let post = method == "post";
        Self {
            post,
            secured: !schemes.is_empty() && schemes.iter().all(|scheme| !scheme.is_empty()),
            customer: schemes.iter().any(|scheme| CUSTOMERS.contains(scheme)),
            body: post || operation.get("requestBody").is_some(),
            named: path.contains('{'),
            internal: tag == "Operation",
            limited: post && tag == "Inference",
            inference: post && tag == "Inference" && !path.ends_with("/count_tokens"),
            messages: path.starts_with("/v1/messages"),
        }
    }

    /// Whether an `Idempotency-Key` is heeded.
    pub(super) fn repeatable(self) -> bool {
        self.post && self.customer
    }
}

/// The schemes of an operation; an empty name where no key is needed.
fn schemes(operation: &Value) -> Vec<&str> {
    let requirements = operation["security"].as_array().map(Vec::as_slice).unwrap_or_default();
    requirements
        .iter()
        .map(|requirement| requirement.as_object().and_then(|one| one.keys().next()).map_or("", String::as_str))
        .collect()
}

/// Goes through all operations of a document.
pub(super) fn each(document: &mut Value, mut visit: impl FnMut(Kind, &mut Value)) {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for (path, item) in paths {
        let operations = item.as_object_mut().into_iter().flatten();
        for (method, operation) in operations.filter(|(method, _)| METHODS.contains(&method.as_str())) {
            visit(Kind::of(path, method, operation), operation);
        }
    }
}

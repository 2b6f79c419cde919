//! What a caller might send: an example for every operation that takes JSON.

use serde_json::Value;

use super::kind;

/// By the operation's id.
const EXAMPLES: &str = include_str!("examples.json");

/// Puts each example beside the schema of its operation's body.
///
/// # Panics
/// Never: the file is JSON, as tests show.
pub(super) fn add(document: &mut Value) {
    let mut examples: Value = serde_json::from_str(EXAMPLES).expect("the examples are JSON");
    kind::each(document, |_, operation| {
        let example = operation["operationId"].as_str().and_then(|id| examples.get_mut(id)).map(Value::take);
        if let Some(example) = example {
            operation["requestBody"]["content"]["application/json"]["example"] = example;
        }
    });
}

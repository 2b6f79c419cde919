//! What a caller might send: an example for every operation that takes JSON, or a form.

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
        let Some(example) = example else { return };
        let bodies = operation["requestBody"]["content"].as_object_mut();
        if let Some(body) = bodies.and_then(|bodies| bodies.values_mut().next()) {
            body["example"] = example;
        }
    });
}

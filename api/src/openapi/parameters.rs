//! Parameters: one that need not be sent is there or is not. Nothing in a URL or a header can be null.

use serde_json::Value;

use super::kind;

/// Takes null out of the types that parameters may have.
pub(super) fn write(document: &mut Value) {
    kind::each(document, |_, operation| {
        for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(kind) = parameter.pointer_mut("/schema/type") {
                without_null(kind);
            }
        }
    });
}

fn without_null(kind: &mut Value) {
    let Value::Array(kinds) = kind else { return };
    kinds.retain(|kind| kind != "null");
    if let [only] = kinds.as_slice() {
        *kind = only.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn no_parameter_of_the_document_can_be_null() {
        let mut seen = 0;
        kind::each(&mut crate::openapi::document(), |_, operation| {
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let kind = &parameter["schema"]["type"];
                assert!(kind.is_string() || parameter.get("$ref").is_some(), "{parameter}");
                seen += 1;
            }
        });
        assert!(seen > 100, "{seen}");
    }

    #[test]
    fn several_types_stay_several() {
        let kinds = [json!(["string", "null"]), json!(["string", "integer", "null"]), json!("string")];
        let left = kinds.map(|mut kind| {
            without_null(&mut kind);
            kind
        });
        assert_eq!(left, [json!("string"), json!(["string", "integer"]), json!("string")]);
    }
}

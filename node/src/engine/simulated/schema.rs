//! Values that follow a JSON schema, for schemas such as tools have them; made up, and the same every time.

use serde::Deserialize;
use serde_json::Value;

/// Letters of such a value in one token.
const LETTERS: usize = 4;
/// How deep a schema is followed: one that refers to itself has no end.
const MAX_DEPTH: usize = 32;

/// What `response_format` may say.
#[derive(Deserialize)]
pub(super) struct Format {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    json_schema: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    schema: Value,
}

impl Format {
    /// The answer this format asks for, as tokens; `None` for text. Of alternatives, the one numbered `pick` is taken.
    pub(super) fn tokens(&self, pick: u64) -> Option<Vec<String>> {
        let schema = match (self.kind.as_str(), &self.json_schema) {
            ("json_schema", Some(named)) => &named.schema,
            ("json_object", _) => &Value::Null,
            _ => return None,
        };
        let mut text = String::new();
        Writer { root: schema, pick }.value(schema, MAX_DEPTH, &mut text);
        let letters: Vec<char> = text.chars().collect();
        Some(letters.chunks(LETTERS).map(|piece| piece.iter().collect()).collect())
    }
}

struct Writer<'a> {
    root: &'a Value,
    pick: u64,
}

impl Writer<'_> {
    fn value(&self, schema: &Value, depth: usize, out: &mut String) {
        let fixed = schema.get("const").or_else(|| schema["enum"].get(0));
        let forms =
            ["anyOf", "oneOf"].into_iter().find_map(|key| schema[key].as_array()).filter(|forms| !forms.is_empty());
        let refers = schema["$ref"].as_str().and_then(|pointer| self.root.pointer(pointer.strip_prefix('#')?));
        if depth == 0 {
            out.push_str("null");
        } else if let Some(fixed) = fixed {
            out.push_str(&fixed.to_string());
        } else if let Some(schema) = refers {
            self.value(schema, depth - 1, out);
        } else if let Some(forms) = forms {
            let at = usize::try_from(self.pick).unwrap_or(0) % forms.len();
            self.value(&forms[at], depth - 1, out);
        } else {
            match schema["type"].as_str() {
                Some("string") => out.push_str("\"simulated \\\"text\\\"\\n\""),
                Some("integer") => out.push('1'),
                Some("number") => out.push_str("1.5"),
                Some("boolean") => out.push_str("true"),
                Some("null") => out.push_str("null"),
                Some("array") => {
                    out.push('[');
                    self.value(&schema["items"], depth - 1, out);
                    out.push(']');
                }
                _ => self.object(schema, depth, out),
            }
        }
    }

    /// What is required, in that order; nothing else has one.
    fn object(&self, schema: &Value, depth: usize, out: &mut String) {
        let mut before = "{";
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            out.push_str(std::mem::replace(&mut before, ", "));
            out.push_str(&format!("{}: ", Value::from(name)));
            self.value(&schema["properties"][name], depth - 1, out);
        }
        out.push_str(if before == "{" { "{}" } else { "}" });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn made_up(schema: &Value, pick: u64) -> String {
        let format = json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": schema } });
        serde_json::from_value::<Format>(format).unwrap().tokens(pick).unwrap().concat()
    }

    #[test]
    fn values_follow_their_schema() {
        let schema = json!({
            "anyOf": [{ "$ref": "#/$defs/a" }, { "type": "array", "items": { "type": "integer" } }],
            "$defs": { "a": {
                "type": "object", "required": ["z", "a"],
                "properties": { "a": { "enum": ["x", "y"] }, "z": { "const": 7 }, "left_out": { "type": "string" } },
            } },
        });
        assert_eq!(made_up(&schema, 0), r#"{"z": 7, "a": "x"}"#);
        assert_eq!(made_up(&schema, 1), "[1]");
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({ "type": "object", "required": ["next"], "properties": { "next": { "$ref": "#" } } });
        assert!(serde_json::from_str::<Value>(&made_up(&schema, 0)).is_ok());
    }
}

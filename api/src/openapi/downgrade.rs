//! The document in OpenAPI 3.0.3, for generators that reject 3.1. What 3.0 can't say is left out, never said wrongly.

use serde_json::{Map, Value, json};

/// Members of a schema that 3.0 does not know.
const UNKNOWN: [&str; 16] = [
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "contentMediaType",
    "contentSchema",
    "propertyNames",
    "patternProperties",
    "prefixItems",
    "unevaluatedProperties",
    "unevaluatedItems",
    "dependentRequired",
    "dependentSchemas",
    "if",
    "then",
    "else",
];
/// A licence's address, which 3.0 wants in place of its identifier.
const LICENSE: &str = "https://www.apache.org/licenses/LICENSE-2.0";

/// Writes a 3.1 document in 3.0.
pub(super) fn to_3_0(mut document: Value) -> Value {
    document["openapi"] = "3.0.3".into();
    let top = document.as_object_mut().into_iter();
    top.for_each(|top| ["webhooks", "jsonSchemaDialect"].into_iter().for_each(|member| drop(top.remove(member))));
    if let Some(info) = document["info"].as_object_mut() {
        info.remove("summary");
        if let Some(license) = info.get_mut("license").and_then(Value::as_object_mut)
            && license.remove("identifier").is_some()
        {
            license.insert("url".to_owned(), LICENSE.into());
        }
    }
    if let Some(components) = document["components"].as_object_mut() {
        components.remove("pathItems");
        for schema in
            components.get_mut("schemas").and_then(Value::as_object_mut).into_iter().flat_map(|all| all.values_mut())
        {
            *schema = downgraded(schema.take());
        }
    }
    around(&mut document);
    without_leftovers(&mut document);
    document
}

/// Finds the schemas outside of `components`: every one stands under this name, and examples are left alone.
fn around(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match name.as_str() {
                    "schema" => *member = downgraded(member.take()),
                    "schemas" | "example" | "examples" => {}
                    _ => around(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(around),
        _ => {}
    }
}

/// Drops the tags and schemas that only webhooks had.
fn without_leftovers(document: &mut Value) {
    let paths = document["paths"].to_string();
    if let Some(tags) = document["tags"].as_array_mut() {
        tags.retain(|tag| paths.contains(&format!("[{}]", tag["name"])));
    }
    loop {
        let text = document.to_string();
        let Some(schemas) = document["components"]["schemas"].as_object_mut() else { return };
        let before = schemas.len();
        schemas.retain(|name, _| text.contains(&format!("\"#/components/schemas/{name}\"")));
        if schemas.len() == before {
            return;
        }
    }
}

/// A schema in 3.0.
fn downgraded(schema: Value) -> Value {
    let mut schema = match schema {
        Value::Object(schema) => schema,
        // What takes anything, and what takes nothing.
        Value::Bool(true) => return json!({}),
        Value::Bool(false) => return json!({ "not": {} }),
        other => return other,
    };
    UNKNOWN.into_iter().for_each(|member| drop(schema.remove(member)));
    below(&mut schema);
    kinds(&mut schema);
    values(&mut schema);
    for (exclusive, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        if let Some(limit) = schema.get(exclusive).filter(|limit| limit.is_number()).cloned() {
            schema.insert(bound.to_owned(), limit);
            schema.insert(exclusive.to_owned(), true.into());
        }
    }
    if let Some(encoding) = schema.remove("contentEncoding")
        && encoding == "base64"
    {
        schema.insert("format".to_owned(), "byte".into());
    }
    // Beside a reference 3.0 reads nothing.
    if schema.len() > 1
        && let Some(reference) = schema.remove("$ref")
    {
        schema.insert("allOf".to_owned(), json!([{ "$ref": reference }]));
    }
    Value::Object(schema)
}

/// The schemas inside a schema.
fn below(schema: &mut Map<String, Value>) {
    for (name, member) in schema.iter_mut() {
        match (name.as_str(), member) {
            ("properties", Value::Object(properties)) => {
                properties.values_mut().for_each(|one| *one = downgraded(one.take()));
            }
            ("oneOf" | "anyOf" | "allOf", Value::Array(schemas)) => {
                schemas.iter_mut().for_each(|one| *one = downgraded(one.take()));
            }
            ("items" | "not", one) => *one = downgraded(one.take()),
            ("additionalProperties", one @ Value::Object(_)) => *one = downgraded(one.take()),
            _ => {}
        }
    }
}

/// `type: [T, "null"]` becomes `type: T` and `nullable`, which 3.0 reads beside a type only; several types become
/// alternatives.
fn kinds(schema: &mut Map<String, Value>) {
    let Some(mut kinds) = schema.get("type").map(|kinds| match kinds {
        Value::Array(kinds) => kinds.clone(),
        kind => vec![kind.clone()],
    }) else {
        return;
    };
    let all = kinds.len();
    kinds.retain(|kind| kind != "null");
    let form = |kind: &Value| {
        let mut form = Map::from_iter([("type".to_owned(), kind.clone())]);
        if kinds.len() < all {
            form.insert("nullable".to_owned(), true.into());
        }
        form
    };
    schema.remove("type");
    match kinds.as_slice() {
        [] => schema.extend(only_null()),
        [kind] => {
            if kind == "array" && !schema.contains_key("items") {
                schema.insert("items".to_owned(), json!({}));
            }
            schema.extend(form(kind));
        }
        several => {
            let forms: Vec<Value> = several.iter().map(|kind| form(kind).into()).collect();
            schema.insert("anyOf".to_owned(), forms.into());
        }
    }
}

/// What takes a null and nothing else.
fn only_null() -> Map<String, Value> {
    Map::from_iter([
        ("type".to_owned(), "string".into()),
        ("nullable".to_owned(), true.into()),
        ("enum".to_owned(), json!([null])),
    ])
}

/// `const` becomes a list of one, and the first of the examples the example.
fn values(schema: &mut Map<String, Value>) {
    if let Some(only) = schema.remove("const") {
        schema.insert("enum".to_owned(), json!([only]));
    }
    if let Some(Value::Array(examples)) = schema.remove("examples")
        && let Some(first) = examples.into_iter().next()
    {
        schema.insert("example".to_owned(), first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_becomes(schema: Value, expected: &Value) {
        let shown = schema.to_string();
        assert_eq!(&downgraded(schema), expected, "{shown}");
    }

    #[test]
    fn a_null_among_types_becomes_nullable() {
        assert_becomes(json!({ "type": ["string", "null"] }), &json!({ "type": "string", "nullable": true }));
        assert_becomes(json!({ "type": "null" }), &only_null().into());
        assert_becomes(
            json!({ "type": ["string", "integer", "null"] }),
            &json!({ "anyOf": [{ "type": "string", "nullable": true }, { "type": "integer", "nullable": true }] }),
        );
        assert_becomes(json!({ "type": "array" }), &json!({ "type": "array", "items": {} }));
    }

    #[test]
    fn a_null_stays_an_alternative() {
        assert_becomes(
            json!({ "oneOf": [{ "$ref": "#/x" }, { "type": "null" }], "description": "d" }),
            &json!({ "oneOf": [{ "$ref": "#/x" }, only_null()], "description": "d" }),
        );
        let plain = json!({ "oneOf": [{ "type": "string" }, { "type": "array", "items": { "$ref": "#/x" } }] });
        assert_becomes(plain.clone(), &plain);
    }

    #[test]
    fn values_bounds_and_encodings_are_said_in_the_older_words() {
        assert_becomes(json!({ "const": "a" }), &json!({ "enum": ["a"] }));
        assert_becomes(json!({ "examples": ["a", "b"] }), &json!({ "example": "a" }));
        assert_becomes(
            json!({ "type": "number", "exclusiveMinimum": 0, "maximum": 2 }),
            &json!({ "type": "number", "minimum": 0, "exclusiveMinimum": true, "maximum": 2 }),
        );
        assert_becomes(
            json!({ "type": "string", "contentEncoding": "base64", "contentMediaType": "image/png" }),
            &json!({ "type": "string", "format": "byte" }),
        );
        assert_becomes(json!(true), &json!({}));
    }

    #[test]
    fn a_reference_keeps_what_stands_beside_it() {
        assert_becomes(
            json!({ "properties": { "const": { "$ref": "#/x", "description": "d" } } }),
            &json!({ "properties": { "const": { "allOf": [{ "$ref": "#/x" }], "description": "d" } } }),
        );
        assert_becomes(json!({ "$ref": "#/x" }), &json!({ "$ref": "#/x" }));
    }

    #[test]
    fn of_a_document_only_what_the_older_revision_knows_is_left() {
        let document = to_3_0(json!({
            "openapi": "3.1.0",
            "info": { "title": "t", "summary": "s", "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" } },
            "tags": [{ "name": "A" }, { "name": "B" }],
            "webhooks": { "x": { "post": { "tags": ["B"] } } },
            "paths": { "/a": { "get": { "tags": ["A"], "parameters": [
                { "schema": { "type": ["string", "null"] } }, { "schema": { "$ref": "#/components/schemas/S" } },
            ] } } },
            "components": { "schemas": { "S": { "const": 1 }, "T": { "const": 2 } } },
        }));
        assert_eq!(document["openapi"], "3.0.3");
        assert_eq!(document["info"], json!({ "title": "t", "license": { "name": "Apache-2.0", "url": LICENSE } }));
        assert_eq!(document["tags"], json!([{ "name": "A" }]));
        assert_eq!(document.get("webhooks"), None);
        let parameter = &document["paths"]["/a"]["get"]["parameters"][0];
        assert_eq!(parameter["schema"], json!({ "type": "string", "nullable": true }));
        assert_eq!(document["components"]["schemas"], json!({ "S": { "enum": [1] } }));
    }

    #[test]
    fn nothing_of_the_newer_revision_is_left_in_the_published_document() {
        fn newer(value: &Value, path: &str, found: &mut Vec<String>) {
            match value {
                Value::Object(members) => {
                    for (name, member) in members {
                        let is_name = path.ends_with("/properties") || path.ends_with("/schemas");
                        let list = name == "type" && member.is_array();
                        if !is_name && (list || UNKNOWN.contains(&name.as_str()) || name == "const" || member == "null")
                        {
                            found.push(format!("{path}/{name}"));
                        }
                        newer(member, &format!("{path}/{name}"), found);
                    }
                }
                Value::Array(items) => items.iter().for_each(|item| newer(item, path, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        newer(&to_3_0(super::super::document()), "", &mut found);
        assert_eq!(found, Vec::<String>::new());
    }
}

//! The published document itself: the rules it keeps, and that it is the one committed and served.

use std::collections::BTreeSet;

use api::openapi::{Revision, text};
use serde_json::{Value, json};

use crate::support::TestApp;

const COMMITTED: [(Revision, &str, &str); 2] = [
    (Revision::V31, "/openapi.json", include_str!("../../../openapi/openapi.json")),
    (Revision::V30, "/openapi-3.0.json", include_str!("../../../openapi/openapi-3.0.json")),
];

fn document() -> Value {
    serde_json::from_str(text(Revision::V31)).unwrap()
}

/// Every operation, by method and path.
fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let all = paths.flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, operation)| (format!("{method} {path}"), operation))
    });
    all.collect()
}

/// What a reference refers to.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let reference = value["$ref"].as_str().map(|reference| document.pointer(&reference[1..]).unwrap());
    reference.unwrap_or(value)
}

#[tokio::test]
async fn the_committed_documents_are_the_served_ones() {
    let test = TestApp::start().await;
    for (revision, path, committed) in COMMITTED {
        assert!(committed == text(revision), "openapi{path} is stale; run: make regen");
        let reply = test.get(path).send().await;
        assert_eq!(reply.json, serde_json::from_str::<Value>(committed).unwrap());
    }
    assert_eq!(document()["openapi"], "3.1.0");
}

#[tokio::test]
async fn the_page_may_load_nothing_but_its_own_styles() {
    let test = TestApp::start().await;
    let reply = test.get("/docs").send().await;
    assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = reply.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("script"), "{policy}");
}

#[test]
fn every_operation_has_an_id_of_its_own_one_declared_tag_and_a_summary() {
    let document = document();
    let tags: BTreeSet<&str> =
        document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    let mut ids = BTreeSet::new();
    for (name, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap();
        let camel = id.starts_with(|first: char| first.is_ascii_lowercase());
        assert!(camel && id.chars().all(|letter| letter.is_ascii_alphanumeric()), "{name}: {id}");
        assert!(ids.insert(id), "{name}: {id} is another's");
        let [tag] = operation["tags"].as_array().unwrap().as_slice() else { panic!("{name} has not one tag") };
        assert!(tags.contains(tag.as_str().unwrap()), "{name}: {tag}");
        assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{name}");
    }
}

#[test]
fn every_operation_that_takes_json_has_an_example_that_its_schema_takes() {
    let document = document();
    for (name, operation) in operations(&document) {
        let content = &operation["requestBody"]["content"]["application/json"];
        if !content.is_null() {
            assert_shown(&document, content, &name);
        }
    }
}

#[test]
fn every_answer_and_every_refusal_has_an_example_that_its_schema_takes() {
    let document = document();
    let mut shared = BTreeSet::new();
    for (name, operation) in operations(&document) {
        let (mut good, mut bad) = (0, 0);
        for (status, response) in operation["responses"].as_object().unwrap() {
            let seen = response["$ref"].as_str().is_some_and(|reference| !shared.insert(reference));
            for (media, content) in resolved(&document, response)["content"].as_object().into_iter().flatten() {
                // Bytes have no schema to be shown.
                if content.get("schema").is_some() && !seen {
                    assert_shown(&document, content, &format!("{name}: {status} in {media}"));
                }
            }
            *(if status.starts_with(['4', '5']) { &mut bad } else { &mut good }) += 1;
        }
        // Responses are not stored, so fetching one never succeeds.
        assert!(good > 0 || name == "get /v1/responses/{response}", "{name} never succeeds");
        assert!(bad > 0, "{name} never fails");
    }
}

/// Holds a content's example against its schema: it is there, it is taken, and nothing in it goes undescribed.
fn assert_shown(document: &Value, content: &Value, name: &str) {
    let mut schema = content["schema"].clone();
    schema["components"] = json!({ "schemas": document["components"]["schemas"] });
    for (_, described) in schema["components"]["schemas"].as_object_mut().unwrap() {
        if described.get("properties").is_some() && described.get("additionalProperties").is_none() {
            described["additionalProperties"] = json!(false);
        }
    }
    let example = content.get("example").unwrap_or_else(|| panic!("{name} has no example"));
    let refused = jsonschema::draft202012::new(&schema).unwrap().validate(example).err();
    assert!(refused.is_none(), "{name}: {refused:?}");
}

#[test]
fn every_refusal_is_listed_by_its_status_and_has_one_of_two_shapes() {
    let document = document();
    for (name, operation) in operations(&document) {
        let shape = if name.contains("/v1/messages") { "MessagesErrorResponse" } else { "ErrorResponse" };
        let shape = format!("#/components/schemas/{shape}");
        for (status, response) in operation["responses"].as_object().unwrap() {
            let status: u16 = status.parse().unwrap_or_else(|_| panic!("{name}: {status} is no status"));
            // A replica that is not ready says so as one that is.
            if status < 400 || name == "get /health/ready" && status == 503 {
                continue;
            }
            let schema = &resolved(&document, response)["content"]["application/json"]["schema"];
            assert_eq!(schema["$ref"], json!(shape), "{name}: {status}");
        }
    }
}

#[test]
fn no_shape_hides_inside_another() {
    fn hidden(value: &Value, path: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                let named = path.strip_prefix("/components/schemas/").is_some_and(|name| !name.contains('/'));
                if !named && members.get("properties").is_some_and(Value::is_object) && !path.ends_with("/properties") {
                    found.push(path.to_owned());
                }
                let below = members.iter().filter(|(name, _)| *name != "example");
                below.for_each(|(name, member)| hidden(member, &format!("{path}/{name}"), found));
            }
            Value::Array(items) => items.iter().for_each(|item| hidden(item, path, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    hidden(&document(), "", &mut found);
    assert_eq!(found, Vec::<String>::new());
}

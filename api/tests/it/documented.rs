//! The published document against live answers: whatever any test here is answered has to be described.
//!
//! Both clients of these tests hand their answers in. A path nobody describes is another test's business.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use api::openapi::Revision;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, StatusCode};
use jsonschema::Validator;
use parking_lot::Mutex;
use serde_json::{Value, json};

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(api::openapi::text(Revision::V31)).unwrap());
/// By the pointer to their schema.
static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);

/// What was asked, where the document knows it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// For messages.
    name: String,
    /// Where the operation stands in the document.
    operation: String,
}

impl Asked {
    /// Finds the operation that a call is one of.
    pub fn find(method: &Method, uri: &str) -> Option<Self> {
        let path = uri.split('?').next()?;
        let path = path.strip_prefix("/api").unwrap_or(path);
        let paths = DOCUMENT["paths"].as_object()?;
        let fits = paths.keys().filter_map(|template| Some((literals(template, path)?, template)));
        let (_, template) = fits.max()?;
        let method = method.as_str().to_lowercase();
        let operation = format!("/paths/{}/{method}", template.replace('~', "~0").replace('/', "~1"));
        DOCUMENT.pointer(&operation)?;
        Some(Self { name: format!("{method} {uri}"), operation })
    }

    /// Holds an answer's status, type and JSON against the description.
    ///
    /// # Panics
    /// When it is not described, or otherwise than it is.
    pub fn check(&self, status: StatusCode, headers: &HeaderMap, body: &Value) {
        let Some(media) = self.media(status, headers) else { return };
        if media.ends_with("~1json") {
            self.validate(&media, body);
        }
    }

    /// Holds the data of an event against the description.
    ///
    /// # Panics
    /// As [`Asked::check`].
    pub fn check_event(&self, headers: &HeaderMap, data: &Value) {
        let media = self.media(StatusCode::OK, headers).expect("a stream is described");
        self.validate(&media, data);
    }

    /// Where the answer's type of content is described; `None` for an answer without content.
    fn media(&self, status: StatusCode, headers: &HeaderMap) -> Option<String> {
        let name = &self.name;
        let mut response = format!("{}/responses/{}", self.operation, status.as_u16());
        let described = DOCUMENT.pointer(&response);
        let described = described.unwrap_or_else(|| panic!("{name}: the document does not know its {status}"));
        if let Some(reference) = described["$ref"].as_str() {
            response = reference.trim_start_matches('#').to_owned();
        }
        let described = DOCUMENT.pointer(&response).unwrap();
        for header in headers.keys().filter(|header| OURS.contains(&header.as_str())) {
            assert!(described["headers"].get(header.as_str()).is_some(), "{name}: {status} has {header}, undescribed");
        }
        let sent = headers.get(CONTENT_TYPE)?.to_str().unwrap();
        let media = sent.split(';').next().unwrap().trim();
        assert!(described["content"].get(media).is_some(), "{name}: {status} is {media}, undescribed");
        Some(format!("{response}/content/{}", media.replace('/', "~1")))
    }

    fn validate(&self, media: &str, value: &Value) {
        let validator = validator(&format!("{media}/schema"));
        let errors: Vec<String> =
            validator.iter_errors(value).map(|error| format!("{} at {}", error, error.instance_path())).collect();
        assert!(errors.is_empty(), "{}: {errors:#?}\n{value:#}", self.name);
    }
}

/// Headers that must be described where they are sent.
const OURS: [&str; 9] = [
    "x-request-id",
    "request-id",
    "openai-version",
    "openai-processing-ms",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    "idempotent-replayed",
    "etag",
];

/// How many segments of a template a path repeats literally; `None` when it does not fit. The last parameter may hold
/// slashes, since the ids of models do, and something may follow it.
fn literals(template: &str, path: &str) -> Option<usize> {
    let (parts, given): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
    let is_open = |part: &str| part.starts_with('{');
    let more = given.len().checked_sub(parts.len())?;
    let last = parts.iter().rposition(|part| is_open(part));
    let place = |at: usize| if last.is_some_and(|last| at > last) { at + more } else { at };
    let mut numbered = parts.iter().enumerate();
    let fits = (more == 0 || last.is_some()) && numbered.all(|(at, part)| is_open(part) || *part == given[place(at)]);
    fits.then(|| 2 * parts.iter().filter(|part| !is_open(part)).count() + usize::from(more == 0))
}

fn validator(pointer: &str) -> Arc<Validator> {
    if let Some(known) = VALIDATORS.lock().get(pointer) {
        return Arc::clone(known);
    }
    let mut schema = DOCUMENT.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is no schema")).clone();
    schema["components"] = json!({ "schemas": DOCUMENT["components"]["schemas"] });
    let built = Arc::new(jsonschema::draft202012::new(&schema).unwrap());
    Arc::clone(VALIDATORS.lock().entry(pointer.to_owned()).or_insert(built))
}

#[test]
fn a_call_is_found_by_its_path_whatever_its_parameters_hold() {
    let find = |method, path| Asked::find(&method, path).map(|asked| asked.operation);
    let operation = |path: &str, method: &str| Some(format!("/paths/{}/{method}", path.replace('/', "~1")));
    assert_eq!(find(Method::GET, "/v1/models?x=1"), operation("/v1/models", "get"));
    assert_eq!(find(Method::GET, "/api/v1/models/org/name"), operation("/v1/models/{model}", "get"));
    assert_eq!(find(Method::GET, "/v1/models/org/name/endpoints"), operation("/v1/models/{model}/endpoints", "get"));
    assert_eq!(find(Method::POST, "/v1/messages/count_tokens"), operation("/v1/messages/count_tokens", "post"));
    assert_eq!(find(Method::GET, "/v1/messages"), None);
    assert_eq!(find(Method::GET, "/nowhere"), None);
}

#[test]
#[should_panic(expected = "the document does not know its 418")]
fn a_status_that_is_not_described_is_found() {
    let asked = Asked::find(&Method::GET, "/v1/credits").unwrap();
    asked.check(StatusCode::IM_A_TEAPOT, &HeaderMap::new(), &Value::Null);
}

#[test]
#[should_panic(expected = "total_usage")]
fn a_body_other_than_described_is_found() {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, "application/json".parse().unwrap())]);
    let asked = Asked::find(&Method::GET, "/v1/credits").unwrap();
    asked.check(StatusCode::OK, &headers, &json!({ "data": { "total_credits": "1", "total_usage": "0" } }));
    asked.check(StatusCode::OK, &headers, &json!({ "data": { "total_credits": "1" } }));
}

//! What a caller might send and what it might be told: an example for every body, every answer and every refusal.

mod refusals;

use serde_json::Value;

use super::kind;

/// What operations take, by their ids.
const REQUESTS: &str = include_str!("examples/requests.json");
/// What they answer: by an operation's id, with a status or a type where it has several answers, or else by the name
/// of the answer's shape, which many operations share.
const ANSWERS: &str = include_str!("examples/answers.json");
/// Answers of this type are told event by event, so the example is one event.
const EVENTS: &str = "text/event-stream";

/// Puts each example beside the schema it is an example of.
pub(super) fn add(document: &mut Value) {
    let (requests, answers) = (read(REQUESTS), read(ANSWERS));
    kind::each(document, |_, operation| {
        let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
        if let Some(example) = requests.get(&id) {
            // JSON, or a form: an operation takes one of them.
            for (_, content) in contents(&mut operation["requestBody"]) {
                content["example"] = example.clone();
            }
        }
        for (status, response) in operation["responses"].as_object_mut().into_iter().flatten() {
            for (media, content) in contents(response) {
                let example = answer(&answers, &id, status, media, content).cloned();
                if let Some(example) = example.or_else(|| refusals::by_status(status)) {
                    content["example"] = example;
                }
            }
        }
    });
    for (name, response) in document["components"]["responses"].as_object_mut().into_iter().flatten() {
        for (_, content) in contents(response) {
            if let Some(example) = refusals::by_name(name) {
                content["example"] = example;
            }
        }
    }
}

fn contents(response: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    response.get_mut("content").and_then(Value::as_object_mut).into_iter().flatten()
}

/// # Panics
/// Never: the files are JSON, as tests show.
fn read(text: &str) -> Value {
    serde_json::from_str(text).expect("the examples are JSON")
}

/// The example of one answer: the operation's own, or that of the answer's shape.
fn answer<'a>(answers: &'a Value, id: &str, status: &str, media: &str, content: &Value) -> Option<&'a Value> {
    let shape = content["schema"]["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
    let own = (status.starts_with('2') && media != EVENTS).then(|| answers.get(id)).flatten();
    let told = answers.get(format!("{id} {status}")).or_else(|| answers.get(format!("{id} {media}")));
    told.or(own).or_else(|| answers.get(shape?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::openapi::document;

    /// What of the published document an example may be filed under.
    fn names() -> BTreeSet<String> {
        let mut document = document();
        let shapes = document["components"]["schemas"].as_object().into_iter().flatten();
        let mut names: BTreeSet<String> = shapes.map(|(name, _)| name.clone()).collect();
        kind::each(&mut document, |_, operation| {
            let id = operation["operationId"].as_str().unwrap_or_default();
            for (status, response) in operation["responses"].as_object().into_iter().flatten() {
                let media = response["content"].as_object().into_iter().flatten();
                names.extend(media.map(|(media, _)| format!("{id} {media}")));
                names.insert(format!("{id} {status}"));
            }
            names.insert(id.to_owned());
        });
        names
    }

    #[test]
    fn every_example_is_of_something_that_is_there() {
        let names = names();
        for file in [REQUESTS, ANSWERS] {
            for (name, _) in read(file).as_object().into_iter().flatten() {
                assert!(names.contains(name), "{name}");
            }
        }
    }
}

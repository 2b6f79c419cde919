//! Answers that are no text of a conversation: judgements, pictures, sounds and words of sounds, all made up.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use memchr::memmem;
use serde_json::{Value, json};

use crate::body::{self, Body};

/// A picture of one white dot, as base64 of a PNG.
const PICTURE: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEANl9ngAAAAABJRU5ErkJggg==";
/// The head of a WAV file without any sound in it.
const SOUND: &[u8] = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data\0\0\0\0";

/// The answer to a request at `path`; `None` where nothing like that is served.
pub(super) fn answer(path: &str, request: &Bytes, model: &str) -> Option<Result<Response<Body>, String>> {
    let spoken = match path {
        "/v1/moderations" => judge,
        "/v1/images/generations" => paint,
        "/v1/audio/speech" => speak,
        "/v1/audio/transcriptions" | "/v1/audio/translations" => return Some(listen(request, model)),
        _ => return None,
    };
    let read = serde_json::from_slice::<Value>(request).map_err(|error| format!("the request is unreadable: {error}"));
    Some(read.and_then(|asked| {
        let named = asked["model"] == model;
        if named { spoken(&asked) } else { Err(format!("there is no model {}", asked["model"])) }
    }))
}

fn judge(asked: &Value) -> Result<Response<Body>, String> {
    let count = asked["input"].as_array().map_or(1, Vec::len);
    let result =
        json!({ "flagged": false, "categories": { "violence": false }, "category_scores": { "violence": 0.0 } });
    Ok(json_of(&json!({ "id": "modr-simulated", "model": "simulated", "results": vec![result; count] })))
}

fn paint(asked: &Value) -> Result<Response<Body>, String> {
    let prompt = asked["prompt"].as_str().ok_or("a picture has a prompt")?;
    let count = usize::try_from(asked["n"].as_u64().unwrap_or(1)).unwrap_or(1);
    let picture = json!({ "b64_json": PICTURE, "revised_prompt": format!("Simulated: {prompt}") });
    Ok(json_of(&json!({ "created": super::unix_seconds(), "data": vec![picture; count] })))
}

fn speak(asked: &Value) -> Result<Response<Body>, String> {
    asked["input"].as_str().ok_or("a speech has an input")?;
    let mut response = Response::new(body::full(Bytes::from_static(SOUND)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("audio/wav"));
    Ok(response)
}

/// Hears only whether there is a file, and for which model it is.
fn listen(form: &Bytes, model: &str) -> Result<Response<Body>, String> {
    let has = |text: String| memmem::find(form, text.as_bytes()).is_some();
    if !has("name=\"file\"".to_owned()) || !has(format!("name=\"model\"\r\n\r\n{model}\r\n")) {
        return Err(format!("a form has a file and the model {model:?}"));
    }
    Ok(json_of(&json!({ "text": "These words are simulated: nobody listened." })))
}

fn json_of(value: &Value) -> Response<Body> {
    body::json(StatusCode::OK, value)
}

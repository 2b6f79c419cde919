//! What of a keyed request the database sees: hashes, and an answer that only the key opens.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use protocol::{Id as _, RequestId};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::keys::KeyKind;
use crate::store::idempotency::Hash;

/// Headers of an answer that are repeated with it; the rest is about the one call.
static REPEATED: [HeaderName; 5] = [
    header::CONTENT_TYPE,
    header::CACHE_CONTROL,
    header::ETAG,
    header::LOCATION,
    HeaderName::from_static("x-accel-buffering"),
];

/// A keyed request: what it is stored under, what it asks, and what seals its answer.
#[derive(Clone)]
pub(super) struct Key {
    /// The project, or the organization of a key without one.
    pub scope: Uuid,
    /// Tells this key of this scope from all others.
    pub name: Hash,
    /// Tells this request from others under the same key.
    pub fingerprint: Hash,
    /// The client's own text, in a form that only its holder can make.
    secret: Hash,
}

/// An answer as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    status: u16,
    headers: Vec<(String, String)>,
}

impl Key {
    pub(super) fn new(scope: Uuid, kind: KeyKind, text: &str, route: &str, body: &[u8]) -> Self {
        let scoped = [scope.as_bytes().as_slice(), kind.name().as_bytes(), text.as_bytes()];
        let asked = [text.as_bytes(), route.as_bytes(), body];
        Self {
            scope,
            name: hash("steelyard 2026 idempotency name", &scoped),
            fingerprint: hash("steelyard 2026 idempotency request", &asked),
            secret: hash("steelyard 2026 idempotency secret", &scoped),
        }
    }

    /// Of one run only, so that the fixed nonce is used once.
    fn sealing(&self, request: RequestId) -> LessSafeKey {
        let run = request.uuid();
        let parts = [self.secret.as_slice(), &self.fingerprint, run.as_bytes()];
        let bytes = hash("steelyard 2026 idempotency answer", &parts);
        LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &bytes).expect("the cipher's keys are 32 bytes long"))
    }

    /// Seals the answer of one run.
    pub(super) fn seal(&self, request: RequestId, answer: &Answer) -> Vec<u8> {
        let headers = REPEATED
            .iter()
            .filter_map(|name| Some((name.as_str().to_owned(), answer.headers.get(name)?.to_str().ok()?.to_owned())));
        let head = Head { status: answer.status.as_u16(), headers: headers.collect() };
        let mut sealed = serde_json::to_vec(&head).expect("texts and a number are JSON");
        // JSON of ours has no line breaks: the first one ends it.
        sealed.push(b'\n');
        sealed.extend_from_slice(&answer.body);
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        let done = self.sealing(request).seal_in_place_append_tag(nonce, Aad::empty(), &mut sealed);
        done.expect("an answer is far shorter than the cipher's limit");
        sealed
    }

    /// Opens what [`Key::seal`] made; `None` for anything else.
    pub(super) fn open(&self, request: RequestId, mut sealed: Vec<u8>) -> Option<Answer> {
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        let opened = self.sealing(request).open_in_place(nonce, Aad::empty(), &mut sealed).ok()?;
        let end = memchr::memchr(b'\n', opened)?;
        let head: Head = serde_json::from_slice(&opened[..end]).ok()?;
        let headers = head
            .headers
            .iter()
            .map(|(name, value)| Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?)));
        Some(Answer {
            status: StatusCode::from_u16(head.status).ok()?,
            headers: headers.collect::<Option<_>>()?,
            body: opened[end + 1..].to_vec(),
        })
    }
}

/// One hash of several texts, each with its length before it: no two lists of texts look alike.
fn hash(purpose: &str, parts: &[&[u8]]) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key(purpose);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn key(text: &str, route: &str, body: &str) -> Key {
        Key::new(Uuid::from_u128(1), KeyKind::Inference, text, route, body.as_bytes())
    }

    #[test]
    fn an_answer_is_opened_by_its_own_key_and_run_only() {
        let request = RequestId::from_uuid(Uuid::from_u128(7));
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("text/event-stream"));
        headers.insert("x-request-id", HeaderValue::from_static("req_of_the_first_call"));
        let answer = Answer { status: StatusCode::CREATED, headers, body: b"data: the text\n\n".to_vec() };
        let sealed = key("mine", "/chat", "{}").seal(request, &answer);
        assert!(!sealed.windows(8).any(|part| part == b"the text"), "it lies in the clear");
        let opened = key("mine", "/chat", "{}").open(request, sealed.clone()).unwrap();
        assert_eq!((opened.status, &opened.body), (answer.status, &answer.body));
        assert_eq!(opened.headers.len(), 1, "what is about one call is not repeated: {:?}", opened.headers);
        for other in [key("yours", "/chat", "{}"), key("mine", "/keys", "{}"), key("mine", "/chat", "[]")] {
            assert_eq!(other.open(request, sealed.clone()), None);
        }
        assert_eq!(key("mine", "/chat", "{}").open(RequestId::from_uuid(Uuid::from_u128(8)), sealed), None);
    }

    #[test]
    fn what_differs_has_another_name_or_fingerprint() {
        let one = key("k", "/a", "bc");
        assert_eq!(one.name, key("k", "/other", "").name);
        assert_ne!(one.name, key("l", "/a", "bc").name);
        assert_ne!(one.name, Key::new(Uuid::from_u128(2), KeyKind::Inference, "k", "/a", b"bc").name);
        assert_ne!(one.name, Key::new(Uuid::from_u128(1), KeyKind::Management, "k", "/a", b"bc").name);
        assert_ne!(one.fingerprint, key("k", "/ab", "c").fingerprint);
    }
}

//! An answer that is passed on as the engine gave it: judgements, pictures, sounds, and what was said in sounds.

use bytes::Bytes;
use http::HeaderValue;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::wire::upstream_error;
use super::{Error, Kind};

/// Kinds of content that are passed on under their own names. A browser must not take anything else for a page.
const KINDS: [&str; 4] = ["application/json", "text/plain", "text/vtt", "application/x-subrip"];
/// Sounds of any kind.
const SOUND: &str = "audio/";
/// What every other kind is called.
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// One such answer.
#[derive(Debug)]
pub struct Relayed {
    kind: HeaderValue,
    body: Bytes,
}

#[derive(Deserialize)]
struct Failure<'a> {
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

impl Relayed {
    /// Waits for an answer of this type of content.
    #[must_use]
    pub fn new(kind: Option<&HeaderValue>) -> Self {
        let known = |kind: &&HeaderValue| {
            let essence = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
            let essence = essence.to_ascii_lowercase();
            KINDS.contains(&essence.as_str()) || essence.starts_with(SOUND)
        };
        Self { kind: kind.filter(known).cloned().unwrap_or(BYTES), body: Bytes::new() }
    }

    /// Takes in the whole answer.
    ///
    /// # Errors
    /// [`Error::Malformed`] when there is none, or it is no JSON and says so; [`Error::Upstream`] when it tells a failure.
    pub fn read(&mut self, data: &[u8]) -> Result<Kind, Error> {
        if data.is_empty() {
            return Err(Error::Malformed("an empty answer".to_owned()));
        }
        if self.kind.as_bytes().starts_with(KINDS[0].as_bytes()) {
            let read: Failure<'_> =
                serde_json::from_slice(data).map_err(|error| Error::Malformed(error.to_string()))?;
            if let Some(error) = read.error {
                return Err(Error::Upstream(upstream_error(error.get())));
            }
        }
        self.body = Bytes::copy_from_slice(data);
        Ok(Kind::Content)
    }

    /// Whether it is here.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.body.is_empty()
    }

    /// The answer and its type of content.
    #[must_use]
    pub fn whole(self) -> (HeaderValue, Bytes) {
        (self.kind, self.body)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn relayed(kind: &'static str, data: &[u8]) -> Result<(HeaderValue, Bytes), Error> {
        let mut relayed = Relayed::new(Some(&HeaderValue::from_static(kind)));
        relayed.read(data)?;
        assert!(relayed.is_complete());
        Ok(relayed.whole())
    }

    #[test]
    fn bytes_and_their_kind_are_passed_on_as_they_came() {
        for (kind, shown) in [
            ("application/json; charset=utf-8", "application/json; charset=utf-8"),
            ("audio/mpeg", "audio/mpeg"),
            ("text/html", "application/octet-stream"),
        ] {
            let (kind, body) = relayed(kind, b"{ \"text\": 1 }").unwrap();
            assert_eq!((kind.to_str().unwrap(), body.as_ref()), (shown, b"{ \"text\": 1 }".as_slice()));
        }
    }

    #[test]
    fn a_failure_inside_a_success_is_one() {
        assert!(matches!(relayed("application/json", b"{\"error\":{\"message\":\"no\"}}"), Err(Error::Upstream(_))));
        assert!(matches!(relayed("application/json", b"sound"), Err(Error::Malformed(_))));
        assert!(matches!(relayed("audio/wav", b""), Err(Error::Malformed(_))));
    }
}

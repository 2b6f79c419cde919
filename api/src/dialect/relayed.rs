//! An answer that is passed on as the engine gave it: judgements, pictures, sounds, and what was said in sounds.

use bytes::Bytes;
use http::HeaderValue;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::wire::upstream_error;
use super::{Error, Kind};
use crate::envelope::Work;

const JSON: &str = "application/json";
/// Kinds of content that words are passed on as.
const WORDS: [&str; 4] = [JSON, "text/plain", "text/vtt", "application/x-subrip"];
/// And sounds: any of these.
const SOUND: &str = "audio/";
/// What every other kind is called: a browser must not take it for a page.
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// One such answer.
#[derive(Debug)]
pub struct Relayed {
    kind: HeaderValue,
    body: Bytes,
    is_json: bool,
    is_sound: bool,
}

#[derive(Deserialize)]
struct Failure<'a> {
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

impl Relayed {
    /// Waits for the answer of such work, said to be of this type. Judgements and pictures come as JSON, whatever it is
    /// called.
    #[must_use]
    pub fn new(work: Work, kind: Option<&HeaderValue>) -> Self {
        let essence = kind.and_then(|kind| kind.to_str().ok()?.split(';').next()).unwrap_or_default().trim();
        let essence = essence.to_ascii_lowercase();
        let is_sound = work == Work::Speech;
        let (is_json, is_known) = match work {
            Work::Transcription | Work::Translation => (essence == JSON, WORDS.contains(&essence.as_str())),
            Work::Speech => (essence == JSON, essence.starts_with(SOUND)),
            _ => (true, essence == JSON),
        };
        let other = if is_json { HeaderValue::from_static(JSON) } else { BYTES };
        Self { kind: kind.filter(|_| is_known).cloned().unwrap_or(other), body: Bytes::new(), is_json, is_sound }
    }

    /// Takes in the whole answer.
    ///
    /// # Errors
    /// [`Error::Malformed`] when there is none, or it is not what was asked for; [`Error::Upstream`] when it tells a
    /// failure.
    pub fn read(&mut self, data: &[u8]) -> Result<Kind, Error> {
        if data.is_empty() {
            return Err(Error::Malformed("an empty answer".to_owned()));
        }
        if self.is_json {
            let read: Failure<'_> =
                serde_json::from_slice(data).map_err(|error| Error::Malformed(error.to_string()))?;
            if let Some(error) = read.error {
                return Err(Error::Upstream(upstream_error(error.get())));
            }
            if self.is_sound {
                return Err(Error::Malformed("JSON where a sound belongs".to_owned()));
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

    fn relayed(work: Work, kind: &'static str, data: &[u8]) -> Result<(HeaderValue, Bytes), Error> {
        let mut relayed = Relayed::new(work, Some(&HeaderValue::from_static(kind)));
        relayed.read(data)?;
        assert!(relayed.is_complete());
        Ok(relayed.whole())
    }

    #[test]
    fn bytes_and_their_kind_are_passed_on_as_they_came() {
        for (work, kind, shown) in [
            (Work::Image, "application/json; charset=utf-8", "application/json; charset=utf-8"),
            (Work::Moderation, "text/html", "application/json"),
            (Work::Speech, "Audio/MPEG", "Audio/MPEG"),
            (Work::Speech, "text/html", "application/octet-stream"),
            (Work::Transcription, "text/vtt", "text/vtt"),
            (Work::Translation, "text/html", "application/octet-stream"),
        ] {
            let (kind, body) = relayed(work, kind, b"{ \"text\": 1 }").unwrap();
            assert_eq!((kind.to_str().unwrap(), body.as_ref()), (shown, b"{ \"text\": 1 }".as_slice()));
        }
    }

    #[test]
    fn a_failure_inside_a_success_is_one() {
        let failure = b"{\"error\":{\"message\":\"no\"}}";
        for work in [Work::Moderation, Work::Image, Work::Speech, Work::Transcription] {
            assert!(matches!(relayed(work, JSON, failure), Err(Error::Upstream(_))), "{work:?}");
        }
    }

    #[test]
    fn what_was_not_asked_for_is_no_answer() {
        for (work, kind, data) in [
            (Work::Moderation, "text/html", b"<html>".as_slice()),
            (Work::Transcription, JSON, b"sound"),
            (Work::Speech, "audio/wav", b""),
            (Work::Speech, JSON, b"{}"),
        ] {
            assert!(matches!(relayed(work, kind, data), Err(Error::Malformed(_))), "{work:?}");
        }
    }
}

//! Reads a stream of server-sent events as cheaply as a load generator must: the ordinary chunk is
//! looked at, never parsed; only chunks that say something more are.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use protocol::NanoUsd;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::decimal;

/// Longest event kept while its end has not come: no engine sends one near it.
const MAX_EVENT_BYTES: usize = 4 << 20;

static END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\n\n"));
// A quote inside a JSON string is always escaped, so none of these can come from what a model says.
static NOT_FINISHED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r#""finish_reason":null"#));
static COST: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r#""cost""#));
static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r#""error""#));
static ROLE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r#""role""#));

/// What a stream has said so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Of its first chunk.
    pub id: Option<String>,
    /// Chunks that carried output, so neither openings nor endings.
    pub chunks: u32,
    /// The last finish reason given.
    pub finish_reason: Option<String>,
    /// The code of an error said in band, or its message where it has no code.
    pub error: Option<String>,
    /// From the usage chunk.
    pub cost: Option<NanoUsd>,
    /// `[DONE]` has come.
    pub done: bool,
    /// What can't be part of such a stream, if anything came.
    pub garbage: Option<&'static str>,
}

/// Takes a stream's bytes in any pieces.
#[derive(Debug, Default)]
pub struct Scanner {
    seen: Seen,
    /// The start of an event whose end has not come.
    rest: Vec<u8>,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    id: Option<String>,
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(borrow, default)]
    usage: Option<Usage<'a>>,
    #[serde(default)]
    error: Option<InBand>,
}

#[derive(Deserialize)]
struct Choice {
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Usage<'a> {
    #[serde(borrow, default)]
    cost: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct InBand {
    #[serde(default)]
    code: Option<serde_json::Value>,
    #[serde(default)]
    message: String,
}

impl Scanner {
    /// Takes more bytes and says how many output chunks ended in them.
    pub fn feed(&mut self, bytes: &[u8]) -> u32 {
        let before = self.seen.chunks;
        if self.rest.is_empty() {
            let taken = self.events(bytes);
            self.rest.extend_from_slice(&bytes[taken..]);
        } else {
            self.rest.extend_from_slice(bytes);
            let whole = std::mem::take(&mut self.rest);
            let taken = self.events(&whole);
            self.rest.extend_from_slice(&whole[taken..]);
        }
        if self.rest.len() > MAX_EVENT_BYTES {
            self.seen.garbage = Some("an event without end");
            self.rest.clear();
        }
        self.seen.chunks - before
    }

    /// The stream has ended: what it said.
    #[must_use]
    pub fn finish(mut self) -> Seen {
        if !self.rest.is_empty() {
            self.seen.garbage = Some("ended inside an event");
        }
        self.seen
    }

    /// What it has said so far.
    #[must_use]
    pub const fn seen(&self) -> &Seen {
        &self.seen
    }

    fn events(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while let Some(length) = END.find(&bytes[taken..]) {
            self.event(&bytes[taken..taken + length]);
            taken += length + 2;
        }
        taken
    }

    fn event(&mut self, event: &[u8]) {
        if event.is_empty() || event.starts_with(b":") {
            return;
        }
        let Some(data) = event.strip_prefix(b"data: ").or_else(|| event.strip_prefix(b"data:")) else {
            self.seen.garbage = Some("a line that is neither data nor comment");
            return;
        };
        if self.seen.done {
            self.seen.garbage = Some("an event after [DONE]");
        } else if data == b"[DONE]" {
            self.seen.done = true;
        } else if self.seen.id.is_some() && is_ordinary(data) {
            self.seen.chunks += 1;
        } else {
            self.parse(data);
        }
    }

    fn parse(&mut self, data: &[u8]) {
        let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(data) else {
            self.seen.garbage = Some("an event that is no chunk");
            return;
        };
        if self.seen.id.is_none() {
            self.seen.id = chunk.id;
        }
        if let Some(error) = chunk.error {
            self.seen.error = Some(match error.code {
                Some(serde_json::Value::String(code)) => code,
                Some(code) if !code.is_null() => code.to_string(),
                _ => error.message,
            });
        }
        if let Some(cost) = chunk.usage.and_then(|usage| usage.cost) {
            match decimal::parse(cost.get()) {
                Ok(cost) => self.seen.cost = Some(cost),
                Err(_) => self.seen.garbage = Some("a cost that is not exact"),
            }
        }
        let finish = chunk.choices.iter().find_map(|choice| choice.finish_reason.clone());
        if finish.is_some() {
            self.seen.finish_reason = finish;
        } else if !chunk.choices.is_empty() && ROLE.find(data).is_none() {
            self.seen.chunks += 1;
        }
    }
}

fn is_ordinary(data: &[u8]) -> bool {
    NOT_FINISHED.find(data).is_some()
        && ERROR.find(data).is_none()
        && COST.find(data).is_none()
        && ROLE.find(data).is_none()
}

//! What came of one request.

use std::time::Duration;

use http::StatusCode;
use protocol::NanoUsd;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::decimal;

/// How a request ended, seen from the customer's side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// A whole answer: a finish reason, and `[DONE]` where it was streamed.
    Complete {
        /// As given.
        finish_reason: String,
    },
    /// Begun, then ended by an error said in the stream.
    InBand {
        /// Its code.
        code: String,
    },
    /// An HTTP error.
    Refused {
        /// Its status.
        status: StatusCode,
        /// Its code, `-` when it gave none.
        code: String,
    },
    /// Cut off, unreadable, or never answered: what must not happen.
    Broken {
        /// What was wrong.
        reason: String,
    },
    /// The client left on purpose.
    Left,
}

/// One request's result. Times count from when it was meant to start.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The completion's id, where one came.
    pub id: Option<String>,
    /// How it ended.
    pub ended: Ended,
    /// `usage.cost`, where it came.
    pub cost: Option<NanoUsd>,
    /// To the moment it was really sent: connecting, waiting for a connection, and this program's own lateness.
    pub sent_after: Duration,
    /// To the first chunk with output, of streams.
    pub first_after: Option<Duration>,
    /// To the end.
    pub total: Duration,
    /// Chunks with output.
    pub chunks: u32,
    /// Between one chunk with output and the next, in microseconds. Those that came in one piece are 0 apart.
    pub gaps_us: Vec<u32>,
}

impl Answer {
    /// Before anything has come.
    pub(crate) const fn begun() -> Self {
        Self {
            id: None,
            ended: Ended::Left,
            cost: None,
            sent_after: Duration::ZERO,
            first_after: None,
            total: Duration::ZERO,
            chunks: 0,
            gaps_us: Vec::new(),
        }
    }
}

#[derive(Deserialize)]
struct Whole<'a> {
    id: Option<String>,
    choices: Vec<WholeChoice>,
    #[serde(borrow)]
    usage: Option<WholeUsage<'a>>,
}

#[derive(Deserialize)]
struct WholeChoice {
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct WholeUsage<'a> {
    #[serde(borrow, default)]
    cost: Option<&'a RawValue>,
}

/// Reads a plain answer.
pub(crate) fn whole(body: &[u8], answer: &mut Answer) -> Result<Ended, String> {
    let whole: Whole<'_> = serde_json::from_slice(body).map_err(|error| format!("not a chat completion: {error}"))?;
    answer.id = whole.id.or(answer.id.take());
    if let Some(cost) = whole.usage.and_then(|usage| usage.cost) {
        answer.cost = Some(decimal::parse(cost.get()).map_err(|error| error.to_string())?);
    }
    match whole.choices.into_iter().find_map(|choice| choice.finish_reason) {
        Some(finish_reason) => Ok(Ended::Complete { finish_reason }),
        None => Err("an answer without a finish reason".to_owned()),
    }
}

/// The code in an error body, or its type; `-` when there is neither.
pub(crate) fn code_of(body: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let error = &value["error"];
    [&error["code"], &error["type"]].into_iter().find_map(|name| name.as_str()).unwrap_or("-").to_owned()
}

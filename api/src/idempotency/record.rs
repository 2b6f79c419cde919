//! An answer that is kept as it passes.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body::{Frame, SizeHint};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::MAX_ANSWER;
use super::claim::Claim;
use super::seal::Answer;

/// Events looked at, from the end, for word of a failure: it is told in the last ones.
const LAST_EVENTS: usize = 4;

/// A body that passes through and is stored when it has ended, its last frame held until then. Dropped
/// before, it frees its key.
pub(super) struct Recording {
    body: Body,
    status: StatusCode,
    headers: HeaderMap,
    /// All that passed; `None` once it is too much.
    kept: Option<BytesMut>,
    /// The last piece that passed.
    last: Bytes,
    phase: Phase,
}

enum Phase {
    Flowing(Claim),
    /// Being stored, or freed, with the frame that is let go after it.
    Closing(Pin<Box<dyn Future<Output = ()> + Send>>, Option<Frame<Bytes>>),
    Ended,
}

impl Recording {
    pub(super) fn new(claim: Claim, status: StatusCode, headers: HeaderMap, body: Body) -> Self {
        let kept = Some(BytesMut::new());
        Self { body, status, headers, kept, last: Bytes::new(), phase: Phase::Flowing(claim) }
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        let Some(data) = frame.data_ref() else { return };
        self.last = data.clone();
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(data);
            if kept.len() > MAX_ANSWER {
                self.kept = None;
            }
        }
    }

    fn close(&mut self, claim: Claim, last: Option<Frame<Bytes>>) {
        let is_stream = self
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let seen = self.kept.as_deref().unwrap_or(&self.last);
        let closing: Pin<Box<dyn Future<Output = ()> + Send>> = if is_stream && tells_failure(seen) {
            Box::pin(claim.free())
        } else {
            let (status, headers) = (self.status, std::mem::take(&mut self.headers));
            let answer = self.kept.take().map(|body| Answer { status, headers, body: body.to_vec() });
            Box::pin(claim.store(answer))
        };
        self.phase = Phase::Closing(closing, last);
    }
}

impl http_body::Body for Recording {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        loop {
            match std::mem::replace(&mut this.phase, Phase::Ended) {
                Phase::Flowing(claim) => match Pin::new(&mut this.body).poll_frame(cx) {
                    Poll::Pending => {
                        this.phase = Phase::Flowing(claim);
                        return Poll::Pending;
                    }
                    // A body that breaks takes its claim with it.
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                    Poll::Ready(Some(Ok(frame))) => {
                        this.keep(&frame);
                        if !this.body.is_end_stream() {
                            this.phase = Phase::Flowing(claim);
                            return Poll::Ready(Some(Ok(frame)));
                        }
                        this.close(claim, Some(frame));
                    }
                    Poll::Ready(None) => this.close(claim, None),
                },
                Phase::Closing(mut closing, last) => {
                    if closing.as_mut().poll(cx).is_pending() {
                        this.phase = Phase::Closing(closing, last);
                        return Poll::Pending;
                    }
                    return Poll::Ready(last.map(Ok));
                }
                Phase::Ended => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// What tells of a failure in an event: an `error` object, or a type that says so.
#[derive(Deserialize)]
struct Told<'a> {
    #[serde(default)]
    error: Option<IgnoredAny>,
    #[serde(borrow, default, rename = "type")]
    kind: Option<std::borrow::Cow<'a, str>>,
}

/// Whether a stream, whole or its end, says that it failed: its client sees a status of 200 all the same.
fn tells_failure(stream: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(stream) else { return false };
    let last = text.trim_end().rsplit("\n\n").take(LAST_EVENTS);
    let mut data = last.flat_map(str::lines).filter_map(|line| line.strip_prefix("data:"));
    data.any(|data| {
        serde_json::from_str::<Told<'_>>(data.trim_start())
            .is_ok_and(|told| told.error.is_some() || matches!(told.kind.as_deref(), Some("error" | "response.failed")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_says_it_failed_is_no_success() {
        let chunk = "data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"\\\"error\\\":{}\"}}]}\n\n";
        let failed = "data: {\"id\":\"c\",\"choices\":[],\"error\":{\"message\":\"lost\"}}\n\ndata: [DONE]\n\n";
        assert!(tells_failure(format!("{chunk}{failed}").as_bytes()));
        assert!(tells_failure(b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\"}}\n\n"));
        assert!(tells_failure(
            b"event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{}}\n\ndata: [DONE]\n\n"
        ));
        assert!(!tells_failure(format!("{chunk}data: [DONE]\n\n").as_bytes()));
        let whole = "data: {\"type\":\"response.completed\",\"response\":{\"error\":null}}\n\ndata: [DONE]\n\n";
        assert!(!tells_failure(whole.as_bytes()));
        assert!(!tells_failure(b": keepalive\n\n"));
    }
}

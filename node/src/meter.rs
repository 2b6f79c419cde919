//! What an answer used, read off as it passes: digests of both bodies, the engine's own token counts,
//! and one report at the end, however it ends.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use memchr::memmem::Finder;
use parking_lot::Mutex;
use protocol::Units;
use protocol::receipt::ReportStatus;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::body::{self, Body, BoxError};
use crate::gate::Pass;
use crate::reports::{Draft, Reporter};

/// An event longer than this is passed on, but no usage is looked for in it.
const MAX_EVENT_BYTES: usize = 1 << 20;
/// A plain answer longer than this is passed on, but its usage is not read.
const MAX_JSON_BYTES: usize = 8 << 20;

static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""usage""#));

/// The counts engines give, in OpenAI's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// The whole prompt.
    pub prompt_tokens: u32,
    /// The whole output.
    pub completion_tokens: u32,
    /// What of the prompt was cached.
    pub prompt_tokens_details: Option<PromptDetails>,
    /// What of the output was hidden.
    pub completion_tokens_details: Option<CompletionDetails>,
}

/// Parts of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct PromptDetails {
    /// Read from a cache.
    pub cached_tokens: u32,
}

/// Parts of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct CompletionDetails {
    /// Hidden reasoning.
    pub reasoning_tokens: u32,
}

#[derive(Deserialize)]
struct Carrier {
    #[serde(default)]
    usage: Option<Usage>,
}

impl Usage {
    /// The same counts in disjoint classes.
    #[must_use]
    pub fn units(self) -> Units {
        let cached = self.prompt_tokens_details.unwrap_or_default().cached_tokens.min(self.prompt_tokens);
        let hidden = self.completion_tokens_details.unwrap_or_default().reasoning_tokens.min(self.completion_tokens);
        Units {
            prompt: self.prompt_tokens - cached,
            cached_prompt: cached,
            completion: self.completion_tokens - hidden,
            internal_reasoning: hidden,
            ..Units::default()
        }
    }
}

/// Reads usage out of an answer without holding it up.
#[derive(Debug)]
pub struct Scanner {
    sse: bool,
    carry: BytesMut,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    usage: Option<Usage>,
    events: u32,
    done: bool,
    error: bool,
}

impl Scanner {
    /// For an event stream, or for one JSON document.
    #[must_use]
    pub fn new(sse: bool) -> Self {
        Self {
            sse,
            carry: BytesMut::new(),
            kept: Vec::new(),
            kept_bytes: 0,
            usage: None,
            events: 0,
            done: false,
            error: false,
        }
    }

    /// Takes the next bytes of the answer.
    pub fn feed(&mut self, data: &Bytes) {
        if !self.sse {
            self.kept_bytes += data.len();
            if self.kept_bytes <= MAX_JSON_BYTES { self.kept.push(data.clone()) } else { self.kept.clear() }
        } else if self.carry.is_empty() && data.ends_with(b"\n") {
            self.lines(data);
        } else {
            self.carry.extend_from_slice(data);
            if let Some(last) = memchr::memrchr(b'\n', &self.carry) {
                let whole = self.carry.split_to(last + 1);
                self.lines(&whole);
            }
            if self.carry.len() > MAX_EVENT_BYTES {
                self.carry.clear();
            }
        }
    }

    fn lines(&mut self, mut text: &[u8]) {
        while let Some(end) = memchr::memchr(b'\n', text) {
            let (line, rest) = text.split_at(end + 1);
            text = rest;
            if let Some(data) = line.strip_prefix(b"data:") {
                self.event(data.trim_ascii());
            }
        }
    }

    fn event(&mut self, data: &[u8]) {
        if data == b"[DONE]" {
            self.done = true;
            return;
        }
        self.events = self.events.saturating_add(1);
        self.error |= data.starts_with(br#"{"error""#);
        // Most chunks name no usage, or name it null: only the others are worth a parse.
        let Some(at) = USAGE.find(data) else { return };
        let value = data[at + USAGE.needle().len()..].trim_ascii_start();
        let counts = value.strip_prefix(b":").is_some_and(|value| value.trim_ascii_start().starts_with(b"{"));
        if counts && let Ok(Carrier { usage: Some(usage) }) = serde_json::from_slice(data) {
            self.usage = Some(usage);
        }
    }

    /// True once an event stream has said that it is complete, without an error in it.
    #[must_use]
    pub fn complete(&self) -> bool {
        if self.sse { self.done && !self.error } else { true }
    }

    /// What was used. Without the engine's own word, one token for each content event.
    #[must_use]
    pub fn units(&mut self) -> Units {
        if !self.sse && self.usage.is_none() {
            let whole = std::mem::take(&mut self.kept).concat();
            self.usage = serde_json::from_slice::<Carrier>(&whole).ok().and_then(|carrier| carrier.usage);
        }
        match self.usage {
            Some(usage) => usage.units(),
            // The first event carries the role and no token.
            None => Units { completion: self.events.saturating_sub(1), ..Units::default() },
        }
    }
}

/// The running account of one attempt; dropping it writes the report and lets the request out.
pub(crate) struct Tally {
    pub(crate) draft: Option<Draft>,
    pub(crate) reporter: Reporter,
    pub(crate) request_hash: Arc<Mutex<Sha256>>,
    pub(crate) scanner: Scanner,
    pub(crate) response_hash: Sha256,
    pub(crate) status: ReportStatus,
    pub(crate) pass: Option<Pass>,
}

impl Tally {
    pub(crate) fn new(draft: Option<Draft>, reporter: Reporter, pass: Pass) -> Self {
        Self {
            draft,
            reporter,
            request_hash: Arc::default(),
            scanner: Scanner::new(true),
            response_hash: Sha256::new(),
            // True until somebody knows better: the broker let go.
            status: ReportStatus::Cancelled,
            pass: Some(pass),
        }
    }

    /// Counts what the request's body holds while somebody else reads it.
    pub(crate) fn request(&self, inner: Body) -> Body {
        body::boxed(Hashed { inner, hash: self.request_hash.clone() })
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        // The slot first: the broker may already be waiting for it.
        drop(self.pass.take());
        let Some(mut draft) = self.draft.take() else { return };
        draft.units = self.scanner.units();
        if self.status == ReportStatus::Cancelled && self.scanner.sse && self.scanner.complete() {
            self.status = ReportStatus::Completed;
        }
        draft.status = self.status;
        // Pictures, sounds, embeddings and judgements are answers without a token of output.
        let answered = match self.status {
            ReportStatus::Completed => true,
            ReportStatus::Cancelled => draft.units.completion_total() > 0,
            ReportStatus::Failed => false,
        };
        draft.units.request = answered.into();
        draft.request_sha256 = std::mem::take(&mut *self.request_hash.lock()).finalize().into();
        draft.response_sha256 = std::mem::take(&mut self.response_hash).finalize().into();
        self.reporter.report(draft);
    }
}

/// An answer on its way out.
pub(crate) struct Metered {
    // Declared before the tally: the engine lets go of the request before its slot is given away.
    inner: Option<Body>,
    failed: bool,
    tally: Tally,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Metered {
    pub(crate) fn new(inner: Body, failed: bool, tally: Tally, cut: CancellationToken) -> Self {
        Self { inner: Some(inner), failed, tally, cut: Box::pin(cut.cancelled_owned()) }
    }

    fn end(&mut self, broken: bool) {
        self.inner = None;
        let sound = !broken && !self.failed && self.tally.scanner.complete();
        self.tally.status = if sound { ReportStatus::Completed } else { ReportStatus::Failed };
    }
}

impl http_body::Body for Metered {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        if this.cut.as_mut().poll(cx).is_ready() {
            // Reported as what it is: let go of before its end.
            this.inner = None;
            return Poll::Ready(Some(Err("the node's drain deadline has passed".into())));
        }
        match ready!(Pin::new(inner).poll_frame(cx)) {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.tally.response_hash.update(data);
                    this.tally.scanner.feed(data);
                }
                if this.inner.as_ref().is_some_and(http_body::Body::is_end_stream) {
                    this.end(false);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                this.end(true);
                Poll::Ready(Some(Err(error)))
            }
            None => {
                this.end(false);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

/// A request body whose bytes are digested as they pass.
struct Hashed {
    inner: Body,
    hash: Arc<Mutex<Sha256>>,
}

impl http_body::Body for Hashed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.hash.lock().update(data);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = concat!(
        "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":null}}],\"usage\":null}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":{\"}}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":5,",
        "\"prompt_tokens_details\":{\"cached_tokens\":4},\"completion_tokens_details\":{\"reasoning_tokens\":2}}}\n\n",
        "data: [DONE]\n\n",
    );

    #[test]
    fn usage_is_found_wherever_the_stream_is_cut() {
        let expected = Units { prompt: 5, cached_prompt: 4, completion: 3, internal_reasoning: 2, ..Units::default() };
        for cut in 0..STREAM.len() {
            let mut scanner = Scanner::new(true);
            scanner.feed(&Bytes::from_static(&STREAM.as_bytes()[..cut]));
            scanner.feed(&Bytes::from_static(&STREAM.as_bytes()[cut..]));
            assert_eq!((scanner.units(), scanner.complete()), (expected, true), "cut at {cut}");
        }
    }

    #[test]
    fn a_plain_answer_tells_its_usage() {
        let mut scanner = Scanner::new(false);
        scanner.feed(&Bytes::from_static(b"{\"choices\":[],\"usa"));
        scanner.feed(&Bytes::from_static(b"ge\":{\"prompt_tokens\":3,\"completion_tokens\":2}}"));
        assert_eq!(scanner.units(), Units { prompt: 3, completion: 2, ..Units::default() });
    }

    #[test]
    fn a_cut_stream_counts_its_content_events_and_is_not_complete() {
        let mut scanner = Scanner::new(true);
        scanner.feed(&Bytes::from_static(b"data: {}\n\ndata: {}\n\ndata: {}\n\nda"));
        assert!(!scanner.complete());
        assert_eq!(scanner.units().completion, 2);
    }

    #[test]
    fn an_error_in_band_is_no_success() {
        let mut scanner = Scanner::new(true);
        scanner.feed(&Bytes::from_static(b"data: {\"error\":{\"message\":\"x\"}}\n\ndata: [DONE]\n\n"));
        assert!(!scanner.complete());
    }
}

//! A streamed answer: prepared chunks on an absolute schedule, so a late poll catches up instead of
//! stretching the whole stream, and thousands of streams cost one timer each.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep};

use super::Active;
use super::answer::Plan;
use super::faults::Fault;
use crate::body::BoxError;

const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

pub(super) struct Stream {
    plan: Plan,
    words: Vec<Bytes>,
    start: Instant,
    sent: u32,
    /// What is left to say after the last token; `None` before it.
    rest: Option<VecDeque<Bytes>>,
    opened: bool,
    fault: Option<Fault>,
    sleep: Pin<Box<Sleep>>,
    active: Active,
}

impl Stream {
    pub(super) fn new(plan: Plan, start: Instant, fault: Option<Fault>, active: Active) -> Self {
        let words = match fault {
            Some(Fault::Lump { tokens }) => plan.lumps(tokens),
            _ => plan.content(),
        };
        let sleep = Box::pin(tokio::time::sleep_until(start + plan.ttft));
        Self { plan, words, start, sent: 0, rest: None, opened: false, fault, sleep, active }
    }

    /// What the fault does now that `sent` chunks are out, if anything.
    fn fail(&mut self) -> Option<Poll<Result<(), BoxError>>> {
        let (chunks, fault) = match self.fault? {
            fault @ (Fault::CloseAfter { chunks }
            | Fault::ErrorAfter { chunks }
            | Fault::GarbageAfter { chunks }
            | Fault::StallAfter { chunks }) => (chunks, fault),
            fault @ Fault::Die { after_chunks } => (after_chunks, fault),
            Fault::HangAfterHeaders => return Some(Poll::Pending),
            Fault::Refuse { .. }
            | Fault::TooLong
            | Fault::HangBeforeHeaders
            | Fault::IgnoreLimit
            | Fault::Lump { .. } => return None,
        };
        // An answer shorter than the mark fails at its end instead.
        if self.sent < chunks.min(self.plan.tokens) {
            return None;
        }
        let closed = || io::Error::new(io::ErrorKind::ConnectionReset, "the engine closed the stream").into();
        match fault {
            Fault::StallAfter { .. } => return Some(Poll::Pending),
            Fault::CloseAfter { .. } => return Some(Poll::Ready(Err(closed()))),
            Fault::Die { .. } => {
                self.active.die();
                return Some(Poll::Ready(Err(closed())));
            }
            Fault::ErrorAfter { .. } => self.rest = Some(VecDeque::from([ERROR])),
            _ => self.rest = Some(VecDeque::from([GARBAGE])),
        }
        self.fault = None;
        Some(Poll::Ready(Ok(())))
    }
}

const ERROR: Bytes = Bytes::from_static(
    b"data: {\"error\":{\"code\":500,\"message\":\"failed on purpose\",\"type\":\"server_error\"}}\n\n",
);
const GARBAGE: Bytes = Bytes::from_static(b"\x00\xffnot an event at all {{{\n\ndata: {\"choices\": [{\n\n");

impl Body for Stream {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        loop {
            if let Some(rest) = &mut this.rest {
                return Poll::Ready(rest.pop_front().map(|bytes| Ok(Frame::data(bytes))));
            }
            match this.fail() {
                // Nothing will wake this stream again; only its reader can end it.
                Some(Poll::Pending) => return Poll::Pending,
                Some(Poll::Ready(Err(error))) => return Poll::Ready(Some(Err(error))),
                Some(Poll::Ready(Ok(()))) => continue,
                None => {}
            }
            // A deadline at the start itself is no wait, and the timer would make a millisecond of it.
            if this.sleep.deadline() > this.start {
                ready!(this.sleep.as_mut().poll(cx));
            }
            if !this.opened {
                this.opened = true;
                return Poll::Ready(Some(Ok(Frame::data(this.plan.opening()))));
            }
            if this.sent >= this.plan.tokens {
                this.rest = Some(VecDeque::from([this.plan.closing(), DONE]));
                continue;
            }
            let word = this.words[this.sent as usize % this.words.len()].clone();
            this.sent += 1;
            if !this.plan.tpot.is_zero() && this.sent < this.plan.tokens {
                let next = this.start + this.plan.ttft + this.plan.tpot * this.sent;
                this.sleep.as_mut().reset(next);
            }
            return Poll::Ready(Some(Ok(Frame::data(word))));
        }
    }
}

//! Streams an answer to its client: counted as it passes, settled however it ends.
//!
//! A body, not a task: it does work only when the client can take it, and dropping it, as happens when the
//! client goes away, drops the attempt behind it and settles what was delivered.

mod live;
mod plain;
mod watch;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep};

pub use live::{Live, Progress, Sink};
pub use plain::assemble;
pub use watch::Watched;

use crate::dialect::{self, Head, InBandError};
use crate::error::ApiError;
use crate::generation::{Failure, Generation};
use billing::Ack;

/// What dispatching ends in: the generation, and an attempt that has begun to answer.
pub type Dispatched = (Box<Generation>, Result<Live, ApiError>);

/// A dispatch still under way.
pub type Dispatching = Pin<Box<dyn Future<Output = Dispatched> + Send>>;

/// The body of a streamed answer.
pub struct Relay {
    phase: Phase,
    head: Arc<Head>,
    include_usage: bool,
    keepalive: Duration,
    silent_since: Instant,
    timer: Pin<Box<Sleep>>,
}

enum Phase {
    /// Headers are out and no token has come yet: failover is still silent.
    Dispatching(Dispatching),
    Relaying(Box<Generation>, Box<Live>),
    /// All was relayed; the last bytes wait for the books.
    Settling(Ack, Bytes),
    Ended,
}

impl Relay {
    /// Relays an attempt that has begun to answer.
    #[must_use]
    pub fn live(generation: Box<Generation>, live: Live, keepalive: Duration) -> Self {
        let (head, include_usage) = (Arc::clone(generation.head()), generation.include_usage());
        Self::new(Phase::Relaying(generation, Box::new(live)), head, include_usage, keepalive)
    }

    /// Keeps the client company while the dispatch goes on.
    #[must_use]
    pub fn waiting(dispatching: Dispatching, head: Arc<Head>, include_usage: bool, keepalive: Duration) -> Self {
        Self::new(Phase::Dispatching(dispatching), head, include_usage, keepalive)
    }

    fn new(phase: Phase, head: Arc<Head>, include_usage: bool, keepalive: Duration) -> Self {
        let now = Instant::now();
        let timer = Box::pin(tokio::time::sleep_until(now + keepalive));
        Self { phase, head, include_usage, keepalive, silent_since: now, timer }
    }

    /// One step; `Continue` means the phase changed and there is more to do.
    fn step(&mut self, cx: &mut Context<'_>) -> Step {
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Dispatching(mut dispatching) => match dispatching.as_mut().poll(cx) {
                Poll::Pending => {
                    self.phase = Phase::Dispatching(dispatching);
                    self.wait(cx)
                }
                Poll::Ready((generation, Ok(live))) => {
                    self.phase = Phase::Relaying(generation, Box::new(live));
                    Step::Continue
                }
                Poll::Ready((generation, Err(error))) => {
                    let failure = Failure { code: error.code().unwrap_or("provider_error"), status: error.status() };
                    generation.fail(failure.code, None);
                    self.tell(&failure, error.message())
                }
            },
            Phase::Relaying(generation, live) => self.relay(cx, generation, live),
            Phase::Settling(mut ack, last) => match Pin::new(&mut ack).poll(cx) {
                Poll::Pending => {
                    self.phase = Phase::Settling(ack, last);
                    self.wait(cx)
                }
                Poll::Ready(_) => Step::Out(last),
            },
            Phase::Ended => Step::End,
        }
    }

    fn relay(&mut self, cx: &mut Context<'_>, mut generation: Box<Generation>, mut live: Box<Live>) -> Step {
        match live.poll_progress(cx, &mut generation) {
            Poll::Ready(Progress::Begun) => {
                self.phase = Phase::Relaying(generation, live);
                Step::Continue
            }
            Poll::Ready(Progress::Released(bytes)) => {
                self.phase = Phase::Relaying(generation, live);
                Step::Out(bytes)
            }
            Poll::Ready(Progress::Finished(rest, end)) => {
                let mut last = BytesMut::from(rest);
                let usage = live.usage();
                drop(live);
                let settled = generation.complete(usage, end.ended);
                if let (true, Some(settled)) = (self.include_usage, &settled) {
                    dialect::usage_chunk(&self.head, &settled.usage, &mut last);
                }
                dialect::done(&mut last);
                match settled {
                    Some(settled) => self.phase = Phase::Settling(settled.ack, last.freeze()),
                    None => return Step::Out(last.freeze()),
                }
                Step::Continue
            }
            Poll::Ready(Progress::Broken(end)) => {
                drop(live);
                let failure = Failure::of(&end.action);
                generation.fail(failure.code, end.ended);
                self.tell(&failure, "the provider's answer broke off; it is not charged")
            }
            Poll::Pending => {
                let step = self.wait(cx);
                self.phase = Phase::Relaying(generation, live);
                step
            }
        }
    }

    /// Ends in band: a bare close would look like a complete answer.
    fn tell(&mut self, failure: &Failure, message: &str) -> Step {
        let mut out = BytesMut::new();
        let error = InBandError { message, code: failure.code, http_status: failure.status.as_u16() };
        dialect::error_chunk(&self.head, 0, error, &mut out);
        Step::Out(out.freeze())
    }

    /// Nothing came: a comment keeps client and middleboxes patient once it has been silent long enough.
    fn wait(&mut self, cx: &mut Context<'_>) -> Step {
        while self.timer.as_mut().poll(cx).is_ready() {
            let due = self.silent_since + self.keepalive;
            let now = Instant::now();
            if due <= now {
                self.silent_since = now;
                self.timer.as_mut().reset(now + self.keepalive);
                return Step::Out(Bytes::from_static(dialect::KEEPALIVE));
            }
            self.timer.as_mut().reset(due);
        }
        Step::Wait
    }
}

enum Step {
    Out(Bytes),
    Continue,
    Wait,
    End,
}

impl Body for Relay {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            match self.step(cx) {
                Step::Continue => {}
                Step::Wait => return Poll::Pending,
                Step::End => return Poll::Ready(None),
                Step::Out(bytes) => {
                    self.silent_since = Instant::now();
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }
}

//! Streams an answer to its client: counted as it passes, settled however it ends.
//!
//! A body, not a task: it does work only when the client can take it, and dropping it, as happens when the
//! client goes away, drops the attempt behind it and settles what was delivered.

mod live;
mod plain;
mod sink;
mod watch;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep};

pub use live::{Live, Progress};
pub use plain::assemble;
pub use sink::Sink;
pub use watch::Watched;

use crate::dialect::Voice;
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
    keepalive: Keepalive,
    silent_since: Instant,
    timer: Pin<Box<Sleep>>,
}

/// What is sent while an answer is silent, and after how long.
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    /// The frame.
    pub frame: &'static [u8],
    /// The silence.
    pub after: Duration,
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
    pub fn live(generation: Box<Generation>, live: Live, keepalive: Keepalive) -> Self {
        Self::new(Phase::Relaying(generation, Box::new(live)), keepalive)
    }

    /// Keeps the client company while the dispatch goes on.
    #[must_use]
    pub fn waiting(dispatching: Dispatching, keepalive: Keepalive) -> Self {
        Self::new(Phase::Dispatching(dispatching), keepalive)
    }

    fn new(phase: Phase, keepalive: Keepalive) -> Self {
        let now = Instant::now();
        let timer = Box::pin(tokio::time::sleep_until(now + keepalive.after));
        Self { phase, keepalive, silent_since: now, timer }
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
                    let record = generation.routing_text();
                    self.phase = Phase::Relaying(generation, Box::new(live));
                    record.map_or(Step::Continue, |record| Step::Out(comment(&record)))
                }
                Poll::Ready((generation, Err(error))) => {
                    let failure = Failure { code: error.code().unwrap_or("provider_error"), status: error.status() };
                    let mut voice = generation.voice();
                    generation.fail(failure.code, None);
                    tell(voice.as_mut(), failure, error.message())
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
                let mut voice = live.into_voice(&generation);
                let settled = generation.complete(usage, end.ended);
                voice.end(&settled.as_ref().map(|settled| settled.usage).unwrap_or_default(), &mut last);
                match settled {
                    Some(settled) => self.phase = Phase::Settling(settled.ack, last.freeze()),
                    None => return Step::Out(last.freeze()),
                }
                Step::Continue
            }
            Poll::Ready(Progress::Broken(end)) => {
                let failure = Failure::of(&end.action);
                let mut voice = live.into_voice(&generation);
                generation.fail(failure.code, end.ended);
                tell(voice.as_mut(), failure, "the provider's answer broke off; it is not charged")
            }
            Poll::Pending => {
                let step = self.wait(cx);
                self.phase = Phase::Relaying(generation, live);
                step
            }
        }
    }

    /// Nothing came: a comment keeps client and middleboxes patient once it has been silent long enough.
    fn wait(&mut self, cx: &mut Context<'_>) -> Step {
        while self.timer.as_mut().poll(cx).is_ready() {
            let due = self.silent_since + self.keepalive.after;
            let now = Instant::now();
            if due <= now {
                self.silent_since = now;
                self.timer.as_mut().reset(now + self.keepalive.after);
                return Step::Out(Bytes::from_static(self.keepalive.frame));
            }
            self.timer.as_mut().reset(due);
        }
        Step::Wait
    }
}

/// The routing record, for whom the head came too early to carry it: a comment, which clients of streams pass over.
fn comment(record: &str) -> Bytes {
    format!(": x-steelyard-metadata {record}\n\n").into()
}

/// Ends in band: a bare close would look like a complete answer.
fn tell(voice: &mut dyn Voice, failure: Failure, message: &str) -> Step {
    let mut out = BytesMut::new();
    voice.fail(failure.in_band(message), &mut out);
    Step::Out(out.freeze())
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

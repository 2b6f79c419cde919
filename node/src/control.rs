//! The standing control stream: the replica's frames come in as lines of the request body, the
//! node's go out as lines of the response body. No task of its own: reading happens while writing.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::task::AtomicWaker;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use protocol::load::{Load, MAX_LINE, NodeFrame, ReplicaFrame};
use tokio::time::{Instant, Sleep};

use crate::body::{Body, BoxError};
use crate::credit::ReplicaName;
use crate::engine::Engine;
use crate::gate::Gate;

/// Reports of one node are this far apart at least: fresh enough to place by, few enough to ignore.
const COALESCE: Duration = Duration::from_millis(50);
/// An unchanged report is repeated this often; after 15 s without one a node counts as saturated.
const REPEAT: Duration = Duration::from_secs(5);
/// How often losses are looked for.
const TICK: Duration = Duration::from_secs(1);

pub(crate) struct Control {
    gate: Gate,
    engine: Arc<dyn Engine>,
    replica: ReplicaName,
    waker: Arc<AtomicWaker>,
    incoming: Body,
    line: BytesMut,
    greeted: bool,
    ended: bool,
    sent_limit: Option<(u64, u64)>,
    sent_load: Option<(Load, Instant)>,
    ticked: Instant,
    timer: Pin<Box<Sleep>>,
}

/// Answers a control request: the response lives as long as the replica keeps it open.
pub(crate) fn answer(
    gate: &Gate,
    engine: &Arc<dyn Engine>,
    replica: ReplicaName,
    request: Request<Body>,
) -> Response<Body> {
    let control = Control {
        waker: gate.open_control(&replica),
        gate: gate.clone(),
        engine: engine.clone(),
        replica,
        incoming: request.into_body(),
        line: BytesMut::new(),
        greeted: false,
        ended: false,
        sent_limit: None,
        sent_load: None,
        ticked: Instant::now(),
        timer: Box::pin(tokio::time::sleep(TICK)),
    };
    let mut response = Response::new(control.boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response
}

impl Control {
    /// Reads everything that has come. An error is a peer that does not speak this protocol.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), BoxError> {
        while !self.ended {
            match http_body::Body::poll_frame(Pin::new(&mut self.incoming), cx) {
                Poll::Pending => break,
                Poll::Ready(None) => self.ended = true,
                Poll::Ready(Some(Err(error))) => return Err(error),
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.line.extend_from_slice(&data);
                    }
                    self.lines()?;
                }
            }
        }
        Ok(())
    }

    fn lines(&mut self) -> Result<(), BoxError> {
        while let Some(end) = memchr::memchr(b'\n', &self.line) {
            let line = self.line.split_to(end + 1);
            if line.len() > MAX_LINE {
                return Err("a control line is longer than 4 KiB".into());
            }
            let text = line.trim_ascii();
            if !text.is_empty() {
                // A frame of a kind this build does not know is no reason to hang up.
                match serde_json::from_slice::<ReplicaFrame>(text) {
                    Ok(frame) => self.on(frame),
                    Err(error) => tracing::debug!(%error, "a control frame was not understood"),
                }
            }
        }
        if self.line.len() > MAX_LINE { Err("a control line is longer than 4 KiB".into()) } else { Ok(()) }
    }

    fn on(&mut self, frame: ReplicaFrame) {
        let replica = self.replica.clone();
        match frame {
            ReplicaFrame::Hello { running } => {
                self.greeted = true;
                self.sent_limit = None;
                self.sent_load = None;
                self.gate.credits(|credits, now| credits.hello(&replica, running, now));
            }
            ReplicaFrame::Yield { limit } if self.greeted => {
                self.gate.credits(|credits, _| credits.yielded(&replica, limit));
            }
            ReplicaFrame::Want { weight } if self.greeted => {
                self.gate.credits(|credits, now| credits.wanted(&replica, weight, now));
            }
            ReplicaFrame::Yield { .. } | ReplicaFrame::Want { .. } => {}
        }
    }

    /// Everything there is to say now, and when to look again.
    fn news(&mut self, now: Instant) -> (BytesMut, Instant) {
        let mut text = BytesMut::new();
        let mut next = self.ticked + TICK;
        let Some((outgoing, load)) = self.gate.outgoing(&self.replica, self.engine.load()) else {
            return (text, next);
        };
        let due = self.sent_load.map(|(_, at)| at + COALESCE);
        let coalesced = due.is_none_or(|due| now >= due);
        let limit = (outgoing.epoch, outgoing.limit);
        if self.sent_limit != Some(limit) {
            // A replica that could dispatch right now must not wait for the sake of fewer frames.
            if coalesced || outgoing.available <= 1 + self.gate.slots() / 4 {
                self.sent_limit = Some(limit);
                push(&mut text, &NodeFrame::Limit { limit: outgoing.limit });
            } else if let Some(due) = due {
                next = next.min(due);
            }
        }
        if outgoing.recall > 0 {
            push(&mut text, &NodeFrame::Recall { count: outgoing.recall });
        }
        let stale = self.sent_load.is_none_or(|(sent, at)| sent != load || now >= at + REPEAT);
        if stale && coalesced {
            self.sent_load = Some((load, now));
            push(&mut text, &NodeFrame::Load(load));
        } else if stale && let Some(due) = due {
            next = next.min(due);
        }
        (text, next)
    }
}

fn push(text: &mut BytesMut, frame: &NodeFrame) {
    let line = serde_json::to_vec(frame).expect("a frame is plain numbers, which always serialise");
    text.extend_from_slice(&line);
    text.extend_from_slice(b"\n");
}

impl http_body::Body for Control {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        this.waker.register(cx.waker());
        if !this.gate.speaks(&this.replica, &this.waker) {
            return Poll::Ready(None);
        }
        if let Err(error) = this.read(cx) {
            return Poll::Ready(Some(Err(error)));
        }
        if this.ended {
            return Poll::Ready(None);
        }
        loop {
            let now = Instant::now();
            if now >= this.ticked + TICK {
                this.ticked = now;
                this.gate.credits(|credits, now| credits.tick(now));
            }
            let (text, next) = this.news(now);
            if !text.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(text.freeze()))));
            }
            this.timer.as_mut().reset(next);
            if this.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

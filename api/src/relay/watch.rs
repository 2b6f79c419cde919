//! Ends a stream of an HTTP/2 connection whose client has stopped taking it.
//!
//! There a stalled stream does not stall its connection, and a body nobody polls notices no deadline:
//! something beside it has to look.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::Relay;

/// A [`Relay`] that is dropped once a piece of it was handed over and no other asked for in time.
pub struct Watched {
    slot: Arc<Mutex<Slot>>,
    _watch: AbortOnDropHandle<()>,
}

struct Slot {
    /// `None` once it was given up on.
    relay: Option<Relay>,
    /// When a piece was handed over, until the next one is asked for.
    given: Option<Instant>,
}

impl Watched {
    /// Watches `relay` on a task that lives as long as the body.
    #[must_use]
    pub fn new(relay: Relay, after: Duration) -> Self {
        let slot = Arc::new(Mutex::new(Slot { relay: Some(relay), given: None }));
        let _watch = AbortOnDropHandle::new(tokio::spawn(watch(Arc::clone(&slot), after)));
        Self { slot, _watch }
    }
}

async fn watch(slot: Arc<Mutex<Slot>>, after: Duration) {
    let mut look = Instant::now() + after;
    loop {
        tokio::time::sleep_until(look).await;
        let stalled = {
            let mut slot = slot.lock();
            let due = slot.given.map_or(Instant::now(), |given| given) + after;
            look = due;
            if due <= Instant::now() { slot.relay.take() } else { None }
        };
        // Dropped outside the lock: it settles what was delivered.
        if stalled.is_some() {
            return;
        }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let mut slot = self.slot.lock();
        slot.given = None;
        let Some(relay) = &mut slot.relay else {
            return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, "the client stopped reading"))));
        };
        let polled = Pin::new(relay).poll_frame(cx);
        if let Poll::Ready(Some(Ok(_))) = &polled {
            slot.given = Some(Instant::now());
        }
        polled.map_err(|never| match never {})
    }

    fn is_end_stream(&self) -> bool {
        self.slot.lock().relay.as_ref().is_some_and(Body::is_end_stream)
    }
}

//! One tunnel: an upgraded connection that a node dialled, spoken over as an HTTP/2 client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::client::conn::http2;
use hyper::rt::{Read, Write};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use protocol::NodeId;
use tokio_util::sync::CancellationToken;

use super::cut::Cut;
use super::{NodeRequest, NodeResponse, SendError};

/// How far one unread stream may fill: some seconds of any model's output, little enough that a
/// thousand readers that stopped still fit the connection's window.
const STREAM_WINDOW: u32 = 128 * 1024;
/// The HTTP/2 library closes a connection whose unread small frames exceed a budget of half this window: each
/// counts as what it lacks to 256 bytes. A full stream window of 84-byte tokens costs a quarter of a megabyte, so
/// at 256 MiB every stream of a tunnel may stall at once. It is no memory by itself: the stream windows bound that.
const CONNECTION_WINDOW: u32 = 256 * 1024 * 1024;
/// The library also closes a connection for good after so many frames that came for streams it had forgotten.
/// That is what is still on its way when callers leave during a stall, so a tunnel meets it over the days; a peer
/// that does it on purpose costs us one small frame each time until then.
const LATE_FRAMES: usize = 100_000;
/// Cancelled streams that are remembered for a second, so that what is on its way for them is no error yet.
const REMEMBERED_RESETS: usize = 1_024;
/// A peer that vanished is noticed after one interval and one timeout.
const PING_EVERY: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Streams one tunnel carries. Beyond it another tunnel serves, so one GOAWAY never takes a node down.
pub const MAX_STREAMS: u32 = 500;

/// A live tunnel. Dead for good after its first error, whatever the library says of its readiness.
pub struct Tunnel {
    node: NodeId,
    sender: http2::SendRequest<BoxBody<Bytes, std::convert::Infallible>>,
    open: AtomicU32,
    dead: AtomicBool,
}

/// One stream's place in a tunnel, given back on drop.
pub struct Place(Arc<Tunnel>);

impl Tunnel {
    /// Turns the roles round on a connection the node dialled: from here on the node serves, until `cut`.
    ///
    /// Returns the tunnel and the future that drives it; the tunnel is dead once that future ends.
    ///
    /// # Errors
    /// When the HTTP/2 preface can't be exchanged.
    pub async fn open<T: Read + Write + Unpin + Send + 'static>(
        node: NodeId,
        io: T,
        cut: CancellationToken,
    ) -> Result<(Arc<Self>, impl Future<Output = ()> + Send + use<T>), hyper::Error> {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .max_concurrent_reset_streams(REMEMBERED_RESETS)
            .max_local_error_reset_streams(LATE_FRAMES)
            .handshake(Cut::new(io, cut))
            .await?;
        let tunnel = Arc::new(Self { node, sender, open: AtomicU32::new(0), dead: AtomicBool::new(false) });
        let driven = Arc::clone(&tunnel);
        let drive = async move {
            if let Err(error) = connection.await {
                tracing::debug!(node.id = %driven.node, %error, "a tunnel broke");
            }
            driven.dead.store(true, Ordering::Release);
        };
        Ok((tunnel, drive))
    }

    /// Whether requests may still be sent.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !self.dead.load(Ordering::Acquire) && !self.sender.is_closed()
    }

    /// Streams open now.
    #[must_use]
    pub fn streams(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// Takes a place for one stream, or `None` when the tunnel is full or dead.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> Option<Place> {
        if !self.is_live() {
            return None;
        }
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(self));
        (before < MAX_STREAMS).then_some(place)
    }
}

impl Place {
    /// Sends a request; `connect` bounds the wait for a free stream, not for the answer.
    ///
    /// # Errors
    /// [`SendError`]; the tunnel counts as dead from then on unless the time ran out.
    pub async fn send(&self, request: NodeRequest, connect: Duration) -> Result<NodeResponse, SendError> {
        let mut sender = self.0.sender.clone();
        match tokio::time::timeout(connect, sender.ready()).await {
            Err(_) => return Err(SendError::ConnectTimeout(connect)),
            Ok(Err(error)) => return Err(self.broke(error)),
            Ok(Ok(())) => {}
        }
        sender.send_request(request).await.map_err(|error| self.broke(error))
    }

    fn broke(&self, error: hyper::Error) -> SendError {
        // A reset of this one stream says nothing about the others; anything else does.
        let stream_only = std::error::Error::source(&error)
            .and_then(|cause| cause.downcast_ref::<h2::Error>())
            .is_some_and(h2::Error::is_reset);
        if !stream_only {
            self.0.dead.store(true, Ordering::Release);
        }
        SendError::Broken(Box::new(error))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

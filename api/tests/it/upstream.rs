//! One tunnel by itself: a node's HTTP/2 server at the far end of a pipe that can be stopped.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use api::upstream::{NodeRequest, NodeResponse, SendError, Tunnel};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use protocol::{Id, NodeId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::live::{PATIENCE, until};

const CONNECT: Duration = Duration::from_millis(500);
/// A token as an engine sends it: a little over a hundred bytes of JSON.
const CHUNK: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\"finish_reason\":null}],\"object\":\"x\"}\n\n";
/// Chunks of an answer that no window can hold.
const ENDLESS: u32 = 100_000;

/// A tunnel, and what makes it go.
struct Line {
    tunnel: Arc<Tunnel>,
    /// True while what the node sends is held up on its way.
    stalled: watch::Sender<bool>,
    served: Arc<AtomicU32>,
    /// Cancelled, the tunnel's own future is kept and never polled again.
    frozen: CancellationToken,
    /// What lies beyond the near end.
    far: Vec<AbortOnDropHandle<()>>,
    _drive: AbortOnDropHandle<()>,
}

/// So many chunks, as fast as they are taken.
struct Chunks(u32);

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.checked_sub(1).map(|rest| {
            self.0 = rest;
            Ok(Frame::data(Bytes::from_static(CHUNK.as_bytes())))
        }))
    }
}

impl Line {
    /// A node that answers `/n` with `n` chunks.
    async fn open() -> Self {
        let (near, wire) = tokio::io::duplex(256 << 10);
        let (far, node) = tokio::io::duplex(256 << 10);
        let stalled = watch::Sender::new(false);
        let ((from_broker, to_broker), (from_node, to_node)) = (tokio::io::split(wire), tokio::io::split(far));
        let served = Arc::new(AtomicU32::new(0));
        let far = vec![
            spawn(carry(from_broker, to_node, watch::Sender::new(false).subscribe())),
            spawn(carry(from_node, to_broker, stalled.subscribe())),
            spawn(serve(node, Arc::clone(&served))),
        ];
        let node = NodeId::from_uuid(uuid::Uuid::nil());
        let (tunnel, drive) = Tunnel::open(node, TokioIo::new(near), CancellationToken::new()).await.unwrap();
        let frozen = CancellationToken::new();
        let _drive = spawn(until_frozen(drive, frozen.clone()));
        Self { tunnel, stalled, served, frozen, far, _drive }
    }

    async fn ask(&self, chunks: u32) -> Result<NodeResponse, SendError> {
        self.tunnel.enter().expect("a tunnel with places").send(request(chunks), CONNECT).await
    }

    /// An answer read to its end: how many bytes it had.
    async fn read(&self, chunks: u32) -> usize {
        self.ask(chunks).await.unwrap().into_body().collect().await.unwrap().to_bytes().len()
    }
}

fn request(chunks: u32) -> NodeRequest {
    Request::post(format!("http://node/{chunks}")).body(BoxBody::new(Empty::new())).unwrap()
}

fn spawn(part: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(part))
}

async fn until_frozen(drive: impl Future<Output = ()>, frozen: CancellationToken) {
    tokio::pin!(drive);
    tokio::select! {
        () = &mut drive => {}
        () = frozen.cancelled() => std::future::pending().await,
    }
}

async fn carry(mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>, mut stalled: watch::Receiver<bool>) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(read) = from.read(&mut piece).await {
        if stalled.wait_for(|stalled| !stalled).await.is_err()
            || read == 0
            || to.write_all(&piece[..read]).await.is_err()
        {
            return;
        }
    }
}

/// A node as it is: with the settings of its own that matter here.
async fn serve(io: DuplexStream, served: Arc<AtomicU32>) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        served.fetch_add(1, Ordering::Relaxed);
        let chunks = request.uri().path()[1..].parse().unwrap();
        async move { Ok::<_, Infallible>(Response::new(Chunks(chunks))) }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).max_concurrent_streams(512).max_pending_accept_reset_streams(100_000);
    let _ = builder.serve_connection(TokioIo::new(io), service).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_stalled_readers_do_not_disturb_the_others() {
    let line = Line::open().await;
    // Nobody reads them, and each window fills with small pieces.
    let stalled = join_all((0..300).map(|_| line.ask(ENDLESS))).await;
    assert!(stalled.iter().all(Result::is_ok));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let others = join_all((0..50).map(|_| line.read(500)));
    let lengths = tokio::time::timeout(PATIENCE, others).await.expect("nobody waits for those who do not read");
    assert!(lengths.iter().all(|length| *length == 500 * CHUNK.len()));
    assert!(line.tunnel.is_live());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_come_late_for_two_thousand_cancelled_streams_are_forgiven() {
    let line = Line::open().await;
    for _ in 0..5 {
        let before = line.served.load(Ordering::Relaxed);
        let asked: Vec<_> = (0..400).map(|_| line.tunnel.enter().unwrap()).collect();
        line.stalled.send_replace(true);
        let calls = join_all(asked.iter().map(|place| place.send(request(2), CONNECT)));
        let answered = until("the node answers all of them", PATIENCE, async || {
            line.served.load(Ordering::Relaxed) == before + 400
        });
        tokio::select! {
            _ = calls => panic!("nothing comes back during a stall"),
            () = answered => {}
        }
        drop(asked);
        // Longer than a cancelled stream is remembered: what is in the pipe belongs to nobody by then.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        line.stalled.send_replace(false);
        assert_eq!(line.read(10).await, 10 * CHUNK.len());
    }
    assert!(line.tunnel.is_live());
}

#[tokio::test]
async fn a_tunnel_is_dead_after_its_first_error_whatever_the_library_says() {
    let mut line = Line::open().await;
    assert_eq!(line.read(3).await, 3 * CHUNK.len());
    line.stalled.send_replace(true);
    let place = line.tunnel.enter().unwrap();
    let sending = place.send(request(3), CONNECT);
    tokio::pin!(sending);
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut sending).await.is_err(), "the answer is held up");
    // The library's handle learns nothing of what happens now: it would take more.
    line.frozen.cancel();
    tokio::time::sleep(Duration::from_millis(50)).await;
    line.far.clear();
    let error = sending.await.unwrap_err();
    assert!(matches!(error, SendError::Broken(_)) && !error.is_unsent(), "{error:?}");
    assert!(!line.tunnel.is_live());
    assert!(line.tunnel.enter().is_none(), "nothing more is sent on it");
}

#[tokio::test]
async fn a_tunnel_that_is_full_says_so_and_sends_nothing() {
    let line = Line::open().await;
    let places: Vec<_> = std::iter::from_fn(|| line.tunnel.enter()).collect();
    assert_eq!(places.len(), 500);
    assert!(line.tunnel.is_live() && line.tunnel.enter().is_none());
    drop(places);
    assert_eq!(line.read(1).await, CHUNK.len());
}

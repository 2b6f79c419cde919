//! Accepts connections: bounded, without Nagle's delay, and drained at the end rather than cut.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::addresses::Peer;
use crate::config::Server;
use crate::lanes::Lanes;
use crate::stall::Stall;

/// How long answers may take to say that they are cut off, and to be settled.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves `router` on `listener` until `stop`, then lets what is in flight finish. At the drain deadline
/// it cancels `cut`, which ends the answers that are left, in words, before anybody closes the books.
///
/// Returns once every connection has ended, or could not be ended in time.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    config: &Server,
    lanes: &Lanes,
    stop: CancellationToken,
    cut: &CancellationToken,
) {
    let open = TaskTracker::new();
    let places = Arc::new(Semaphore::new(config.max_connections));
    let builder = Arc::new(builder(config));
    let config = Arc::new(config.clone());
    loop {
        let place = tokio::select! {
            () = stop.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place.expect("the semaphore is never closed"),
        };
        let (stream, from) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    rest_after(&error).await;
                    continue;
                }
            },
        };
        // Taken off the event queue it was accepted on: its lane has one of its own.
        let Ok(stream) = stream.into_std() else { continue };
        let peer = Peer(from.ip());
        let service = router.clone().map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            request
        });
        let (builder, service) = (builder.clone(), TowerToHyperService::new(service));
        let (config, stop) = (Arc::clone(&config), stop.clone());
        let connection = async move {
            let Some(io) = prepare(stream, &config) else { return };
            let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(io), service));
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a client connection ended early");
            }
            drop(place);
        };
        open.spawn_on(connection, lanes.next());
    }
    drop(listener);
    open.close();
    let deadline = Duration::from_millis(config.drain_timeout_ms);
    if tokio::time::timeout(deadline, open.wait()).await.is_err() {
        tracing::warn!(deadline_ms = config.drain_timeout_ms, "some answers were cut off at the drain deadline");
        cut.cancel();
        let _ = tokio::time::timeout(LAST_WORDS, open.wait()).await;
    }
}

fn builder(config: &Server) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(config.header_timeout_ms))
        .max_headers(100);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.max_streams_per_connection)
        .max_header_list_size(64 * 1024)
        // Mass cancellation by a client is ordinary here; hyper's default of 20 would cut the connection.
        .max_pending_accept_reset_streams(1_024)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

fn prepare(stream: std::net::TcpStream, config: &Server) -> Option<Stall<TcpStream>> {
    let stream = TcpStream::from_std(stream).ok()?;
    // Without this every small chunk of a stream waits for the acknowledgement of the one before.
    stream.set_nodelay(true).ok()?;
    // hyper's own deadline for a head begins only once it knows which HTTP is spoken.
    let opening = Duration::from_millis(config.header_timeout_ms);
    Some(Stall::new(stream, opening, Duration::from_millis(config.client_stall_timeout_ms)))
}

/// Out of file descriptors, accept fails at once and would spin; a refused connection is only the peer's loss.
async fn rest_after(error: &io::Error) {
    let peer = matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    );
    if !peer {
        tracing::warn!(%error, "accepting a connection failed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

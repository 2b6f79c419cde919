//! The standing control request of one node: its load and credits in, our wishes out, a JSON object a line.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use protocol::load::{MAX_LINE, NodeFrame, ReplicaFrame};
use protocol::{NodeId, header as ours};
use scheduler::Control;
use tokio::sync::{Mutex, mpsc};

use super::tunnel::Tunnel;
use crate::state::AppState;

/// Lines waiting to be sent. The scheduler coalesces its wishes, so more than a few mean a dead peer.
const MAX_WAITING: usize = 64;
/// Rest between two tries on the same tunnel.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Which tunnel of a node carries the control stream: whoever holds this.
pub type Turn = Arc<Mutex<()>>;

/// Keeps a control stream on this tunnel while it is this tunnel's turn. Ends when the tunnel is dead.
pub async fn drive(app: &AppState, node: NodeId, tunnel: &Arc<Tunnel>) {
    let turn = app.upstreams.turn(node);
    let _mine = turn.lock().await;
    while tunnel.is_live() {
        let control = app.scheduler.control(node);
        let ended = hold(app, &control, tunnel).await;
        tracing::debug!(node.id = %node, error = %ended, "a control stream ended");
        if matches!(ended, Ended::Restating) {
            continue;
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

/// Why a control stream ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the tunnel is full or dead")]
    NoPlace,
    #[error("the node could not be asked")]
    Send(#[from] super::SendError),
    #[error("the node answered {0}")]
    Status(StatusCode),
    #[error("the node's stream broke")]
    Broken(#[from] hyper::Error),
    #[error("a line is longer than {MAX_LINE} bytes")]
    TooLong,
    #[error("the node closed its stream")]
    Closed,
    #[error("its counters have come apart and are restated on a new one")]
    Restating,
}

async fn hold(app: &AppState, control: &Control, tunnel: &Arc<Tunnel>) -> Ended {
    let (lines, body) = mpsc::channel::<Bytes>(MAX_WAITING);
    let replica = HeaderValue::try_from(app.billing.boot().to_string()).unwrap_or(HeaderValue::from_static("replica"));
    let mut request = Request::new(BoxBody::new(Lines(body)));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = http::Uri::from_static("http://node/steelyard/v1/control");
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    request.headers_mut().insert(ours::REPLICA, replica);
    let Some(place) = tunnel.enter() else { return Ended::NoPlace };
    let speak = speak(control, &lines);
    let listen = async {
        let response = match place.send(request, Duration::from_secs(2)).await {
            Ok(response) if response.status() == StatusCode::OK => response,
            Ok(response) => return Ended::Status(response.status()),
            Err(error) => return error.into(),
        };
        hear(control, response.into_body()).await.err().unwrap_or(Ended::Closed)
    };
    // Both run until one ends; the other is dropped with it, so neither outlives the stream.
    tokio::select! {
        ended = listen => ended,
        ended = speak => ended,
    }
}

async fn speak(control: &Control, lines: &mpsc::Sender<Bytes>) -> Ended {
    while let Some(frames) = control.outbound().await {
        for frame in frames {
            if lines.send(line(&frame)).await.is_err() {
                return Ended::Closed;
            }
        }
    }
    Ended::Restating
}

fn line(frame: &ReplicaFrame) -> Bytes {
    let mut text = serde_json::to_vec(frame).expect("a frame is always representable");
    text.push(b'\n');
    text.into()
}

async fn hear(control: &Control, mut body: Incoming) -> Result<(), Ended> {
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        rest.extend_from_slice(&data);
        while let Some(end) = memchr::memchr(b'\n', &rest) {
            let text = rest.split_to(end + 1);
            match serde_json::from_slice::<NodeFrame>(&text) {
                Ok(frame) => control.on_frame(frame),
                // A newer node may say more than we understand.
                Err(error) => tracing::debug!(%error, "a control frame was not understood"),
            }
        }
        if rest.len() > MAX_LINE {
            return Err(Ended::TooLong);
        }
    }
    Ok(())
}

/// A request body that is written as it comes.
struct Lines(mpsc::Receiver<Bytes>);

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

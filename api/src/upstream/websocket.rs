//! A tunnel inside a WebSocket, for nodes behind something that lets no other upgrade pass: the same bytes, in
//! binary messages.

use std::io;

use bytes::Bytes;
use futures_util::future::ready;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderValue, header};
use hyper::rt::{Read, Write};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};

/// Longest message taken: far above any frame HTTP/2 writes at once.
const MAX_MESSAGE: usize = 1 << 20;

/// What proves that a client's handshake was understood, where its request is one.
#[must_use]
pub fn accept(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = headers.get(header::UPGRADE)?.as_bytes().eq_ignore_ascii_case(b"websocket");
    let version = headers.get(header::SEC_WEBSOCKET_VERSION)? == "13";
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    if asked && version { HeaderValue::try_from(derive_accept_key(key.as_bytes())).ok() } else { None }
}

/// The stream a node speaks inside the WebSocket it opened.
pub async fn inside(upgraded: Upgraded) -> impl Read + Write + Unpin + Send + 'static {
    let limits = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(limits)).await;
    TokioIo::new(bytes(socket))
}

/// The bytes inside `socket`. Pings are answered as they are read; words and other messages carry nothing.
fn bytes<T>(socket: WebSocketStream<T>) -> impl AsyncRead + AsyncWrite + Unpin + Send
where
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (sink, messages) = socket.split();
    let pieces = messages.filter_map(|message| {
        ready(match message {
            Ok(Message::Binary(piece)) => Some(Ok(piece)),
            Ok(_) => None,
            Err(error) => Some(Err(io::Error::other(error))),
        })
    });
    let sink = sink.sink_map_err(io::Error::other);
    let sink = sink.with(|piece: Bytes| ready(Ok::<_, io::Error>(Message::Binary(piece))));
    tokio::io::join(StreamReader::new(pieces), SinkWriter::new(CopyToBytes::new(sink)))
}

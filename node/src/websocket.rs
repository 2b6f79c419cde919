//! A tunnel inside a WebSocket, where something on the way lets no other upgrade pass: the same bytes, in binary
//! messages.

use std::io;

use bytes::Bytes;
use futures_util::future::ready;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderValue, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use protocol::header::TUNNEL_UPGRADE;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};

/// Longest message taken: far above any frame HTTP/2 writes at once.
const MAX_MESSAGE: usize = 1 << 20;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;

use crate::connect::Stream;

/// Asks for a WebSocket. Returns what the answer must accept it with.
pub(crate) fn ask(headers: &mut HeaderMap) -> String {
    let key = generate_key();
    let accept = derive_accept_key(key.as_bytes());
    let key = HeaderValue::try_from(key).expect("a key is base64, which any header can carry");
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(TUNNEL_UPGRADE));
    headers.insert(header::SEC_WEBSOCKET_KEY, key);
    accept
}

/// Whether the other side accepted this very request, rather than replaying another's answer.
pub(crate) fn accepted(headers: &HeaderMap, accept: &str) -> bool {
    headers.get(header::SEC_WEBSOCKET_ACCEPT).is_some_and(|value| value == accept)
}

/// The stream inside the WebSocket.
pub(crate) async fn inside(upgraded: Upgraded) -> Box<dyn Stream> {
    let limits = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, Some(limits)).await;
    Box::new(TokioIo::new(bytes(socket)))
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

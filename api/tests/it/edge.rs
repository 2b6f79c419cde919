//! The socket's own rules: who opens nothing holds no place, and bodies have a size.

use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::live::{Live, Setup};

/// Most places of the broker in these tests.
const PLACES: usize = 3;
/// How long a head may take there.
const HEAD: Duration = Duration::from_millis(400);

async fn broker() -> Live {
    let setup = Setup::nodes(0).with(|config| {
        config.server.max_connections = PLACES;
        config.server.header_timeout_ms = HEAD.as_millis() as u64;
    });
    setup.start().await
}

/// Takes every place with connections that say `opening` and then a byte now and then, for ever; then asks
/// something in earnest.
async fn does_not_hold_places(opening: &'static [u8], then: &'static [u8]) {
    let live = broker().await;
    let mut held = Vec::new();
    for _ in 0..PLACES {
        let mut socket = TcpStream::connect(live.address).await.unwrap();
        socket.write_all(opening).await.unwrap();
        held.push(tokio::spawn(async move {
            for byte in then.iter().cycle() {
                tokio::time::sleep(HEAD / 8).await;
                if socket.write_all(&[*byte]).await.is_err() {
                    return;
                }
            }
            // Silent, and still there.
            std::future::pending::<()>().await;
        }));
    }
    // They are in before anybody else comes.
    tokio::time::sleep(HEAD / 8).await;
    let asked = live.call(Method::GET, "/health/live", None, "");
    let answer = tokio::time::timeout(10 * HEAD, asked).await.expect("every place is held by nobody");
    assert_eq!(answer.status, 200);
    held.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_connection_that_says_nothing_holds_no_place() {
    does_not_hold_places(b"", b"").await;
}

#[tokio::test]
async fn a_connection_that_might_speak_either_http_holds_no_place() {
    does_not_hold_places(b"P", b"").await;
    does_not_hold_places(b"PRI * HTTP/2.0\r\n", b"").await;
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_holds_no_place() {
    does_not_hold_places(b"GET /health/live HTTP/1.1\r\nhost: test\r\nx-slow: ", b"a").await;
}

/// Sends a head and what follows, and reads the status of what is answered.
async fn status_of(live: &Live, head: &str, body: impl IntoIterator<Item = Vec<u8>>) -> u16 {
    let mut socket = TcpStream::connect(live.address).await.unwrap();
    let common = format!("host: test\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n", live.key);
    socket.write_all(format!("POST /v1/chat/completions HTTP/1.1\r\n{common}{head}\r\n").as_bytes()).await.unwrap();
    for piece in body {
        // Refused half-way, the rest can't be sent; the answer is there all the same.
        if socket.write_all(&piece).await.is_err() {
            break;
        }
    }
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    std::str::from_utf8(&answer[9..]).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_32_mib_is_taken_and_not_one_byte_more() {
    const MIB: usize = 1 << 20;
    let live = Setup::nodes(0).start().await;
    // Refused by what it says, before any of it is sent.
    let announced = format!("content-length: {}\r\n", 32 * MIB + 1);
    assert_eq!(status_of(&live, &announced, []).await, 413);
    // Refused where it passes the limit.
    let chunk = |size: usize| [format!("{size:x}\r\n").into_bytes(), vec![b' '; size], b"\r\n".to_vec()].concat();
    let chunks = (0..32).map(|_| chunk(MIB)).chain([chunk(1)]);
    assert_eq!(status_of(&live, "transfer-encoding: chunked\r\n", chunks).await, 413);
    // Just as large as it may be: taken, and judged by what it says.
    let mut body = json!({ "model": "org/unknown", "messages": [{ "role": "user", "content": "" }] }).to_string();
    body.insert_str(body.len() - 1, &" ".repeat(32 * MIB - body.len()));
    let reply = live.call(Method::POST, "/v1/chat/completions", Some(&live.key), body).await.reply().await;
    assert_eq!((reply.status.as_u16(), reply.code()), (404, Some("model_not_found")));
}

//! Somebody's own server: takes what is posted, answers as told, and checks signatures by the book.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// A server on loopback.
pub struct Receiver {
    address: SocketAddr,
    desk: Arc<Desk>,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Desk {
    taken: Mutex<Vec<Taken>>,
    answers: Mutex<VecDeque<u16>>,
    always: Mutex<Option<u16>>,
    connections: AtomicUsize,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Taken {
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, desk) = (listener.local_addr().unwrap(), Arc::new(Desk::default()));
        let serving = tokio::spawn(serve(listener, Arc::clone(&desk)));
        Self { address, desk, _serving: AbortOnDropHandle::new(serving) }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Statuses of the next answers; after them 200.
    pub fn answer_next(&self, statuses: &[u16]) {
        self.desk.answers.lock().extend(statuses);
    }

    /// The status of all answers from now on.
    pub fn answer_always(&self, status: u16) {
        *self.desk.always.lock() = Some(status);
    }

    /// What came so far, in order.
    pub fn taken(&self) -> Vec<Taken> {
        self.desk.taken.lock().clone()
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.desk.connections.load(Ordering::SeqCst)
    }
}

async fn serve(listener: TcpListener, desk: Arc<Desk>) {
    while let Ok((socket, _)) = listener.accept().await {
        desk.connections.fetch_add(1, Ordering::SeqCst);
        let desk = Arc::clone(&desk);
        let service = service_fn(move |request| answer(Arc::clone(&desk), request));
        tokio::spawn(async move {
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

async fn answer(desk: Arc<Desk>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    desk.taken.lock().push(Taken { path: parts.uri.to_string(), headers: parts.headers, body });
    let status = desk.always.lock().or_else(|| desk.answers.lock().pop_front()).unwrap_or(200);
    let response = Response::builder().status(status).header("location", "/elsewhere");
    Ok(response.body(Full::new(Bytes::from_static(b"nobody reads this"))).unwrap())
}

impl Taken {
    pub fn header(&self, name: &str) -> String {
        self.headers[name].to_str().unwrap().to_owned()
    }
}

/// Whether one of the signatures is the secret's, as the Standard Webhooks specification has it.
pub fn is_signed_by(taken: &Taken, secret: &str) -> bool {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let signed = format!("{}.{}.{}", taken.header("webhook-id"), taken.header("webhook-timestamp"), taken.body);
    let expected = format!("v1,{}", STANDARD.encode(hmac_sha256(&key, signed.as_bytes())));
    taken.header("webhook-signature").split(' ').any(|signature| signature == expected)
}

/// RFC 2104, for keys of at most one block.
fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |byte: u8| block.map(|part| part ^ byte);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}

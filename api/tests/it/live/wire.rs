//! A customer's HTTP client: one connection a call, every frame with the time it came.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use protocol::RequestId;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use super::{Live, MODEL};
use crate::documented::Asked;
use crate::support::Reply;

/// An answer, still arriving. Dropping it closes its connection.
pub struct Wire {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    asked: Option<Asked>,
    body: Incoming,
    buffer: BytesMut,
    _driver: AbortOnDropHandle<()>,
}

/// One event or comment of a stream, with the time it came.
#[derive(Debug, Clone)]
pub struct Frame {
    /// All of it but the blank line.
    pub text: String,
    /// When.
    pub at: Instant,
}

impl Live {
    /// A call. Dropping the future closes the connection.
    pub async fn call(&self, method: Method, path: &str, key: Option<&str>, body: impl Into<Bytes>) -> Wire {
        self.call_with(method, path, key, &[], body).await
    }

    /// A call with these headers besides the usual ones.
    pub async fn call_with(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Wire {
        let socket = TcpStream::connect(self.address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.unwrap();
        let driver = AbortOnDropHandle::new(tokio::spawn(async move { connection.await.unwrap_or_default() }));
        let asked = Asked::find(&method, path);
        let mut request = Request::builder().method(method).uri(path).header("host", "test");
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = sender.send_request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let buffer = BytesMut::new();
        Wire { status: parts.status, headers: parts.headers, asked, body, buffer, _driver: driver }
    }

    /// A chat completion of the customer, with these fields besides model and messages.
    pub async fn chat(&self, fields: Value) -> Wire {
        self.chat_as(&self.key, fields).await
    }

    /// A chat completion with another key.
    pub async fn chat_as(&self, key: &str, fields: Value) -> Wire {
        self.call(Method::POST, "/v1/chat/completions", Some(key), chat_body(fields).to_string()).await
    }

    /// A chat completion with an `Idempotency-Key`.
    pub async fn keyed(&self, key: &str, name: &str, fields: Value) -> Wire {
        let (path, body) = ("/v1/chat/completions", chat_body(fields).to_string());
        self.call_with(Method::POST, path, Some(key), &[("idempotency-key", name)], body).await
    }

    /// A streamed chat completion, read to its end.
    pub async fn told(&self, mut fields: Value) -> (RequestId, Vec<Frame>) {
        fields["stream"] = true.into();
        let wire = self.chat(fields).await;
        assert_eq!(wire.status, 200);
        (wire.request(), wire.frames().await)
    }
}

/// The body of a chat completion.
pub fn chat_body(fields: Value) -> Value {
    let mut body = json!({ "model": MODEL, "messages": [{ "role": "user", "content": "hello" }] });
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

impl Wire {
    /// The request's id.
    pub fn request(&self) -> RequestId {
        self.header("x-request-id").unwrap().parse().unwrap()
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The next frame. A connection that breaks off inside the answer fails the test.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let frame = self.buffer.split_to(end + 2);
                let text = String::from_utf8(frame[..end].to_vec()).unwrap();
                self.check_event(&text);
                return Some(Frame { text, at: Instant::now() });
            }
            let Some(more) = self.body.frame().await else {
                assert!(self.buffer.is_empty(), "the stream ends inside a frame");
                return None;
            };
            self.buffer.extend_from_slice(&more.expect("the stream broke off").into_data().unwrap());
        }
    }

    /// Holds a frame's data against its description. Comments and the last frame have none.
    fn check_event(&self, frame: &str) {
        let data = frame.lines().find_map(|line| line.strip_prefix("data: "));
        if let (Some(asked), Some(Ok(data))) = (&self.asked, data.map(serde_json::from_str)) {
            asked.check_event(&self.headers, &data);
        }
    }

    /// All frames to the end.
    pub async fn frames(mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.frame().await {
            frames.push(frame);
        }
        frames
    }

    /// Frames until one brings text of the answer, that one included.
    pub async fn until_text(&mut self) -> Frame {
        loop {
            let frame = self.frame().await.expect("the answer has text");
            if !frame.delta().is_empty() {
                return frame;
            }
        }
    }

    /// The answer's bytes, to its end.
    pub async fn bytes(self) -> Bytes {
        self.body.collect().await.unwrap().to_bytes()
    }

    /// The answer, read whole.
    pub async fn reply(self) -> Reply {
        let bytes = self.body.collect().await.unwrap().to_bytes();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        self.asked.inspect(|asked| asked.check(self.status, &self.headers, &json));
        Reply { status: self.status, headers: self.headers, json, body: bytes.to_vec() }
    }
}

impl Frame {
    /// The chunk; null for a comment and for the last frame.
    pub fn json(&self) -> Value {
        self.text.strip_prefix("data: ").and_then(|data| serde_json::from_str(data).ok()).unwrap_or(Value::Null)
    }

    /// Text of the first choice.
    pub fn delta(&self) -> String {
        self.json()["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
    }

    /// Whether it ends the stream.
    pub fn is_done(&self) -> bool {
        self.text == "data: [DONE]"
    }
}

/// The whole text of one choice.
pub fn content(frames: &[Frame], choice: u64) -> String {
    let chunks = frames.iter().map(|frame| frame.json()["choices"][0].clone());
    let mine = chunks.filter(|chunk| chunk["index"] == choice);
    mine.filter_map(|chunk| chunk["delta"]["content"].as_str().map(str::to_owned)).collect()
}

/// Finish reasons in the order they came.
pub fn finish(frames: &[Frame]) -> Vec<String> {
    let reasons =
        frames.iter().filter_map(|frame| frame.json()["choices"][0]["finish_reason"].as_str().map(str::to_owned));
    reasons.collect()
}

/// The error a broken stream ends in, right before its last frame.
pub fn last_error(frames: &[Frame]) -> Value {
    let [.., error, done] = frames else { panic!("the stream ends without a word: {frames:?}") };
    assert!(done.is_done(), "the stream ends without its last frame: {frames:?}");
    assert_eq!(error.json()["choices"][0]["finish_reason"], "error", "{error:?}");
    error.json()["error"].clone()
}

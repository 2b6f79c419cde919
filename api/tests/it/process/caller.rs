//! A customer over plain HTTP who notes when what came.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use protocol::{NanoUsd, RequestId};
use serde_json::{Value, json};

/// No call of these tests takes longer, so a hanging one fails by name.
const LIMIT: Duration = Duration::from_secs(40);

/// How far a number of calls have come, for whoever waits to strike in the middle.
#[derive(Debug, Default)]
pub struct Progress {
    /// Calls whose first content is here.
    pub begun: AtomicUsize,
    /// Calls whose whole answer came, `[DONE]` included.
    pub done: AtomicUsize,
}

/// Where to call, and as whom.
#[derive(Debug, Clone)]
pub struct Caller {
    pub url: String,
    pub key: String,
    pub model: String,
    pub progress: Arc<Progress>,
}

/// What came of one call.
#[derive(Debug, Default)]
pub struct Answer {
    /// None when the connection broke before any head.
    pub status: Option<StatusCode>,
    /// The answer's id, as soon as one was seen.
    pub request: Option<RequestId>,
    /// `usage`, when it came.
    pub usage: Option<Value>,
    /// The error, in the body or in the stream.
    pub error: Option<Value>,
    /// All text.
    pub text: String,
    /// When each piece of text came.
    pub pieces: Vec<Instant>,
    /// When `[DONE]`, or the end of a plain answer, came.
    pub done: Option<Instant>,
    /// When the call was over, however.
    pub ended: Option<Instant>,
    /// Whether the body ended as HTTP says it should.
    pub is_closed_cleanly: bool,
}

impl Caller {
    /// The same, as another customer.
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// The same, with a count of its own.
    pub fn counted(&self) -> Self {
        Self { progress: Arc::default(), ..self.clone() }
    }

    /// A chat request for at most `tokens` tokens.
    pub fn chat(&self, tokens: u32, stream: bool) -> Value {
        let mut body = json!({
            "model": self.model, "stream": stream, "max_tokens": tokens,
            "messages": [{"role": "user", "content": "How does a steelyard balance work?"}],
        });
        if stream {
            body["stream_options"] = json!({ "include_usage": true });
        }
        body
    }

    /// Streams an answer to its end.
    pub async fn stream(&self, tokens: u32) -> Answer {
        self.ask(self.chat(tokens, true)).await
    }

    /// Asks for a whole answer.
    pub async fn plain(&self, tokens: u32) -> Answer {
        self.ask(self.chat(tokens, false)).await
    }

    /// Runs a stream in the background.
    pub fn spawn_stream(&self, tokens: u32) -> tokio::task::JoinHandle<Answer> {
        let caller = self.clone();
        tokio::spawn(async move { caller.stream(tokens).await })
    }

    /// Posts a chat request and reads all there is.
    pub async fn ask(&self, body: Value) -> Answer {
        let streamed = body["stream"] == true;
        let read = async {
            let mut answer = Answer::default();
            let Ok(response) = self.open(body).await else { return answer };
            answer.status = Some(response.status());
            let is_stream = streamed && response.status() == StatusCode::OK;
            self.read(response.into_body(), is_stream, &mut answer).await;
            answer
        };
        let mut answer = tokio::time::timeout(LIMIT, read).await.expect("a call hangs");
        answer.ended = Some(Instant::now());
        answer
    }

    /// Posts a chat request; the body is the caller's to read or to drop.
    pub async fn open(&self, body: Value) -> Result<http::Response<Incoming>, hyper_util::client::legacy::Error> {
        send(Method::POST, &format!("{}/v1/chat/completions", self.url), &self.key, None, body.to_string()).await
    }

    /// The same with an `Idempotency-Key`.
    pub async fn open_keyed(
        &self,
        name: &str,
        body: Value,
    ) -> Result<http::Response<Incoming>, hyper_util::client::legacy::Error> {
        let url = format!("{}/v1/chat/completions", self.url);
        send(Method::POST, &url, &self.key, Some(name), body.to_string()).await
    }

    /// Any GET: its status and its JSON.
    pub async fn get(&self, path: &str) -> Option<(StatusCode, Value)> {
        let response = send(Method::GET, &format!("{}{path}", self.url), &self.key, None, String::new()).await.ok()?;
        let status = response.status();
        let bytes = response.into_body().collect().await.ok()?.to_bytes();
        Some((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }

    async fn read(&self, mut body: Incoming, is_stream: bool, answer: &mut Answer) {
        let mut pending = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return };
            pending.extend_from_slice(&frame.into_data().unwrap_or_default());
            while is_stream && let Some(end) = pending.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = pending.drain(..end + 2).collect();
                self.take(std::str::from_utf8(&event).unwrap(), answer);
            }
        }
        answer.is_closed_cleanly = true;
        if !is_stream {
            let value: Value = serde_json::from_slice(&pending).unwrap_or(Value::Null);
            answer.note(&value);
            if answer.status == Some(StatusCode::OK) {
                answer.done = Some(Instant::now());
                self.progress.done.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    fn take(&self, event: &str, answer: &mut Answer) {
        let Some(data) = event.trim_end().strip_prefix("data: ") else { return };
        assert!(answer.done.is_none(), "something follows [DONE]: {data}");
        if data == "[DONE]" {
            answer.done = Some(Instant::now());
            if answer.error.is_none() {
                self.progress.done.fetch_add(1, Ordering::SeqCst);
            }
            return;
        }
        let chunk: Value = serde_json::from_str(data).unwrap_or_else(|error| panic!("{error} in {data}"));
        answer.note(&chunk);
        if let Some(text) = chunk["choices"][0]["delta"]["content"].as_str().filter(|text| !text.is_empty()) {
            if answer.pieces.is_empty() {
                self.progress.begun.fetch_add(1, Ordering::SeqCst);
            }
            answer.pieces.push(Instant::now());
            answer.text.push_str(text);
        }
    }
}

impl Answer {
    fn note(&mut self, value: &Value) {
        if let Some(id) = value["id"].as_str().and_then(|id| RequestId::parse_any(id).ok()) {
            assert!(self.request.is_none_or(|known| known == id), "the id changed within an answer");
            self.request = Some(id);
        }
        for (field, slot) in [("usage", &mut self.usage), ("error", &mut self.error)] {
            if value[field].is_object() {
                *slot = Some(value[field].clone());
            }
        }
    }

    /// The whole answer came, with its `[DONE]`.
    pub fn is_whole(&self) -> bool {
        self.done.is_some() && self.error.is_none()
    }

    /// `usage.cost`, exact.
    pub fn cost(&self) -> NanoUsd {
        let cost = self.usage.as_ref().expect("the answer has usage")["cost"].as_f64().expect("the cost is a number");
        // A double tells billionths of a dollar apart up to millions of dollars.
        NanoUsd::new((cost * 1e9).round() as i64).expect("no cost is negative")
    }

    /// The error's code.
    pub fn code(&self) -> Option<&str> {
        let error = self.error.as_ref()?;
        error["metadata"]["code"].as_str().or(error["code"].as_str())
    }
}

async fn send(
    method: Method,
    url: &str,
    key: &str,
    name: Option<&str>,
    body: String,
) -> Result<http::Response<Incoming>, hyper_util::client::legacy::Error> {
    let mut request = Request::builder()
        .method(method)
        .uri(url)
        .header(header::AUTHORIZATION, format!("Bearer {key}"))
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(name) = name {
        request = request.header("idempotency-key", name);
    }
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    // A client for each call: no call shares a connection, or the fate of one, with another.
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    client.request(request).await
}

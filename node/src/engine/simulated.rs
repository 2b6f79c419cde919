//! An engine without a model: answers in llama.cpp's own dialect on a latency model, for load runs,
//! demos without a download, and tests. Every answer says that it is simulated.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use protocol::offer::EngineInfo;
use serde::Deserialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{BoxFuture, CallError, Description, Engine, EngineLoad, Model};
use crate::body::{self, Body};

mod answer;
mod faults;
mod media;
mod schema;
mod stream;
mod vectors;

use answer::{Form, Plan};
pub use faults::{Fault, Faults};
use stream::Stream;

/// Largest request read: what the broker accepts for inference.
const MAX_REQUEST_BYTES: usize = 32 << 20;

/// How long a simulated engine takes, and how much it says.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Latency {
    /// To the first token.
    pub ttft_ms: f64,
    /// Between tokens.
    pub tpot_ms: f64,
    /// Output tokens when the request sets no lower limit.
    pub tokens: u32,
    /// Each answer's times are scaled by a factor drawn from `1 ± jitter`.
    pub jitter: f64,
    /// The draws depend on this and the order of requests only.
    pub seed: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self { ttft_ms: 50.0, tpot_ms: 20.0, tokens: 64, jitter: 0.0, seed: 1 }
    }
}

/// The simulated engine. Clones share everything.
#[derive(Clone)]
pub struct Simulated(Arc<Inner>);

struct Inner {
    model: String,
    context_length: u32,
    slots: u32,
    latency: Latency,
    faults: Mutex<Faults>,
    calls: AtomicU64,
    active: AtomicU32,
    peak: AtomicU32,
    dead: AtomicBool,
}

/// Counts one answer in the making; gives the count back however the answer ends.
pub(super) struct Active(Arc<Inner>);

impl Active {
    fn new(inner: &Arc<Inner>) -> Self {
        let before = inner.active.fetch_add(1, Ordering::Relaxed);
        inner.peak.fetch_max(before + 1, Ordering::Relaxed);
        Self(inner.clone())
    }

    /// The engine dies now: every later call fails.
    pub(super) fn die(&self) {
        self.0.dead.store(true, Ordering::Relaxed);
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Simulated {
    /// An engine that claims one model. `slots` is what it says of its concurrency; it queues nothing.
    #[must_use]
    pub fn new(model: impl Into<String>, slots: u32, latency: Latency) -> Self {
        Self(Arc::new(Inner {
            model: model.into(),
            context_length: 32_768,
            slots,
            latency,
            faults: Mutex::new(Faults::default()),
            calls: AtomicU64::new(0),
            active: AtomicU32::new(0),
            peak: AtomicU32::new(0),
            dead: AtomicBool::new(false),
        }))
    }

    /// Answers being made right now.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.0.active.load(Ordering::Relaxed)
    }

    /// The most answers that were ever being made at once.
    #[must_use]
    pub fn peak(&self) -> u32 {
        self.0.peak.load(Ordering::Relaxed)
    }

    /// Requests for work received so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.0.calls.load(Ordering::Relaxed)
    }

    /// What goes wrong from the next request on.
    pub fn set_faults(&self, faults: Faults) {
        *self.0.faults.lock() = faults;
    }

    /// Brings a dead engine back.
    pub fn revive(&self) {
        self.0.dead.store(false, Ordering::Relaxed);
    }

    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, CallError> {
        if self.0.dead.load(Ordering::Relaxed) {
            return Err(CallError { status: StatusCode::BAD_GATEWAY, message: "the engine does not answer".into() });
        }
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/v1/chat/completions") => self.generate(Form::Chat, request).await,
            (&Method::POST, "/v1/completions") => self.generate(Form::Completion, request).await,
            (&Method::POST, path) => {
                let path = path.to_owned();
                self.make(&path, request).await
            }
            (&Method::GET, "/v1/models") => Ok(self.models()),
            (&Method::GET, "/health") => Ok(body::json(StatusCode::OK, &serde_json::json!({"status": "ok"}))),
            _ => Ok(body::error(StatusCode::NOT_FOUND, "not_found_error", None, "File Not Found")),
        }
    }

    fn models(&self) -> Response<Body> {
        let model = serde_json::json!({
            "id": self.0.model, "object": "model", "created": unix_seconds(), "owned_by": "simulated",
            "meta": {"simulated": true, "n_ctx_train": self.0.context_length},
        });
        body::json(StatusCode::OK, &serde_json::json!({"object": "list", "data": [model]}))
    }

    /// Vectors that depend on their text only, and mean nothing; and what else comes all at once.
    async fn make(&self, path: &str, request: Request<Body>) -> Result<Response<Body>, CallError> {
        let _active = Active::new(&self.0);
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        let fault = self.0.faults.lock().draw();
        let body = collect(request).await?;
        match fault {
            Some(Fault::Refuse { status }) => return Ok(refusal(status)),
            Some(Fault::TooLong) => return Ok(too_long(self.0.context_length)),
            Some(Fault::HangBeforeHeaders | Fault::HangAfterHeaders) => std::future::pending::<()>().await,
            _ => {}
        }
        tokio::time::sleep(ms(self.0.latency.ttft_ms)).await;
        let made = match path {
            "/v1/embeddings" => {
                Some(vectors::answer(&body, &self.0.model).map(|answer| body::json(StatusCode::OK, &answer)))
            }
            path => media::answer(path, &body, &self.0.model),
        };
        Ok(match made {
            Some(Ok(answer)) => answer,
            Some(Err(message)) => body::error(StatusCode::BAD_REQUEST, "invalid_request_error", None, &message),
            None => body::error(StatusCode::NOT_FOUND, "not_found_error", None, "File Not Found"),
        })
    }

    async fn generate(&self, form: Form, request: Request<Body>) -> Result<Response<Body>, CallError> {
        let active = Active::new(&self.0);
        let arrived = Instant::now();
        let number = self.0.calls.fetch_add(1, Ordering::Relaxed);
        let fault = self.0.faults.lock().draw();
        let body = collect(request).await?;
        match fault {
            Some(Fault::Refuse { status }) => return Ok(refusal(status)),
            Some(Fault::TooLong) => return Ok(too_long(self.0.context_length)),
            Some(Fault::HangBeforeHeaders) => std::future::pending::<()>().await,
            Some(Fault::Die { after_chunks: 0 }) => {
                active.die();
                return Err(CallError { status: StatusCode::BAD_GATEWAY, message: "the engine died".into() });
            }
            _ => {}
        }
        let bounded = !matches!(fault, Some(Fault::IgnoreLimit | Fault::Lump { .. }));
        let plan = match Plan::read(form, &body, &self.0.model, &self.0.latency, number, bounded) {
            Ok(plan) => plan,
            Err(message) => {
                return Ok(body::error(StatusCode::BAD_REQUEST, "invalid_request_error", None, &message));
            }
        };
        if plan.stream {
            return Ok(sse(Stream::new(plan, arrived, fault, active)));
        }
        // The timer rounds up to the next millisecond: an engine that takes no time must not ask it.
        if !plan.total().is_zero() {
            tokio::time::sleep_until(arrived + plan.total()).await;
        }
        Ok(body::json(StatusCode::OK, &plan.whole()))
    }
}

impl Engine for Simulated {
    fn describe(&self) -> BoxFuture<'_, Result<Description, crate::Error>> {
        let description = Description {
            info: EngineInfo { name: "simulated".into(), version: Some(env!("CARGO_PKG_VERSION").into()) },
            models: vec![Model { id: self.0.model.clone(), context_length: Some(self.0.context_length) }],
            slots: Some(self.0.slots),
            notices_leaving: true,
            holds_schemas: true,
        };
        Box::pin(std::future::ready(Ok(description)))
    }

    fn call(&self, request: Request<Body>) -> BoxFuture<'_, Result<Response<Body>, CallError>> {
        Box::pin(self.answer(request))
    }

    fn ready(&self) -> bool {
        !self.0.dead.load(Ordering::Relaxed)
    }

    fn load(&self) -> EngineLoad {
        EngineLoad::default()
    }

    fn upkeep(&self, shutdown: CancellationToken) -> BoxFuture<'_, ()> {
        Box::pin(async move { shutdown.cancelled().await })
    }
}

async fn collect(request: Request<Body>) -> Result<bytes::Bytes, CallError> {
    body::collect(request.into_body(), MAX_REQUEST_BYTES).await.map_err(|_| CallError {
        status: StatusCode::BAD_REQUEST,
        message: "the request broke off or is too large".into(),
    })
}

fn sse(stream: Stream) -> Response<Body> {
    let mut response = Response::new(stream.boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// What llama.cpp says of a prompt that does not fit.
fn too_long(context_length: u32) -> Response<Body> {
    let error = serde_json::json!({
        "code": 400, "type": "exceed_context_size_error", "n_prompt_tokens": context_length + 1, "n_ctx": context_length,
        "message": "the request exceeds the available context size, try increasing it",
    });
    body::json(StatusCode::BAD_REQUEST, &serde_json::json!({ "error": error }))
}

fn refusal(status: u16) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let error =
        serde_json::json!({"code": status.as_u16(), "message": "refused on purpose", "type": "simulated_error"});
    body::json(status, &serde_json::json!({ "error": error }))
}

/// Only a label in answers: the wall clock decides nothing here.
fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Milliseconds as a duration; nonsense becomes zero.
pub(super) fn ms(value: f64) -> Duration {
    Duration::try_from_secs_f64(value / 1_000.0).unwrap_or_default()
}

//! The simulated engine by itself, as an ordinary OpenAI-style server: what a proxy or a direct node
//! puts a broker in front of.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use node::body::{self, Body};
use node::engine::{Engine, Faults, Latency};
use node::{Simulated, engine};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{Error, serve};

/// Largest request read: what the broker accepts for inference.
const MAX_REQUEST_BYTES: usize = 32 << 20;

/// One model and how fast it answers.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSpec {
    /// Its name.
    pub name: String,
    /// Its pace.
    pub latency: Latency,
}

impl ModelSpec {
    /// Reads `NAME` or `NAME,ttft_ms=0,tpot_ms=20,tokens=4096,jitter=0.1,seed=1`. Unnamed values are those
    /// of [`Latency::default`], but for `tokens`: an answer is as long as its request allows.
    ///
    /// # Errors
    /// A message that names the part at fault.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let name = parts.next().filter(|name| !name.is_empty()).ok_or("a model has a name")?.to_owned();
        let mut latency = Latency { tokens: 1_000_000, ..Latency::default() };
        for part in parts {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("{part:?} is not key=value"))?;
            let number: f64 = value.parse().map_err(|_| format!("{key}: {value:?} is no number"))?;
            match key {
                "ttft_ms" => latency.ttft_ms = number,
                "tpot_ms" => latency.tpot_ms = number,
                "jitter" => latency.jitter = number,
                // A cast from a float saturates; both are counts far below its exact range.
                "tokens" => latency.tokens = number as u32,
                "seed" => latency.seed = number as u64,
                _ => return Err(format!("{key:?} is none of ttft_ms, tpot_ms, tokens, jitter, seed")),
            }
        }
        Ok(Self { name, latency })
    }
}

/// Several simulated engines behind one address, chosen by the request's `model`.
#[derive(Clone)]
pub struct Models(Arc<Vec<(String, Simulated)>>);

#[derive(Deserialize)]
struct Wanted<'a> {
    #[serde(borrow)]
    model: std::borrow::Cow<'a, str>,
}

impl Models {
    /// One engine a model, each with `faults`.
    #[must_use]
    pub fn new(specs: &[ModelSpec], slots: u32, faults: Faults) -> Self {
        let make = |spec: &ModelSpec| {
            let engine = Simulated::new(spec.name.clone(), slots, spec.latency);
            engine.set_faults(faults);
            (spec.name.clone(), engine)
        };
        Self(Arc::new(specs.iter().map(make).collect()))
    }

    /// The engine of a model.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Simulated> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, engine)| engine)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        match (request.method(), request.uri().path()) {
            (&Method::POST, _) => self.forward(request).await,
            (&Method::GET, "/v1/models") => self.list(),
            (&Method::GET, "/health") => body::json(StatusCode::OK, &serde_json::json!({"status": "ok"})),
            _ => refusal(StatusCode::NOT_FOUND, "no such path"),
        }
    }

    async fn forward(&self, request: Request<Incoming>) -> Response<Body> {
        let (parts, incoming) = request.into_parts();
        let Ok(read) = Limited::new(incoming, MAX_REQUEST_BYTES).collect().await else {
            return refusal(StatusCode::BAD_REQUEST, "the request broke off or is too large");
        };
        let bytes: Bytes = read.to_bytes();
        let Ok(wanted) = serde_json::from_slice::<Wanted<'_>>(&bytes) else {
            return refusal(StatusCode::BAD_REQUEST, "the request is no JSON object with a model");
        };
        let Some(engine) = self.get(&wanted.model) else {
            return refusal(StatusCode::NOT_FOUND, "no such model here");
        };
        match engine.call(Request::from_parts(parts, body::full(bytes.clone()))).await {
            Ok(response) => response,
            Err(engine::CallError { status, message }) => refusal(status, &message),
        }
    }

    fn list(&self) -> Response<Body> {
        let models: Vec<_> = self
            .0
            .iter()
            .map(|(name, _)| serde_json::json!({"id": name, "object": "model", "created": 0, "owned_by": "simulated"}))
            .collect();
        body::json(StatusCode::OK, &serde_json::json!({"object": "list", "data": models}))
    }
}

fn refusal(status: StatusCode, message: &str) -> Response<Body> {
    body::error(status, "invalid_request_error", None, message)
}

/// Serves `models` on `listener` until `stop`.
pub async fn run(listener: TcpListener, models: Models, stop: CancellationToken) {
    let service = service_fn(move |request: Request<Incoming>| {
        let models = models.clone();
        async move { Ok::<_, Infallible>(models.answer(request).await) }
    });
    serve::serve(listener, service, stop).await;
}

/// Reads a fault as JSON, such as `{"kind":"close_after","chunks":5}`, for one request in `every`.
///
/// # Errors
/// [`Error::Invalid`] when it is no fault.
pub fn faults(fault: Option<&str>, every: u32) -> Result<Faults, Error> {
    let fault = fault.map(serde_json::from_str).transpose();
    let fault = fault.map_err(|error| Error::Invalid(format!("--fault: {error}")))?;
    let mut faults = Faults::default();
    (faults.fault, faults.every) = (fault, every);
    Ok(faults)
}

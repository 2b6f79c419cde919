//! An engine somebody else runs, reached by URL.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use protocol::offer::EngineInfo;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{BoxFuture, CallError, Description, Engine, Model};
use crate::Error;
use crate::body::{self, Body};
use crate::client::{chain, join};
use crate::connect::{self, Pool};

/// llama.cpp's server closes idle connections after 5 s; ours must be the shorter patience, or a
/// request now and then meets a closing socket.
const IDLE: Duration = Duration::from_secs(4);
/// How often the engine's health is looked at; a failed call shows trouble sooner.
const HEALTH_INTERVAL: Duration = Duration::from_secs(5);
/// Longest a question about the engine itself may take; it may be busy, but not deaf.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer to such a question; llama.cpp's `/props` holds a chat template.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// An engine reached by URL. One connection per running request: dropping the answer closes it,
/// which is how engines notice that nobody listens.
pub struct Attached {
    base: Url,
    health: String,
    pool: Pool,
    ready: AtomicBool,
}

impl Attached {
    /// An engine at `base`, such as `http://127.0.0.1:8080`, whose health is at the path `health`.
    ///
    /// # Errors
    /// [`Error::Config`] when TLS can't be set up.
    pub fn new(base: &Url, health: &str) -> Result<Self, Error> {
        let pool = connect::pool(&connect::tls()?, IDLE);
        Ok(Self { base: base.clone(), health: health.to_owned(), pool, ready: AtomicBool::new(false) })
    }

    /// Looks at the engine's health now and remembers it.
    pub async fn check(&self) -> bool {
        let ready = match self.get(&self.health).await {
            Ok((status, _)) if status.is_success() => true,
            // An engine without a health page is up when it answers at all.
            Ok((StatusCode::NOT_FOUND, _)) => true,
            Ok(_) | Err(_) => false,
        };
        if self.ready.swap(ready, Ordering::Relaxed) != ready {
            tracing::info!(engine.ready = ready, engine.url = %self.base, "engine health changed");
        }
        ready
    }

    async fn get(&self, path: &str) -> Result<(StatusCode, Value), Error> {
        let url = join(&self.base, path);
        let failed = |reason: String| Error::Engine(format!("{url}: {reason}"));
        let mut request = Request::new(body::empty());
        *request.uri_mut() = url.parse().map_err(|_| failed("not a URL".into()))?;
        let question = async {
            let response = self.pool.request(request).await.map_err(|e| failed(chain(&e)))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
            let bytes = body.map_err(|error| failed(error.to_string()))?.to_bytes();
            Ok((status, serde_json::from_slice(&bytes).unwrap_or_default()))
        };
        match tokio::time::timeout(QUESTION_TIMEOUT, question).await {
            Ok(answer) => answer,
            Err(_) => Err(failed("no answer within 5 s".into())),
        }
    }

    async fn ask(&self) -> Result<Description, Error> {
        let (status, models) = self.get("/v1/models").await?;
        if !status.is_success() {
            return Err(Error::Engine(format!("{} answered {status} to /v1/models", self.base)));
        }
        // Only llama.cpp has /props; elsewhere this is a 404 and says nothing.
        let props = match self.get("/props").await {
            Ok((status, props)) if status.is_success() => props,
            _ => Value::Null,
        };
        Ok(describe(&models, &props))
    }

    async fn forward(&self, mut request: Request<Body>) -> Result<Response<Body>, CallError> {
        let bad = |message: String| CallError { status: StatusCode::BAD_GATEWAY, message };
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let uri: Uri = join(&self.base, path).parse().map_err(|_| bad("the path is no URL".into()))?;
        *request.uri_mut() = uri;
        *request.version_mut() = http::Version::HTTP_11;
        match self.pool.request(request).await {
            Ok(response) => Ok(response.map(body::boxed)),
            Err(error) => {
                if error.is_connect() {
                    self.ready.store(false, Ordering::Relaxed);
                }
                Err(bad(format!("the engine does not answer: {}", chain(&error))))
            }
        }
    }
}

impl Engine for Attached {
    fn describe(&self) -> BoxFuture<'_, Result<Description, Error>> {
        Box::pin(self.ask())
    }

    fn call(&self, request: Request<Body>) -> BoxFuture<'_, Result<Response<Body>, CallError>> {
        Box::pin(self.forward(request))
    }

    fn ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    fn upkeep(&self, shutdown: CancellationToken) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let looking = async {
                loop {
                    self.check().await;
                    tokio::time::sleep(HEALTH_INTERVAL).await;
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = looking => {}
            }
        })
    }
}

/// Reads the model list of any OpenAI-like engine, and llama.cpp's properties where there are some.
fn describe(models: &Value, props: &Value) -> Description {
    let slots = props["total_slots"].as_u64().and_then(|slots| u32::try_from(slots).ok());
    let per_slot = &props["default_generation_settings"]["n_ctx"];
    let model = |entry: &Value| {
        let context = [per_slot, &entry["max_model_len"], &entry["meta"]["n_ctx"], &entry["meta"]["n_ctx_train"]];
        let context = context.iter().find_map(|value| value.as_u64()).and_then(|value| u32::try_from(value).ok());
        Some(Model { id: entry["id"].as_str()?.to_owned(), context_length: context })
    };
    let list = models["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    let owner = list.first().and_then(|entry| entry["owned_by"].as_str()).unwrap_or_default();
    let name = match owner {
        _ if slots.is_some() => "llama.cpp",
        "llamacpp" => "llama.cpp",
        "vllm" => "vllm",
        "sglang" => "sglang",
        _ => "other",
    };
    let version = props["build_info"].as_str().map(str::to_owned);
    Description {
        info: EngineInfo { name: name.to_owned(), version },
        models: list.iter().filter_map(model).collect(),
        slots,
        // Only what was seen to stop may be asked for whole answers; none of the engines attached to was.
        notices_leaving: false,
        holds_schemas: name != "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn llama_cpp_tells_its_slots_and_the_context_of_each() {
        let models = json!({"data": [{"id": "smol.gguf", "owned_by": "llamacpp", "meta": {"n_ctx_train": 8192}}]});
        let props = json!({"total_slots": 4, "build_info": "b1", "default_generation_settings": {"n_ctx": 2048}});
        let told = describe(&models, &props);
        assert_eq!((told.info.name.as_str(), told.slots), ("llama.cpp", Some(4)));
        assert_eq!(told.models, [Model { id: "smol.gguf".into(), context_length: Some(2048) }]);
    }

    #[test]
    fn vllm_tells_its_longest_request() {
        let told = describe(&json!({"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 4096}]}), &Value::Null);
        assert_eq!((told.info.name.as_str(), told.models[0].context_length), ("vllm", Some(4096)));
    }
}

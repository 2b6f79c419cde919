//! The engine beside a node: an unmodified inference server, spoken to over HTTP.

use std::future::Future;
use std::pin::Pin;

use http::{Request, Response, StatusCode};
use protocol::offer::EngineInfo;
use tokio_util::sync::CancellationToken;

use crate::body::Body;

pub mod attach;
pub mod simulated;
pub mod supervise;

pub use attach::Attached;
pub use simulated::{Fault, Faults, Latency, Simulated};
pub use supervise::Supervised;

/// A boxed future: engines are chosen at run time.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What an engine says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description {
    /// Name and version.
    pub info: EngineInfo,
    /// The models it has loaded.
    pub models: Vec<Model>,
    /// How many requests it answers at once, where it says so.
    pub slots: Option<u32>,
    /// Whether it stops when a caller that did not ask for a stream leaves. llama.cpp does not.
    pub notices_leaving: bool,
    /// Whether it holds its answers to a JSON schema. llama.cpp, vLLM and SGLang do.
    pub holds_schemas: bool,
}

/// One model an engine has loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// What the engine calls it.
    pub id: String,
    /// Prompt and output together, in tokens, per request.
    pub context_length: Option<u32>,
}

/// How busy an engine is, beyond what its node can count itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineLoad {
    /// Requests waiting inside it.
    pub queued: u32,
    /// Prompt tokens not yet read.
    pub backlog_tokens: u32,
    /// Free KV memory in thousandths; 1000 when unknown.
    pub kv_free_permille: u16,
}

impl Default for EngineLoad {
    fn default() -> Self {
        Self { queued: 0, backlog_tokens: 0, kv_free_permille: 1_000 }
    }
}

/// A call the engine could not answer at all. An answer with an error status is not one of these.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    /// What the broker should see.
    pub status: StatusCode,
    /// For people, without anything of the request.
    pub message: String,
}

/// An inference server. Dropping the future of [`Engine::call`], or the body it gave, must free
/// what the request held in the engine at once.
pub trait Engine: Send + Sync + 'static {
    /// Asks the engine what it is and has.
    fn describe(&self) -> BoxFuture<'_, Result<Description, crate::Error>>;

    /// Hands over one request. Paths are the engine's own, such as `/v1/chat/completions`.
    fn call(&self, request: Request<Body>) -> BoxFuture<'_, Result<Response<Body>, CallError>>;

    /// False while the engine is starting or gone.
    fn ready(&self) -> bool;

    /// What is known of its load.
    fn load(&self) -> EngineLoad {
        EngineLoad::default()
    }

    /// Keeps the engine up until told to stop; an engine run by somebody else needs nothing.
    fn upkeep(&self, shutdown: CancellationToken) -> BoxFuture<'_, ()> {
        Box::pin(async move { shutdown.cancelled().await })
    }
}

//! `Idempotency-Key` on any POST: one run, one charge, one answer, however often it is sent.
//!
//! The key is taken before the handler runs and its answer stored before the last byte of it leaves. Only
//! an answer that is a success in full is kept: after a refusal nothing was done, and after a failure or an
//! answer the client left, the same key runs again. Provider keys and sessions of nodes have their own ways
//! to repeat a call and are left alone. What a crash leaves in each window: docs/adr/0008.

mod claim;
mod keep;
mod record;
mod seal;
mod upkeep;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use protocol::{BootId, RequestId};

pub use keep::keep;
pub use upkeep::{Upkeep, lapse_earlier_boots};

use crate::store::idempotency::Hash;

/// How long an answer is kept.
const KEEP: Duration = Duration::from_secs(24 * 3_600);
/// Largest answer kept, headers aside: some sixteen thousand streamed tokens. A larger one reaches its client
/// all the same.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// A run not heard of for this long is dead. Long enough for any outage of the database that answers outlive,
/// since a run taken for dead may be run, and paid, a second time.
const LIVES_FOR: Duration = Duration::from_secs(120);
/// How often a run says that it goes on.
const RENEW_EVERY: Duration = Duration::from_secs(20);
/// Longest wait for the database before a keyed request is told to come back.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait for an answer to be stored before its last byte leaves. Storing goes on behind it.
const STORE_PATIENCE: Duration = Duration::from_secs(2);
/// Longest key, as OpenAI's.
const MAX_KEY: usize = 255;

/// Tells a keyed request from any other of its project, for a handler whose effect a failure behind it does not undo:
/// repeated, the request must find what it did. Found in the request's extensions.
#[derive(Debug, Clone)]
pub struct Occasion(pub Arc<[u8]>);

/// The keyed requests this process runs. Clones share them.
#[derive(Clone)]
pub struct Running {
    boot: BootId,
    claims: Arc<Mutex<HashMap<RequestId, Hash>>>,
}

impl Running {
    /// None, on this start of the replica.
    #[must_use]
    pub fn new(boot: BootId) -> Self {
        Self { boot, claims: Arc::default() }
    }

    /// Whether none runs.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.claims.lock().is_empty()
    }

    /// Counts a run until the guard is dropped.
    fn enter(&self, request: RequestId, name: Hash) -> Entered {
        self.claims.lock().insert(request, name);
        Entered { running: self.clone(), request }
    }

    fn names(&self) -> Vec<Vec<u8>> {
        self.claims.lock().values().map(|name| name.to_vec()).collect()
    }
}

/// A run that goes on as long as this lives.
struct Entered {
    running: Running,
    request: RequestId,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.running.claims.lock().remove(&self.request);
    }
}

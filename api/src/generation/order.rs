//! What an answer is made for.

use std::sync::Arc;

use protocol::{Id, RequestId, Timestamp};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::dialect::{Dialect, Expected};
use crate::envelope::Work;

/// Who asked, and for what; fixed for the life of a generation.
#[derive(Debug, Clone)]
pub struct Order {
    /// The request; every id of the answer shares its UUID.
    pub request: RequestId,
    /// The public model id.
    pub model: Arc<str>,
    /// Prompt tokens as we counted them, or their upper bound.
    pub prompt_tokens: u32,
    /// Whether that count is exact.
    pub prompt_verified: bool,
    /// What is billed of the prompt when that count is not exact and nobody else counted.
    pub prompt_least: u32,
    /// Output tokens that the hold covers.
    pub held_output: u32,
    /// Whether the client named no limit, so that the hold grows with the answer.
    pub open_ended: bool,
    /// Choices of the whole answer.
    pub choices: u32,
    /// Requests it is paid for as.
    pub requests: u32,
    /// Whether the client streams.
    pub streamed: bool,
    /// What the engine is asked for.
    pub work: Work,
    /// The client's field with the prompt.
    pub subject: &'static str,
    /// The service tier that applies.
    pub service_tier: &'static str,
    /// Whether vectors are wanted as base64 text.
    pub base64: bool,
    /// How the client is answered.
    pub dialect: Dialect,
    /// What the engine's answer is to be read as, where tools are emulated.
    pub expected: Option<Expected>,
    /// When the request arrived.
    pub created_at: Timestamp,
}

/// Draws for one request: its id is random enough to seed them, and so a decision can be explained again.
#[must_use]
pub fn rng_of(request: RequestId) -> SmallRng {
    SmallRng::seed_from_u64(request.uuid().as_u64_pair().1)
}

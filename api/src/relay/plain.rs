//! A plain answer: the same attempt, taken in whole.

use std::future::poll_fn;

use bytes::Bytes;
use http::HeaderValue;

use super::live::{Live, Progress};
use crate::dialect::Tail;
use crate::error::ApiError;
use crate::generation::{Failure, Generation};

/// Reads the attempt to its end, waits for the books, and writes the answer, with its type of content.
///
/// # Errors
/// [`ApiError`] when the attempt breaks off; nothing is charged then.
pub async fn assemble(mut generation: Box<Generation>, mut live: Live) -> Result<(HeaderValue, Bytes), ApiError> {
    let observed = loop {
        match poll_fn(|cx| live.poll_progress(cx, &mut generation)).await {
            Progress::Begun | Progress::Released(_) => {}
            Progress::Finished(_, step) => break step.ended,
            Progress::Broken(step) => {
                drop(live);
                let failure = Failure::of(&step.action);
                return Err(generation.fail_plain(failure, step.ended));
            }
        }
    };
    let usage = live.usage();
    let (sink, provider, service_tier) =
        (live.into_sink(), generation.provider_name(), generation.order().service_tier);
    let settled = generation.complete(usage, observed);
    let usage = settled.as_ref().map(|settled| settled.usage);
    let tail = Tail { provider: provider.as_deref(), service_tier, usage: usage.as_ref() };
    let body = sink.whole(tail);
    if let Some(settled) = settled {
        settled.ack.await;
    }
    Ok(body)
}

//! The end of an answer: what is counted, what is told, and what the books get.

use billing::{Ack, CountedBy, Outcome, Settlement};
use http::StatusCode;
use protocol::Units;
use scheduler::Observation;

use super::{Failure, Generation};
use crate::dialect::{Channel, FinishReason, UpstreamUsage, Usage};
use crate::error::ApiError;
use crate::tokenizer::Counter;

/// What the client is told at the end, and when it may be told.
pub struct Settled {
    /// Tokens and cost.
    pub usage: Usage,
    /// Resolves once the books have it.
    pub ack: Ack,
}

impl Generation {
    /// Settles a whole answer. `None` only when it had been settled before, which cannot happen to an owned value.
    pub fn complete(mut self, upstream: Option<UpstreamUsage>, observed: Option<Observation>) -> Option<Settled> {
        let outcome = match self.finish.as_ref().map(|finish| finish.reason) {
            Some(FinishReason::Length) => Outcome::Length,
            Some(FinishReason::ContentFilter) => Outcome::ContentFilter,
            _ => Outcome::Completed,
        };
        self.settle(outcome, upstream, observed)
    }

    /// Ends an answer that failed: nothing is charged.
    pub fn fail(mut self, code: &'static str, observed: Option<Observation>) {
        self.attempt_failed(code, observed);
        drop(self.write());
    }

    /// As [`Generation::fail`], with the error a plain answer ends in.
    #[must_use]
    pub fn fail_plain(mut self, failure: Failure, observed: Option<Observation>) -> ApiError {
        self.attempt_failed(failure.code, observed);
        drop(self.write());
        if failure.status == StatusCode::GATEWAY_TIMEOUT {
            ApiError::provider_timeout(&self.errors)
        } else {
            ApiError::provider_error(&self.errors)
        }
    }

    pub(super) fn settle(
        &mut self,
        outcome: Outcome,
        upstream: Option<UpstreamUsage>,
        observed: Option<Observation>,
    ) -> Option<Settled> {
        let (units, counted_by) = self.count(upstream);
        self.permit.used(units.prompt_total() + units.completion_total());
        if let Some(run) = self.running.take() {
            self.note(&run, outcome.as_str(), None);
            let attempt = self.close(run, observed, outcome, units, counted_by, None);
            self.ended.push(attempt);
        }
        let ack = self.write()?;
        let usage = Usage {
            prompt_tokens: units.prompt_total(),
            completion_tokens: units.completion_total(),
            cached_tokens: u64::from(units.cached_prompt),
            cache_write_tokens: u64::from(units.cache_write),
            reasoning_tokens: u64::from(units.internal_reasoning),
            cost_nano_usd: ack.charge().nano().unsigned_abs(),
        };
        Some(Settled { usage, ack })
    }

    /// Hands the attempts to the books, which judge them. A second call has nothing left to hand over.
    pub(super) fn write(&mut self) -> Option<Ack> {
        let hold = self.hold.take()?;
        let attempts = std::mem::take(&mut self.ended);
        Some(hold.settle(Settlement {
            model: self.order.model.to_string(),
            first_output_at: attempts.iter().rev().find_map(|attempt| attempt.first_output_at),
            attempts,
            streamed: self.order.streamed,
            finish_reason: self.finish.as_ref().map(|finish| finish.reason.as_str().to_owned()),
            native_finish_reason: self.finish.take().and_then(|finish| finish.native),
            received_at: self.order.created_at,
            finished_at: self.app.env.now(),
            service_tier: Some(self.order.service_tier.to_owned()),
            routing: self.routing.take().map(|told| serde_json::json!(told)),
        }))
    }

    /// What is billed: our own count where the model's vocabulary is known, else the provider's within what
    /// the bytes that passed allow.
    pub(super) fn count(&mut self, upstream: Option<UpstreamUsage>) -> (Units, CountedBy) {
        let said = upstream.unwrap_or_default();
        let prompt = match upstream {
            _ if self.order.prompt_verified => self.order.prompt_tokens,
            Some(said) => narrow(said.prompt_tokens).min(self.order.prompt_tokens),
            None => self.order.prompt_least,
        };
        let (pieces, bytes) = self.counter.bounds();
        let reasoned = self.counter.count_channel(Channel::Reasoning).verified();
        let own = std::mem::replace(&mut self.counter, Counter::new(None)).finish().verified();
        let completion = match own {
            Some(count) => narrow(count),
            // No token is less than a byte of text, nor can more be made than were asked for.
            None if upstream.is_some() => narrow(said.completion_tokens.min(bytes.max(pieces))),
            None => narrow(pieces),
        };
        // Nobody pays, and nobody is paid, for more than was set aside.
        let completion = completion.min(self.order.held_output);
        let reasoning = match reasoned {
            Some(count) => narrow(count),
            None => narrow(said.reasoning_tokens),
        };
        let (cached, reasoning) = (narrow(said.cached_tokens).min(prompt), reasoning.min(completion));
        let units = Units {
            prompt: prompt - cached,
            cached_prompt: cached,
            cache_write: 0,
            completion: completion - reasoning,
            internal_reasoning: reasoning,
            request: self.order.requests,
        };
        let counted_by = if own.is_none() && upstream.is_some() { CountedBy::Upstream } else { CountedBy::Gateway };
        (units, counted_by)
    }
}

impl Drop for Generation {
    /// The client left, or something panicked: what was delivered is billed, and nothing else.
    fn drop(&mut self) {
        if self.hold.is_none() {
            return;
        }
        if self.counter.bounds().0 == 0 {
            self.attempt_cancelled();
            drop(self.write());
        } else {
            drop(self.settle(Outcome::ClientLeft, None, None));
        }
    }
}

fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

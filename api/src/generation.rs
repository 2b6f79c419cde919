//! One billed answer in the making: its hold, its attempts, its count. Settled exactly once, however it ends.
//!
//! Everything in flight hangs on this value. Dropped half-way, because the client left or a handler panicked,
//! it settles what had been delivered until then.

use std::sync::Arc;

use billing::{Ack, AttemptUsage, CountedBy, LeaseHold, Outcome, PriceRow, Settlement};
use http::StatusCode;
use protocol::{AttemptId, Id, NanoUsd, RequestId, Timestamp, Units};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use scheduler::ask::Held;
use scheduler::explain::{Attempted, Explanation};
use scheduler::{Action, Admission, Observation};

use crate::dialect::{Channel, Dialect, Finish, FinishReason, Head, InBandError, UpstreamUsage, Usage, Voice};
use crate::envelope::Work;
use crate::error::{ApiError, PreviousError};
use crate::limits::Permit;
use crate::state::AppState;
use crate::tokenizer::Counter;

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
    /// When the request arrived.
    pub created_at: Timestamp,
}

/// An attempt that could not finish the answer, as the client may know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Stable code.
    pub code: &'static str,
    /// The status it is, or would have been.
    pub status: StatusCode,
}

/// A prompt's tokens, as far as they are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptCount {
    /// Counted, or the most it can be.
    pub tokens: u32,
    /// Whether it was counted with the model's own vocabulary.
    pub verified: bool,
    /// Counted, or what is likely: for choosing an offer.
    pub likely: u32,
    /// Of several texts the longest one's share of that.
    pub longest: u32,
    /// What is billed where nobody counts.
    pub least: u32,
}

impl Failure {
    /// As a stream that has begun tells it.
    #[must_use]
    pub fn in_band<'a>(&self, message: &'a str) -> InBandError<'a> {
        InBandError { message, code: self.code, http_status: self.status.as_u16() }
    }

    /// What the machine's last step means for the client.
    #[must_use]
    pub fn of(action: &Action) -> Self {
        let (status, code) = match action {
            Action::Fail(failure) => failure.status(),
            // After its first content an attempt can only fail for good.
            _ => (502, "provider_disconnected"),
        };
        Self { code, status: StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY) }
    }
}

/// The attempt in flight.
struct Running {
    id: AttemptId,
    admission: Admission,
    price: Arc<PriceRow>,
    status: Option<u16>,
    started_at: Timestamp,
    first_output_at: Option<Timestamp>,
}

/// What the client is told at the end, and when it may be told.
pub struct Settled {
    /// Tokens and cost.
    pub usage: Usage,
    /// Resolves once the books have it.
    pub ack: Ack,
}

/// One billed answer in the making.
pub struct Generation {
    app: AppState,
    order: Order,
    counter: Counter,
    /// Present until settled.
    hold: Option<LeaseHold>,
    /// Its place under the limits, free again when this value goes.
    permit: Permit,
    ended: Vec<AttemptUsage>,
    errors: Vec<PreviousError>,
    running: Option<Running>,
    finish: Option<Finish>,
    too_long: bool,
    /// What was considered and tried, for a client who wants to know.
    routing: Option<Explanation>,
}

impl Generation {
    /// A generation with its money set aside and nothing dispatched yet.
    #[must_use]
    pub fn new(app: AppState, order: Order, hold: LeaseHold, permit: Permit) -> Self {
        let counter = app.tokenizers.counter(&order.model);
        Self {
            app,
            order,
            counter,
            hold: Some(hold),
            permit,
            ended: Vec::new(),
            errors: Vec::new(),
            running: None,
            finish: None,
            too_long: false,
            routing: None,
        }
    }

    /// Draws for placing it anew.
    #[must_use]
    pub fn rng(&self) -> SmallRng {
        rng_of(self.order.request)
    }

    /// The broker's parts.
    #[must_use]
    pub fn app(&self) -> &AppState {
        &self.app
    }

    /// Who asked, and for what.
    #[must_use]
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// Who tells the client, of the model that is asked now.
    #[must_use]
    pub fn voice(&self) -> Box<dyn Voice + Send> {
        let order = &self.order;
        let head = Head {
            request: order.request,
            created_unix_s: order.created_at.unix_seconds(),
            model: &order.model,
            prompt_tokens: order.prompt_tokens,
            env: &self.app.env,
        };
        order.dialect.voice(head, order.streamed)
    }

    /// Turns to another model, after all offers of the one before have failed. `false`, and nothing changed, when
    /// the money for it can't be set aside.
    pub fn turn_to(&mut self, model: Arc<str>, prompt: PromptCount, held_output: u32, ceiling: NanoUsd) -> bool {
        debug_assert!(self.running.is_none(), "an attempt is ended before the model changes");
        let Some(hold) = &mut self.hold else { return false };
        let more = ceiling.saturating_sub(hold.amount());
        if more > NanoUsd::ZERO && !hold.extend(more) {
            return false;
        }
        self.counter = self.app.tokenizers.counter(&model);
        self.order = Order {
            model,
            prompt_tokens: prompt.tokens,
            prompt_verified: prompt.verified,
            prompt_least: prompt.least,
            held_output,
            ..self.order.clone()
        };
        true
    }

    /// The most the request may cost on any attempt, and the tokens that is for.
    #[must_use]
    pub fn held(&self) -> Option<Held> {
        let hold = self.hold.as_ref()?;
        let (prompt_tokens, output_tokens) = (self.order.prompt_tokens, self.order.held_output);
        Some(Held { prompt_tokens, output_tokens, amount: hold.amount() })
    }

    /// Where generated text is counted.
    pub fn counter(&mut self) -> &mut Counter {
        &mut self.counter
    }

    /// Failures of earlier attempts, for the client.
    #[must_use]
    pub fn previous_errors(&self) -> &[PreviousError] {
        &self.errors
    }

    /// The provider whose answer is being relayed.
    #[must_use]
    pub fn provider_name(&self) -> Option<Arc<str>> {
        self.running.as_ref().map(|run| Arc::clone(&run.admission.offer().listing.slug))
    }

    /// Starts an attempt; one before it must have ended.
    pub fn begin(&mut self, admission: Admission, price: Arc<PriceRow>) -> AttemptId {
        debug_assert!(self.running.is_none(), "an attempt is ended before the next begins");
        let now = self.app.env.now();
        let id = self.app.env.mint_at(now);
        self.running = Some(Running { id, admission, price, status: None, started_at: now, first_output_at: None });
        id
    }

    /// The attempt's request did not leave after all.
    pub fn unsent(&mut self) {
        if let Some(run) = &mut self.running {
            run.admission.unsent();
        }
    }

    /// The attempt's head arrived.
    pub fn answered(&mut self, status: StatusCode) {
        if let Some(run) = &mut self.running {
            run.status = Some(status.as_u16());
        }
    }

    /// Keeps what was considered: the client wants to know.
    pub fn explain(&mut self, considered: Explanation) {
        self.routing = Some(considered);
    }

    /// What was considered and tried until now, the running attempt included; `None` when nobody wants to know.
    #[must_use]
    pub fn routing(&self) -> Option<Explanation> {
        let mut told = self.routing.clone()?;
        if let Some(run) = &self.running {
            told.attempts.push(tried(run, "answering", None, self.app.env.now()));
        }
        Some(told)
    }

    /// Adds an attempt that ends now to what the client is told.
    fn note(&mut self, run: &Running, status: &'static str, code: Option<&'static str>) {
        if let Some(told) = &mut self.routing {
            told.attempts.push(tried(run, status, code, self.app.env.now()));
        }
    }

    /// An engine refused it because the prompt does not fit its context.
    pub fn found_too_long(&mut self) {
        self.too_long = true;
    }

    /// Whether an engine did.
    #[must_use]
    pub fn was_too_long(&self) -> bool {
        self.too_long
    }

    /// Something the model generated arrived.
    pub fn content_arrived(&mut self, at: Timestamp) {
        if let Some(run) = &mut self.running {
            run.first_output_at.get_or_insert(at);
            run.admission.first_content();
        }
    }

    /// Whether the hold still covers what the running answer may cost at its next piece, taking more from the
    /// lease when an open-ended one runs low. `false` ends the answer at its length, whatever the engine thinks
    /// of limits.
    pub fn covers_more(&mut self) -> bool {
        let gateway = &self.app.config.gateway;
        if !self.order.open_ended {
            return !self.counter.passes(u64::from(self.order.held_output));
        }
        if !self.counter.passes(u64::from(self.order.held_output.saturating_sub(gateway.extend_below_tokens))) {
            return true;
        }
        let (Some(hold), Some(run)) = (&mut self.hold, &self.running) else { return false };
        let extra = run.price.user.ceiling(0, gateway.extend_tokens).unwrap_or(NanoUsd::MAX);
        if hold.extend(extra) {
            self.order.held_output = self.order.held_output.saturating_add(gateway.extend_tokens);
            return true;
        }
        !self.counter.passes(u64::from(self.order.held_output))
    }

    /// How the first choice ended.
    pub fn finished_as(&mut self, finish: Option<Finish>) {
        self.finish = finish;
    }

    /// Ends the running attempt without delivery: it earns nothing and the user pays nothing for it.
    pub fn attempt_failed(&mut self, code: &'static str, observed: Option<Observation>) {
        if self.app.upstreams.closing().is_cancelled() {
            return self.attempt_cut();
        }
        let Some(run) = self.running.take() else { return };
        self.errors.push(PreviousError { provider: run.admission.offer().slug().to_owned(), status: run.status, code });
        self.note(&run, "failed", Some(code));
        let attempt =
            self.close(run, observed, Outcome::ProviderFailed, Units::default(), CountedBy::Gateway, Some(code));
        self.ended.push(attempt);
        // Its text never reached the client, or reached it in an answer nobody is charged for.
        self.counter = self.app.tokenizers.counter(&self.order.model);
    }

    /// The broker ended the attempt at its stop: the user pays nothing, the provider is paid for what it made.
    fn attempt_cut(&mut self) {
        let made = self.counter.bounds().0 > 0;
        let (units, counted_by) = if made { self.count(None) } else { (Units::default(), CountedBy::Gateway) };
        let Some(run) = self.running.take() else { return };
        self.note(&run, "cancelled", Some("broker_stopped"));
        let attempt = self.close(run, None, Outcome::Cancelled, units, counted_by, Some("broker_stopped"));
        self.ended.push(attempt);
    }

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

    fn settle(
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
    fn write(&mut self) -> Option<Ack> {
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
    fn count(&mut self, upstream: Option<UpstreamUsage>) -> (Units, CountedBy) {
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
            request: 1,
        };
        let counted_by = if own.is_none() && upstream.is_some() { CountedBy::Upstream } else { CountedBy::Gateway };
        (units, counted_by)
    }

    fn close(
        &self,
        run: Running,
        observed: Option<Observation>,
        outcome: Outcome,
        units: Units,
        counted_by: CountedBy,
        error_code: Option<&'static str>,
    ) -> AttemptUsage {
        let offer = run.admission.offer();
        let usage = AttemptUsage {
            attempt: run.id,
            provider: offer.provider_id(),
            node: offer.node_id(),
            price: run.price,
            outcome,
            units,
            reread: 0,
            counted_by,
            status: run.status,
            error_code: error_code.map(str::to_owned),
            started_at: run.started_at,
            first_output_at: run.first_output_at,
            finished_at: self.app.env.now(),
        };
        if let Some(observed) = observed {
            run.admission.finish(&observed);
        }
        usage
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

impl Generation {
    /// Nothing had come when the client left: the provider did no wrong, and nobody pays.
    fn attempt_cancelled(&mut self) {
        if let Some(run) = self.running.take() {
            self.note(&run, "cancelled", Some("client_left"));
            let units = Units::default();
            let attempt = self.close(run, None, Outcome::Cancelled, units, CountedBy::Gateway, Some("client_left"));
            self.ended.push(attempt);
        }
    }
}

/// One attempt, in the words of a routing record.
fn tried(run: &Running, status: &'static str, code: Option<&'static str>, now: Timestamp) -> Attempted {
    let ms = |until: Timestamp| u64::try_from(until.since(run.started_at).as_millis()).unwrap_or(u64::MAX);
    Attempted {
        provider: Some(run.admission.offer().slug().to_owned()),
        status,
        code,
        elapsed_ms: ms(now),
        first_content_ms: run.first_output_at.map(ms),
    }
}

/// Draws for one request: its id is random enough to seed them, and so a decision can be explained again.
#[must_use]
pub fn rng_of(request: RequestId) -> SmallRng {
    SmallRng::seed_from_u64(request.uuid().as_u64_pair().1)
}

fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

//! One billed answer in the making: its hold, its attempts, its count. Settled exactly once, however it ends.
//!
//! Everything in flight hangs on this value. Dropped half-way, because the client left or a handler panicked,
//! it settles what had been delivered until then.

mod attempt;
mod failure;
mod order;
mod settle;

use std::sync::Arc;

use billing::{AttemptUsage, LeaseHold};
use protocol::NanoUsd;
use rand::rngs::SmallRng;
use scheduler::ask::Held;
use scheduler::explain::Explanation;

pub use failure::Failure;
pub use order::{Order, rng_of};
pub use settle::Settled;

use crate::dialect::{Expected, Finish, Head, Voice};
use crate::error::PreviousError;
use crate::limits::{Permit, RateHeaders};
use crate::prompt::PromptCount;
use crate::state::AppState;
use crate::tokenizer::Counter;
use attempt::{Running, tried};

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

    /// Whether the caller's limits have room for so many tokens of another model, after all offers of the one before
    /// have failed. What that one had taken of them is free again.
    pub async fn is_let_in(&mut self, model: &str, tokens: u64) -> bool {
        self.permit.turn_to(model, tokens).await
    }

    /// Where the tightest limits stood when it was let in.
    #[must_use]
    pub fn rate(&self) -> RateHeaders {
        self.permit.headers()
    }

    /// Turns to another model that was let in, and counts as a request of it. `false`, and nothing changed, when the
    /// money for it can't be set aside.
    pub fn turn_to(
        &mut self,
        model: Arc<str>,
        prompt: PromptCount,
        expected: Option<Expected>,
        held_output: u32,
        ceiling: NanoUsd,
    ) -> bool {
        debug_assert!(self.running.is_none(), "an attempt is ended before the model changes");
        let Some(hold) = &mut self.hold else { return false };
        let more = ceiling.saturating_sub(hold.amount());
        if more > NanoUsd::ZERO && !hold.extend(more) {
            return false;
        }
        self.permit.count();
        self.counter = self.app.tokenizers.counter(&model);
        self.order = Order {
            model,
            prompt_tokens: prompt.tokens,
            prompt_verified: prompt.verified,
            prompt_least: prompt.least,
            held_output,
            expected,
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

    /// Keeps what was considered: the client wants to know.
    pub fn explain(&mut self, considered: Explanation) {
        self.routing = Some(considered);
    }

    /// What was considered and tried until now, the running attempt included; `None` when nobody wants to know.
    #[must_use]
    pub fn routing(&self) -> Option<Explanation> {
        let mut told = self.routing.clone()?;
        if let Some(run) = &self.running {
            told.attempts.push(tried(run, &self.order, "answering", None, self.app.env.now()));
        }
        Some(told)
    }

    /// The same as JSON on one line.
    #[must_use]
    pub fn routing_text(&self) -> Option<String> {
        serde_json::to_string(&self.routing()?).ok()
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
}

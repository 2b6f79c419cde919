//! One attempt at the answer, from its dispatch to its end.

use std::sync::Arc;

use billing::{AttemptUsage, CountedBy, Outcome, PriceRow, Ticket};
use http::StatusCode;
use protocol::{AttemptId, Timestamp, Units};
use scheduler::explain::Attempted;
use scheduler::{Admission, Observation};

use super::{Generation, Order};
use crate::error::PreviousError;

/// The attempt in flight.
pub(super) struct Running {
    pub(super) id: AttemptId,
    pub(super) admission: Admission,
    pub(super) price: Arc<PriceRow>,
    pub(super) status: Option<u16>,
    pub(super) started_at: Timestamp,
    pub(super) first_output_at: Option<Timestamp>,
}

impl Generation {
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

    /// What the node hands back with its report, so that it is paid should this replica not live to settle.
    #[must_use]
    pub fn ticket(&self) -> Option<String> {
        let (receipts, run) = (self.app.receipts.as_ref()?, self.running.as_ref()?);
        let (who, offer) = (self.hold.as_ref()?.who(), run.admission.offer());
        let ticket = Ticket {
            attempt: run.id,
            request: who.request,
            provider: offer.provider_id(),
            node: offer.node_id(),
            offer: run.price.offer,
            price_version: run.price.version,
            organization: who.organization,
            project: who.project,
            key: who.key,
            prompt: self.order.prompt_tokens,
            output: self.order.held_output,
            streamed: self.order.streamed,
            requests: self.order.requests,
        };
        Some(receipts.seal(&ticket, run.started_at))
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

    /// Something the model generated arrived.
    pub fn content_arrived(&mut self, at: Timestamp) {
        if let Some(run) = &mut self.running {
            run.first_output_at.get_or_insert(at);
            run.admission.first_content();
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

    /// Nothing had come when the client left: the provider did no wrong, and nobody pays.
    pub(super) fn attempt_cancelled(&mut self) {
        if let Some(run) = self.running.take() {
            self.note(&run, "cancelled", Some("client_left"));
            let units = Units::default();
            let attempt = self.close(run, None, Outcome::Cancelled, units, CountedBy::Gateway, Some("client_left"));
            self.ended.push(attempt);
        }
    }

    /// Adds an attempt that ends now to what the client is told.
    pub(super) fn note(&mut self, run: &Running, status: &'static str, code: Option<&'static str>) {
        if let Some(told) = &mut self.routing {
            told.attempts.push(tried(run, &self.order, status, code, self.app.env.now()));
        }
    }

    pub(super) fn close(
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

/// One attempt, in the words of a routing record.
pub(super) fn tried(
    run: &Running,
    order: &Order,
    status: &'static str,
    code: Option<&'static str>,
    now: Timestamp,
) -> Attempted {
    let ms = |until: Timestamp| u64::try_from(until.since(run.started_at).as_millis()).unwrap_or(u64::MAX);
    Attempted {
        provider: Some(run.admission.offer().slug().to_owned()),
        status,
        code,
        elapsed_ms: ms(now),
        tools_emulated: order.expected.is_some(),
        first_content_ms: run.first_output_at.map(ms),
    }
}

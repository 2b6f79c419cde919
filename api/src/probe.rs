//! Staged offers must answer the broker before they answer customers. Probes are paid to nobody and billed to nobody.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{HeaderValue, Request, header};
use http_body::Body as _;
use http_body_util::Full;
use http_body_util::combinators::BoxBody;
use platform::worker::{Next, Worker};
use protocol::{AttemptId, Id, OfferId, OrganizationId, RequestId, Timestamp, header as ours};
use scheduler::provider::OfferState;
use scheduler::{Admission, Observation, Outcome, Placed};
use serde_json::json;
use tokio::time::Instant;

use crate::dialect::{Assembler, EventScanner, Kind};
use crate::dispatch;
use crate::state::AppState;
use crate::tokenizer::Counter;
use crate::upstream::Answer;

/// Probes under way at once: few enough that a fleet joining at once is no load of its own.
const MAX_AT_ONCE: usize = 32;
/// The longest a probe may take; an engine that needs longer for four tokens serves nobody.
const LIMIT: Duration = Duration::from_secs(60);
/// Words an engine needs no thought for.
const PROMPT: &str = "Reply with the single word: ready";

/// Sends probes to staged offers and lets those in that have answered often enough.
pub struct Prober {
    app: AppState,
    clean: HashMap<OfferId, u32>,
}

/// Why a probe was not clean.
#[derive(Debug, thiserror::Error)]
enum Unclean {
    #[error("the node granted no credit")]
    NoCredit,
    #[error("it could not be sent")]
    Send(#[from] crate::upstream::SendError),
    #[error("the engine answered {0}")]
    Status(http::StatusCode),
    #[error("the answer broke off")]
    Broken(#[from] hyper::Error),
    #[error("the answer is no stream of chunks")]
    Malformed(#[from] crate::dialect::Error),
    #[error("the answer has no text or no end")]
    Empty,
    #[error("no whole answer within {LIMIT:?}")]
    Timeout,
}

impl Prober {
    /// Has seen no probe yet.
    #[must_use]
    pub fn new(app: AppState) -> Self {
        Self { app, clean: HashMap::new() }
    }

    async fn let_in(&mut self, offer: OfferId) -> Result<(), scheduler::Error> {
        self.clean.remove(&offer);
        let mut tx = self.app.db.begin().await?;
        scheduler::store::offers::set_state(&mut tx, offer, OfferState::Active).await?;
        tx.commit().await?;
        tracing::info!(offer.id = %offer, "an offer has passed its probes and takes customers");
        Ok(())
    }
}

impl Worker for Prober {
    type Error = scheduler::Error;

    fn name(&self) -> &'static str {
        "api.probe"
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(250)
    }

    async fn tick(&mut self, now: Timestamp) -> Result<Next, scheduler::Error> {
        let staged = self.app.scheduler.staged(OrganizationId::from_uuid(uuid::Uuid::nil()), now);
        self.clean.retain(|offer, _| staged.iter().any(|placed| placed.offer.id() == *offer));
        let mut running: FuturesUnordered<_> =
            staged.into_iter().take(MAX_AT_ONCE).map(|placed| probe(&self.app, placed)).collect();
        let mut passed = Vec::new();
        while let Some((offer, outcome)) = running.next().await {
            match outcome {
                Ok(()) => passed.push(offer),
                Err(error) => {
                    tracing::info!(offer.id = %offer, %error, "a probe of a staged offer was not clean");
                    self.clean.remove(&offer);
                }
            }
        }
        drop(running);
        let again = !passed.is_empty();
        for offer in passed {
            let count = self.clean.entry(offer).or_default();
            *count += 1;
            if *count >= self.app.config.providers.probes_to_activate {
                self.let_in(offer).await?;
            }
        }
        Ok(if again { Next::Again } else { Next::Wait })
    }
}

async fn probe(app: &AppState, placed: Placed) -> (OfferId, Result<(), Unclean>) {
    let offer = placed.offer.id();
    let outcome = tokio::time::timeout(LIMIT, ask(app, &placed)).await.unwrap_or(Err(Unclean::Timeout));
    (offer, outcome)
}

async fn ask(app: &AppState, placed: &Placed) -> Result<(), Unclean> {
    let mut admission = app.scheduler.admit(placed, app.env.now()).ok_or(Unclean::NoCredit)?;
    let request = request(app, placed, &admission);
    admission.sent();
    let started = Instant::now();
    let sent = app.upstreams.send(&dispatch::route(&placed.offer), request, Duration::from_secs(2)).await;
    let answer = sent.inspect_err(|error| {
        if error.is_unsent() {
            admission.unsent();
        }
    })?;
    if !answer.response.status().is_success() {
        return Err(Unclean::Status(answer.response.status()));
    }
    let (first, tokens) = read(answer, started).await?;
    // What a probe shows is as good a measurement as a customer's request.
    admission.finish(&Observation {
        outcome: Outcome::Completed,
        at: app.env.now(),
        elapsed: started.elapsed(),
        first_content: Some(first),
        generating: started.elapsed().saturating_sub(first),
        longest_gap: Duration::ZERO,
        output_tokens: tokens,
        plain: false,
    });
    Ok(())
}

fn request(app: &AppState, placed: &Placed, admission: &Admission) -> crate::upstream::NodeRequest {
    let body = json!({
        "model": placed.offer.upstream_model(), "stream": true, "stream_options": {"include_usage": true},
        "max_tokens": 4, "temperature": 0, "messages": [{"role": "user", "content": PROMPT}],
    });
    let mut request = Request::new(BoxBody::new(Full::new(body.to_string().into())));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = http::Uri::from_static("http://node/v1/chat/completions");
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let ids = [
        (ours::GENERATION, app.env.mint::<RequestId>().to_string()),
        (ours::ATTEMPT, app.env.mint::<AttemptId>().to_string()),
        (ours::OFFER, placed.offer.id().to_string()),
    ];
    for (name, value) in ids {
        headers.insert(name, HeaderValue::try_from(value).expect("an id is visible ASCII"));
    }
    headers.insert(ours::PRICE_VERSION, HeaderValue::from(placed.offer.price.version));
    headers.insert(ours::CREDITS, HeaderValue::from(admission.weight()));
    headers.insert(ours::DISPATCH, HeaderValue::from(admission.number()));
    request
}

/// Reads a whole answer; the time to its first text, and how many pieces it had.
async fn read(mut answer: Answer, started: Instant) -> Result<(Duration, u32), Unclean> {
    let (mut scanner, mut assembler, mut counter) = (EventScanner::new(), Assembler::new(), Counter::new(None));
    let (mut first, mut pieces, mut done) = (None, 0, false);
    while let Some(frame) = poll_fn(|cx| Pin::new(answer.body()).poll_frame(cx)).await {
        if let Ok(data) = frame?.into_data() {
            scanner.push(data);
        }
        while let Some(event) = scanner.next_event()? {
            let kind = assembler.push(&event, &mut counter)?;
            if kind.is_generated() {
                first.get_or_insert_with(|| started.elapsed());
                pieces += 1;
            }
            done |= kind == Kind::Done;
        }
    }
    match first {
        Some(first) if done && assembler.is_complete(1) => Ok((first, pieces)),
        _ => Err(Unclean::Empty),
    }
}

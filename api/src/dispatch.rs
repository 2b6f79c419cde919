//! Finds an attempt that begins to answer: one offer after another, silently, under the machine's deadlines.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use http_body_util::combinators::BoxBody;
use protocol::OfferId;
use protocol::header as ours;
use protocol::session::NodeMode;
use scheduler::attempt::classify::NodeFault;
use scheduler::attempt::{Candidate, Failure, FailureKind};
use scheduler::{Action, Ask, Availability, AvailabilityCode, Decision, Event, Machine, OfferEntry, Placed, Step};

use crate::clock::Ticker;
use crate::dialect::{Emulated, Reader, Relayed, Vectors};
use crate::envelope::{Envelope, ModelRef, UpstreamEdits, Work, form_type};
use crate::error::ApiError;
use crate::generation::Generation;
use crate::placing::{self, Place};
use crate::relay::{Dispatched, Live, Progress, Sink};
use crate::upstream::{Answer, NodeRequest, Route, SendError};
use crate::{hold, refusal};

/// How an offer declares that its engine notices when a plain call is abandoned.
const PLAIN: &str = "plain";
/// Predicted seconds within which a whole answer is waited for: half the least time any first content is given.
const PLAIN_WITHIN_S: f64 = 2.5;

/// What is dispatched, and where it may go.
pub struct Plan {
    /// What the request needs; asked again when every offer of the first placement has failed.
    pub ask: Ask,
    /// Offers in order.
    pub offers: Vec<Placed>,
    /// Models to turn to when every offer of this one has failed, the next one last.
    pub fallbacks: Vec<ModelRef<'static>>,
    /// The client's body, in the words of chat where it came in others.
    pub body: Bytes,
    /// What the offers of this model get in its place, where tools are emulated. Each offer gets its own version.
    pub written: Option<Bytes>,
    /// The body already written for the first attempt, so the usual request is parsed once.
    pub first_body: Option<(OfferId, Bytes)>,
}

/// Dispatches until an attempt begins to answer, or none can.
pub async fn dispatch(mut generation: Box<Generation>, mut plan: Plan) -> Dispatched {
    let app = generation.app().clone();
    let ticker = Ticker::start(app.env.now());
    let mut machine =
        Machine::new(app.config.scheduler.attempt, candidates(generation.order().work, &plan.offers), ticker.now());
    let mut step = machine.start(ticker.now());
    loop {
        if let Some(offer) = step.blamed {
            app.scheduler.blame(offer, ticker.now());
        }
        match step.action {
            Action::Dispatch { index, attempt, limits } => {
                let placed = &plan.offers[index];
                match try_offer(&mut generation, machine, ticker, &plan, placed, attempt, limits.connect).await {
                    Tried::Begun(live) => return (generation, Ok(*live)),
                    Tried::Ended(back, next) => (machine, step) = (*back, next),
                }
            }
            Action::Replan => {
                plan.ask.tried = machine.tried().to_vec();
                plan.offers = match app.scheduler.acquire(&plan.ask, &mut generation.rng()).await {
                    Decision::Place { offers, .. } => offers,
                    Decision::Wait { .. } | Decision::Refuse { .. } => Vec::new(),
                };
                step = machine.replanned(candidates(generation.order().work, &plan.offers), ticker.now());
            }
            Action::Fail(failure) => {
                if turn(&mut generation, &mut plan).await {
                    machine = Machine::new(
                        app.config.scheduler.attempt,
                        candidates(generation.order().work, &plan.offers),
                        ticker.now(),
                    );
                    step = machine.start(ticker.now());
                    continue;
                }
                let error = error_of(failure, &generation);
                return (generation, Err(error));
            }
            Action::Wait | Action::Forward | Action::Finish | Action::Stop => {
                let stray = std::io::Error::other("the attempt machine gave a step that is none between attempts");
                return (generation, Err(ApiError::internal(&stray)));
            }
        }
    }
}

/// Turns to the next model that has offers, within limits of its own, that the money reaches for; `false` when none
/// is left.
async fn turn(generation: &mut Generation, plan: &mut Plan) -> bool {
    if plan.fallbacks.is_empty() {
        return false;
    }
    let (app, body, organization) = (generation.app().clone(), plan.body.clone(), plan.ask.organization);
    let Ok(envelope) = Envelope::parse_for(generation.order().work, &body) else { return false };
    while let Some(model) = plan.fallbacks.pop() {
        let found = placing::find(&app, &envelope, &body, &model, organization, &mut generation.rng()).await;
        let Ok(Ok(Place { ask, prompt, offers, emulated, .. })) = found else { continue };
        let Some(held) = hold::of(&app, &ask, prompt, offers) else { continue };
        let most = u64::from(prompt.tokens) + u64::from(held.output_tokens);
        if !generation.is_let_in(&ask.model, most).await {
            continue;
        }
        let (written, expected) = emulated.map(|Emulated { body, expected }| (body, expected)).unzip();
        if generation.turn_to(Arc::clone(&ask.model), prompt, expected, held.output_tokens, held.ceiling) {
            plan.ask = Ask { held: generation.held(), ..ask };
            (plan.offers, plan.written, plan.first_body) = (held.offers, written, None);
            return true;
        }
    }
    false
}

enum Tried {
    Begun(Box<Live>),
    Ended(Box<Machine>, Step),
}

/// One attempt, up to its first content.
async fn try_offer(
    generation: &mut Generation,
    mut machine: Machine,
    ticker: Ticker,
    plan: &Plan,
    placed: &Placed,
    attempt: u32,
    connect: Duration,
) -> Tried {
    let Some((request, route)) = admit(generation, plan, placed, attempt) else {
        let step = machine.on(Event::NotAdmitted, ticker.now());
        return Tried::Ended(Box::new(machine), step);
    };
    // The transport bounds connecting by itself; from here on the machine waits for content.
    machine.on(Event::Connected, ticker.now());
    let deadline = machine.deadline().map_or_else(tokio::time::Instant::now, |at| ticker.instant(at));
    let app = generation.app().clone();
    let sent = tokio::time::timeout_at(deadline, app.upstreams.send(&route, request, connect)).await;
    let mut answer = match sent {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            tracing::debug!(%error, request.id = %generation.order().request, "an attempt could not be sent");
            if error.is_unsent() {
                generation.unsent();
            }
            let step = machine.on(event_of(&error), ticker.now());
            return ended(generation, machine, step);
        }
        Err(_) => {
            let step = machine.on(Event::Tick, ticker.now());
            return ended(generation, machine, step);
        }
    };
    let status = answer.response.status();
    generation.answered(status);
    if refusal::is_refusal(status) && refusal::read(&mut answer).await {
        generation.found_too_long();
    }
    let step = machine.on(head_event(status, answer.response.headers()), ticker.now());
    if step.action != Action::Wait {
        return ended(generation, machine, step);
    }
    await_content(generation, machine, ticker, answer).await
}

async fn await_content(generation: &mut Generation, machine: Machine, ticker: Ticker, answer: Answer) -> Tried {
    let order = generation.order();
    let sink = match order.work {
        Work::Embedding => Sink::Vectors(Vectors::new(&order.model, order.choices as usize, order.base64)),
        Work::Moderation | Work::Image | Work::Speech | Work::Transcription | Work::Translation => {
            Sink::Relayed(Relayed::new(order.work, answer.response.headers().get(header::CONTENT_TYPE)))
        }
        Work::Chat | Work::Completion => {
            let reader = Reader::new(order.request, generation.voice());
            let reader = match &order.expected {
                Some(expected) => reader.expecting(expected.clone()),
                None => reader,
            };
            Sink::Answer { reader, out: BytesMut::new() }
        }
    };
    let mut live = Live::new(machine, ticker, answer, sink, order.choices);
    match poll_fn(|cx| live.poll_progress(cx, generation)).await {
        Progress::Begun => Tried::Begun(Box::new(live)),
        // An empty answer that says it is finished: nothing to withhold, nothing to fail over for.
        Progress::Finished(bytes, step) => {
            live.finished_early(bytes, step);
            Tried::Begun(Box::new(live))
        }
        Progress::Broken(step) => ended(generation, live.into_machine(), step),
        // Nothing is released before it has begun; were it ever, failing is better than losing text.
        Progress::Released(_) => {
            let mut machine = live.into_machine();
            let step = machine.on(Event::Error(NodeFault::Malformed), ticker.now());
            ended(generation, machine, step)
        }
    }
}

fn ended(generation: &mut Generation, machine: Machine, step: Step) -> Tried {
    let code = code_of(&step);
    generation.attempt_failed(code, step.ended);
    Tried::Ended(Box::new(machine), step)
}

/// Takes the offer's credit and writes its request; `None` when it has none after all.
fn admit(generation: &mut Generation, plan: &Plan, placed: &Placed, attempt: u32) -> Option<(NodeRequest, Route)> {
    let app = generation.app().clone();
    let mut admission = app.scheduler.admit(placed, app.env.now())?;
    let offer = Arc::clone(admission.offer());
    let price = app.billing.prices().get(offer.id(), offer.price.version)?;
    let body = match &plan.first_body {
        // Written for this very offer: another one may call the model by another name.
        Some((id, body)) if attempt == 0 && *id == offer.id() => body.clone(),
        _ => {
            let seed = app.seeds.seed(generation.order().request, attempt);
            let body = plan.written.as_ref().unwrap_or(&plan.body);
            upstream_body(&Envelope::parse_for(generation.order().work, body).ok()?, placed, Some(seed))
        }
    };
    let work = generation.order().work;
    let kind = if work.is_form() { form_type(&body)? } else { HeaderValue::from_static("application/json") };
    let mut request = Request::post(work.uri()).body(BoxBody::new(Full::new(body))).ok()?;
    admission.sent();
    let (number, weight) = (admission.number(), admission.weight());
    let id = generation.begin(admission, price);
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    headers
        .insert(header::ACCEPT, HeaderValue::from_static(if work.is_written() { "text/event-stream" } else { "*/*" }));
    let ids = [
        (ours::GENERATION, generation.order().request.to_string()),
        (ours::ATTEMPT, id.to_string()),
        (ours::OFFER, offer.id().to_string()),
    ];
    for (name, value) in ids {
        headers.insert(name, HeaderValue::try_from(value).ok()?);
    }
    if let Some(ticket) = generation.ticket() {
        headers.insert(ours::TICKET, HeaderValue::try_from(ticket).ok()?);
    }
    headers.insert(ours::PRICE_VERSION, HeaderValue::from(offer.price.version));
    headers.insert(ours::CREDITS, HeaderValue::from(weight));
    headers.insert(ours::DISPATCH, HeaderValue::from(number));
    Some((request, route(&offer)))
}

/// The client's own bytes, with what must differ for this offer.
#[must_use]
pub fn upstream_body(request: &Envelope<'_>, placed: &Placed, seed: Option<u32>) -> Bytes {
    let offer = &placed.offer;
    let edits = UpstreamEdits {
        model: offer.upstream_model(),
        seed: seed.filter(|_| request.seed.is_none() && declares(offer, "seed")),
        developer_role_to_system: !declares(offer, "developer_role"),
        declared: offer.supported_parameters(),
        plain: suits_plain(request, placed),
    };
    request.upstream_body(edits).into()
}

/// Whether the answer may be asked for whole. Streaming is what engines notice being abandoned, and what tells
/// progress from silence; an engine that notices anyway may answer whole what it is sure to answer quickly.
fn suits_plain(request: &Envelope<'_>, placed: &Placed) -> bool {
    let Some(most) = request.max_tokens.filter(|_| !request.stream && declares(&placed.offer, PLAIN)) else {
        return false;
    };
    let tokens = f64::from(most.saturating_mul(request.n));
    placed.predicted.first_content_s + tokens * placed.predicted.tpot_s < PLAIN_WITHIN_S
}

fn declares(offer: &OfferEntry, name: &str) -> bool {
    offer.supported_parameters().iter().any(|known| known == name)
}

/// Where an offer's node is reached.
#[must_use]
pub fn route(offer: &OfferEntry) -> Route {
    match (offer.mode(), offer.base_url()) {
        (NodeMode::Direct, Some(base_url)) => Route::Direct {
            base_url: Arc::from(base_url),
            key: offer.listing.node.upstream_key.as_ref().map(|key| Arc::from(key.expose())),
        },
        (NodeMode::Direct | NodeMode::Tunnel, _) => Route::Tunnel(offer.node_id()),
    }
}

/// Offers as the attempt machine takes them. What comes whole has no first word whose time could be predicted: a
/// picture or the words of a long sound get all the time there is.
fn candidates(work: Work, offers: &[Placed]) -> Vec<Candidate> {
    let of = |placed: &Placed| match placed.candidate() {
        candidate if work.is_relayed() => Candidate { first_content_s: f64::INFINITY, ..candidate },
        candidate => candidate,
    };
    offers.iter().map(of).collect()
}

fn head_event(status: StatusCode, headers: &HeaderMap) -> Event {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let retry_after =
        text(header::RETRY_AFTER.as_str()).and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    Event::Head { status: status.as_u16(), retry_after, credit: text(ours::REFUSED) == Some("credit") }
}

fn event_of(error: &SendError) -> Event {
    Event::Error(match error {
        SendError::Full => return Event::Full,
        SendError::ConnectTimeout(_) => NodeFault::ConnectTimeout,
        SendError::NoTunnel | SendError::Refused(_) => NodeFault::Refused,
        SendError::Broken(_) => NodeFault::Reset,
    })
}

/// What the client may know of an attempt that ended.
fn code_of(step: &Step) -> &'static str {
    use scheduler::Outcome;
    match step.ended.map(|seen| seen.outcome) {
        Some(Outcome::NodeFault(fault)) => fault.name(),
        Some(Outcome::Busy { .. }) => "busy",
        Some(Outcome::CallerFault { .. }) => "refused_request",
        Some(Outcome::Completed | Outcome::Cancelled) | None => "cancelled",
    }
}

/// Why nobody could answer, as the client is told.
fn error_of(failure: Failure, generation: &Generation) -> ApiError {
    let previous = generation.previous_errors();
    match failure.kind {
        FailureKind::Caller { .. } if generation.was_too_long() => ApiError::context_length(
            generation.order().subject,
            "the model's engine counts more tokens than its context holds; shorten the prompt or lower the output limit",
        ),
        FailureKind::Caller { .. } => ApiError::invalid(
            None,
            "the model's engine refuses this request; check that the prompt fits its context and its parameters are supported",
        )
        .with_code("invalid_value"),
        FailureKind::Busy { retry_after } => full(generation, retry_after.unwrap_or(Duration::from_secs(1))),
        FailureKind::NothingTried => full(generation, Duration::from_secs(1)),
        FailureKind::Node(fault) if fault.is_timeout() => ApiError::provider_timeout(previous),
        FailureKind::Node(_) => ApiError::provider_error(previous),
    }
}

/// Offers exist and all were full: the client's to wait for, and no fault of this replica.
fn full(generation: &Generation, wait: Duration) -> ApiError {
    let availability = Availability {
        code: AvailabilityCode::CapacityExhausted,
        retryable: true,
        retry_after: Some(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).clamp(1, 60)),
        requested_models: vec![Arc::clone(&generation.order().model)],
        // Names demands only, and none of those was in the way.
        excluded_by: Vec::new(),
        fallback_models: Vec::new(),
        constraint: None,
    };
    let error = ApiError::capacity(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), availability);
    match generation.previous_errors() {
        [] => error,
        previous => error.with_metadata("previous_errors", serde_json::json!(previous)),
    }
}

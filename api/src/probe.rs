//! Staged offers must answer the broker before they answer customers. Probes are paid to nobody and billed to nobody.

mod asking;
mod rota;

use std::collections::HashMap;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt;
use http::{HeaderValue, Request, header};
use http_body::Body as _;
use http_body_util::Full;
use http_body_util::combinators::BoxBody;
use parking_lot::Mutex;
use platform::worker::{Next, Worker};
use protocol::{AttemptId, Id, OfferId, OrganizationId, RequestId, Timestamp, header as ours};
use scheduler::{Admission, Observation, Outcome, Placed};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::dialect::{ChatWhole, EventScanner, Kind, Reader, Relayed, Vectors};
use crate::dispatch;
use crate::envelope::{Work, form_type};
use crate::state::AppState;
use crate::tokenizer::Counter;
use crate::upstream::Answer;
pub use rota::Failing;
use rota::{Rota, Shown, Staged};

/// Probes under way at once: few enough that a fleet joining at once is no load of its own.
const MAX_AT_ONCE: usize = 32;
/// The longest a probe may take; an engine that needs longer for four tokens serves nobody.
const LIMIT: Duration = Duration::from_secs(60);
/// How long a tick waits for one of them: an engine that answers quickly is soon through, one that hangs holds up
/// nobody.
const GLANCE: Duration = Duration::from_millis(250);
/// The largest answer to a probe: a picture.
const MAX_WHOLE_BYTES: usize = 32 * 1024 * 1024;
/// What comes out of an offer, the likeliest to be all it makes first, and how that is asked for.
const PROBED: [(&str, Work); 6] = [
    ("embeddings", Work::Embedding),
    ("text", Work::Chat),
    ("moderation", Work::Moderation),
    ("image", Work::Image),
    ("speech", Work::Speech),
    ("transcription", Work::Transcription),
];
/// Words an engine needs no thought for.
const PROMPT: &str = "Reply with the single word: ready";

/// How staged offers do. Clones share it.
#[derive(Clone, Default)]
pub struct Probes(Arc<Mutex<Rota>>);

impl Probes {
    /// What is wrong with a staged offer, if this replica's last probe of it failed.
    #[must_use]
    pub fn failing(&self, offer: OfferId) -> Option<Failing> {
        self.0.lock().failing(offer)
    }
}

/// Sends probes to staged offers and lets those in that have answered often enough. Dropping it ends what is
/// under way.
pub struct Prober {
    app: AppState,
    running: JoinSet<Ended>,
}

/// A probe that is over.
struct Ended {
    offer: OfferId,
    version: i64,
    outcome: Result<(), Unclean>,
}

/// Why a probe was not clean.
#[derive(Debug, thiserror::Error)]
enum Unclean {
    #[error("the node granted no credit")]
    NoCredit,
    #[error("it could not be sent: {0}")]
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
    #[error("the probe itself broke")]
    Panicked,
}

impl Prober {
    /// Has seen no probe yet.
    #[must_use]
    pub fn new(app: AppState) -> Self {
        Self { app, running: JoinSet::new() }
    }

    /// Sends probes to whoever's turn it is, as far as there is room.
    fn send(&mut self, now: Timestamp) {
        let placed = self.app.scheduler.staged(OrganizationId::from_uuid(uuid::Uuid::nil()), now);
        let staged: Vec<Staged> = placed.iter().map(staged).collect();
        let mut placed: HashMap<OfferId, Placed> = placed.into_iter().map(|one| (one.offer.id(), one)).collect();
        let mut rota = self.app.probes.0.lock();
        rota.look(&staged, now);
        for offer in rota.next(MAX_AT_ONCE.saturating_sub(self.running.len()), now) {
            if let Some(placed) = placed.remove(&offer) {
                self.running.spawn(probe(self.app.clone(), placed));
            }
        }
    }

    /// Takes what came of probes that ended, waiting a little for the first. Returns those that may be let in.
    async fn gather(&mut self) -> (bool, Vec<(OfferId, i64)>) {
        let (mut clean, mut through) = (false, Vec::new());
        let mut next = tokio::time::timeout(GLANCE, self.running.join_next()).await.ok().flatten();
        while let Some(Ok(Ended { offer, version, outcome })) = next {
            clean |= outcome.is_ok();
            let shown = match outcome {
                Ok(()) => Shown::Clean,
                Err(Unclean::NoCredit) => Shown::NoCredit,
                Err(error) => {
                    tracing::info!(offer.id = %offer, %error, "a probe of a staged offer was not clean");
                    Shown::Unclean(error.to_string())
                }
            };
            let count = self.app.probes.0.lock().ended(offer, version, shown, self.app.env.now());
            if count >= self.app.config.providers.probes_to_activate.max(1) {
                through.push((offer, version));
            }
            next = self.running.try_join_next();
        }
        (clean, through)
    }

    async fn let_in(&self, offer: OfferId, version: i64) -> Result<(), scheduler::Error> {
        let mut tx = self.app.db.begin().await?;
        let done = scheduler::store::offers::activate(&mut tx, offer, version).await?;
        tx.commit().await?;
        self.app.probes.0.lock().settled(offer, self.app.env.now());
        if done {
            tracing::info!(offer.id = %offer, "an offer has passed its probes and takes customers");
        }
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
        self.send(now);
        let (clean, through) = self.gather().await;
        for (offer, version) in through {
            self.let_in(offer, version).await?;
        }
        Ok(if clean { Next::Again } else { Next::Wait })
    }
}

fn staged(placed: &Placed) -> Staged {
    let listing = &placed.offer.listing;
    Staged { offer: placed.offer.id(), provider: listing.provider.id, version: listing.node.offers_version }
}

async fn probe(app: AppState, placed: Placed) -> Ended {
    let Staged { offer, version, .. } = staged(&placed);
    let asking = tokio::time::timeout(LIMIT, ask(&app, &placed));
    // A probe that never ended would keep its place for ever.
    let outcome = match AssertUnwindSafe(asking).catch_unwind().await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(Unclean::Timeout),
        Err(_) => Err(Unclean::Panicked),
    };
    Ended { offer, version, outcome }
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
    let work = work_of(placed);
    let (first, tokens) =
        if work == Work::Chat { read(answer, started).await? } else { read_whole(work, answer, started).await? };
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
        held_up: false,
    });
    Ok(())
}

fn request(app: &AppState, placed: &Placed, admission: &Admission) -> crate::upstream::NodeRequest {
    let work = work_of(placed);
    let body = asking::body(work, placed.offer.upstream_model(), PROMPT);
    let kind = form_type(&body).filter(|_| work.is_form()).unwrap_or(HeaderValue::from_static("application/json"));
    let mut request = Request::new(BoxBody::new(Full::new(body)));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = work.uri();
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
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

/// What comes out of an offer decides what it is asked for.
fn work_of(placed: &Placed) -> Work {
    let outputs = &placed.offer.listing.offer.spec.output_modalities;
    PROBED.iter().find(|(kind, _)| outputs.iter().any(|own| own == kind)).map_or(Work::Chat, |(_, work)| *work)
}

/// Reads an answer that comes all at once; the time it took.
async fn read_whole(work: Work, mut answer: Answer, started: Instant) -> Result<(Duration, u32), Unclean> {
    let kind = answer.response.headers().get(header::CONTENT_TYPE).cloned();
    let mut whole = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(answer.body()).poll_frame(cx)).await {
        if let Ok(data) = frame?.into_data() {
            whole.extend_from_slice(&data);
        }
        if whole.len() > MAX_WHOLE_BYTES {
            return Err(crate::dialect::Error::EventTooLarge.into());
        }
    }
    if work == Work::Embedding {
        Vectors::new("", 1, false).read(&whole)?;
    } else {
        Relayed::new(work, kind.as_ref()).read(&whole)?;
    }
    Ok((started.elapsed(), 0))
}

/// Reads a whole answer; the time to its first text, and how many pieces it had.
async fn read(mut answer: Answer, started: Instant) -> Result<(Duration, u32), Unclean> {
    let (mut scanner, mut out, mut counter) = (EventScanner::new(), BytesMut::new(), Counter::new(None));
    let mut reader = Reader::new(RequestId::from_uuid(uuid::Uuid::nil()), Box::new(ChatWhole::new("", 0, "")));
    let (mut first, mut pieces, mut done) = (None, 0, false);
    while let Some(frame) = poll_fn(|cx| Pin::new(answer.body()).poll_frame(cx)).await {
        if let Ok(data) = frame?.into_data() {
            scanner.push(data);
        }
        while let Some(event) = scanner.next_event()? {
            let kind = reader.read(&event, &mut out, &mut counter)?;
            if kind.is_generated() {
                first.get_or_insert_with(|| started.elapsed());
                pieces += 1;
            }
            done |= kind == Kind::Done;
        }
    }
    match first {
        Some(first) if done && reader.is_complete(1) => Ok((first, pieces)),
        _ => Err(Unclean::Empty),
    }
}

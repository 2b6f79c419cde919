//! The edge: HTTP in front of the books, with keys, faults and webhooks around every call.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Json, Redirect, Response};
use axum::routing::{any, get};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode, Uri};
use parking_lot::Mutex;
use protocol::Env;
use serde_json::{Value, json};
use stripe_shared::Event;
use tokio::sync::mpsc;

use crate::books::Books;
use crate::form::Form;
use crate::idempotency::{Claim, Keys};
use crate::knobs::{FaultKind, Knobs};
use crate::objects;
use crate::refusal::Refusal;

/// How long nothing is said by a call that shall time out: longer than any client waits.
const SILENCE: Duration = Duration::from_secs(300);

/// What all calls share. The books are locked for the length of one call, and never while anything waits.
pub struct Shared {
    pub(crate) env: Env,
    books: Mutex<Books>,
    pub(crate) knobs: Mutex<Knobs>,
    keys: Mutex<Keys>,
    events: mpsc::UnboundedSender<Event>,
}

impl Shared {
    /// Empty books at `base`, which tell their events to `events`.
    #[must_use]
    pub fn new(env: Env, base: String, knobs: Knobs, events: mpsc::UnboundedSender<Event>) -> Self {
        let mut books = Books::default();
        books.base = base;
        books.run = hex::encode(env.bytes::<4>());
        let books = Mutex::new(books);
        Self { env, books, knobs: Mutex::new(knobs), keys: Mutex::default(), events }
    }

    /// Lets `work` change the books, dated now, and tells what happened.
    pub fn with<T>(&self, work: impl FnOnce(&mut Books) -> T) -> T {
        let knobs = self.knobs.lock().clone();
        let mut books = self.books.lock();
        books.now = self.env.now().unix_seconds();
        (books.tax_bps, books.refunds_go) = (knobs.tax_bps, knobs.refunds);
        objects::checkout::expire_due(&mut books);
        let result = work(&mut books);
        for event in std::mem::take(&mut books.untold) {
            // Nobody to tell: the server is going.
            let _ = self.events.send(event);
        }
        result
    }

    /// A number below `bound`, or 0.
    pub(crate) fn draw(&self, bound: u64) -> u64 {
        self.env.seed() % bound.max(1)
    }

    /// True so many times of a thousand.
    pub(crate) fn chance(&self, permille: u32) -> bool {
        self.draw(1_000) < u64::from(permille)
    }
}

/// The API under `/v1`, the pages, and the controls under `/_fake`.
pub fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/{*path}", any(api))
        .route("/pay/{session}", get(pay_page).post(pay))
        .route("/authenticate/{intent}", get(authenticate_page).post(authenticate))
        .merge(crate::papers::routes())
        .merge(crate::control::routes())
        .route("/health", get(async || "ok"))
        .with_state(shared)
}

/// One call of the API.
async fn api(
    State(shared): State<Arc<Shared>>,
    Path(path): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (latency, fault) = {
        let mut knobs = shared.knobs.lock();
        (Duration::from_millis(knobs.latency_ms), knobs.take_fault(method.as_str(), &path))
    };
    match fault {
        Some(FaultKind::RateLimited) => return refused(Refusal::rate_limited()),
        Some(FaultKind::ErrorBefore) => return refused(Refusal::server()),
        Some(FaultKind::SilenceBefore) => return silence().await,
        _ => {}
    }
    let is_signed = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).is_some_and(is_secret_key);
    if !is_signed {
        return refused(Refusal::unauthorized());
    }
    let encoded =
        if method == Method::GET { Bytes::copy_from_slice(uri.query().unwrap_or("").as_bytes()) } else { body };
    let key = headers.get("idempotency-key").and_then(|value| value.to_str().ok()).filter(|_| method == Method::POST);
    let (status, answer, is_replayed) = match key {
        None => {
            tokio::time::sleep(latency).await;
            let (status, answer) = carry_out(&shared, &method, &path, &encoded, fault);
            (status, answer, false)
        }
        Some(key) => {
            let parameters = format!("{path}?{}", String::from_utf8_lossy(&encoded));
            let claim = shared.keys.lock().claim(key, &parameters, shared.env.now().unix_seconds());
            match claim {
                Err(refusal) => return refused(refusal),
                Ok(Claim::Replay(status, answer)) => (status, answer, true),
                Ok(Claim::First) => {
                    // A task of its own: a client that leaves must not leave its key taken for ever.
                    let (shared, key) = (Arc::clone(&shared), key.to_owned());
                    let run = tokio::spawn(async move {
                        tokio::time::sleep(latency).await;
                        let (status, answer) = carry_out(&shared, &method, &path, &encoded, fault);
                        shared.keys.lock().finish(&key, status, &answer);
                        (status, answer)
                    });
                    let Ok((status, answer)) = run.await else { return refused(Refusal::server()) };
                    (status, answer, false)
                }
            }
        }
    };
    match fault {
        Some(FaultKind::SilenceAfterCommit) => return silence().await,
        Some(FaultKind::CutAfterCommit) => return cut(),
        Some(FaultKind::GarbageAfterCommit) => return (StatusCode::OK, "<html>").into_response(),
        _ => {}
    }
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(answer)).into_response();
    if is_replayed {
        response.headers_mut().insert("idempotent-replayed", http::HeaderValue::from_static("true"));
    }
    response
}

fn is_secret_key(value: &str) -> bool {
    value.strip_prefix("Bearer ").is_some_and(|key| key.starts_with("sk_") || key.starts_with("rk_"))
}

/// The answer to be kept and given, with the effect in the books already.
fn carry_out(shared: &Shared, method: &Method, path: &str, encoded: &[u8], fault: Option<FaultKind>) -> (u16, Value) {
    let form = Form::parse(encoded);
    let result = shared.with(|books| objects::call(books, method.as_str(), path, &form));
    let result = if fault == Some(FaultKind::ErrorAfterCommit) { Err(Refusal::server()) } else { result };
    result.map_or_else(|refusal| (refusal.status, refusal.body), |answer| (200, answer))
}

fn refused(refusal: Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(refusal.body)).into_response()
}

async fn silence() -> Response {
    tokio::time::sleep(SILENCE).await;
    StatusCode::GATEWAY_TIMEOUT.into_response()
}

/// An answer that breaks off: the connection closes after its first byte.
fn cut() -> Response {
    let parts = [Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("cut"))];
    let body = Body::from_stream(futures_util::stream::iter(parts));
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

async fn pay_page(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    let session = shared.with(|books| books.sessions.get(&id).cloned());
    match session.filter(|session| session.url.is_some()) {
        Some(session) => html(crate::page::pay(&session, None)),
        None => (StatusCode::NOT_FOUND, html(crate::page::note("Over", "This session is not open."))).into_response(),
    }
}

/// Pays with the chosen card: on to the success page, to the bank's page, or back with what the bank said.
async fn pay(State(shared): State<Arc<Shared>>, Path(id): Path<String>, body: Bytes) -> Response {
    let form = Form::parse(&body);
    let number = form.text("card").unwrap_or("4242424242424242").to_owned();
    let result = shared.with(|books| {
        let result = objects::checkout::pay(books, &id, &number);
        (result, books.sessions.get(&id).cloned())
    });
    match result {
        (Ok(objects::checkout::Paid::Done(url) | objects::checkout::Paid::Asked(url)), _) => {
            Redirect::to(&url).into_response()
        }
        (Err(refusal), Some(session)) if refusal.status == 402 => {
            let word = refusal.body["error"]["decline_code"].as_str().unwrap_or("declined").to_owned();
            (StatusCode::PAYMENT_REQUIRED, html(crate::page::pay(&session, Some(&word)))).into_response()
        }
        (Err(refusal), _) => refused(refusal),
    }
}

async fn authenticate_page(Path(intent): Path<String>) -> Response {
    // The id is echoed into the page: only what ids are made of.
    if !intent.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return StatusCode::NOT_FOUND.into_response();
    }
    html(crate::page::authenticate(&intent))
}

async fn authenticate(State(shared): State<Arc<Shared>>, Path(intent): Path<String>, body: Bytes) -> Response {
    let is_right = Form::parse(&body).text("result") == Some("complete");
    let result = shared.with(|books| {
        if intent.starts_with("seti_") {
            objects::setup_intents::authenticated(books, &intent, is_right)?;
        } else {
            objects::payment_intents::authenticated(books, &intent, is_right)?;
        }
        Ok(objects::checkout::completed_by(books, &intent))
    });
    match result {
        Ok(Some(url)) => Redirect::to(&url).into_response(),
        Ok(None) => html(crate::page::note("Done", "Your bank knows you.")),
        Err(refusal) => refused(refusal),
    }
}

/// A page.
pub(crate) fn html(page: String) -> Response {
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}

/// JSON as it is, for the controls.
pub(crate) fn plain(result: Result<Value, Refusal>) -> Response {
    result.map_or_else(refused, |answer| Json(json!(answer)).into_response())
}

//! One attempt: admitted or refused at once, handed to the engine, metered on its way back.

use std::str::FromStr;

use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use protocol::receipt::ReportStatus;
use protocol::{AttemptId, OfferId, RequestId, Units, header};

use crate::body::{self, Body};
use crate::credit::ReplicaName;
use crate::meter::{Metered, Scanner, Tally};
use crate::reports::Draft;
use crate::serve::Site;

/// What an engine is told of a request, and nothing else: clients' headers are none of its business.
const TO_ENGINE: [HeaderName; 2] = [CONTENT_TYPE, ACCEPT];
/// Longest ticket kept: several times what a broker seals.
const MAX_TICKET: usize = 1_024;
/// What the broker is told of an answer.
const TO_BROKER: [HeaderName; 3] = [CONTENT_TYPE, CACHE_CONTROL, RETRY_AFTER];

/// Answers one attempt. Dropping the future or the body it gives frees the engine at once.
pub(crate) async fn answer(site: &Site, replica: Option<&ReplicaName>, request: Request<Body>) -> Response<Body> {
    let (head, payload) = request.into_parts();
    let draft = draft(&head.headers, site.env.now().unix_ms());
    let weight = number(&head.headers, header::CREDITS).unwrap_or(1);
    let dispatch = number(&head.headers, header::DISPATCH);
    let offer = draft.as_ref().map(|draft| draft.offer);
    let Ok(pass) = site.gate.enter(replica, dispatch, weight, offer) else {
        return refused();
    };
    let cut = pass.cut_off().clone();
    let mut tally = Tally::new(draft, site.reporter.clone(), pass);
    let mut inner = Request::new(tally.request(payload));
    *inner.method_mut() = head.method;
    *inner.uri_mut() = head.uri.path_and_query().map_or_else(Default::default, |path| path.clone().into());
    copy(&head.headers, inner.headers_mut(), &TO_ENGINE);
    let called = tokio::select! {
        called = site.engine.call(inner) => called,
        () = cut.cancelled() => return cut_off(),
    };
    match called {
        Ok(response) => {
            let (engine, answer) = response.into_parts();
            let failed = !engine.status.is_success();
            let event_stream = engine.headers.get(CONTENT_TYPE);
            let sse = event_stream.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
            tally.scanner = Scanner::new(sse);
            let mut response = Response::new(Metered::new(answer, failed, tally, cut).boxed_unsync());
            *response.status_mut() = engine.status;
            copy(&engine.headers, response.headers_mut(), &TO_BROKER);
            response
        }
        Err(error) => {
            tally.status = ReportStatus::Failed;
            tracing::warn!(%error, "the engine could not take a request");
            body::error(error.status, "server_error", Some("provider_error"), &error.message)
        }
    }
}

/// Beyond the credits granted: said at once, never queued.
fn refused() -> Response<Body> {
    let message = "this node granted no credit for this dispatch";
    let mut response =
        body::error(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", Some("capacity_exhausted"), message);
    response.headers_mut().insert(HeaderName::from_static(header::REFUSED), HeaderValue::from_static("credit"));
    response
}

/// The node drains, and the time it was given for that is over.
fn cut_off() -> Response<Body> {
    let message = "this node drains and its deadline has passed";
    body::error(StatusCode::SERVICE_UNAVAILABLE, "server_error", Some("provider_error"), message)
}

/// The report to be, when the request names an attempt. Without one nobody asks for a report.
fn draft(headers: &HeaderMap, now_ms: i64) -> Option<Draft> {
    Some(Draft {
        attempt: parse::<AttemptId>(headers, header::ATTEMPT)?,
        request: parse::<RequestId>(headers, header::GENERATION)?,
        offer: parse::<OfferId>(headers, header::OFFER)?,
        price_version: parse(headers, header::PRICE_VERSION)?,
        units: Units::default(),
        started_at_ms: now_ms,
        status: ReportStatus::Cancelled,
        request_sha256: [0; 32],
        response_sha256: [0; 32],
        ticket: ticket(headers),
    })
}

/// Handed back with the report; one too long for a ticket of ours is none.
fn ticket(headers: &HeaderMap) -> Option<String> {
    let ticket = headers.get(header::TICKET)?.to_str().ok()?;
    (ticket.len() <= MAX_TICKET).then(|| ticket.to_owned())
}

fn parse<T: FromStr>(headers: &HeaderMap, name: &str) -> Option<T> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    parse(headers, name)
}

fn copy(from: &HeaderMap, to: &mut HeaderMap, names: &[HeaderName]) {
    for name in names {
        if let Some(value) = from.get(name) {
            to.insert(name, value.clone());
        }
    }
}

//! The layer around every route: a POST that brings an `Idempotency-Key` runs once.

use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use protocol::{Id as _, OrganizationId};
use uuid::Uuid;

use super::claim::{Begun, begin};
use super::seal::{Answer, Key};
use super::{MAX_KEY, Occasion};
use crate::envelope::{Form, MAX_FORM_BYTES};
use crate::error::ApiError;
use crate::extract::{Caller, authenticate, bearer, is_form, is_json, read_body_in_time, read_form_in_time};
use crate::keys::{Holder, KeyKind, KeyRecord};
use crate::request::RequestContext;
use crate::sessions::Sessions;
use crate::state::AppState;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Where forms bring sounds to be heard: their work is paid for, and done once.
const SOUNDS: &str = "/audio/";
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Whose keys are told apart.
struct Scope {
    kind: KeyKind,
    organization: OrganizationId,
    id: Uuid,
}

/// Runs a keyed POST once and repeats its answer; lets everything else through.
pub async fn keep(
    State(app): State<AppState>,
    Extension(context): Extension<RequestContext>,
    request: Request,
    next: Next,
) -> Response {
    if request.method() != Method::POST || !request.headers().contains_key(KEY) {
        return next.run(request).await;
    }
    Box::pin(keyed(app, context, request, next)).await.unwrap_or_else(IntoResponse::into_response)
}

async fn keyed(app: AppState, context: RequestContext, request: Request, next: Next) -> Result<Response, ApiError> {
    // Who sent no key is told so by the route, in its own words.
    if bearer(request.headers()).is_none_or(Sessions::is_token) {
        return Ok(next.run(request).await);
    }
    let record = authenticate(&app, request.headers()).await?;
    let Some(scope) = scope(&record) else { return Ok(next.run(request).await) };
    let caller = Caller::of(record);
    let answered = once(&app, context, scope, caller.as_ref(), request, next).await;
    match caller {
        // The route that tells where limits stand was not asked.
        Some(caller) => answered.map_err(|error| error.with_rate(app.limits.standing(&caller))),
        None => answered,
    }
}

async fn once(
    app: &AppState,
    context: RequestContext,
    scope: Scope,
    caller: Option<&Caller>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let text = key(request.headers())?;
    let (mut parts, body) = request.into_parts();
    let most = app.config.gateway.max_body_bytes;
    let (body, same) = if parts.uri.path().contains(SOUNDS) && is_form(&parts.headers) {
        let body = read_form_in_time(app, &parts.headers, body, most.min(MAX_FORM_BYTES)).await?;
        let same = Form::read(&body).map_or_else(|_| body.clone(), |form| form.canonical().into());
        (body, same)
    } else if parts.headers.contains_key(CONTENT_TYPE) && !is_json(&parts.headers) {
        // What is no JSON is a file, too large to be held here; its route makes a new one each time.
        return Ok(next.run(Request::from_parts(parts, body)).await);
    } else {
        let body = read_body_in_time(app, &parts.headers, body, most).await?;
        (body.clone(), body)
    };
    // Below the mount: `/v1` and `/api/v1` are one.
    let route = parts.uri.path_and_query().map_or("", |route| route.as_str());
    let key = Key::new(scope.id, scope.kind, &text, route, &same);
    parts.extensions.insert(Occasion([key.name, key.fingerprint].concat().into()));
    match begin(app, scope.organization, key, context.id).await? {
        Begun::Replay(answer) => {
            let mut response = replay(answer);
            if let Some(caller) = caller {
                app.limits.standing(caller).write(response.headers_mut());
            }
            Ok(response)
        }
        Begun::Run(claim) => {
            let response = next.run(Request::from_parts(parts, Body::from(body))).await;
            Ok(claim.record(response).await)
        }
    }
}

/// The scope of the key that was sent. None for a caller whose calls are repeatable by themselves.
fn scope(record: &KeyRecord) -> Option<Scope> {
    let kind = record.kind();
    match record.holder {
        Holder::Inference { organization, project } | Holder::Management { organization, project } => {
            Some(Scope { kind, organization, id: project.uuid() })
        }
        Holder::Admin { organization } => Some(Scope { kind, organization, id: organization.uuid() }),
        Holder::Provider { .. } => None,
    }
}

fn key(headers: &HeaderMap) -> Result<String, ApiError> {
    let text = headers.get(KEY).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if text.is_empty() || text.len() > MAX_KEY {
        let message = format!("between 1 and {MAX_KEY} visible ASCII characters");
        return Err(ApiError::invalid("Idempotency-Key", message).with_code("invalid_value"));
    }
    Ok(text.to_owned())
}

fn replay(answer: Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

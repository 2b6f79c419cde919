//! `/v1/messages`: the same models in Anthropic's dialect, errors included.

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use protocol::RequestId;

use crate::dialect::{Dialect, messages};
use crate::envelope::{Envelope, ModelRef, Work};
use crate::error::{ApiError, Told};
use crate::extract::Caller;
use crate::inference::{self, Asked};
use crate::placing;
use crate::request::RequestContext;
use crate::state::AppState;

/// The routes of this file.
pub fn routes() -> Router<AppState> {
    Router::new().route("/messages", post(create)).route("/messages/count_tokens", post(count_tokens))
}

/// Answers a conversation, streamed or whole.
#[tracing::instrument(name = "api.messages.create", level = "debug", skip_all, fields(request.id = %context.id, account.id = %caller.organization))]
async fn create(
    State(app): State<AppState>,
    Extension(context): Extension<RequestContext>,
    caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let ask = |body: Bytes| {
        let messages::Request { chat, wants } = messages::read(&body)?;
        Ok(Asked { work: Work::Chat, body: chat.into(), dialect: Some(Dialect::Messages(wants)) })
    };
    inference::answer(&app, &context, &caller, Work::Chat, request, ask).await
}

/// Counts what a conversation would come to, without asking a model. Costs nothing.
#[tracing::instrument(name = "api.messages.count_tokens", level = "debug", skip_all)]
async fn count_tokens(State(app): State<AppState>, caller: Caller, request: Request) -> Result<Response, ApiError> {
    let counted = count(&app, &caller, request).await;
    inference::with_rate(counted, app.limits.standing(&caller))
}

async fn count(app: &AppState, caller: &Caller, request: Request) -> Result<Response, ApiError> {
    let (_, body) = inference::read(app, Work::Chat, request).await?;
    let mut permit = app.limits.enter(caller).await?;
    permit.count();
    let chat = Bytes::from(messages::count_tokens_request(&body)?);
    let envelope = Envelope::parse(&chat)?;
    let model = ModelRef { id: envelope.model.clone(), suffix: envelope.suffix };
    let count = placing::count(app, &envelope, &chat, &model, caller.organization).await?;
    if app.scheduler.snapshot().model(&model.id).is_none() {
        return Err(ApiError::model_not_found(&model.id));
    }
    let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((json, messages::token_count(u64::from(count.likely))).into_response())
}

/// Tells an error as Anthropic's clients read it.
pub fn in_their_words(request: RequestId, mut response: Response) -> Response {
    let Some(told) = response.extensions_mut().remove::<Told>() else { return response };
    let status = response.status().as_u16();
    // Their shape has no place for the field at fault: the words name it.
    let message = match &told.param {
        Some(param) if !told.message.contains(param.as_str()) => format!("{param}: {}", told.message),
        _ => told.message,
    };
    let body = messages::error_body(status, told.code, &message, &request.to_string());
    let (mut parts, _) = response.into_parts();
    parts.status = StatusCode::from_u16(messages::error_status(status)).unwrap_or(parts.status);
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(body))
}

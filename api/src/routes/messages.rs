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
    let (connection, body) = inference::read(&app, Work::Chat, request).await?;
    let messages::Request { chat, wants } = messages::read(&body)?;
    let asked = Asked { work: Work::Chat, body: chat.into(), dialect: Some(Dialect::Messages(wants)) };
    inference::answer(&app, &context, &caller, connection, asked).await
}

/// Counts what a conversation would come to, without asking a model. Costs nothing.
#[tracing::instrument(name = "api.messages.count_tokens", level = "debug", skip_all)]
async fn count_tokens(State(app): State<AppState>, caller: Caller, request: Request) -> Result<Response, ApiError> {
    let (_, body) = inference::read(&app, Work::Chat, request).await?;
    let mut permit = app.limits.enter(&caller).await?;
    permit.count();
    let rate = app.limits.standing(&caller);
    let mut response = count(&app, &caller, &body).await.map_err(|error| error.with_rate(rate))?;
    rate.write(response.headers_mut());
    Ok(response)
}

async fn count(app: &AppState, caller: &Caller, body: &Bytes) -> Result<Response, ApiError> {
    let chat = Bytes::from(messages::count_tokens_request(body)?);
    let envelope = Envelope::parse(&chat)?;
    let model = ModelRef { id: envelope.model.clone(), suffix: envelope.suffix };
    if app.scheduler.snapshot().model(&model.id).is_none() {
        return Err(ApiError::model_not_found(&model.id));
    }
    let count = placing::count(app, &envelope, &chat, &model, caller.organization).await?;
    let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((json, messages::token_count(u64::from(count.likely))).into_response())
}

/// Tells an error as Anthropic's clients read it.
pub fn in_their_words(request: RequestId, mut response: Response) -> Response {
    let Some(told) = response.extensions_mut().remove::<Told>() else { return response };
    let status = response.status().as_u16();
    let body = messages::error_body(status, told.code, &told.message, &request.to_string());
    let (mut parts, _) = response.into_parts();
    parts.status = StatusCode::from_u16(messages::error_status(status)).unwrap_or(parts.status);
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(body))
}

//! `/v1/responses`, stateless: nothing is stored, so nothing can be fetched again.

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::response::Response;
use axum::routing::{get, post};

use crate::dialect::{Dialect, responses};
use crate::envelope::Work;
use crate::error::ApiError;
use crate::extract::{Caller, Path};
use crate::inference::{self, Asked};
use crate::request::RequestContext;
use crate::state::AppState;

/// The routes of this file.
pub fn routes() -> Router<AppState> {
    Router::new().route("/responses", post(create)).route("/responses/{id}", get(show))
}

/// Answers in items, streamed or whole.
#[tracing::instrument(name = "api.responses.create", level = "debug", skip_all, fields(request.id = %context.id, account.id = %caller.organization))]
async fn create(
    State(app): State<AppState>,
    Extension(context): Extension<RequestContext>,
    caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let (connection, body) = inference::read(&app, request).await?;
    let responses::Request { chat, echo, .. } = responses::read(&body)?;
    let asked = Asked { work: Work::Chat, body: chat.into(), dialect: Some(Dialect::Responses(Box::new(echo))) };
    inference::answer(&app, &context, &caller, connection, asked).await
}

/// There never is one.
#[allow(clippy::unused_async)]
async fn show(_: Caller, Path(id): Path<String>) -> ApiError {
    ApiError::not_found("not_found", format!("there is no response {id:?}: responses are not stored here"))
}

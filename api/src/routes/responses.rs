//! `/v1/responses`, stateless: nothing is stored, so nothing can be fetched again.

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http::{Method, Uri};

use crate::dialect::{Dialect, responses};
use crate::envelope::Work;
use crate::error::ApiError;
use crate::extract::{Caller, Path};
use crate::inference::{self, Asked};
use crate::request::{self, RequestContext};
use crate::state::AppState;

/// The routes of this file.
pub fn routes() -> Router<AppState> {
    Router::new().route("/responses", post(create)).route("/responses/{id}", get(show).fallback(no_verb))
}

/// Answers in items, streamed or whole.
#[tracing::instrument(name = "api.responses.create", level = "debug", skip_all, fields(request.id = %context.id, account.id = %caller.organization))]
async fn create(
    State(app): State<AppState>,
    Extension(context): Extension<RequestContext>,
    caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let ask = |body: Bytes| {
        let responses::Request { chat, echo, .. } = responses::read(&body)?;
        Ok(Asked { work: Work::Chat, body: chat.into(), dialect: Some(Dialect::Responses(Box::new(echo))) })
    };
    inference::answer(&app, &context, &caller, Work::Chat, request, ask).await
}

/// There never is one.
#[allow(clippy::unused_async)]
async fn show(_: Caller, Path(id): Path<String>) -> ApiError {
    ApiError::not_found("not_found", format!("there is no response {id:?}: responses are not stored here"))
}

/// What elsewhere is a verb (`POST /responses/compact`) is no id here: clients that try whether it is served look
/// for 404. The body is read first, since a connection closed on an unread one looks to them like a failure.
async fn no_verb(method: Method, uri: Uri, _: Bytes) -> Response {
    if method == Method::POST {
        return request::unknown_url(method, uri).await.into_response();
    }
    request::method_not_allowed().await
}

//! `POST /v1/embeddings`.

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::response::Response;
use axum::routing::post;

use crate::envelope::Work;
use crate::error::ApiError;
use crate::extract::Caller;
use crate::inference::{self, Asked};
use crate::request::RequestContext;
use crate::state::AppState;

/// The embeddings route.
pub fn routes() -> Router<AppState> {
    Router::new().route("/embeddings", post(create))
}

/// Turns texts into vectors.
#[tracing::instrument(name = "api.embeddings.create", level = "debug", skip_all, fields(request.id = %context.id, account.id = %caller.organization))]
async fn create(
    State(app): State<AppState>,
    Extension(context): Extension<RequestContext>,
    caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let (connection, body) = inference::read(&app, request).await?;
    let asked = Asked { work: Work::Embedding, body, dialect: None };
    inference::answer(&app, &context, &caller, connection, asked).await
}

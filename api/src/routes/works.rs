//! What engines are asked for in their own dialect, from `POST /v1/chat/completions` to `/v1/audio/translations`.

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::response::Response;
use axum::routing::{MethodRouter, post};

use crate::envelope::Work;
use crate::error::ApiError;
use crate::extract::Caller;
use crate::inference::{self, Asked};
use crate::request::RequestContext;
use crate::state::AppState;

/// The routes of this file.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/chat/completions", answered(Work::Chat))
        .route("/completions", answered(Work::Completion))
        .route("/embeddings", answered(Work::Embedding))
        .route("/moderations", answered(Work::Moderation))
        .route("/images/generations", answered(Work::Image))
        .route("/audio/speech", answered(Work::Speech))
        .route("/audio/transcriptions", answered(Work::Transcription))
        .route("/audio/translations", answered(Work::Translation))
}

fn answered(work: Work) -> MethodRouter<AppState> {
    post(move |State(app), Extension(context), caller, request| create(work, app, context, caller, request))
}

/// Answers, streamed or whole.
#[tracing::instrument(name = "api.works.create", level = "debug", skip_all, fields(request.id = %context.id, account.id = %caller.organization, ?work))]
async fn create(
    work: Work,
    app: AppState,
    context: RequestContext,
    caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let ask = |body| Ok(Asked { work, body, dialect: None });
    inference::answer(&app, &context, &caller, work, request, ask).await
}

//! `POST /v1/chat/completions`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Version, header};
use protocol::NanoUsd;
use scheduler::{Decision, Placed};

use crate::ask;
use crate::dialect::Head;
use crate::dispatch::{self, Plan};
use crate::envelope::Envelope;
use crate::error::ApiError;
use crate::extract::{Caller, read_body};
use crate::generation::{self, Generation, Order};
use crate::relay::{self, Dispatching, Live, Relay, Watched};
use crate::request::RequestContext;
use crate::state::AppState;
use crate::tokenizer::{self, Count, Prompt};

/// Bytes of an ordinary prompt per token, where only an estimate is to be had; the hold goes by the bytes themselves.
const BYTES_PER_TOKEN: u32 = 4;

/// Bodies up to this many bytes are counted where they are read: some tens of microseconds.
const COUNT_IN_PLACE: usize = 16 * 1024;

/// The chat route.
pub fn routes() -> Router<AppState> {
    Router::new().route("/chat/completions", post(create))
}

/// Answers a conversation, streamed or whole.
#[tracing::instrument(name = "api.chat.create", level = "debug", skip_all, fields(request.id = %context.id, account.id = %caller.organization))]
async fn create(
    State(app): State<AppState>,
    Extension(context): Extension<RequestContext>,
    caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let patience = Duration::from_millis(app.config.server.body_timeout_ms);
    let body = tokio::time::timeout(patience, read_body(&parts.headers, body, app.config.gateway.max_body_bytes));
    let body = body.await.map_err(|_| ApiError::invalid(None, "the request body did not arrive in time"))??;
    let (generation, plan) = Box::pin(prepare(&app, &context, &caller, body)).await?;
    let order = generation.order();
    let (streamed, include_usage, head) = (order.streamed, order.include_usage, Arc::clone(generation.head()));
    let mut dispatching: Dispatching = Box::pin(dispatch::dispatch(generation, plan));
    let keepalive = Duration::from_millis(app.config.gateway.keepalive_ms);
    let commit_after = Duration::from_millis(app.config.gateway.commit_after_ms);
    // On a connection of its own a client that stops reading stalls the socket, which is watched; on a shared
    // one only its stream.
    let shared = parts.version == Version::HTTP_2;
    let stall = shared.then(|| Duration::from_millis(app.config.server.client_stall_timeout_ms));
    let dispatched = if streamed {
        match tokio::time::timeout(commit_after, &mut dispatching).await {
            Ok(dispatched) => dispatched,
            // Patience of clients and middleboxes ends about here: the status goes out, failover stays silent.
            Err(_) => return Ok(stream(Relay::waiting(dispatching, head, include_usage, keepalive), stall)),
        }
    } else {
        dispatching.await
    };
    let (generation, live) = match dispatched {
        (generation, Ok(live)) => (generation, live),
        (generation, Err(error)) => {
            generation.fail(error.code().unwrap_or("provider_error"), None);
            return Err(error);
        }
    };
    if streamed { Ok(stream(Relay::live(generation, live, keepalive), stall)) } else { whole(generation, live).await }
}

/// Everything up to the first byte that leaves for a node: read, count, place, and set the money aside.
async fn prepare(
    app: &AppState,
    context: &RequestContext,
    caller: &Caller,
    body: Bytes,
) -> Result<(Box<Generation>, Plan), ApiError> {
    let now = app.env.now();
    let envelope = Envelope::parse(&body).map_err(|bad| ApiError::invalid(bad.param.as_deref(), bad.message))?;
    caller.may_ask_for(&envelope.model)?;
    let (prompt_tokens, prompt_verified) = count_prompt(app, &envelope, &body).await?;
    let likely = if prompt_verified { prompt_tokens } else { prompt_tokens / BYTES_PER_TOKEN };
    let mut ask = ask::of(&envelope, caller.organization, likely)?;
    let offers = place(app, context, &ask).await?;
    let held_output = held_output(app, &envelope, &offers);
    let ceiling = ceiling(app, &offers, prompt_tokens, held_output)?;
    ask.ceiling = Some(ceiling);
    let order = Order {
        request: context.id,
        model: Arc::clone(&ask.model),
        prompt_tokens,
        prompt_verified,
        held_output,
        open_ended: envelope.max_tokens.is_none(),
        choices: envelope.n,
        streamed: envelope.stream,
        include_usage: envelope.stream && envelope.include_usage,
        created_at: now,
    };
    let hold = app.billing.hold(billing::HoldRequest {
        request: context.id,
        organization: caller.organization,
        project: caller.project,
        key: caller.key,
        ceiling,
    });
    let hold = hold.await?;
    let head = Head::new(&context.id.chat_completion(), now.unix_seconds(), &order.model, order.include_usage);
    let first_body = offers.first().map(|placed| {
        let seed = app.seeds.seed(context.id, 0);
        (placed.offer.id(), dispatch::upstream_body(&envelope, placed, Some(seed)))
    });
    drop(envelope);
    let generation = Box::new(Generation::new(app.clone(), order, Arc::new(head), hold));
    Ok((generation, Plan { ask, offers, body, first_body }))
}

/// The prompt's tokens by the model's own vocabulary; where there is none, the bytes bound them.
async fn count_prompt(app: &AppState, envelope: &Envelope<'_>, body: &Bytes) -> Result<(u32, bool), ApiError> {
    let now_unix_s = app.env.now().unix_seconds();
    let counted = if body.len() <= COUNT_IN_PLACE || app.tokenizers.find(&envelope.model).is_none() {
        app.tokenizers.count_prompt(&envelope.model, &prompt_of(envelope, now_unix_s))
    } else {
        // A long prompt takes milliseconds, and worse if it is meant to: not on a thread that relays streams.
        let (app, body) = (app.clone(), body.clone());
        let counting = tokio::task::spawn_blocking(move || {
            let envelope = Envelope::parse(&body).map_err(|bad| tokenizer::Error::Messages(bad.message))?;
            app.tokenizers.count_prompt(&envelope.model, &prompt_of(&envelope, now_unix_s))
        });
        counting.await.map_err(|panic| ApiError::internal(&panic))?
    };
    let narrow = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    match counted {
        Ok(Count::Verified(count)) => Ok((narrow(count), true)),
        Ok(Count::Unverified) => Ok((narrow(body.len() as u64), false)),
        Err(error) => Err(ApiError::invalid("messages", format!("the model can't take this conversation: {error}"))),
    }
}

fn prompt_of<'a>(envelope: &Envelope<'a>, now_unix_s: i64) -> Prompt<'a> {
    Prompt { messages: envelope.messages, tools: envelope.tools, template_kwargs: envelope.template_kwargs, now_unix_s }
}

/// Offers for the first of the model and its fallbacks that has any; else the first refusal.
async fn place(app: &AppState, context: &RequestContext, ask: &scheduler::Ask) -> Result<Vec<Placed>, ApiError> {
    let refusal = match app.scheduler.acquire(ask, &mut generation::rng_of(context.id)).await {
        Decision::Place { offers, .. } => return Ok(offers),
        Decision::Wait { availability, .. } | Decision::Refuse { availability, .. } => {
            ApiError::availability(availability)
        }
    };
    tracing::debug!(code = refusal.code(), model = %ask.model, "no offer for a request");
    Err(refusal)
}

/// Output tokens the hold must cover: what was asked for, in full; of an open-ended request its first part.
fn held_output(app: &AppState, envelope: &Envelope<'_>, offers: &[Placed]) -> u32 {
    let longest = offers.iter().map(|placed| placed.offer.listing.offer.spec.context_length).max().unwrap_or(u32::MAX);
    let each = envelope.max_tokens.unwrap_or(app.config.gateway.open_ended_tokens).min(longest);
    each.saturating_mul(envelope.n)
}

/// The most the request can cost at the dearest of the offers it may be sent to.
fn ceiling(app: &AppState, offers: &[Placed], prompt: u32, output: u32) -> Result<NanoUsd, ApiError> {
    let prices = app.billing.prices();
    let rows = offers.iter().filter_map(|placed| prices.get(placed.offer.id(), placed.offer.price.version));
    let dearest = rows.map(|row| row.user).reduce(|a, b| a.dearest(&b));
    dearest.and_then(|prices| prices.ceiling(prompt, output)).ok_or_else(|| {
        ApiError::overloaded(1_000)
            .with_message("the prices of this model's offers are being reloaded; try again shortly")
    })
}

fn stream(relay: Relay, stall: Option<Duration>) -> Response {
    const HEADERS: [(HeaderName, HeaderValue); 3] = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    let body = match stall {
        Some(after) => Body::new(Watched::new(relay, after)),
        None => Body::new(relay),
    };
    (HEADERS, body).into_response()
}

async fn whole(generation: Box<Generation>, live: Live) -> Result<Response, ApiError> {
    let body = relay::assemble(generation, live).await?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response())
}

//! The way of every request that a model answers: read, count, place, set money aside, dispatch, relay.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Version, header};
use scheduler::{Ask, Decision, Placed};

use crate::dialect::{CompletionsEcho, Dialect};
use crate::dispatch::{self, Plan};
use crate::envelope::{Envelope, MAX_FORM_BYTES, ModelRef, Partition, Subject, TextInput, Work};
use crate::error::ApiError;
use crate::extract::{Caller, read_body_in_time, read_form_in_time};
use crate::generation::{self, Generation, Order};
use crate::hold;
use crate::limits::RateHeaders;
use crate::placing::{self, Place};
use crate::prompt::{self, PromptCount};
use crate::relay::{self, Dispatching, Keepalive, Live, Relay, Watched};
use crate::request::RequestContext;
use crate::state::AppState;

/// One request, in the words engines understand.
pub struct Asked {
    /// What is asked for.
    pub work: Work,
    /// The body.
    pub body: Bytes,
    /// How the client is answered; `None` in the dialect of the work itself.
    pub dialect: Option<Dialect>,
}

/// Reads a client's body, within the bounds of size and time.
///
/// # Errors
/// 413, 415, or 400 when it breaks off or does not come.
pub async fn read(app: &AppState, work: Work, request: Request) -> Result<(Connection, Bytes), ApiError> {
    let (parts, body) = request.into_parts();
    let most = app.config.gateway.max_body_bytes;
    let body = if work.is_form() {
        read_form_in_time(app, &parts.headers, body, most.min(MAX_FORM_BYTES)).await?
    } else {
        let body = read_body_in_time(app, &parts.headers, body, most).await?;
        // As everywhere: the refusal then names the field that is missed first.
        if body.is_empty() { Bytes::from_static(b"{}") } else { body }
    };
    let record = parts.headers.get(&METADATA).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"enabled"));
    Ok((Connection { shared: parts.version == Version::HTTP_2, record }, body))
}

/// How the client is connected.
#[derive(Debug, Clone, Copy)]
pub struct Connection {
    /// On a connection of its own a client that stops reading stalls the socket, which is watched; on a shared
    /// one only its stream.
    shared: bool,
    /// The client wants to know how its request was placed.
    record: bool,
}

/// Asks for a routing record with `enabled`, and carries it on an answer whose first content decided its status. A
/// stream that began earlier has it in a comment.
const METADATA: HeaderName = HeaderName::from_static("x-steelyard-metadata");

/// Answers a request, streamed or whole. `ask` says what its body asks for.
///
/// # Errors
/// [`ApiError`] before anything was sent; later failures are told in band.
pub async fn answer(
    app: &AppState,
    context: &RequestContext,
    caller: &Caller,
    work: Work,
    request: Request,
    ask: impl FnOnce(Bytes) -> Result<Asked, ApiError>,
) -> Result<Response, ApiError> {
    let mut rate = None;
    let answered = match read(app, work, request).await {
        Ok((connection, body)) => match ask(body) {
            Ok(asked) => respond(app, context, caller, connection, asked, &mut rate).await,
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    // What was refused before any limit was asked is told where they stand all the same; that takes nothing.
    with_rate(answered, rate.unwrap_or_else(|| app.limits.standing(caller)))
}

/// Says on an answer, good or bad, where its caller's limits stand.
///
/// # Errors
/// Those there were.
pub fn with_rate(answered: Result<Response, ApiError>, rate: RateHeaders) -> Result<Response, ApiError> {
    match answered {
        Ok(mut response) => {
            rate.write(response.headers_mut());
            Ok(response)
        }
        Err(error) => Err(error.with_rate(rate)),
    }
}

async fn respond(
    app: &AppState,
    context: &RequestContext,
    caller: &Caller,
    connection: Connection,
    asked: Asked,
    rate: &mut Option<RateHeaders>,
) -> Result<Response, ApiError> {
    let (generation, plan) = Box::pin(prepare(app, context, caller, connection, asked, rate)).await?;
    let order = generation.order();
    let (streamed, gateway) = (order.streamed, &app.config.gateway);
    let keepalive = Keepalive { frame: order.dialect.keepalive(), after: Duration::from_millis(gateway.keepalive_ms) };
    let commit_after = Duration::from_millis(gateway.commit_after_ms);
    let mut dispatching: Dispatching = Box::pin(dispatch::dispatch(generation, plan));
    let stall = connection.shared.then(|| Duration::from_millis(app.config.server.client_stall_timeout_ms));
    let dispatched = if streamed {
        match tokio::time::timeout(commit_after, &mut dispatching).await {
            Ok(dispatched) => dispatched,
            // Patience of clients and middleboxes ends about here: the status goes out, failover stays silent.
            Err(_) => return Ok(stream(Relay::waiting(dispatching, keepalive), stall)),
        }
    } else {
        dispatching.await
    };
    *rate = Some(dispatched.0.rate());
    let (generation, live) = match dispatched {
        (generation, Ok(live)) => (generation, live),
        (generation, Err(error)) => {
            generation.fail(error.code().unwrap_or("provider_error"), None);
            return Err(error);
        }
    };
    let record = generation.routing_text().and_then(|told| HeaderValue::try_from(told).ok());
    let mut response = if streamed {
        stream(Relay::live(generation, live, keepalive), stall)
    } else {
        whole(generation, live).await?
    };
    if let Some(record) = record {
        response.headers_mut().insert(METADATA, record);
    }
    Ok(response)
}

/// Everything up to the first byte that leaves for a node: read, count, place, and set limits and money aside.
async fn prepare(
    app: &AppState,
    context: &RequestContext,
    caller: &Caller,
    connection: Connection,
    asked: Asked,
    rate: &mut Option<RateHeaders>,
) -> Result<(Box<Generation>, Plan), ApiError> {
    let now = app.env.now();
    let Asked { work, body, dialect } = asked;
    let envelope = Envelope::parse_for(work, &body)?;
    let mut permit = app.limits.enter(caller).await?;
    let subject = subject(work, dialect.as_ref());
    let (place, fallbacks) = choose(app, context, caller, &envelope, &body, subject).await?;
    let Place { mut ask, prompt, offers, why, emulated } = place;
    let most = u64::from(prompt.tokens) + u64::from(hold::output_tokens(app, &ask, &offers));
    permit.admit(&ask.model, most).await?;
    *rate = Some(permit.headers());
    let (worst, hold) = set_aside(app, context, caller, &ask, prompt, offers).await?;
    let order = Order {
        request: context.id,
        model: std::sync::Arc::clone(&ask.model),
        prompt_tokens: prompt.tokens,
        prompt_verified: prompt.verified,
        prompt_least: prompt.least,
        held_output: worst.output_tokens,
        open_ended: ask.max_output.is_none(),
        choices: envelope.choices(),
        requests: envelope.requests(),
        streamed: envelope.stream,
        work,
        subject,
        service_tier: ask.tier.as_str(),
        base64: envelope.base64,
        dialect: dialect.unwrap_or_else(|| own_dialect(&envelope)),
        expected: emulated.as_ref().map(|emulated| emulated.expected.clone()),
        created_at: now,
    };
    let first_body = worst.offers.first().filter(|_| emulated.is_none()).map(|placed| {
        let seed = app.seeds.seed(context.id, 0);
        (placed.offer.id(), dispatch::upstream_body(&envelope, placed, Some(seed)))
    });
    drop(envelope);
    let mut generation = Box::new(Generation::new(app.clone(), order, hold, permit));
    if connection.record {
        generation.explain(app.scheduler.explain(&why, &worst.offers, &[]));
    }
    ask.held = generation.held();
    let written = emulated.map(|emulated| emulated.body);
    Ok((generation, Plan { ask, offers: worst.offers, fallbacks, body, written, first_body }))
}

/// The first of the model and its fallbacks that has offers, and the models left, the next one last; else the first
/// one's refusal.
async fn choose(
    app: &AppState,
    context: &RequestContext,
    caller: &Caller,
    envelope: &Envelope<'_>,
    body: &Bytes,
    subject: &'static str,
) -> Result<(Place, Vec<ModelRef<'static>>), ApiError> {
    let first = ModelRef { id: envelope.model.clone(), suffix: envelope.suffix };
    let mut models: Vec<ModelRef<'_>> = std::iter::once(first).chain(envelope.models.iter().cloned()).collect();
    for model in &models {
        caller.may_ask_for(&model.id)?;
    }
    if envelope.provider.sort.is_some_and(|sort| sort.partition == Partition::None) && models.len() > 1 {
        models = by_their_best(app, context, caller, envelope, body, models).await;
    }
    let mut refusal = None;
    for at in 0..models.len() {
        let rng = &mut generation::rng_of(context.id);
        match placing::find(app, envelope, body, &models[at], caller.organization, rng).await? {
            Ok(place) => return Ok((place, models[at + 1..].iter().rev().map(ModelRef::to_owned).collect())),
            Err(refused) => {
                refusal.get_or_insert(refused);
            }
        }
    }
    let (ask, mut availability) = refusal.ok_or_else(|| ApiError::model_not_found(&envelope.model))?;
    availability.fallback_models = models[1..].iter().map(|model| model.id.as_ref().into()).collect();
    let error = too_long(app, &ask, subject).unwrap_or_else(|| ApiError::availability(availability));
    tracing::debug!(code = error.code(), model = %envelope.model, "no offer for a request");
    Err(error)
}

/// The refusal of what no offer's context can hold, whatever else was demanded: clients know it by its code, and
/// shorten what they send.
fn too_long(app: &AppState, ask: &Ask, subject: &'static str) -> Option<ApiError> {
    let longest = app.scheduler.snapshot().model(&ask.model)?.longest_context()?;
    let (needed, output) = (ask.context(), ask.max_output.unwrap_or(0));
    if needed <= longest {
        return None;
    }
    let prompt = ask.longest_prompt.unwrap_or(ask.prompt_tokens);
    let message = format!(
        "this model's maximum context length is {longest} tokens, and the request needs {needed}: {prompt} in the {subject} and {output} for the answer"
    );
    Some(ApiError::context_length(subject, message))
}

/// What the client calls the field with the prompt.
fn subject(work: Work, dialect: Option<&Dialect>) -> &'static str {
    match (work, dialect) {
        (Work::Chat, Some(Dialect::Responses(_))) => "input",
        (work, _) => work.subject(),
    }
}

/// Models in the order of their best offer's standing; those without an offer just now, or without tools of their own
/// where tools are asked for, come last.
async fn by_their_best<'a>(
    app: &AppState,
    context: &RequestContext,
    caller: &Caller,
    envelope: &Envelope<'_>,
    body: &Bytes,
    models: Vec<ModelRef<'a>>,
) -> Vec<ModelRef<'a>> {
    let now = app.env.now();
    let standing = |ask: &Ask| match app.scheduler.place(ask, now, &mut generation::rng_of(context.id)) {
        Decision::Place { offers, .. } => offers.first().map(|best| best.standing(ask.provider.sort)),
        Decision::Wait { .. } | Decision::Refuse { .. } => None,
    };
    let mut rated: Vec<(f64, ModelRef<'a>)> = Vec::with_capacity(models.len());
    for model in models {
        let asked = prompt::consider(app, envelope, body, &model, caller.organization).await;
        let standing = asked.ok().and_then(|(ask, _)| standing(&ask));
        rated.push((standing.unwrap_or(f64::INFINITY), model));
    }
    rated.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    rated.into_iter().map(|(_, model)| model).collect()
}

/// Sets the worst case aside. Where the money does not reach for the dearest of the offers, it may for the best.
async fn set_aside(
    app: &AppState,
    context: &RequestContext,
    caller: &Caller,
    ask: &Ask,
    prompt: PromptCount,
    offers: Vec<Placed>,
) -> Result<(hold::Worst, billing::LeaseHold), ApiError> {
    let request = |ceiling| billing::HoldRequest {
        request: context.id,
        organization: caller.organization,
        project: caller.project,
        key: caller.key,
        ceiling,
    };
    let unpriced = || {
        ApiError::overloaded(1_000)
            .with_message("the prices of this model's offers are being reloaded; try again shortly")
    };
    let worst = hold::of(app, ask, prompt, offers).ok_or_else(unpriced)?;
    let short = match app.billing.hold(request(worst.ceiling)).await {
        Ok(held) => return Ok((worst, held)),
        Err(error) if error.is_about_money() => error,
        Err(error) => return Err(error.into()),
    };
    let Some(least) = hold::of_first(app, ask, prompt, worst) else { return Err(short.into()) };
    let held = app.billing.hold(request(least.ceiling)).await?;
    Ok((least, held))
}

/// The dialect a request was written in.
fn own_dialect(envelope: &Envelope<'_>) -> Dialect {
    let include_usage = envelope.stream && envelope.include_usage;
    match &envelope.subject {
        Subject::Texts(texts) if envelope.work == Work::Completion => {
            let literal = |text: &str| {
                let quoted = serde_json::to_string(text).expect("text is always representable as JSON");
                quoted[1..quoted.len() - 1].to_owned()
            };
            let prompts = texts.iter().map(|text| match text {
                TextInput::Text(text) => literal(text),
                TextInput::Tokens(_) => String::new(),
            });
            let prompts = if envelope.echo { prompts.collect() } else { Vec::new() };
            Dialect::Completions(CompletionsEcho { prompts, n: envelope.n, include_usage })
        }
        Subject::Messages(_) | Subject::Texts(_) | Subject::Form(_) => Dialect::Chat { include_usage },
    }
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
    let (kind, body) = relay::assemble(generation, live).await?;
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

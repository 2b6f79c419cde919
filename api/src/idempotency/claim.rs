//! A key taken for one run, from before the handler until its answer is stored or given up.

use std::future::Future;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::response::{IntoResponse, Response};
use http_body::Body as _;
use protocol::{NanoUsd, OrganizationId, RequestId};
use sqlx::PgConnection;
use tokio::time::Instant;

use super::record::Recording;
use super::seal::{Answer, Key};
use super::{CLAIM_TIMEOUT, Entered, KEEP, LIVES_FOR, MAX_ANSWER, STORE_PATIENCE};
use crate::error::ApiError;
use crate::state::AppState;
use crate::store::idempotency::{self as store, Claimed, NewClaim, State};

/// Pauses between attempts to store an answer, from and to.
const STORE_AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What is to be done with a keyed request.
pub(super) enum Begun {
    /// Run it.
    Run(Claim),
    /// It ran; this was the answer.
    Replay(Answer),
}

/// A key taken for a run. Dropped half-way, it is freed: the same request may run again.
pub(super) struct Claim(Option<Held>);

struct Held {
    app: AppState,
    key: Key,
    request: RequestId,
    _entered: Entered,
}

/// How a run ended.
enum End {
    /// With an answer, sealed, or one that is not kept.
    Kept(Option<Vec<u8>>),
    /// With nothing to repeat.
    Freed,
}

/// Takes `key` for the run `request`, or finds what became of an earlier one.
///
/// # Errors
/// 422 when the key belongs to another request, 409 while that runs; 400 when it was answered and the answer is
/// not there to be repeated; 503 when the database can't say.
pub(super) async fn begin(
    app: &AppState,
    organization: OrganizationId,
    key: Key,
    request: RequestId,
) -> Result<Begun, ApiError> {
    let new = NewClaim {
        name: key.name,
        scope: key.scope,
        fingerprint: key.fingerprint,
        request,
        replica: app.config.server.replica.clone(),
        boot: app.billing.boot(),
        expires_at: app.env.now().plus(KEEP),
    };
    // Held before it is taken: a wait that is given up on may have taken it all the same.
    let entered = app.running.enter(request, key.name);
    let mut claim = Claim(Some(Held { app: app.clone(), key: key.clone(), request, _entered: entered }));
    let taken = tokio::time::timeout(CLAIM_TIMEOUT, take(app, organization, &new)).await;
    let Some(earlier) = taken.map_err(|_| ApiError::overloaded(1_000))?? else { return Ok(Begun::Run(claim)) };
    claim.0 = None;
    if earlier.fingerprint != key.fingerprint {
        return Err(ApiError::idempotency_key_reused());
    }
    match earlier.state {
        State::Running | State::Dead => Err(ApiError::request_in_progress()),
        State::Ended(sealed) => sealed
            .and_then(|sealed| key.open(earlier.request, sealed))
            .map(Begun::Replay)
            .ok_or_else(|| not_kept(earlier.request)),
    }
}

fn not_kept(request: RequestId) -> ApiError {
    let message = format!(
        "the first request with this Idempotency-Key ran as {request}, but its answer can't be repeated: it is \
         larger than {MAX_ANSWER} bytes, or was lost in a failure; use a new key to run it again"
    );
    ApiError::invalid_state(message).with_metadata("request_id", request.to_string())
}

/// `None` when the key is now `new`'s.
async fn take(app: &AppState, organization: OrganizationId, new: &NewClaim) -> Result<Option<Claimed>, ApiError> {
    let mut tx = app.db.begin().await?;
    if store::insert(&mut tx, new, LIVES_FOR).await? {
        tx.commit().await?;
        return Ok(None);
    }
    // Freed between the two statements: whoever freed it is done this instant, and a retry finds it free.
    let found = store::find_and_lock(&mut tx, &new.name).await?;
    let mut earlier = found.ok_or_else(ApiError::request_in_progress)?;
    let is_over = earlier.expires_at <= app.env.now() && earlier.state != State::Running;
    if is_over {
        store::replace(&mut tx, new, LIVES_FOR).await?;
        tx.commit().await?;
        return Ok(None);
    }
    if earlier.state != State::Dead {
        return Ok(Some(earlier));
    }
    // Whoever ran it died. What had been paid by then is not run and paid a second time.
    let taken = if is_charged(&mut tx, organization, earlier.request).await? {
        store::finish(&mut tx, &new.name, earlier.request, None).await?;
        earlier.state = State::Ended(None);
        Some(earlier)
    } else {
        store::replace(&mut tx, new, LIVES_FOR).await?;
        None
    };
    tx.commit().await?;
    Ok(taken)
}

async fn is_charged(
    conn: &mut PgConnection,
    organization: OrganizationId,
    request: RequestId,
) -> Result<bool, sqlx::Error> {
    let found = billing::store::views::find_generation(conn, organization, request).await?;
    Ok(found.is_some_and(|generation| generation.charge > NanoUsd::ZERO))
}

impl Claim {
    /// Stores the answer once all of it is there, before its last byte leaves. What is no success frees the key
    /// before it leaves, so that a retry on its heels finds it free.
    pub(super) async fn record(self, response: Response) -> Response {
        if !response.status().is_success() {
            self.free().await;
            return response;
        }
        let (parts, body) = response.into_parts();
        if body.size_hint().exact().is_none() {
            let body = Body::new(Recording::new(self, parts.status, parts.headers.clone(), body));
            return Response::from_parts(parts, body);
        }
        // Whole already: taken out and put back without a wait.
        let Ok(bytes) = to_bytes(body, usize::MAX).await else {
            self.free().await;
            let broken = std::io::Error::other("the body of a whole answer broke");
            return ApiError::internal(&broken).into_response();
        };
        let kept = (bytes.len() <= MAX_ANSWER).then(|| Answer {
            status: parts.status,
            headers: parts.headers.clone(),
            body: bytes.to_vec(),
        });
        self.store(kept).await;
        Response::from_parts(parts, Body::from(bytes))
    }

    /// Stores an answer, or that there was one too large to keep. Waits for it, though not for ever.
    pub(super) async fn store(mut self, answer: Option<Answer>) {
        let Some(held) = self.0.take() else { return };
        let sealed = answer.map(|answer| held.key.seal(held.request, &answer));
        held.end(End::Kept(sealed)).await;
    }

    /// Lets the same request run again.
    pub(super) async fn free(mut self) {
        let Some(held) = self.0.take() else { return };
        held.end(End::Freed).await;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Without a runtime there is no more serving, and the claim dies with its process.
        if let (Some(held), Ok(_)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            drop(held.end(End::Freed));
        }
    }
}

impl Held {
    /// Ends the run on a task of its own, which goes on whether or not the returned future is waited for.
    fn end(self, end: End) -> impl Future<Output = ()> + Send + 'static {
        let app = self.app.clone();
        let ended = app.shutdown.spawn(self.write(end));
        async move {
            if tokio::time::timeout(STORE_PATIENCE, ended).await.is_err() {
                metrics::counter!("steelyard_idempotency_late_total").increment(1);
            }
        }
    }

    /// Tries until it is written, or until nobody would take the run for alive any more.
    async fn write(self, end: End) {
        let (give_up, mut pause) = (Instant::now() + LIVES_FOR, STORE_AGAIN.0);
        while let Err(error) = self.try_write(&end).await {
            if Instant::now() >= give_up {
                tracing::error!(%error, request.id = %self.request, "the answer of a keyed request could not be kept");
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(STORE_AGAIN.1);
        }
    }

    async fn try_write(&self, end: &End) -> Result<(), sqlx::Error> {
        let mut conn = self.app.db.acquire().await?;
        match end {
            End::Freed => store::release(&mut conn, &self.key.name, self.request).await,
            End::Kept(sealed) => {
                if !store::finish(&mut conn, &self.key.name, self.request, sealed.as_deref()).await? {
                    tracing::warn!(request.id = %self.request, "a keyed request ended after it was taken for dead");
                }
                Ok(())
            }
        }
    }
}

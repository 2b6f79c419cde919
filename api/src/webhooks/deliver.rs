//! Sends what is due, an endpoint at a time, and judges what came of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt as _, Full};
use platform::worker::{Next, Worker};
use protocol::Timestamp;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::state::AppState;
use crate::store::audit::{self, Actor, Entry};
use crate::store::deliveries::{self, Due, Outcome};
use crate::store::webhooks::{self as endpoints, Target};
use crate::upstream::{Direct, DirectConfig};

/// Endpoints delivered to at a time by one replica.
const SLOTS: usize = 16;
/// Deliveries of one endpoint in one turn, and how long a turn may take before it is somebody else's.
const TURN: (i64, Duration) = (50, Duration::from_secs(20));
/// For how long an endpoint is one replica's: a turn, its last attempt, and what it takes to write that down.
const CLAIM: Duration = Duration::from_secs(60);
/// Pauses after the first failures of a delivery, in seconds; the last goes on.
const PAUSES_S: [u64; 9] = [5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 28_800];
/// A delivery is given up this long after the fact.
const GIVE_UP_AFTER: Duration = Duration::from_secs(72 * 3_600);
/// An endpoint that took nothing for this long, and was tried, is called no more.
const DISABLE_AFTER: Duration = Duration::from_secs(5 * 24 * 3_600);
/// Who we say we are.
const USER_AGENT: HeaderValue = HeaderValue::from_static("steelyard-webhooks/1");

/// Delivers.
pub struct Deliverer {
    sender: Sender,
    slots: Arc<Semaphore>,
}

#[derive(Clone)]
struct Sender {
    app: AppState,
    direct: Direct,
    answer_timeout: Duration,
}

impl Deliverer {
    /// By the settings of `app`.
    #[must_use]
    pub fn new(app: AppState) -> Self {
        let config = &app.config.webhooks;
        let connect_timeout = Duration::from_millis(config.connect_timeout_ms);
        let direct = Direct::new(DirectConfig { allow_private: config.allow_private, connect_timeout, lanes: 0 });
        let answer_timeout = Duration::from_millis(config.answer_timeout_ms);
        let sender = Sender { direct, answer_timeout, app };
        Self { sender, slots: Arc::new(Semaphore::new(SLOTS)) }
    }
}

impl Worker for Deliverer {
    type Error = sqlx::Error;

    fn name(&self) -> &'static str {
        "api.webhooks.deliver"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    async fn tick(&mut self, now: Timestamp) -> Result<Next, sqlx::Error> {
        let free = self.slots.available_permits();
        let mut conn = self.sender.app.db.acquire().await?;
        let targets = endpoints::claim_due(&mut conn, now, now.plus(CLAIM), free as i64).await?;
        drop(conn);
        for target in targets {
            let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else { break };
            let sender = self.sender.clone();
            self.sender.app.shutdown.spawn(async move {
                if let Err(error) = sender.turn(&target).await {
                    tracing::warn!(%error, webhook.id = %target.id, "a webhook's turn ended early and comes again");
                }
                drop(slot);
            });
        }
        Ok(Next::Wait)
    }
}

impl Sender {
    /// Sends what is due to one endpoint, in order, until something isn't taken.
    async fn turn(&self, target: &Target) -> Result<(), sqlx::Error> {
        let (most, longest) = TURN;
        let mut conn = self.app.db.acquire().await?;
        let due = deliveries::list_due(&mut conn, target.id, self.app.env.now(), most).await?;
        drop(conn);
        let began = Instant::now();
        for delivery in due {
            if began.elapsed() >= longest || self.app.shutdown.is_stopping() || !self.deliver(target, &delivery).await?
            {
                break;
            }
        }
        endpoints::release(&mut *self.app.db.acquire().await?, target.id).await
    }

    /// One attempt and what is written of it. Whether it was taken.
    async fn deliver(&self, target: &Target, delivery: &Due) -> Result<bool, sqlx::Error> {
        let now = self.app.env.now();
        let is_late = now.since(delivery.created_at) >= GIVE_UP_AFTER;
        let status = if is_late { None } else { self.attempt(target, delivery, now).await };
        let is_taken = status.is_some_and(|status| (200..300).contains(&status));
        let mut tx = self.app.db.begin().await?;
        let outcome = if is_taken {
            Outcome::Delivered(self.app.env.now())
        } else {
            let next = now.plus(pause(delivery.attempts, self.app.env.seed()));
            let is_last = is_late || next.since(delivery.created_at) >= GIVE_UP_AFTER;
            if is_last { Outcome::GivenUp } else { Outcome::Again(next) }
        };
        deliveries::record(&mut tx, delivery.id, outcome, status).await?;
        let failing_since = endpoints::note(&mut tx, target.id, is_taken, now).await?;
        if failing_since.is_some_and(|since| now.since(since) >= DISABLE_AFTER) {
            self.disable(&mut tx, target, now).await?;
        }
        tx.commit().await?;
        let word = if is_taken { "delivered" } else { "failed" };
        metrics::counter!("steelyard_webhook_attempts_total", "outcome" => word).increment(1);
        Ok(is_taken)
    }

    /// The status answered, if any was.
    async fn attempt(&self, target: &Target, delivery: &Due, now: Timestamp) -> Option<u16> {
        let body = Full::new(Bytes::from(delivery.body.clone())).boxed();
        let signatures = target.secrets.iter().map(|secret| secret.sign(delivery.event, now, &delivery.body));
        let request = Request::post("/")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, USER_AGENT)
            .header("webhook-id", delivery.event.to_string())
            .header("webhook-timestamp", now.unix_seconds())
            .header("webhook-signature", signatures.collect::<Vec<_>>().join(" "))
            .body(body)
            .ok()?;
        let sent = self.direct.send_to(&target.url, request);
        match tokio::time::timeout(self.answer_timeout, sent).await {
            // The rest of the answer is not read: nothing in it could matter.
            Ok(Ok(response)) => Some(response.status().as_u16()),
            Ok(Err(error)) => {
                tracing::debug!(%error, webhook.id = %target.id, "a webhook could not be sent");
                None
            }
            Err(_) => None,
        }
    }

    async fn disable(&self, conn: &mut sqlx::PgConnection, target: &Target, now: Timestamp) -> Result<(), sqlx::Error> {
        endpoints::disable(conn, target.id, now).await?;
        let actor = Actor::Operator("steelyard".to_owned());
        let mut entry = Entry::new(self.app.env.mint(), now, actor, "webhook.disabled", target.id);
        (entry.organization, entry.provider) = (target.owner.organization(), target.owner.provider());
        audit::insert(conn, entry.with(json!({ "url": target.url }))).await
    }
}

/// The pause after the attempt that followed `attempts` others, a tenth longer or shorter, so that those
/// who failed together do not come back together.
fn pause(attempts: i32, seed: u64) -> Duration {
    let turn = usize::try_from(attempts).unwrap_or(0).min(PAUSES_S.len() - 1);
    let permille = 900 + u32::try_from(seed % 201).unwrap_or(100);
    Duration::from_secs(PAUSES_S[turn]) * permille / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_fit_into_three_days() {
        assert_eq!(pause(0, 100), Duration::from_secs(5));
        assert!(pause(0, 0) >= Duration::from_millis(4_500) && pause(0, 200) <= Duration::from_millis(5_500));
        assert_eq!(pause(8, 100), pause(100, 100));
        let attempts = (0..).scan(Duration::ZERO, |at, turn| {
            *at += pause(turn, 100);
            (*at < GIVE_UP_AFTER).then_some(*at)
        });
        assert_eq!(attempts.count(), 16);
    }
}

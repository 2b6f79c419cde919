//! From facts to deliveries: one for each endpoint that wants to know.

use std::time::Duration;

use platform::outbox::{self, BATCH, Consumer, Drained, Recorded};
use platform::worker::{Next, Worker};
use protocol::event::{Event, Spender};
use protocol::{Env, EventId, Timestamp};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};

use super::Owner;
use crate::store::deliveries;

/// Deliveries are kept for this long, taken or not, for whoever asks what became of one.
const KEEP: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Reads the outbox.
pub struct Fanout {
    db: PgPool,
    reader: Reader,
}

struct Reader {
    env: Env,
}

/// What somebody is told.
struct News {
    owner: Owner,
    kind: &'static str,
    /// The id of what it happened to, and what else there is to say.
    data: Value,
}

impl Fanout {
    /// Of the outbox in `db`.
    #[must_use]
    pub fn new(db: PgPool, env: Env) -> Self {
        Self { db, reader: Reader { env } }
    }
}

impl Worker for Fanout {
    type Error = outbox::Error<scheduler::Error>;

    fn name(&self) -> &'static str {
        "api.webhooks.fanout"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    async fn tick(&mut self, now: Timestamp) -> Result<Next, Self::Error> {
        let drained = outbox::drain(&self.db, &mut self.reader).await?;
        if drained == Drained::Handled(BATCH.unsigned_abs() as usize) {
            return Ok(Next::Again);
        }
        deliveries::prune(&mut *self.db.acquire().await?, now.minus(KEEP)).await?;
        Ok(Next::Wait)
    }
}

impl Consumer for Reader {
    type Error = scheduler::Error;

    fn name(&self) -> &'static str {
        "api.webhooks"
    }

    async fn handle(&mut self, conn: &mut PgConnection, recorded: &Recorded) -> Result<(), scheduler::Error> {
        let Some(news) = news(conn, &recorded.event).await? else { return Ok(()) };
        let body = body(recorded.id, recorded.at, &news);
        deliveries::insert_for(conn, news.owner, news.kind, recorded.id, &body, self.env.now()).await?;
        Ok(())
    }
}

/// Whom a fact concerns, and what it is called. Most facts are between ourselves.
async fn news(conn: &mut PgConnection, event: &Event) -> Result<Option<News>, scheduler::Error> {
    match event {
        Event::NodeOffline { node } => {
            let found = scheduler::store::nodes::find(conn, *node).await?;
            Ok(found.map(|found| News {
                owner: Owner::Provider(found.provider),
                kind: "provider.node.offline",
                data: json!({ "id": node }),
            }))
        }
        Event::SpendThresholdReached { organization, spender, threshold_percent, limit, spent, window_starts_at } => {
            let (kind, id) = match spender {
                Spender::Key(key) => ("key.spend_limit.threshold_reached", key.to_string()),
                Spender::Project(project) => ("project.spend_limit.threshold_reached", project.to_string()),
                Spender::Organization(whole) => ("organization.spend_limit.threshold_reached", whole.to_string()),
            };
            let mut data = json!({
                "id": id, "threshold_percent": threshold_percent, "limit_usd": limit, "spent_usd": spent,
            });
            if let Some(from) = window_starts_at {
                data["window_starts_at"] = from.unix_seconds().into();
            }
            Ok(Some(News { owner: Owner::Organization(*organization), kind, data }))
        }
        Event::RechargeDeclined { organization, topup, .. } => Ok(Some(News {
            owner: Owner::Organization(*organization),
            kind: "credits.auto_recharge.declined",
            data: json!({ "id": topup }),
        })),
        Event::RechargeStopped { organization, topup, .. } => Ok(Some(News {
            owner: Owner::Organization(*organization),
            kind: "credits.auto_recharge.stopped",
            data: json!({ "id": topup }),
        })),
        Event::PayoutPaid { provider, payout } => Ok(Some(News {
            owner: Owner::Provider(*provider),
            kind: "provider.payout.paid",
            data: json!({ "id": payout }),
        })),
        Event::PayoutChangeRequested { provider } => Ok(Some(News {
            owner: Owner::Provider(*provider),
            kind: "provider.payout_account.change_requested",
            data: json!({ "id": provider }),
        })),
        Event::KeyRevoked { .. }
        | Event::AccountSuspended { .. }
        | Event::CreditGranted { .. }
        | Event::ProviderActivated { .. } => Ok(None),
    }
}

fn body(id: EventId, at: Timestamp, news: &News) -> String {
    let body = json!({
        "id": id, "object": "event", "created_at": at.unix_seconds(), "type": news.kind, "data": news.data,
    });
    body.to_string()
}

//! What an organization's admin sees and changes, and how far that goes.

mod audit;
mod bounds;
mod isolation;
mod keys;
mod limits;
mod papers;
mod projects;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use billing::config::Pricing;
use billing::outcome::CountedBy;
use billing::{AttemptUsage, HoldRequest, Outcome, PriceRow, Settlement};
use http::Method;
use protocol::{Id as _, KeyId, NodeId, OfferId, OrganizationId, Price, Prices, ProjectId, ProviderId, Units};
use serde_json::Value;
use uuid::Uuid;

use crate::support::{Reply, TestApp, text};

/// An organization with a key of each kind, in its default project.
pub struct Organization {
    /// `org-…`.
    pub id: String,
    /// `proj_…`.
    pub project: String,
    /// Asks models.
    pub inference: String,
    /// Manages keys.
    pub manager: String,
    /// Manages the organization.
    pub admin: String,
}

impl Organization {
    /// Opens one.
    pub async fn open(test: &TestApp) -> Self {
        let made = test.admin(&["org", "create", "Customer"]).await;
        let (id, project) = (text(&made["organization"]), text(&made["default_project"]));
        let key = |kind: &'static str| {
            let id = &id;
            async move { text(&test.admin(&["key", "create", "--org", id, "--kind", kind]).await["secret"]) }
        };
        let (inference, manager, admin) = (key("inference").await, key("management").await, key("admin").await);
        Self { project, inference, manager, admin, id }
    }

    /// The path of the default project.
    pub fn path(&self, rest: &str) -> String {
        format!("/v1/organization/projects/{}{rest}", self.project)
    }

    /// A GET by the admin.
    pub async fn get(&self, test: &TestApp, path: &str) -> Reply {
        test.get(path).bearer(&self.admin).send().await
    }

    /// A POST by the admin.
    pub async fn post(&self, test: &TestApp, path: &str, body: &Value) -> Reply {
        test.post(path, body).bearer(&self.admin).send().await
    }

    /// A DELETE by the admin.
    pub async fn delete(&self, test: &TestApp, path: &str) -> Reply {
        test.call(Method::DELETE, path).bearer(&self.admin).send().await
    }

    /// A project with this name, which must come to be.
    pub async fn add_project(&self, test: &TestApp, name: &str) -> String {
        // Ids made within one millisecond have no order.
        test.clock.advance(Duration::from_millis(1));
        let made = self.post(test, "/v1/organization/projects", &serde_json::json!({ "name": name })).await;
        assert_eq!(made.status, 200, "{}", made.json);
        text(&made.json["id"])
    }
}

/// What callers of a model of `tokens` each came to, through the books.
pub struct Till {
    price: Arc<PriceRow>,
    model: &'static str,
}

impl Till {
    /// A price of one nano-USD for each output token of `model`.
    pub async fn of(test: &TestApp, model: &'static str, offer: u128) -> Self {
        let prices = Prices { completion: Price::from_pico(1_000).unwrap(), ..Prices::default() };
        let pricing = Pricing { default_take_bps: 0, ..Pricing::default() };
        let offer = OfferId::from_uuid(Uuid::from_u128(offer));
        let mut tx = test.app.db.begin().await.unwrap();
        let row = billing::store::prices::post(&mut tx, &pricing, offer, model, &prices, test.app.env.now()).await;
        tx.commit().await.unwrap();
        Self { price: Arc::new(row.unwrap()), model }
    }

    /// One settled request.
    pub async fn ring(&self, test: &TestApp, (organization, project, key): (&str, &str, KeyId), units: Units) {
        let app = &test.app;
        let hold = app.billing.hold(HoldRequest {
            request: app.env.mint(),
            organization: organization.parse::<OrganizationId>().unwrap(),
            project: project.parse::<ProjectId>().unwrap(),
            key,
            ceiling: protocol::NanoUsd::new(1_000_000).unwrap(),
        });
        let now = app.env.now();
        let attempt = AttemptUsage {
            attempt: app.env.mint(),
            provider: ProviderId::from_uuid(Uuid::from_u128(5)),
            node: NodeId::from_uuid(Uuid::from_u128(6)),
            price: Arc::clone(&self.price),
            outcome: Outcome::Completed,
            units: Units { request: 1, ..units },
            reread: 0,
            counted_by: CountedBy::Upstream,
            status: Some(200),
            error_code: None,
            started_at: now,
            first_output_at: Some(now),
            finished_at: now,
        };
        let settlement = Settlement {
            model: self.model.into(),
            attempts: vec![attempt],
            streamed: false,
            finish_reason: Some("stop".into()),
            native_finish_reason: None,
            received_at: now,
            first_output_at: Some(now),
            finished_at: now,
            service_tier: Some("default".into()),
            routing: None,
        };
        hold.await.unwrap().settle(settlement).await;
    }
}

/// The id of a key by its secret.
pub async fn id_of(test: &TestApp, secret: &str) -> KeyId {
    test.app.keys.find(secret).await.unwrap().id
}

/// Waits until a key gets `status`, for less than the second in which a change must arrive.
pub async fn until_status(test: &TestApp, secret: &str, status: u16) {
    let began = std::time::Instant::now();
    while test.get("/v1/key").bearer(secret).send().await.status != status {
        assert!(began.elapsed() < Duration::from_secs(1), "the key does not meet {status}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A cache that is told of changes and whose clock stands still, so that only a notice can end an old answer.
pub struct Listening {
    stop: tokio_util::sync::CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Listening {
    /// Starts to listen, for the broker's own cache.
    pub async fn start(test: &TestApp, secret: &str) -> Self {
        let stop = tokio_util::sync::CancellationToken::new();
        let task = tokio::spawn(test.app.keys.clone().listen(stop.clone()));
        until_status(test, secret, 200).await;
        Self { stop, task }
    }

    /// Ends it.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

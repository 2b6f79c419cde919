//! A database, a replica, an account with money, and requests that cost what they are told to.

use std::sync::Arc;

use billing::config::Pricing;
use billing::outcome::CountedBy;
use billing::{
    AttemptUsage, Billing, Booked, Config, GrantKind, HoldRequest, LeaseHold, NewGrant, Outcome, PriceRow, Settlement,
};
use platform::testing::TestDb;
use protocol::time::ManualClock;
use protocol::wallet::Wallet;
use protocol::{Env, Id, KeyId, NanoUsd, NodeId, OfferId, OrganizationId, Price, Prices, ProjectId, ProviderId, Units};
use sqlx::PgPool;
use uuid::Uuid;

/// Nano-USD.
pub fn nano(amount: i64) -> NanoUsd {
    NanoUsd::new(amount).unwrap()
}

/// The n-th id of a kind.
pub fn id<T: Id>(n: u128) -> T {
    T::from_uuid(Uuid::from_u128(n))
}

/// A wallet made of one byte.
pub fn wallet(seed: u8) -> Wallet {
    Wallet::from_bytes(&[seed; 32]).unwrap()
}

/// Loops that never beat and leases nobody renews behind a test's back.
pub fn quiet() -> Config {
    let mut config = Config::default();
    let never = 3_600_000;
    config.loops.fold_ms = never;
    config.loops.burn_ms = never;
    config.loops.reap_ms = never;
    config.loops.partitions_ms = never;
    config.loops.prices_ms = never;
    config.loops.reports_ms = never;
    config.loops.documents_ms = never;
    config.lease.renew_s = 3_600;
    config.pricing.default_take_bps = 0;
    config
}

/// One replica on a database of its own.
pub struct World {
    pub db: TestDb,
    pub env: Env,
    pub clock: ManualClock,
    pub billing: Billing,
    pub price: Arc<PriceRow>,
}

impl World {
    pub async fn new(seed: u64) -> Self {
        Self::with(seed, quiet()).await
    }

    pub async fn with(seed: u64, config: Config) -> Self {
        let db = platform::testing::database().await;
        let (env, clock) = platform::testing::env(seed);
        let price = post(&db, &env).await;
        let billing = Billing::start(db.pool().clone(), env.clone(), config, "one").await.unwrap();
        Self { db, env, clock, billing, price }
    }

    /// Gives an account `amount` nano-USD.
    pub async fn fund(&self, account: OrganizationId, amount: i64) {
        fund(&self.db, &self.env, account, amount).await;
    }

    /// A new request of account 1 for at most `ceiling` nano-USD.
    pub fn ask(&self, ceiling: i64) -> HoldRequest {
        ask(&self.env, id(1), ceiling)
    }

    pub async fn hold(&self, ceiling: i64) -> Result<LeaseHold, billing::Error> {
        self.billing.hold(self.ask(ceiling)).await
    }

    /// Holds, settles for `cost` and waits for the books.
    pub async fn spend(&self, ceiling: i64, cost: u32) -> Booked {
        let hold = self.hold(ceiling).await.unwrap();
        hold.settle(self.settlement(cost)).await
    }

    pub fn settlement(&self, cost: u32) -> Settlement {
        settlement(&self.env, &self.price, Outcome::Completed, cost)
    }

    /// All checks, none of which may differ.
    pub async fn assert_green(&self) {
        assert_green(&self.db).await;
    }

    pub async fn available(&self, account: OrganizationId) -> i64 {
        sqlx::query_scalar("select available_nano_usd from accounts where account_id = $1")
            .bind(account.uuid())
            .fetch_one(self.db.pool())
            .await
            .unwrap()
    }

    pub async fn count(&self, table: &'static str) -> i64 {
        sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select count(*) from {table}")))
            .fetch_one(self.db.pool())
            .await
            .unwrap()
    }

    /// How many replicas hear hints.
    pub async fn listeners(&self) -> i64 {
        let listening =
            "select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen%'";
        sqlx::query_scalar(listening).fetch_one(self.db.pool()).await.unwrap()
    }

    /// The process id of a session that waits for a lock.
    pub async fn waiting_for_a_lock(&self) -> Option<i32> {
        let waiting =
            "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        sqlx::query_scalar(waiting).fetch_optional(self.db.pool()).await.unwrap()
    }

    /// Waits until `true`, for at most twenty seconds.
    pub async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while std::time::Instant::now() < deadline {
            if holds().await {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("it never came that {what}");
    }
}

/// One nano-USD per completion token for provider and user, so a cost is a number of tokens.
pub async fn post(db: &PgPool, env: &Env) -> Arc<PriceRow> {
    let prices = Prices { completion: Price::from_pico(1_000).unwrap(), ..Prices::default() };
    let pricing = Pricing { default_take_bps: 0, ..Pricing::default() };
    let mut tx = db.begin().await.unwrap();
    let row = billing::store::prices::post(&mut tx, &pricing, id::<OfferId>(9), "m", &prices, env.now()).await.unwrap();
    tx.commit().await.unwrap();
    Arc::new(row)
}

pub async fn fund(db: &PgPool, env: &Env, account: OrganizationId, amount: i64) {
    let mut tx = db.begin().await.unwrap();
    let new = NewGrant {
        account,
        kind: GrantKind::Goodwill,
        cause: env.mint::<protocol::GrantId>().to_string(),
        amount: nano(amount),
        expires_at: None,
    };
    billing::grant(&mut tx, env, &new).await.unwrap();
    tx.commit().await.unwrap();
}

pub fn ask(env: &Env, organization: OrganizationId, ceiling: i64) -> HoldRequest {
    HoldRequest {
        request: env.mint(),
        organization,
        project: id::<ProjectId>(organization.uuid().as_u128()),
        key: id::<KeyId>(organization.uuid().as_u128()),
        ceiling: nano(ceiling),
    }
}

pub fn settlement(env: &Env, price: &Arc<PriceRow>, outcome: Outcome, cost: u32) -> Settlement {
    let now = env.now();
    let attempt = AttemptUsage {
        attempt: env.mint(),
        provider: id::<ProviderId>(5),
        node: id::<NodeId>(6),
        price: Arc::clone(price),
        outcome,
        units: Units { completion: cost, request: 1, ..Units::default() },
        reread: 0,
        counted_by: CountedBy::Upstream,
        status: Some(200),
        error_code: None,
        started_at: now,
        first_output_at: Some(now),
        finished_at: now,
    };
    Settlement {
        model: "m".into(),
        attempts: vec![attempt],
        streamed: true,
        finish_reason: Some("stop".into()),
        native_finish_reason: None,
        received_at: now,
        first_output_at: Some(now),
        finished_at: now,
        service_tier: Some("default".into()),
        routing: None,
    }
}

/// Folds until everything booked so far is in it: a fold leaves out what an older transaction may still add, also one
/// of another database of the server.
pub async fn fold_all(db: &PgPool) {
    let last: Option<String> = sqlx::query_scalar(
        "select greatest((select max(xid::text::numeric) from usage), (select max(xid::text::numeric) from postings))::text",
    )
    .fetch_one(db)
    .await
    .unwrap();
    let folded = "select xid::text::numeric > coalesce($1::text::numeric, 0) from fold_watermark";
    loop {
        billing::run::fold(db).await.unwrap();
        if sqlx::query_scalar::<_, bool>(folded).bind(&last).fetch_one(db).await.unwrap() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

pub async fn assert_green(db: &PgPool) {
    let report = billing::reconcile(db).await.unwrap();
    let wrong: Vec<_> = report.checks.iter().filter(|check| !check.differences.is_empty()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

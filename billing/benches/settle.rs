//! Settled requests per second: batched through leases, beside a transaction per request, in one run.
//!
//! `cargo bench -p billing`. The server is the tests' own and does not wait for the disk; name another
//! with `STEELYARD_TEST_DATABASE_URL` to measure one that does.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use billing::config::Pricing;
use billing::outcome::CountedBy;
use billing::{AttemptUsage, Billing, Config, GrantKind, HoldRequest, NewGrant, Outcome, PriceRow, Settlement};
use protocol::{Env, Id, NanoUsd, OrganizationId, Price, Prices, RequestId, Timestamp, Units};
use tokio::task::JoinSet;
use uuid::Uuid;

/// Requests per measurement.
const ROWS: u32 = 20_000;
/// Requests under way at once, as in a loaded gateway.
const IN_FLIGHT: u32 = 1_000;
/// The naive way is an order slower; fewer rows tell as much.
const NAIVE_ROWS: u32 = 4_000;
/// As many as the pool has connections.
const NAIVE_IN_FLIGHT: u32 = 8;

fn main() {
    // `cargo test --benches` only wants to know that it starts.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for organizations in [1, 10_000] {
            let batched = batched(organizations).await;
            let naive = naive(organizations).await;
            println!(
                "{organizations:>6} organizations: {batched:>8.0} rows/s batched, {naive:>8.0} rows/s in a transaction each, \
                 {:.1} times as many",
                batched / naive
            );
        }
    });
}

async fn batched(organizations: u32) -> f64 {
    let db = platform::testing::database().await;
    let env = Env::system();
    let price = price(&db, &env).await;
    fund(&db, &env, organizations).await;
    let billing = Billing::start(db.pool().clone(), env.clone(), Config::default(), "bench").await.unwrap();
    // Two at once: the second tells how much to borrow ahead. In life that is rare beside requests.
    for n in 0..organizations {
        let first = billing.hold(ask(&env, n)).await.unwrap();
        drop((first, billing.hold(ask(&env, n)).await.unwrap()));
    }
    let (next, started) = (Arc::new(AtomicU32::new(0)), Instant::now());
    let mut workers = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (billing, env, price, next) = (billing.clone(), env.clone(), Arc::clone(&price), Arc::clone(&next));
        workers.spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= ROWS {
                    return;
                }
                let hold = billing.hold(ask(&env, n % organizations)).await.unwrap();
                hold.settle(settlement(&env, &price)).await;
            }
        });
    }
    workers.join_all().await;
    let rate = f64::from(ROWS) / started.elapsed().as_secs_f64();
    billing.stop().await.unwrap();
    assert!(billing::reconcile(&db).await.unwrap().is_green());
    rate
}

/// What one would write first: lock the balance, charge it, insert the row, commit.
async fn naive(organizations: u32) -> f64 {
    let db = platform::testing::database().await;
    let env = Env::system();
    billing::run::ensure_partitions(&db, env.now()).await.unwrap();
    fund(&db, &env, organizations).await;
    let (next, started) = (Arc::new(AtomicU32::new(0)), Instant::now());
    let mut workers = JoinSet::new();
    for _ in 0..NAIVE_IN_FLIGHT {
        let (pool, env, next) = (db.pool().clone(), env.clone(), Arc::clone(&next));
        workers.spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= NAIVE_ROWS {
                    return;
                }
                let account = organization(n % organizations).uuid();
                let mut tx = pool.begin().await.unwrap();
                sqlx::query("update accounts set available_nano_usd = available_nano_usd - 10 where account_id = $1")
                    .bind(account)
                    .execute(&mut *tx)
                    .await
                    .unwrap();
                sqlx::query(
                    "insert into usage (request_id, account_id, project_id, key_id, flush_id, outcome, hold_nano_usd,
                       charge_nano_usd, model, prompt, cached_prompt, cache_write, completion, internal_reasoning,
                       requests, streamed, received_at, finished_at, settled_at)
                     values ($1, $2, $2, $2, $1, 'completed', 10, 10, 'm', 0, 0, 0, 10, 0, 1, true, now(), now(), now())",
                )
                .bind(env.mint::<RequestId>().uuid())
                .bind(account)
                .execute(&mut *tx)
                .await
                .unwrap();
                tx.commit().await.unwrap();
            }
        });
    }
    workers.join_all().await;
    f64::from(NAIVE_ROWS) / started.elapsed().as_secs_f64()
}

fn organization(n: u32) -> OrganizationId {
    OrganizationId::from_uuid(Uuid::from_u128(u128::from(n) + 1))
}

fn ask(env: &Env, n: u32) -> HoldRequest {
    let organization = organization(n);
    HoldRequest {
        request: env.mint(),
        organization,
        project: protocol::ProjectId::from_uuid(organization.uuid()),
        key: protocol::KeyId::from_uuid(organization.uuid()),
        ceiling: NanoUsd::new(1_000).unwrap(),
    }
}

fn settlement(env: &Env, price: &Arc<PriceRow>) -> Settlement {
    let now: Timestamp = env.now();
    Settlement {
        model: "m".into(),
        attempts: vec![AttemptUsage {
            attempt: env.mint(),
            provider: protocol::ProviderId::from_uuid(Uuid::from_u128(5)),
            node: protocol::NodeId::from_uuid(Uuid::from_u128(6)),
            price: Arc::clone(price),
            outcome: Outcome::Completed,
            units: Units { prompt: 500, completion: 10, request: 1, ..Units::default() },
            reread: 0,
            counted_by: CountedBy::Upstream,
            status: Some(200),
            error_code: None,
            started_at: now,
            first_output_at: Some(now),
            finished_at: now,
        }],
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

async fn price(db: &sqlx::PgPool, env: &Env) -> Arc<PriceRow> {
    let offer = protocol::OfferId::from_uuid(Uuid::from_u128(9));
    let prices = Prices { completion: Price::from_pico(1_000).unwrap(), ..Prices::default() };
    let mut tx = db.begin().await.unwrap();
    let row = billing::store::prices::post(&mut tx, &Pricing::default(), offer, "m", &prices, env.now()).await.unwrap();
    tx.commit().await.unwrap();
    Arc::new(row)
}

async fn fund(db: &sqlx::PgPool, env: &Env, organizations: u32) {
    let mut tx = db.begin().await.unwrap();
    for n in 0..organizations {
        let new = NewGrant {
            account: organization(n),
            kind: GrantKind::Promo,
            cause: n.to_string(),
            amount: NanoUsd::from_dollars(10),
            expires_at: None,
        };
        billing::grant(&mut tx, env, &new).await.unwrap();
    }
    tx.commit().await.unwrap();
}

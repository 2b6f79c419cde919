//! Settled requests per second: batched through leases, beside a transaction per request, in one run.
//!
//! `make bench-settle`. Postgres runs on this machine and waits for its disk at every commit, as it does in
//! service.
#![allow(clippy::unwrap_used)]

mod flushes;
mod naive;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use billing::config::Pricing;
use billing::outcome::CountedBy;
use billing::{AttemptUsage, Billing, Config, GrantKind, HoldRequest, NewGrant, Outcome, PriceRow, Settlement};
use platform::testing::PrivateServer;
use protocol::{Env, Id, NanoUsd, OrganizationId, Price, Prices, Timestamp, Units};
use sqlx::PgPool;
use tokio::task::JoinSet;
use uuid::Uuid;

use self::flushes::Flushes;

/// Requests per measurement: some seconds' worth.
const ROWS: u32 = 80_000;
/// Requests under way at once, as in a loaded gateway: two batches in flushes, two that gather.
const IN_FLIGHT: u32 = 2_000;
/// Organizations whose leases are opened at once, before anything is measured.
const OPENED_AT_ONCE: u32 = 64;
/// What two cores are to reach.
const TARGET: f64 = 20_000.0;

fn main() {
    // `cargo test --benches` only wants to know that it starts.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    flushes::listen();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        println!(
            "{:>13} {:>10} {:>10} {:>7} {:>10} {:>10} {:>10}",
            "organizations", "rows/s", "naive", "ratio", "flush p50", "flush p99", "rows/flush"
        );
        for organizations in [1, 10_000] {
            let (rate, flushes) = batched(organizations).await;
            let naive = one_by_one(organizations).await;
            println!(
                "{organizations:>13} {rate:>10.0} {naive:>10.0} {:>7.1} {:>7.1} ms {:>7.1} ms {:>10.0}",
                rate / naive,
                flushes.p50_ms,
                flushes.p99_ms,
                flushes.rows,
            );
            if rate < TARGET {
                println!("{:>13} below {TARGET} rows/s", "");
            }
        }
    });
}

/// A server of its own with every migration applied: what one measurement leaves must not slow the next.
async fn server() -> (PrivateServer, PgPool) {
    let server = PrivateServer::start_durable().await.unwrap();
    let db = platform::db::connect(&server.config()).await.unwrap();
    platform::db::migrate(&db).await.unwrap();
    (server, db)
}

async fn batched(organizations: u32) -> (f64, Flushes) {
    let (_server, db) = server().await;
    let env = Env::system();
    let price = price(&db, &env).await;
    fund(&db, &env, organizations).await;
    let billing = Billing::start(db.clone(), env.clone(), Config::default(), "bench").await.unwrap();
    each(OPENED_AT_ONCE, organizations, {
        let (billing, env) = (billing.clone(), env.clone());
        move |n| {
            let (billing, env) = (billing.clone(), env.clone());
            // Two at once: the second tells how much to borrow ahead. In life that is rare beside requests.
            async move {
                let first = billing.hold(ask(&env, n)).await.unwrap();
                drop((first, billing.hold(ask(&env, n)).await.unwrap()));
            }
        }
    })
    .await;
    while billing.queued() > 0 {
        tokio::task::yield_now().await;
    }
    flushes::take();
    let started = Instant::now();
    each(IN_FLIGHT, ROWS, {
        let (billing, env) = (billing.clone(), env.clone());
        move |n| {
            let (billing, env, price) = (billing.clone(), env.clone(), Arc::clone(&price));
            async move {
                let hold = billing.hold(ask(&env, n % organizations)).await.unwrap();
                hold.settle(settlement(&env, &price)).await;
            }
        }
    })
    .await;
    let rate = f64::from(ROWS) / started.elapsed().as_secs_f64();
    let flushes = flushes::take();
    billing.stop().await.unwrap();
    assert!(billing::reconcile(&db).await.unwrap().is_green());
    (rate, flushes)
}

async fn one_by_one(organizations: u32) -> f64 {
    let (_server, db) = server().await;
    let env = Env::system();
    billing::run::ensure_partitions(&db, env.now()).await.unwrap();
    fund(&db, &env, organizations).await;
    naive::rate(&db, &env, organizations).await
}

/// Does `work` for every number below `count`, `at_once` of them at a time.
async fn each<F>(at_once: u32, count: u32, work: impl Fn(u32) -> F + Clone + Send + 'static)
where
    F: Future<Output = ()> + Send,
{
    let next = Arc::new(AtomicU32::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..at_once {
        let (next, work) = (Arc::clone(&next), work.clone());
        workers.spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= count {
                    return;
                }
                work(n).await;
            }
        });
    }
    workers.join_all().await;
}

/// The n-th organization.
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

async fn price(db: &PgPool, env: &Env) -> Arc<PriceRow> {
    let offer = protocol::OfferId::from_uuid(Uuid::from_u128(9));
    let prices = Prices { completion: Price::from_pico(1_000).unwrap(), ..Prices::default() };
    let mut tx = db.begin().await.unwrap();
    let row = billing::store::prices::post(&mut tx, &Pricing::default(), offer, "m", &prices, env.now()).await.unwrap();
    tx.commit().await.unwrap();
    Arc::new(row)
}

async fn fund(db: &PgPool, env: &Env, organizations: u32) {
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

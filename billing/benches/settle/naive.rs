//! What one would write first: lock the balance, charge it, insert the row, commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use protocol::{Env, Id as _, RequestId};
use sqlx::PgPool;
use tokio::task::JoinSet;

use crate::organization;

/// The naive way is an order slower; fewer rows tell as much.
const ROWS: u32 = 4_000;
/// As many as the pool has connections.
const IN_FLIGHT: u32 = 16;

/// Rows per second, in a transaction each.
pub async fn rate(db: &PgPool, env: &Env, organizations: u32) -> f64 {
    let (next, started) = (Arc::new(AtomicU32::new(0)), Instant::now());
    let mut workers = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (pool, env, next) = (db.clone(), env.clone(), Arc::clone(&next));
        workers.spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= ROWS {
                    return;
                }
                charge(&pool, &env, n % organizations).await;
            }
        });
    }
    workers.join_all().await;
    f64::from(ROWS) / started.elapsed().as_secs_f64()
}

async fn charge(pool: &PgPool, env: &Env, n: u32) {
    let account = organization(n).uuid();
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

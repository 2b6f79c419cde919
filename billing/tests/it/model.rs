//! Random histories of two replicas with cut connections, deaths, expiry and reaping, against a small
//! model of who was charged what. Every step leaves the books in order.
//!
//! `STEELYARD_MODEL_SEED` repeats one history, `STEELYARD_MODEL_RUNS` asks for more of them, as `make soak` does.
//! Of many, the books are checked after some of the steps; of one or two, after each.

mod runs;

use std::collections::HashMap;
use std::time::Duration;

use billing::{Billing, Booked, BudgetScope, LeaseHold, Outcome, Reset};
use platform::testing::TestDb;
use protocol::time::ManualClock;
use protocol::{Env, Id, KeyId, OrganizationId, RequestId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::runtime::Runtime;

use crate::fixture::{ask, assert_green, fold_all, fund, id, nano, post, quiet, settlement};

const ACCOUNTS: u128 = 3;
const STEPS: u32 = 120;
/// Looks at whether a dead replica's name is free, a moment apart, before that counts as never. Looks and not
/// seconds: a run that is stopped for a while goes on where it was.
const LOOKS: u32 = 10_000;

struct Replica {
    name: &'static str,
    runtime: Runtime,
    billing: Billing,
    env: Env,
    clock: ManualClock,
    /// By request: the account, the hold.
    holds: Vec<(RequestId, OrganizationId, LeaseHold)>,
}

/// What must be true in the end.
#[derive(Default)]
struct Model {
    granted: HashMap<OrganizationId, i64>,
    /// Acknowledged as booked.
    charged: HashMap<RequestId, (OrganizationId, i64)>,
    /// Settled without an answer: booked or not.
    doubtful: HashMap<RequestId, (OrganizationId, i64)>,
}

async fn start(name: &'static str, url: &str, seed: u64) -> Replica {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (env, clock) = platform::testing::env(seed);
    let (url, inner) = (url.to_owned(), env.clone());
    let starting = runtime.spawn(async move {
        let pool = PgPoolOptions::new().max_connections(6).connect(&url).await.unwrap();
        let mut config = quiet();
        config.lease.recall_wait_ms = 20;
        config.settlement.ack_timeout_ms = 5_000;
        Billing::start(pool, inner, config, name).await.unwrap()
    });
    let billing = starting.await.unwrap();
    assert!(billing.is_sole_bearer(), "{name} started beside another {name}");
    Replica { name, runtime, billing, env, clock, holds: Vec::new() }
}

/// Ends a replica where it is, as a crash does, and returns its name once the server knows.
async fn kill(dead: Replica, books: &PgPool) -> &'static str {
    let Replica { name, runtime, billing, holds, .. } = dead;
    tokio::task::spawn_blocking(move || drop(runtime)).await.unwrap();
    // Holds of the dead are only memory. The connection that holds the name goes with the last of them.
    drop((billing, holds));
    let held = "select exists (
        select from pg_locks where locktype = 'advisory'
           and database = (select oid from pg_database where datname = current_database())
           and (classid::bigint << 32 | objid::bigint) = hashtextextended('replica ' || $1, 0))";
    for _ in 0..LOOKS {
        if !sqlx::query_scalar::<_, bool>(held).bind(name).fetch_one(books).await.unwrap() {
            return name;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("the server never noticed that {name} died");
}

#[test]
fn random_histories_leave_the_books_in_order() {
    runs::go_through(|seed, check_steps| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(history(seed, check_steps));
    });
}

/// The test's own connection, which nothing cuts: one, which knows its statements after the first check, plans them
/// for the few rows there are, and is so patient that a run may be stopped for a while.
async fn books_of(db: &TestDb) -> PgPool {
    let settings =
        [("idle_in_transaction_session_timeout", "0"), ("max_parallel_workers_per_gather", "0"), ("jit", "off")];
    let options = db.config().connect_options().unwrap().options(settings);
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(Duration::from_secs(3_600));
    pool.connect_with(options).await.unwrap()
}

async fn history(seed: u64, check_steps: u32) {
    let own = platform::testing::database().await;
    let db = books_of(&own).await;
    let (env, _) = platform::testing::env(seed * 1_000);
    let price = post(&db, &env).await;
    let mut rng = StdRng::seed_from_u64(seed);
    let mut model = Model::default();
    for n in 1..=ACCOUNTS {
        fund(&db, &env, id(n), 100_000).await;
        model.granted.insert(id(n), 100_000);
    }
    let mut tx = db.begin().await.unwrap();
    let scope = BudgetScope::Key(id::<KeyId>(1));
    billing::store::budgets::set(
        &mut tx,
        scope,
        nano(60_000),
        Some(Reset::Monthly),
        uuid::Uuid::from_u128(8),
        env.now(),
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let mut boots = seed * 1_000 + 1;
    let mut replicas = Vec::new();
    for name in ["one", "two"] {
        boots += 1;
        replicas.push(start(name, own.url(), boots).await);
    }
    for step in 0..STEPS {
        let at = rng.random_range(0..replicas.len());
        let replica = &mut replicas[at];
        let what = match rng.random_range(0..100) {
            0..40 => {
                let account: OrganizationId = id(rng.random_range(1..=ACCOUNTS));
                let wanted = ask(&replica.env, account, rng.random_range(1..8_000));
                let billing = replica.billing.clone();
                let held = replica.runtime.spawn(async move { billing.hold(wanted).await }).await.unwrap();
                if let Ok(hold) = held {
                    replica.holds.push((wanted.request, account, hold));
                }
                "hold"
            }
            40..65 if !replica.holds.is_empty() => {
                let (request, account, hold) = replica.holds.swap_remove(rng.random_range(0..replica.holds.len()));
                let most = u32::try_from(hold.amount().nano()).unwrap();
                let outcome = if rng.random_bool(0.8) { Outcome::Completed } else { Outcome::ProviderFailed };
                let ack = {
                    let _inside = replica.runtime.enter();
                    hold.settle(settlement(&replica.env, &price, outcome, rng.random_range(0..=most)))
                };
                let charge = ack.charge().nano();
                match replica.runtime.spawn(ack).await.unwrap() {
                    Booked::Durable => model.charged.insert(request, (account, charge)),
                    Booked::TimedOut => model.doubtful.insert(request, (account, charge)),
                    other => panic!("step {step}: {other:?}"),
                };
                "settle"
            }
            65..72 if !replica.holds.is_empty() => {
                let dropped = replica.holds.swap_remove(0);
                drop(dropped);
                "drop"
            }
            72..78 if !replica.holds.is_empty() => {
                let last = replica.holds.len() - 1;
                let _ = replica.holds[last].2.extend(nano(rng.random_range(1..500)));
                "extend"
            }
            78..83 => {
                let billing = replica.billing.clone();
                // A cut connection is noticed here as well; the next renewal makes up for it.
                let _ = replica.runtime.spawn(async move { billing.renew().await }).await.unwrap();
                "renew"
            }
            83..87 => {
                billing::run::fold(&db).await.unwrap();
                billing::run::burn(&db, &env).await.unwrap();
                "fold and burn"
            }
            87..92 => {
                // While requests borrow and settle: replies get lost on their way.
                let mut running = Vec::new();
                for _ in 0..8 {
                    let account: OrganizationId = id(rng.random_range(1..=ACCOUNTS));
                    let wanted = ask(&replica.env, account, rng.random_range(1..4_000));
                    let (billing, env, price) = (replica.billing.clone(), replica.env.clone(), price.clone());
                    let cost = rng.random_range(0..=u32::try_from(wanted.ceiling.nano()).unwrap());
                    running.push(replica.runtime.spawn(async move {
                        let hold = billing.hold(wanted).await.ok()?;
                        let ack = hold.settle(settlement(&env, &price, Outcome::Completed, cost));
                        let charge = ack.charge().nano();
                        Some((wanted.request, account, charge, ack.await))
                    }));
                }
                for _ in 0..4 {
                    cut(&db).await;
                }
                for task in running {
                    match task.await.unwrap() {
                        Some((request, account, charge, Booked::Durable)) => {
                            model.charged.insert(request, (account, charge));
                        }
                        Some((request, account, charge, Booked::TimedOut)) => {
                            model.doubtful.insert(request, (account, charge));
                        }
                        Some(other) => panic!("step {step}: {other:?}"),
                        None => {}
                    }
                }
                "cut connections"
            }
            92..95 => {
                // The replica's own clock says its leases are over before the ledger closes them.
                replica.clock.advance(Duration::from_secs(60));
                sqlx::query(
                    "update leases set expires_at = now() - interval '1 h' where closed_at is null and boot_id = $1",
                )
                .bind(replica.billing.boot().uuid())
                .execute(&db)
                .await
                .unwrap();
                billing::run::reap(&db, &quiet().lease).await.unwrap();
                "expire and reap"
            }
            95..98 => {
                let account: OrganizationId = id(rng.random_range(1..=ACCOUNTS));
                let amount = rng.random_range(1..5_000);
                fund(&db, &env, account, amount).await;
                *model.granted.entry(account).or_default() += amount;
                "grant"
            }
            _ => {
                boots += 1;
                let name = kill(replicas.swap_remove(at), &db).await;
                replicas.push(start(name, own.url(), boots).await);
                "death and rebirth"
            }
        };
        // Other steps with each seed, so that over many of them every step is one of those checked.
        if !(seed + u64::from(step)).is_multiple_of(u64::from(check_steps)) {
            continue;
        }
        let report = billing::reconcile(&db).await.unwrap();
        let wrong: Vec<_> = report.checks.iter().filter(|check| !check.differences.is_empty()).collect();
        assert!(wrong.is_empty(), "after step {step}, {what}: {wrong:#?}");
    }
    for replica in replicas {
        drop(replica.holds);
        let billing = replica.billing.clone();
        let _ = replica.runtime.spawn(async move { billing.stop().await }).await.unwrap();
        replica.runtime.shutdown_background();
    }
    compare(&db, &model).await;
    fold_all(&db).await;
    alerted(&db).await;
    assert_green(&db).await;
}

/// Of every limit exactly those parts were noticed that its windows have reached.
async fn alerted(db: &PgPool) {
    let wrong: i64 = sqlx::query_scalar(
        "with spent as (
           select w.budget_id, w.starts_at, w.limit_nano_usd, w.late_nano_usd + coalesce(
                    (select sum(spent_nano_usd) from budget_leases l
                      where l.budget_id = w.budget_id and l.starts_at = w.starts_at), 0) as spent
             from budget_windows w),
         due as (
           select budget_id, starts_at, percent from spent cross join unnest(array[50, 80, 100]) as parts (percent)
            where spent * 100 >= limit_nano_usd * percent)
         select count(*) from due full join spend_alerts a
             on a.budget_id = due.budget_id and a.starts_at = due.starts_at and a.threshold_percent = due.percent
          where due.percent is null or a.threshold_percent is null",
    )
    .fetch_one(db)
    .await
    .unwrap();
    assert_eq!(wrong, 0, "a part that was reached and not noticed, or the other way round");
}

/// Every acknowledged charge is booked as it was acknowledged, and nothing else but what is in doubt.
async fn compare(db: &PgPool, model: &Model) {
    let rows: Vec<(uuid::Uuid, uuid::Uuid, i64)> =
        sqlx::query_as("select request_id, account_id, charge_nano_usd from usage").fetch_all(db).await.unwrap();
    let booked: HashMap<RequestId, (OrganizationId, i64)> = rows
        .into_iter()
        .map(|(request, account, charge)| (RequestId::from_uuid(request), (OrganizationId::from_uuid(account), charge)))
        .collect();
    for (request, charge) in &model.charged {
        assert_eq!(booked.get(request), Some(charge), "{request}");
    }
    for (request, charge) in &booked {
        let known = model.charged.get(request).or(model.doubtful.get(request));
        assert_eq!(known, Some(charge), "{request}");
    }
    for (account, granted) in &model.granted {
        let mut conn = db.acquire().await.unwrap();
        let credits = billing::store::views::credits(&mut conn, *account).await.unwrap();
        assert_eq!(credits.total_credits, nano(*granted));
    }
}

/// Ends the replicas' sessions; the test's own goes by the broker's name.
async fn cut(db: &PgPool) {
    sqlx::query(
        "select pg_terminate_backend(pid) from pg_stat_activity
          where datname = current_database() and application_name <> 'steelyard'",
    )
    .execute(db)
    .await
    .unwrap();
}

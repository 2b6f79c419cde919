use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use platform::db::{self, DatabaseConfig, MAX_ATTEMPTS, is_serialization_failure, retry};
use platform::testing;
use sqlx::PgPool;
use tokio::sync::Barrier;

#[derive(Debug, thiserror::Error)]
enum CrateError {
    #[error("database call failed")]
    Database(#[from] sqlx::Error),
}

/// A statement the server ends with the given SQLSTATE.
async fn fail_with(db: &PgPool, sqlstate: &str) -> Result<(), CrateError> {
    let statement = format!("do $$ begin raise exception 'made up' using errcode = '{sqlstate}'; end $$");
    sqlx::query(sqlx::AssertSqlSafe(statement)).execute(db).await?;
    Ok(())
}

#[tokio::test]
async fn collisions_are_told_from_other_failures() {
    let db = testing::database().await;
    for (sqlstate, is_collision) in [("40001", true), ("40P01", true), ("23505", false), ("57014", false)] {
        let error = fail_with(&db, sqlstate).await.unwrap_err();
        assert_eq!(is_serialization_failure(&error), is_collision, "{sqlstate}");
    }
}

#[tokio::test]
async fn a_collision_is_repeated_a_bounded_number_of_times_and_other_failures_never() {
    let db = testing::database().await;
    for (sqlstate, expected) in [("40001", MAX_ATTEMPTS), ("23505", 1)] {
        let attempts = AtomicU32::new(0);
        let (db, counted) = (db.pool(), &attempts);
        let result = retry("test.fails", |attempt| async move {
            assert_eq!(counted.fetch_add(1, Ordering::Relaxed) + 1, attempt);
            fail_with(db, sqlstate).await
        })
        .await;
        assert!(result.is_err());
        assert_eq!(attempts.load(Ordering::Relaxed), expected);
    }
}

#[tokio::test]
async fn a_begin_that_nobody_waited_for_takes_no_later_write_with_it() {
    let db = testing::database().await;
    sqlx::query("create table scales (id int primary key)").execute(db.pool()).await.unwrap();
    let config = DatabaseConfig { max_connections: 1, ..DatabaseConfig::default() };
    let pool = db::connect(&config.with_url(db.url())).await.unwrap();
    for polls in 0_u32.. {
        let is_begun = testing::die_after(polls, pool.begin()).await.is_some();
        let id = i32::try_from(polls).unwrap();
        sqlx::query("insert into scales values ($1)").bind(id).execute(&pool).await.unwrap();
        let seen = sqlx::query_scalar::<_, i64>("select count(*) from scales").fetch_one(db.pool()).await.unwrap();
        assert_eq!(seen, i64::from(polls) + 1, "after a begin that was left at its poll {polls}");
        if is_begun {
            return;
        }
    }
}

#[tokio::test]
async fn two_transactions_that_deadlock_both_commit_in_the_end() {
    let db = testing::database().await;
    sqlx::query("create table scales (id int primary key, weight int not null)").execute(db.pool()).await.unwrap();
    sqlx::query("insert into scales values (1, 0), (2, 0)").execute(db.pool()).await.unwrap();
    // Both hold their first row before either asks for its second: a deadlock for certain.
    let both_hold_one = Arc::new(Barrier::new(2));
    let run = |order: [i32; 2]| {
        let (pool, barrier) = (db.pool().clone(), Arc::clone(&both_hold_one));
        async move {
            retry("test.deadlock", |attempt| {
                let (pool, barrier) = (pool.clone(), Arc::clone(&barrier));
                async move {
                    let mut tx = pool.begin().await?;
                    sqlx::query("set local deadlock_timeout = '10ms'").execute(&mut *tx).await?;
                    for (step, id) in order.into_iter().enumerate() {
                        if step == 1 && attempt == 1 {
                            barrier.wait().await;
                        }
                        let add = sqlx::query("update scales set weight = weight + 1 where id = $1").bind(id);
                        add.execute(&mut *tx).await?;
                    }
                    tx.commit().await?;
                    Ok::<u32, CrateError>(attempt)
                }
            })
            .await
        }
    };
    let (one, two) = tokio::join!(run([1, 2]), run([2, 1]));
    assert_eq!(one.unwrap().max(two.unwrap()), 2, "one of them was the victim once");
    let total: i64 = sqlx::query_scalar("select sum(weight) from scales").fetch_one(db.pool()).await.unwrap();
    assert_eq!(total, 4);
}

#[tokio::test]
async fn limits_reach_the_server_and_migrations_are_exempt() {
    let db = testing::database().await;
    let config = DatabaseConfig { statement_timeout_ms: 321, max_connections: 1, ..db.config().clone() };
    let pool = db::connect(&config).await.unwrap();
    let shown: String = sqlx::query_scalar("show statement_timeout").fetch_one(&pool).await.unwrap();
    assert_eq!(shown, "321ms");
    let error = sqlx::query("select pg_sleep(60)").execute(&pool).await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("57014"));
    // Applying them again finds nothing to do.
    db::migrate(&pool).await.unwrap();
}

#[tokio::test]
async fn creating_a_database_that_exists_is_harmless() {
    let db = testing::database().await;
    db::create_database(db.admin_url(), db.name()).await.unwrap();
}

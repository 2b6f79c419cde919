use std::time::{Duration, Instant};

use platform::testing::{self, PrivateServer};
use sqlx::{Connection, PgConnection};

#[tokio::test]
async fn every_test_has_a_migrated_database_of_its_own() {
    let (one, two) = (testing::database().await, testing::database().await);
    assert_ne!(one.name(), two.name());
    for db in [&one, &two] {
        let empty: bool =
            sqlx::query_scalar("select not exists (select from outbox_events)").fetch_one(db.pool()).await.unwrap();
        assert!(empty);
    }
    sqlx::query("insert into outbox_cursors (consumer) values ('one')").execute(one.pool()).await.unwrap();
    let seen: i64 = sqlx::query_scalar("select count(*) from outbox_cursors").fetch_one(two.pool()).await.unwrap();
    assert_eq!(seen, 0);
}

#[tokio::test]
async fn a_database_goes_with_its_test() {
    let db = testing::database().await;
    let (name, admin_url) = (db.name().to_owned(), db.admin_url().to_owned());
    drop(db);
    let mut conn = PgConnection::connect(&admin_url).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let is_there: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(&name)
            .fetch_one(&mut conn)
            .await
            .unwrap();
        if !is_there {
            return;
        }
        assert!(Instant::now() < deadline, "{name} is still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_private_server_keeps_its_address_over_a_crash() {
    let server = PrivateServer::start().await.unwrap();
    let url = server.url();
    let mut conn = PgConnection::connect(&url).await.unwrap();
    sqlx::query("create table kept ()").execute(&mut conn).await.unwrap();
    server.halt().await.unwrap();
    assert!(sqlx::query("select 1").execute(&mut conn).await.is_err());
    server.resume().await.unwrap();
    let mut conn = PgConnection::connect(&url).await.unwrap();
    sqlx::query("select from kept").execute(&mut conn).await.unwrap();
}

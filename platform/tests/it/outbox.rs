use std::time::Duration;

use platform::outbox::{self, BATCH, Consumer, Drained, Error, Recorded};
use platform::testing;
use protocol::event::Event;
use protocol::{Env, EventId, Id, KeyId};
use sqlx::{PgConnection, PgPool};

fn revoked(env: &Env) -> Event {
    Event::KeyRevoked { key: env.mint() }
}

async fn append(conn: &mut PgConnection, env: &Env) -> EventId {
    let id = env.mint();
    outbox::append(conn, id, &revoked(env), env.now()).await.unwrap();
    id
}

async fn append_committed(db: &PgPool, env: &Env) -> EventId {
    let mut tx = db.begin().await.unwrap();
    let id = append(&mut tx, env).await;
    tx.commit().await.unwrap();
    id
}

/// Writes what it sees into a table, and fails or crashes when told.
struct Recorder {
    name: &'static str,
    fail_at: Option<EventId>,
}

impl Recorder {
    async fn prepared(db: &PgPool, name: &'static str) -> Self {
        sqlx::query("create table if not exists seen (n bigint generated always as identity, who text, event_id uuid)")
            .execute(db)
            .await
            .unwrap();
        Self { name, fail_at: None }
    }
}

impl Consumer for Recorder {
    type Error = sqlx::Error;

    fn name(&self) -> &'static str {
        self.name
    }

    async fn handle(&mut self, conn: &mut PgConnection, recorded: &Recorded) -> Result<(), sqlx::Error> {
        sqlx::query("insert into seen (who, event_id) values ($1, $2)")
            .bind(self.name)
            .bind(recorded.id.uuid())
            .execute(conn)
            .await?;
        if self.fail_at == Some(recorded.id) { Err(sqlx::Error::Protocol("told to fail".into())) } else { Ok(()) }
    }
}

async fn seen(db: &PgPool, who: &str) -> Vec<EventId> {
    let rows: Vec<uuid::Uuid> = sqlx::query_scalar("select event_id from seen where who = $1 order by n")
        .bind(who)
        .fetch_all(db)
        .await
        .unwrap();
    rows.into_iter().map(EventId::from_uuid).collect()
}

#[tokio::test]
async fn events_arrive_in_order_once_for_every_consumer() {
    let (db, (env, _)) = (testing::database().await, testing::env(1));
    let mut first = Recorder::prepared(&db, "first").await;
    let mut second = Recorder::prepared(&db, "second").await;
    let mut written = Vec::new();
    for _ in 0..3 {
        written.push(append_committed(&db, &env).await);
    }
    assert_eq!(outbox::drain(&db, &mut first).await.unwrap(), Drained::Handled(3));
    written.push(append_committed(&db, &env).await);
    assert_eq!(outbox::drain(&db, &mut first).await.unwrap(), Drained::Handled(1));
    assert_eq!(outbox::drain(&db, &mut first).await.unwrap(), Drained::Handled(0));
    assert_eq!(outbox::drain(&db, &mut second).await.unwrap(), Drained::Handled(4));
    assert_eq!(seen(&db, "first").await, written);
    assert_eq!(seen(&db, "second").await, written);
}

#[tokio::test]
async fn an_event_exists_only_if_its_transaction_committed() {
    let (db, (env, _)) = (testing::database().await, testing::env(2));
    let mut consumer = Recorder::prepared(&db, "only").await;
    let mut tx = db.begin().await.unwrap();
    append(&mut tx, &env).await;
    tx.rollback().await.unwrap();
    let kept = append_committed(&db, &env).await;
    outbox::drain(&db, &mut consumer).await.unwrap();
    assert_eq!(seen(&db, "only").await, [kept]);
}

#[tokio::test]
async fn appending_the_same_event_again_changes_nothing() {
    let (db, (env, _)) = (testing::database().await, testing::env(3));
    let (id, event) = (env.mint(), revoked(&env));
    let mut conn = db.acquire().await.unwrap();
    for _ in 0..2 {
        outbox::append(&mut conn, id, &event, env.now()).await.unwrap();
    }
    let mut consumer = Recorder::prepared(&db, "only").await;
    assert_eq!(outbox::drain(&db, &mut consumer).await.unwrap(), Drained::Handled(1));
}

#[tokio::test]
async fn what_was_written_is_what_is_read() {
    struct Last(Option<Recorded>);
    impl Consumer for Last {
        type Error = std::convert::Infallible;
        fn name(&self) -> &'static str {
            "last"
        }
        async fn handle(&mut self, _: &mut PgConnection, recorded: &Recorded) -> Result<(), Self::Error> {
            self.0 = Some(recorded.clone());
            Ok(())
        }
    }
    let (db, (env, _)) = (testing::database().await, testing::env(4));
    let (id, key): (EventId, KeyId) = (env.mint(), env.mint());
    let mut conn = db.acquire().await.unwrap();
    outbox::append(&mut conn, id, &Event::KeyRevoked { key }, env.now()).await.unwrap();
    let mut last = Last(None);
    outbox::drain(&db, &mut last).await.unwrap();
    let recorded = last.0.unwrap();
    assert_eq!((recorded.id, recorded.at, recorded.event), (id, env.now(), Event::KeyRevoked { key }));
}

#[tokio::test]
async fn a_crash_in_the_middle_of_a_batch_loses_and_repeats_nothing() {
    let (db, (env, _)) = (testing::database().await, testing::env(5));
    let mut consumer = Recorder::prepared(&db, "only").await;
    let mut written = Vec::new();
    for _ in 0..3 {
        written.push(append_committed(&db, &env).await);
    }
    consumer.fail_at = Some(written[1]);
    let error = outbox::drain(&db, &mut consumer).await.unwrap_err();
    assert!(matches!(error, Error::Consumer { event, .. } if event == written[1]));
    assert!(seen(&db, "only").await.is_empty(), "the first event's effect was rolled back with the cursor");
    consumer.fail_at = None;
    assert_eq!(outbox::drain(&db, &mut consumer).await.unwrap(), Drained::Handled(3));
    assert_eq!(seen(&db, "only").await, written);
}

/// The order of numbers is not the order of commits: a writer that drew its number early and commits
/// late must not be passed over.
#[tokio::test]
async fn a_slow_writer_is_waited_for() {
    let (db, (env, _)) = (testing::database().await, testing::env(6));
    let mut consumer = Recorder::prepared(&db, "only").await;
    let mut slow = db.begin().await.unwrap();
    let early = append(&mut slow, &env).await;
    let late = append_committed(&db, &env).await;
    let (drained, ()) = tokio::join!(outbox::drain(&db, &mut consumer), async {
        wait_for_a_blocked_reader(&db).await;
        slow.commit().await.unwrap();
    });
    assert_eq!(drained.unwrap(), Drained::Handled(2));
    assert_eq!(seen(&db, "only").await, [early, late]);
}

async fn wait_for_a_blocked_reader(db: &PgPool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let is_blocked: bool = sqlx::query_scalar(
            "select exists (select from pg_locks where locktype = 'advisory' and not granted
                             and database = (select oid from pg_database where datname = current_database()))",
        )
        .fetch_one(db)
        .await
        .unwrap();
        if is_blocked {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "the reader never waited");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn one_replica_drains_for_a_consumer_at_a_time() {
    let (db, (env, _)) = (testing::database().await, testing::env(7));
    let mut consumer = Recorder::prepared(&db, "only").await;
    append_committed(&db, &env).await;
    outbox::drain(&db, &mut consumer).await.unwrap();
    append_committed(&db, &env).await;
    let mut other_replica = db.begin().await.unwrap();
    sqlx::query("select from outbox_cursors where consumer = 'only' for update")
        .execute(&mut *other_replica)
        .await
        .unwrap();
    assert_eq!(outbox::drain(&db, &mut consumer).await.unwrap(), Drained::Elsewhere);
    other_replica.rollback().await.unwrap();
    assert_eq!(outbox::drain(&db, &mut consumer).await.unwrap(), Drained::Handled(1));
}

#[tokio::test]
async fn batches_are_bounded() {
    let (db, (env, _)) = (testing::database().await, testing::env(8));
    let mut consumer = Recorder::prepared(&db, "only").await;
    let mut tx = db.begin().await.unwrap();
    for _ in 0..=BATCH {
        append(&mut tx, &env).await;
    }
    tx.commit().await.unwrap();
    let full = usize::try_from(BATCH).unwrap();
    assert_eq!(outbox::drain(&db, &mut consumer).await.unwrap(), Drained::Handled(full));
    assert_eq!(outbox::drain(&db, &mut consumer).await.unwrap(), Drained::Handled(1));
}

#[tokio::test]
async fn only_old_events_that_everyone_has_passed_are_pruned() {
    let (db, (env, clock)) = (testing::database().await, testing::env(9));
    let (mut quick, mut slow) = (Recorder::prepared(&db, "quick").await, Recorder::prepared(&db, "slow").await);
    let day = Duration::from_secs(86_400);
    append_committed(&db, &env).await;
    outbox::drain(&db, &mut quick).await.unwrap();
    outbox::drain(&db, &mut slow).await.unwrap();
    clock.advance(2 * day);
    append_committed(&db, &env).await;
    outbox::drain(&db, &mut quick).await.unwrap();
    let mut conn = db.acquire().await.unwrap();
    assert_eq!(outbox::prune(&mut conn, env.now(), day).await.unwrap(), 1, "the second is too young");
    clock.advance(2 * day);
    assert_eq!(outbox::prune(&mut conn, env.now(), day).await.unwrap(), 0, "the second is still owed");
    outbox::drain(&db, &mut slow).await.unwrap();
    assert_eq!(outbox::prune(&mut conn, env.now(), day).await.unwrap(), 1);
}

#[tokio::test]
async fn events_nobody_reads_go_when_they_are_old() {
    let (db, (env, clock)) = (testing::database().await, testing::env(10));
    let day = Duration::from_secs(86_400);
    append_committed(&db, &env).await;
    let mut conn = db.acquire().await.unwrap();
    assert_eq!(outbox::prune(&mut conn, env.now(), day).await.unwrap(), 0, "it is too young");
    clock.advance(2 * day);
    assert_eq!(outbox::prune(&mut conn, env.now(), day).await.unwrap(), 1);
}

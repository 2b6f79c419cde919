//! Several brokers on one database: those that would not count limits together do not run side by side.

use super::redis::Redis;
use super::spawn::{folder, until};
use super::world::{PATIENCE, World};

const APART: &str = "[limits]\nallow_unshared = true\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_broker_without_redis_does_not_start_and_says_what_would_help() {
    let mut world = World::start("").await;
    let dir = folder();
    let said = world.turned_away("second", "").await;
    assert!(said.contains("Set redis.url for all of them"), "{said}");
    assert!(said.contains("limits.allow_unshared = true"), "{said}");
    // Nor one that would count together with others: the first does not.
    for (name, settings) in [("third", APART.to_owned()), ("fourth", Redis::settings(dir.path()))] {
        let said = world.turned_away(name, &settings).await;
        assert!(said.contains("another gateway on this database counts limits by itself"), "{said}");
    }
    world.broker.assert_running();

    // One that was killed is not in the way of its successor, whatever that is called.
    world.broker.kill().await;
    let (mut heir, _) = world.beside("heir").await;
    heir.assert_running();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_may_count_apart_run_side_by_side() {
    let world = World::start(APART).await;
    let (mut second, _) = world.beside("second").await;
    let said = world.turned_away("third", "").await;
    assert!(said.contains("another gateway runs on this database"), "{said}");
    second.assert_running();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_takes_its_place_again_when_the_database_comes_back() {
    let world = World::start("").await;
    // What a restart of the server does to the connection that holds the place.
    let cut = "select count(pg_terminate_backend(pid)) from pg_locks
                where locktype = 'advisory' and granted and pid <> pg_backend_pid()";
    assert!(world.count(cut).await > 0);
    let held = "select count(*) from pg_locks where locktype = 'advisory' and granted
                   and (classid::bigint << 32 | objid::bigint) = hashtextextended('gateways', 0)";
    until("the place is taken again", PATIENCE, async || (world.count(held).await == 1).then_some(())).await;
    let said = world.turned_away("second", "").await;
    assert!(said.contains("another gateway runs on this database"), "{said}");
}

//! How the commands are told which database is meant.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::spawn::steelyard;
use super::world::World;

/// What `steelyard reconcile` says with these variables set.
async fn reconcile(variables: &[(&str, &str)]) -> std::process::Output {
    let mut command = steelyard();
    command.envs(variables.iter().copied()).arg("reconcile").stdin(std::process::Stdio::null()).kill_on_drop(true);
    command.output().await.unwrap()
}

#[tokio::test]
async fn either_variable_names_the_database() {
    let db = platform::testing::database().await;
    let nowhere = "postgres://nobody@localhost/nothing?host=/nonexistent";
    let all: [&[(&str, &str)]; 3] = [
        &[("DATABASE_URL", db.url())],
        &[("STEELYARD_DATABASE__URL", db.url())],
        // The variable that is ours alone wins over the one that other tools read too.
        &[("DATABASE_URL", nowhere), ("STEELYARD_DATABASE__URL", db.url())],
    ];
    for variables in all {
        let output = reconcile(variables).await;
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("the trial balance is zero"), "{said}");
    }
    let output = reconcile(&[("DATABASE_URL", nowhere)]).await;
    assert!(!output.status.success(), "there is no such server");
}

#[tokio::test]
async fn differences_make_the_exit_code() {
    let db = platform::testing::database().await;
    // Credit from nowhere: no posting says where it came from.
    let query = "insert into accounts (account_id, available_nano_usd) values (gen_random_uuid(), 1)";
    sqlx::query(query).execute(db.pool()).await.unwrap();
    let output = reconcile(&[("DATABASE_URL", db.url())]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("DIFFERS"));
}

#[tokio::test]
async fn metrics_are_served_where_they_are_told_to_be_and_nowhere_else() {
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let world = World::start(&format!("metrics_listen = \"{free}\"\n")).await;
    let there = get(&free.to_string(), "/metrics").await;
    assert!(there.starts_with("HTTP/1.0 200") && there.contains("steelyard_"), "{there}");
    assert!(get(&free.to_string(), "/v1/models").await.starts_with("HTTP/1.0 404"), "and nothing else is");
    assert!(get(world.url.trim_start_matches("http://"), "/metrics").await.starts_with("HTTP/1.0 404"));
}

/// The whole answer to a GET, its head included.
async fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

//! The demo begins with nothing of the last one, and dies by kill -9 with everything it started still running.

use std::path::Path;
use std::time::{Duration, Instant};

use super::spawn::{Process, descendants, folder, is_alive, postmaster, steelyard, until};
use super::world::read;

/// What the demo needs to have answered its one question, on a busy machine.
const UP: Duration = Duration::from_secs(40);
/// What it started notices by itself, finishes, and goes.
const GONE: Duration = Duration::from_secs(15);
/// What an earlier demo wrote for scripts.
const LEFT_OVER: &str = "STEELYARD_URL=http://127.0.0.1:1\n";

fn demo(dir: &Path) -> Process {
    let mut command = steelyard();
    command.args(["demo", "--engine", "simulated", "--listen", "127.0.0.1:0", "--dir"]).arg(dir);
    Process::spawn(command, &dir.join("demo.log"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demo_inherits_nothing_and_a_killed_one_leaves_nothing_behind() {
    let dir = folder();
    std::fs::write(dir.path().join("env"), LEFT_OVER).unwrap();
    let mut demo = demo(dir.path());
    until("the demo begins", UP, async || demo.said().contains("starting Postgres").then_some(())).await;
    let found = std::fs::read_to_string(dir.path().join("env")).unwrap_or_default();
    assert_ne!(found, LEFT_OVER, "who waits for the file must not find the last demo's");
    until("the demo stays up", UP, async || {
        demo.assert_running();
        demo.said().contains("Everything stays up").then_some(())
    })
    .await;
    let env = read(dir.path().join("env"));
    let database = env.lines().find_map(|line| line.strip_prefix("DATABASE_URL='")?.strip_suffix('\'')).unwrap();
    let mut below = descendants(demo.pid());
    assert!(below.len() >= 2, "a node, and the guard of the server: {below:?}");
    below.push(postmaster(database).await);
    let killed = Instant::now();
    demo.kill().await;
    until("everything it started is gone", GONE, async || (!below.iter().any(|pid| is_alive(*pid))).then_some(()))
        .await;
    println!("{} processes gone {:?} after the demo was killed", below.len(), killed.elapsed());
}

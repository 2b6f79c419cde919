//! The programs under test, and their ends.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use sqlx::Connection;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// A started program. It and all below it are killed when this is dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it with its output in `log`.
    pub fn spawn(mut command: Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).kill_on_drop(true);
        let child = command.spawn().unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
        Self { child, log: log.to_owned() }
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the process has not been waited for")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self::signal(self.pid(), signal);
    }

    /// kill -9, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits for its own end; fails after `limit`.
    pub async fn ended(&mut self, limit: Duration) -> std::process::ExitStatus {
        let ended = tokio::time::timeout(limit, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("still running after {limit:?}")).unwrap()
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Fails once it has ended.
    pub fn assert_running(&mut self) {
        let status = self.child.try_wait().unwrap();
        assert!(status.is_none(), "ended with {status:?}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} says:\n{}", self.log.display(), tail(&self.log));
            // The demo's node writes beside it.
            let node = self.log.with_file_name("node").join("node.log");
            if node.exists() {
                eprintln!("{} says:\n{}", node.display(), tail(&node));
            }
        }
        let Some(pid) = self.child.id() else { return };
        // Only a test that failed half-way leaves any; nobody else would end them.
        for below in descendants(pid) {
            signal(below, Signal::KILL);
        }
    }
}

/// The end of a log, for a test that failed.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// The broker's program, untouched by the settings of whoever runs the tests.
pub fn steelyard() -> Command {
    clean(Path::new(env!("CARGO_BIN_EXE_steelyard")))
}

/// The node's program, which cargo puts beside the broker's.
pub fn steelyard_node() -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_steelyard")).with_file_name("steelyard-node");
    assert!(program.exists(), "{} is missing; build it with: cargo build -p node", program.display());
    clean(&program)
}

fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("STEELYARD_") || text == "DATABASE_URL" || text == "RUST_LOG" {
            command.env_remove(&name);
        }
    }
    command
}

/// Asks until the answer is there; fails after `limit`. Returns the answer and how long it took.
pub async fn until<T>(what: &str, limit: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> (T, Duration) {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return (answer, started.elapsed());
        }
        assert!(started.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Sends a signal to a process, if it is still there.
pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("no process has the number 0");
    let _ = rustix::process::kill_process(pid, signal);
}

/// Whether a process is still there; one that only waits for its parent to notice is not.
pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// A folder for one test, which the account that runs Postgres can enter as well.
pub fn folder() -> TempDir {
    let permissions = std::fs::Permissions::from_mode(0o755);
    tempfile::Builder::new().prefix("steelyard-test-").permissions(permissions).tempdir().unwrap()
}

/// The server behind a database address.
pub async fn postmaster(url: &str) -> u32 {
    let mut conn = sqlx::PgConnection::connect(url).await.unwrap();
    let session: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut conn).await.unwrap();
    let server = parent(session.cast_unsigned()).expect("a session runs below its server");
    conn.close().await.unwrap();
    server
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name in parentheses: state, then parent.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Everything below a process, however deep.
pub fn descendants(pid: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|child| Some((child, parent(child)?)))
        .collect();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child));
        next += 1;
    }
    found.split_off(1)
}

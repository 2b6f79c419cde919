//! This test binary started again as another process, so that it can be killed.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use platform::embedded::{Embedded, EmbeddedConfig, Mode};
use platform::shutdown::Shutdown;

const ROLE: &str = "STEELYARD_TEST_ROLE";
const FOLDER: &str = "STEELYARD_TEST_FOLDER";
/// Marks the one line meant for the parent: the harness prints lines of its own.
const MARK: &str = "helper: ";

/// Another process of this binary.
pub struct Helper {
    child: Child,
    /// What it said once it was ready.
    pub said: String,
    output: BufReader<std::process::ChildStdout>,
}

/// How a helper differs from its parent.
#[derive(Default)]
pub struct How {
    /// Run as this user and group, from a copy of the binary they can reach.
    pub account: Option<(u32, u32, PathBuf)>,
}

impl Helper {
    /// Starts one and waits for what it says.
    pub fn start(role: &str, folder: &Path, how: &How) -> Self {
        let exe = how.account.as_ref().map_or_else(|| std::env::current_exe().unwrap(), |(_, _, copy)| copy.clone());
        let mut command = Command::new(exe);
        command.args(["helper::process", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
        command.env(ROLE, role).env(FOLDER, folder).current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped());
        if let Some((uid, gid, _)) = how.account {
            command.uid(uid).gid(gid);
        }
        let mut child = command.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let said = next_said(&mut output);
        Self { child, said, output }
    }

    /// The next thing it says.
    pub fn hear(&mut self) -> String {
        next_said(&mut self.output)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it without a chance to say goodbye.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it ends by itself.
    pub fn status(mut self) -> std::process::ExitStatus {
        self.child.wait().unwrap()
    }
}

fn next_said(output: &mut BufReader<std::process::ChildStdout>) -> String {
    loop {
        let mut line = String::new();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "the helper ended early");
        // Without capturing, the harness's "test … ... " stands on the same line.
        if let Some((_, said)) = line.split_once(MARK) {
            return said.trim_end().to_owned();
        }
    }
}

fn say(text: &str) {
    println!("{MARK}{text}");
}

/// What the other process does. Not a test by itself: without a role it is over at once.
#[test]
#[ignore = "started by other tests as a process of its own"]
fn process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap_or_default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        match role.as_str() {
            "guarded" => hold(&folder, Mode::Guarded).await,
            "adopting" => hold(&folder, Mode::Adopting).await,
            "stubborn" => be_stubborn().await,
            other => panic!("no role {other}"),
        }
    });
}

async fn hold(folder: &Path, mode: Mode) {
    let config = EmbeddedConfig { mode, ..EmbeddedConfig::new(folder).fleeting() };
    let server = Embedded::start(config).await.unwrap();
    say(&format!("{} {}", server.server_pid().unwrap(), server.url()));
    std::future::pending::<()>().await;
}

/// Hears the first signal and does not stop for it.
async fn be_stubborn() {
    let shutdown = Shutdown::new();
    shutdown.on_signals().unwrap();
    say("ready");
    shutdown.begun().await;
    say("stopping");
    std::future::pending::<()>().await;
}

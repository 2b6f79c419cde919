//! A Redis server that is stopped, frozen and started again.

use std::path::{Path, PathBuf};

use rustix::process::Signal;
use tokio::process::Command;

use super::spawn::{Process, until};
use super::world::PATIENCE;

/// A server on a socket in a test's folder. It keeps nothing: started again it is empty.
pub struct Redis {
    process: Process,
    socket: PathBuf,
}

impl Redis {
    /// Starts one.
    pub async fn start(dir: &Path) -> Self {
        let socket = dir.join("redis.sock");
        Self { process: serve(&socket).await, socket }
    }

    /// Settings that lead brokers to it.
    pub fn settings(dir: &Path) -> String {
        format!("[redis]\nurl = \"unix://{}\"\n", dir.join("redis.sock").display())
    }

    /// kill -9: what it knew is lost.
    pub async fn kill(&mut self) {
        self.process.kill().await;
        let _ = std::fs::remove_file(&self.socket);
    }

    /// Starts it again.
    pub async fn restart(&mut self) {
        self.process = serve(&self.socket).await;
    }

    /// Connections stay open and nobody answers on them, until [`Redis::thaw`].
    pub fn freeze(&self) {
        self.process.signal(Signal::STOP);
    }

    /// Goes on, with everything it knew.
    pub fn thaw(&self) {
        self.process.signal(Signal::CONT);
    }
}

async fn serve(socket: &Path) -> Process {
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]).arg(socket);
    command.arg("--dir").arg(socket.parent().unwrap());
    let mut process = Process::spawn(command, &socket.with_extension("log"));
    until("Redis listens", PATIENCE, async || {
        process.assert_running();
        tokio::net::UnixStream::connect(socket).await.ok()
    })
    .await;
    process
}

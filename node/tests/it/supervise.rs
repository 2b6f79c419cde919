//! An engine of the node's own: started, restarted, stopped, and never left behind.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use node::Engine;
use node::engine::Supervised;
use node::engine::supervise::Spec;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio_util::sync::CancellationToken;

use crate::eventually;

/// A port nobody listens on just now.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An engine that writes its pid and listens; Python, because the machine that builds this has it.
fn spec(folder: &Path) -> Option<Spec> {
    let python = std::process::Command::new("python3").arg("--version").output().ok()?;
    if !python.status.success() {
        return None;
    }
    let port = free_port();
    let pid = folder.join("pid");
    let script = format!(
        "import http.server, os\nopen({:?}, 'w').write(str(os.getpid()))\n\
         class H(http.server.BaseHTTPRequestHandler):\n\
         \x20def do_GET(self):\n\
         \x20\x20self.send_response(200); self.send_header('content-length', '2'); self.end_headers(); self.wfile.write(b'{{}}')\n\
         \x20def log_message(self, *a): pass\n\
         http.server.ThreadingHTTPServer(('127.0.0.1', {port}), H).serve_forever()\n",
        pid.display()
    );
    Some(Spec {
        command: "python3".into(),
        args: vec!["-c".into(), script],
        url: format!("http://127.0.0.1:{port}").parse().unwrap(),
        health: "/health".into(),
        log: None,
    })
}

fn pid(folder: &Path) -> Option<Pid> {
    Pid::from_raw(std::fs::read_to_string(folder.join("pid")).ok()?.parse().ok()?)
}

#[tokio::test]
async fn a_killed_engine_is_started_again_and_a_stopped_node_leaves_none_behind() {
    let folder = tempfile::tempdir().unwrap();
    let Some(spec) = spec(folder.path()) else {
        eprintln!("skipped: no python3 to play the engine");
        return;
    };
    let engine = Arc::new(Supervised::new(spec).unwrap());
    let stop = CancellationToken::new();
    let (kept, told) = (engine.clone(), stop.clone());
    let upkeep = tokio::spawn(async move { kept.upkeep(told).await });
    eventually("a first start", || engine.ready()).await;
    let first = pid(folder.path()).unwrap();
    kill_process(first, Signal::KILL).unwrap();
    eventually("a second start", || engine.starts() == 2).await;
    eventually("another process", || pid(folder.path()).is_some_and(|pid| pid != first) && engine.ready()).await;
    let second = pid(folder.path()).unwrap();
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), upkeep).await.unwrap().unwrap();
    assert!(test_kill_process(second).is_err(), "the engine is gone");
}

#[tokio::test]
async fn an_engine_does_not_outlive_a_node_that_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let Some(spec) = spec(folder.path()) else {
        eprintln!("skipped: no python3 to play the engine");
        return;
    };
    let engine = Arc::new(Supervised::new(spec).unwrap());
    let kept = engine.clone();
    let upkeep = tokio::spawn(async move { kept.upkeep(CancellationToken::new()).await });
    eventually("a start", || engine.ready()).await;
    let running = pid(folder.path()).unwrap();
    // The end of the pipe closes exactly as it does when the kernel cleans up after kill -9.
    upkeep.abort();
    eventually("no engine", || test_kill_process(running).is_err()).await;
}

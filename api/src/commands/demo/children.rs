//! The provider's machine: `steelyard-node` as a process of its own, with its engine below it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use tokio::process::{Child, Command};

use super::setup::{MODEL_FILE, Model, engine_dir};
use super::{Args, Engine};
use crate::commands::Error;

/// Requests the demo's engine works on at once.
const SLOTS: u32 = 4;
/// How long a node may take to finish what it has.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// A running `steelyard-node`.
pub(super) struct Node {
    child: Mutex<Child>,
    dir: PathBuf,
}

impl Node {
    /// Registers a provider with a wallet of its own, unless this folder already has one, and starts its node.
    pub(super) async fn start(args: &Args, dir: &Path, url: &str, model: &Model) -> Result<Self, Error> {
        let dir = dir.join("node");
        std::fs::create_dir_all(&dir).map_err(Error::io(format!("creating {}", dir.display())))?;
        let provider = provider(&dir, url).await?;
        let config = dir.join("node.toml");
        let text = node_config(args, &dir, url, &provider, model)?;
        std::fs::write(&config, text).map_err(Error::io(format!("writing {}", config.display())))?;
        let child = node_command()?
            .arg("run")
            .arg("--config")
            .arg(&config)
            // The pipe ends with this process, however it ends, and the node and its engine with the pipe.
            .arg("--until-stdin-ends")
            .stdin(Stdio::piped())
            .stdout(log(&dir)?)
            .stderr(log(&dir)?)
            .kill_on_drop(true)
            .spawn()
            .map_err(Error::io("starting steelyard-node"))?;
        Ok(Self { child: Mutex::new(child), dir })
    }

    /// Where its output goes.
    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("node.log")
    }

    /// The provider key it registered with.
    pub(super) fn provider_key(&self) -> Result<String, Error> {
        let path = self.dir.join("state").join("provider.key");
        let key = std::fs::read_to_string(&path).map_err(Error::io(format!("reading {}", path.display())))?;
        Ok(key.trim().to_owned())
    }

    /// Fails once the process has ended.
    pub(super) fn check_alive(&self) -> Result<(), Error> {
        let ended = self.child.lock().ok().and_then(|mut child| child.try_wait().ok().flatten());
        match ended {
            None => Ok(()),
            Some(status) => Err(Error::Usage(format!("the node ended with {status}; see {}", self.log().display()))),
        }
    }

    /// Lets it drain, then makes sure it is gone. Its engine goes with it.
    pub(super) async fn stop(self) {
        let Ok(mut child) = self.child.into_inner() else { return };
        if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if tokio::time::timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
            tracing::warn!("the node did not drain in time and is killed");
            let _ = child.kill().await;
        }
    }
}

/// The provider this folder belongs to, registered now if it is new. A broker that does not know it any more,
/// because its database was deleted, gets it registered anew.
async fn provider(dir: &Path, url: &str) -> Result<String, Error> {
    let file = dir.join("provider");
    if let Ok(known) = std::fs::read_to_string(&file) {
        return Ok(known.trim().to_owned());
    }
    // Of a provider whose id was not written down, or that the broker no longer knows.
    let stale = dir.join("state/provider.key");
    if stale.exists() {
        std::fs::remove_file(&stale).map_err(Error::io(format!("removing {}", stale.display())))?;
    }
    let output = node_command()?
        .args(["register", "--broker", url, "--generate-wallet", "--name", "Demo Provider", "--slug", "demo"])
        .args(["--email", "demo@example.com", "--country", "DE", "--state-dir"])
        .arg(dir.join("state"))
        .stdin(Stdio::null())
        .stderr(log(dir)?)
        .output()
        .await
        .map_err(Error::io("starting steelyard-node"))?;
    // It prints a configuration to start from; the one line needed of it is the provider's id.
    let template = String::from_utf8_lossy(&output.stdout);
    let id = template.lines().find_map(|line| line.strip_prefix("provider = \"")?.strip_suffix('"'));
    match id {
        Some(id) if output.status.success() => {
            std::fs::write(&file, id).map_err(Error::io(format!("writing {}", file.display())))?;
            Ok(id.to_owned())
        }
        _ => Err(Error::Usage(format!(
            "steelyard-node register ended with {}; see {}",
            output.status,
            dir.join("node.log").display()
        ))),
    }
}

/// `steelyard-node` lies beside this program.
fn node_command() -> Result<Command, Error> {
    let own = std::env::current_exe().map_err(Error::io("finding this program"))?;
    let program = own.with_file_name("steelyard-node");
    if !program.exists() {
        return Err(Error::Usage(format!("{} is missing; build it with: cargo build -p node", program.display())));
    }
    let mut command = Command::new(program);
    // In a group of its own, so that Ctrl-C reaches it through us, in order.
    command.process_group(0);
    Ok(command)
}

fn log(dir: &Path) -> Result<File, Error> {
    let path = dir.join("node.log");
    File::options().create(true).append(true).open(&path).map_err(Error::io(format!("opening {}", path.display())))
}

fn node_config(args: &Args, dir: &Path, url: &str, provider: &str, model: &Model) -> Result<String, Error> {
    let engine = match args.engine {
        Engine::Llama => llama(args)?,
        Engine::Simulated | Engine::None => {
            format!("kind = \"simulated\"\nslots = {SLOTS}\nlatency = {{ ttft_ms = 120.0, tpot_ms = 20.0 }}\n")
        }
    };
    let state = toml_text(dir.join("state").display().to_string());
    Ok(format!(
        "broker = {}\nprovider = {}\nstate_dir = {state}\ntunnels = 2\n\n[engine]\n{engine}\n\
         [location]\ncountry_code = \"DE\"\nregion = \"demo\"\n\n\
         [[offer]]\nmodel = {}\nupstream_model = {}\ncontext_length = {}\n\
         prompt_usd_per_million = \"0.10\"\ncompletion_usd_per_million = \"0.40\"\n",
        toml_text(url),
        toml_text(provider),
        toml_text(model.id),
        toml_text(model.upstream),
        model.context_length,
    ))
}

fn llama(args: &Args) -> Result<String, Error> {
    let dir = engine_dir(args)?;
    let port = std::net::TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map_err(Error::io("finding a free port for the engine"))?
        .port();
    let model = dir.join(MODEL_FILE).display().to_string();
    let (port_text, slots) = (port.to_string(), SLOTS.to_string());
    let program = dir.join("venv/bin/python").display().to_string();
    let script = dir.join("serve.py").display().to_string();
    let words = [
        &script,
        "--model",
        &model,
        "--port",
        &port_text,
        "--alias",
        "smollm2",
        "--slots",
        &slots,
        "--context",
        "2048",
    ];
    let words = words.into_iter().map(toml_text).collect::<Vec<_>>().join(", ");
    Ok(format!(
        "kind = \"supervise\"\nurl = \"http://127.0.0.1:{port}\"\ncommand = {}\nargs = [{words}]\nslots = {SLOTS}\n",
        toml_text(&program)
    ))
}

/// A TOML basic string.
fn toml_text(text: impl AsRef<str>) -> String {
    serde_json::to_string(text.as_ref()).unwrap_or_else(|_| "\"\"".to_owned())
}

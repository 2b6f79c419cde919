//! A local chain, as a process that ends with this one.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::commands::Error;

/// How long it may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);
/// What it says then.
const LISTENING: &str = "Listening on ";

/// A running anvil.
pub(super) struct Anvil {
    _child: Child,
    pub(super) url: String,
}

impl Anvil {
    /// Starts the program `ANVIL_BIN` names, else the one in `PATH`. Its blocks are final when two follow.
    pub(super) async fn start() -> Result<Self, Error> {
        let program = std::env::var_os("ANVIL_BIN").unwrap_or_else(|| "anvil".into());
        let mut child = Command::new(program)
            .args(["--port", "0", "--slots-in-an-epoch", "1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(Error::io("starting anvil (scripts/setup-contracts.sh installs one, ANVIL_BIN names it)"))?;
        let Some(output) = child.stdout.take() else {
            return Err(Error::Usage("anvil says nothing".to_owned()));
        };
        let mut lines = BufReader::new(output).lines();
        let listening = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(address) = line.strip_prefix(LISTENING) {
                    return Some(format!("http://{address}"));
                }
            }
            None
        };
        let url = tokio::time::timeout(PATIENCE, listening).await.ok().flatten();
        let url = url.ok_or_else(|| Error::Usage("anvil does not say where it listens".to_owned()))?;
        // Nobody needs the rest, and a full pipe would stop it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { _child: child, url })
    }
}

//! A chain of this machine's own, for tests.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// An anvil, which ends with it.
pub struct Anvil {
    child: Child,
    /// Where it answers.
    pub url: String,
}

impl Anvil {
    /// Starts one whose blocks are final when two follow. Without the program there is none, and that is said.
    ///
    /// # Panics
    /// When there is a program and it does not run; without one, where tests may not be skipped.
    #[must_use]
    pub fn start() -> Option<Self> {
        let Some(program) = program() else {
            assert!(std::env::var_os("CI").is_none(), "there is no anvil: scripts/setup-contracts.sh installs one");
            eprintln!("skipped: there is no anvil; scripts/setup-contracts.sh installs one, ANVIL_BIN names it");
            return None;
        };
        let mut child = Command::new(program)
            .args(["--port", "0", "--slots-in-an-epoch", "1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("anvil starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output is ours")).lines();
        let listening =
            lines.by_ref().map_while(Result::ok).find_map(|line| line.strip_prefix("Listening on ").map(str::to_owned));
        let address = listening.expect("anvil says where it listens");
        // Nobody reads the rest, and a full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { child, url: format!("http://{address}") })
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Option<String> {
    let named = std::env::var("ANVIL_BIN").ok();
    let installed = concat!(env!("CARGO_MANIFEST_DIR"), "/../contracts/node_modules/.foundry/anvil").to_owned();
    let runs = |program: &String| {
        Path::new(program).exists()
            || Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    named.into_iter().chain([installed, "anvil".to_owned()]).find(runs)
}

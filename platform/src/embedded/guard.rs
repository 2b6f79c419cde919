//! A small shell that outlives its parent by just as long as it takes to stop the server.
//!
//! It reads from a pipe nobody writes to. When the parent ends, however it ends, the system closes
//! the other side, the read returns, and the server is stopped.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};

use super::cluster::Cluster;
use super::{Error, io};

/// `$1` pg_ctl, `$2` the folder of everything, `$3` `delete` when the data goes too. Tries more than once: the parent may have died while the server was
/// still starting, before there was anything to stop.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
stop() {
    "$1" stop -D "$2/data" -m "$3" -w -t 10 </dev/null >/dev/null 2>&1
}
read -r word
if [ "$word" != done ]; then
    for attempt in 1 2 3; do
        stop "$1" "$2" fast && break
        [ -e "$2/data/postmaster.pid" ] && stop "$1" "$2" immediate && break
        sleep 0.3
    done
fi
if [ "$3" = delete ]; then
    cd "$2" && rm -rf data data.unfinished run postgres.log use.lock change.lock && rmdir "$2"
fi
exit 0
"#;

/// The parent's end of the pipe.
#[derive(Debug)]
pub(super) struct Guard {
    watcher: Child,
}

impl Guard {
    /// Starts the watcher. It keeps `lock` open, so that whoever waits for the lock finds the server
    /// stopped even after the parent was killed.
    ///
    /// # Errors
    /// [`Error::Io`] when no shell can be started.
    pub(super) fn post(cluster: &Cluster, is_disposable: bool, lock: &File) -> Result<Self, Error> {
        let shell = Path::new("/bin/sh");
        let held = lock.try_clone().map_err(io(&cluster.root))?;
        let watcher = cluster
            .account
            .command(shell)
            .args(["-c", SCRIPT, "steelyard-postgres-guard"])
            .arg(cluster.binaries.program("pg_ctl"))
            .arg(&cluster.root)
            .arg(if is_disposable { "delete" } else { "keep" })
            .stdin(Stdio::piped())
            .stdout(held)
            .stderr(Stdio::null())
            // Ctrl-C at a terminal reaches a whole group; the parent decides when the server stops.
            .process_group(0)
            .spawn()
            .map_err(io(shell))?;
        Ok(Self { watcher })
    }

    /// Sends the watcher home: the server has been stopped already.
    pub(super) fn dismiss(mut self) {
        if let Some(mut pipe) = self.watcher.stdin.take() {
            // A watcher that is gone already needs no word.
            let _ = pipe.write_all(b"done\n");
        }
        let _ = self.watcher.wait();
    }
}

//! One data folder and the server over it: create, start, adopt, stop.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::account::{Account, short_name};
use super::find::Binaries;
use super::process::{self, Standing};
use super::{Durability, EmbeddedConfig, Error, io};

/// Longest wait for a start: a big crash recovery takes minutes, a healthy start a fifth of a second.
const START_TIMEOUT_S: u32 = 120;
/// Longest wait for sessions to be ended before the server is stopped the hard way.
const STOP_TIMEOUT_S: u32 = 20;
/// A socket's path has room for 107 bytes and the zero after them.
const SOCKET_PATH_BYTES: usize = 107;
/// Port is only part of the socket's name here; nothing listens on the network.
const PORT: u16 = 5432;
/// The log starts anew beyond this, with one old log kept.
const LOG_BYTES: u64 = 16 * 1024 * 1024;
/// Room for the error and its context in our own message.
const LOG_TAIL_BYTES: u64 = 2_000;

/// A data folder with the programs and the account that serve it.
#[derive(Debug, Clone)]
pub(super) struct Cluster {
    pub(super) binaries: Binaries,
    pub(super) account: Account,
    /// Everything of ours: data, log, locks, and the socket where the path is short enough.
    pub(super) root: PathBuf,
}

/// What `postmaster.pid` says: one fact per line.
#[derive(Debug)]
struct PidFile {
    pid: u32,
    socket_folder: PathBuf,
    status: String,
}

impl Cluster {
    pub(super) fn new(binaries: Binaries, account: Account, root: PathBuf) -> Self {
        Self { binaries, account, root }
    }

    /// The folder PostgreSQL calls its data directory.
    pub(super) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    fn log(&self) -> PathBuf {
        self.root.join("postgres.log")
    }

    fn command(&self, program: &str) -> Command {
        self.account.command(self.binaries.program(program))
    }

    /// Creates the data folder if there is none. A folder cut short by a crash is made again.
    pub(super) fn init(&self, durability: Durability) -> Result<(), Error> {
        let (data, unfinished) = (self.data(), self.root.join("data.unfinished"));
        if data.join("PG_VERSION").exists() {
            return Ok(());
        }
        if unfinished.exists() {
            std::fs::remove_dir_all(&unfinished).map_err(io(&unfinished))?;
        }
        let mut initdb = self.command("initdb");
        initdb.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-D"]).arg(&unfinished);
        if durability == Durability::Fleeting {
            initdb.arg("--no-sync");
        }
        let output = initdb.output().map_err(io(&self.binaries.program("initdb")))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Error::Program { program: "initdb", said });
        }
        let main = unfinished.join("postgresql.conf");
        let written = std::fs::read_to_string(&main).map_err(io(&main))?;
        std::fs::write(&main, written + "\ninclude_if_exists = 'steelyard.conf'\n").map_err(io(&main))?;
        std::fs::rename(&unfinished, &data).map_err(io(&data))
    }

    /// The folder of the socket of a server that is up and ready; `None` when none runs.
    ///
    /// A server on its way up or down is waited for.
    pub(super) fn running(&self) -> Result<Option<PathBuf>, Error> {
        let deadline = Instant::now() + Duration::from_secs(START_TIMEOUT_S.into());
        while let Some(found) = self.pid_file() {
            if process::standing(found.pid, &self.data()) != Standing::Server {
                return Ok(None);
            }
            if found.status == "ready" {
                return Ok(Some(found.socket_folder));
            }
            if Instant::now() > deadline {
                return Err(Error::Program { program: "postgres", said: self.log_tail() });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(None)
    }

    fn pid_file(&self) -> Option<PidFile> {
        let text = std::fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        Some(PidFile {
            pid: lines.first()?.parse().ok()?,
            socket_folder: lines.get(4).map(PathBuf::from).unwrap_or_default(),
            status: lines.get(7).map(|status| (*status).to_owned()).unwrap_or_default(),
        })
    }

    /// Starts the server and waits until it takes connections. Call only when none is running.
    pub(super) fn start(&self, config: &EmbeddedConfig) -> Result<PathBuf, Error> {
        let socket_folder = self.socket_folder()?;
        self.clear_stale(&socket_folder)?;
        self.write_settings(config, &socket_folder)?;
        let log = self.open_log()?;
        let status = self
            .command("pg_ctl")
            .args(["start", "-w", "-t", &START_TIMEOUT_S.to_string(), "-D"])
            .arg(self.data())
            // The server inherits these. A pipe would never see its end while the server lives.
            .stdout(log.try_clone().map_err(io(&self.log()))?)
            .stderr(log)
            .status()
            .map_err(io(&self.binaries.program("pg_ctl")))?;
        if !status.success() {
            return Err(Error::Program { program: "postgres", said: self.log_tail() });
        }
        Ok(socket_folder)
    }

    /// Removes what a killed server left: its pid file and its socket with the lock beside it.
    ///
    /// The server itself trusts signal 0, and so refuses to start over a zombie or over a number that
    /// was given out again. Backends that outlived their server must be gone first: two generations
    /// over one folder destroy it.
    fn clear_stale(&self, socket_folder: &Path) -> Result<(), Error> {
        let data = self.data();
        let deadline = Instant::now() + Duration::from_secs(STOP_TIMEOUT_S.into());
        loop {
            let left = process::working_in(&data);
            if left.is_empty() {
                break;
            }
            if Instant::now() > deadline {
                return Err(Error::Orphans { data, pids: left });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let socket = socket_folder.join(format!(".s.PGSQL.{PORT}"));
        for file in [data.join("postmaster.pid"), socket.with_added_extension("lock"), socket] {
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(&file)(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Below the root if the socket's path fits there, else a short one in the system's temporary folder.
    fn socket_folder(&self) -> Result<PathBuf, Error> {
        let name_bytes = format!("/.s.PGSQL.{PORT}").len();
        let at_home = self.root.join("run");
        let is_short = at_home.as_os_str().len() + name_bytes <= SOCKET_PATH_BYTES;
        let folder =
            if is_short && is_plain(&at_home) { at_home } else { std::env::temp_dir().join(short_name(&self.root)) };
        self.account.own_folder(&folder)?;
        Ok(folder)
    }

    /// Settings live in a file: arguments of `pg_ctl -o` pass through a shell.
    fn write_settings(&self, config: &EmbeddedConfig, socket_folder: &Path) -> Result<(), Error> {
        let Some(folder) = socket_folder.to_str().filter(|_| is_plain(socket_folder)) else {
            return Err(Error::NotPlain { path: socket_folder.to_owned() });
        };
        let mut settings = format!(
            "# Written at every start.\n\
             listen_addresses = ''\n\
             port = {PORT}\n\
             unix_socket_directories = '\"{}\"'\n\
             unix_socket_permissions = 0700\n\
             max_connections = {}\n\
             timezone = 'UTC'\n\
             log_timezone = 'UTC'\n",
            folder.replace('\'', "''"),
            config.max_connections,
        );
        if config.durability == Durability::Fleeting {
            settings += "fsync = off\nfull_page_writes = off\n\
                         wal_level = minimal\nmax_wal_senders = 0\nautovacuum_naptime = 300\n";
        }
        let file = self.data().join("steelyard.conf");
        std::fs::write(&file, settings).map_err(io(&file))?;
        self.account.own_file(&file)
    }

    fn open_log(&self) -> Result<File, Error> {
        let log = self.log();
        if std::fs::metadata(&log).is_ok_and(|found| found.len() > LOG_BYTES) {
            std::fs::rename(&log, log.with_extension("log.1")).map_err(io(&log))?;
        }
        let file = File::options().create(true).append(true).open(&log).map_err(io(&log))?;
        self.account.own_file(&log)?;
        Ok(file)
    }

    fn log_tail(&self) -> String {
        let read = || -> std::io::Result<String> {
            let mut file = File::open(self.log())?;
            let size = file.metadata()?.len();
            file.seek(SeekFrom::Start(size.saturating_sub(LOG_TAIL_BYTES)))?;
            let mut tail = Vec::new();
            file.read_to_end(&mut tail)?;
            Ok(String::from_utf8_lossy(&tail).trim().to_owned())
        };
        read().unwrap_or_else(|error| format!("(its log could not be read: {error})"))
    }

    /// Ends all sessions and stops the server; the hard way when that takes too long.
    pub(super) fn stop(&self) -> Result<(), Error> {
        if self.stop_with("fast")? || self.stop_with("immediate")? {
            return Ok(());
        }
        Err(Error::Program { program: "pg_ctl stop", said: self.log_tail() })
    }

    pub(super) fn stop_with(&self, mode: &str) -> Result<bool, Error> {
        if !self.pid_file().is_some_and(|found| process::standing(found.pid, &self.data()) == Standing::Server) {
            return Ok(true);
        }
        let mut pg_ctl = self.command("pg_ctl");
        pg_ctl.args(["stop", "-w", "-m", mode, "-t", &STOP_TIMEOUT_S.to_string(), "-D"]).arg(self.data());
        let status = pg_ctl.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.map(|status| status.success()).map_err(io(&self.binaries.program("pg_ctl")))
    }
}

/// Whether a path survives `pg_ctl`, which hands it to a shell inside double quotes, and the settings.
pub(super) fn is_plain(path: &Path) -> bool {
    path.to_str().is_some_and(|text| !text.contains(['"', '$', '`', '\\', '\n']))
}

/// The major version a data folder was made by, if it exists.
pub(super) fn data_version(root: &Path) -> Option<u32> {
    std::fs::read_to_string(root.join("data").join("PG_VERSION")).ok()?.trim().parse().ok()
}

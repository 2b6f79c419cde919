//! A Postgres server of our own, from the programs the distribution installed.
//!
//! It listens on a unix socket in a folder only its account can enter, never on the network. A killed
//! broker finds its server again ([`Mode::Adopting`]) or has it stopped ([`Mode::Guarded`]).

mod account;
mod cluster;
mod find;
mod guard;
mod process;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(crate) use self::account::Account;
use self::cluster::Cluster;
use self::find::Surroundings;
use self::guard::Guard;

/// Longest wait for another process to finish starting or stopping the same server, crash recovery included.
const CHANGE_PATIENCE: Duration = Duration::from_secs(150);
/// Where data goes when root asked for a place that the server's account cannot reach.
const REFUGE: &str = "/var/lib/steelyard";

/// What happens to the server when its user goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It stops with its one user, even if that is killed. For demos and tests.
    Guarded,
    /// It survives a killed user, and the next one adopts it. The last user to stop stops it.
    Adopting,
}

/// Whether a commit survives a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Yes.
    Full,
    /// No: nothing waits for the disk. For tests.
    Fleeting,
}

/// Which server to run, and how.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// Folder of everything: data, log, locks. Created if it is not there.
    pub data_dir: PathBuf,
    /// Name of the database, created if it is not there.
    pub database: String,
    /// What happens when this process goes away.
    pub mode: Mode,
    /// Whether commits wait for the disk.
    pub durability: Durability,
    /// Sessions the server admits at once.
    pub max_connections: u32,
    /// Longest wait for a previous user of the same folder to be gone.
    pub patience: Duration,
    /// Whether a guarded server's data is deleted once it has stopped.
    pub disposable: bool,
}

impl EmbeddedConfig {
    /// Full durability, adopted after a crash, in `data_dir`.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            database: "steelyard".to_owned(),
            mode: Mode::Adopting,
            durability: Durability::Full,
            max_connections: 200,
            // A killed user's guard may need most of this to stop the server.
            patience: Duration::from_secs(30),
            disposable: false,
        }
    }

    /// The same, stopped when this process ends.
    #[must_use]
    pub fn guarded(self) -> Self {
        Self { mode: Mode::Guarded, ..self }
    }

    /// The same, without waiting for the disk.
    #[must_use]
    pub fn fleeting(self) -> Self {
        Self { durability: Durability::Fleeting, ..self }
    }
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing to run.
    #[error(
        "no PostgreSQL server programs found in PG_BINDIR, PATH or the usual folders: \
         install them (`apt-get install postgresql`, `brew install postgresql`) \
         or point DATABASE_URL at a running server"
    )]
    NoBinaries,
    /// The operator named a folder that does not help.
    #[error("PG_BINDIR is {folder}, but postgres, initdb and pg_ctl are not all there", folder = folder.display())]
    BadBindir {
        /// What `PG_BINDIR` says.
        folder: PathBuf,
    },
    /// Only versions nobody maintains.
    #[error("PostgreSQL {found} is too old: install version {oldest} or newer, or set DATABASE_URL")]
    TooOld {
        /// The newest version found.
        found: u32,
        /// The oldest that would do.
        oldest: u32,
    },
    /// A data folder can only be read by the version that wrote it.
    #[error("the data folder was made by PostgreSQL {wanted}, but only {found} is installed: install {wanted} too")]
    WrongVersion {
        /// The newest version found.
        found: u32,
        /// The version of the data folder.
        wanted: u32,
    },
    /// Root must step down and cannot.
    #[error("PostgreSQL refuses to run as root, and there is neither an account `postgres` nor `nobody`")]
    NoAccount,
    /// A folder belongs to someone else.
    #[error("{path} is not a folder of the account the server runs under", path = path.display())]
    NotOurs {
        /// The folder.
        path: PathBuf,
    },
    /// A path the server's own tools would misread.
    #[error("PostgreSQL's tools cannot take {path}: use a path without quotes, dollar signs and backslashes", path = path.display())]
    NotPlain {
        /// The path.
        path: PathBuf,
    },
    /// Someone else has the data folder.
    #[error("{data_dir} is in use by another process", data_dir = data_dir.display())]
    InUse {
        /// The folder.
        data_dir: PathBuf,
    },
    /// Remains of a killed server do not end.
    #[error("processes {pids:?} of a dead server still work in {data}", data = data.display())]
    Orphans {
        /// The data folder.
        data: PathBuf,
        /// Who.
        pids: Vec<u32>,
    },
    /// One of the server's programs failed.
    #[error("{program} failed: {said}")]
    Program {
        /// Which one.
        program: &'static str,
        /// Its last words.
        said: String,
    },
    /// The file system said no.
    #[error("cannot use {path}", path = path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The server runs, but the database could not be made.
    #[error("database call failed")]
    Database(#[from] sqlx::Error),
    /// The starting thread panicked.
    #[error("the thread that starts the server ended early")]
    Thread,
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}

/// A running server.
///
/// Dropping it without [`Embedded::stop`] is what a crash would do: a guarded server stops soon after,
/// any other keeps running.
#[derive(Debug)]
pub struct Embedded {
    cluster: Cluster,
    guard: Option<Guard>,
    /// Held for as long as the server is used: alone when guarded, shared when not.
    use_lock: File,
    root: PathBuf,
    socket_folder: PathBuf,
    database: String,
    is_adopted: bool,
}

impl Embedded {
    /// Starts the server, or adopts the one that runs over the same folder.
    ///
    /// # Errors
    /// Anything of [`Error`]; each message says what to do. Trying again is harmless.
    pub async fn start(config: EmbeddedConfig) -> Result<Self, Error> {
        let database = config.database.clone();
        let server = tokio::task::spawn_blocking(move || Self::start_blocking(&config));
        let server = server.await.map_err(|_| Error::Thread)??;
        crate::db::create_database(&server.url_of("postgres"), &database).await?;
        Ok(server)
    }

    /// [`Embedded::start`] without making the database.
    fn start_blocking(config: &EmbeddedConfig) -> Result<Self, Error> {
        let (account, root) = place(&config.data_dir)?;
        let binaries = find::find(&Surroundings::of_this_machine(), cluster::data_version(&root))?;
        let cluster = Cluster::new(binaries, account, root.clone());

        // Always in this order: first who may use the server, then who may change whether it runs.
        let use_lock = open_lock(&root, "use.lock")?;
        lock(&root, config.patience, || match config.mode {
            Mode::Guarded => use_lock.try_lock(),
            Mode::Adopting => use_lock.try_lock_shared(),
        })?;
        let _change_lock = take_change_lock(&root)?;
        cluster.init(config.durability)?;
        // Posted before the start: a parent killed in between must not leave a server behind.
        let guard =
            (config.mode == Mode::Guarded).then(|| Guard::post(&cluster, config.disposable, &use_lock)).transpose()?;
        let running = cluster.running()?;
        let is_adopted = running.is_some();
        let socket_folder = running.map_or_else(|| cluster.start(config), Ok)?;
        let database = config.database.clone();
        Ok(Self { cluster, guard, use_lock, root, socket_folder, database, is_adopted })
    }

    /// The address of the database. It works for the server's account, for root, and nobody else.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of(&self.database)
    }

    /// The address of another database on the same server.
    #[must_use]
    pub fn url_of(&self, database: &str) -> String {
        let folder = percent_encode(self.socket_folder.as_os_str().as_encoded_bytes());
        format!("postgres://postgres@localhost/{database}?host={folder}&sslmode=disable")
    }

    /// Where the data really is: root may have been sent elsewhere than it asked for.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.root
    }

    /// The folder of the server's socket.
    #[must_use]
    pub fn socket_folder(&self) -> &Path {
        &self.socket_folder
    }

    /// Whether the server ran already.
    #[must_use]
    pub fn is_adopted(&self) -> bool {
        self.is_adopted
    }

    /// The server's process id, as long as it runs.
    #[must_use]
    pub fn server_pid(&self) -> Option<u32> {
        let text = std::fs::read_to_string(self.cluster.data().join("postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok()
    }

    /// Ends all sessions and stops the server, unless another process still uses it.
    ///
    /// # Errors
    /// [`Error::Program`] when the server does not stop, [`Error::Thread`] when stopping panicked.
    pub async fn stop(self) -> Result<(), Error> {
        tokio::task::spawn_blocking(move || self.stop_blocking()).await.map_err(|_| Error::Thread)?
    }

    /// Cuts every session and stops the server without tidying up; [`Embedded::resume`] recovers.
    #[cfg(feature = "testing")]
    pub(crate) async fn halt(&self) -> Result<(), Error> {
        let cluster = self.cluster.clone();
        let done = tokio::task::spawn_blocking(move || cluster.stop_with("immediate")).await;
        done.map_err(|_| Error::Thread)?.map(drop)
    }

    /// Starts the server again after [`Embedded::halt`].
    #[cfg(feature = "testing")]
    pub(crate) async fn resume(&self, config: &EmbeddedConfig) -> Result<(), Error> {
        let (cluster, config) = (self.cluster.clone(), config.clone());
        let done = tokio::task::spawn_blocking(move || cluster.start(&config)).await;
        done.map_err(|_| Error::Thread)?.map(drop)
    }

    fn stop_blocking(self) -> Result<(), Error> {
        let _change_lock = take_change_lock(&self.root)?;
        // Turning a shared lock into an exclusive one succeeds for the last user only.
        let is_last = self.guard.is_some() || self.use_lock.try_lock().is_ok();
        if is_last {
            self.cluster.stop()?;
            if !self.socket_folder.starts_with(&self.root) {
                // Empty by now; left where it is if not.
                let _ = std::fs::remove_dir(&self.socket_folder);
            }
        }
        if let Some(guard) = self.guard {
            guard.dismiss();
        }
        Ok(())
    }
}

/// Whose account serves a data folder, and where the folder really is; it exists afterwards.
pub(crate) fn place(data_dir: &Path) -> Result<(Account, PathBuf), Error> {
    let account = Account::choose()?;
    let wanted = std::path::absolute(data_dir).map_err(io(data_dir))?;
    let root = account.reachable(&wanted, Path::new(REFUGE));
    if root != wanted {
        let (wanted, used) = (wanted.display(), root.display());
        tracing::warn!(%wanted, %used, "the server's account cannot reach its data folder: another one is used");
    }
    if !cluster::is_plain(&root) {
        return Err(Error::NotPlain { path: root });
    }
    account.own_folder(&root)?;
    let root = root.canonicalize().map_err(io(&root))?;
    Ok((account, root))
}

/// The program that stops the server over `root`.
#[cfg(feature = "testing")]
pub(crate) fn pg_ctl(root: &Path) -> Result<PathBuf, Error> {
    Ok(find::find(&Surroundings::of_this_machine(), cluster::data_version(root))?.program("pg_ctl"))
}

fn open_lock(root: &Path, name: &str) -> Result<File, Error> {
    let path = root.join(name);
    File::options().create(true).truncate(false).write(true).open(&path).map_err(io(&path))
}

/// Held until dropped: nobody else starts or stops the server meanwhile.
fn take_change_lock(root: &Path) -> Result<File, Error> {
    let file = open_lock(root, "change.lock")?;
    lock(root, CHANGE_PATIENCE, || file.try_lock())?;
    Ok(file)
}

/// Tries until it works or `patience` is at an end.
fn lock(root: &Path, patience: Duration, attempt: impl Fn() -> Result<(), TryLockError>) -> Result<(), Error> {
    let deadline = Instant::now() + patience;
    loop {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(source)) => return Err(Error::Io { path: root.to_owned(), source }),
            Err(TryLockError::WouldBlock) if Instant::now() > deadline => {
                return Err(Error::InUse { data_dir: root.to_owned() });
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Everything but letters, digits, `-`, `_` and `.`; the query of a URL has more allowed than a path.
fn percent_encode(raw: &[u8]) -> String {
    use std::fmt::Write;
    raw.iter().fold(String::new(), |mut text, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => text.push(char::from(*byte)),
            // Writing to a string cannot fail.
            _ => drop(write!(text, "%{byte:02X}")),
        }
        text
    })
}

//! The cluster shared by all test processes of one run.
//!
//! The first process starts it and posts a watcher; later ones join. Each holds a named pipe open for
//! as long as it lives, by whatever death it dies. When nobody has held the pipe for some seconds the
//! watcher stops the server and deletes its data.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::sync::OnceCell;

use crate::db::{self, DatabaseConfig, MIGRATOR, quote_identifier};
use crate::embedded::{self, Embedded, EmbeddedConfig, Error};

/// `$1` pg_ctl, `$2` the cluster's folder, `$3` seconds without users before it ends.
///
/// Opening a named pipe waits for the other side, so the writer in the background lets the reader
/// begin; the reader then sees the end once the last test process is gone. `joins` tells whether
/// somebody came and went meanwhile, and `closing` turns away those who come too late.
const WATCHER: &str = r#"
trap '' HUP INT TERM
cd "$2" || exit 1
while :; do
    : > users &
    cat users >/dev/null
    wait
    seen=$(cat joins)
    sleep "$3"
    mkdir closing 2>/dev/null
    [ "$(cat joins)" = "$seen" ] && break
    rmdir closing
done
"$1" stop -D "$2/data" -m immediate -w -t 20 </dev/null >/dev/null 2>&1
rm -rf data data.unfinished run joins postgres.log
rmdir closing
"#;

/// Long enough for cargo to go from one test binary to the next, short enough not to be noticed after.
const LINGER_S: u32 = 10;
/// Longest wait for the watcher of an earlier run to finish.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(60);

/// This process's part in the run. Never dropped: it ends with the process.
pub(super) struct Run {
    server: Server,
    template: String,
    major: u32,
}

enum Server {
    /// Ours, with the pipe that keeps it alive.
    Own { server: Embedded, _users: File },
    /// Somebody's, named by `STEELYARD_TEST_DATABASE_URL`.
    Given { url: String },
}

/// Joins the run, starting its cluster if this process is the first.
pub(super) async fn join() -> &'static Run {
    static RUN: OnceCell<Run> = OnceCell::const_new();
    RUN.get_or_init(|| async {
        match start().await {
            Ok(run) => run,
            Err(error) => panic!("no database for tests: {}", chain(error.as_ref())),
        }
    })
    .await
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

async fn start() -> Result<Run, AnyError> {
    if let Ok(url) = std::env::var("STEELYARD_TEST_DATABASE_URL") {
        return Run::prepare(Server::Given { url }).await;
    }
    let folder = scratch_folder()?;
    // One process at a time from here until the template is made.
    let lock = File::options().create(true).truncate(false).write(true).open(folder.join("join.lock"))?;
    let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await??;
    let wanted = folder.join("cluster");
    let users = tokio::task::spawn_blocking(move || hold_open(&wanted)).await??;
    let server = Embedded::start(EmbeddedConfig::new(folder.join("cluster")).fleeting()).await?;
    let run = Run::prepare(Server::Own { server, _users: users }).await;
    drop(lock);
    run
}

/// A folder for scratch below cargo's target folder, where `cargo clean` finds it; per account.
pub(super) fn scratch_folder() -> Result<PathBuf, Error> {
    let exe = std::env::current_exe().map_err(|source| Error::Io { path: PathBuf::new(), source })?;
    let target = exe.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    let base = target.map_or_else(std::env::temp_dir, |target| target.join("tmp"));
    let name = format!("steelyard-postgres-{}", rustix::process::geteuid().as_raw());
    // Owned by the server's account, so that its watcher can tidy up. A binary built by one account and
    // run by another cannot write to cargo's folder.
    match embedded::place(&base.join(&name)) {
        Err(Error::Io { .. }) => embedded::place(&std::env::temp_dir().join(name)),
        placed => placed,
    }
    .map(|(_, folder)| folder)
}

/// Opens the pipe that keeps the cluster alive, and sees to it that a watcher reads it.
fn hold_open(wanted: &Path) -> Result<File, AnyError> {
    let (account, root) = embedded::place(wanted)?;
    let deadline = Instant::now() + CLOSING_TIMEOUT;
    let pipe = root.join("users");
    if !pipe.exists() && !account.command("mkfifo").arg(&pipe).status()?.success() {
        return Err("the named pipe for tests cannot be made".into());
    }
    loop {
        // Reading as well: opening only for writing would wait for the watcher.
        let users = File::options().read(true).write(true).open(&pipe)?;
        let joins = root.join("joins");
        let text = std::fs::read_to_string(&joins).unwrap_or_default();
        std::fs::write(&joins, format!("{text}{}\n", std::process::id()))?;
        account.own_file(&joins)?;
        let watch = File::options().create(true).truncate(false).write(true).open(root.join("watch.lock"))?;
        let is_watched = watch.try_lock().is_err();
        if is_watched && root.join("closing").exists() {
            if Instant::now() > deadline {
                return Err("the watcher of an earlier run does not end".into());
            }
            std::thread::sleep(Duration::from_millis(20));
            continue;
        }
        if !is_watched {
            // Left by a watcher that was killed.
            let _ = std::fs::remove_dir(root.join("closing"));
            post_watcher(&account, &root, watch)?;
        }
        return Ok(users);
    }
}

/// The watcher keeps the lock for as long as it lives.
fn post_watcher(account: &embedded::Account, root: &Path, lock: File) -> Result<(), AnyError> {
    let pg_ctl = embedded::pg_ctl(root)?;
    let mut watcher = account.command("/bin/sh");
    watcher.args(["-c", WATCHER, "steelyard-test-watcher"]).args([pg_ctl.as_path(), root]).arg(LINGER_S.to_string());
    watcher.stdin(Stdio::null()).stdout(lock).stderr(Stdio::null()).process_group(0).spawn()?;
    Ok(())
}

impl Run {
    /// Makes the template, unless another process of the run has.
    async fn prepare(server: Server) -> Result<Self, AnyError> {
        let mut run = Self { server, template: format!("template_{}", migrations_digest()), major: 0 };
        let mut conn = PgConnection::connect(&run.url_of("postgres")).await?;
        let version: i32 =
            sqlx::query_scalar("select current_setting('server_version_num')::int").fetch_one(&mut conn).await?;
        run.major = u32::try_from(version / 10_000)?;
        // For servers given from outside, where processes do not share a lock file.
        conn.execute("select pg_advisory_lock(7246991206154312)").await?;
        let is_made: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(&run.template)
            .fetch_one(&mut conn)
            .await?;
        if !is_made {
            run.make_template(&mut conn).await?;
        }
        conn.close().await?;
        Ok(run)
    }

    /// Under another name until it is whole: a process killed half-way leaves nothing that looks finished.
    async fn make_template(&self, conn: &mut PgConnection) -> Result<(), AnyError> {
        let (unfinished, template) = (format!("{}_unfinished", self.template), quote_identifier(&self.template));
        let quoted = quote_identifier(&unfinished);
        conn.execute(AssertSqlSafe(format!("drop database if exists {quoted} with (force)"))).await?;
        conn.execute(AssertSqlSafe(format!("create database {quoted}"))).await?;
        let config = DatabaseConfig { max_connections: 1, ..DatabaseConfig::default() };
        let pool = db::connect(&config.with_url(self.url_of(&unfinished))).await?;
        db::migrate(&pool).await?;
        pool.close().await;
        conn.execute(AssertSqlSafe(format!("alter database {quoted} rename to {template}"))).await?;
        Ok(())
    }

    /// A new database, equal to the template.
    pub(super) async fn copy_template(&self, name: &str) -> Result<(), sqlx::Error> {
        // Through the log, a small template is copied without two checkpoints; version 14 cannot.
        let strategy = if self.major >= 15 { "strategy wal_log" } else { "" };
        let (name, template) = (quote_identifier(name), quote_identifier(&self.template));
        let mut conn = PgConnection::connect(&self.url_of("postgres")).await?;
        // A number of a process may come again within a long-lived server.
        conn.execute(AssertSqlSafe(format!("drop database if exists {name} with (force)"))).await?;
        conn.execute(AssertSqlSafe(format!("create database {name} template {template} {strategy}"))).await?;
        conn.close().await
    }

    /// The address of a database on the run's server.
    pub(super) fn url_of(&self, database: &str) -> String {
        match &self.server {
            Server::Own { server, .. } => server.url_of(database),
            Server::Given { url } => replace_database(url, database),
        }
    }
}

/// The same address with another database's name.
fn replace_database(url: &str, database: &str) -> String {
    let (address, query) = url.split_once('?').map_or((url, ""), |(address, query)| (address, query));
    let from = address.find("://").map_or(0, |at| at + 3);
    let host_end = address[from..].find('/').map_or(address.len(), |at| from + at);
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{}/{database}{mark}{query}", &address[..host_end])
}

/// Changes whenever a migration does, so an old template is never taken for a new one.
fn migrations_digest() -> String {
    let mut hasher = blake3::Hasher::new();
    for migration in MIGRATOR.iter() {
        hasher.update(&migration.version.to_le_bytes()).update(&migration.checksum);
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_database_of_an_address_is_replaced() {
        assert_eq!(
            replace_database("postgres://u:p@h:1/a?sslmode=disable", "b"),
            "postgres://u:p@h:1/b?sslmode=disable"
        );
        assert_eq!(replace_database("postgres://h", "b"), "postgres://h/b");
    }
}

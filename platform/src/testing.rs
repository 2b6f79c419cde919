//! Fixtures: a fresh migrated database per test, a clock that moves when told, ids from a seed.

mod run;
mod server;

use std::future::poll_fn;
use std::ops::Deref;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{OnceLock, mpsc};
use std::task::Poll;

use protocol::Env;
use protocol::time::{ManualClock, Timestamp};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};

use crate::db::{self, DatabaseConfig, quote_identifier};

pub use server::PrivateServer;

/// Where every manual clock starts: 2026-01-01T00:00:00Z.
pub const START: Timestamp = Timestamp::from_unix_seconds(1_767_225_600);

/// A clock that shows [`START`] until it is moved, and randomness fixed by `seed`.
#[must_use]
pub fn env(seed: u64) -> (Env, ManualClock) {
    Env::manual(START, seed)
}

/// Polls `work` so many times and then drops it where it is; `None` when it was not done.
pub async fn die_after<T>(polls: u32, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut left) = (pin!(work), polls);
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        work.as_mut().poll(context).map(Some)
    })
    .await
}

/// A database of one test's own, with every migration applied. Used like a pool; dropped with it.
#[derive(Debug)]
pub struct TestDb {
    pool: PgPool,
    config: DatabaseConfig,
    name: String,
    admin_url: String,
}

/// A fresh database on the cluster that all tests of this run share.
///
/// # Panics
/// When there is no PostgreSQL, or a migration fails: no test can say anything then.
pub async fn database() -> TestDb {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    let run = run::join().await;
    let name = format!("test_{}_{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
    run.copy_template(&name).await.expect("the template can be copied");
    let config = DatabaseConfig { max_connections: 8, ..DatabaseConfig::default() }.with_url(run.url_of(&name));
    let pool = db::connect(&config).await.expect("the new database answers");
    TestDb { pool, config, name, admin_url: run.url_of("postgres") }
}

impl TestDb {
    /// The pool; clones of it work until the test's database is dropped.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Settings that lead to this database, for code that connects by itself.
    #[must_use]
    pub fn config(&self) -> &DatabaseConfig {
        &self.config
    }

    /// The database's name on its server.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address of this database.
    #[must_use]
    pub fn url(&self) -> &str {
        use secrecy::ExposeSecret;
        self.config.url.as_ref().map_or("", |url| url.expose_secret())
    }

    /// The address of the server's own database, to ask about this one from outside.
    #[must_use]
    pub fn admin_url(&self) -> &str {
        &self.admin_url
    }
}

impl Deref for TestDb {
    type Target = PgPool;

    fn deref(&self) -> &PgPool {
        &self.pool
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        // In the background: the next test need not wait for it, and the cluster goes at the end anyway.
        let _ = undertaker().send((self.admin_url.clone(), self.name.clone()));
    }
}

/// One thread that drops databases, with a runtime of its own: a test's runtime ends with the test.
fn undertaker() -> &'static mpsc::Sender<(String, String)> {
    static SENDER: OnceLock<mpsc::Sender<(String, String)>> = OnceLock::new();
    SENDER.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<(String, String)>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            while let Ok((admin_url, name)) = receiver.recv() {
                // A failure leaves a database in a cluster that is deleted with the run.
                let _ = runtime.block_on(drop_database(&admin_url, &name));
            }
        });
        sender
    })
}

async fn drop_database(admin_url: &str, name: &str) -> Result<(), sqlx::Error> {
    let mut conn = PgConnection::connect(admin_url).await?;
    let statement = format!("drop database if exists {} with (force)", quote_identifier(name));
    conn.execute(AssertSqlSafe(statement)).await?;
    conn.close().await
}

//! Postgres: the pool, the migrations, and trying again when transactions collide.

use std::future::Future;
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};

/// Every migration, embedded; applied by [`migrate`] in the order of their numbers.
pub static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

/// A transaction that was left open this long belongs to nobody any more, and its locks hurt everyone.
const IDLE_IN_TRANSACTION_TIMEOUT_MS: u64 = 60_000;
/// Run on a connection before it is handed out. It shows that the server still answers, and ends what a future left
/// behind that was dropped between its `begin` and the answer to it: the library then knows of no transaction, hands the
/// connection on, and what its next user writes is undone together with whatever comes after it.
const ALONE: &str = "begin; rollback";
/// Collisions in a row after which the load is the problem, not chance.
pub const MAX_ATTEMPTS: u32 = 6;
/// Pause before the second attempt; doubled before each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(2);

/// Where Postgres is and how much of it one process may use.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// Address, `postgres://user:password@host/database`. Unset: the embedded server.
    #[serde(serialize_with = "crate::config::redacted")]
    pub url: Option<SecretString>,
    /// Connections one process opens at most.
    pub max_connections: u32,
    /// Longest wait for a free connection.
    pub acquire_timeout_ms: u64,
    /// Longest time for one statement; migrations are exempt.
    pub statement_timeout_ms: u64,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self { url: None, max_connections: 16, acquire_timeout_ms: 5_000, statement_timeout_ms: 15_000 }
    }
}

impl DatabaseConfig {
    /// The same limits at another address.
    #[must_use]
    pub fn with_url(self, url: impl Into<SecretString>) -> Self {
        Self { url: Some(url.into()), ..self }
    }

    /// How one connection is opened.
    ///
    /// # Errors
    /// [`sqlx::Error::Configuration`] when no address is set or it cannot be read.
    pub fn connect_options(&self) -> Result<PgConnectOptions, sqlx::Error> {
        let Some(url) = &self.url else {
            return Err(sqlx::Error::Configuration("no database address is set".into()));
        };
        let options = PgConnectOptions::from_str(url.expose_secret())?.application_name("steelyard");
        Ok(options.options([
            ("statement_timeout", self.statement_timeout_ms.to_string()),
            ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_TIMEOUT_MS.to_string()),
        ]))
    }

    fn pool_options(&self) -> PgPoolOptions {
        PgPoolOptions::new()
            .max_connections(self.max_connections)
            .acquire_timeout(Duration::from_millis(self.acquire_timeout_ms))
            .test_before_acquire(false)
            .before_acquire(|conn, _| Box::pin(async move { conn.execute(ALONE).await.map(|_| true) }))
    }
}

/// Opens the pool and proves with one connection that the server answers.
///
/// # Errors
/// A wrong or missing address, or no answer within the acquire timeout.
pub async fn connect(config: &DatabaseConfig) -> Result<PgPool, sqlx::Error> {
    config.pool_options().connect_with(config.connect_options()?).await
}

/// Applies the migrations that are missing. Several replicas may call it at once; one does the work.
///
/// # Errors
/// A migration that fails, was changed after it was applied, or is known to the database but not to
/// this binary: an older broker must not run over a newer schema.
pub async fn migrate(db: &PgPool) -> Result<(), MigrateError> {
    // A connection of its own, closed afterwards: migrations may take longer than a request is allowed to.
    let options = db.connect_options().as_ref().clone();
    let mut conn = PgConnection::connect_with(&options.options([("statement_timeout", "0")])).await?;
    MIGRATOR.run_direct(None, &mut conn, false).await?;
    conn.close().await?;
    Ok(())
}

/// Creates `database` on the server that `admin_url` leads to, unless it is there.
///
/// # Errors
/// No connection, or no right to create databases.
pub async fn create_database(admin_url: &str, database: &str) -> Result<(), sqlx::Error> {
    let mut conn = PgConnection::connect(admin_url).await?;
    let statement = format!("create database {}", quote_identifier(database));
    let created = conn.execute(AssertSqlSafe(statement)).await;
    conn.close().await?;
    match created {
        // 42P04 says it exists; 23505 that another process was quicker by a moment.
        Err(sqlx::Error::Database(error)) if matches!(error.code().as_deref(), Some("42P04" | "23505")) => Ok(()),
        other => other.map(drop),
    }
}

/// A name as it must stand in SQL text where a parameter cannot.
#[must_use]
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Whether Postgres ended a transaction only because it collided with another: repeating it may work.
///
/// Looks through the error's sources, so it takes a crate's own error as well as sqlx's.
#[must_use]
pub fn is_serialization_failure(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(sqlx::Error::Database(found)) = error.downcast_ref::<sqlx::Error>() {
            // serialization_failure, deadlock_detected
            return matches!(found.code().as_deref(), Some("40001" | "40P01"));
        }
        next = error.source();
    }
    false
}

/// Runs a whole transaction again while it collides with others, at most [`MAX_ATTEMPTS`] times.
///
/// `transaction` gets the number of the attempt, from 1, and must begin and commit by itself. Anything
/// it does outside the database happens again too.
///
/// # Errors
/// The last collision, or at once any other error.
pub async fn retry<T, E, F, Fut>(operation: &'static str, mut transaction: F) -> Result<T, E>
where
    F: FnMut(u32) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    E: std::error::Error + 'static,
{
    let mut attempt = 1;
    loop {
        match transaction(attempt).await {
            Err(error) if attempt < MAX_ATTEMPTS && is_serialization_failure(&error) => {
                metrics::counter!("steelyard_db_retries_total", "operation" => operation).increment(1);
                tracing::debug!(operation, attempt, "transaction collided and is repeated");
                tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(attempt - 1)).await;
                attempt += 1;
            }
            done => return done,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_quoted() {
        assert_eq!(quote_identifier(r#"a"b"#), r#""a""b""#);
    }

    #[test]
    fn a_missing_address_is_a_configuration_error() {
        assert!(matches!(DatabaseConfig::default().connect_options(), Err(sqlx::Error::Configuration(_))));
    }
}

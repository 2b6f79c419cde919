//! Connections that are given up when no answer comes.
//!
//! A connection whose other end vanished without a word answers nothing for as long as TCP is patient, and the
//! pool waits for its answer when it comes back. So statements that others wait behind are sent on a [`Line`],
//! with a limit to each answer.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};

/// The longest wait for a connection. A pooled one that does not answer its test is thrown away by leaving.
const CONNECT: Duration = Duration::from_secs(2);

/// A pooled connection for one piece of work. Dropped in the middle of it, as by a caller that went away, it is
/// thrown away: what it would answer next is not known.
pub(crate) struct Line(Option<PoolConnection<Postgres>>);

impl Line {
    /// A connection from the pool.
    ///
    /// # Errors
    /// When none is free or can be made in time.
    pub async fn open(db: &PgPool) -> Result<Self, sqlx::Error> {
        let conn = tokio::time::timeout(CONNECT, db.acquire()).await;
        Ok(Self(Some(conn.unwrap_or(Err(sqlx::Error::PoolTimedOut))?)))
    }

    /// Gives the connection back to the pool, if the server was heard of last.
    pub fn hang_up<T>(mut self, answer: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        if matches!(answer, Ok(_) | Err(sqlx::Error::Database(_))) {
            drop(self.0.take());
        }
        answer
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(conn) = self.0.take() {
            // Taken out of the pool, so that its place is free at once, and closed.
            drop(conn.detach());
        }
    }
}

impl Deref for Line {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.0.as_ref().expect("taken only by what consumes the line")
    }
}

impl DerefMut for Line {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.0.as_mut().expect("taken only by what consumes the line")
    }
}

/// What the server says within `limit`.
///
/// # Errors
/// As the work itself; without an answer, an I/O error that says so, and whether the work was done is not known.
pub(crate) async fn answer<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let silent = || sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "the database does not answer"));
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(silent()))
}

//! The name of this replica, which one process at a time may have.

use std::time::Duration;

use protocol::BootId;
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::sync::Mutex;

use crate::store::line::answer;
use crate::{Error, run, store};

/// How long and how often a starting replica asks for its name: after a crash the server may take a moment
/// to notice that the earlier process is gone.
const CLAIM: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(20));
/// The longest wait for one answer about the name.
const ANSWER: Duration = Duration::from_secs(2);

/// Holds the advisory lock on the name as long as its connection lives. Whoever gets the lock at its start takes
/// earlier boots for dead and closes their leases, so a living process must not be without it for long.
pub(crate) struct Name {
    db: PgPool,
    replica: String,
    held: Mutex<Option<Held>>,
    was_free: bool,
}

struct Held {
    conn: PgConnection,
    /// False while another process has the name.
    is_ours: bool,
}

impl Name {
    /// Registers this boot, asks for the name, and closes what earlier boots under it left open.
    pub async fn claim(db: &PgPool, replica: &str, boot: BootId) -> Result<Self, Error> {
        let mut conn = db.acquire().await?.detach();
        store::replicas::insert(&mut conn, replica, boot).await?;
        let is_ours = claim_patiently(&mut conn, replica).await?;
        if is_ours {
            let closed = run::close_earlier_boots(&mut conn, replica, boot).await?;
            if closed > 0 {
                tracing::info!(closed, replica, "closed leases of earlier boots");
            }
        } else {
            tracing::warn!(replica, "another process runs under this replica's name; its leases are left alone");
        }
        let held = Mutex::new(Some(Held { conn, is_ours }));
        Ok(Self { db: db.clone(), replica: replica.to_owned(), held, was_free: is_ours })
    }

    /// Whether nobody else had the name at the start.
    pub const fn was_free(&self) -> bool {
        self.was_free
    }

    /// Takes the name again when it was lost, as with a restart of the server. Leases are left alone: who
    /// else had the name meanwhile may be alive.
    pub async fn keep(&self) -> Result<(), sqlx::Error> {
        let mut held = self.held.lock().await;
        let was_ours = held.as_ref().is_some_and(|held| held.is_ours);
        if let Some(mut still) = held.take()
            && let Ok(is_ours) = answer(ANSWER, self.ask(&mut still)).await
        {
            still.is_ours = is_ours;
            *held = Some(still);
            return Ok(());
        }
        // The old connection is dropped by now: one that only seems lost would hold the name against us.
        let conn = answer(ANSWER, self.db.acquire()).await?.detach();
        let mut again = Held { conn, is_ours: false };
        again.is_ours = answer(ANSWER, self.ask(&mut again)).await?;
        if again.is_ours {
            tracing::info!(replica = self.replica, "this replica's name is held again");
        } else if was_ours {
            tracing::warn!(replica = self.replica, "another process runs under this replica's name");
        }
        *held = Some(again);
        Ok(())
    }

    /// Whether the name is ours; asks for it when it is not.
    async fn ask(&self, held: &mut Held) -> Result<bool, sqlx::Error> {
        if held.is_ours {
            held.conn.ping().await.map(|()| true)
        } else {
            store::replicas::claim_name(&mut held.conn, &self.replica).await
        }
    }

    /// Gives the name up.
    pub async fn release(&self) {
        if let Some(held) = self.held.lock().await.take()
            && let Err(error) = held.conn.close().await
        {
            tracing::debug!(%error, "the connection that held the replica's name was gone already");
        }
    }
}

async fn claim_patiently(conn: &mut PgConnection, replica: &str) -> Result<bool, sqlx::Error> {
    let deadline = tokio::time::Instant::now() + CLAIM.0;
    loop {
        if store::replicas::claim_name(conn, replica).await? {
            return Ok(true);
        }
        if tokio::time::Instant::now() >= deadline {
            return Ok(false);
        }
        tokio::time::sleep(CLAIM.1).await;
    }
}

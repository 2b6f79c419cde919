//! Where providers are paid, and were, and will be.

use protocol::wallet::Signed;
use protocol::{ProviderId, Timestamp};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

/// One account of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Which of them; the one it registered with is 0.
    pub nonce: u64,
    /// In CAIP-10.
    pub account: String,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// From when on it counts.
    pub effective_at: Timestamp,
    /// When it was taken back.
    pub cancelled_at: Option<Timestamp>,
}

impl Account {
    /// Whether its time has come. The newest that counts is the one that is paid to.
    #[must_use]
    pub fn counts(&self, now: Timestamp) -> bool {
        self.cancelled_at.is_none() && self.effective_at <= now
    }

    /// Whether it waits for its time.
    #[must_use]
    pub fn is_pending(&self, now: Timestamp) -> bool {
        self.cancelled_at.is_none() && self.effective_at > now
    }
}

/// Keeps the account a provider registered with. Again, it changes nothing.
///
/// # Errors
/// When the database call fails.
pub async fn open(
    conn: &mut PgConnection,
    provider: ProviderId,
    account: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into payout_accounts (provider_id, nonce, account, requested_at, effective_at)
         values ($1, 0, $2, $3, $3) on conflict do nothing",
        provider as ProviderId,
        account,
        now as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A provider's accounts by number, locked: two changes at once would take the same one.
pub(crate) async fn claim(conn: &mut PgConnection, provider: ProviderId) -> Result<Vec<Account>, sqlx::Error> {
    sqlx::query_scalar!("select early_nano_usd from payees where provider_id = $1 for update", provider as ProviderId)
        .fetch_optional(&mut *conn)
        .await?;
    list_of(conn, provider).await
}

/// A provider's accounts, by number.
///
/// # Errors
/// When the database call fails.
pub async fn list_of(conn: &mut PgConnection, provider: ProviderId) -> Result<Vec<Account>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select nonce, account, requested_at as "requested_at: Timestamp", effective_at as "effective_at: Timestamp",
                  cancelled_at as "cancelled_at: Timestamp"
             from payout_accounts where provider_id = $1 order by nonce"#,
        provider as ProviderId,
    )
    .fetch_all(conn)
    .await?;
    let account = rows.into_iter().map(|row| Account {
        nonce: row.nonce.unsigned_abs(),
        account: row.account,
        requested_at: row.requested_at,
        effective_at: row.effective_at,
        cancelled_at: row.cancelled_at,
    });
    Ok(account.collect())
}

/// Where each of these providers is paid now, and whether that is about to change.
pub(crate) async fn list_current(
    conn: &mut PgConnection,
    providers: &[Uuid],
    now: Timestamp,
) -> Result<Vec<(ProviderId, String, bool)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select distinct on (a.provider_id) a.provider_id as "provider: ProviderId", a.account,
                  exists (select from payout_accounts p where p.provider_id = a.provider_id
                             and p.cancelled_at is null and p.effective_at > $2) as "pending!"
             from payout_accounts a
            where a.provider_id = any($1) and a.cancelled_at is null and a.effective_at <= $2
            order by a.provider_id, a.nonce desc"#,
        providers,
        now as Timestamp,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.provider, row.account, row.pending)).collect())
}

/// Adds an account, with the words of the old one and the new.
pub(crate) async fn insert(
    conn: &mut PgConnection,
    provider: ProviderId,
    account: &Account,
    signatures: Option<(&Signed, &Signed)>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into payout_accounts (provider_id, nonce, account, requested_at, effective_at, signatures)
         values ($1, $2, $3, $4, $5, $6)",
        provider as ProviderId,
        account.nonce.cast_signed(),
        account.account,
        account.requested_at as Timestamp,
        account.effective_at as Timestamp,
        signatures.map(|(old, new)| json!({ "old": old, "new": new })),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes one back.
pub(crate) async fn cancel(
    conn: &mut PgConnection,
    provider: ProviderId,
    nonce: u64,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update payout_accounts set cancelled_at = $3 where provider_id = $1 and nonce = $2",
        provider as ProviderId,
        nonce.cast_signed(),
        now as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

//! Who is paid, and what decides when.

use protocol::wallet::Address;
use protocol::{Id as _, NanoUsd, OrganizationId, ProviderId, Timestamp};
use sqlx::PgConnection;
use uuid::Uuid;

use super::receipt_keys::address;

/// A provider as payouts know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payee {
    /// Which provider.
    pub provider: ProviderId,
    /// The wallet that speaks for it.
    pub wallet: Address,
    /// Since when it is with us.
    pub since: Timestamp,
    /// What it earned as a newcomer.
    pub early: NanoUsd,
}

/// Makes a provider known to payouts, when its wallet is proved. Again, it changes nothing.
///
/// # Errors
/// When the database call fails.
pub async fn open(
    conn: &mut PgConnection,
    provider: ProviderId,
    wallet: Address,
    since: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into payees (provider_id, wallet, since) values ($1, $2, $3) on conflict do nothing",
        provider as ProviderId,
        wallet.bytes().as_slice(),
        since as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// These providers, locked in the order of their ids.
pub(crate) async fn claim(conn: &mut PgConnection, providers: &[Uuid]) -> Result<Vec<Payee>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select provider_id as "provider: ProviderId", wallet, since as "since: Timestamp",
                  early_nano_usd as "early: NanoUsd"
             from payees where provider_id = any($1) order by provider_id for update"#,
        providers,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Payee { provider: row.provider, wallet: address(&row.wallet)?, since: row.since, early: row.early })
        })
        .collect()
}

/// Writes down what newcomers have earned.
pub(crate) async fn set_early(conn: &mut PgConnection, earned: &[(ProviderId, NanoUsd)]) -> Result<(), sqlx::Error> {
    let (providers, amounts): (Vec<Uuid>, Vec<i64>) = earned.iter().map(|(p, n)| (p.uuid(), n.nano())).unzip();
    sqlx::query!(
        "update payees p set early_nano_usd = e.amount
           from unnest($1::uuid[], $2::bigint[]) as e (provider_id, amount) where p.provider_id = e.provider_id",
        &providers,
        &amounts,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// When these accounts first paid by card, those that did.
pub(crate) async fn list_first_payments(
    conn: &mut PgConnection,
    accounts: &[Uuid],
) -> Result<Vec<(OrganizationId, Timestamp)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select account_id as "account: OrganizationId", min(granted_at) as "first!: Timestamp" from grants
            where kind = 'card' and account_id = any($1) group by account_id"#,
        accounts,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.account, row.first)).collect())
}

/// Pairs of these that are known to belong together.
pub(crate) async fn list_linked(
    conn: &mut PgConnection,
    accounts: &[Uuid],
    providers: &[Uuid],
) -> Result<Vec<(OrganizationId, ProviderId)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select account_id as "account: OrganizationId", provider_id as "provider: ProviderId" from linked_payers
            where account_id = any($1) and provider_id = any($2)"#,
        accounts,
        providers,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.account, row.provider)).collect())
}

/// Writes down that a payer and a provider belong together: what one pays the other waits longer from now on.
///
/// # Errors
/// When the database call fails.
pub async fn link(
    conn: &mut PgConnection,
    account: OrganizationId,
    provider: ProviderId,
    reason: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into linked_payers (account_id, provider_id, reason, noted_at) values ($1, $2, $3, $4)
         on conflict do nothing",
        account as OrganizationId,
        provider as ProviderId,
        reason,
        now as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Adds what new payers spent with providers, and returns all they have spent, by provider.
pub(crate) async fn add_shares(
    conn: &mut PgConnection,
    spent: &[(OrganizationId, ProviderId, NanoUsd)],
) -> Result<Vec<(OrganizationId, ProviderId, NanoUsd)>, sqlx::Error> {
    let accounts: Vec<Uuid> = spent.iter().map(|(account, ..)| account.uuid()).collect();
    let providers: Vec<Uuid> = spent.iter().map(|(_, provider, _)| provider.uuid()).collect();
    let amounts: Vec<i64> = spent.iter().map(|(.., amount)| amount.nano()).collect();
    sqlx::query!(
        "insert into payer_shares as s (account_id, provider_id, net_nano_usd)
         select account_id, provider_id, sum(amount)
           from unnest($1::uuid[], $2::uuid[], $3::bigint[]) as t (account_id, provider_id, amount)
          group by account_id, provider_id order by account_id, provider_id
         on conflict (account_id, provider_id) do update set net_nano_usd = s.net_nano_usd + excluded.net_nano_usd",
        &accounts,
        &providers,
        &amounts,
    )
    .execute(&mut *conn)
    .await?;
    let rows = sqlx::query!(
        r#"select account_id as "account: OrganizationId", provider_id as "provider: ProviderId",
                  net_nano_usd as "net: NanoUsd"
             from payer_shares where account_id = any($1)"#,
        &accounts,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.account, row.provider, row.net)).collect())
}

//! Accounts: one per organization.

use protocol::{Id, OrganizationId};
use sqlx::PgConnection;

use crate::lease::Scope;
use crate::lease::recall::{CHANNEL, Hint};

/// Opens the account of an organization. Opening it again does nothing.
///
/// # Errors
/// When the database call fails.
pub async fn open(conn: &mut PgConnection, account: OrganizationId) -> Result<(), sqlx::Error> {
    sqlx::query!("insert into accounts (account_id) values ($1) on conflict do nothing", account as OrganizationId)
        .execute(&mut *conn)
        .await?;
    sqlx::query!(
        "insert into ledger_accounts (kind, owner, currency)
         values ('credits', $1, 'USD'), ('receivable', $1, 'USD') on conflict do nothing",
        account.uuid(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Suspends an account or lets it borrow again, and tells all replicas when the transaction commits.
/// False when there is no such account.
///
/// # Errors
/// When the database call fails.
pub async fn set_suspended(
    conn: &mut PgConnection,
    account: OrganizationId,
    suspended: bool,
) -> Result<bool, sqlx::Error> {
    let state = if suspended { "suspended" } else { "active" };
    let done = sqlx::query!(
        "update accounts set state = $2 where account_id = $1 and state <> 'closed'",
        account as OrganizationId,
        state,
    )
    .execute(&mut *conn)
    .await?;
    hint(conn, Hint::Changed(Scope::Account(account))).await?;
    Ok(done.rows_affected() == 1)
}

/// `active`, `suspended` or `closed`; `None` when there is no such account.
///
/// # Errors
/// When the database call fails.
pub async fn find_state(conn: &mut PgConnection, account: OrganizationId) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!("select state from accounts where account_id = $1", account as OrganizationId)
        .fetch_optional(conn)
        .await
}

/// Sends a hint to all replicas, when the transaction commits.
pub(crate) async fn hint(conn: &mut PgConnection, hint: Hint) -> Result<(), sqlx::Error> {
    sqlx::query!("select pg_notify($1, $2)", CHANNEL, hint.to_string()).execute(conn).await?;
    Ok(())
}

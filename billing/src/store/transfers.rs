//! Transfers, their postings, and balances.

use protocol::TransferId;
use protocol::token::TokenAmount;
use sqlx::PgConnection;
use uuid::Uuid;

use super::receipt_keys::corrupt;
use crate::account::LedgerAccount;
use crate::ledger::{Cause, Coin, CoinPosting, CoinTransfer, Posting, Transfer, Turnover, USD};

/// Books a transfer. False, and nothing changed, when its cause was booked before.
///
/// # Errors
/// When the database call fails.
pub async fn book(conn: &mut PgConnection, transfer: &Transfer) -> Result<bool, sqlx::Error> {
    let legs = transfer.postings.iter().map(|p: &Posting| (p.debit(), p.credit(), p.amount().nano().to_string()));
    book_in(conn, transfer.id, &transfer.cause, USD, legs.collect()).await
}

/// Books a transfer of coins. False, and nothing changed, when its cause was booked before.
///
/// # Errors
/// When the database call fails.
pub async fn book_coins(conn: &mut PgConnection, transfer: &CoinTransfer) -> Result<bool, sqlx::Error> {
    let legs = transfer.postings.iter().map(|p: &CoinPosting| (p.debit(), p.credit(), p.amount().to_string()));
    book_in(conn, transfer.id, &transfer.cause, &transfer.coin.to_string(), legs.collect()).await
}

async fn book_in(
    conn: &mut PgConnection,
    id: TransferId,
    cause: &Cause,
    currency: &str,
    legs: Vec<(LedgerAccount, LedgerAccount, String)>,
) -> Result<bool, sqlx::Error> {
    let new = sqlx::query!(
        "insert into transfers (transfer_id, cause_kind, cause_id) values ($1, $2, $3)
         on conflict (cause_kind, cause_id) do nothing",
        id as TransferId,
        cause.kind(),
        cause.to_string(),
    )
    .execute(&mut *conn)
    .await?;
    if new.rows_affected() == 0 {
        return Ok(false);
    }
    let named = |account: &LedgerAccount| (account.kind.as_str().to_owned(), account.owner);
    let (debit_kinds, debit_owners): (Vec<String>, Vec<Uuid>) = legs.iter().map(|leg| named(&leg.0)).unzip();
    let (credit_kinds, credit_owners): (Vec<String>, Vec<Uuid>) = legs.iter().map(|leg| named(&leg.1)).unzip();
    let amounts: Vec<String> = legs.into_iter().map(|leg| leg.2).collect();
    ensure(&mut *conn, &debit_kinds, &debit_owners, currency).await?;
    ensure(&mut *conn, &credit_kinds, &credit_owners, currency).await?;
    // Left joins: an account that is missing after all violates NOT NULL instead of losing a posting.
    sqlx::query!(
        "insert into postings (transfer_id, line, currency, debit, credit, amount)
         select $1, legs.line, $7, d.ledger_account_id, c.ledger_account_id, legs.amount::numeric
           from unnest($2::text[], $3::uuid[], $4::text[], $5::uuid[], $6::text[])
                with ordinality legs (debit, debit_owner, credit, credit_owner, amount, line)
           left join ledger_accounts d
             on d.kind = legs.debit and d.owner = legs.debit_owner and d.currency = $7
           left join ledger_accounts c
             on c.kind = legs.credit and c.owner = legs.credit_owner and c.currency = $7",
        id as TransferId,
        &debit_kinds,
        &debit_owners,
        &credit_kinds,
        &credit_owners,
        &amounts,
        currency,
    )
    .execute(conn)
    .await?;
    Ok(true)
}

/// Makes ledger accounts that are missing, in one order, so that two makers can't wait in a circle.
pub(crate) async fn ensure(
    conn: &mut PgConnection,
    kinds: &[String],
    owners: &[Uuid],
    currency: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into ledger_accounts (kind, owner, currency)
         select distinct kind, owner, $3 from unnest($1::text[], $2::uuid[]) as a (kind, owner)
          order by kind, owner on conflict do nothing",
        kinds,
        owners,
        currency,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What accounts have turned over. US dollars are written out, other currencies are in their smallest unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The kind, as stored; `None` for all kinds together.
    pub kind: Option<String>,
    /// The currency.
    pub currency: String,
    /// How many accounts have turned over anything.
    pub accounts: i64,
    /// All debits.
    pub debited: String,
    /// All credits.
    pub credited: String,
    /// The difference.
    pub balance: String,
    /// On which side it is, `debit` or `credit`.
    pub side: String,
}

/// The trial balance of everybody, or of one owner's accounts: a line for each kind and currency, then what each
/// currency comes to. Read from the postings themselves, all of them: it may take as long as a check of the books.
///
/// # Errors
/// When the database call fails.
pub async fn trial_balance(conn: &mut PgConnection, owner: Option<Uuid>) -> Result<Vec<Line>, sqlx::Error> {
    sqlx::query_as!(
        Line,
        r#"with lines as (
             select debit as account, amount as debited, 0 as credited from postings
             union all
             select credit, 0, amount from postings),
           sums as (
             select a.kind, a.currency, count(distinct a.ledger_account_id) as accounts, sum(debited) as debited,
                    sum(credited) as credited, case a.currency when 'USD' then 9 else 0 end as places
               from lines join ledger_accounts a on a.ledger_account_id = lines.account
              where $1::uuid is null or a.owner = $1
              group by grouping sets ((a.kind, a.currency), (a.currency)))
           select kind as "kind?", currency as "currency!", accounts as "accounts!",
                  round(debited / power(10::numeric, places), places)::text as "debited!",
                  round(credited / power(10::numeric, places), places)::text as "credited!",
                  round(abs(debited - credited) / power(10::numeric, places), places)::text as "balance!",
                  case when debited >= credited then 'debit' else 'credit' end as "side!"
             from sums order by currency, kind nulls last"#,
        owner,
    )
    .fetch_all(conn)
    .await
}

/// What one account has turned over until now: the fold and the postings after it, in one snapshot.
///
/// # Errors
/// When the database call fails.
pub async fn turnover(conn: &mut PgConnection, account: LedgerAccount) -> Result<Turnover, sqlx::Error> {
    let found = sqlx::query_as!(
        Turnover,
        r#"select (coalesce(f.debited, 0) + coalesce((
                    select sum(amount) from postings p, fold_watermark w
                     where p.debit = a.ledger_account_id and p.xid >= w.xid), 0))::bigint as "debited!",
                  (coalesce(f.credited, 0) + coalesce((
                    select sum(amount) from postings p, fold_watermark w
                     where p.credit = a.ledger_account_id and p.xid >= w.xid), 0))::bigint as "credited!"
             from ledger_accounts a left join folds f using (ledger_account_id)
            where a.kind = $1 and a.owner = $2 and a.currency = $3"#,
        account.kind.as_str(),
        account.owner,
        USD,
    )
    .fetch_optional(conn)
    .await?;
    Ok(found.unwrap_or_default())
}

/// What one account has turned over of a coin, debited and credited. Read from the postings themselves.
///
/// # Errors
/// When the database call fails.
pub async fn coin_turnover(
    conn: &mut PgConnection,
    account: LedgerAccount,
    coin: &Coin,
) -> Result<(TokenAmount, TokenAmount), sqlx::Error> {
    let row = sqlx::query!(
        r#"select coalesce(sum(p.amount) filter (where p.debit = a.ledger_account_id), 0)::text as "debited!",
                  coalesce(sum(p.amount) filter (where p.credit = a.ledger_account_id), 0)::text as "credited!"
             from ledger_accounts a join postings p on a.ledger_account_id in (p.debit, p.credit)
            where a.kind = $1 and a.owner = $2 and a.currency = $3"#,
        account.kind.as_str(),
        account.owner,
        coin.to_string(),
    )
    .fetch_one(conn)
    .await?;
    Ok((row.debited.parse().map_err(corrupt)?, row.credited.parse().map_err(corrupt)?))
}

/// What a cause was booked with, all postings of it together; `None` when it was not booked.
pub(crate) async fn find_booked(
    conn: &mut PgConnection,
    cause: &Cause,
) -> Result<Option<(String, TokenAmount)>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select p.currency, sum(p.amount)::text as "amount!" from transfers t join postings p using (transfer_id)
            where t.cause_kind = $1 and t.cause_id = $2 group by p.currency"#,
        cause.kind(),
        cause.to_string(),
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| Ok((row.currency, row.amount.parse().map_err(corrupt)?))).transpose()
}

/// Whether an epoch is booked in tokens and not in dollars yet: its position has one side only.
pub(crate) async fn is_crossing(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from transfers t where t.cause_kind = 'epoch_tokens' and not exists (
                    select from transfers d where d.cause_kind = 'epoch' and d.cause_id = t.cause_id)) as "is!""#
    )
    .fetch_one(conn)
    .await
}

/// What the dearest of the last transactions cost, in wei; `None` before the first.
pub(crate) async fn find_dearest(conn: &mut PgConnection, looked_at: i64) -> Result<Option<TokenAmount>, sqlx::Error> {
    let dearest = sqlx::query_scalar!(
        "select max(p.amount)::text
           from (select transfer_id from transfers where cause_kind = 'gas' order by transfer_id desc limit $1) t
           join postings p using (transfer_id)",
        looked_at,
    )
    .fetch_one(conn)
    .await?;
    dearest.map(|dearest| dearest.parse().map_err(corrupt)).transpose()
}

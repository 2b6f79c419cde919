//! The lines of the processor's own account, and the transfers they stand for.

use protocol::Timestamp;
use sqlx::PgConnection;

use crate::ledger::Cause;

/// A movement of the processor's own account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The processor's name for it.
    pub id: String,
    /// Its type there.
    pub kind: String,
    /// The line of its reports that it is added to.
    pub category: String,
    /// What it is of.
    pub source: Option<String>,
    /// In lower case.
    pub currency: String,
    /// Below zero when money goes.
    pub amount_cents: i64,
    /// What the processor kept beside it.
    pub fee_cents: i64,
    /// When it moved.
    pub created_at: Timestamp,
}

/// How the processor's account stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Lines past their time without a transfer.
    pub late: i64,
    /// The first of them.
    pub oldest: Option<Timestamp>,
    /// What all lines add up to, in nano-USD.
    pub theirs: i64,
}

/// Stores a line unless it was. Returns how many are new.
pub(crate) async fn insert(conn: &mut PgConnection, line: &Line, now: Timestamp) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "insert into stripe_balance_txns (txn_id, kind, category, source, currency, amount_cents, fee_cents, created_at,
                                          look_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict do nothing",
        line.id,
        line.kind,
        line.category,
        line.source,
        line.currency,
        line.amount_cents,
        line.fee_cents,
        line.created_at as Timestamp,
        now as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Lines whose transfer is to be looked for by `due`, oldest first: what goes back comes after what came.
pub(crate) async fn list_open(conn: &mut PgConnection, due: Timestamp, limit: i64) -> Result<Vec<Line>, sqlx::Error> {
    sqlx::query_as!(
        Line,
        r#"select txn_id as id, kind, category, source, currency, amount_cents, fee_cents,
                  created_at as "created_at: Timestamp"
             from stripe_balance_txns where look_at <= $1 order by created_at, txn_id limit $2"#,
        due as Timestamp,
        limit,
    )
    .fetch_all(conn)
    .await
}

/// Lines without a transfer, oldest first.
///
/// # Errors
/// When the database call fails.
pub async fn list_unmatched(conn: &mut PgConnection, limit: i64) -> Result<Vec<Line>, sqlx::Error> {
    sqlx::query_as!(
        Line,
        r#"select txn_id as id, kind, category, source, currency, amount_cents, fee_cents,
                  created_at as "created_at: Timestamp"
             from stripe_balance_txns where cause_kind is null order by created_at, txn_id limit $1"#,
        limit,
    )
    .fetch_all(conn)
    .await
}

/// Makes every line without a transfer due.
pub(crate) async fn look_now(conn: &mut PgConnection, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!("update stripe_balance_txns set look_at = $1 where look_at > $1", now as Timestamp)
        .execute(conn)
        .await?;
    Ok(())
}

/// Leaves a line for later.
pub(crate) async fn put_off(conn: &mut PgConnection, id: &str, until: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update stripe_balance_txns set look_at = $2 where txn_id = $1 and look_at is not null",
        id,
        until as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The payment a charge brought.
pub(crate) async fn find_payment(conn: &mut PgConnection, charge: &str) -> Result<Option<String>, sqlx::Error> {
    let found =
        sqlx::query_scalar!("select payment_intent from topups where charge_id = $1 and state = 'paid'", charge)
            .fetch_optional(conn)
            .await?;
    Ok(found.flatten())
}

/// Ties a line to a transfer that is booked, has no other line, and moved, with the fee booked for the line, just what
/// the line did. False when there is none.
pub(crate) async fn tie(conn: &mut PgConnection, id: &str, cause: &Cause) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "with moved as (
           select sum(case when d.kind = 'stripe_clearing' then p.amount else 0 end
                    - case when c.kind = 'stripe_clearing' then p.amount else 0 end) as amount
             from transfers t join postings p using (transfer_id)
             join ledger_accounts d on d.ledger_account_id = p.debit
             join ledger_accounts c on c.ledger_account_id = p.credit
            where (t.cause_kind, t.cause_id) in (($2, $3), ('stripe.balance_txn', $1)))
         update stripe_balance_txns l set cause_kind = $2, cause_id = $3, look_at = null
           from moved
          where l.txn_id = $1 and l.cause_kind is null and moved.amount = (l.amount_cents - l.fee_cents) * 10000000
            and exists (select from transfers where cause_kind = $2 and cause_id = $3)
            and not exists (select from stripe_balance_txns where cause_kind = $2 and cause_id = $3)",
        id,
        cause.kind(),
        cause.to_string(),
    )
    .execute(&mut *conn)
    .await?;
    if done.rows_affected() == 1 {
        return Ok(true);
    }
    // Tied before, as by another replica.
    sqlx::query_scalar!(
        r#"select exists (select from stripe_balance_txns where txn_id = $1 and cause_kind = $2 and cause_id = $3)
               as "tied!""#,
        id,
        cause.kind(),
        cause.to_string(),
    )
    .fetch_one(conn)
    .await
}

/// How things stand. Lines of refunds under way are not late: their transfer comes with their outcome.
pub(crate) async fn standing(conn: &mut PgConnection, late: Timestamp) -> Result<Standing, sqlx::Error> {
    sqlx::query_as!(
        Standing,
        r#"with late as (
             select l.created_at from stripe_balance_txns l
              where l.cause_kind is null and l.created_at < $1
                and not exists (select from refund_intents r where r.refund_id = l.source and r.state = 'sent'))
           select count(*) as "late!", min(created_at) as "oldest: Timestamp",
                  (select coalesce(sum(amount_cents - fee_cents), 0) * 10000000 from stripe_balance_txns
                    where currency = 'usd')::bigint as "theirs!" from late"#,
        late as Timestamp,
    )
    .fetch_one(conn)
    .await
}

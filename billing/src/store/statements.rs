//! What a month's statement says, read from the books, and how far the statements of a month are.

use protocol::{OrganizationId, SignedNanoUsd, Timestamp};
use sqlx::PgConnection;
use uuid::Uuid;

use super::usage::{self, Split, UsageFilter, Width};
use crate::calendar::Month;
use crate::document::Statement;

/// Bookings of usage; what they come to is told by the usage itself.
const SETTLE: &str = "settle";

/// What came to an organization, or went, on one day for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movement {
    /// The day's beginning.
    pub day: Timestamp,
    /// Why, such as `payment`.
    pub kind: String,
    /// How much; below zero what went.
    pub amount: SignedNanoUsd,
}

/// Why money moved, as customers are told: causes are stored with where they came from before a point.
#[must_use]
pub fn reason(cause_kind: &str) -> &str {
    match cause_kind {
        SETTLE => "usage",
        other => other.rsplit('.').next().unwrap_or(other),
    }
}

/// What there is to state of a month; `None` when usage and its bookings differ. The caller's transaction sees one
/// snapshot.
pub(crate) async fn read(
    conn: &mut PgConnection,
    account: OrganizationId,
    month: Month,
) -> Result<Option<Statement>, sqlx::Error> {
    // Credit and debt are one balance to a customer: what moves between them is not told.
    let rows = sqlx::query!(
        r#"with own as (
             select ledger_account_id as id from ledger_accounts
              where owner = $1 and kind in ('credits', 'receivable') and currency = 'USD'),
           changes as (
             select transfer_id, amount as change from postings where credit in (select id from own)
             union all
             select transfer_id, -amount from postings where debit in (select id from own))
           select case when t.booked_at >= $2 then date_trunc('day', t.booked_at, 'UTC') end as "day: Timestamp",
                  case when t.booked_at >= $2 then t.cause_kind end as cause_kind,
                  sum(change)::bigint as "amount!: SignedNanoUsd"
             from changes join transfers t using (transfer_id)
            where t.booked_at < $3
            group by 1, 2 having sum(change) <> 0"#,
        uuid_of(account),
        month.starts_at() as Timestamp,
        month.ends_at() as Timestamp,
    )
    .fetch_all(&mut *conn)
    .await?;
    let filter = UsageFilter {
        organization: account,
        from: month.starts_at(),
        to: month.ends_at(),
        projects: Vec::new(),
        keys: Vec::new(),
        models: None,
        except: Vec::new(),
    };
    let split = Split { project: true, key: true, model: true };
    let mut statement = Statement {
        account,
        month,
        opening: SignedNanoUsd::ZERO,
        movements: Vec::new(),
        usage: usage::sums(conn, &filter, Width::Day, split).await?,
    };
    let mut booked = 0;
    for row in rows {
        match (row.day, row.cause_kind) {
            (Some(_), Some(kind)) if kind == SETTLE => booked -= row.amount.nano(),
            (Some(day), Some(kind)) => {
                let kind = reason(&kind).to_owned();
                statement.movements.push(Movement { day, kind, amount: row.amount });
            }
            _ => statement.opening = row.amount,
        }
    }
    // Not by the database's collation: another server must build the same bytes.
    statement.movements.sort_by(|a, b| (a.day, &a.kind).cmp(&(b.day, &b.kind)));
    statement
        .usage
        .sort_by(|a, b| (a.starts_at, a.project, a.key, &a.model).cmp(&(b.starts_at, b.project, b.key, &b.model)));
    Ok((statement.used().nano() == booked).then_some(statement))
}

fn uuid_of(account: OrganizationId) -> Uuid {
    protocol::Id::uuid(account)
}

/// The oldest month that is not stated for everybody, and up to which account it is.
pub(crate) async fn find_unfinished(conn: &mut PgConnection) -> Result<Option<(Month, Uuid)>, sqlx::Error> {
    let query =
        sqlx::query!("select month, upto from statement_months where finished_at is null order by month limit 1");
    let found = query.fetch_optional(conn).await?;
    found.map(|row| Ok((month(&row.month)?, row.upto))).transpose()
}

/// The month after those that were begun; at first the one in which the first account was opened.
pub(crate) async fn find_next_month(conn: &mut PgConnection) -> Result<Option<Month>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select (select max(month) from statement_months) as last,
                  (select min(opened_at) from accounts) as "first: Timestamp""#,
    )
    .fetch_one(conn)
    .await?;
    match (row.last, row.first) {
        (Some(last), _) => Ok(Some(month(&last)?.next())),
        (None, first) => Ok(first.map(Month::of)),
    }
}

/// Begins a month.
pub(crate) async fn begin(conn: &mut PgConnection, month: Month) -> Result<(), sqlx::Error> {
    sqlx::query!("insert into statement_months (month) values ($1) on conflict do nothing", month.to_string())
        .execute(conn)
        .await?;
    Ok(())
}

/// The account after another.
pub(crate) async fn find_next_account(
    conn: &mut PgConnection,
    upto: Uuid,
) -> Result<Option<OrganizationId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select account_id as "account: OrganizationId" from accounts where account_id > $1 order by account_id limit 1"#,
        upto,
    )
    .fetch_optional(conn)
    .await
}

/// Moves a month from one account to the next. False when it is elsewhere by now.
pub(crate) async fn advance(
    conn: &mut PgConnection,
    month: Month,
    from: Uuid,
    to: OrganizationId,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update statement_months set upto = $3 where month = $1 and upto = $2 and finished_at is null",
        month.to_string(),
        from,
        to as OrganizationId,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends a month.
pub(crate) async fn finish(conn: &mut PgConnection, month: Month, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update statement_months set finished_at = $2 where month = $1 and finished_at is null",
        month.to_string(),
        now as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

fn month(text: &str) -> Result<Month, sqlx::Error> {
    text.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

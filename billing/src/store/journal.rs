//! An organization's lines of the journal, as it may take them home.

use protocol::{Id as _, OrganizationId, SignedNanoUsd, Timestamp, TransferId};
use sqlx::PgConnection;

/// Which line of which transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The transfer.
    pub transfer: TransferId,
    /// Its line.
    pub line: i32,
}

/// A booking that changed what an organization has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalLine {
    /// Which.
    pub place: Place,
    /// When it was booked.
    pub booked_at: Timestamp,
    /// Why, as stored.
    pub cause_kind: String,
    /// The kind of account on its other side.
    pub counter: String,
    /// What came, or below zero what went.
    pub amount: SignedNanoUsd,
    /// What the organization had then; below zero what it owed.
    pub balance: SignedNanoUsd,
}

/// Bookings of an organization after one of them, oldest first, with the balance after each. Credit and debt are one
/// balance: what moves between them is no line. `None` when that one is not its own.
///
/// Lines are in the order of their transactions, as far as all of those have ended: a line never appears before one
/// that was read.
///
/// # Errors
/// When a database call fails.
pub async fn list(
    conn: &mut PgConnection,
    account: OrganizationId,
    after: Option<Place>,
    limit: i64,
) -> Result<Option<Vec<JournalLine>>, sqlx::Error> {
    let mut balance = 0;
    let mut from = "0".to_owned();
    if let Some(place) = after {
        let before = sqlx::query!(
            r#"with own as (
                 select ledger_account_id as id from ledger_accounts
                  where owner = $1 and kind in ('credits', 'receivable') and currency = 'USD'),
               place as (
                 select xid, transfer_id, line from postings
                  where transfer_id = $2 and line = $3
                    and (debit in (select id from own) or credit in (select id from own)))
               select place.xid::text as "xid!",
                      (select coalesce(sum(change), 0) from (
                         select p.amount as change from postings p
                          where p.credit in (select id from own) and p.xid <= place.xid
                            and (p.xid, p.transfer_id, p.line) <= (place.xid, place.transfer_id, place.line)
                         union all
                         select -p.amount from postings p
                          where p.debit in (select id from own) and p.xid <= place.xid
                            and (p.xid, p.transfer_id, p.line) <= (place.xid, place.transfer_id, place.line)
                       ) changes)::bigint as "balance!"
                 from place"#,
            account.uuid(),
            place.transfer as TransferId,
            place.line,
        )
        .fetch_optional(&mut *conn)
        .await?;
        let Some(before) = before else { return Ok(None) };
        (from, balance) = (before.xid, before.balance);
    }
    let rows = sqlx::query!(
        r#"with own as (
             select ledger_account_id as id from ledger_accounts
              where owner = $1 and kind in ('credits', 'receivable') and currency = 'USD'),
           sides as (
             select xid, transfer_id, line, amount as change, debit as counter from postings
              where credit in (select id from own) and xid >= $2::text::xid8
                and xid < pg_snapshot_xmin(pg_current_snapshot())
             union all
             select xid, transfer_id, line, -amount, credit from postings
              where debit in (select id from own) and xid >= $2::text::xid8
                and xid < pg_snapshot_xmin(pg_current_snapshot())),
           page as (
             select * from sides
              where counter not in (select id from own)
                and ($3::uuid is null or (xid, transfer_id, line) > ($2::text::xid8, $3, $4))
              order by xid, transfer_id, line limit $5)
           select page.transfer_id as "transfer!: TransferId", page.line as "line!", page.change::bigint as "change!",
                  t.cause_kind, t.booked_at as "booked_at: Timestamp", a.kind as counter
             from page join transfers t using (transfer_id)
             join ledger_accounts a on a.ledger_account_id = page.counter
            order by page.xid, page.transfer_id, page.line"#,
        account.uuid(),
        from,
        after.map(|place| place.transfer) as Option<TransferId>,
        after.map_or(0, |place| place.line),
        limit,
    )
    .fetch_all(conn)
    .await?;
    let lines = rows.into_iter().map(|row| {
        balance += row.change;
        JournalLine {
            place: Place { transfer: row.transfer, line: row.line },
            booked_at: row.booked_at,
            cause_kind: row.cause_kind,
            counter: row.counter,
            amount: SignedNanoUsd::new(row.change),
            balance: SignedNanoUsd::new(balance),
        }
    });
    Ok(Some(lines.collect()))
}

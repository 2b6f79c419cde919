//! What moved an account's credit, line by line.

use protocol::{OrganizationId, SignedNanoUsd, Timestamp};
use sqlx::PgConnection;

use crate::history::{Entry, EntryId, Kind};

/// Lines of an account, newest first, of those before `before`, each with the balance after it.
///
/// Usage is one line for a UTC day, at its last moment: then the balance is never below zero in between. A balance is
/// the sum of all lines up to it; there are few lines but for days, and those of usage are added up by hours already.
///
/// # Errors
/// When the database call fails.
pub async fn list(
    conn: &mut PgConnection,
    account: OrganizationId,
    before: Option<&EntryId>,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<Entry>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"with mark as materialized (select xid from fold_watermark),
           moves as (
             select transfer_id, line, amount_nano_usd as amount, other from credit_moves where account_id = $1
             union all
             select transfer_id, line, amount::bigint, other from credit_lines
              where account_id = $1 and xid >= (select xid from mark)),
           days as (
             select date_trunc('day', at, 'UTC') as day, sum(charge)::bigint as charge from (
               select hour as at, charge_nano_usd as charge from usage_hours where account_id = $1
               union all
               select settled_at, charge_nano_usd from usage u
                where u.account_id = $1 and u.xid >= (select xid from mark)) charges
              group by 1),
           lines as (
             select 'txn_' || replace(m.transfer_id::text, '-', '') || '-' || m.line as id,
                    -- The id of a late booking is its flush's, turned over.
                    minted_at(case when t.cause_kind = 'late' then right(t.cause_id, 32)::uuid
                                   else m.transfer_id end) as at,
                    -- Ids of one millisecond are in no order.
                    t.booked_at as booked, m.amount, t.cause_kind as cause, m.other,
                    case t.cause_kind when 'stripe.payment' then 'topup_' || replace(o.topup_id::text, '-', '')
                                      when 'stripe.refund' then split_part(t.cause_id, '/', 1) end as source
               from moves m join transfers t using (transfer_id)
               left join topups o on t.cause_kind = 'stripe.payment' and o.payment_intent = t.cause_id
             union all
             select 'usage-' || to_char(day at time zone 'UTC', 'YYYY-MM-DD'),
                    day + interval '1 day' - interval '1 microsecond', day, -charge, 'settle', 'revenue', null
               from days where charge > 0),
           summed as (select l.*, (sum(amount) over (order by at, booked, id))::bigint as balance from lines l)
           select id as "id!", at as "at!: Timestamp", amount as "amount!: SignedNanoUsd", cause as "cause!",
                  other as "other!", source, balance as "balance!: SignedNanoUsd"
             from summed
            where $2::text is null or (at, booked, id) < (select l.at, l.booked, l.id from lines l where l.id = $2)
            order by at desc, booked desc, id desc limit $3"#,
        account as OrganizationId,
        before.map(EntryId::as_str),
        limit,
    )
    .fetch_all(conn)
    .await?;
    let entries = rows.into_iter().map(|row| Entry {
        kind: Kind::of(&row.cause, &row.other),
        id: EntryId::from_stored(row.id),
        amount: row.amount,
        balance: row.balance,
        source: row.source,
        // Today's usage counts up to now.
        at: row.at.min(now),
    });
    Ok(entries.collect())
}

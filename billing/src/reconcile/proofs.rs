//! Receipts are what attempts earned, and payouts what receipts come to.

use sqlx::PgConnection;

use super::{Check, Report};

/// Runs the checks.
pub(super) async fn check(conn: &mut PgConnection, report: &mut Report) -> Result<(), sqlx::Error> {
    receipts(conn, report).await?;
    payouts(conn, report).await
}

async fn receipts(conn: &mut PgConnection, report: &mut Report) -> Result<(), sqlx::Error> {
    check!(conn, report, "every receipt is what its attempt earned",
        count "select count(*) from receipts",
        differ "select 'receipt of ' || x.attempt_id || ' says ' || x.net_nano_usd || ', earned were '
                       || coalesce(a.earn_nano_usd + a.reread_nano_usd, 0)
                  from receipts x left join attempts a using (attempt_id)
                 where a.attempt_id is null or x.net_nano_usd <> a.earn_nano_usd + a.reread_nano_usd
                    or (x.receipt ->> 'net')::numeric * 1000000000 <> x.net_nano_usd limit 100");
    // What comes late has its receipt with the next sweep: an hour is several of them.
    check!(conn, report, "every attempt behind the cursor has its receipt",
        count "select count(*) from attempts a, receipt_cursor c where a.attempt_id <= c.upto",
        differ "with swept as (select max(issued_at) - interval '1 hour' as at from receipts)
                select 'attempt ' || a.attempt_id || ' has no receipt'
                  from receipt_cursor c, swept, attempts a join usage u using (request_id)
                 where a.attempt_id <= c.upto and u.settled_at < swept.at
                   and not exists (select from receipts x where x.attempt_id = a.attempt_id) limit 100");
    Ok(())
}

async fn payouts(conn: &mut PgConnection, report: &mut Report) -> Result<(), sqlx::Error> {
    check!(conn, report, "no provider's sum of tokens ever falls",
        count "select count(*) from statements where document is not null",
        differ "with sums as (
                  select provider_id, epoch, cumulative,
                         lag(cumulative) over (partition by provider_id order by epoch) as before
                    from statements where document is not null)
                select 'provider ' || provider_id || ' falls from ' || before || ' to ' || cumulative || ' in epoch ' || epoch
                  from sums where cumulative < before limit 100");
    check!(conn, report, "the leaves of every epoch are its total",
        count "select count(*) from epochs where manifest is not null",
        differ "with told as (select epoch, (manifest ->> 'total')::numeric as total from epochs where manifest is not null),
                leaves as (
                  select distinct on (t.epoch, s.provider_id) t.epoch, s.provider_id, s.cumulative
                    from told t join statements s on s.epoch <= t.epoch and s.payee is not null
                   order by t.epoch, s.provider_id, s.epoch desc),
                sums as (select epoch, sum(cumulative) as total from leaves group by epoch)
                select 'epoch ' || t.epoch || ' says ' || t.total || ', its leaves are ' || coalesce(s.total, 0)
                  from told t left join sums s using (epoch) where t.total <> coalesce(s.total, 0) limit 100");
    check!(conn, report, "every statement is the sum of its receipts",
        count "select count(*) from statement_items",
        differ "with sums as (
                  select i.epoch, i.provider_id, sum(x.net_nano_usd) as net, count(*) as receipts
                    from statement_items i join receipts x using (attempt_id) group by i.epoch, i.provider_id)
                select 'epoch ' || s.epoch || ' owes ' || s.provider_id || ' otherwise than its receipts say'
                  from statements s left join sums using (epoch, provider_id)
                 where s.document is not null
                   and ((s.document ->> 'released')::numeric * 1000000000 <> coalesce(sums.net, 0)
                        or (s.document ->> 'receipts')::bigint <> coalesce(sums.receipts, 0)) limit 100");
    check!(conn, report, "what active epochs turned into tokens is booked",
        count "select count(*) from epochs where state = 'active'",
        differ "with used as (
                  select s.epoch, s.provider_id,
                         ((s.document ->> 'carried_in')::numeric + (s.document ->> 'released')::numeric
                          + (select coalesce(sum((a ->> 'amount')::numeric), 0)
                               from jsonb_array_elements(s.document -> 'adjustments') a)
                          - (s.document ->> 'carried_out')::numeric) * 1000000000 as amount
                    from statements s join epochs e using (epoch)
                   where e.state = 'active' and s.document ->> 'waiting' is null and s.document is not null),
                booked as (
                  select t.cause_id::bigint as epoch, d.owner as provider_id, sum(p.amount) as amount
                    from transfers t join postings p using (transfer_id)
                    join ledger_accounts d on d.ledger_account_id = p.debit
                   where t.cause_kind = 'epoch' group by 1, 2)
                select 'epoch ' || epoch || ' used ' || coalesce(u.amount, 0) || ' of what is owed to ' || provider_id
                       || ', booked are ' || coalesce(b.amount, 0)
                  from used u full join booked b using (epoch, provider_id)
                 where coalesce(u.amount, 0) <> coalesce(b.amount, 0) limit 100");
    Ok(())
}

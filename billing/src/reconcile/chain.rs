//! What the chain told is what the books say, and nonces are given one after the other.

use sqlx::PgConnection;

use super::{Check, Report};

/// Runs the checks.
pub(super) async fn check(conn: &mut PgConnection, report: &mut Report) -> Result<(), sqlx::Error> {
    check!(conn, report, "the tokens of every tree on the chain are booked",
        count "select count(*) from chain_logs where kind = 'activated' and booked_at is not null",
        differ "with owed as (
                  select s.epoch, s.provider_id, (s.document ->> 'tokens')::numeric as amount
                    from chain_logs l join epochs e on e.proposal = l.number
                     and e.manifest ->> 'leaves_root' = l.fact ->> 'root'
                    join statements s using (epoch)
                   where l.kind = 'activated' and l.booked_at is not null and (s.document ->> 'tokens')::numeric > 0),
                booked as (
                  select t.cause_id::bigint as epoch, c.owner as provider_id, sum(p.amount) as amount
                    from transfers t join postings p using (transfer_id)
                    join ledger_accounts c on c.ledger_account_id = p.credit
                   where t.cause_kind = 'epoch_tokens' group by 1, 2)
                select 'epoch ' || epoch || ' owes ' || provider_id || ' ' || coalesce(o.amount, 0)
                       || ' base units, booked are ' || coalesce(b.amount, 0)
                  from owed o full join booked b using (epoch, provider_id)
                 where coalesce(o.amount, 0) <> coalesce(b.amount, 0) limit 100");
    check!(conn, report, "every claim and every funding on the chain is booked once",
        count "select count(*) from chain_logs where kind in ('claimed', 'funded') and booked_at is not null",
        differ "with told as (
                  select '0x' || encode(tx_hash, 'hex') || '/' || log_index as cause, (fact ->> 'amount')::numeric as amount
                    from chain_logs where kind in ('claimed', 'funded') and booked_at is not null),
                booked as (
                  select t.cause_id as cause, sum(p.amount) as amount
                    from transfers t join postings p using (transfer_id) where t.cause_kind = 'chain' group by 1)
                select 'log ' || cause || ' moved ' || coalesce(t.amount, 0) || ', booked are ' || coalesce(b.amount, 0)
                  from told t full join booked b using (cause)
                 where coalesce(t.amount, 0) <> coalesce(b.amount, 0) limit 100");
    check!(conn, report, "no coin was spent that did not come in",
        count "select count(*) from ledger_accounts where kind in ('treasury', 'distributor', 'gas_wallet')",
        differ "select a.kind || ' has '
                       || sum(case when p.debit = a.ledger_account_id then p.amount else -p.amount end) || ' ' || a.currency
                  from ledger_accounts a join postings p on a.ledger_account_id in (p.debit, p.credit)
                 where a.kind in ('treasury', 'distributor', 'gas_wallet') group by a.kind, a.currency
                having sum(case when p.debit = a.ledger_account_id then p.amount else -p.amount end) < 0 limit 100");
    check!(conn, report, "what coins were worth at the end of months is booked",
        count "select count(*) from valuations",
        differ "with valued as (
                  select month || '/' || currency || '/' || round || '/dollars' as cause, undone_at,
                         spent_nano_usd + abs(worth_nano_usd - cost_nano_usd + spent_nano_usd) as amount
                    from valuations),
                told as (
                  select 'valuation' as kind, cause, amount from valued
                  union all
                  select 'valuation_undone', cause, amount from valued where undone_at is not null),
                booked as (
                  select t.cause_kind as kind, t.cause_id as cause, sum(p.amount) as amount
                    from transfers t join postings p using (transfer_id)
                   where t.cause_kind in ('valuation', 'valuation_undone') and t.cause_id like '%/dollars' group by 1, 2)
                select kind || ' ' || cause || ' moves ' || coalesce(t.amount, 0) || ', booked are '
                       || coalesce(b.amount, 0)
                  from told t full join booked b using (kind, cause)
                 where coalesce(t.amount, 0) <> coalesce(b.amount, 0) limit 100");
    check!(conn, report, "no nonce is left out",
        count "select count(*) from chain_nonces",
        differ "with given as (
                  select chain_id, signer, nonce, lag(nonce) over (partition by chain_id, signer order by nonce) as before
                    from chain_nonces)
                select 'after nonce ' || before || ' of 0x' || encode(signer, 'hex') || ' comes ' || nonce
                  from given where nonce <> before + 1 limit 100");
    Ok(())
}

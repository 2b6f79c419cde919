//! Credit bought by card is in the books as it was paid.

use sqlx::PgConnection;

use super::{Check, Report};

/// Payments, refunds and disputes are the same money here and there.
pub(super) async fn check(conn: &mut PgConnection, report: &mut Report) -> Result<(), sqlx::Error> {
    check!(conn, report, "every top-up that was paid is booked with its tax, and no other payment is",
        count "select count(*) from topups where state = 'paid'",
        differ "with booked as (
                  select t.cause_id as payment, sum(p.amount) as amount from transfers t
                    join postings p using (transfer_id)
                    join ledger_accounts d on d.ledger_account_id = p.debit
                   where t.cause_kind = 'stripe.payment' and d.kind = 'stripe_clearing' group by t.cause_id)
                select 'payment ' || coalesce(o.payment_intent, b.payment) || ' brought '
                       || coalesce(o.amount_nano_usd + o.tax_nano_usd, 0) || ' and is booked with ' || coalesce(b.amount, 0)
                  from (select * from topups where state = 'paid') o full join booked b on b.payment = o.payment_intent
                 where o.amount_nano_usd + o.tax_nano_usd is distinct from b.amount limit 100");
    check!(conn, report, "money on its way to cards is what refunds under way have taken",
        count "select count(*) from refund_intents",
        differ "with booked as (
                  select coalesce(sum(case when a.ledger_account_id = p.credit then p.amount else -p.amount end), 0) as amount
                    from ledger_accounts a
                    join postings p on p.credit = a.ledger_account_id or p.debit = a.ledger_account_id
                   where a.kind = 'refunds_in_flight'),
                taken as (
                  select coalesce(sum(credit_nano_usd + tax_nano_usd), 0) as amount from refund_intents
                   where state in ('open', 'sent'))
                select 'refunds under way have taken ' || t.amount || ', booked are ' || b.amount
                  from booked b, taken t where b.amount <> t.amount");
    check!(conn, report, "what disputes hold is booked, and the credit they have is that of their grants",
        count "select count(*) from disputes",
        differ "with booked as (
                  select coalesce(sum(case when p.debit = a.ledger_account_id then p.amount else -p.amount end), 0) as amount
                    from ledger_accounts a
                    join postings p on p.credit = a.ledger_account_id or p.debit = a.ledger_account_id
                   where a.kind = 'dispute_receivable'),
                held as (
                  select coalesce(sum(withdrawn_nano_usd - reinstated_nano_usd - taken_nano_usd - lost_nano_usd), 0) as amount
                    from disputes)
                select 'disputes have taken ' || h.amount || ' for now, booked are ' || b.amount
                  from booked b, held h where b.amount <> h.amount
                union all
                select 'grant ' || g.grant_id || ' has ' || g.disputed_nano_usd || ' disputed, its disputes have '
                       || coalesce(sum(d.frozen_nano_usd + d.taken_nano_usd), 0)
                  from grants g left join disputes d using (grant_id) group by g.grant_id
                having g.disputed_nano_usd <> coalesce(sum(d.frozen_nano_usd + d.taken_nano_usd), 0)
                limit 100");
    check!(conn, report, "lines of the card processor's account moved what their transfers did",
        count "select count(*) from stripe_balance_txns where cause_kind is not null",
        differ "with moved as (
                  select l.txn_id, (l.amount_cents - l.fee_cents) * 10000000 as theirs,
                         sum(case when d.kind = 'stripe_clearing' then p.amount else 0 end
                           - case when c.kind = 'stripe_clearing' then p.amount else 0 end) as ours
                    from stripe_balance_txns l
                    join transfers t on (t.cause_kind, t.cause_id) in ((l.cause_kind, l.cause_id),
                                                                       ('stripe.balance_txn', l.txn_id))
                    join postings p using (transfer_id)
                    join ledger_accounts d on d.ledger_account_id = p.debit
                    join ledger_accounts c on c.ledger_account_id = p.credit
                   where l.cause_kind is not null group by l.txn_id)
                select 'line ' || txn_id || ' moved ' || theirs || ', its transfer ' || ours from moved
                 where theirs <> ours limit 100");
    Ok(())
}

//! Credit bought by card is in the books as it was paid.

use sqlx::PgConnection;

use super::{Check, Report};

/// Payments and refunds are the same money here and there.
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
    Ok(())
}

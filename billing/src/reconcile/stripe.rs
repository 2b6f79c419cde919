//! The processor's own account and the books tell the same story, line by line.

use sqlx::PgConnection;

use super::{Check, Report};

/// What is younger than a day may not have been told yet. The clock is what was read last, not the time now: what was
/// not read proves nothing.
pub(super) async fn check(conn: &mut PgConnection, report: &mut Report) -> Result<(), sqlx::Error> {
    check!(conn, report, "every line of the card processor's account older than a day stands for a transfer",
        count "select count(*) from stripe_balance_txns",
        differ "select 'line ' || l.txn_id || ' (' || l.kind || ' of ' || coalesce(l.source, 'nothing') || ') moved '
                       || l.amount_cents - l.fee_cents || ' cents (' || l.currency || ') on ' || l.created_at
                       || ' and has no transfer'
                  from stripe_balance_txns l, stripe_cursors read
                 where read.list = 'balance_transactions' and l.cause_kind is null and l.created_at < read.upto - interval '1 day'
                   and not exists (select from refund_intents r where r.refund_id = l.source and r.state = 'sent')
                 order by l.created_at limit 100");
    check!(conn, report, "every transfer of card money older than a day is a line of the card processor's account",
        count "select count(*) from transfers where cause_kind like 'stripe.%'",
        differ "select 'transfer ' || t.cause_kind || ' ' || t.cause_id || ' is no line over there'
                  from transfers t, stripe_cursors read
                 where read.list = 'balance_transactions' and t.cause_kind like 'stripe.%' and t.booked_at < read.upto - interval '1 day'
                   and exists (
                     select from postings p join ledger_accounts a on a.ledger_account_id in (p.debit, p.credit)
                      where p.transfer_id = t.transfer_id and a.kind = 'stripe_clearing')
                   and not exists (
                     select from stripe_balance_txns l
                      where (l.cause_kind, l.cause_id) = (t.cause_kind, t.cause_id)
                         or (t.cause_kind = 'stripe.balance_txn' and l.txn_id = t.cause_id))
                 order by t.booked_at limit 100");
    Ok(())
}

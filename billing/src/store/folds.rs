//! Postings, usage and how attempts ended, added up as far as every transaction below a watermark has ended; and
//! what of limits that usage has reached.

use sqlx::PgConnection;

/// Adds what has become visible since the last fold to balances, what moved credit, hourly usage and offers' minutes. Run it in
/// a transaction of its own; two at once wait for each other.
///
/// A row carries the id of its transaction. Below the oldest one still running, nothing can appear any
/// more, so each row is folded exactly once however commits interleave.
pub(crate) async fn fold(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    let marks = sqlx::query!(
        r#"select xid::text as "from!", pg_snapshot_xmin(pg_current_snapshot())::text as "upto!"
             from fold_watermark for update"#,
    )
    .fetch_one(&mut *conn)
    .await?;
    sqlx::query!(
        "insert into folds (ledger_account_id, debited, credited)
         select account, sum(debited), sum(credited) from (
           select debit as account, amount as debited, 0 as credited from postings
            where xid >= $1::text::xid8 and xid < $2::text::xid8
           union all
           select credit, 0, amount from postings where xid >= $1::text::xid8 and xid < $2::text::xid8) lines
         group by account
         on conflict (ledger_account_id) do update
           set debited = folds.debited + excluded.debited, credited = folds.credited + excluded.credited",
        marks.from,
        marks.upto,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "insert into credit_moves (account_id, transfer_id, line, amount_nano_usd, other)
         select account_id, transfer_id, line, amount::bigint, other from credit_lines
          where xid >= $1::text::xid8 and xid < $2::text::xid8",
        marks.from,
        marks.upto,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "insert into usage_hours (hour, account_id, project_id, key_id, model, requests, prompt, cached_prompt,
                                  cache_write, completion, internal_reasoning, charge_nano_usd)
         select date_trunc('hour', settled_at, 'UTC'), account_id, project_id, key_id, model, count(*), sum(prompt),
                sum(cached_prompt), sum(cache_write), sum(completion), sum(internal_reasoning), sum(charge_nano_usd)
           from usage where xid >= $1::text::xid8 and xid < $2::text::xid8
          group by 1, 2, 3, 4, 5
         on conflict (hour, account_id, project_id, key_id, model) do update
           set requests = usage_hours.requests + excluded.requests,
               prompt = usage_hours.prompt + excluded.prompt,
               cached_prompt = usage_hours.cached_prompt + excluded.cached_prompt,
               cache_write = usage_hours.cache_write + excluded.cache_write,
               completion = usage_hours.completion + excluded.completion,
               internal_reasoning = usage_hours.internal_reasoning + excluded.internal_reasoning,
               charge_nano_usd = usage_hours.charge_nano_usd + excluded.charge_nano_usd",
        marks.from,
        marks.upto,
    )
    .execute(&mut *conn)
    .await?;
    super::uptime::fold(&mut *conn, &marks.from, &marks.upto).await?;
    super::alerts::notice(&mut *conn, &marks.from, &marks.upto).await?;
    sqlx::query!("update fold_watermark set xid = greatest(xid, $1::text::xid8)", marks.upto).execute(conn).await?;
    Ok(())
}

//! One statement that books a batch of settled requests, and what is done about those whose lease was gone.

use std::collections::HashSet;

use protocol::{FlushId, Id, LeaseId, NanoUsd, OrganizationId, RequestId, Timestamp, TransferId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::rows::{AttemptColumns, UsageColumns, UsageRow};
use super::transfers;
use crate::account::{AccountKind, LedgerAccount};
use crate::ledger::{Cause, Posting, Transfer, USD};

/// What a flush wrote.
#[derive(Debug, Default)]
pub(crate) struct Flushed {
    /// Requests this flush booked; the others were booked before.
    pub fresh: HashSet<RequestId>,
    /// Requests whose lease was closed, charged to the account instead.
    pub late: u64,
}

struct LateCharge {
    lease: LeaseId,
    account: OrganizationId,
    charge: i64,
    requests: i64,
}

/// Books rows that have different request ids: usage, attempts, what leases and limits spent, and postings.
/// Rows booked before change nothing. With `late`, their leases count as closed: whoever had them has taken the
/// money back into use. What is booked is dated as the usage is, so that both fall in the same month. Run it in a
/// transaction of its own.
pub(crate) async fn flush(
    conn: &mut PgConnection,
    flush: FlushId,
    rows: &[&UsageRow],
    settled_at: Timestamp,
    late: bool,
) -> Result<Flushed, sqlx::Error> {
    let (mut usage, mut attempts) = (UsageColumns::default(), AttemptColumns::default());
    for row in rows {
        usage.push(row);
        for (position, attempt) in (0..).zip(&row.attempts) {
            attempts.push(row.request, position, attempt);
        }
    }
    ensure_payables(conn, &attempts).await?;
    let found = write(conn, flush, &usage, &attempts, settled_at, late).await?;
    let mut flushed = Flushed::default();
    let (mut late, mut late_budgets) = (Vec::new(), Vec::new());
    for row in found {
        match row.what.as_str() {
            "fresh" => {
                flushed.fresh.insert(RequestId::from_uuid(row.id));
            }
            "late" => late.push(LateCharge {
                lease: LeaseId::from_uuid(row.id),
                account: OrganizationId::from_uuid(row.account_id.unwrap_or_default()),
                charge: row.charge,
                requests: row.requests,
            }),
            _ => late_budgets.push((LeaseId::from_uuid(row.id), row.charge)),
        }
    }
    if !late.is_empty() {
        flushed.late = late.iter().map(|l| l.requests.unsigned_abs()).sum();
        charge_accounts(conn, flush, &late).await?;
    }
    if !late_budgets.is_empty() {
        charge_windows(conn, &late_budgets).await?;
    }
    Ok(flushed)
}

/// Providers' ledger accounts come with their first attempt.
async fn ensure_payables(conn: &mut PgConnection, attempts: &AttemptColumns) -> Result<(), sqlx::Error> {
    let owners: HashSet<Uuid> = attempts.provider.iter().map(|provider| provider.uuid()).collect();
    let owners: Vec<Uuid> = owners.into_iter().collect();
    let missing = sqlx::query_scalar!(
        r#"select owner as "owner!" from unnest($1::uuid[]) as p (owner)
            where not exists (select from ledger_accounts a
                               where a.kind = 'payable' and a.owner = p.owner and a.currency = 'USD')"#,
        &owners,
    )
    .fetch_all(&mut *conn)
    .await?;
    if missing.is_empty() {
        return Ok(());
    }
    let kinds = vec![AccountKind::Payable.as_str().to_owned(); missing.len()];
    transfers::ensure(conn, &kinds, &missing, USD).await
}

struct Found {
    what: String,
    id: Uuid,
    account_id: Option<Uuid>,
    charge: i64,
    requests: i64,
}

async fn write(
    conn: &mut PgConnection,
    flush: FlushId,
    u: &UsageColumns,
    a: &AttemptColumns,
    settled_at: Timestamp,
    late: bool,
) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with fresh as (
             insert into usage (
               request_id, account_id, project_id, key_id, lease_id, key_lease_id, project_lease_id,
               organization_lease_id, outcome, hold_nano_usd, charge_nano_usd, clamped_nano_usd, prompt, cached_prompt,
               cache_write, completion, internal_reasoning, requests, model, streamed, finish_reason,
               native_finish_reason, received_at, first_output_at, finished_at, service_tier, routing, flush_id,
               settled_at)
             select r.*, $1, $2 from unnest(
               $3::uuid[], $4::uuid[], $5::uuid[], $6::uuid[], $7::uuid[], $8::uuid[], $9::uuid[],
               $10::uuid[], $11::text[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[],
               $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], $21::text[], $22::bool[], $23::text[],
               $24::text[], $25::timestamptz[], $26::timestamptz[], $27::timestamptz[], $55::text[], $56::jsonb[]) r (request_id)
              order by r.request_id
             on conflict (request_id) do nothing
             returning request_id, account_id, lease_id, key_lease_id, project_lease_id, organization_lease_id,
                       charge_nano_usd as charge),
           tried as (
             insert into attempts (
               attempt_id, request_id, position, provider_id, node_id, offer_id, price_version, outcome, cost_kind,
               earn_nano_usd, reread_nano_usd, counted_by, prompt, cached_prompt, cache_write, completion,
               internal_reasoning, requests, reread, status, error_code, started_at, first_output_at, finished_at,
               flush_id)
             select r.*, $1 from unnest(
               $28::uuid[], $29::uuid[], $30::int[], $31::uuid[], $32::uuid[], $33::uuid[], $34::int[], $35::text[],
               $36::text[], $37::bigint[], $38::bigint[], $39::text[], $40::bigint[], $41::bigint[], $42::bigint[],
               $43::bigint[], $44::bigint[], $45::bigint[], $46::bigint[], $47::int[], $48::text[],
               $49::timestamptz[], $50::timestamptz[], $51::timestamptz[]) r (attempt_id, request_id)
              where r.request_id in (select request_id from fresh) order by r.attempt_id
             on conflict (attempt_id) do nothing
             returning provider_id, cost_kind, earn_nano_usd, reread_nano_usd),
           due as (select lease_id, account_id, sum(charge)::bigint as charge, count(*) as requests
                     from fresh where lease_id is not null group by lease_id, account_id),
           locked as (
             select l.lease_id, due.charge from leases l join due using (lease_id)
              where l.closed_at is null and not $54::bool order by l.lease_id for update of l),
           spent as (
             update leases l set spent_nano_usd = l.spent_nano_usd + locked.charge
               from locked where l.lease_id = locked.lease_id returning l.lease_id),
           budget_due as (
             select lease_id, sum(charge)::bigint as charge from (
               select key_lease_id as lease_id, charge from fresh
               union all select project_lease_id, charge from fresh
               union all select organization_lease_id, charge from fresh) each
              where lease_id is not null group by lease_id),
           budget_locked as (
             select l.lease_id, d.charge from budget_leases l join budget_due d using (lease_id)
              where l.closed_at is null and not $54 and (select count(*) from spent) >= 0
              order by l.lease_id for update of l),
           budget_spent as (
             update budget_leases l set spent_nano_usd = l.spent_nano_usd + d.charge
               from budget_locked d where l.lease_id = d.lease_id returning l.lease_id),
           legs (debit, debit_owner, credit, credit_owner, amount) as (
             select 'credits', account_id, 'revenue', $53::uuid, sum(charge) from fresh group by account_id
             union all
             select cost_kind, $53, 'payable', provider_id, sum(earned) from (
               select cost_kind, provider_id, earn_nano_usd as earned from tried
               union all select 'fault_cost', provider_id, reread_nano_usd from tried) earnings
              group by cost_kind, provider_id),
           t as (
             insert into transfers (transfer_id, cause_kind, cause_id, booked_at)
             select $1, 'settle', $52, $2 where exists (select from legs where amount > 0) returning transfer_id),
           posted as (
             insert into postings (transfer_id, line, currency, debit, credit, amount)
             select t.transfer_id, row_number() over (), 'USD', d.ledger_account_id, c.ledger_account_id, legs.amount
               from t cross join legs
               left join ledger_accounts d
                 on d.kind = legs.debit and d.owner = legs.debit_owner and d.currency = 'USD'
               left join ledger_accounts c
                 on c.kind = legs.credit and c.owner = legs.credit_owner and c.currency = 'USD'
              where legs.amount > 0)
           select 'fresh' as "what!", request_id as "id!", null::uuid as account_id, charge as "charge!",
                  1::bigint as "requests!" from fresh
           union all
           select 'late', lease_id, account_id, charge, requests from due
            where lease_id not in (select lease_id from spent)
           union all
           select 'late_budget', lease_id, null, charge, 0 from budget_due
            where lease_id not in (select lease_id from budget_spent)"#,
        flush as FlushId,
        settled_at as Timestamp,
        &u.request as &[RequestId],
        &u.account as &[OrganizationId],
        &u.project as &[protocol::ProjectId],
        &u.key as &[protocol::KeyId],
        &u.lease as &[Option<LeaseId>],
        &u.key_lease as &[Option<LeaseId>],
        &u.project_lease as &[Option<LeaseId>],
        &u.organization_lease as &[Option<LeaseId>],
        &u.outcome,
        &u.hold,
        &u.charge,
        &u.clamped,
        &u.units.prompt,
        &u.units.cached_prompt,
        &u.units.cache_write,
        &u.units.completion,
        &u.units.internal_reasoning,
        &u.units.request,
        &u.model,
        &u.streamed,
        &u.finish_reason as &[Option<String>],
        &u.native_finish_reason as &[Option<String>],
        &u.received_at as &[Timestamp],
        &u.first_output_at as &[Option<Timestamp>],
        &u.finished_at as &[Timestamp],
        &a.attempt as &[protocol::AttemptId],
        &a.request as &[RequestId],
        &a.position,
        &a.provider as &[protocol::ProviderId],
        &a.node as &[protocol::NodeId],
        &a.offer as &[protocol::OfferId],
        &a.price_version,
        &a.outcome,
        &a.cost_kind,
        &a.earn,
        &a.reread_earn,
        &a.counted_by,
        &a.units.prompt,
        &a.units.cached_prompt,
        &a.units.cache_write,
        &a.units.completion,
        &a.units.internal_reasoning,
        &a.units.request,
        &a.reread,
        &a.status as &[Option<i32>],
        &a.error_code as &[Option<String>],
        &a.started_at as &[Timestamp],
        &a.first_output_at as &[Option<Timestamp>],
        &a.finished_at as &[Timestamp],
        flush.to_string(),
        Uuid::nil(),
        late,
        &u.service_tier as &[Option<String>],
        &u.routing as &[Option<serde_json::Value>],
    )
    .fetch_all(conn)
    .await
}

/// Charges late usage to accounts, down to zero; what is missing becomes a debt.
async fn charge_accounts(conn: &mut PgConnection, flush: FlushId, late: &[LateCharge]) -> Result<(), sqlx::Error> {
    let leases: Vec<LeaseId> = late.iter().map(|l| l.lease).collect();
    let accounts: Vec<OrganizationId> = late.iter().map(|l| l.account).collect();
    let charges: Vec<i64> = late.iter().map(|l| l.charge).collect();
    sqlx::query!(
        "update leases l set late_nano_usd = l.late_nano_usd + d.charge
           from unnest($1::uuid[], $2::bigint[]) as d (lease_id, charge) where l.lease_id = d.lease_id",
        &leases as &[LeaseId],
        &charges,
    )
    .execute(&mut *conn)
    .await?;
    let short = sqlx::query!(
        r#"with due as (
             select account_id, sum(charge)::bigint as charge
               from unnest($1::uuid[], $2::bigint[]) as d (account_id, charge) group by account_id),
           locked as (
             select account_id, available_nano_usd as available from accounts
              where account_id in (select account_id from due) order by account_id for update),
           charged as (
             update accounts a set available_nano_usd = locked.available - least(locked.available, due.charge)
               from due join locked using (account_id) where a.account_id = due.account_id
             returning a.account_id, due.charge - least(locked.available, due.charge) as short)
           select account_id as "account: OrganizationId", short as "short!: NanoUsd" from charged where short > 0
            order by 1"#,
        &accounts as &[OrganizationId],
        &charges,
    )
    .fetch_all(&mut *conn)
    .await?;
    let postings: Vec<Posting> = short
        .iter()
        .filter_map(|s| Posting::new(LedgerAccount::receivable(s.account), LedgerAccount::credits(s.account), s.short))
        .collect();
    if !postings.is_empty() {
        // One transfer more per flush, and only in this rare case: its id can share the flush's UUID, turned over.
        let id = TransferId::from_uuid(Uuid::from_u128(!flush.uuid().as_u128()));
        transfers::book(conn, &Transfer { id, cause: Cause::Late(flush), postings }).await?;
    }
    Ok(())
}

/// Counts late usage in the windows it was taken in, over the limit if need be.
async fn charge_windows(conn: &mut PgConnection, late: &[(LeaseId, i64)]) -> Result<(), sqlx::Error> {
    let (leases, charges): (Vec<LeaseId>, Vec<i64>) = late.iter().copied().unzip();
    sqlx::query!(
        "with due as (
           select b.budget_id, b.starts_at, sum(d.charge)::bigint as charge
             from unnest($1::uuid[], $2::bigint[]) as d (lease_id, charge) join budget_leases b using (lease_id)
            group by b.budget_id, b.starts_at),
         locked as (
           select w.budget_id, w.starts_at, w.available_nano_usd as available from budget_windows w
            where (w.budget_id, w.starts_at) in (select budget_id, starts_at from due)
            order by w.budget_id, w.starts_at for update)
         update budget_windows w
            set available_nano_usd = l.available - least(l.available, due.charge),
                over_nano_usd = w.over_nano_usd + due.charge - least(l.available, due.charge),
                late_nano_usd = w.late_nano_usd + due.charge
           from due join locked l using (budget_id, starts_at)
          where w.budget_id = due.budget_id and w.starts_at = due.starts_at",
        &leases as &[LeaseId],
        &charges,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Which of these requests an earlier try of this very flush has booked, its reply having been lost.
pub(crate) async fn list_booked_by(
    conn: &mut PgConnection,
    flush: FlushId,
    requests: &[RequestId],
) -> Result<HashSet<RequestId>, sqlx::Error> {
    let booked = sqlx::query_scalar!(
        r#"select request_id as "request: RequestId" from usage where request_id = any($1) and flush_id = $2"#,
        requests as &[RequestId],
        flush as FlushId,
    )
    .fetch_all(conn)
    .await?;
    Ok(booked.into_iter().collect())
}

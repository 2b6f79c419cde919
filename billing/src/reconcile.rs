//! Checks that the books, the leases and the usage rows tell the same story.

use std::sync::Arc;

use protocol::{AttemptId, NanoUsd, NodeId, OfferId, ProviderId, Timestamp};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, Transaction};

use crate::Error;
use crate::config::Leasing;
use crate::outcome::{self, AttemptUsage, CountedBy, Outcome};
use crate::store::{self, prices, reports};
use crate::stripe::{Cards, lines};

/// What the checks found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// One per invariant.
    pub checks: Vec<Check>,
}

/// One invariant, tried on everything it applies to.
#[derive(Debug, Clone)]
pub struct Check {
    /// What must hold.
    pub name: &'static str,
    /// How many things were looked at.
    pub examined: u64,
    /// Where it does not hold, one line each, at most a hundred.
    pub differences: Vec<String>,
}

impl Report {
    /// True when nothing differs.
    #[must_use]
    pub fn is_green(&self) -> bool {
        self.checks.iter().all(|check| check.differences.is_empty())
    }
}

/// The newest requests priced again from their attempts: enough to see a change in pricing the day it
/// happens, few enough to read with every run.
const PRICED_AGAIN: i64 = 500;
/// The longest one check may take: a request's limit is far too short for sums over everything.
pub(crate) const STATEMENT_TIMEOUT_MS: u64 = 1_800_000;
/// A living replica reaps twice a minute; this much past its time, a lease was forgotten.
const REAP_SLACK_S: f64 = 300.0;

pub use nightly::{nightly, remember};

macro_rules! check {
    ($conn:expr, $report:expr, $name:literal, count $count:literal, differ $differ:literal $(, $bind:expr)*) => {{
        let examined = sqlx::query_scalar!($count).fetch_one(&mut *$conn).await?.unwrap_or(0);
        let differences = sqlx::query_scalar!($differ $(, $bind)*).fetch_all(&mut *$conn).await?;
        let differences = differences.into_iter().flatten().collect();
        $report.checks.push(Check { name: $name, examined: examined.unsigned_abs(), differences });
    }};
}

mod cards;
mod chain;
mod nightly;
mod papers;
mod proofs;
mod stripe;

/// Runs every check, with the settings leases have by default. See [`reconcile_with`].
///
/// # Errors
/// When the database can't be read.
pub async fn reconcile(db: &PgPool) -> Result<Report, Error> {
    reconcile_with(db, &Leasing::default()).await
}

/// Runs every check in one snapshot, so requests that settle meanwhile make no difference.
///
/// # Errors
/// When the database can't be read.
pub async fn reconcile_with(db: &PgPool, leasing: &Leasing) -> Result<Report, Error> {
    let mut tx = snapshot(db).await?;
    let report = check_all(&mut tx, leasing).await?;
    tx.rollback().await?;
    Ok(report)
}

/// Reads the card processor's account until now, matches it with the books, and runs the checks between the two.
///
/// # Errors
/// What the processor says; [`Error::Database`].
pub async fn reconcile_stripe(cards: &Cards) -> Result<Report, Error> {
    let now = cards.env().now();
    lines::read(cards, now).await?;
    let mut conn = cards.db().acquire().await?;
    store::stripe_lines::look_now(&mut conn, now).await?;
    drop(conn);
    lines::tie_all(cards, now).await?;
    let mut report = Report::default();
    let mut tx = snapshot(cards.db()).await?;
    stripe::check(&mut tx, &mut report).await?;
    tx.rollback().await?;
    Ok(report)
}

/// A transaction that sees one moment of the books and may take its time.
pub async fn snapshot(db: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let mut tx = db.begin().await?;
    sqlx::query("set transaction isolation level repeatable read, read only").execute(&mut *tx).await?;
    sqlx::query(AssertSqlSafe(format!("set local statement_timeout = {STATEMENT_TIMEOUT_MS}")))
        .execute(&mut *tx)
        .await?;
    Ok(tx)
}

/// Runs every check on a connection, whose transaction decides what there is to see.
///
/// # Errors
/// When the database can't be read.
pub async fn check_all(conn: &mut PgConnection, leasing: &Leasing) -> Result<Report, sqlx::Error> {
    let mut report = Report::default();
    ledger(conn, &mut report).await?;
    credit(conn, &mut report).await?;
    leases(conn, &mut report, leasing).await?;
    budgets(conn, &mut report).await?;
    usage(conn, &mut report).await?;
    earnings(conn, &mut report).await?;
    priced_again(conn, &mut report).await?;
    cards::check(conn, &mut report).await?;
    papers::check(conn, &mut report).await?;
    proofs::check(conn, &mut report).await?;
    chain::check(conn, &mut report).await?;
    safeguards(conn, &mut report).await?;
    Ok(report)
}

/// The books agree with themselves.
async fn ledger(conn: &mut PgConnection, report: &mut Report) -> Result<(), sqlx::Error> {
    check!(conn, report, "the trial balance is zero in every currency",
        count "select count(*) from postings",
        differ "with lines as (
                  select p.debit as account, p.currency, p.amount from postings p
                    join ledger_accounts a on a.ledger_account_id = p.debit
                  union all
                  select p.credit, p.currency, -p.amount from postings p
                    join ledger_accounts a on a.ledger_account_id = p.credit)
                select currency || ' is out of balance by ' || sum(amount) from lines group by currency
                having sum(amount) <> 0 limit 100");
    check!(conn, report, "every transfer has postings, in the currency of their accounts",
        count "select count(*) from transfers",
        differ "select 'transfer ' || t.transfer_id || ' has no postings' from transfers t
                 where not exists (select from postings p where p.transfer_id = t.transfer_id)
                union all
                select 'posting ' || p.transfer_id || '/' || p.line || ' mixes currencies' from postings p
                  join ledger_accounts d on d.ledger_account_id = p.debit
                  join ledger_accounts c on c.ledger_account_id = p.credit
                 where d.currency <> p.currency or c.currency <> p.currency
                limit 100");
    check!(conn, report, "folds are the sums of the postings below the watermark",
        count "select count(*) from folds",
        differ "with sums as (
                  select account, sum(debited) as debited, sum(credited) as credited from (
                    select p.debit as account, p.amount as debited, 0 as credited
                      from postings p, fold_watermark w where p.xid < w.xid
                    union all
                    select p.credit, 0, p.amount from postings p, fold_watermark w where p.xid < w.xid) lines
                  group by account)
                select 'account ' || coalesce(f.ledger_account_id, s.account) || ' is folded to '
                       || coalesce(f.debited, 0) || '/' || coalesce(f.credited, 0) || ', its postings add up to '
                       || coalesce(s.debited, 0) || '/' || coalesce(s.credited, 0)
                  from folds f full join sums s on s.account = f.ledger_account_id
                 where (f.debited, f.credited) is distinct from (s.debited, s.credited) limit 100");
    check!(conn, report, "what moved credit is what is booked below the watermark",
        count "select count(*) from credit_moves",
        differ "select 'line ' || coalesce(m.transfer_id, l.transfer_id) || '/' || coalesce(m.line, l.line)
                       || ' moved ' || coalesce(m.amount_nano_usd, 0) || ', booked are ' || coalesce(l.amount, 0)
                  from credit_moves m
                  full join (select l.* from credit_lines l, fold_watermark w where l.xid < w.xid) l
                    on (l.account_id, l.transfer_id, l.line) = (m.account_id, m.transfer_id, m.line)
                 where m.amount_nano_usd is distinct from l.amount or m.other is distinct from l.other limit 100");
    Ok(())
}

/// What accounts have is what the books say they have.
async fn credit(conn: &mut PgConnection, report: &mut Report) -> Result<(), sqlx::Error> {
    check!(conn, report, "nothing available is negative, and leases spend what was lent",
        count "select (select count(*) from accounts) + (select count(*) from leases) + (select count(*) from budget_leases)",
        differ "select 'account ' || account_id || ' has ' || available_nano_usd from accounts where available_nano_usd < 0
                union all
                select 'lease ' || lease_id || ' spent ' || spent_nano_usd || ' of ' || lent_nano_usd from leases
                 where spent_nano_usd not between 0 and lent_nano_usd
                union all
                select 'budget lease ' || lease_id || ' spent ' || spent_nano_usd || ' of ' || lent_nano_usd
                  from budget_leases where spent_nano_usd not between 0 and lent_nano_usd
                limit 100");
    check!(conn, report, "credits are what is available, what leases have not spent and what disputes have frozen",
        count "select count(*) from accounts",
        differ "with booked as (
                  select a.owner, sum(case when p.credit = a.ledger_account_id then p.amount else -p.amount end) as credits
                    from ledger_accounts a
                    join postings p on p.credit = a.ledger_account_id or p.debit = a.ledger_account_id
                   where a.kind = 'credits' group by a.owner),
                lent as (select account_id, sum(lent_nano_usd - spent_nano_usd) as unspent
                           from leases where closed_at is null group by account_id),
                frozen as (select account_id, sum(frozen_nano_usd) as amount from disputes group by account_id)
                select 'account ' || a.account_id || ' has ' || a.available_nano_usd || ', ' || coalesce(l.unspent, 0)
                       || ' lent and ' || coalesce(f.amount, 0) || ' frozen, booked are ' || coalesce(b.credits, 0)
                  from accounts a left join booked b on b.owner = a.account_id left join lent l using (account_id)
                  left join frozen f using (account_id)
                 where a.available_nano_usd + coalesce(l.unspent, 0) + coalesce(f.amount, 0) <> coalesce(b.credits, 0)
                 limit 100");
    check!(conn, report, "grants hold at least what is left of credits",
        count "select count(*) from grants",
        differ "with remaining as (select account_id, sum(remaining_nano_usd) as amount from grants group by account_id),
                lent as (select account_id, sum(lent_nano_usd - spent_nano_usd) as unspent
                           from leases where closed_at is null group by account_id)
                select 'account ' || a.account_id || ' has more than its grants, ' || coalesce(r.amount, 0)
                  from accounts a left join remaining r using (account_id) left join lent l using (account_id)
                 where coalesce(r.amount, 0) < a.available_nano_usd + coalesce(l.unspent, 0) limit 100");
    Ok(())
}

/// Leases end. Only a living replica reaps, so what counts is how long one has lived since a lease's time was
/// over, as of the last sign of life: after a long downtime nothing is late yet.
async fn leases(conn: &mut PgConnection, report: &mut Report, leasing: &Leasing) -> Result<(), sqlx::Error> {
    check!(conn, report, "no lease stays open long after its grace",
        count "select count(*) from leases where closed_at is null",
        differ "with last as (select max(seen_at) as at from replicas),
                living as (
                  select last.at, min(r.started_at) as since from replicas r, last
                   where r.seen_at > last.at - make_interval(secs => $1) group by last.at),
                open as (
                  select lease_id, expires_at from leases where closed_at is null
                  union all select lease_id, expires_at from budget_leases where closed_at is null)
                select 'lease ' || lease_id || ' expired at ' || expires_at from open, living
                 where greatest(expires_at + make_interval(secs => $2), since) + make_interval(secs => $3) < living.at
                 limit 100",
        f64::from(leasing.ttl_s), f64::from(leasing.grace_s), REAP_SLACK_S);
    Ok(())
}

/// Windows account for their limits.
async fn budgets(conn: &mut PgConnection, report: &mut Report) -> Result<(), sqlx::Error> {
    check!(conn, report, "every window's limit is what is available, lent, spent and late, less what is over",
        count "select count(*) from budget_windows",
        differ "with taken as (
                  select budget_id, starts_at,
                         sum(case when closed_at is null then lent_nano_usd else spent_nano_usd end) as amount
                    from budget_leases group by budget_id, starts_at)
                select 'window ' || w.starts_at || ' of budget ' || w.budget_id || ' is off by '
                       || w.limit_nano_usd + w.over_nano_usd - w.available_nano_usd - w.late_nano_usd - coalesce(t.amount, 0)
                  from budget_windows w left join taken t using (budget_id, starts_at)
                 where w.limit_nano_usd + w.over_nano_usd
                       <> w.available_nano_usd + w.late_nano_usd + coalesce(t.amount, 0) limit 100");
    check!(conn, report, "a window opened or resized since its limit was set has that limit",
        count "select count(*) from budget_windows w join budgets b using (budget_id)
                where b.removed_at is null and w.limit_at >= b.set_at",
        differ "select 'window ' || w.starts_at || ' of budget ' || budget_id || ' has ' || w.limit_nano_usd || ' of '
                       || b.limit_nano_usd
                  from budget_windows w join budgets b using (budget_id)
                 where b.removed_at is null and w.limit_at >= b.set_at and w.limit_nano_usd <> b.limit_nano_usd
                 limit 100");
    check!(conn, report, "windows count what usage was charged under their limits",
        count "select count(*) from budget_leases",
        differ "with charged as (
                  select lease_id, sum(charge) as amount from (
                    select key_lease_id as lease_id, charge_nano_usd as charge from usage
                    union all select project_lease_id, charge_nano_usd from usage
                    union all select organization_lease_id, charge_nano_usd from usage) each
                   where lease_id is not null group by lease_id),
                counted as (
                  select l.budget_id, l.starts_at, sum(l.spent_nano_usd) as spent, sum(coalesce(c.amount, 0)) as charged,
                         -- Late usage is counted in the window, and only once its lease is closed or its row was parked.
                         bool_or(l.spent_nano_usd > coalesce(c.amount, 0)) as beyond
                    from budget_leases l left join charged c using (lease_id) group by l.budget_id, l.starts_at)
                select 'window ' || w.starts_at || ' of budget ' || w.budget_id || ' counts ' || n.spent || ' and '
                       || w.late_nano_usd || ' late, charged were ' || n.charged
                  from budget_windows w join counted n using (budget_id, starts_at)
                 where n.beyond or n.spent + w.late_nano_usd <> n.charged limit 100");
    Ok(())
}

/// Usage rows, leases and charges booked are the same money.
async fn usage(conn: &mut PgConnection, report: &mut Report) -> Result<(), sqlx::Error> {
    check!(conn, report, "one usage row per request, and every attempt has one",
        count "select count(*) from usage",
        differ "select 'request ' || request_id || ' has ' || count(*) || ' usage rows' from usage
                 group by request_id having count(*) > 1
                union all
                select 'attempt ' || attempt_id || ' has ' || count(*) || ' rows' from attempts
                 group by attempt_id having count(*) > 1
                union all
                select 'attempt ' || a.attempt_id || ' belongs to no usage row' from attempts a
                 where not exists (select from usage u where u.request_id = a.request_id)
                limit 100");
    check!(conn, report, "charges are what each flush moved from credits to revenue",
        count "select count(distinct flush_id) from usage",
        differ "with charged as (select flush_id, sum(charge_nano_usd) as amount from usage group by flush_id),
                moved as (
                  select p.transfer_id, sum(p.amount) as amount from postings p
                    join transfers t using (transfer_id)
                    join ledger_accounts c on c.ledger_account_id = p.credit
                   where t.cause_kind = 'settle' and c.kind = 'revenue' group by p.transfer_id)
                select 'flush ' || coalesce(c.flush_id, m.transfer_id) || ' charged ' || coalesce(c.amount, 0)
                       || ' and moved ' || coalesce(m.amount, 0)
                  from charged c full join moved m on m.transfer_id = c.flush_id
                 where coalesce(c.amount, 0) <> coalesce(m.amount, 0) limit 100");
    check!(conn, report, "leases spent what usage was charged on them",
        count "select count(*) from leases",
        differ "with charged as (select lease_id, sum(charge_nano_usd) as amount from usage group by lease_id)
                select 'lease ' || l.lease_id || ' spent ' || l.spent_nano_usd || ' and ' || l.late_nano_usd
                       || ' late, charged were ' || coalesce(c.amount, 0)
                  from leases l left join charged c using (lease_id)
                 where l.spent_nano_usd + l.late_nano_usd <> coalesce(c.amount, 0) limit 100");
    check!(conn, report, "no charge passes its hold",
        count "select count(*) from usage",
        differ "select 'request ' || request_id || ' was charged ' || charge_nano_usd || ' of ' || hold_nano_usd
                  from usage where charge_nano_usd > hold_nano_usd limit 100");
    check!(conn, report, "hourly usage is the sum of usage rows below the watermark",
        count "select count(*) from usage_hours",
        differ "with sums as (
                  select date_trunc('hour', settled_at, 'UTC') as hour, account_id, project_id, key_id, model,
                         count(*) as requests, sum(prompt) as prompt, sum(cached_prompt) as cached_prompt,
                         sum(cache_write) as cache_write, sum(completion) as completion,
                         sum(internal_reasoning) as internal_reasoning, sum(charge_nano_usd) as charge_nano_usd
                    from usage u, fold_watermark w where u.xid < w.xid group by 1, 2, 3, 4, 5)
                select 'hour ' || hour || ' of key ' || key_id || ' with ' || model || ' has '
                       || coalesce(h.charge_nano_usd, 0) || ' for ' || coalesce(h.requests, 0)
                       || ' requests, and rows over ' || coalesce(s.charge_nano_usd, 0) || ' for ' || coalesce(s.requests, 0)
                  from usage_hours h full join sums s using (hour, account_id, project_id, key_id, model)
                 where (h.requests, h.prompt, h.cached_prompt, h.cache_write, h.completion, h.internal_reasoning,
                        h.charge_nano_usd)
                       is distinct from (s.requests, s.prompt, s.cached_prompt, s.cache_write, s.completion,
                                         s.internal_reasoning, s.charge_nano_usd) limit 100");
    Ok(())
}

/// Attempts and what is owed for them are the same money.
async fn earnings(conn: &mut PgConnection, report: &mut Report) -> Result<(), sqlx::Error> {
    check!(conn, report, "earnings are what each flush made payable, provider by provider",
        count "select count(*) from attempts",
        differ "with earned as (
                  select flush_id, provider_id, sum(earn_nano_usd + reread_nano_usd) as amount
                    from attempts group by flush_id, provider_id),
                moved as (
                  select p.transfer_id, c.owner, sum(p.amount) as amount from postings p
                    join transfers t using (transfer_id)
                    join ledger_accounts c on c.ledger_account_id = p.credit
                   where t.cause_kind = 'settle' and c.kind = 'payable' group by p.transfer_id, c.owner)
                select 'provider ' || coalesce(e.provider_id, m.owner) || ' earned ' || coalesce(e.amount, 0)
                       || ' in flush ' || coalesce(e.flush_id, m.transfer_id) || ', booked ' || coalesce(m.amount, 0)
                  from earned e full join moved m on m.transfer_id = e.flush_id and m.owner = e.provider_id
                 where coalesce(e.amount, 0) <> coalesce(m.amount, 0) limit 100");
    check!(conn, report, "what providers earn for a request is at most its price",
        count "select count(*) from usage",
        differ "with earned as (
                  select request_id, sum(earn_nano_usd) as amount from attempts
                   where cost_kind = 'provider_cost' group by request_id)
                select 'request ' || request_id || ' earned its providers ' || e.amount || ' and came to '
                       || u.charge_nano_usd + u.clamped_nano_usd
                  from usage u join earned e using (request_id)
                 where e.amount > u.charge_nano_usd + u.clamped_nano_usd limit 100");
    Ok(())
}

/// The insert-only tables are, and no row waits in quarantine.
async fn safeguards(conn: &mut PgConnection, report: &mut Report) -> Result<(), sqlx::Error> {
    check!(conn, report, "tables that are only added to refuse changes",
        count "select count(*) from pg_inherits i where i.inhparent in ('usage'::regclass, 'attempts'::regclass, 'usage_reports'::regclass, 'receipts'::regclass)",
        differ "with guarded (t) as (
                  select unnest(array['transfers', 'postings', 'usage', 'attempts', 'usage_reports', 'receipts', 'prices',
                                      'take_rates']::regclass[])
                  union all
                  select i.inhrelid::regclass from pg_inherits i
                   where i.inhparent in ('usage'::regclass, 'attempts'::regclass, 'usage_reports'::regclass, 'receipts'::regclass))
                select 'table ' || t || ' can be changed' from guarded
                 where not exists (select from pg_trigger g
                                    where g.tgrelid = t and g.tgname = 'insert_only' and g.tgenabled in ('O', 'A'))
                    or not exists (select from pg_trigger g
                                    where g.tgrelid = t and g.tgname = 'insert_only_truncate'
                                      and g.tgenabled in ('O', 'A'))
                limit 100");
    check!(conn, report, "no settled request waits in quarantine",
        count "select count(*) from settle_quarantine",
        differ "select 'request ' || request_id || ': ' || error from settle_quarantine
                 where resolved_at is null limit 100");
    Ok(())
}

/// Charges and earnings of the newest requests, computed again from counts and price versions.
async fn priced_again(conn: &mut PgConnection, report: &mut Report) -> Result<(), sqlx::Error> {
    let requests = sqlx::query!(
        r#"select request_id, hold_nano_usd as "hold: NanoUsd", charge_nano_usd as "charge: NanoUsd"
             from usage order by request_id desc limit $1"#,
        PRICED_AGAIN,
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut differences = Vec::new();
    let mut known = std::collections::HashMap::new();
    for request in &requests {
        let rows = sqlx::query!(
            r#"select attempt_id as "attempt: AttemptId", provider_id as "provider: ProviderId", node_id as "node: NodeId",
                      offer_id as "offer: OfferId", price_version, outcome, earn_nano_usd, reread_nano_usd, prompt,
                      cached_prompt, cache_write, completion, internal_reasoning, requests, reread
                 from attempts where request_id = $1 order by position"#,
            request.request_id,
        )
        .fetch_all(&mut *conn)
        .await?;
        let mut attempts = Vec::with_capacity(rows.len());
        for row in &rows {
            let version = (row.offer, row.price_version.unsigned_abs());
            if let std::collections::hash_map::Entry::Vacant(entry) = known.entry(version) {
                entry.insert(prices::find(conn, version.0, version.1).await?.map(Arc::new));
            }
            let (Some(Some(price)), Some(outcome)) = (known.get(&version), Outcome::from_stored(&row.outcome)) else {
                differences.push(format!("attempt {} names no posted price or no known outcome", row.attempt));
                continue;
            };
            attempts.push(AttemptUsage {
                attempt: row.attempt,
                provider: row.provider,
                node: row.node,
                price: Arc::clone(price),
                outcome,
                units: reports::units([
                    row.prompt,
                    row.cached_prompt,
                    row.cache_write,
                    row.completion,
                    row.internal_reasoning,
                    row.requests,
                ]),
                reread: u32::try_from(row.reread).unwrap_or(u32::MAX),
                counted_by: CountedBy::Gateway,
                status: None,
                error_code: None,
                started_at: Timestamp::EPOCH,
                first_output_at: None,
                finished_at: Timestamp::EPOCH,
            });
        }
        if attempts.len() < rows.len() {
            continue;
        }
        let judged = outcome::judge(&attempts, request.hold);
        if judged.charge != request.charge {
            differences.push(format!(
                "request {} was charged {}, its attempts come to {}",
                request.request_id, request.charge, judged.charge
            ));
        }
        for (row, earning) in rows.iter().zip(judged.earnings) {
            if (row.earn_nano_usd, row.reread_nano_usd) != (earning.earned.nano(), earning.reread.nano()) {
                differences.push(format!(
                    "attempt {} earned {} nano-USD, its units come to {}",
                    row.attempt,
                    row.earn_nano_usd,
                    earning.earned.nano()
                ));
            }
        }
    }
    differences.truncate(100);
    let name = "the newest charges and earnings are counts times posted prices";
    report.checks.push(Check { name, examined: requests.len() as u64, differences });
    Ok(())
}

//! What users and providers see of the books: settled figures, never holds.

use std::collections::HashMap;

use protocol::{
    AttemptId, Id as _, KeyId, NanoUsd, NodeId, OfferId, OrganizationId, ProjectId, ProviderId, RequestId, Timestamp,
    Units,
};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{budgets, reports, transfers};
use crate::account::{AccountKind, LedgerAccount};
use crate::budget::{Budget, BudgetScope, Reset, Window};

/// What an account was given and has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credits {
    /// All credit ever granted, less what expired, what went back to cards, be it owed, and what disputes froze or took.
    pub total_credits: NanoUsd,
    /// All charges ever settled.
    pub total_usage: NanoUsd,
}

/// Grants and settled charges of an account.
///
/// # Errors
/// When the database call fails.
pub async fn credits(conn: &mut PgConnection, account: OrganizationId) -> Result<Credits, sqlx::Error> {
    sqlx::query_as!(
        Credits,
        r#"select ((select coalesce(sum(amount_nano_usd - expired_nano_usd - refunded_nano_usd - disputed_nano_usd), 0)
                      from grants where account_id = $1)
                 - (select coalesce(sum(owed_nano_usd), 0) from refund_intents
                     where account_id = $1 and state not in ('failed', 'refused')))::bigint as "total_credits!: NanoUsd",
                  (coalesce((select sum(charge_nano_usd) from usage_hours where account_id = $1), 0)
                 + coalesce((select sum(charge_nano_usd) from usage u, fold_watermark w
                              where u.xid >= w.xid and u.account_id = $1), 0))::bigint as "total_usage!: NanoUsd""#,
        account as OrganizationId,
    )
    .fetch_one(conn)
    .await
}

/// Whether an account ever had credit that was not given to it.
///
/// # Errors
/// When the database call fails.
pub async fn has_bought(conn: &mut PgConnection, account: OrganizationId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from grants where account_id = $1 and kind not in ('promo', 'goodwill')) as "bought!""#,
        account as OrganizationId,
    )
    .fetch_one(conn)
    .await
}

/// What one key has used, and what its limit leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUsage {
    /// All charges ever settled with it.
    pub usage: NanoUsd,
    /// Since midnight UTC.
    pub usage_daily: NanoUsd,
    /// Since Monday.
    pub usage_weekly: NanoUsd,
    /// Since the first of the month.
    pub usage_monthly: NanoUsd,
    /// Its limit, if it has one.
    pub limit: Option<NanoUsd>,
    /// What the limit leaves in its window.
    pub limit_remaining: Option<NanoUsd>,
    /// When the limit starts anew.
    pub limit_reset: Option<Reset>,
}

/// What a key has used. Windows begin at hours, so hourly sums serve them exactly.
///
/// # Errors
/// When a database call fails.
pub async fn key_usage(conn: &mut PgConnection, key: KeyId, now: Timestamp) -> Result<KeyUsage, sqlx::Error> {
    let usage = keys_usage(conn, &[key], now).await?.remove(&key);
    usage.ok_or_else(|| sqlx::Error::RowNotFound)
}

/// What each of these keys has used, in as many calls as one key takes.
///
/// # Errors
/// When a database call fails.
pub async fn keys_usage(
    conn: &mut PgConnection,
    keys: &[KeyId],
    now: Timestamp,
) -> Result<HashMap<KeyId, KeyUsage>, sqlx::Error> {
    let from = |reset| Window::of(Some(reset), now).starts_at;
    let ids: Vec<Uuid> = keys.iter().map(|key| key.uuid()).collect();
    let spans = sqlx::query!(
        r#"select k.id as "key!: KeyId", coalesce(sum(charge), 0)::bigint as "usage!: NanoUsd",
                  coalesce(sum(charge) filter (where at >= $2), 0)::bigint as "daily!: NanoUsd",
                  coalesce(sum(charge) filter (where at >= $3), 0)::bigint as "weekly!: NanoUsd",
                  coalesce(sum(charge) filter (where at >= $4), 0)::bigint as "monthly!: NanoUsd"
             from unnest($1::uuid[]) as k (id)
             left join (select key_id, hour as at, charge_nano_usd as charge from usage_hours where key_id = any($1)
                        union all
                        select key_id, settled_at, charge_nano_usd from usage u, fold_watermark w
                         where u.xid >= w.xid and u.key_id = any($1)) charges on charges.key_id = k.id
            group by k.id"#,
        &ids,
        from(Reset::Daily) as Timestamp,
        from(Reset::Weekly) as Timestamp,
        from(Reset::Monthly) as Timestamp,
    )
    .fetch_all(&mut *conn)
    .await?;
    let scopes: Vec<BudgetScope> = keys.iter().map(|key| BudgetScope::Key(*key)).collect();
    let limits = budgets::list(&mut *conn, &scopes).await?;
    let windows: Vec<_> = limits.iter().map(|limit| (limit.id, Window::of(limit.reset, now).starts_at)).collect();
    let spent = budgets::spent_each(conn, &windows).await?;
    let usage = spans.into_iter().map(|row| {
        let limit = limits.iter().find(|limit| limit.scope == BudgetScope::Key(row.key));
        let left = |limit: &Budget| limit.limit.saturating_sub(spent.get(&limit.id).copied().unwrap_or(NanoUsd::ZERO));
        let usage = KeyUsage {
            usage: row.usage,
            usage_daily: row.daily,
            usage_weekly: row.weekly,
            usage_monthly: row.monthly,
            limit: limit.map(|limit| limit.limit),
            limit_remaining: limit.map(left),
            limit_reset: limit.and_then(|limit| limit.reset),
        };
        (row.key, usage)
    });
    Ok(usage.collect())
}

/// When each of these keys was last charged for, to the hour once its charges are added up; keys never used are
/// left out.
///
/// # Errors
/// When the database call fails.
pub async fn last_used(conn: &mut PgConnection, keys: &[KeyId]) -> Result<HashMap<KeyId, Timestamp>, sqlx::Error> {
    let ids: Vec<Uuid> = keys.iter().map(|key| key.uuid()).collect();
    let rows = sqlx::query!(
        r#"select key_id as "key!: KeyId", max(at) as "at!: Timestamp"
             from (select key_id, hour as at from usage_hours where key_id = any($1)
                   union all
                   select key_id, settled_at from usage u, fold_watermark w
                    where u.xid >= w.xid and u.key_id = any($1)) used
            group by key_id"#,
        &ids,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.key, row.at)).collect())
}

/// A scope's limit and what settled charges leave of it in the window of `now`.
///
/// # Errors
/// When a database call fails.
pub async fn limit_left(
    conn: &mut PgConnection,
    scope: BudgetScope,
    now: Timestamp,
) -> Result<Option<(Budget, NanoUsd)>, sqlx::Error> {
    let Some(budget) = budgets::find(conn, scope).await? else { return Ok(None) };
    let spent = budgets::spent(conn, budget.id, Window::of(budget.reset, now).starts_at).await?;
    Ok(Some((budget, budget.limit.saturating_sub(spent))))
}

/// One settled request.
#[derive(Debug, Clone)]
pub struct Generation {
    /// Which.
    pub request: RequestId,
    /// Who paid.
    pub organization: OrganizationId,
    /// For what.
    pub project: ProjectId,
    /// With which key.
    pub key: KeyId,
    /// The model.
    pub model: String,
    /// How it ended.
    pub outcome: String,
    /// What it cost.
    pub charge: NanoUsd,
    /// What was charged, by class.
    pub units: Units,
    /// Whether it was streamed.
    pub streamed: bool,
    /// Why the answer ended, as the user was told.
    pub finish_reason: Option<String>,
    /// Why it ended, in the engine's words.
    pub native_finish_reason: Option<String>,
    /// When it came.
    pub received_at: Timestamp,
    /// When its first output was there.
    pub first_output_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The service tier that applied; `None` when it was not kept yet.
    pub service_tier: Option<String>,
    /// What was considered when it was placed, where that was asked for.
    pub routing: Option<serde_json::Value>,
    /// Its dispatches, in order.
    pub attempts: Vec<GenerationAttempt>,
}

/// One dispatch of a settled request.
#[derive(Debug, Clone)]
pub struct GenerationAttempt {
    /// Which.
    pub attempt: AttemptId,
    /// To whom.
    pub provider: ProviderId,
    /// On which machine.
    pub node: NodeId,
    /// For which offer.
    pub offer: OfferId,
    /// At which version of its price.
    pub price_version: i32,
    /// How it ended.
    pub outcome: String,
    /// What it earned, rereading included.
    pub earned: NanoUsd,
    /// The provider's HTTP status, when there was one.
    pub status: Option<i32>,
    /// Our name for what went wrong.
    pub error_code: Option<String>,
}

/// A settled request, to the organization that paid for it.
///
/// # Errors
/// When a database call fails.
pub async fn find_generation(
    conn: &mut PgConnection,
    organization: OrganizationId,
    request: RequestId,
) -> Result<Option<Generation>, sqlx::Error> {
    let found = sqlx::query!(
        r#"select project_id as "project: ProjectId", key_id as "key: KeyId", model, outcome,
                  charge_nano_usd as "charge: NanoUsd", prompt, cached_prompt, cache_write, completion,
                  internal_reasoning, requests, streamed, finish_reason, native_finish_reason,
                  received_at as "received_at: Timestamp", first_output_at as "first_output_at: Timestamp",
                  finished_at as "finished_at: Timestamp", service_tier, routing
             from usage where request_id = $1 and account_id = $2"#,
        request as RequestId,
        organization as OrganizationId,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = found else { return Ok(None) };
    let attempts = sqlx::query_as!(
        GenerationAttempt,
        r#"select attempt_id as "attempt: AttemptId", provider_id as "provider: ProviderId", node_id as "node: NodeId",
                  offer_id as "offer: OfferId", price_version, outcome,
                  earn_nano_usd + reread_nano_usd as "earned!: NanoUsd", status, error_code
             from attempts where request_id = $1 order by position"#,
        request as RequestId,
    )
    .fetch_all(conn)
    .await?;
    let columns =
        [row.prompt, row.cached_prompt, row.cache_write, row.completion, row.internal_reasoning, row.requests];
    Ok(Some(Generation {
        request,
        organization,
        project: row.project,
        key: row.key,
        model: row.model,
        outcome: row.outcome,
        charge: row.charge,
        units: reports::units(columns),
        streamed: row.streamed,
        finish_reason: row.finish_reason,
        native_finish_reason: row.native_finish_reason,
        received_at: row.received_at,
        first_output_at: row.first_output_at,
        finished_at: row.finished_at,
        service_tier: row.service_tier,
        routing: row.routing,
        attempts,
    }))
}

/// What we owe a provider now.
///
/// # Errors
/// When the database call fails.
pub async fn accrued(conn: &mut PgConnection, provider: ProviderId) -> Result<NanoUsd, sqlx::Error> {
    let turnover = transfers::turnover(conn, LedgerAccount::payable(provider)).await?;
    Ok(NanoUsd::new(turnover.balance(AccountKind::Payable)).unwrap_or(NanoUsd::ZERO))
}

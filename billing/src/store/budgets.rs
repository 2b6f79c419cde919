//! Limits on spending and their windows.

use std::collections::HashMap;

use protocol::{NanoUsd, Timestamp};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::budget::{Budget, BudgetScope, Reset, Window};
use crate::lease::Scope;
use crate::lease::recall::Hint;

/// Sets the limit of a scope. With another reset a new budget starts; with the same one the window of
/// `now` is raised or lowered, and what is spent over a lowered limit is made up for before more is lent.
/// All replicas are told when the transaction commits.
///
/// # Errors
/// When the database call fails.
pub async fn set(
    conn: &mut PgConnection,
    scope: BudgetScope,
    limit: NanoUsd,
    reset: Option<Reset>,
    id: Uuid,
    now: Timestamp,
) -> Result<Budget, sqlx::Error> {
    let existing = find(conn, scope).await?;
    let budget = match existing {
        Some(budget) if budget.reset == reset => {
            sqlx::query!(
                "update budgets set limit_nano_usd = $2, set_at = now() where budget_id = $1",
                budget.id,
                limit as NanoUsd
            )
            .execute(&mut *conn)
            .await?;
            resize_window(conn, budget.id, Window::of(reset, now).starts_at, limit).await?;
            Budget { limit, ..budget }
        }
        _ => {
            retire(conn, scope).await?;
            sqlx::query!(
                "insert into budgets (budget_id, scope_kind, scope_id, limit_nano_usd, reset) values ($1, $2, $3, $4, $5)",
                id,
                scope.kind(),
                scope.uuid(),
                limit as NanoUsd,
                reset.map(Reset::as_str),
            )
            .execute(&mut *conn)
            .await?;
            Budget { id, scope, limit, reset }
        }
    };
    super::accounts::hint(conn, Hint::Changed(Scope::Budget(scope))).await?;
    Ok(budget)
}

/// Removes the limit of a scope, and tells all replicas when the transaction commits.
///
/// # Errors
/// When the database call fails.
pub async fn remove(conn: &mut PgConnection, scope: BudgetScope) -> Result<(), sqlx::Error> {
    retire(conn, scope).await?;
    super::accounts::hint(conn, Hint::Changed(Scope::Budget(scope))).await
}

async fn retire(conn: &mut PgConnection, scope: BudgetScope) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update budgets set removed_at = now() where scope_kind = $1 and scope_id = $2 and removed_at is null",
        scope.kind(),
        scope.uuid(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What is freed by a higher limit first makes up for what was spent over the old one.
async fn resize_window(
    conn: &mut PgConnection,
    budget: Uuid,
    starts_at: Timestamp,
    limit: NanoUsd,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update budget_windows
            set limit_nano_usd = $3, limit_at = now(),
                available_nano_usd = greatest(available_nano_usd - over_nano_usd + $3 - limit_nano_usd, 0),
                over_nano_usd = greatest(over_nano_usd - available_nano_usd - $3 + limit_nano_usd, 0)
          where budget_id = $1 and starts_at = $2",
        budget,
        starts_at as Timestamp,
        limit as NanoUsd,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The limit of a scope, if it has one.
///
/// # Errors
/// When the database call fails.
pub async fn find(conn: &mut PgConnection, scope: BudgetScope) -> Result<Option<Budget>, sqlx::Error> {
    Ok(list(conn, &[scope]).await?.pop())
}

/// The limits of these scopes, as far as they have one.
pub(crate) async fn list(conn: &mut PgConnection, scopes: &[BudgetScope]) -> Result<Vec<Budget>, sqlx::Error> {
    let kinds: Vec<String> = scopes.iter().map(|scope| scope.kind().to_owned()).collect();
    let ids: Vec<Uuid> = scopes.iter().map(|scope| scope.uuid()).collect();
    let rows = sqlx::query!(
        r#"select budget_id, scope_kind, scope_id, limit_nano_usd as "limit: NanoUsd", reset from budgets
             join unnest($1::text[], $2::uuid[]) as s (kind, id) on s.kind = scope_kind and s.id = scope_id
            where removed_at is null"#,
        &kinds,
        &ids,
    )
    .fetch_all(conn)
    .await?;
    let parsed = rows.into_iter().map(|row| {
        let scope = BudgetScope::from_stored(&row.scope_kind, row.scope_id);
        let reset = row.reset.as_deref().map(str::parse).transpose();
        let (Some(scope), Ok(reset)) = (scope, reset) else {
            return Err(sqlx::Error::Decode("a budget of an unknown kind".into()));
        };
        Ok(Budget { id: row.budget_id, scope, limit: row.limit, reset })
    });
    parsed.collect()
}

/// What was charged within the window of a budget that `now` lies in.
///
/// # Errors
/// When the database call fails.
pub async fn spent_now(conn: &mut PgConnection, budget: &Budget, now: Timestamp) -> Result<NanoUsd, sqlx::Error> {
    spent(conn, budget.id, Window::of(budget.reset, now).starts_at).await
}

/// What was charged within one window of a budget.
pub(crate) async fn spent(conn: &mut PgConnection, budget: Uuid, starts_at: Timestamp) -> Result<NanoUsd, sqlx::Error> {
    Ok(spent_each(conn, &[(budget, starts_at)]).await?.remove(&budget).unwrap_or(NanoUsd::ZERO))
}

/// What was charged within one window of each of these budgets.
pub(crate) async fn spent_each(
    conn: &mut PgConnection,
    windows: &[(Uuid, Timestamp)],
) -> Result<HashMap<Uuid, NanoUsd>, sqlx::Error> {
    let (budgets, starts): (Vec<Uuid>, Vec<Timestamp>) = windows.iter().copied().unzip();
    let rows = sqlx::query!(
        r#"select b.id as "id!",
                  (coalesce((select sum(spent_nano_usd) from budget_leases l
                              where l.budget_id = b.id and l.starts_at = b.starts_at), 0)
                 + coalesce((select late_nano_usd from budget_windows w
                              where w.budget_id = b.id and w.starts_at = b.starts_at), 0)
                  )::bigint as "spent!: NanoUsd"
             from unnest($1::uuid[], $2::timestamptz[]) as b (id, starts_at)"#,
        &budgets,
        &starts as &[Timestamp],
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.spent)).collect())
}

//! What limits leave, lent from their windows to replicas: the same movements as credit, on other tables.

use protocol::{BootId, LeaseId, Timestamp};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Ask, LeaseRow, Lent};
use crate::lease::Standing;

/// Opens the window and a lease on it, or finds the one this boot has open; `None` when the budget is gone.
///
/// The budget's row lock closes a race: a limit being changed meanwhile is waited for, so that a window never
/// opens with the old one behind its back.
pub(crate) async fn open(
    conn: &mut PgConnection,
    lease: LeaseId,
    budget: Uuid,
    starts_at: Timestamp,
    boot: BootId,
    ttl_s: f64,
) -> Result<Option<LeaseRow>, sqlx::Error> {
    sqlx::query!(
        "insert into budget_windows (budget_id, starts_at, limit_nano_usd, available_nano_usd)
         select budget_id, $2, limit_nano_usd, limit_nano_usd from budgets where budget_id = $1
            for share
         on conflict do nothing",
        budget,
        starts_at as Timestamp,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query_as!(
        LeaseRow,
        r#"with opened as (
             insert into budget_leases (lease_id, budget_id, starts_at, boot_id, expires_at)
             select $1, budget_id, starts_at, $4, now() + make_interval(secs => $5)
               from budget_windows where budget_id = $2 and starts_at = $3
             on conflict (budget_id, starts_at, boot_id) where closed_at is null do nothing
             returning lease_id, lent_nano_usd, spent_nano_usd, lend_seq)
           select lease_id as "lease!: LeaseId", lent_nano_usd as "lent!", spent_nano_usd as "spent!",
                  lend_seq as "seq!", false as "closed!"
             from (select * from opened
                   union all
                   select lease_id, lent_nano_usd, spent_nano_usd, lend_seq from budget_leases
                    where budget_id = $2 and starts_at = $3 and boot_id = $4 and closed_at is null) found
            limit 1"#,
        lease as LeaseId,
        budget,
        starts_at as Timestamp,
        boot as BootId,
        ttl_s,
    )
    .fetch_optional(conn)
    .await
}

/// Lends, or takes back; what comes back first makes up for what was spent over the limit. `None`: that
/// number was used already, the lease is closed, or the window has too little.
pub(crate) async fn lend(conn: &mut PgConnection, lease: LeaseId, ask: &Ask) -> Result<Option<Lent>, sqlx::Error> {
    sqlx::query_as!(
        Lent,
        r#"with l as (
             select lease_id, budget_id, starts_at from budget_leases
              where lease_id = $1 and lend_seq = $2 and closed_at is null for update),
           w as (
             select w.budget_id, w.starts_at, w.available_nano_usd as available
               from budget_windows w join l using (budget_id, starts_at)
              where w.available_nano_usd >= $3 for update of w),
           sized as (
             select budget_id, starts_at, available - greatest($4::bigint, 0) < $6 as low, available,
                    case when available - greatest($4::bigint, 0) < $6 then 0
                         else least($5, available / 10000 * $7) end as target from w),
           g as (
             select budget_id, starts_at, low, target,
                    case when $3::bigint < 0 then $3 when $9 then 0
                         else least(available, greatest($4, target)) end as amount from sized),
           taken as (
             update budget_windows w
                set available_nano_usd = w.available_nano_usd
                      - case when g.amount < 0 then least(g.amount + w.over_nano_usd, 0) else g.amount end,
                    over_nano_usd = greatest(w.over_nano_usd + least(g.amount, 0), 0)
               from g where w.budget_id = g.budget_id and w.starts_at = g.starts_at
             returning g.amount, g.target, g.low)
           update budget_leases u set lent_nano_usd = u.lent_nano_usd + taken.amount, lend_seq = u.lend_seq + 1,
                  expires_at = now() + make_interval(secs => $8)
             from taken where u.lease_id = $1
           returning u.lent_nano_usd as "lent!", u.lend_seq as "seq!", taken.target as "target!", taken.low as "low!""#,
        lease as LeaseId,
        ask.seq,
        ask.need,
        ask.want,
        ask.burn,
        ask.low_below,
        ask.share_bps,
        ask.ttl_s,
        ask.fence,
    )
    .fetch_optional(conn)
    .await
}

/// The lease as it is now.
pub(crate) async fn find(conn: &mut PgConnection, lease: LeaseId) -> Result<Option<LeaseRow>, sqlx::Error> {
    sqlx::query_as!(
        LeaseRow,
        r#"select lease_id as "lease: LeaseId", lent_nano_usd as lent, spent_nano_usd as spent, lend_seq as seq,
                  closed_at is not null as "closed!"
             from budget_leases where lease_id = $1"#,
        lease as LeaseId,
    )
    .fetch_optional(conn)
    .await
}

/// What a window could still give, and what replicas have of it.
pub(crate) async fn standing(
    conn: &mut PgConnection,
    budget: Uuid,
    starts_at: Timestamp,
) -> Result<Standing, sqlx::Error> {
    let found = sqlx::query!(
        r#"select available_nano_usd as available,
                  (select coalesce(sum(lent_nano_usd - spent_nano_usd), 0)::bigint from budget_leases
                    where budget_id = $1 and starts_at = $2 and closed_at is null) as "lent_unspent!"
             from budget_windows where budget_id = $1 and starts_at = $2"#,
        budget,
        starts_at as Timestamp,
    )
    .fetch_optional(conn)
    .await?;
    Ok(found.map_or_else(Standing::default, |row| Standing {
        suspended: false,
        available: row.available,
        lent_unspent: row.lent_unspent,
    }))
}

/// Gives these leases, as far as they are open, another life, and returns those that got it.
pub(crate) async fn renew(
    conn: &mut PgConnection,
    leases: &[LeaseId],
    ttl_s: f64,
) -> Result<Vec<LeaseId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"with due as (
             select lease_id from budget_leases where lease_id = any($1) and closed_at is null
              order by lease_id for update)
           update budget_leases l set expires_at = now() + make_interval(secs => $2)
             from due where l.lease_id = due.lease_id returning l.lease_id as "lease_id: LeaseId""#,
        leases as &[LeaseId],
        ttl_s,
    )
    .fetch_all(conn)
    .await
}

/// Closes leases and returns what was not spent to their windows. With `grace_s`, only those that
/// expired that long ago. Closing again does nothing.
pub(crate) async fn close(
    conn: &mut PgConnection,
    leases: &[LeaseId],
    grace_s: Option<f64>,
) -> Result<Vec<LeaseId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"with due as (
             select lease_id from budget_leases
              where lease_id = any($1) and closed_at is null
                and ($2::float8 is null or expires_at < now() - make_interval(secs => $2))
              order by lease_id for update),
           closed as (
             update budget_leases l set closed_at = now() from due where l.lease_id = due.lease_id
             returning l.lease_id, l.budget_id, l.starts_at, l.lent_nano_usd - l.spent_nano_usd as unspent),
           back as (
             select budget_id, starts_at, sum(unspent)::bigint as unspent from closed group by budget_id, starts_at),
           locked as (
             select w.budget_id, w.starts_at from budget_windows w
              where (w.budget_id, w.starts_at) in (select budget_id, starts_at from back)
              order by w.budget_id, w.starts_at for update),
           paid as (
             update budget_windows w
                set available_nano_usd = w.available_nano_usd + greatest(back.unspent - w.over_nano_usd, 0),
                    over_nano_usd = greatest(w.over_nano_usd - back.unspent, 0)
               from back join locked using (budget_id, starts_at)
              where w.budget_id = back.budget_id and w.starts_at = back.starts_at returning 1)
           select lease_id as "lease_id!: LeaseId" from closed where (select count(*) from paid) >= 0"#,
        leases as &[LeaseId],
        grace_s,
    )
    .fetch_all(conn)
    .await
}

/// Open leases that expired more than `grace_s` ago, oldest first.
pub(crate) async fn list_expired(
    conn: &mut PgConnection,
    grace_s: f64,
    limit: i64,
) -> Result<Vec<LeaseId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select lease_id as "lease_id: LeaseId" from budget_leases
            where closed_at is null and expires_at < now() - make_interval(secs => $1)
            order by expires_at limit $2"#,
        grace_s,
        limit,
    )
    .fetch_all(conn)
    .await
}

/// Open leases of other boots of this replica.
pub(crate) async fn list_of_earlier_boots(
    conn: &mut PgConnection,
    replica: &str,
    boot: BootId,
) -> Result<Vec<LeaseId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select l.lease_id as "lease_id: LeaseId" from budget_leases l join replicas r using (boot_id)
            where r.name = $1 and r.boot_id <> $2 and l.closed_at is null order by 1"#,
        replica,
        boot as BootId,
    )
    .fetch_all(conn)
    .await
}

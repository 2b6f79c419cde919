//! Credit lent from accounts to replicas.

use protocol::{BootId, LeaseId, OrganizationId};
use sqlx::PgConnection;

use super::{Ask, LeaseRow, Lent};
use crate::lease::Standing;

/// Opens a lease, or finds the one this boot has open; `None` when there is no such account.
pub(crate) async fn open(
    conn: &mut PgConnection,
    lease: LeaseId,
    account: OrganizationId,
    boot: BootId,
    ttl_s: f64,
) -> Result<Option<LeaseRow>, sqlx::Error> {
    sqlx::query_as!(
        LeaseRow,
        r#"with opened as (
             insert into leases (lease_id, account_id, boot_id, expires_at)
             select $1, account_id, $3, now() + make_interval(secs => $4) from accounts where account_id = $2
             on conflict (account_id, boot_id) where closed_at is null do nothing
             returning lease_id, lent_nano_usd, spent_nano_usd, lend_seq)
           select lease_id as "lease!: LeaseId", lent_nano_usd as "lent!", spent_nano_usd as "spent!",
                  lend_seq as "seq!", false as "closed!"
             from (select * from opened
                   union all
                   select lease_id, lent_nano_usd, spent_nano_usd, lend_seq from leases
                    where account_id = $2 and boot_id = $3 and closed_at is null) found
            limit 1"#,
        lease as LeaseId,
        account as OrganizationId,
        boot as BootId,
        ttl_s,
    )
    .fetch_optional(conn)
    .await
}

/// Lends, or takes back. `None`: that number was used already, the lease is closed, the account may not
/// borrow, or it has too little; [`find`] and [`standing`] tell which.
pub(crate) async fn lend(conn: &mut PgConnection, lease: LeaseId, ask: &Ask) -> Result<Option<Lent>, sqlx::Error> {
    sqlx::query_as!(
        Lent,
        r#"with l as (
             select lease_id, account_id from leases
              where lease_id = $1 and lend_seq = $2 and closed_at is null for update),
           a as (
             select a.account_id, a.available_nano_usd as available
               from accounts a join l using (account_id)
              where ($3::bigint < 0 or $9 or a.state = 'active') and a.available_nano_usd >= $3 for update of a),
           sized as (
             select account_id, available - greatest($4::bigint, 0) < $6 as low, available,
                    case when available - greatest($4::bigint, 0) < $6 then 0
                         else least($5, available / 10000 * $7) end as target from a),
           g as (
             select account_id, low, target,
                    case when $3::bigint < 0 then $3 when $9 then 0
                         else least(available, greatest($4, target)) end as amount from sized),
           taken as (
             update accounts set available_nano_usd = accounts.available_nano_usd - g.amount
               from g where accounts.account_id = g.account_id
             returning g.amount, g.target, g.low)
           update leases u set lent_nano_usd = u.lent_nano_usd + taken.amount, lend_seq = u.lend_seq + 1,
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
             from leases where lease_id = $1"#,
        lease as LeaseId,
    )
    .fetch_optional(conn)
    .await
}

/// What an account could still give, and what replicas have of it.
pub(crate) async fn standing(conn: &mut PgConnection, account: OrganizationId) -> Result<Standing, sqlx::Error> {
    let found = sqlx::query!(
        r#"select state <> 'active' as "suspended!", available_nano_usd as available,
                  (select coalesce(sum(lent_nano_usd - spent_nano_usd), 0)::bigint from leases
                    where account_id = $1 and closed_at is null) as "lent_unspent!"
             from accounts where account_id = $1"#,
        account as OrganizationId,
    )
    .fetch_optional(conn)
    .await?;
    Ok(found.map_or_else(Standing::default, |row| Standing {
        suspended: row.suspended,
        available: row.available,
        lent_unspent: row.lent_unspent,
    }))
}

/// Gives these leases, as far as they are open, another life, and returns those that got it.
/// Accounts that may not borrow are skipped: their leases run out.
pub(crate) async fn renew(
    conn: &mut PgConnection,
    leases: &[LeaseId],
    ttl_s: f64,
) -> Result<Vec<LeaseId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"with due as (
             select l.lease_id from leases l join accounts a using (account_id)
              where l.lease_id = any($1) and l.closed_at is null and a.state = 'active'
              order by l.lease_id for update of l)
           update leases l set expires_at = now() + make_interval(secs => $2)
             from due where l.lease_id = due.lease_id returning l.lease_id as "lease_id: LeaseId""#,
        leases as &[LeaseId],
        ttl_s,
    )
    .fetch_all(conn)
    .await
}

/// Closes leases and returns what was not spent to their accounts. With `grace_s`, only those that
/// expired that long ago. Closing again does nothing: the row lock decides against a settle or another reaper.
pub(crate) async fn close(
    conn: &mut PgConnection,
    leases: &[LeaseId],
    grace_s: Option<f64>,
) -> Result<Vec<LeaseId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"with due as (
             select lease_id from leases
              where lease_id = any($1) and closed_at is null
                and ($2::float8 is null or expires_at < now() - make_interval(secs => $2))
              order by lease_id for update),
           closed as (
             update leases l set closed_at = now() from due where l.lease_id = due.lease_id
             returning l.lease_id, l.account_id, l.lent_nano_usd - l.spent_nano_usd as unspent),
           back as (select account_id, sum(unspent)::bigint as unspent from closed group by account_id),
           locked as (
             select account_id from accounts where account_id in (select account_id from back)
              order by account_id for update),
           paid as (
             update accounts a set available_nano_usd = a.available_nano_usd + back.unspent
               from back join locked using (account_id) where a.account_id = back.account_id returning 1)
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
        r#"select lease_id as "lease_id: LeaseId" from leases
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
        r#"select l.lease_id as "lease_id: LeaseId" from leases l join replicas r using (boot_id)
            where r.name = $1 and r.boot_id <> $2 and l.closed_at is null order by 1"#,
        replica,
        boot as BootId,
    )
    .fetch_all(conn)
    .await
}

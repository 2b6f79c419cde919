//! Grants: what is left of each gift or payment.

use protocol::{GrantId, NanoUsd, OrganizationId, Timestamp};
use sqlx::PgConnection;

use crate::grant::NewGrant;

/// Takes the account's row lock, which every change of its grants is made under.
pub(crate) async fn lock_account(conn: &mut PgConnection, account: OrganizationId) -> Result<(), sqlx::Error> {
    sqlx::query!("select 1 as one from accounts where account_id = $1 for update", account as OrganizationId)
        .fetch_optional(conn)
        .await?;
    Ok(())
}

/// The grant an occasion gave an account, and how much it was.
pub(crate) async fn find_by_cause(
    conn: &mut PgConnection,
    account: OrganizationId,
    kind: &str,
    cause: &str,
) -> Result<Option<(GrantId, NanoUsd)>, sqlx::Error> {
    let found = sqlx::query!(
        r#"select grant_id as "grant: GrantId", amount_nano_usd as "amount: NanoUsd" from grants
            where account_id = $1 and kind = $2 and cause = $3"#,
        account as OrganizationId,
        kind,
        cause,
    )
    .fetch_optional(conn)
    .await?;
    Ok(found.map(|row| (row.grant, row.amount)))
}

/// Adds a grant and makes what is not `repaid` of it available. The caller holds the account's lock.
pub(crate) async fn insert(
    conn: &mut PgConnection,
    id: GrantId,
    new: &NewGrant,
    repaid: NanoUsd,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into grants (grant_id, account_id, kind, cause, amount_nano_usd, remaining_nano_usd, expires_at, granted_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        id as GrantId,
        new.account as OrganizationId,
        new.kind.as_str(),
        new.cause,
        new.amount as NanoUsd,
        new.amount.saturating_sub(repaid) as NanoUsd,
        new.expires_at as Option<Timestamp>,
        now as Timestamp,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "update accounts set available_nano_usd = available_nano_usd + $2 where account_id = $1",
        new.account as OrganizationId,
        new.amount.saturating_sub(repaid) as NanoUsd,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes (Σ remaining − available − leased unspent) from the grants. The caller holds the account's
/// lock, so nothing is lent, returned or granted meanwhile; what settles meanwhile is burned next time.
pub(crate) async fn burn(conn: &mut PgConnection, account: OrganizationId) -> Result<NanoUsd, sqlx::Error> {
    let burned = sqlx::query_scalar!(
        r#"with due as (
             select (select coalesce(sum(remaining_nano_usd), 0) from grants
                      where account_id = $1 and remaining_nano_usd > 0)
                  - (select available_nano_usd from accounts where account_id = $1)
                  - (select coalesce(sum(lent_nano_usd - spent_nano_usd), 0) from leases
                      where account_id = $1 and closed_at is null) as amount),
           locked as (
             select grant_id, kind, remaining_nano_usd, expires_at, granted_at from grants
              where account_id = $1 and remaining_nano_usd > 0 order by grant_id for update),
           ordered as (
             select grant_id, remaining_nano_usd,
                    sum(remaining_nano_usd) over (
                      order by kind <> 'promo', expires_at nulls last, granted_at, grant_id) - remaining_nano_usd as before
               from locked),
           shares as (
             select grant_id, least(remaining_nano_usd, greatest(due.amount - before, 0))::bigint as share
               from ordered, due),
           burned as (
             update grants g set remaining_nano_usd = g.remaining_nano_usd - s.share
               from shares s where g.grant_id = s.grant_id and s.share > 0 returning s.share)
           select coalesce(sum(share), 0)::bigint as "burned!: NanoUsd" from burned"#,
        account as OrganizationId,
    )
    .fetch_one(conn)
    .await?;
    Ok(burned)
}

/// An expired gift with something left.
#[derive(Debug, Clone)]
pub(crate) struct Expired {
    pub grant: GrantId,
    pub kind: String,
    /// What was taken back before.
    pub expired: NanoUsd,
}

/// Expired gifts of an account with something left, oldest first. What was paid for never expires.
pub(crate) async fn list_expired(
    conn: &mut PgConnection,
    account: OrganizationId,
    now: Timestamp,
) -> Result<Vec<Expired>, sqlx::Error> {
    sqlx::query_as!(
        Expired,
        r#"select grant_id as "grant: GrantId", kind, expired_nano_usd as "expired: NanoUsd" from grants
            where account_id = $1 and kind <> 'card' and remaining_nano_usd > 0 and expires_at <= $2
            order by expires_at, grant_id"#,
        account as OrganizationId,
        now as Timestamp,
    )
    .fetch_all(conn)
    .await
}

/// Takes what is left of a grant, as far as more is available than burns after it: the rest is in use, and what is in
/// use burns first. `None` when that is nothing. The caller holds the account's lock.
pub(crate) async fn expire(
    conn: &mut PgConnection,
    account: OrganizationId,
    grant: GrantId,
) -> Result<Option<NanoUsd>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"with ordered as (
             select grant_id, remaining_nano_usd, coalesce(sum(remaining_nano_usd) over (
                      order by kind <> 'promo', expires_at nulls last, granted_at, grant_id
                      rows between 1 following and unbounded following), 0) as after
               from grants where account_id = $1 and remaining_nano_usd > 0),
           part as (
             select least(o.remaining_nano_usd, a.available_nano_usd - o.after)::bigint as amount
               from ordered o, accounts a where o.grant_id = $2 and a.account_id = $1),
           taken as (
             update accounts a set available_nano_usd = a.available_nano_usd - part.amount
               from part where a.account_id = $1 and part.amount > 0 returning part.amount)
           update grants g set remaining_nano_usd = g.remaining_nano_usd - taken.amount,
                  expired_nano_usd = g.expired_nano_usd + taken.amount
             from taken where g.grant_id = $2 returning taken.amount as "amount!: NanoUsd""#,
        account as OrganizationId,
        grant as GrantId,
    )
    .fetch_optional(conn)
    .await
}

/// Accounts that spent something their grants don't show yet, or have gifts to expire.
pub(crate) async fn list_to_burn(
    conn: &mut PgConnection,
    after: Option<OrganizationId>,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<OrganizationId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select a.account_id as "account_id: OrganizationId" from accounts a
             join lateral (
               select coalesce(sum(remaining_nano_usd), 0) as remaining,
                      bool_or(kind <> 'card' and expires_at <= $2) as expired
                 from grants g where g.account_id = a.account_id and g.remaining_nano_usd > 0) left_over on true
            where ($1::uuid is null or a.account_id > $1)
              and (left_over.expired or left_over.remaining > a.available_nano_usd + (
                    select coalesce(sum(lent_nano_usd - spent_nano_usd), 0) from leases l
                     where l.account_id = a.account_id and l.closed_at is null))
            order by a.account_id limit $3"#,
        after as Option<OrganizationId>,
        now as Timestamp,
        limit,
    )
    .fetch_all(conn)
    .await
}

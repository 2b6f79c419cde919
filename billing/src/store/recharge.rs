//! Rules that charge a saved card by themselves, and what they judge by.

use protocol::{CardId, NanoUsd, OrganizationId, Timestamp};
use sqlx::PgConnection;

use crate::recharge::{Rule, Stopped};

/// A row, before what stopped it is read.
struct Row {
    account: OrganizationId,
    threshold: NanoUsd,
    amount: NanoUsd,
    daily_cap: NanoUsd,
    monthly_cap: NanoUsd,
    card: CardId,
    stopped: Option<String>,
    declines: i32,
    decline_code: Option<String>,
    retry_at: Option<Timestamp>,
    set_at: Timestamp,
}

impl TryFrom<Row> for Rule {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let unreadable = || sqlx::Error::Decode("nothing known stopped this rule".into());
        let stopped = row.stopped.map(|name| Stopped::from_stored(&name).ok_or_else(unreadable)).transpose()?;
        Ok(Self {
            account: row.account,
            threshold: row.threshold,
            amount: row.amount,
            daily_cap: row.daily_cap,
            monthly_cap: row.monthly_cap,
            card: row.card,
            stopped,
            declines: row.declines.unsigned_abs(),
            decline_code: row.decline_code,
            retry_at: row.retry_at,
            set_at: row.set_at,
        })
    }
}

/// The rule of an account.
///
/// # Errors
/// When the database call fails.
pub async fn find(conn: &mut PgConnection, account: OrganizationId) -> Result<Option<Rule>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select account_id as "account: OrganizationId", threshold_nano_usd as "threshold: NanoUsd",
                  amount_nano_usd as "amount: NanoUsd", daily_cap_nano_usd as "daily_cap: NanoUsd",
                  monthly_cap_nano_usd as "monthly_cap: NanoUsd", card_id as "card: CardId", stopped, declines,
                  decline_code, retry_at as "retry_at: Timestamp", set_at as "set_at: Timestamp"
             from recharge_rules where account_id = $1"#,
        account as OrganizationId,
    )
    .fetch_optional(conn)
    .await?;
    row.map(Rule::try_from).transpose()
}

/// Writes a rule as it is, over the one before. The caller holds the account's lock.
pub(crate) async fn set(conn: &mut PgConnection, rule: &Rule) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into recharge_rules (account_id, threshold_nano_usd, amount_nano_usd, daily_cap_nano_usd,
                                     monthly_cap_nano_usd, card_id, stopped, declines, decline_code, retry_at, set_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         on conflict (account_id) do update
           set threshold_nano_usd = excluded.threshold_nano_usd, amount_nano_usd = excluded.amount_nano_usd,
               daily_cap_nano_usd = excluded.daily_cap_nano_usd, monthly_cap_nano_usd = excluded.monthly_cap_nano_usd,
               card_id = excluded.card_id, stopped = excluded.stopped, declines = excluded.declines,
               decline_code = excluded.decline_code, retry_at = excluded.retry_at, set_at = excluded.set_at",
        rule.account as OrganizationId,
        rule.threshold as NanoUsd,
        rule.amount as NanoUsd,
        rule.daily_cap as NanoUsd,
        rule.monthly_cap as NanoUsd,
        rule.card as CardId,
        rule.stopped.map(Stopped::as_str),
        i32::try_from(rule.declines).unwrap_or(i32::MAX),
        rule.decline_code,
        rule.retry_at as Option<Timestamp>,
        rule.set_at as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes the rule of an account away. False when there was none.
///
/// # Errors
/// When the database call fails.
pub async fn remove(conn: &mut PgConnection, account: OrganizationId) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!("delete from recharge_rules where account_id = $1", account as OrganizationId)
        .execute(conn)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Stops the rule that charges this card. The caller holds the account's lock.
pub(crate) async fn stop_of_card(
    conn: &mut PgConnection,
    account: OrganizationId,
    card: CardId,
    why: Stopped,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update recharge_rules set stopped = $3 where account_id = $1 and card_id = $2",
        account as OrganizationId,
        card as CardId,
        why.as_str(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Forgets the declines of an account whose card has paid. The caller holds the account's lock.
pub(crate) async fn paid(conn: &mut PgConnection, account: OrganizationId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update recharge_rules set declines = 0, decline_code = null, retry_at = null
          where account_id = $1 and stopped is null",
        account as OrganizationId,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What an account may still spend: available, and lent and not spent. `None` when it may not spend at all, or a
/// payment of it was disputed and not won: whether its card may be charged was the very question then.
pub(crate) async fn balance(conn: &mut PgConnection, account: OrganizationId) -> Result<Option<NanoUsd>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select (available_nano_usd + coalesce((
                    select sum(lent_nano_usd - spent_nano_usd) from leases l
                     where l.account_id = a.account_id and closed_at is null), 0))::bigint as "balance!: NanoUsd"
             from accounts a where account_id = $1 and state = 'active'
              and not exists (select from disputes d where d.account_id = a.account_id
                                 and d.state in ('inquiry', 'open', 'lost'))"#,
        account as OrganizationId,
    )
    .fetch_optional(conn)
    .await
}

/// What an account's card was charged by itself since a time, and may be about to be.
pub(crate) async fn charged_since(
    conn: &mut PgConnection,
    account: OrganizationId,
    since: Timestamp,
) -> Result<NanoUsd, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select coalesce(sum(amount_nano_usd), 0)::bigint as "charged!: NanoUsd" from topups
            where account_id = $1 and card_id is not null and created_at >= $2
              and state in ('opening', 'open', 'paid')"#,
        account as OrganizationId,
        since as Timestamp,
    )
    .fetch_one(conn)
    .await
}

/// Accounts below what their rule allows, nothing being under way for them.
pub(crate) async fn list_due(
    conn: &mut PgConnection,
    now: Timestamp,
    after: Option<OrganizationId>,
    limit: i64,
) -> Result<Vec<OrganizationId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select r.account_id as "account: OrganizationId" from recharge_rules r join accounts a using (account_id)
            where r.stopped is null and (r.retry_at is null or r.retry_at <= $1) and a.state = 'active'
              and ($2::uuid is null or r.account_id > $2)
              and a.available_nano_usd < r.threshold_nano_usd
              and a.available_nano_usd + coalesce((
                    select sum(lent_nano_usd - spent_nano_usd) from leases l
                     where l.account_id = a.account_id and l.closed_at is null), 0) < r.threshold_nano_usd
              and not exists (select from topups t where t.account_id = a.account_id and t.card_id is not null
                                 and t.state in ('opening', 'open'))
              and not exists (select from disputes d where d.account_id = a.account_id
                                 and d.state in ('inquiry', 'open', 'lost'))
            order by r.account_id limit $3"#,
        now as Timestamp,
        after as Option<OrganizationId>,
        limit,
    )
    .fetch_all(conn)
    .await
}

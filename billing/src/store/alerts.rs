//! Parts of spend limits that were reached.

use protocol::event::{Event, Spender};
use protocol::{EventId, NanoUsd, OrganizationId, Timestamp};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::budget::BudgetScope;

/// Parts of a limit that are told of, in percent.
const THRESHOLDS_PERCENT: [i16; 3] = [50, 80, 100];

/// A part that was reached and that nobody was told of yet.
pub(crate) struct Untold {
    pub event: Event,
    key: (Uuid, Timestamp, i16),
}

/// Notices what usage between two watermarks has reached, and was not noticed before. A limit that was removed
/// tells nobody.
///
/// Spending within a window only grows, and whatever makes it grow is usage: looking at the windows of new usage
/// misses none, and a second look finds nothing new.
pub(crate) async fn notice(conn: &mut PgConnection, from: &str, upto: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into spend_alerts (budget_id, starts_at, threshold_percent, account_id, limit_nano_usd, spent_nano_usd)
         select budget_id, starts_at, percent, account_id, limit_nano_usd, spent
           from (
             select w.budget_id, w.starts_at, touched.account_id, w.limit_nano_usd,
                    w.late_nano_usd + (select coalesce(sum(spent_nano_usd), 0)::bigint from budget_leases l
                                        where l.budget_id = w.budget_id and l.starts_at = w.starts_at) as spent
               from (
                 select distinct l.budget_id, l.starts_at, u.account_id
                   from usage u
                   cross join unnest(array[u.key_lease_id, u.project_lease_id, u.organization_lease_id]) as lent (lease_id)
                   join budget_leases l on l.lease_id = lent.lease_id
                  where u.xid >= $1::text::xid8 and u.xid < $2::text::xid8) touched
               join budget_windows w using (budget_id, starts_at)
               join budgets b using (budget_id)
              where b.removed_at is null and w.limit_nano_usd > 0) windows
           cross join unnest($3::smallint[]) as parts (percent)
          where spent::numeric * 100 >= limit_nano_usd::numeric * percent
         on conflict do nothing",
        from,
        upto,
        &THRESHOLDS_PERCENT[..],
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Locks alerts nobody was told of, the smaller parts first; those another replica is telling of are left out.
pub(crate) async fn claim_untold(conn: &mut PgConnection, limit: usize) -> Result<Vec<Untold>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select a.budget_id, a.starts_at as "starts_at: Timestamp", a.threshold_percent,
                  a.account_id as "account: OrganizationId", a.limit_nano_usd as "limit: NanoUsd",
                  a.spent_nano_usd as "spent: NanoUsd", b.scope_kind, b.scope_id, b.reset
             from spend_alerts a join budgets b using (budget_id)
            where a.event_id is null
            order by a.noticed_at, a.budget_id, a.threshold_percent limit $1
              for update of a skip locked"#,
        i64::try_from(limit).unwrap_or(i64::MAX),
    )
    .fetch_all(conn)
    .await?;
    let read = rows.into_iter().map(|row| {
        let spender = match BudgetScope::from_stored(&row.scope_kind, row.scope_id) {
            Some(BudgetScope::Key(key)) => Spender::Key(key),
            Some(BudgetScope::Project(project)) => Spender::Project(project),
            Some(BudgetScope::Organization(organization)) => Spender::Organization(organization),
            None => return Err(sqlx::Error::Decode("a budget of an unknown kind".into())),
        };
        let event = Event::SpendThresholdReached {
            organization: row.account,
            spender,
            threshold_percent: row.threshold_percent.unsigned_abs().try_into().unwrap_or(u8::MAX),
            limit: row.limit,
            spent: row.spent,
            window_starts_at: row.reset.is_some().then_some(row.starts_at),
        };
        Ok(Untold { event, key: (row.budget_id, row.starts_at, row.threshold_percent) })
    });
    read.collect()
}

/// Writes down the fact an alert has become.
pub(crate) async fn told(conn: &mut PgConnection, alert: &Untold, event: EventId) -> Result<(), sqlx::Error> {
    let (budget, starts_at, percent) = alert.key;
    sqlx::query!(
        "update spend_alerts set event_id = $4 where budget_id = $1 and starts_at = $2 and threshold_percent = $3",
        budget,
        starts_at as Timestamp,
        percent,
        event as EventId,
    )
    .execute(conn)
    .await?;
    Ok(())
}

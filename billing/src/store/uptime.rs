//! How often offers answered, minute by minute, from their attempts as they were settled.

use std::collections::HashMap;
use std::time::Duration;

use protocol::{Id as _, OfferId, Timestamp};
use sqlx::PgConnection;
use uuid::Uuid;

/// The longest span that is shown, and so how long a minute is kept.
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Percent of an offer's attempts that it answered, among those that count. `None` where none was made.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Uptime {
    /// In the last five minutes.
    pub last_5m: Option<f64>,
    /// In the last half hour.
    pub last_30m: Option<f64>,
    /// In the last day.
    pub last_1d: Option<f64>,
}

/// Adds the attempts of a range of transactions to their minutes. A busy node, a refused request and whatever
/// the user or the broker broke off say nothing about the offer.
pub(crate) async fn fold(conn: &mut PgConnection, from: &str, upto: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into offer_minutes (offer_id, minute, good, bad)
         select offer_id, date_trunc('minute', finished_at, 'UTC'), count(*) filter (where good),
                count(*) filter (where bad)
           from (select offer_id, finished_at, outcome in ('completed', 'length', 'content_filter') as good,
                        outcome = 'provider_failed' and status is distinct from 403
                          and coalesce(error_code, '') not in ('busy', 'refused_request', 'cancelled') as bad
                   from attempts where xid >= $1::text::xid8 and xid < $2::text::xid8) judged
          where good or bad
          group by 1, 2
         on conflict (offer_id, minute) do update
           set good = offer_minutes.good + excluded.good, bad = offer_minutes.bad + excluded.bad",
        from,
        upto,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Drops minutes nobody is shown any more. Returns how many.
pub(crate) async fn prune(conn: &mut PgConnection, now: Timestamp) -> Result<u64, sqlx::Error> {
    let before = now.minus(DAY);
    let done = sqlx::query!("delete from offer_minutes where minute < $1", before as Timestamp).execute(conn).await?;
    Ok(done.rows_affected())
}

/// How often each of these offers answered lately; those without a counted attempt in a day are left out.
///
/// Spans begin at their first whole minute, and the last seconds are missing until they are folded.
///
/// # Errors
/// When the database call fails.
pub async fn list(
    conn: &mut PgConnection,
    offers: &[OfferId],
    now: Timestamp,
) -> Result<HashMap<OfferId, Uptime>, sqlx::Error> {
    let ids: Vec<Uuid> = offers.iter().map(|offer| offer.uuid()).collect();
    let since = |seconds| now.minus(Duration::from_secs(seconds));
    let rows = sqlx::query!(
        r#"select offer_id as "offer: OfferId", sum(good)::bigint as "good_1d!", sum(bad)::bigint as "bad_1d!",
                  coalesce(sum(good) filter (where minute >= $3), 0)::bigint as "good_30m!",
                  coalesce(sum(bad) filter (where minute >= $3), 0)::bigint as "bad_30m!",
                  coalesce(sum(good) filter (where minute >= $4), 0)::bigint as "good_5m!",
                  coalesce(sum(bad) filter (where minute >= $4), 0)::bigint as "bad_5m!"
             from offer_minutes where offer_id = any($1) and minute >= $2
            group by offer_id"#,
        &ids,
        now.minus(DAY) as Timestamp,
        since(1_800) as Timestamp,
        since(300) as Timestamp,
    )
    .fetch_all(conn)
    .await?;
    let uptime = rows.into_iter().map(|row| {
        let uptime = Uptime {
            last_5m: percent(row.good_5m, row.bad_5m),
            last_30m: percent(row.good_30m, row.bad_30m),
            last_1d: percent(row.good_1d, row.bad_1d),
        };
        (row.offer, uptime)
    });
    Ok(uptime.collect())
}

fn percent(good: i64, bad: i64) -> Option<f64> {
    let all = good + bad;
    (all > 0).then(|| 100.0 * good as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn of_nothing_there_is_no_share() {
        assert_eq!([percent(0, 0), percent(3, 1), percent(0, 2)], [None, Some(75.0), Some(0.0)]);
    }
}

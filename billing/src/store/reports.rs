//! What nodes signed about attempts, kept beside the gateway's own count.

use std::time::Duration;

use protocol::env::minted_at;
use protocol::price::Units;
use protocol::receipt::{SignedReport, UsageReport};
use protocol::{AttemptId, Id as _, NodeId, OfferId, ProviderId, RequestId, Timestamp};
use sqlx::PgConnection;

use super::partitions;

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Kept now.
    New,
    /// The attempt had a report; the first one stays.
    Earlier,
    /// The attempt is someone else's.
    NotYours,
}

/// How far the node's count of one attempt is from the gateway's, which decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Comparison {
    /// The larger difference of prompt or output, in thousandths of the gateway's count.
    apart_permille: u64,
}

impl Comparison {
    /// More apart than this sets a flag.
    const FLAG_PERMILLE: u64 = 20;

    fn of(gateway: Units, reported: Units) -> Self {
        let apart = |ours: u64, theirs: u64| ours.abs_diff(theirs).saturating_mul(1_000) / ours.max(1);
        let (ours, theirs) = (gateway.completion_total(), reported.completion_total());
        // Engines say nothing of tokens beside a picture, a sound or a judgement: there a node has none to report.
        if ours == 0 && theirs == 0 && reported.prompt_total() == 0 {
            return Self { apart_permille: 0 };
        }
        // Engines count the token that ends an answer, which no client ever sees.
        let completion = if theirs == ours + 1 { 0 } else { apart(ours, theirs) };
        let apart_permille = completion.max(apart(gateway.prompt_total(), reported.prompt_total()));
        Self { apart_permille }
    }

    /// True when the counts are too far apart to be chance.
    fn is_flagged(self) -> bool {
        self.apart_permille > Self::FLAG_PERMILLE
    }
}

/// Keeps a report whose signature was checked. It may come before its request is settled.
///
/// # Errors
/// When the database call fails, as for an attempt dated where no partition is.
pub async fn keep(
    conn: &mut PgConnection,
    provider: ProviderId,
    signed: &SignedReport,
    now: Timestamp,
) -> Result<Kept, sqlx::Error> {
    let UsageReport { attempt, request, node, offer, price_version, units, .. } = &signed.report;
    let json = serde_json::to_value(signed).map_err(|e| sqlx::Error::Encode(Box::new(e)))?;
    let owned = sqlx::query_scalar!(
        r#"select provider_id = $2 and node_id = $3 and request_id = $4 as "own!" from attempts where attempt_id = $1"#,
        *attempt as AttemptId,
        provider as ProviderId,
        *node as NodeId,
        *request as RequestId,
    )
    .fetch_optional(&mut *conn)
    .await?;
    if owned == Some(false) {
        return Ok(Kept::NotYours);
    }
    let new = sqlx::query!(
        "insert into usage_reports (attempt_id, request_id, provider_id, node_id, offer_id, price_version, prompt,
           cached_prompt, cache_write, completion, internal_reasoning, requests, signed, received_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) on conflict (attempt_id) do nothing",
        *attempt as AttemptId,
        *request as RequestId,
        provider as ProviderId,
        *node as NodeId,
        *offer as OfferId,
        price_version.cast_signed(),
        i64::from(units.prompt),
        i64::from(units.cached_prompt),
        i64::from(units.cache_write),
        i64::from(units.completion),
        i64::from(units.internal_reasoning),
        i64::from(units.request),
        json,
        now as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(if new.rows_affected() == 1 { Kept::New } else { Kept::Earlier })
}

/// Keeps reports whose signatures were checked, all in one statement. Returns the attempts that are someone
/// else's, whose reports are not kept.
///
/// # Errors
/// When the database call fails; one attempt dated where no partition is fails all of them.
pub async fn keep_all(
    conn: &mut PgConnection,
    provider: ProviderId,
    reports: &[SignedReport],
    now: Timestamp,
) -> Result<Vec<AttemptId>, sqlx::Error> {
    let json = reports.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>();
    let json = json.map_err(|e| sqlx::Error::Encode(Box::new(e)))?;
    let uuids = |of: fn(&UsageReport) -> uuid::Uuid| reports.iter().map(|r| of(&r.report)).collect::<Vec<_>>();
    let counts = |of: fn(&Units) -> u32| reports.iter().map(|r| i64::from(of(&r.report.units))).collect::<Vec<_>>();
    let versions: Vec<i32> = reports.iter().map(|r| r.report.price_version.cast_signed()).collect();
    sqlx::query_scalar!(
        r#"with given as (
             select * from unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::int[], $7::bigint[], $8::bigint[],
                                  $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::jsonb[])
               as g (attempt_id, request_id, node_id, offer_id, price_version, prompt, cached_prompt, cache_write,
                     completion, internal_reasoning, requests, signed)),
           foreign_ones as (
             select g.attempt_id from given g join attempts a on a.attempt_id = g.attempt_id
              where a.provider_id <> $1 or a.node_id <> g.node_id or a.request_id <> g.request_id),
           kept as (
             insert into usage_reports (attempt_id, request_id, provider_id, node_id, offer_id, price_version, prompt,
                                        cached_prompt, cache_write, completion, internal_reasoning, requests, signed,
                                        received_at)
             select g.attempt_id, g.request_id, $1, g.node_id, g.offer_id, g.price_version, g.prompt, g.cached_prompt,
                    g.cache_write, g.completion, g.internal_reasoning, g.requests, g.signed, $14
               from given g where g.attempt_id not in (select attempt_id from foreign_ones)
              order by g.attempt_id
             on conflict (attempt_id) do nothing)
           select attempt_id as "attempt_id!: AttemptId" from foreign_ones"#,
        provider as ProviderId,
        &uuids(|r| r.attempt.uuid()),
        &uuids(|r| r.request.uuid()),
        &uuids(|r| r.node.uuid()),
        &uuids(|r| r.offer.uuid()),
        &versions,
        &counts(|u| u.prompt),
        &counts(|u| u.cached_prompt),
        &counts(|u| u.cache_write),
        &counts(|u| u.completion),
        &counts(|u| u.internal_reasoning),
        &counts(|u| u.request),
        &json,
        now as Timestamp,
    )
    .fetch_all(conn)
    .await
}

/// How attempts are marked that are known only by their reports.
pub(crate) const RECOVERED: &str = "recovered";
/// So long after its report came an attempt that nobody settled is taken to be lost with its replica.
const LOST_AFTER: Duration = Duration::from_secs(600);
/// Of a provider's day so much may be recovered before a person looks, in thousandths.
const RECOVERED_PERMILLE: i64 = 5;
/// And so much may be apart.
const APART_PERMILLE: i64 = 10;
/// Fewer than this are chance, whatever their share.
const LEAST_TO_JUDGE: i64 = 10;

/// Reports of attempts between two ids of which, ten minutes after they came, the books know nothing. Oldest first.
pub(crate) async fn list_orphans(
    conn: &mut PgConnection,
    from: uuid::Uuid,
    to: uuid::Uuid,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<SignedReport>, sqlx::Error> {
    let signed = sqlx::query_scalar!(
        "select r.signed from usage_reports r
          where r.attempt_id > $1 and r.attempt_id <= $2 and r.received_at <= $3
            and not exists (select from attempts a where a.attempt_id = r.attempt_id)
            and not exists (select from usage u where u.request_id = r.request_id)
            and not exists (select from unrecovered_reports n where n.attempt_id = r.attempt_id)
          order by r.attempt_id limit $4",
        from,
        to,
        now.minus(LOST_AFTER) as Timestamp,
        limit,
    )
    .fetch_all(conn)
    .await?;
    // What was signed in another way before has no ticket either.
    Ok(signed.into_iter().filter_map(|signed| serde_json::from_value(signed).ok()).collect())
}

/// Writes down that a report was looked at and does not count.
pub(crate) async fn note_unrecovered(
    conn: &mut PgConnection,
    attempt: AttemptId,
    reason: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into unrecovered_reports (attempt_id, reason, noted_at) values ($1, $2, $3) on conflict do nothing",
        attempt as AttemptId,
        reason,
        now as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Adds recovered attempts to their providers' days; returns the providers one of whose days has too many, and how
/// many of how many that is.
pub(crate) async fn count_recovered(
    conn: &mut PgConnection,
    attempts: &[&super::rows::AttemptRow],
) -> Result<Vec<(ProviderId, String)>, sqlx::Error> {
    let providers: Vec<ProviderId> = attempts.iter().map(|row| row.provider).collect();
    let days: Vec<Timestamp> =
        attempts.iter().map(|row| minted_at(row.attempt.uuid()).unwrap_or(Timestamp::EPOCH)).collect();
    let rows = sqlx::query!(
        r#"insert into report_days as d (provider_id, day, attempts, apart, unsigned, recovered)
           select provider_id, (at at time zone 'UTC')::date, 0, 0, 0, count(*)
             from unnest($1::uuid[], $2::timestamptz[]) as r (provider_id, at) group by 1, 2 order by 1, 2
           on conflict (provider_id, day) do update set recovered = d.recovered + excluded.recovered
           returning provider_id as "provider: ProviderId", attempts, recovered"#,
        &providers as &[ProviderId],
        &days as &[Timestamp],
    )
    .fetch_all(conn)
    .await?;
    let many = |attempts: i64, recovered: i64| {
        recovered >= LEAST_TO_JUDGE && recovered * 1_000 > (attempts + recovered) * RECOVERED_PERMILLE
    };
    let told = rows.iter().filter(|row| many(row.attempts, row.recovered));
    Ok(told.map(|row| (row.provider, format!("{} of {}", row.recovered, row.attempts + row.recovered))).collect())
}

/// Providers one of whose days since `since` has too many reports apart, and how many of how many that is.
pub(crate) async fn list_apart(
    conn: &mut PgConnection,
    since: Timestamp,
) -> Result<Vec<(ProviderId, String)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select distinct on (provider_id) provider_id as "provider: ProviderId", attempts, apart from report_days
            where day >= ($1::timestamptz at time zone 'UTC')::date and apart >= $2 and apart * 1000 > attempts * $3
            order by provider_id, day desc"#,
        since as Timestamp,
        LEAST_TO_JUDGE,
        APART_PERMILLE,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.iter().map(|row| (row.provider, format!("{} of {}", row.apart, row.attempts))).collect())
}

/// A report is due this long after its attempt was dispatched: the longest request and a minute to settle it
/// (960 s), and the ten minutes a node has.
const DUE: Duration = Duration::from_secs(960 + 600);
/// Attempts judged in one transaction.
const JUDGED_AT_ONCE: i64 = 500;

/// What comparing a batch of attempts with their reports came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Judged {
    /// Answers compared.
    pub attempts: u64,
    /// Too far apart.
    pub apart: u64,
    /// Without a report.
    pub unsigned: u64,
    /// More may be due.
    pub is_full: bool,
}

/// Compares the next attempts whose reports are due with what was counted here, each once, and adds the outcome
/// to their providers' days. The gateway's count decides all the same. Run it in a transaction of its own; while
/// another replica is at it, nothing is judged.
///
/// Only answers that were given in full are compared: of one that was broken off, both sides saw another part.
///
/// # Errors
/// When a database call fails.
pub async fn judge(conn: &mut PgConnection, now: Timestamp) -> Result<Judged, sqlx::Error> {
    let cursor = sqlx::query_scalar!("select upto from report_cursor for update skip locked");
    let Some(from) = cursor.fetch_optional(&mut *conn).await? else { return Ok(Judged::default()) };
    let due = partitions::first_id(now.minus(DUE));
    let rows = sqlx::query!(
        r#"select a.attempt_id as "attempt: AttemptId", a.provider_id as "provider: ProviderId",
                  a.prompt, a.cached_prompt, a.cache_write, a.completion, a.internal_reasoning, a.requests,
                  r.prompt as "r_prompt?", r.cached_prompt as "r_cached_prompt?", r.cache_write as "r_cache_write?",
                  r.completion as "r_completion?", r.internal_reasoning as "r_internal_reasoning?",
                  r.requests as "r_requests?"
             from attempts a left join usage_reports r using (attempt_id, provider_id, node_id)
            where attempt_id > $1 and attempt_id < $2 and outcome in ('completed', 'length', 'content_filter')
            order by attempt_id limit $3"#,
        from,
        due,
        JUDGED_AT_ONCE,
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut verdicts = Verdicts::default();
    for row in &rows {
        let ours =
            [row.prompt, row.cached_prompt, row.cache_write, row.completion, row.internal_reasoning, row.requests];
        let theirs = [
            row.r_prompt,
            row.r_cached_prompt,
            row.r_cache_write,
            row.r_completion,
            row.r_internal_reasoning,
            row.r_requests,
        ];
        let reported = theirs.into_iter().collect::<Option<Vec<_>>>().and_then(|columns| columns.try_into().ok());
        let compared = reported.map(|reported| Comparison::of(units(ours), units(reported)));
        verdicts.push(row.attempt, row.provider, compared);
    }
    verdicts.write(conn, now).await?;
    let is_full = i64::try_from(rows.len()).is_ok_and(|found| found == JUDGED_AT_ONCE);
    let upto = rows.last().filter(|_| is_full).map_or(due.max(from), |last| last.attempt.uuid());
    sqlx::query!("update report_cursor set upto = $1", upto).execute(conn).await?;
    Ok(Judged { is_full, ..verdicts.sum })
}

/// Verdicts of a batch, column by column.
#[derive(Default)]
struct Verdicts {
    sum: Judged,
    attempt: Vec<AttemptId>,
    provider: Vec<ProviderId>,
    /// 0 for a report that agrees, none for one that never came.
    apart_permille: Vec<Option<i64>>,
}

impl Verdicts {
    fn push(&mut self, attempt: AttemptId, provider: ProviderId, compared: Option<Comparison>) {
        let apart =
            compared.map(|c| if c.is_flagged() { i64::try_from(c.apart_permille).unwrap_or(i64::MAX) } else { 0 });
        self.sum.attempts += 1;
        self.sum.apart += u64::from(apart.is_some_and(|apart| apart > 0));
        self.sum.unsigned += u64::from(apart.is_none());
        self.attempt.push(attempt);
        self.provider.push(provider);
        self.apart_permille.push(apart);
    }

    async fn write(&self, conn: &mut PgConnection, now: Timestamp) -> Result<(), sqlx::Error> {
        let days: Vec<Timestamp> =
            self.attempt.iter().map(|id| minted_at(id.uuid()).unwrap_or(Timestamp::EPOCH)).collect();
        sqlx::query!(
            "with judged as (
               select * from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::bigint[])
                 as j (attempt_id, provider_id, at, apart)),
             flagged as (
               insert into report_flags (attempt_id, provider_id, apart_permille, flagged_at)
               select attempt_id, provider_id, apart, $5 from judged where apart > 0 on conflict do nothing)
             insert into report_days as d (provider_id, day, attempts, apart, unsigned)
             select provider_id, (at at time zone 'UTC')::date, count(*), count(*) filter (where apart > 0),
                    count(*) filter (where apart is null)
               from judged group by 1, 2 order by 1, 2
             on conflict (provider_id, day) do update
               set attempts = d.attempts + excluded.attempts, apart = d.apart + excluded.apart,
                   unsigned = d.unsigned + excluded.unsigned",
            &self.attempt as &[AttemptId],
            &self.provider as &[ProviderId],
            &days as &[Timestamp],
            &self.apart_permille as &[Option<i64>],
            now as Timestamp,
        )
        .execute(conn)
        .await?;
        Ok(())
    }
}

/// What was judged of a provider's answers since the UTC day of `since`.
///
/// # Errors
/// When the database call fails.
pub async fn judged_since(
    conn: &mut PgConnection,
    provider: ProviderId,
    since: Timestamp,
) -> Result<Judged, sqlx::Error> {
    let row = sqlx::query!(
        r#"select coalesce(sum(attempts), 0)::bigint as "attempts!", coalesce(sum(apart), 0)::bigint as "apart!",
                  coalesce(sum(unsigned), 0)::bigint as "unsigned!"
             from report_days where provider_id = $1 and day >= ($2::timestamptz at time zone 'UTC')::date"#,
        provider as ProviderId,
        since as Timestamp,
    )
    .fetch_one(conn)
    .await?;
    let [attempts, apart, unsigned] = [row.attempts, row.apart, row.unsigned].map(i64::unsigned_abs);
    Ok(Judged { attempts, apart, unsigned, is_full: false })
}

/// Units from their columns, in the order of the classes. What was written came from 32 bits.
pub(crate) fn units(columns: [i64; 6]) -> Units {
    let [prompt, cached_prompt, cache_write, completion, internal_reasoning, request] =
        columns.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    Units { prompt, cached_prompt, cache_write, completion, internal_reasoning, request }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_percent_apart_is_tolerated_and_more_is_flagged() {
        let units = |prompt, completion| Units { prompt, completion, ..Units::default() };
        assert!(!Comparison::of(units(1_000, 100), units(1_020, 98)).is_flagged());
        assert!(Comparison::of(units(1_000, 100), units(1_021, 100)).is_flagged());
        assert!(Comparison::of(units(0, 0), units(1, 0)).is_flagged());
        // The token that ends an answer is counted by engines and seen by nobody.
        assert!(!Comparison::of(units(0, 5), units(0, 6)).is_flagged());
        assert!(Comparison::of(units(0, 5), units(0, 4)).is_flagged());
        // Whoever makes pictures counts no tokens, and who answers counts them all.
        assert!(!Comparison::of(units(12, 0), units(0, 0)).is_flagged());
        assert!(Comparison::of(units(12, 3), units(0, 0)).is_flagged());
        // Classes move between each other without a flag: the engine knows better what it had cached.
        let cached = Units { cached_prompt: 600, ..units(400, 0) };
        assert_eq!(Comparison::of(units(1_000, 0), cached).apart_permille, 0);
    }
}

//! Settled usage over time: sums per minute, hour or day, split as wished.

use std::time::Duration;

use protocol::{Id as _, KeyId, NanoUsd, OrganizationId, ProjectId, Timestamp};
use sqlx::PgConnection;
use uuid::Uuid;

/// A request is settled at most this long after it came: how far back its id may be dated, and as long again for
/// the answer.
const LONGEST_REQUEST: Duration = Duration::from_secs(4 * 24 * 3_600);
/// Clocks of replicas differ by less than this.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// Which usage is added up. An empty list leaves all in.
#[derive(Debug, Clone)]
pub struct UsageFilter {
    /// Whose.
    pub organization: OrganizationId,
    /// The first instant inside.
    pub from: Timestamp,
    /// The first instant after.
    pub to: Timestamp,
    /// For these projects.
    pub projects: Vec<ProjectId>,
    /// With these keys.
    pub keys: Vec<KeyId>,
    /// Of these models; `Some` of nothing leaves nothing in.
    pub models: Option<Vec<String>>,
    /// Not of these models.
    pub except: Vec<String>,
}

/// How wide one sum is, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// From minute to minute: read from single requests.
    Minute,
    /// From hour to hour.
    Hour,
    /// From midnight to midnight.
    Day,
}

/// What sums are split by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Split {
    /// One sum for each project.
    pub project: bool,
    /// One sum for each key.
    pub key: bool,
    /// One sum for each model.
    pub model: bool,
}

/// One sum. What it is not split by is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageSum {
    /// When its span begins.
    pub starts_at: Timestamp,
    /// Of which project.
    pub project: Option<ProjectId>,
    /// Of which key.
    pub key: Option<KeyId>,
    /// Of which model.
    pub model: Option<String>,
    /// How many requests.
    pub requests: i64,
    /// Prompt tokens that were read anew.
    pub prompt: i64,
    /// Prompt tokens found in a cache.
    pub cached_prompt: i64,
    /// Prompt tokens put in a cache.
    pub cache_write: i64,
    /// Output tokens, reasoning included.
    pub output: i64,
    /// What it cost.
    pub charge: NanoUsd,
}

impl Width {
    /// How long a span of this width is.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }

    /// As `date_trunc` names it.
    const fn unit(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

/// Sums of settled usage, by time and then by what they are split by. Spans without usage are left out. `from` and
/// `to` are expected at boundaries of the width.
///
/// Hours and days come from hourly sums and what is not added up yet; minutes from single requests, so they are for
/// short times.
///
/// # Errors
/// When the database call fails.
pub async fn sums(
    conn: &mut PgConnection,
    filter: &UsageFilter,
    width: Width,
    split: Split,
) -> Result<Vec<UsageSum>, sqlx::Error> {
    let projects: Vec<Uuid> = filter.projects.iter().map(|project| project.uuid()).collect();
    let keys: Vec<Uuid> = filter.keys.iter().map(|key| key.uuid()).collect();
    // Requests are stored by the time they came, which their ids begin with: a bound on it spares the partitions.
    let oldest = first_id_at(filter.from.minus(LONGEST_REQUEST));
    let newest = first_id_at(filter.to.plus(CLOCK_SKEW));
    sqlx::query_as!(
        UsageSum,
        r#"select date_trunc($4, at, 'UTC') as "starts_at!: Timestamp",
                  case when $5 then project_id end as "project: ProjectId",
                  case when $6 then key_id end as "key: KeyId",
                  case when $7 then model end as "model",
                  sum(requests)::bigint as "requests!", sum(prompt)::bigint as "prompt!",
                  sum(cached_prompt)::bigint as "cached_prompt!", sum(cache_write)::bigint as "cache_write!",
                  sum(completion + internal_reasoning)::bigint as "output!", sum(charge)::bigint as "charge!: NanoUsd"
             from (select hour as at, project_id, key_id, model, requests, prompt, cached_prompt, cache_write, completion,
                          internal_reasoning, charge_nano_usd as charge
                     from usage_hours
                    where $4 <> 'minute' and account_id = $1 and hour >= $2 and hour < $3
                   union all
                   select settled_at, project_id, key_id, model, 1, prompt, cached_prompt, cache_write, completion,
                          internal_reasoning, charge_nano_usd
                     from usage u, fold_watermark w
                    where $4 <> 'minute' and u.xid >= w.xid and account_id = $1 and settled_at >= $2 and settled_at < $3
                   union all
                   select settled_at, project_id, key_id, model, 1, prompt, cached_prompt, cache_write, completion,
                          internal_reasoning, charge_nano_usd
                     from usage
                    where $4 = 'minute' and account_id = $1 and settled_at >= $2 and settled_at < $3
                      and request_id >= $12 and request_id < $13) used
            where ($8::uuid[] = '{}' or project_id = any($8))
              and ($9::uuid[] = '{}' or key_id = any($9))
              and ($10::text[] is null or model = any($10))
              and model <> all($11::text[])
            group by 1, 2, 3, 4 order by 1, 2, 3, 4"#,
        filter.organization as OrganizationId,
        filter.from as Timestamp,
        filter.to as Timestamp,
        width.unit(),
        split.project,
        split.key,
        split.model,
        &projects,
        &keys,
        filter.models.as_deref(),
        &filter.except,
        oldest,
        newest,
    )
    .fetch_all(conn)
    .await
}

/// The least UUID a request can have that came at `at` or later.
fn first_id_at(at: Timestamp) -> Uuid {
    let ms = u128::from(u64::try_from(at.unix_ms()).unwrap_or(0)) & 0xffff_ffff_ffff;
    Uuid::from_u128(ms << 80)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::env::minted_at;

    #[test]
    fn an_id_minted_in_a_millisecond_lies_between_it_and_the_next() {
        let at = Timestamp::from_unix_ms(1_767_225_600_123);
        let minted = Uuid::from_u128(first_id_at(at).as_u128() | 0x7fff_8000_0000_0000_0001);
        assert_eq!(minted_at(minted), Some(at));
        assert!(first_id_at(at) < minted && minted < first_id_at(at.plus(Duration::from_millis(1))));
    }
}

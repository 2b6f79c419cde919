//! What a provider has in each state, from its receipts and statements.

use protocol::token::TokenAmount;
use protocol::{NanoUsd, ProviderId, Timestamp};
use sqlx::PgConnection;

/// What of a provider's money is where, apart from what no receipt was released for yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purse {
    /// Released, and in an epoch that is not active yet.
    pub taken: NanoUsd,
    /// Released, and in no epoch.
    pub free: NanoUsd,
    /// Left over by the newest statement that counts.
    pub carried: NanoUsd,
    /// Why that statement paid nothing, where it didn't.
    pub waiting: Option<String>,
    /// Whether a person has to decide about the provider.
    pub has_case: bool,
    /// Dollars that became tokens which nobody has claimed.
    pub unclaimed: NanoUsd,
    /// And those that were claimed.
    pub claimed: NanoUsd,
    /// All tokens since the beginning, and those of them that were claimed.
    pub tokens: [TokenAmount; 2],
    /// The newest active epoch, and the newest in which the provider has a statement with a leaf.
    pub epochs: Option<(u64, u64)>,
}

/// Looks where a provider's money is.
///
/// # Errors
/// When the database call fails.
pub async fn get(conn: &mut PgConnection, provider: ProviderId, now: Timestamp) -> Result<Purse, sqlx::Error> {
    let released = sqlx::query!(
        r#"select coalesce(sum(amount) filter (where epoch is not null), 0)::int8 as "taken!: NanoUsd",
                  coalesce(sum(amount) filter (where epoch is null), 0)::int8 as "free!: NanoUsd"
             from (select x.net_nano_usd as amount, i.epoch
                     from receipts x left join statement_items i using (attempt_id)
                    where x.provider_id = $1 and x.release_at <= $2
                      and x.release_at > (select coalesce(min(floor_at), 'epoch') from epochs where state <> 'active')
                      and not exists (select from receipt_cases c
                                       where c.provider_id = $1 and c.kind = 'fraud' and c.verdict = 'upheld'
                                         and x.settled_at <= c.decided_at)
                   union all
                   select adjustment_nano_usd, epoch from receipt_cases
                    where provider_id = $1 and adjustment_nano_usd > 0) due
            where epoch is null or exists (select from epochs e where e.epoch = due.epoch and e.state <> 'active')"#,
        provider as ProviderId,
        now as Timestamp,
    )
    .fetch_one(&mut *conn)
    .await?;
    // A statement's documents have dollars as decimal texts; what it turned into tokens is what was due less what is left.
    let built = sqlx::query!(
        r#"with mine as (
             select s.epoch, s.payee, s.cumulative, s.claimed_at, s.document ->> 'waiting' as waiting,
                    (s.document ->> 'carried_out')::numeric as carried,
                    case when s.document ->> 'tokens' = '0' then 0
                         else (s.document ->> 'released')::numeric + (s.document ->> 'carried_in')::numeric
                              - (s.document ->> 'carried_out')::numeric
                              + coalesce((select sum((a ->> 'amount')::numeric)
                                            from jsonb_array_elements(s.document -> 'adjustments') a), 0)
                    end as used
               from statements s join epochs e using (epoch)
              where s.provider_id = $1 and s.document is not null and e.state = 'active')
           select coalesce((select carried from mine order by epoch desc limit 1) * 1000000000, 0)::int8
                    as "carried!: NanoUsd",
                  (select waiting from mine order by epoch desc limit 1) as waiting,
                  coalesce(sum(used) filter (where claimed_at is null) * 1000000000, 0)::int8 as "unclaimed!: NanoUsd",
                  coalesce(sum(used) filter (where claimed_at is not null) * 1000000000, 0)::int8 as "claimed!: NanoUsd",
                  coalesce(max(cumulative), 0)::text as "tokens!",
                  coalesce(max(cumulative) filter (where claimed_at is not null), 0)::text as "paid!",
                  max(epoch) filter (where payee is not null) as proved,
                  (select max(epoch) from epochs where state = 'active') as active,
                  exists (select from receipt_cases
                           where provider_id = $1 and attempt_id is null and decided_at is null) as "has_case!"
             from mine"#,
        provider as ProviderId,
    )
    .fetch_one(conn)
    .await?;
    let read = |text: &str| text.parse::<TokenAmount>().map_err(|error| sqlx::Error::Decode(Box::new(error)));
    Ok(Purse {
        taken: released.taken,
        free: released.free,
        carried: built.carried,
        waiting: built.waiting,
        has_case: built.has_case,
        unclaimed: built.unclaimed,
        claimed: built.claimed,
        tokens: [read(&built.tokens)?, read(&built.paid)?],
        epochs: built.active.zip(built.proved).map(|(active, proved)| (active.unsigned_abs(), proved.unsigned_abs())),
    })
}

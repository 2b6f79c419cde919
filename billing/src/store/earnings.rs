//! What a provider earned, over time: from its attempts as they were settled.

use std::time::Duration;

use protocol::{NanoUsd, NodeId, OfferId, ProviderId, Timestamp};
use sqlx::PgConnection;
use uuid::Uuid;

/// An attempt's id carries the time it was minted; it began within this of it.
const ID_SLACK: Duration = Duration::from_secs(300);

/// Whose earnings, when, and told apart by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Whose.
    pub provider: ProviderId,
    /// Attempts that began at this instant or later.
    pub from: Timestamp,
    /// And before this one.
    pub to: Timestamp,
    /// Where the first bucket begins, at or before `from`.
    pub origin: Timestamp,
    /// Length of a bucket.
    pub width_s: i64,
    /// One line for each model.
    pub by_model: bool,
    /// One line for each machine.
    pub by_node: bool,
    /// One line for each offer.
    pub by_offer: bool,
}

/// Earnings of one bucket and group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earned {
    /// Which bucket after the origin, from zero.
    pub bucket: i64,
    /// Which model, where told apart.
    pub model: Option<String>,
    /// Which machine, where told apart.
    pub node: Option<NodeId>,
    /// Which offer, where told apart.
    pub offer: Option<OfferId>,
    /// How many dispatches, failed ones too.
    pub attempts: i64,
    /// The broker's share on top of what was earned by work that users pay for, at the take of the pinned price.
    pub fee: NanoUsd,
    /// What the provider gets.
    pub net: NanoUsd,
}

/// The provider's earnings by bucket and group, in their order.
///
/// # Errors
/// When the database call fails.
pub async fn list(conn: &mut PgConnection, question: &Question) -> Result<Vec<Earned>, sqlx::Error> {
    // The range of ids keeps partitions of other days out; the start decides.
    let ids = (first_id(question.from.minus(ID_SLACK)), first_id(question.to.plus(ID_SLACK)));
    sqlx::query_as!(
        Earned,
        r#"select floor(extract(epoch from (a.started_at - $6)) / $7::int8)::int8 as "bucket!",
                  case when $8 then coalesce(p.model, '') end as model,
                  case when $9 then a.node_id end as "node: NodeId",
                  case when $10 then a.offer_id end as "offer: OfferId",
                  count(*) as "attempts!",
                  coalesce(sum(case when a.cost_kind = 'provider_cost'
                                    then round(a.earn_nano_usd::numeric * coalesce(p.take_bps, 0) / 10000) else 0 end),
                           0)::int8 as "fee!: NanoUsd",
                  sum(a.earn_nano_usd + a.reread_nano_usd)::int8 as "net!: NanoUsd"
             from attempts a left join prices p on p.offer_id = a.offer_id and p.price_version = a.price_version
            where a.provider_id = $1 and a.attempt_id >= $2 and a.attempt_id < $3
              and a.started_at >= $4 and a.started_at < $5
            group by 1, 2, 3, 4 order by 1, 2, 3, 4"#,
        question.provider as ProviderId,
        ids.0,
        ids.1,
        question.from as Timestamp,
        question.to as Timestamp,
        question.origin as Timestamp,
        question.width_s,
        question.by_model,
        question.by_node,
        question.by_offer,
    )
    .fetch_all(conn)
    .await
}

/// The smallest UUIDv7 of an instant.
fn first_id(at: Timestamp) -> Uuid {
    Uuid::from_u128(u128::try_from(at.unix_ms()).unwrap_or(0) << 80)
}

//! Payments cardholders want back, and the credit that is frozen or taken for them.

use protocol::{GrantId, NanoUsd, OrganizationId, Timestamp, TopupId};
use sqlx::PgConnection;

use crate::dispute::{Dispute, DisputeState, Moves};

/// A row, before its state is read.
struct Row {
    id: String,
    account: OrganizationId,
    topup: TopupId,
    grant: GrantId,
    state: String,
    reason: String,
    amount: NanoUsd,
    credit: NanoUsd,
    withdrawn: NanoUsd,
    reinstated: NanoUsd,
    frozen: NanoUsd,
    taken: NanoUsd,
    lost: NanoUsd,
    is_refundable: bool,
    due_at: Option<Timestamp>,
    opened_at: Timestamp,
    suspended_at: Option<Timestamp>,
    closed_at: Option<Timestamp>,
}

impl TryFrom<Row> for Dispute {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let unreadable = || sqlx::Error::Decode(format!("{} is no state of a dispute", row.state).into());
        Ok(Self {
            state: DisputeState::from_stored(&row.state).ok_or_else(unreadable)?,
            id: row.id,
            account: row.account,
            topup: row.topup,
            grant: row.grant,
            reason: row.reason,
            amount: row.amount,
            credit: row.credit,
            withdrawn: row.withdrawn,
            reinstated: row.reinstated,
            frozen: row.frozen,
            taken: row.taken,
            lost: row.lost,
            is_refundable: row.is_refundable,
            due_at: row.due_at,
            opened_at: row.opened_at,
            suspended_at: row.suspended_at,
            closed_at: row.closed_at,
        })
    }
}

/// Disputes that fit, newest first.
#[derive(Debug, Clone, Copy, Default)]
pub struct Which<'a> {
    /// This one.
    pub id: Option<&'a str>,
    /// Of this account.
    pub account: Option<OrganizationId>,
    /// Only those not decided yet.
    pub undecided: bool,
}

/// Lists disputes.
///
/// # Errors
/// When the database call fails.
pub async fn list(conn: &mut PgConnection, which: Which<'_>, limit: i64) -> Result<Vec<Dispute>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select dispute_id as id, account_id as "account: OrganizationId", topup_id as "topup: TopupId",
                  grant_id as "grant: GrantId", state, reason, amount_nano_usd as "amount: NanoUsd",
                  credit_nano_usd as "credit: NanoUsd", withdrawn_nano_usd as "withdrawn: NanoUsd",
                  reinstated_nano_usd as "reinstated: NanoUsd", frozen_nano_usd as "frozen: NanoUsd",
                  taken_nano_usd as "taken: NanoUsd", lost_nano_usd as "lost: NanoUsd", is_refundable,
                  due_at as "due_at: Timestamp", opened_at as "opened_at: Timestamp",
                  suspended_at as "suspended_at: Timestamp", closed_at as "closed_at: Timestamp"
             from disputes
            where ($1::text is null or dispute_id = $1) and ($2::uuid is null or account_id = $2)
              and (not $3 or closed_at is null)
            order by opened_at desc, dispute_id desc limit $4"#,
        which.id,
        which.account as Option<OrganizationId>,
        which.undecided,
        limit,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Dispute::try_from).collect()
}

/// One dispute, by the processor's name for it.
///
/// # Errors
/// When the database call fails.
pub async fn find(conn: &mut PgConnection, id: &str) -> Result<Option<Dispute>, sqlx::Error> {
    Ok(list(conn, Which { id: Some(id), ..Which::default() }, 1).await?.pop())
}

/// Open disputes for which more could be frozen than is.
pub(crate) async fn list_short(conn: &mut PgConnection, limit: i64) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "select d.dispute_id from disputes d join grants g using (grant_id)
           join accounts a on a.account_id = d.account_id
          where d.state = 'open' and d.frozen_nano_usd + d.taken_nano_usd < d.credit_nano_usd
            and g.remaining_nano_usd > 0 and a.available_nano_usd > 0
          order by d.dispute_id limit $1",
        limit,
    )
    .fetch_all(conn)
    .await
}

/// What is left of a grant and not lent out. The caller holds the account's lock and has burned.
pub(crate) async fn left_of(
    conn: &mut PgConnection,
    account: OrganizationId,
    grant: GrantId,
) -> Result<NanoUsd, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select least(g.remaining_nano_usd, a.available_nano_usd) as "left!: NanoUsd"
             from grants g join accounts a using (account_id) where a.account_id = $1 and g.grant_id = $2"#,
        account as OrganizationId,
        grant as GrantId,
    )
    .fetch_one(conn)
    .await
}

/// Writes a dispute as it is now. The caller holds the account's lock.
pub(crate) async fn put(conn: &mut PgConnection, dispute: &Dispute) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into disputes (dispute_id, account_id, topup_id, grant_id, state, reason, amount_nano_usd,
                               credit_nano_usd, withdrawn_nano_usd, reinstated_nano_usd, frozen_nano_usd,
                               taken_nano_usd, lost_nano_usd, is_refundable, due_at, opened_at, suspended_at, closed_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
         on conflict (dispute_id) do update set
           state = excluded.state, withdrawn_nano_usd = excluded.withdrawn_nano_usd,
           reinstated_nano_usd = excluded.reinstated_nano_usd, frozen_nano_usd = excluded.frozen_nano_usd,
           taken_nano_usd = excluded.taken_nano_usd, lost_nano_usd = excluded.lost_nano_usd,
           is_refundable = excluded.is_refundable, due_at = excluded.due_at, suspended_at = excluded.suspended_at,
           closed_at = excluded.closed_at",
        dispute.id,
        dispute.account as OrganizationId,
        dispute.topup as TopupId,
        dispute.grant as GrantId,
        dispute.state.as_str(),
        dispute.reason,
        dispute.amount as NanoUsd,
        dispute.credit as NanoUsd,
        dispute.withdrawn as NanoUsd,
        dispute.reinstated as NanoUsd,
        dispute.frozen as NanoUsd,
        dispute.taken as NanoUsd,
        dispute.lost as NanoUsd,
        dispute.is_refundable,
        dispute.due_at as Option<Timestamp>,
        dispute.opened_at as Timestamp,
        dispute.suspended_at as Option<Timestamp>,
        dispute.closed_at as Option<Timestamp>,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Moves credit between what the account has and what its dispute has. The caller holds the account's lock.
pub(crate) async fn shift(conn: &mut PgConnection, dispute: &Dispute, moves: &Moves) -> Result<(), sqlx::Error> {
    // Frozen, less given back; and of that, what the account gets to spend.
    let kept = moves.frozen.nano() - moves.back.nano();
    let had = kept + moves.repaid.nano();
    if (kept, had) == (0, 0) {
        return Ok(());
    }
    sqlx::query!(
        "update accounts set available_nano_usd = available_nano_usd - $2 where account_id = $1",
        dispute.account as OrganizationId,
        had,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "update grants set remaining_nano_usd = remaining_nano_usd - $2, disputed_nano_usd = disputed_nano_usd + $3
          where grant_id = $1",
        dispute.grant as GrantId,
        had,
        kept,
    )
    .execute(conn)
    .await?;
    Ok(())
}

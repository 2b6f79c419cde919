//! Credit on its way back to cards, and the purchases it comes from.

use protocol::{GrantId, Id, NanoUsd, OrganizationId, RefundId, Timestamp, TopupId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::refund::{Purchase, Refund, RefundState};

/// A row, before its state is read.
struct Row {
    id: RefundId,
    account: OrganizationId,
    topup: TopupId,
    grant: GrantId,
    credit: NanoUsd,
    tax: NanoUsd,
    owed: NanoUsd,
    state: String,
    theirs: Option<String>,
    created_at: Timestamp,
}

impl TryFrom<Row> for Refund {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let unreadable = || sqlx::Error::Decode(format!("{} is no state of a refund", row.state).into());
        Ok(Self {
            state: RefundState::from_stored(&row.state).ok_or_else(unreadable)?,
            id: row.id,
            account: row.account,
            topup: row.topup,
            grant: row.grant,
            credit: row.credit,
            tax: row.tax,
            owed: row.owed,
            theirs: row.theirs,
            created_at: row.created_at,
        })
    }
}

/// Which refunds: one by its id or by the processor's, those of a top-up, those nobody has asked for since a time, or
/// those taken for one occasion.
#[derive(Debug, Clone, Copy, Default)]
struct Which<'a> {
    id: Option<RefundId>,
    theirs: Option<&'a str>,
    topup: Option<TopupId>,
    open_since: Option<Timestamp>,
    occasion: Option<&'a [u8]>,
    account: Option<OrganizationId>,
    taken_after: Option<Timestamp>,
}

/// Refunds that fit, oldest first.
async fn list(conn: &mut PgConnection, which: Which<'_>, limit: i64) -> Result<Vec<Refund>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select refund_intent_id as "id: RefundId", account_id as "account: OrganizationId",
                  topup_id as "topup: TopupId", grant_id as "grant: GrantId", credit_nano_usd as "credit: NanoUsd",
                  tax_nano_usd as "tax: NanoUsd", owed_nano_usd as "owed: NanoUsd", state, refund_id as theirs,
                  created_at as "created_at: Timestamp"
             from refund_intents
            where ($1::uuid is null or refund_intent_id = $1) and ($2::text is null or refund_id = $2)
              and ($3::timestamptz is null or (state = 'open' and created_at <= $3))
              and ($4::uuid is null or topup_id = $4)
              and ($5::bytea is null or (occasion = $5 and account_id = $6 and created_at > $7))
            order by refund_intent_id limit $8"#,
        which.id as Option<RefundId>,
        which.theirs,
        which.open_since as Option<Timestamp>,
        which.topup as Option<TopupId>,
        which.occasion,
        which.account as Option<OrganizationId>,
        which.taken_after as Option<Timestamp>,
        limit,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Refund::try_from).collect()
}

/// One refund.
///
/// # Errors
/// When the database call fails.
pub async fn find(conn: &mut PgConnection, id: RefundId) -> Result<Option<Refund>, sqlx::Error> {
    Ok(list(conn, Which { id: Some(id), ..Which::default() }, 1).await?.pop())
}

/// Refunds of one top-up, oldest first.
///
/// # Errors
/// When the database call fails.
pub async fn list_of(conn: &mut PgConnection, topup: TopupId, limit: i64) -> Result<Vec<Refund>, sqlx::Error> {
    list(conn, Which { topup: Some(topup), ..Which::default() }, limit).await
}

/// Those an account was debited for one occasion after a time.
pub(crate) async fn list_wanted(
    conn: &mut PgConnection,
    account: OrganizationId,
    occasion: &[u8],
    after: Timestamp,
) -> Result<Vec<Refund>, sqlx::Error> {
    let (account, occasion, taken_after) = (Some(account), Some(occasion), Some(after));
    list(conn, Which { account, occasion, taken_after, ..Which::default() }, i64::MAX).await
}

/// Notes what refunds were taken for, in the transaction that takes them.
pub(crate) async fn set_occasion(
    conn: &mut PgConnection,
    parts: &[Refund],
    occasion: &[u8],
) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = parts.iter().map(|part| part.id.uuid()).collect();
    sqlx::query!("update refund_intents set occasion = $2 where refund_intent_id = any($1)", &ids, occasion)
        .execute(conn)
        .await?;
    Ok(())
}

/// The one the processor calls so.
pub(crate) async fn find_theirs(conn: &mut PgConnection, theirs: &str) -> Result<Option<Refund>, sqlx::Error> {
    Ok(list(conn, Which { theirs: Some(theirs), ..Which::default() }, 1).await?.pop())
}

/// Those that were taken by `since` and have no outcome.
pub(crate) async fn list_open(
    conn: &mut PgConnection,
    since: Timestamp,
    limit: i64,
) -> Result<Vec<Refund>, sqlx::Error> {
    list(conn, Which { open_since: Some(since), ..Which::default() }, limit).await
}

/// What an account has available.
pub(crate) async fn available(conn: &mut PgConnection, account: OrganizationId) -> Result<NanoUsd, sqlx::Error> {
    let found = sqlx::query_scalar!(
        r#"select available_nano_usd as "available: NanoUsd" from accounts where account_id = $1"#,
        account as OrganizationId,
    )
    .fetch_optional(conn)
    .await?;
    Ok(found.unwrap_or_default())
}

/// Purchases of an account with credit left, oldest first, without those the processor would not refund because
/// they are disputed. The caller holds the account's lock.
pub(crate) async fn list_purchases(
    conn: &mut PgConnection,
    account: OrganizationId,
    topup: Option<TopupId>,
) -> Result<Vec<Purchase>, sqlx::Error> {
    purchases(conn, Some(account), topup, None).await
}

/// The purchase of a payment, whether or not anything of it is left.
pub(crate) async fn find_purchase(conn: &mut PgConnection, intent: &str) -> Result<Option<Purchase>, sqlx::Error> {
    Ok(purchases(conn, None, None, Some(intent)).await?.pop())
}

async fn purchases(
    conn: &mut PgConnection,
    account: Option<OrganizationId>,
    topup: Option<TopupId>,
    intent: Option<&str>,
) -> Result<Vec<Purchase>, sqlx::Error> {
    sqlx::query_as!(
        Purchase,
        r#"select t.topup_id as "topup: TopupId", g.grant_id as "grant: GrantId",
                  t.amount_nano_usd as "amount: NanoUsd", t.tax_nano_usd as "tax: NanoUsd",
                  g.remaining_nano_usd as "remaining: NanoUsd",
                  back.credit as "credit_back!: NanoUsd", back.tax as "tax_back!: NanoUsd"
             from grants g join topups t on t.payment_intent = g.cause
             join lateral (
               select coalesce(sum(credit_nano_usd), 0)::bigint as credit, coalesce(sum(tax_nano_usd), 0)::bigint as tax
                 from refund_intents r where r.topup_id = t.topup_id and r.state not in ('failed', 'refused')) back on true
            where g.kind = 'card' and ($1::uuid is null or (g.account_id = $1 and g.remaining_nano_usd > 0))
              and ($2::uuid is null or t.topup_id = $2) and ($3::text is null or g.cause = $3)
              and ($1::uuid is null or not exists (
                    select from disputes d
                     where d.topup_id = t.topup_id and not d.is_refundable and d.state not in ('closed', 'won')))
            order by g.granted_at, g.grant_id"#,
        account as Option<OrganizationId>,
        topup as Option<TopupId>,
        intent,
    )
    .fetch_all(conn)
    .await
}

/// Adds a refund.
pub(crate) async fn insert(conn: &mut PgConnection, refund: &Refund) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into refund_intents (refund_intent_id, account_id, topup_id, grant_id, credit_nano_usd, tax_nano_usd,
                                     owed_nano_usd, state, refund_id, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        refund.id as RefundId,
        refund.account as OrganizationId,
        refund.topup as TopupId,
        refund.grant as GrantId,
        refund.credit as NanoUsd,
        refund.tax as NanoUsd,
        refund.owed as NanoUsd,
        refund.state.as_str(),
        refund.theirs,
        refund.created_at as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes what the account has of a refund from its grant and from what is available.
pub(crate) async fn take(conn: &mut PgConnection, refund: &Refund) -> Result<(), sqlx::Error> {
    let had = refund.credit.saturating_sub(refund.owed).nano();
    shift(conn, refund, had, had).await
}

/// Takes `taken` from account and grant, of which `refunded` counts as gone to a card.
async fn shift(conn: &mut PgConnection, refund: &Refund, taken: i64, refunded: i64) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update accounts set available_nano_usd = available_nano_usd - $2 where account_id = $1",
        refund.account as OrganizationId,
        taken,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "update grants set remaining_nano_usd = remaining_nano_usd - $2, refunded_nano_usd = refunded_nano_usd + $3
          where grant_id = $1",
        refund.grant as GrantId,
        taken,
        refunded,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Puts back what was taken, with `repaid` of what was owed for it and is not any more, and ends the refund.
pub(crate) async fn give_back(
    conn: &mut PgConnection,
    refund: &Refund,
    repaid: NanoUsd,
    state: RefundState,
    theirs: Option<&str>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let had = refund.credit.saturating_sub(refund.owed);
    shift(conn, refund, -had.saturating_add(repaid).nano(), -had.nano()).await?;
    sqlx::query!(
        "update refund_intents set state = $2, refund_id = coalesce(refund_id, $3), finished_at = $4
          where refund_intent_id = $1",
        refund.id as RefundId,
        state.as_str(),
        theirs,
        now as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Moves a refund on.
pub(crate) async fn set_state(
    conn: &mut PgConnection,
    id: RefundId,
    state: RefundState,
    theirs: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update refund_intents set state = $2, refund_id = $3,
                finished_at = case when $2 = 'sent' then finished_at else coalesce(finished_at, $4) end
          where refund_intent_id = $1",
        id as RefundId,
        state.as_str(),
        theirs,
        now as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The payment a refund is of.
pub(crate) async fn payment_of(conn: &mut PgConnection, id: RefundId) -> Result<String, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select t.payment_intent as "intent!" from refund_intents r join topups t using (topup_id)
            where r.refund_intent_id = $1"#,
        id as RefundId,
    )
    .fetch_one(conn)
    .await
}

/// Whose payment it is.
pub(crate) async fn account_of(conn: &mut PgConnection, intent: &str) -> Result<Option<OrganizationId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select account_id as "account: OrganizationId" from topups where payment_intent = $1"#,
        intent,
    )
    .fetch_optional(conn)
    .await
}

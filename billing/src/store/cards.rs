//! Saved cards, and the pages where one is saved.

use protocol::{CardId, CardSetupId, OrganizationId, Timestamp};
use sqlx::PgConnection;

use crate::card::{Card, Look, Setup, SetupState};

/// Saved cards that fit, newest first: one by its id, or those before an id. A card saved twice is one.
///
/// # Errors
/// When the database call fails.
pub async fn list(
    conn: &mut PgConnection,
    account: OrganizationId,
    id: Option<CardId>,
    before: Option<CardId>,
    limit: i64,
) -> Result<Vec<Card>, sqlx::Error> {
    sqlx::query_as!(
        Card,
        r#"select card_id as "id: CardId", account_id as "account: OrganizationId", method_id as method, brand, last4,
                  exp_month, exp_year, is_default, saved_at as "saved_at: Timestamp"
             from cards
            where account_id = $1 and state = 'saved' and same_as is null
              and ($2::uuid is null or card_id = $2) and ($3::uuid is null or card_id < $3)
            order by card_id desc limit $4"#,
        account as OrganizationId,
        id as Option<CardId>,
        before as Option<CardId>,
        limit,
    )
    .fetch_all(conn)
    .await
}

/// A saved card of an account.
///
/// # Errors
/// When the database call fails.
pub async fn find(conn: &mut PgConnection, account: OrganizationId, id: CardId) -> Result<Option<Card>, sqlx::Error> {
    Ok(list(conn, account, Some(id), None, 1).await?.pop())
}

/// The card that is meant when none is named.
pub(crate) async fn find_default(
    conn: &mut PgConnection,
    account: OrganizationId,
) -> Result<Option<CardId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select card_id as "id: CardId" from cards where account_id = $1 and is_default"#,
        account as OrganizationId,
    )
    .fetch_optional(conn)
    .await
}

/// The processor's name for a card, whatever has become of it.
pub(crate) async fn method_of(conn: &mut PgConnection, id: CardId) -> Result<String, sqlx::Error> {
    sqlx::query_scalar!("select method_id from cards where card_id = $1", id as CardId).fetch_one(conn).await
}

/// The saved card that the processor calls so, and whose it is. One that another stands for is not used.
pub(crate) async fn find_by_method(
    conn: &mut PgConnection,
    method: &str,
) -> Result<Option<(OrganizationId, CardId)>, sqlx::Error> {
    let found = sqlx::query!(
        r#"select account_id as "account: OrganizationId", card_id as "card: CardId" from cards
            where method_id = $1 and state = 'saved' and same_as is null"#,
        method,
    )
    .fetch_optional(conn)
    .await?;
    Ok(found.map(|row| (row.account, row.card)))
}

/// Keeps a card. One that looks like another of the account stands behind it; the first of all becomes the default.
/// The caller holds the account's lock.
pub(crate) async fn keep(
    conn: &mut PgConnection,
    id: CardId,
    account: OrganizationId,
    method: &str,
    look: &Look<'_>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with alike as (
           select card_id from cards
            where account_id = $2 and state = 'saved' and same_as is null
              and (brand, last4, exp_month, exp_year) = ($4, $5, $6, $7)
            order by card_id limit 1)
         insert into cards (card_id, account_id, method_id, brand, last4, exp_month, exp_year, same_as, is_default,
                            saved_at)
         select $1, $2, $3, $4, $5, $6, $7, (select card_id from alike),
                not exists (select from alike) and not exists (select from cards where account_id = $2 and is_default),
                $8
         on conflict (method_id) do nothing",
        id as CardId,
        account as OrganizationId,
        method,
        look.brand,
        look.last4,
        look.exp_month,
        look.exp_year,
        now as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes that a card has got another expiry.
pub(crate) async fn renew(conn: &mut PgConnection, method: &str, look: &Look<'_>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update cards set exp_month = $2, exp_year = $3 where method_id = $1 and state = 'saved'",
        method,
        look.exp_month,
        look.exp_year,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Makes a card the one that is meant when none is named. False when it is no saved card of the account. The caller
/// holds the account's lock.
pub(crate) async fn set_default(
    conn: &mut PgConnection,
    account: OrganizationId,
    id: CardId,
) -> Result<bool, sqlx::Error> {
    if find(conn, account, id).await?.is_none() {
        return Ok(false);
    }
    // One after the other: the index allows one default at every moment of a statement.
    sqlx::query!("update cards set is_default = false where account_id = $1 and is_default", account as OrganizationId)
        .execute(&mut *conn)
        .await?;
    sqlx::query!("update cards set is_default = true where card_id = $1", id as CardId).execute(conn).await?;
    Ok(true)
}

/// A card that leaves, and the processor's name for it.
#[derive(Debug, Clone)]
pub(crate) struct Leaving {
    pub id: CardId,
    pub method: String,
}

/// Lets a card leave, and those it stands for; the newest of the others becomes the default when it was. None when it
/// is no saved card of the account. The caller holds the account's lock.
pub(crate) async fn leave(
    conn: &mut PgConnection,
    account: OrganizationId,
    id: CardId,
) -> Result<Vec<Leaving>, sqlx::Error> {
    let leaving = sqlx::query_as!(
        Leaving,
        r#"update cards set state = 'leaving', is_default = false
            where account_id = $1 and state = 'saved' and (card_id = $2 or same_as = $2)
           returning card_id as "id: CardId", method_id as method"#,
        account as OrganizationId,
        id as CardId,
    )
    .fetch_all(&mut *conn)
    .await?;
    sqlx::query!(
        "update cards set is_default = true
          where card_id = (select card_id from cards where account_id = $1 and state = 'saved' and same_as is null
                            order by card_id desc limit 1)
            and not exists (select from cards where account_id = $1 and is_default)",
        account as OrganizationId,
    )
    .execute(conn)
    .await?;
    Ok(leaving)
}

/// Cards the processor has not been heard to have let go.
pub(crate) async fn list_leaving(conn: &mut PgConnection, limit: i64) -> Result<Vec<Leaving>, sqlx::Error> {
    sqlx::query_as!(
        Leaving,
        r#"select card_id as "id: CardId", method_id as method from cards where state = 'leaving'
            order by card_id limit $1"#,
        limit,
    )
    .fetch_all(conn)
    .await
}

/// Notes that the processor has let a card go.
pub(crate) async fn gone(conn: &mut PgConnection, id: CardId) -> Result<(), sqlx::Error> {
    sqlx::query!("update cards set state = 'gone', is_default = false where card_id = $1", id as CardId)
        .execute(conn)
        .await?;
    Ok(())
}

/// A row, before its state is read.
struct SetupRow {
    id: CardSetupId,
    account: OrganizationId,
    state: String,
    return_url: Option<String>,
    session: Option<String>,
    url: Option<String>,
    created_at: Timestamp,
    expires_at: Timestamp,
}

impl TryFrom<SetupRow> for Setup {
    type Error = sqlx::Error;

    fn try_from(row: SetupRow) -> Result<Self, sqlx::Error> {
        let unreadable = || sqlx::Error::Decode(format!("{} is no state of a page", row.state).into());
        Ok(Self {
            state: SetupState::from_stored(&row.state).ok_or_else(unreadable)?,
            id: row.id,
            account: row.account,
            return_url: row.return_url,
            session: row.session,
            url: row.url,
            created_at: row.created_at,
            expires_at: row.expires_at,
        })
    }
}

/// Pages that fit, oldest first: one by its id, or those that are unfinished and were made no later than a time.
async fn setups(
    conn: &mut PgConnection,
    id: Option<CardSetupId>,
    made_by: Option<Timestamp>,
    limit: i64,
) -> Result<Vec<Setup>, sqlx::Error> {
    let rows = sqlx::query_as!(
        SetupRow,
        r#"select setup_id as "id: CardSetupId", account_id as "account: OrganizationId", state, return_url,
                  session_id as session, setup_url as url, created_at as "created_at: Timestamp",
                  expires_at as "expires_at: Timestamp"
             from card_setups
            where ($1::uuid is null or setup_id = $1)
              and ($2::timestamptz is null or (state in ('opening', 'open') and created_at <= $2))
            order by created_at limit $3"#,
        id as Option<CardSetupId>,
        made_by as Option<Timestamp>,
        limit,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Setup::try_from).collect()
}

/// One page.
pub(crate) async fn find_setup(conn: &mut PgConnection, id: CardSetupId) -> Result<Option<Setup>, sqlx::Error> {
    Ok(setups(conn, Some(id), None, 1).await?.pop())
}

/// Unfinished pages made no later than `made_by`.
pub(crate) async fn list_unfinished(
    conn: &mut PgConnection,
    made_by: Timestamp,
    limit: i64,
) -> Result<Vec<Setup>, sqlx::Error> {
    setups(conn, None, Some(made_by), limit).await
}

/// Adds a page.
pub(crate) async fn insert_setup(conn: &mut PgConnection, setup: &Setup) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into card_setups (setup_id, account_id, state, return_url, created_at, expires_at)
         values ($1, $2, $3, $4, $5, $6)",
        setup.id as CardSetupId,
        setup.account as OrganizationId,
        setup.state.as_str(),
        setup.return_url,
        setup.created_at as Timestamp,
        setup.expires_at as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ties a session to its page, which is open with it unless more is known already.
pub(crate) async fn set_session(
    conn: &mut PgConnection,
    id: CardSetupId,
    session: &str,
    url: Option<&str>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update card_setups set session_id = $2, setup_url = coalesce($3, setup_url),
                state = case when state = 'opening' then 'open' else state end
          where setup_id = $1 and (session_id is null or session_id = $2)",
        id as CardSetupId,
        session,
        url,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends a page; false when it had ended before.
pub(crate) async fn finish_setup(
    conn: &mut PgConnection,
    id: CardSetupId,
    state: SetupState,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update card_setups set state = $2 where setup_id = $1 and state in ('opening', 'open')",
        id as CardSetupId,
        state.as_str(),
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// How many cards an account has come to have since a time, or has opened pages for, whichever is more.
pub(crate) async fn count_since(
    conn: &mut PgConnection,
    account: OrganizationId,
    since: Timestamp,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select greatest(
             (select count(*) from card_setups where account_id = $1 and created_at > $2),
             (select count(*) from cards where account_id = $1 and same_as is null and saved_at > $2)) as "count!""#,
        account as OrganizationId,
        since as Timestamp,
    )
    .fetch_one(conn)
    .await
}

//! Calls to the card processor, by the keys they are made with.

use protocol::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::stripe::{Call, CallRow, Class};

/// Writes a call down, or finds the one of the same purpose and subject that has no outcome yet.
pub(crate) async fn begin(
    conn: &mut PgConnection,
    call: Call,
    parameters: &str,
    now: Timestamp,
) -> Result<CallRow, sqlx::Error> {
    // Two at once take the same number: one of them inserts, and both read what it wrote.
    sqlx::query!(
        "insert into stripe_calls (key, purpose, subject, attempt, parameters, created_at)
         select $1 || ':' || $2::uuid || ':' || number, $1, $2, number, $3, $4
           from (select coalesce(max(attempt) filter (where state in ('refused', 'lapsed')), 0) + 1 as number
                   from stripe_calls where purpose = $1 and subject = $2) next
         on conflict do nothing",
        call.purpose,
        call.subject,
        parameters,
        now as Timestamp,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query_as!(
        CallRow,
        r#"select key, parameters, tries, created_at as "created_at: Timestamp" from stripe_calls
            where purpose = $1 and subject = $2 order by attempt desc limit 1"#,
        call.purpose,
        call.subject,
    )
    .fetch_one(conn)
    .await
}

/// When a call was written down.
pub(crate) async fn find_begun(conn: &mut PgConnection, key: &str) -> Result<Option<Timestamp>, sqlx::Error> {
    sqlx::query_scalar!(r#"select created_at as "created_at: Timestamp" from stripe_calls where key = $1"#, key)
        .fetch_optional(conn)
        .await
}

/// Writes down how a try ended that was no success.
pub(crate) async fn note(conn: &mut PgConnection, key: &str, class: &Class, now: Timestamp) -> Result<(), sqlx::Error> {
    let (state, error, is_server_error) = match class {
        Class::Refused { code, message } => ("refused", format!("{code}: {message}"), false),
        Class::Unknown { status, reason } => ("open", reason.clone(), status.is_some_and(|status| status >= 500)),
        Class::Misused { reason } => ("open", reason.clone(), false),
    };
    sqlx::query!(
        "update stripe_calls set tries = tries + 1, tried_at = $2, state = $3, error = $4,
                equal_errors = case when not $5 then 0 when error = $4 then equal_errors + 1 else 1 end
          where key = $1 and state = 'open'",
        key,
        now as Timestamp,
        state,
        error,
        is_server_error,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Marks a call done, in the transaction of its effect, however the effect came to be known.
pub(crate) async fn done(conn: &mut PgConnection, call: Call, object: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update stripe_calls set state = 'done', object_id = $3
          where purpose = $1 and subject = $2 and state = 'open'",
        call.purpose,
        call.subject,
        object,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Gives up every call for a subject that is settled without them.
pub(crate) async fn give_up(conn: &mut PgConnection, subject: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!("update stripe_calls set state = 'lapsed' where subject = $1 and state = 'open'", subject)
        .execute(conn)
        .await?;
    Ok(())
}

/// The code the last call of this purpose and subject was refused with, if it was.
pub(crate) async fn find_refusal(conn: &mut PgConnection, call: Call) -> Result<Option<String>, sqlx::Error> {
    let code = sqlx::query_scalar!(
        r#"select case when state = 'refused' then split_part(error, ': ', 1) end as code from stripe_calls
            where purpose = $1 and subject = $2 order by attempt desc limit 1"#,
        call.purpose,
        call.subject,
    )
    .fetch_optional(conn)
    .await?;
    Ok(code.flatten())
}

/// Gives up a call made before `oldest`, or, where that does no harm, one that got the same error so often.
pub(crate) async fn lapse(
    conn: &mut PgConnection,
    key: &str,
    oldest: Timestamp,
    equal_errors: Option<i32>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update stripe_calls set state = 'lapsed'
          where key = $1 and state = 'open' and (created_at < $2 or equal_errors >= $3)",
        key,
        oldest as Timestamp,
        equal_errors,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Calls without a known outcome, oldest first.
///
/// # Errors
/// When the database call fails.
pub async fn list_unknown(conn: &mut PgConnection, limit: i64) -> Result<Vec<CallRow>, sqlx::Error> {
    sqlx::query_as!(
        CallRow,
        r#"select key, parameters, tries, created_at as "created_at: Timestamp" from stripe_calls
            where state = 'open' order by created_at limit $1"#,
        limit,
    )
    .fetch_all(conn)
    .await
}

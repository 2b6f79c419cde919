//! Top-ups, and the processor's names for the accounts that buy them.

use protocol::{CardId, NanoUsd, OrganizationId, Timestamp, TopupId};
use sqlx::PgConnection;

use crate::topup::{Topup, TopupState};

/// A row, before its state is read.
struct Row {
    id: TopupId,
    account: OrganizationId,
    amount: NanoUsd,
    tax: NanoUsd,
    state: String,
    is_first: bool,
    return_url: Option<String>,
    session: Option<String>,
    checkout_url: Option<String>,
    payment_intent: Option<String>,
    receipt_url: Option<String>,
    invoice_url: Option<String>,
    invoice_pdf: Option<String>,
    card: Option<CardId>,
    decline_code: Option<String>,
    tax_calculation: Option<String>,
    created_at: Timestamp,
    expires_at: Timestamp,
    paid_at: Option<Timestamp>,
}

impl TryFrom<Row> for Topup {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let unreadable = || sqlx::Error::Decode(format!("{} is no state of a top-up", row.state).into());
        Ok(Self {
            state: TopupState::from_stored(&row.state).ok_or_else(unreadable)?,
            id: row.id,
            account: row.account,
            amount: row.amount,
            tax: row.tax,
            is_first: row.is_first,
            return_url: row.return_url,
            session: row.session,
            checkout_url: row.checkout_url,
            payment_intent: row.payment_intent,
            receipt_url: row.receipt_url,
            invoice_url: row.invoice_url,
            invoice_pdf: row.invoice_pdf,
            card: row.card,
            decline_code: row.decline_code,
            tax_calculation: row.tax_calculation,
            created_at: row.created_at,
            expires_at: row.expires_at,
            paid_at: row.paid_at,
        })
    }
}

/// Top-ups that fit, newest first: one by its id, those of an account, those in one of some states, those before
/// an id or made before a time, those paid at a page or charged by themselves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Which<'a> {
    /// This one.
    pub id: Option<TopupId>,
    /// Of this account.
    pub account: Option<OrganizationId>,
    /// In one of these states; empty for any.
    pub states: &'a [&'a str],
    /// Made before this one.
    pub before: Option<TopupId>,
    /// Made no later than this.
    pub made_by: Option<Timestamp>,
    /// Charged to a saved card, nobody being asked.
    pub is_automatic: Option<bool>,
}

/// Lists top-ups.
///
/// # Errors
/// When the database call fails.
pub async fn list(conn: &mut PgConnection, which: Which<'_>, limit: i64) -> Result<Vec<Topup>, sqlx::Error> {
    let states: Vec<String> = which.states.iter().map(|&state| state.to_owned()).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"select topup_id as "id: TopupId", account_id as "account: OrganizationId",
                  amount_nano_usd as "amount: NanoUsd", tax_nano_usd as "tax: NanoUsd", state, is_first, return_url,
                  session_id as session, checkout_url, payment_intent, receipt_url, invoice_url, invoice_pdf,
                  card_id as "card: CardId", decline_code, tax_calculation,
                  created_at as "created_at: Timestamp", expires_at as "expires_at: Timestamp",
                  paid_at as "paid_at: Timestamp"
             from topups
            where ($1::uuid is null or topup_id = $1) and ($2::uuid is null or account_id = $2)
              and (cardinality($3::text[]) = 0 or state = any ($3)) and ($4::uuid is null or topup_id < $4)
              and ($5::timestamptz is null or created_at <= $5)
              and ($6::bool is null or (card_id is not null) = $6)
            order by topup_id desc limit $7"#,
        which.id as Option<TopupId>,
        which.account as Option<OrganizationId>,
        &states,
        which.before as Option<TopupId>,
        which.made_by as Option<Timestamp>,
        which.is_automatic,
        limit,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Topup::try_from).collect()
}

/// One top-up.
///
/// # Errors
/// When the database call fails.
pub async fn find(conn: &mut PgConnection, id: TopupId) -> Result<Option<Topup>, sqlx::Error> {
    Ok(list(conn, Which { id: Some(id), ..Which::default() }, 1).await?.pop())
}

/// The one an account has not paid yet, at a page or by itself.
pub(crate) async fn find_unfinished(
    conn: &mut PgConnection,
    account: OrganizationId,
    is_automatic: bool,
) -> Result<Option<Topup>, sqlx::Error> {
    let states = &["opening", "open"];
    let which = Which { account: Some(account), states, is_automatic: Some(is_automatic), ..Which::default() };
    Ok(list(conn, which, 1).await?.pop())
}

/// Whether an account ever paid one.
pub(crate) async fn has_paid(conn: &mut PgConnection, account: OrganizationId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from topups where account_id = $1 and state = 'paid') as "paid!""#,
        account as OrganizationId,
    )
    .fetch_one(conn)
    .await
}

/// When an account first paid one.
pub(crate) async fn first_paid(
    conn: &mut PgConnection,
    account: OrganizationId,
) -> Result<Option<Timestamp>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select min(paid_at) as "at: Timestamp" from topups where account_id = $1 and state = 'paid'"#,
        account as OrganizationId,
    )
    .fetch_one(conn)
    .await
}

/// What an account has asked for in a span.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Made {
    /// How often.
    pub count: i64,
    /// How much, of what was paid or is being charged; a page is closed before another is opened.
    pub amount: NanoUsd,
}

/// What an account has asked for since a time.
pub(crate) async fn made_since(
    conn: &mut PgConnection,
    account: OrganizationId,
    since: Timestamp,
) -> Result<Made, sqlx::Error> {
    sqlx::query_as!(
        Made,
        r#"select count(*) as "count!",
                  coalesce(sum(amount_nano_usd) filter (
                    where state = 'paid' or (card_id is not null and state in ('opening', 'open'))), 0)::bigint
                    as "amount!: NanoUsd"
             from topups where account_id = $1 and created_at > $2"#,
        account as OrganizationId,
        since as Timestamp,
    )
    .fetch_one(conn)
    .await
}

/// Adds one. The caller holds the account's lock.
pub(crate) async fn insert(conn: &mut PgConnection, topup: &Topup) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into topups (topup_id, account_id, amount_nano_usd, state, is_first, return_url, card_id, created_at,
                             expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        topup.id as TopupId,
        topup.account as OrganizationId,
        topup.amount as NanoUsd,
        topup.state.as_str(),
        topup.is_first,
        topup.return_url,
        topup.card as Option<CardId>,
        topup.created_at as Timestamp,
        topup.expires_at as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ties a session to its top-up, which is open with it unless more is known already.
pub(crate) async fn set_session(
    conn: &mut PgConnection,
    id: TopupId,
    session: &str,
    url: Option<&str>,
    tax: NanoUsd,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update topups set session_id = $2, checkout_url = coalesce($3, checkout_url), tax_nano_usd = $4,
                state = case when state = 'opening' then 'open' else state end
          where topup_id = $1 and (session_id is null or session_id = $2) and state <> 'paid'",
        id as TopupId,
        session,
        url,
        tax as NanoUsd,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes what tax comes on top of a charge.
pub(crate) async fn set_tax(
    conn: &mut PgConnection,
    id: TopupId,
    calculation: &str,
    tax: NanoUsd,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update topups set tax_calculation = $2, tax_nano_usd = $3 where topup_id = $1 and tax_calculation is null",
        id as TopupId,
        calculation,
        tax as NanoUsd,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes where the tax of a charge is recorded.
pub(crate) async fn set_tax_record(conn: &mut PgConnection, id: TopupId, record: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("update topups set tax_transaction = $2 where topup_id = $1", id as TopupId, record)
        .execute(conn)
        .await?;
    Ok(())
}

/// Charges that were paid and whose tax is not recorded yet.
pub(crate) async fn list_untaxed(conn: &mut PgConnection, limit: i64) -> Result<Vec<TopupId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select topup_id as "id: TopupId" from topups
            where state = 'paid' and tax_calculation is not null and tax_transaction is null
            order by topup_id limit $1"#,
        limit,
    )
    .fetch_all(conn)
    .await
}

/// Ties a payment to its charge, which is open with it unless more is known already.
pub(crate) async fn set_intent(conn: &mut PgConnection, id: TopupId, intent: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update topups set payment_intent = $2, state = 'open' where topup_id = $1 and state = 'opening'",
        id as TopupId,
        intent,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends a charge the card was declined for; false when it had ended before.
pub(crate) async fn decline(conn: &mut PgConnection, id: TopupId, code: &str) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update topups set state = 'refused', decline_code = $2 where topup_id = $1 and state in ('opening', 'open')",
        id as TopupId,
        code,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends a top-up nobody paid.
pub(crate) async fn finish(conn: &mut PgConnection, id: TopupId, state: TopupState) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update topups set state = $2 where topup_id = $1 and state in ('opening', 'open')",
        id as TopupId,
        state.as_str(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What is known of a payment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Payment<'a> {
    pub intent: &'a str,
    pub charge: Option<&'a str>,
    pub tax: NanoUsd,
    pub receipt_url: Option<&'a str>,
    pub invoice_url: Option<&'a str>,
    pub invoice_pdf: Option<&'a str>,
}

/// Marks a top-up paid. The caller holds the account's lock and has booked it.
pub(crate) async fn pay(
    conn: &mut PgConnection,
    id: TopupId,
    payment: Payment<'_>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update topups set state = 'paid', payment_intent = $2, tax_nano_usd = $3, receipt_url = $4, paid_at = $5
          where topup_id = $1",
        id as TopupId,
        payment.intent,
        payment.tax as NanoUsd,
        payment.receipt_url,
        now as Timestamp,
    )
    .execute(&mut *conn)
    .await?;
    set_papers(conn, id, payment).await
}

/// Adds papers that came later than the money, and the charge they are of.
pub(crate) async fn set_papers(conn: &mut PgConnection, id: TopupId, payment: Payment<'_>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update topups set receipt_url = coalesce($2, receipt_url), invoice_url = coalesce($3, invoice_url),
                invoice_pdf = coalesce($4, invoice_pdf), charge_id = coalesce($5, charge_id) where topup_id = $1",
        id as TopupId,
        payment.receipt_url,
        payment.invoice_url,
        payment.invoice_pdf,
        payment.charge,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The processor's name for an account.
pub(crate) async fn find_customer(
    conn: &mut PgConnection,
    account: OrganizationId,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!("select customer_id from stripe_customers where account_id = $1", account as OrganizationId)
        .fetch_optional(conn)
        .await
}

/// Keeps the processor's name for an account; the first one stays, and is returned.
pub(crate) async fn set_customer(
    conn: &mut PgConnection,
    account: OrganizationId,
    customer: &str,
    now: Timestamp,
) -> Result<String, sqlx::Error> {
    sqlx::query_scalar!(
        "insert into stripe_customers (account_id, customer_id, created_at) values ($1, $2, $3)
         on conflict (account_id) do update set customer_id = stripe_customers.customer_id
         returning customer_id",
        account as OrganizationId,
        customer,
        now as Timestamp,
    )
    .fetch_one(conn)
    .await
}

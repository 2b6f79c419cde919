//! Papers for customers: a statement of each month, a receipt of each payment.
//!
//! What a paper says depends on booked facts alone, so building it again gives the same bytes; `reconcile` does so.

pub mod csv;
mod paper;
mod receipt;
mod statement;

use std::time::Duration;

use platform::worker::Next;
use protocol::{DocumentId, Env, OrganizationId, Timestamp, TopupId};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use crate::calendar::Month;
use crate::store::{documents, statements, topups};
use crate::{Error, reconcile};

pub(crate) use statement::Statement;

/// How papers are laid out now. Another layout makes other bytes of the same facts: count it up with every change
/// that a reader could see.
pub(crate) const LAYOUT: i32 = 1;
/// A month is stated this long after its end: what was under way at midnight is booked by then.
const AFTER: Duration = Duration::from_secs(3_600);
/// A payment without a receipt is looked for this far back: longer than any outage.
const LOOK_BACK: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Papers made in one tick.
const AT_ONCE: usize = 100;

/// What a paper is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A month.
    Statement(Month),
    /// A payment.
    Receipt(TopupId),
}

/// A paper that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Names it.
    pub id: DocumentId,
    /// For whom.
    pub account: OrganizationId,
    /// What of.
    pub subject: Subject,
    /// When.
    pub issued_at: Timestamp,
    /// What its PDF hashes to.
    pub pdf_sha256: Vec<u8>,
    /// And its table.
    pub csv_sha256: Vec<u8>,
}

/// What a paper is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Papers {
    /// For people.
    pub pdf: Vec<u8>,
    /// For programs.
    pub csv: String,
}

impl Subject {
    /// The name of the kind, as stored and shown.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Statement(_) => "statement",
            Self::Receipt(_) => "receipt",
        }
    }
}

/// Issues what is due: receipts of payments, then statements of months that are over. Several replicas may do so at
/// once; each paper is issued once.
///
/// # Errors
/// When a database call fails; what was issued before it stays issued.
pub async fn issue(db: &PgPool, env: &Env, issuer: &str, now: Timestamp) -> Result<Next, Error> {
    let receipts = issue_receipts(db, env, issuer, now).await?;
    for _ in 0..AT_ONCE {
        if !state_next(db, env, issuer, now).await? {
            return Ok(receipts);
        }
    }
    Ok(Next::Again)
}

async fn issue_receipts(db: &PgPool, env: &Env, issuer: &str, now: Timestamp) -> Result<Next, Error> {
    let mut conn = db.acquire().await?;
    let due = documents::list_paid_without(&mut conn, now.minus(LOOK_BACK), AT_ONCE).await?;
    let found = due.len();
    for topup in due {
        let Some(topup) = topups::find(&mut conn, topup).await? else { continue };
        let Some(papers) = receipt::papers(&topup, issuer) else { continue };
        let document = (env.mint(), topup.account, Subject::Receipt(topup.id));
        documents::insert(&mut conn, document, issuer, &papers, now).await?;
    }
    Ok(if found == AT_ONCE { Next::Again } else { Next::Wait })
}

/// Goes one account further with the oldest month that is not stated. False when there is nothing to do.
async fn state_next(db: &PgPool, env: &Env, issuer: &str, now: Timestamp) -> Result<bool, Error> {
    let last = Month::of(now.minus(AFTER)).previous();
    let mut conn = db.acquire().await?;
    let Some((month, upto)) = statements::find_unfinished(&mut conn).await? else {
        let Some(next) = statements::find_next_month(&mut conn).await?.filter(|next| *next <= last) else {
            return Ok(false);
        };
        statements::begin(&mut conn, next).await?;
        return Ok(true);
    };
    let Some(account) = statements::find_next_account(&mut conn, upto).await? else {
        statements::finish(&mut conn, month, now).await?;
        return Ok(true);
    };
    drop(conn);
    let stated = facts(db, account, month).await?;
    let mut tx = db.begin().await?;
    if !statements::advance(&mut tx, month, upto, account).await? {
        // Another replica was faster.
        return Ok(true);
    }
    match stated {
        Some(statement) if !statement.is_empty() => {
            let document = (env.mint(), account, Subject::Statement(month));
            documents::insert(&mut tx, document, issuer, &statement.papers(issuer), now).await?;
        }
        Some(_) => {}
        None => {
            metrics::counter!("steelyard_billing_statements_withheld").increment(1);
            tracing::error!(account.id = %account, %month, "usage and bookings differ, no statement is issued");
        }
    }
    tx.commit().await?;
    Ok(true)
}

/// What there is to state, in one snapshot; `None` when the hours of usage and what was booked for it differ: no
/// statement is better than a wrong one.
async fn facts(db: &PgPool, account: OrganizationId, month: Month) -> Result<Option<Statement>, Error> {
    let mut tx = db.begin().await?;
    sqlx::query("set transaction isolation level repeatable read, read only").execute(&mut *tx).await?;
    let timeout = reconcile::STATEMENT_TIMEOUT_MS;
    sqlx::query(AssertSqlSafe(format!("set local statement_timeout = {timeout}"))).execute(&mut *tx).await?;
    let stated = statements::read(&mut tx, account, month).await?;
    tx.rollback().await?;
    Ok(stated)
}

/// Builds a paper again from the books; `None` when it is not there, was laid out otherwise, or can't be built.
///
/// # Errors
/// When a database call fails.
pub(crate) async fn rebuild(conn: &mut PgConnection, id: DocumentId) -> Result<Option<Papers>, sqlx::Error> {
    let Some((document, issuer)) = documents::find_with_issuer(conn, id).await? else { return Ok(None) };
    match document.subject {
        Subject::Statement(month) => {
            let stated = statements::read(conn, document.account, month).await?;
            Ok(stated.map(|statement| statement.papers(&issuer)))
        }
        Subject::Receipt(topup) => {
            let topup = topups::find(conn, topup).await?;
            Ok(topup.and_then(|topup| receipt::papers(&topup, &issuer)))
        }
    }
}

//! What a person must decide about receipts.

use protocol::{CaseId, Id as _, NanoUsd, ProviderId, ReceiptId, Timestamp};
use sqlx::PgConnection;

/// What a case is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaseKind {
    /// A provider says that a receipt is wrong.
    Dispute,
    /// Too many reports of a provider's day are apart.
    Apart,
    /// Too many attempts of a provider's day are known only by their reports.
    Recovered,
    /// Somebody has seen fraud.
    Fraud,
}

/// A case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Which.
    pub id: CaseId,
    /// Whose pay it is about.
    pub provider: ProviderId,
    /// Which receipt; `None` where it is about all of them.
    pub receipt: Option<ReceiptId>,
    /// [`CaseKind`], as stored.
    pub kind: String,
    /// Why, in words.
    pub reason: String,
    /// Since when.
    pub opened_at: Timestamp,
    /// `upheld` or `rejected`, once decided.
    pub verdict: Option<String>,
    /// What is paid on top.
    pub adjustment: NanoUsd,
}

impl CaseKind {
    /// The name, as stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dispute => "dispute",
            Self::Apart => "apart",
            Self::Recovered => "recovered",
            Self::Fraud => "fraud",
        }
    }
}

macro_rules! cases {
    ($condition:literal $(, $argument:expr)*) => {
        sqlx::query_as!(
            Case,
            r#"select case_id as "id: CaseId", provider_id as "provider: ProviderId", attempt_id as "receipt: ReceiptId",
                      kind, reason, opened_at as "opened_at: Timestamp", verdict,
                      adjustment_nano_usd as "adjustment: NanoUsd"
                 from receipt_cases "# + $condition
            $(, $argument)*
        )
    };
}

/// Opens a case about one receipt. `None` when there is one about it already: its verdict stands.
///
/// # Errors
/// When the database call fails.
pub async fn dispute(
    conn: &mut PgConnection,
    id: CaseId,
    provider: ProviderId,
    receipt: ReceiptId,
    reason: &str,
    now: Timestamp,
) -> Result<Option<CaseId>, sqlx::Error> {
    let made = sqlx::query!(
        "insert into receipt_cases (case_id, provider_id, attempt_id, kind, reason, opened_at)
         values ($1, $2, $3, 'dispute', $4, $5) on conflict do nothing",
        id as CaseId,
        provider as ProviderId,
        receipt.uuid(),
        reason,
        now as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok((made.rows_affected() == 1).then_some(id))
}

/// Opens a case about a provider, unless one of the kind is open.
///
/// # Errors
/// When the database call fails.
pub async fn open(
    conn: &mut PgConnection,
    id: CaseId,
    provider: ProviderId,
    kind: CaseKind,
    reason: &str,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let made = sqlx::query!(
        "insert into receipt_cases (case_id, provider_id, kind, reason, opened_at) values ($1, $2, $3, $4, $5)
         on conflict do nothing",
        id as CaseId,
        provider as ProviderId,
        kind.as_str(),
        reason,
        now as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(made.rows_affected() == 1)
}

/// What waits for a person, oldest first.
///
/// # Errors
/// When the database call fails.
pub async fn list_open(conn: &mut PgConnection, limit: i64) -> Result<Vec<Case>, sqlx::Error> {
    cases!("where decided_at is null order by case_id limit $1", limit).fetch_all(conn).await
}

/// Decides a case. `None` when none of that id is open.
///
/// # Errors
/// When the database call fails, as for an adjustment of a case that is no dispute.
pub async fn decide(
    conn: &mut PgConnection,
    id: CaseId,
    is_upheld: bool,
    adjustment: NanoUsd,
    now: Timestamp,
) -> Result<Option<Case>, sqlx::Error> {
    sqlx::query_as!(
        Case,
        r#"update receipt_cases set decided_at = $2, verdict = case when $3 then 'upheld' else 'rejected' end,
                  adjustment_nano_usd = $4
            where case_id = $1 and decided_at is null
        returning case_id as "id: CaseId", provider_id as "provider: ProviderId", attempt_id as "receipt: ReceiptId",
                  kind, reason, opened_at as "opened_at: Timestamp", verdict,
                  adjustment_nano_usd as "adjustment: NanoUsd""#,
        id as CaseId,
        now as Timestamp,
        is_upheld,
        adjustment as NanoUsd,
    )
    .fetch_optional(conn)
    .await
}

//! Papers that were issued.

use protocol::{DocumentId, OrganizationId, Timestamp, TopupId};
use sqlx::PgConnection;

use crate::document::{Document, LAYOUT, Papers, Subject};

/// A row, before its subject is read.
struct Row {
    id: DocumentId,
    account: OrganizationId,
    month: Option<String>,
    topup: Option<TopupId>,
    issued_at: Timestamp,
    pdf_sha256: Vec<u8>,
    csv_sha256: Vec<u8>,
}

impl TryFrom<Row> for Document {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let month = row.month.as_deref().map(str::parse).transpose();
        let subject = match (month, row.topup) {
            (Ok(Some(month)), None) => Subject::Statement(month),
            (Ok(None), Some(topup)) => Subject::Receipt(topup),
            _ => return Err(sqlx::Error::Decode(format!("{} is a paper of nothing known", row.id).into())),
        };
        Ok(Self {
            id: row.id,
            account: row.account,
            subject,
            issued_at: row.issued_at,
            pdf_sha256: row.pdf_sha256,
            csv_sha256: row.csv_sha256,
        })
    }
}

/// Keeps a paper. One of the same subject that is there already stays.
pub(crate) async fn insert(
    conn: &mut PgConnection,
    (id, account, subject): (DocumentId, OrganizationId, Subject),
    issuer: &str,
    papers: &Papers,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let (month, topup) = match subject {
        Subject::Statement(month) => (Some(month.to_string()), None),
        Subject::Receipt(topup) => (None, Some(topup)),
    };
    sqlx::query!(
        "insert into documents (document_id, account_id, kind, month, topup_id, issuer, layout, issued_at, pdf,
                                pdf_sha256, csv, csv_sha256)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, sha256($9), $10, sha256(convert_to($10, 'UTF8')))
         on conflict do nothing",
        id as DocumentId,
        account as OrganizationId,
        subject.kind(),
        month,
        topup as Option<TopupId>,
        issuer,
        LAYOUT,
        now as Timestamp,
        papers.pdf,
        papers.csv,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Papers of an account, newest first.
///
/// # Errors
/// When the database call fails.
pub async fn list(
    conn: &mut PgConnection,
    account: OrganizationId,
    kind: Option<&str>,
    before: Option<DocumentId>,
    limit: i64,
) -> Result<Vec<Document>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select document_id as "id: DocumentId", account_id as "account: OrganizationId", month,
                  topup_id as "topup: TopupId", issued_at as "issued_at: Timestamp", pdf_sha256, csv_sha256
             from documents
            where account_id = $1 and ($2::text is null or kind = $2) and ($3::uuid is null or document_id < $3)
            order by document_id desc limit $4"#,
        account as OrganizationId,
        kind,
        before as Option<DocumentId>,
        limit,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Document::try_from).collect()
}

/// A paper of an account, with its bytes.
///
/// # Errors
/// When the database call fails.
pub async fn find(
    conn: &mut PgConnection,
    account: OrganizationId,
    id: DocumentId,
) -> Result<Option<(Document, Papers)>, sqlx::Error> {
    let found = sqlx::query!(
        r#"select account_id as "account: OrganizationId", month, topup_id as "topup: TopupId",
                  issued_at as "issued_at: Timestamp", pdf_sha256, csv_sha256, pdf, csv
             from documents where document_id = $1 and account_id = $2"#,
        id as DocumentId,
        account as OrganizationId,
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = found else { return Ok(None) };
    let papers = Papers { pdf: row.pdf, csv: row.csv };
    let (issued_at, pdf_sha256, csv_sha256) = (row.issued_at, row.pdf_sha256, row.csv_sha256);
    let row = Row { id, account: row.account, month: row.month, topup: row.topup, issued_at, pdf_sha256, csv_sha256 };
    Ok(Some((row.try_into()?, papers)))
}

/// A paper laid out as they are now, and who issued it.
pub(crate) async fn find_with_issuer(
    conn: &mut PgConnection,
    id: DocumentId,
) -> Result<Option<(Document, String)>, sqlx::Error> {
    let found = sqlx::query!(
        r#"select account_id as "account: OrganizationId", month, topup_id as "topup: TopupId",
                  issued_at as "issued_at: Timestamp", pdf_sha256, csv_sha256, issuer
             from documents where document_id = $1 and layout = $2"#,
        id as DocumentId,
        LAYOUT,
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = found else { return Ok(None) };
    let (issued_at, pdf_sha256, csv_sha256) = (row.issued_at, row.pdf_sha256, row.csv_sha256);
    let paper = Row { id, account: row.account, month: row.month, topup: row.topup, issued_at, pdf_sha256, csv_sha256 };
    Ok(Some((paper.try_into()?, row.issuer)))
}

/// The newest papers, whoever's they are, as far as they are laid out as now, and what each hashes to.
pub(crate) async fn list_newest(conn: &mut PgConnection, limit: i64) -> Result<Vec<(DocumentId, Papers)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select document_id as "id: DocumentId", pdf, csv from documents
            where layout = $1 order by document_id desc limit $2"#,
        LAYOUT,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, Papers { pdf: row.pdf, csv: row.csv })).collect())
}

/// Top-ups that were paid since `since` and have no receipt.
pub(crate) async fn list_paid_without(
    conn: &mut PgConnection,
    since: Timestamp,
    limit: usize,
) -> Result<Vec<TopupId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select topup_id as "topup: TopupId" from topups t
            where state = 'paid' and paid_at >= $1
              and not exists (select from documents d where d.topup_id = t.topup_id)
            order by topup_id limit $2"#,
        since as Timestamp,
        i64::try_from(limit).unwrap_or(i64::MAX),
    )
    .fetch_all(conn)
    .await
}

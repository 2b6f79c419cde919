//! Statements and receipts, as they were issued.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use billing::document::{Document, Subject};
use billing::store::documents;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, ETAG};
use protocol::{DocumentId, TopupId};
use serde::Serialize;

use super::super::list::List;
use crate::error::ApiError;
use crate::extract::{Admin, Json, Page, Params, Path, not_found};
use crate::state::AppState;

/// Kinds a list may be narrowed to.
const KINDS: [(&str, &str); 2] = [("statement", "statement"), ("receipt", "receipt")];

/// The routes of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/organization/documents", get(list)).route("/organization/documents/{document}", get(download))
}

/// A paper, without its bytes.
#[derive(Debug, Serialize)]
struct View {
    id: DocumentId,
    object: &'static str,
    kind: &'static str,
    /// Of a statement, such as `2026-01`.
    month: Option<String>,
    /// Of a receipt.
    topup_id: Option<TopupId>,
    issued_at: i64,
    pdf_sha256: String,
    csv_sha256: String,
}

/// What a paper comes as.
#[derive(Debug, Clone, Copy)]
enum Format {
    Pdf,
    Csv,
}

/// The organization's papers, newest first.
#[tracing::instrument(name = "api.documents.list", skip_all, fields(account.id = %admin.organization))]
async fn list(
    State(app): State<AppState>,
    admin: Admin,
    page: Page,
    params: Params,
) -> Result<Json<List<View>>, ApiError> {
    let kind = params.choice("kind", &KINDS)?;
    let mut conn = app.db.acquire().await?;
    let limit = i64::from(page.limit) + 1;
    let found = documents::list(&mut conn, admin.organization, kind, page.after()?, limit).await?;
    let data = found.into_iter().map(view).collect();
    Ok(Json(List::of(data, page.limit, |one: &View| one.id.to_string())))
}

/// One paper, as PDF or as a table. Its bytes never change.
#[tracing::instrument(name = "api.documents.download", skip_all, fields(account.id = %admin.organization))]
async fn download(
    State(app): State<AppState>,
    admin: Admin,
    Path(id): Path<DocumentId>,
    params: Params,
) -> Result<Response, ApiError> {
    let format = params.choice("format", &[("pdf", Format::Pdf), ("csv", Format::Csv)])?.unwrap_or(Format::Pdf);
    let found = documents::find(&mut *app.db.acquire().await?, admin.organization, id).await?;
    let (document, papers) = found.ok_or_else(not_found)?;
    let name = match document.subject {
        Subject::Statement(month) => format!("statement-{month}"),
        Subject::Receipt(topup) => format!("receipt-{topup}"),
    };
    let (kind, end, hash, bytes) = match format {
        Format::Pdf => ("application/pdf", "pdf", document.pdf_sha256, papers.pdf),
        Format::Csv => ("text/csv; charset=utf-8", "csv", document.csv_sha256, papers.csv.into_bytes()),
    };
    let headers = [
        (CONTENT_TYPE, kind.to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.{end}\"")),
        (ETAG, format!("\"{}\"", hex::encode(hash))),
    ];
    Ok((headers, bytes).into_response())
}

fn view(document: Document) -> View {
    let (month, topup_id) = match document.subject {
        Subject::Statement(month) => (Some(month.to_string()), None),
        Subject::Receipt(topup) => (None, Some(topup)),
    };
    View {
        id: document.id,
        object: "document",
        kind: document.subject.kind(),
        month,
        topup_id,
        issued_at: document.issued_at.unix_seconds(),
        pdf_sha256: hex::encode(document.pdf_sha256),
        csv_sha256: hex::encode(document.csv_sha256),
    }
}

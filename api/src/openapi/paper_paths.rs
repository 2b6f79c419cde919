//! Operations on what an organization keeps of its money: papers and the journal.

use super::paper_schemas as p;
use super::shape::operations;

operations! {
    /// Lists statements of months and receipts of payments, newest first.
    #[utoipa::path(get, path = "/v1/organization/documents", operation_id = "listDocuments", tag = "Organization", security(("admin" = [])),
        params(
            ("kind" = Option<String>, Query, description = "`statement` or `receipt`; both when absent"),
            ("limit" = Option<u32>, Query, description = "1 to 100, 20 when absent"),
            ("after" = Option<String>, Query, description = "The id the page begins behind"),
        ),
        responses((status = 200, description = "One page", body = p::DocumentList)))]
    list_documents;

    /// One statement or receipt, as PDF or as a table. Its bytes never change.
    #[utoipa::path(get, path = "/v1/organization/documents/{document}", operation_id = "downloadDocument", tag = "Organization", security(("admin" = [])),
        params(("document" = String, Path), ("format" = Option<String>, Query, description = "`pdf`, which is the default, or `csv`")),
        responses((status = 200, description = "The paper", headers(
            ("content-disposition" = String, description = "A name for the file"), ("etag" = String, description = "Its SHA-256"),
        ), content((p::Pdf = "application/pdf"), (String = "text/csv")))))]
    download_document;

    /// Every booking of the organization, oldest first, with the balance after each: what it has, or below zero owes.
    ///
    /// A line never appears before one that was read, so the id of the last line is where to go on. What is still being
    /// booked, and what came after it, follows a moment later.
    #[utoipa::path(get, path = "/v1/organization/ledger", operation_id = "exportLedger", tag = "Organization", security(("admin" = [])),
        params(
            ("format" = Option<String>, Query, description = "`jsonl`, a JSON object on each line, which is the default, or `csv`"),
            ("limit" = Option<u32>, Query, description = "1 to 10000 lines, 1000 when absent"),
            ("after" = Option<String>, Query, description = "The id of the line it begins behind"),
        ),
        responses((status = 200, description = "Lines", headers(("x-has-more" = bool, description = "Whether more follow")),
            content((p::LedgerLine = "application/jsonl"), (String = "text/csv")))))]
    export_ledger;
}

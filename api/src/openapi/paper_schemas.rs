//! Shapes of papers and of the journal.

use utoipa::ToSchema;

use super::shape::objects;

objects! {
    /// A statement of a month or a receipt of a payment.
    Document {
        id: String,
        /// Always `document`.
        object: String,
        /// `statement` or `receipt`.
        kind: String,
        /// Of a statement, such as `2026-01`; in UTC.
        month: Option<String>,
        /// Of a receipt: the top-up that was paid.
        topup_id: Option<String>,
        issued_at: i64,
        /// In hex.
        pdf_sha256: String, csv_sha256: String,
    }
    /// Statements and receipts.
    DocumentList { object: String, data: Vec<Document>, first_id: Option<String>, last_id: Option<String>, has_more: bool, }
    /// A booking that changed what the organization has. Money as decimal strings of US dollars.
    LedgerLine {
        /// `txn_…-1`.
        id: String,
        /// Always `ledger_line`.
        object: String,
        /// Unix seconds.
        booked_at: i64,
        /// Such as `usage`, `payment`, `promo`, `goodwill`, `promo_expired` or `refund`.
        r#type: String,
        /// The kind of account on the other side, such as `revenue`.
        counter_account: String,
        /// Below zero what went.
        amount_usd: String,
        /// What the organization had then; below zero what it owed.
        balance_usd: String,
    }
}

/// A PDF file.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[allow(dead_code)]
pub(super) struct Pdf(Vec<u8>);

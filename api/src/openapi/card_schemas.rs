//! Shapes of credit that is bought by card.

use super::shape::{objects, requests};

objects! {
    /// Credit bought by card, or to be. Money as decimal strings of US dollars.
    Topup {
        id: String,
        /// Always `topup`.
        object: String,
        /// `opening`, `open`, `paid`, `expired` or `refused`.
        status: String,
        amount_usd: String, tax_usd: String,
        /// Where it is paid, while it is open.
        checkout_url: Option<String>,
        receipt_url: Option<String>, invoice_url: Option<String>, invoice_pdf: Option<String>,
        created_at: i64, expires_at: i64, paid_at: Option<i64>,
    }
    /// Top-ups.
    TopupList { object: String, data: Vec<Topup>, first_id: Option<String>, last_id: Option<String>, has_more: bool, }
    /// Credit on its way back to a card.
    Refund {
        id: String,
        /// Always `refund`.
        object: String,
        /// `open`, `sent`, `succeeded`, `failed` or `refused`; after the last two it is credit again.
        status: String,
        topup_id: String, amount_usd: String, tax_usd: String, created_at: i64,
    }
    /// The parts of a refund, one for each top-up.
    RefundList { object: String, data: Vec<Refund>, }
}

requests! {
    /// Credit to be bought.
    CreateTopup {
        /// In US dollars and whole cents, as a decimal string.
        amount_usd: String,
        ;
        /// Where the customer comes back to.
        return_url: String,
    }
    /// Bought credit to be sent back.
    CreateRefund {
        /// In US dollars and whole cents, as a decimal string.
        amount_usd: String,
        ;
        /// Of the oldest top-ups first, when absent.
        topup_id: String,
    }
}

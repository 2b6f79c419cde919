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
        /// The saved card it was charged to by itself; null where it is paid at a page.
        payment_method: Option<String>,
        /// The bank's word for why that card was declined.
        decline_code: Option<String>,
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
    /// A page where a card is saved.
    PaymentMethodSetup {
        id: String,
        /// Always `payment_method_setup`.
        object: String,
        /// `opening`, `open`, `saved`, `expired` or `refused`.
        status: String,
        /// Where it is, while it is open.
        setup_url: Option<String>,
        created_at: i64, expires_at: i64,
    }
    /// A saved card. Its number is never seen here.
    PaymentMethod {
        id: String,
        /// Always `payment_method`.
        object: String,
        /// Always `card`.
        r#type: String,
        /// Such as `visa`.
        brand: String,
        last4: String, exp_month: i32, exp_year: i32,
        /// Whether it is meant when none is named.
        is_default: bool,
        created_at: i64,
    }
    /// Saved cards.
    PaymentMethodList {
        object: String, data: Vec<PaymentMethod>, first_id: Option<String>, last_id: Option<String>, has_more: bool,
    }
    /// The rule that charges a saved card when credit runs low. Money as decimal strings of US dollars.
    AutoRecharge {
        /// Always `auto_recharge`.
        object: String,
        /// `active` or `stopped`; setting it again makes it act again.
        status: String,
        /// `authentication_required`, `declined` or `card_removed`.
        stopped_by: Option<String>,
        threshold_usd: String, amount_usd: String, daily_cap_usd: String, monthly_cap_usd: String,
        /// The card.
        payment_method: String,
        /// The bank's word for the last decline, until the card has paid.
        decline_code: Option<String>,
        /// Until when nothing is tried after it, in unix seconds.
        retry_at: Option<i64>,
        updated_at: i64,
    }
    /// What came or went. Money as decimal strings of US dollars.
    CreditEntry {
        id: String,
        /// Always `credit_entry`.
        object: String,
        /// `topup`, `promo`, `refund`, `expiry`, `dispute`, `usage` (of one UTC day), `adjustment` or `receivable`
        /// (what is owed, or was, and is paid).
        kind: String,
        /// What came; below zero, what went.
        amount_usd: String,
        /// What there was after it.
        balance_usd: String,
        /// The top-up or refund it comes from.
        source: Option<String>,
        created_at: i64,
    }
    /// What came and went.
    CreditEntryList {
        object: String, data: Vec<CreditEntry>, first_id: Option<String>, last_id: Option<String>, has_more: bool,
    }
}

requests! {
    /// Credit to be bought.
    CreateTopup {
        /// In US dollars and whole cents, as a decimal string.
        amount_usd: String,
        ;
        /// `usd`, and nothing else.
        currency: String,
        /// Where the customer comes back to.
        return_url: String,
    }
    /// A card to be saved.
    CreatePaymentMethod {;
        /// Where the customer comes back to.
        return_url: String,
    }
    /// When a saved card is charged by itself, and for how much, in decimal strings of US dollars.
    SetAutoRecharge {
        /// Below this balance.
        threshold_usd: String,
        /// So much credit, in whole cents; tax comes on top.
        amount_usd: String,
        /// At most so much in a UTC day.
        daily_cap_usd: String,
        /// And in a month.
        monthly_cap_usd: String,
        ;
        /// This saved card; the default one when absent.
        payment_method: String,
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

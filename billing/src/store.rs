//! SQL of the tables billing owns, one file per group.
//!
//! Every function takes the connection first and neither begins nor commits.
//!
//! # Lock order
//! Rows are locked in this order, and within a table sorted by id, so two transactions never wait for
//! each other in a circle:
//!
//! 1. `leases`
//! 2. `budget_leases`
//! 3. `accounts`, then `budget_windows`
//! 4. `grants`
//! 5. `card_setups`, then `cards`, then `recharge_rules`
//! 6. `topups`, then `refund_intents` or `disputes`, then `stripe_calls`; `stripe_events`, `stripe_balance_txns` and
//!    `stripe_cursors` alone; `reconciliations` alone
//! 7. `receipt_cursor`, then `epochs`, then `payees`, then `chain_intents`, then `chain_nonces`; `chain_cursor` alone; `valuations` alone
//!
//! A row of `budgets` is locked before its windows, by whoever opens one and by whoever changes the limit.
//!
//! `usage`, `attempts`, `transfers` and `postings` are only inserted into, in the order of their ids, and
//! `fold_watermark` is locked by the fold alone. `spend_alerts` are added by the fold, and locked alone by whoever
//! tells of them.

pub mod accounts;
pub(crate) mod alerts;
pub(crate) mod budget_leases;
pub mod budgets;
pub mod cards;
pub mod chain;
pub mod chain_logs;
pub mod disputes;
pub mod documents;
pub mod earnings;
pub mod epochs;
pub(crate) mod flush;
pub(crate) mod folds;
pub mod grants;
pub mod history;
pub mod journal;
pub(crate) mod leases;
pub(crate) mod line;
pub(crate) mod partitions;
pub mod payees;
pub mod payout_accounts;
pub mod prices;
pub mod purses;
pub(crate) mod quarantine;
pub mod receipt_cases;
pub mod receipt_keys;
pub mod receipts;
pub mod recharge;
pub mod reconciliations;
pub mod refunds;
pub(crate) mod replicas;
pub mod reports;
pub(crate) mod rows;
pub mod statements;
pub mod stripe_calls;
pub(crate) mod stripe_cursors;
pub mod stripe_events;
pub mod stripe_lines;
pub mod topups;
pub mod transfers;
pub mod uptime;
pub mod usage;
pub mod usage_log;
pub mod valuations;
pub mod views;
pub mod warnings;

/// What the ledger answered to a loan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lent {
    /// All that was lent on this lease, less what came back.
    pub lent: i64,
    /// The number of the next loan.
    pub seq: i64,
    /// The size to refresh towards.
    pub target: i64,
    /// The account or window is nearly empty.
    pub low: bool,
}

/// A loan to ask for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask {
    /// The number of this loan: a repeat with the same one changes nothing.
    pub seq: i64,
    /// The least that helps; below zero, what is handed back; zero never fails for want of money.
    pub need: i64,
    /// What all waiting requests need together, taken as far as it is there.
    pub want: i64,
    /// What was asked for in the last two seconds.
    pub burn: i64,
    /// An account left with less than this is low: nothing beyond `want` is lent.
    pub low_below: i64,
    /// The most beyond `want`, in basis points of what is available.
    pub share_bps: i64,
    /// How long the lease lives from now.
    pub ttl_s: f64,
    /// Only uses the number up, whatever the state of the account.
    pub fence: bool,
}

/// A lease as the ledger has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeaseRow {
    pub lease: protocol::LeaseId,
    pub lent: i64,
    pub spent: i64,
    pub seq: i64,
    pub closed: bool,
}

//! One file per resource.

mod access;
pub mod auto_recharge;
pub mod bandwidth;
pub mod challenges;
pub mod credits;
pub mod document;
pub mod earnings;
pub mod endpoints;
pub mod generation;
pub mod health;
pub mod heartbeats;
pub mod history;
pub mod hooks;
pub mod key;
pub mod keys;
mod list;
pub mod messages;
pub mod models;
pub mod nodes;
pub mod offers;
pub mod organization;
pub mod payment_methods;
pub mod payout_account;
pub mod payouts;
pub mod providers;
pub mod receipt_keys;
pub mod receipts;
pub mod refunds;
pub mod reports;
pub mod responses;
pub mod sessions;
pub mod topups;
pub mod tunnel;
pub mod webhooks;
pub mod works;

pub use access::{Access, ROUTES};

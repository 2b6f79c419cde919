//! Who owes whom, and proof that it adds up.
//!
//! Money is lent to a gateway replica ahead of time ([`Billing::hold`] takes from it without asking
//! anyone), what requests come to is written in batches ([`LeaseHold::settle`]), and every movement is a
//! posting with two ends and a cause. Postgres is the only truth; everything in memory can be lost.

pub mod account;
pub mod artefact;
pub mod budget;
mod calendar;
pub mod card;
pub mod config;
pub mod dispute;
pub mod document;
pub mod epoch;
mod error;
pub mod fx;
pub mod grant;
pub mod history;
mod hold;
mod lease;
pub mod ledger;
mod name;
pub mod outcome;
pub mod payout;
pub mod price_book;
pub mod purse;
pub mod quarantine;
pub mod rail;
pub mod receipt;
pub mod recharge;
pub mod reconcile;
pub mod refund;
pub mod release;
pub mod run;
mod service;
mod settle;
pub mod statement;
pub mod store;
pub mod stripe;
pub mod topup;
pub mod velocity;
pub mod warning;

pub use budget::{Budget, BudgetScope, Reset};
pub use calendar::Month;
pub use config::{AckMode, Config};
pub use epoch::{Epochs, PayoutsConfig};
pub use error::Error;
pub use grant::{GrantKind, Granted, NewGrant, grant};
pub use hold::{HoldRequest, LeaseHold, Settlement};
pub use outcome::{AttemptUsage, CountedBy, Judgement, Outcome, judge};
pub use price_book::{PriceBook, PriceRow};
pub use rail::{ChainConfig, Ethereum};
pub use receipt::{Receipts, ReceiptsConfig, Ticket};
pub use reconcile::{Report, reconcile, reconcile_stripe, reconcile_with};
pub use service::Billing;
pub use settle::{Ack, Booked};
pub use stripe::{Cards, StripeConfig};
pub use topup::{Topup, TopupState};

//! A payout contract and the chain it lives on: how it is read, called and signed for.
//!
//! Whoever pays by the contract and whoever is paid by it speak to it through the same few types. What to call, and when,
//! is theirs to decide: there is no ledger here, no queue and no retry.

mod claim;
pub mod contract;
mod endpoint;
mod error;
pub mod key;
#[cfg(feature = "local")]
pub mod local;
pub mod transaction;
mod transport;

pub use claim::{Claim, Due, Patience, Payer, Sent};
pub use endpoint::{At, Block, Endpoint, Log, NoAnswer, Receipt};
pub use error::Error;
pub use key::Key;

//! How trees come to a payout contract and tokens to payees.
//!
//! A call is a wish with a purpose, written down before anything is signed; signed bytes are written down before they
//! are sent; and nothing moves in the ledger before the chain can't take it back. A worker does one after the other, so
//! whoever dies in between is followed by one who reads where things stand.

mod config;
mod ethereum;

pub use config::{ChainConfig, FeedConfig};
pub use ethereum::{Ethereum, Feed, GAS_DECIMALS, Gas, positions, spawn};

//! What an operator sets about receipts.

use platform::config::redacted;
use protocol::typed::Domain;
use protocol::wallet::Address;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// Receipts, and the instance of the payout contract they are made for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReceiptsConfig {
    /// 64 hex digits, the same for every replica: what tickets are sealed with and receipts are signed with follows from
    /// it. Without one neither is given.
    #[serde(serialize_with = "redacted")]
    pub secret: Option<SecretString>,
    /// EIP-155 chain id of the distributor; that of a local chain unless set.
    pub chain_id: u64,
    /// The `PayoutDistributor`; the zero address while there is none.
    pub distributor: Address,
    /// How often attempts are given their receipts.
    pub issue_ms: u64,
    /// How often it is looked for attempts that came into the books, or were reported, late.
    pub sweep_ms: u64,
}

impl Default for ReceiptsConfig {
    fn default() -> Self {
        Self {
            secret: None,
            chain_id: 31_337,
            distributor: Address::from_bytes([0; 20]),
            issue_ms: 30_000,
            sweep_ms: 600_000,
        }
    }
}

impl ReceiptsConfig {
    /// Where what is signed counts.
    #[must_use]
    pub fn domain(&self) -> Domain {
        Domain { chain_id: self.chain_id, distributor: self.distributor }
    }
}

//! What an operator sets about payouts.

use std::collections::BTreeSet;
use std::path::PathBuf;

use protocol::NanoUsd;
use protocol::wallet::Address;
use serde::{Deserialize, Serialize};

use crate::rail::ChainConfig;

/// When and what providers are paid.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PayoutsConfig {
    /// Whether epochs are made at all.
    pub enabled: bool,
    /// Where statements, manifests and trees are kept, for ever: the same for every replica.
    pub artefacts_dir: PathBuf,
    /// Less than this is carried over; the gas of a claim should be about a hundredth of it.
    pub min_payout_usd: u32,
    /// Digits behind the point of the payout token.
    pub token_decimals: u8,
    /// Accounts that are not paid.
    pub blocked: BTreeSet<Address>,
    /// How often it is looked whether an epoch can move on.
    pub advance_ms: u64,
    /// The chain they are paid on. Apart, since settings are handed around by value.
    pub chain: Box<ChainConfig>,
}

impl Default for PayoutsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            artefacts_dir: PathBuf::from("/var/lib/steelyard/artefacts"),
            min_payout_usd: 1,
            token_decimals: 6,
            blocked: BTreeSet::new(),
            advance_ms: 60_000,
            chain: Box::default(),
        }
    }
}

impl PayoutsConfig {
    /// The least that is paid.
    #[must_use]
    pub const fn min_payout(&self) -> NanoUsd {
        NanoUsd::from_dollars(self.min_payout_usd)
    }
}

//! What a provider has at a broker: what waits, what is held, what is released and what was paid.

use serde::{Deserialize, Serialize};

use crate::token::TokenAmount;
use crate::wallet::Address;
use crate::{NanoUsd, PayoutId, ProviderId};

/// All a provider has earned since the beginning, in four parts that add up to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// `provider.balance`.
    pub object: String,
    /// Whose.
    pub provider: ProviderId,
    /// The sum of the four, in dollars after the broker's fee.
    pub earned_usd: NanoUsd,
    /// Not released yet: users may still dispute what they paid.
    pub pending_usd: NanoUsd,
    /// Released, and kept back for the reasons beside.
    pub held_usd: NanoUsd,
    /// `case`, `payee_change`, `screening`, `no_payee`.
    pub held_for: Vec<String>,
    /// Waiting for the next payout, or in a tree and not claimed yet.
    pub released_usd: NanoUsd,
    /// Paid by the contract, for good.
    pub paid_usd: NanoUsd,
    /// What of it is tokens by now, for each token.
    pub tokens: Vec<TokenBalance>,
    /// What can be claimed, where a tree has a leaf of the provider.
    pub claim: Option<ClaimRef>,
}

/// What a payout contract owes and has paid a provider, in base units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenBalance {
    /// The chain.
    pub chain_id: u64,
    /// The contract that pays.
    pub distributor: Address,
    /// The token.
    pub token: Address,
    /// Digits behind its point.
    pub decimals: u8,
    /// In the active tree, and not claimed yet as far as the chain can't take it back.
    pub released: TokenAmount,
    /// Claimed.
    pub paid: TokenAmount,
}

/// Where the proof of a claim is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimRef {
    /// The epoch whose tree is active: its manifest has the leaves.
    pub epoch: u64,
    /// The newest payout in it, whose bundle says why the leaf is what it is.
    pub payout: PayoutId,
}

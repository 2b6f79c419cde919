//! The contract's words, and ours for them.

#![allow(missing_docs, reason = "what is generated is described in the contracts")]

use alloy_primitives::{Address, B256, FixedBytes, U256};
use alloy_sol_types::SolInterface as _;
use protocol::merkle::Leaf;
use protocol::token::TokenAmount;
use protocol::typed::Word;
use protocol::{Id as _, ProviderId, wallet};

alloy_sol_types::sol!(
    #[derive(Debug)]
    PayoutDistributor,
    "../contracts/abi/PayoutDistributor.json"
);

alloy_sol_types::sol! {
    /// A price feed, as Chainlink has it.
    #[derive(Debug)]
    interface Aggregator {
        function decimals() external view returns (uint8);
        function latestRoundData() external view returns (uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound);
        function getRoundData(uint80 round) external view returns (uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound);
    }
}

alloy_sol_types::sol! {
    /// What is asked of a token.
    #[derive(Debug)]
    interface Erc20 {
        function decimals() external view returns (uint8);
        function symbol() external view returns (string);
        function balanceOf(address account) external view returns (uint256);
    }
}

pub use PayoutDistributor::{PayoutDistributorErrors as Errors, PayoutDistributorEvents as Events};

/// Why the contract refuses a call.
#[derive(Debug)]
pub struct Refusal {
    /// In its words.
    pub reason: String,
    /// Whether the same call could never do anything again.
    pub is_for_good: bool,
}

/// Reads a refusal.
pub fn refusal(data: &[u8]) -> Refusal {
    match Errors::abi_decode(data) {
        Ok(error) => {
            let is_for_good = matches!(error, Errors::WrongEpoch(_) | Errors::RootMoved(_) | Errors::NothingPending(_));
            Refusal { reason: format!("{error:?}"), is_for_good }
        }
        Err(_) => Refusal { reason: format!("0x{}", hex::encode(data)), is_for_good: false },
    }
}

/// A claim, as a batch has it.
pub fn claim(leaf: &Leaf, proof: &[Word]) -> PayoutDistributor::Claim {
    PayoutDistributor::Claim {
        provider: named(leaf.provider),
        payee: theirs(leaf.payee),
        cumulative: units(leaf.cumulative),
        proof: proof.iter().map(|word| B256::from(word.0)).collect(),
    }
}

/// A claim by itself.
pub fn claim_call(root: Word, leaf: &Leaf, proof: &[Word]) -> PayoutDistributor::claimCall {
    let PayoutDistributor::Claim { provider, payee, cumulative, proof } = claim(leaf, proof);
    PayoutDistributor::claimCall { provider, payee, cumulative, expectedRoot: root.0.into(), proof }
}

/// A provider, as the contract names it.
pub fn named(provider: ProviderId) -> FixedBytes<16> {
    FixedBytes(*provider.uuid().as_bytes())
}

pub fn theirs(address: wallet::Address) -> Address {
    Address::from(*address.bytes())
}

pub fn ours(address: Address) -> wallet::Address {
    wallet::Address::from_bytes(address.into_array())
}

pub fn units(amount: TokenAmount) -> U256 {
    U256::from_be_bytes(*amount.be_bytes())
}

pub fn amount(units: U256) -> TokenAmount {
    TokenAmount::from_be_bytes(units.to_be_bytes())
}

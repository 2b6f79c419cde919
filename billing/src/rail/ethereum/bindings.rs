//! The contract's words, and ours for them.

#![allow(missing_docs, reason = "what is generated is described in the contracts")]

use alloy_primitives::{Address, B256, FixedBytes, LogData, U256};
use alloy_sol_types::{SolEventInterface as _, SolInterface as _};
use protocol::merkle::Leaf;
use protocol::token::TokenAmount;
use protocol::typed::Word;
use protocol::{Id as _, ProviderId, wallet};
use uuid::Uuid;

use crate::store::chain_logs::Fact;

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
        function balanceOf(address account) external view returns (uint256);
    }
}

pub(super) use PayoutDistributor::{PayoutDistributorErrors as Errors, PayoutDistributorEvents as Events};

/// Why the contract refuses a call.
#[derive(Debug)]
pub(super) struct Refusal {
    /// In its words.
    pub(super) reason: String,
    /// Whether the same call could never do anything again.
    pub(super) is_for_good: bool,
}

/// Reads a refusal.
pub(super) fn refusal(data: &[u8]) -> Refusal {
    match Errors::abi_decode(data) {
        Ok(error) => {
            let is_for_good = matches!(error, Errors::WrongEpoch(_) | Errors::RootMoved(_) | Errors::NothingPending(_));
            Refusal { reason: format!("{error:?}"), is_for_good }
        }
        Err(_) => Refusal { reason: format!("0x{}", hex::encode(data)), is_for_good: false },
    }
}

/// Reads a log; `None` for one that says nothing about money.
pub(super) fn fact(log: &LogData) -> Option<Fact> {
    Some(match Events::decode_raw_log(log.topics(), &log.data).ok()? {
        Events::Proposed(told) => Fact::Proposed {
            number: told.epoch,
            root: Word(told.root.0),
            total: amount(told.total),
            manifest_hash: Word(told.manifestHash.0),
            activatable_at: told.activatableAt,
        },
        Events::Activated(told) => Fact::Activated {
            number: told.epoch,
            root: Word(told.root.0),
            total: amount(told.total),
            manifest_hash: Word(told.manifestHash.0),
        },
        Events::Vetoed(told) => Fact::Vetoed { number: told.epoch, root: Word(told.root.0) },
        Events::Claimed(told) => Fact::Claimed {
            number: told.epoch,
            provider: provider(told.provider),
            payee: ours(told.payee),
            amount: amount(told.amount),
            cumulative: amount(told.cumulative),
        },
        Events::ClaimFailed(told) => Fact::ClaimFailed {
            provider: provider(told.provider),
            payee: ours(told.payee),
            reason: hex::encode(told.reason),
        },
        Events::Funded(told) => Fact::Funded { from: ours(told.from), amount: amount(told.amount) },
        _ => return None,
    })
}

/// A claim, as a batch has it.
pub(super) fn claim(leaf: &Leaf, proof: &[Word]) -> PayoutDistributor::Claim {
    PayoutDistributor::Claim {
        provider: FixedBytes(*leaf.provider.uuid().as_bytes()),
        payee: theirs(leaf.payee),
        cumulative: units(leaf.cumulative),
        proof: proof.iter().map(|word| B256::from(word.0)).collect(),
    }
}

pub(super) fn theirs(address: wallet::Address) -> Address {
    Address::from(*address.bytes())
}

pub(super) fn ours(address: Address) -> wallet::Address {
    wallet::Address::from_bytes(address.into_array())
}

pub(super) fn units(amount: TokenAmount) -> U256 {
    U256::from_be_bytes(*amount.be_bytes())
}

pub(super) fn amount(units: U256) -> TokenAmount {
    TokenAmount::from_be_bytes(units.to_be_bytes())
}

fn provider(id: FixedBytes<16>) -> ProviderId {
    ProviderId::from_uuid(Uuid::from_bytes(id.0))
}

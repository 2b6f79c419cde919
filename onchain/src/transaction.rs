//! A call as signed bytes, and what it may cost.

use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{TxKind, U256};
use protocol::wallet::Address;

use crate::contract::theirs;
use crate::{Block, Endpoint, Error, Key};

/// What an estimate is multiplied with, in tenths: state moves between now and then.
const GAS_TENTHS: u64 = 13;
/// The most gas one transaction may use (EIP-7825).
const MAX_GAS: u64 = 1 << 24;
/// What miners are given where nobody knows better, in wei for a unit of gas.
const USUAL_TIP: u128 = 1_000_000_000;

/// Wei for a unit of gas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fees {
    /// At most, all in all.
    pub max: u128,
    /// Of it for who mines.
    pub tip: u128,
}

/// A call under a nonce.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// Of which chain.
    pub chain_id: u64,
    /// Its place among the account's.
    pub nonce: u64,
    /// The most gas it may use.
    pub gas_limit: u64,
    /// What for.
    pub fees: Fees,
    /// The contract.
    pub to: Address,
    /// What it is told.
    pub input: Vec<u8>,
}

/// A transaction as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// What it is known by.
    pub hash: [u8; 32],
    /// All of it, signed.
    pub bytes: Vec<u8>,
}

impl Fees {
    /// What it takes to be in one of the next blocks: room for the base fee to double.
    pub async fn market(endpoint: &Endpoint, head: &Block) -> Self {
        let tip = endpoint.tip().await.unwrap_or(USUAL_TIP);
        Self { max: head.base_fee().saturating_mul(2).saturating_add(tip).max(1), tip }
    }

    /// What so much gas may come to, in wei.
    #[must_use]
    pub fn most(self, gas_limit: u64) -> u128 {
        u128::from(gas_limit).saturating_mul(self.max)
    }

    /// At least what every pool asks of a transaction that takes another's place, an eighth more, and at least `market`.
    #[must_use]
    pub fn raised(self, market: Self) -> Self {
        Self { max: raised(self.max).max(market.max), tip: raised(self.tip).max(market.tip) }
    }
}

/// The gas a call is given that was estimated to use so much.
#[must_use]
pub fn gas_limit(estimate: u64) -> u64 {
    (estimate.saturating_mul(GAS_TENTHS) / 10).min(MAX_GAS)
}

impl Transaction {
    /// Signs it. The same call under the same nonce and fees has the same bytes, where the key is a file.
    ///
    /// # Errors
    /// [`Error::Unfit`] when the key does not sign.
    pub async fn sign(self, key: &Key) -> Result<Raw, Error> {
        let call = TxEip1559 {
            chain_id: self.chain_id,
            nonce: self.nonce,
            gas_limit: self.gas_limit,
            max_fee_per_gas: self.fees.max,
            max_priority_fee_per_gas: self.fees.tip,
            to: TxKind::Call(theirs(self.to)),
            value: U256::ZERO,
            input: self.input.into(),
            ..TxEip1559::default()
        };
        let signature = key.0.sign_hash(&call.signature_hash()).await;
        let signature = signature.map_err(|error| Error::Unfit { reason: error.to_string() })?;
        let envelope = TxEnvelope::from(call.into_signed(signature));
        Ok(Raw { hash: envelope.tx_hash().0, bytes: envelope.encoded_2718() })
    }
}

/// An eighth more, rounded up.
const fn raised(fee: u128) -> u128 {
    fee.saturating_add(fee.div_ceil(8))
}

#[cfg(test)]
mod tests {
    use super::raised;

    #[test]
    fn fees_are_raised_by_an_eighth_at_least() {
        for fee in [1, 7, 8, 9, 1_000_000_007, 30_000_000_000_u128] {
            assert!(raised(fee) * 8 >= fee * 9, "{fee}");
            assert!(raised(fee) <= fee + fee / 8 + 1, "{fee}");
        }
        assert_eq!(raised(u128::MAX), u128::MAX);
    }
}

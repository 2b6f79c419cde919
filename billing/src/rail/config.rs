//! What an operator sets about the chain.

use std::path::{Path, PathBuf};
use std::time::Duration;

use platform::config::redacted;
use protocol::token::TokenAmount;
use protocol::wallet::Address;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// The chain payouts are made on. Its id and the contract are those receipts are signed for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChainConfig {
    /// Where its JSON-RPC is. Without one nothing is proposed.
    #[serde(serialize_with = "redacted")]
    pub rpc_url: Option<SecretString>,
    /// Somebody else's, asked too where much is at stake.
    #[serde(serialize_with = "redacted")]
    pub second_rpc_url: Option<SecretString>,
    /// The payout token; the contract's own word is compared with it.
    pub token: Address,
    /// The account tokens are bought to and the contract is funded from, to compare it with the books.
    pub treasury: Option<Address>,
    /// The proposer's key, an encrypted keystore file.
    pub keystore: Option<PathBuf>,
    /// The file with its password, of which the first line counts.
    pub keystore_password_file: Option<PathBuf>,
    /// Or the proposer's key in AWS KMS: its id, alias or ARN.
    pub kms_key: Option<String>,
    /// The account that key is of; another's signs nothing.
    pub kms_account: Option<Address>,
    /// Where KMS is asked in place of its region's own address.
    pub kms_endpoint: Option<String>,
    /// The block the contract was deployed in: nothing is read before it.
    pub first_block: u64,
    /// Whole tokens above which what one endpoint says is not booked without the other.
    pub two_rpc_threshold: u64,
    /// Blocks added to what the chain calls final.
    pub finality_margin: u64,
    /// The most one transaction may spend on gas, in millionths of the chain's coin.
    pub fee_limit_micro_eth: u32,
    /// Longest wait for one answer.
    pub timeout_ms: u64,
    /// How often the chain is looked at.
    pub tick_ms: u64,
    /// The feed that says what a token is worth; without one it is taken for a dollar.
    pub feed: Option<FeedConfig>,
    /// The feed that says what gas is paid with is worth; without one it is not valued.
    pub gas_feed: Option<FeedConfig>,
}

/// A price feed, and when it is believed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedConfig {
    /// The aggregator.
    pub address: Address,
    /// It answers at least this often.
    pub heartbeat_s: u64,
    /// The least a whole token can be worth, in millionths of a dollar.
    pub least_micro_usd: u64,
    /// And the most.
    pub most_micro_usd: u64,
    /// Another venue's feed, whose average over half an hour is compared.
    #[serde(default)]
    pub second: Option<Address>,
    /// On a rollup: the feed that says whether its sequencer works.
    #[serde(default)]
    pub sequencer: Option<Address>,
    /// How far the two may be apart, in hundredths of a percent.
    #[serde(default = "two_percent")]
    pub deviation_bps: u32,
    /// Whether the token is meant to be a dollar: then it is worth exactly one while its feed is within a percent.
    #[serde(default)]
    pub is_stable: bool,
}

const fn two_percent() -> u32 {
    200
}

/// A millionth of a coin, in wei.
const MICRO: u128 = 1_000_000_000_000;

impl Default for ChainConfig {
    fn default() -> Self {
        Self {
            rpc_url: None,
            second_rpc_url: None,
            token: Address::from_bytes([0; 20]),
            treasury: None,
            keystore: None,
            keystore_password_file: None,
            kms_key: None,
            kms_account: None,
            kms_endpoint: None,
            first_block: 0,
            two_rpc_threshold: 10_000,
            finality_margin: 0,
            fee_limit_micro_eth: 50_000,
            timeout_ms: 10_000,
            tick_ms: 12_000,
            feed: None,
            gas_feed: None,
        }
    }
}

impl ChainConfig {
    /// Settings that lead to a chain on this machine, with the proposer's key in `folder`.
    ///
    /// # Errors
    /// When the key can't be written.
    pub fn local(at: &onchain::local::Deployed, url: &str, folder: &Path) -> Result<Self, std::io::Error> {
        let (keystore, password) = onchain::local::write_keystore(folder)?;
        Ok(Self {
            rpc_url: Some(url.to_owned().into()),
            token: at.token,
            treasury: at.treasury().ok(),
            keystore: Some(keystore),
            keystore_password_file: Some(password),
            tick_ms: 500,
            ..Self::default()
        })
    }

    /// The most one transaction may spend on gas, in wei.
    #[must_use]
    pub(super) const fn fee_limit(&self) -> u128 {
        self.fee_limit_micro_eth as u128 * MICRO
    }

    /// Base units of a token with so many digits above which one endpoint isn't enough.
    #[must_use]
    pub(super) fn threshold(&self, decimals: u8) -> TokenAmount {
        let unit = 10_u128.checked_pow(decimals.into()).unwrap_or(u128::MAX);
        TokenAmount::from(u128::from(self.two_rpc_threshold).saturating_mul(unit))
    }

    pub(super) const fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

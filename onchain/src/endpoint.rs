//! What is asked of a chain, one method each. All of them fail as [`Error::Away`] when there is no answer.

use std::str::FromStr as _;
use std::time::Duration;

use alloy_json_rpc::{RpcError, RpcRecv, RpcSend};
use alloy_primitives::{Address, B256, Bytes, LogData, U64, U128};
use alloy_rpc_client::RpcClient;
use alloy_sol_types::SolCall;
use alloy_transport::TransportError;
use http::Uri;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;

use crate::Error;
use crate::transport::Http;

/// Somebody who tells about a chain. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Endpoint {
    rpc: RpcClient,
    /// Which of ours, for people: its address may hold a secret.
    name: &'static str,
}

/// What is asked of which block.
#[derive(Debug, Clone, Copy)]
pub enum At {
    /// The newest.
    Latest,
    /// As if what waits were in it already.
    Pending,
    /// The last that stays.
    Finalized,
    /// This one.
    Number(u64),
}

/// A block, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Block {
    number: U64,
    /// What it is known by.
    pub hash: B256,
    timestamp: U64,
    base_fee_per_gas: Option<U128>,
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    block_number: U64,
    /// In which block it is.
    pub block_hash: B256,
    status: U64,
    gas_used: U64,
    effective_gas_price: U128,
}

/// A log, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Log {
    topics: Vec<B256>,
    data: Bytes,
    block_number: U64,
    /// In which block it is.
    pub block_hash: B256,
    /// By which transaction.
    pub transaction_hash: B256,
    log_index: U64,
}

/// Why a call that changes nothing gave nothing.
#[derive(Debug)]
pub enum NoAnswer {
    /// The contract refused, in its own bytes.
    Refused(Bytes),
    /// It was not reached.
    Away(Error),
}

impl Endpoint {
    /// At a URL, known to people by a name.
    ///
    /// # Errors
    /// [`Error::Unfit`] for a URL that is none.
    pub fn new(url: &SecretString, name: &'static str, timeout: Duration) -> Result<Self, Error> {
        let uri = Uri::from_str(url.expose_secret().trim()).ok().filter(|uri| uri.scheme().is_some());
        let uri = uri.ok_or_else(|| Error::Unfit { reason: format!("the {name} rpc url is none") })?;
        Ok(Self { rpc: RpcClient::new(Http::new(uri, timeout), false), name })
    }

    async fn ask<P: RpcSend, R: RpcRecv>(&self, method: &'static str, params: P) -> Result<R, TransportError> {
        self.rpc.request(method, params).await
    }

    fn away(&self, method: &'static str, error: TransportError) -> Error {
        Error::Away { endpoint: self.name, method, source: Box::new(error) }
    }

    async fn get<P: RpcSend, R: RpcRecv>(&self, method: &'static str, params: P) -> Result<R, Error> {
        self.ask(method, params).await.map_err(|error| self.away(method, error))
    }

    /// Which chain it is of.
    pub async fn chain_id(&self) -> Result<u64, Error> {
        Ok(self.get::<_, U64>("eth_chainId", ()).await?.to())
    }

    /// A block; `None` for one that is not there yet.
    pub async fn block(&self, at: At) -> Result<Option<Block>, Error> {
        self.get("eth_getBlockByNumber", (at.text(), false)).await
    }

    /// A block that is always there.
    pub async fn known(&self, at: At) -> Result<Block, Error> {
        let missing = || Error::Doubt { reason: format!("the {} endpoint knows no block {}", self.name, at.text()) };
        self.block(at).await?.ok_or_else(missing)
    }

    /// What a contract answers to a call that changes nothing.
    pub async fn call(&self, from: Address, to: Address, data: &[u8], at: At) -> Result<Bytes, NoAnswer> {
        let call = json!({ "from": from, "to": to, "data": Bytes::copy_from_slice(data) });
        self.ask("eth_call", (call, at.text())).await.map_err(|error| self.no_answer("eth_call", error))
    }

    /// What a contract answers to somebody who only asks, as of the newest block.
    pub async fn view<C: SolCall>(&self, to: Address, call: C) -> Result<C::Return, Error> {
        self.view_at(to, call, At::Latest).await
    }

    /// What it answered as of an earlier one.
    pub async fn view_at<C: SolCall>(&self, to: Address, call: C, at: At) -> Result<C::Return, Error> {
        let unread = |reason: String| Error::Refuses { wish: format!("answer {}", C::SIGNATURE), reason };
        match self.call(Address::ZERO, to, &call.abi_encode(), at).await {
            Ok(answer) => C::abi_decode_returns(&answer).map_err(|error| unread(error.to_string())),
            Err(NoAnswer::Refused(data)) => Err(unread(data.to_string())),
            Err(NoAnswer::Away(error)) => Err(error),
        }
    }

    /// The gas a call would use.
    pub async fn estimate(&self, from: Address, to: Address, data: &[u8]) -> Result<u64, NoAnswer> {
        let call = json!({ "from": from, "to": to, "data": Bytes::copy_from_slice(data) });
        let gas: Result<U64, _> = self.ask("eth_estimateGas", (call,)).await;
        gas.map(|gas| gas.to()).map_err(|error| self.no_answer("eth_estimateGas", error))
    }

    fn no_answer(&self, method: &'static str, error: TransportError) -> NoAnswer {
        let refused = error.as_error_resp().and_then(|payload| payload.as_revert_data());
        refused.map_or_else(|| NoAnswer::Away(self.away(method, error)), NoAnswer::Refused)
    }

    /// What blocks are mined for beside the base fee, in wei for a unit of gas.
    pub async fn tip(&self) -> Result<u128, Error> {
        Ok(self.get::<_, U128>("eth_maxPriorityFeePerGas", ()).await?.to())
    }

    /// The next nonce of an account after a block.
    pub async fn nonce(&self, account: Address, at: At) -> Result<u64, Error> {
        Ok(self.get::<_, U64>("eth_getTransactionCount", (account, at.text())).await?.to())
    }

    /// What an account has of the chain's coin, in wei.
    pub async fn balance(&self, account: Address, at: At) -> Result<u128, Error> {
        let wei: alloy_primitives::U256 = self.get("eth_getBalance", (account, at.text())).await?;
        Ok(wei.saturating_to())
    }

    /// Hands signed bytes over. `None` when they were taken, else in words why not: it may have them already.
    pub async fn send(&self, raw: &[u8]) -> Result<Option<String>, Error> {
        let sent: Result<B256, _> = self.ask("eth_sendRawTransaction", (Bytes::copy_from_slice(raw),)).await;
        match sent {
            Ok(_) => Ok(None),
            Err(RpcError::ErrorResp(payload)) => Ok(Some(payload.message.into_owned())),
            Err(error) => Err(self.away("eth_sendRawTransaction", error)),
        }
    }

    /// What became of a transaction; `None` while it is in no block.
    pub async fn receipt(&self, hash: B256) -> Result<Option<Receipt>, Error> {
        self.get("eth_getTransactionReceipt", (hash,)).await
    }

    /// Whether a transaction is in a block or waits for one.
    pub async fn knows(&self, hash: B256) -> Result<bool, Error> {
        Ok(self.get::<_, Option<serde_json::Value>>("eth_getTransactionByHash", (hash,)).await?.is_some())
    }

    /// A contract's logs of some blocks, both ends included.
    pub async fn logs(&self, contract: Address, from: u64, to: u64) -> Result<Vec<Log>, Error> {
        let wanted = json!({ "address": contract, "fromBlock": U64::from(from), "toBlock": U64::from(to) });
        self.get("eth_getLogs", (wanted,)).await
    }

    /// Anything else, as local chains have it.
    pub async fn raw(&self, method: &'static str, params: serde_json::Value) -> Result<serde_json::Value, Error> {
        self.get(method, params).await
    }
}

impl At {
    fn text(self) -> String {
        match self {
            Self::Latest => "latest".to_owned(),
            Self::Pending => "pending".to_owned(),
            Self::Finalized => "finalized".to_owned(),
            Self::Number(number) => format!("{number:#x}"),
        }
    }
}

impl Block {
    /// Its place in the chain.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number.to()
    }

    /// When it was made, in Unix seconds.
    #[must_use]
    pub fn timestamp(&self) -> u64 {
        self.timestamp.to()
    }

    /// In wei for a unit of gas.
    #[must_use]
    pub fn base_fee(&self) -> u128 {
        self.base_fee_per_gas.map_or(0, |fee| fee.to())
    }
}

impl Receipt {
    /// In which block it is.
    #[must_use]
    pub fn block(&self) -> u64 {
        self.block_number.to()
    }

    /// Whether it did what was asked.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.status == U64::from(1)
    }

    /// What it cost, in wei.
    #[must_use]
    pub fn cost(&self) -> u128 {
        u128::from(self.gas_used.to::<u64>()).saturating_mul(self.effective_gas_price.to())
    }
}

impl Log {
    /// In which block it is.
    #[must_use]
    pub fn block(&self) -> u64 {
        self.block_number.to()
    }

    /// Its place there.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.log_index.to()
    }

    /// What it says.
    #[must_use]
    pub fn told(&self) -> Option<LogData> {
        LogData::new(self.topics.clone(), self.data.clone())
    }
}

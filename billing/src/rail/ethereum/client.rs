//! What is asked of a chain, one method each.

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

use super::transport::Http;
use crate::Error;

/// Somebody who tells about a chain. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    rpc: RpcClient,
    /// Which of ours, for people: its address may hold a secret.
    name: &'static str,
}

/// What is asked of which block.
#[derive(Debug, Clone, Copy)]
pub(super) enum At {
    Latest,
    Finalized,
    Number(u64),
}

/// A block, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Block {
    number: U64,
    pub(super) hash: B256,
    timestamp: U64,
    base_fee_per_gas: Option<U128>,
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Receipt {
    block_number: U64,
    pub(super) block_hash: B256,
    status: U64,
    gas_used: U64,
    effective_gas_price: U128,
}

/// A log, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Log {
    topics: Vec<B256>,
    data: Bytes,
    block_number: U64,
    pub(super) block_hash: B256,
    pub(super) transaction_hash: B256,
    log_index: U64,
}

/// Why a call that changes nothing gave nothing.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// The contract refused, in its own bytes.
    Refused(Bytes),
    /// It was not reached.
    Away(Error),
}

impl Endpoint {
    pub(super) fn new(url: &SecretString, name: &'static str, timeout: Duration) -> Result<Self, Error> {
        let uri = Uri::from_str(url.expose_secret().trim()).ok().filter(|uri| uri.scheme().is_some());
        let uri = uri.ok_or_else(|| Error::ChainKey { reason: format!("the {name} rpc url is none") })?;
        Ok(Self { rpc: RpcClient::new(Http::new(uri, timeout), false), name })
    }

    async fn ask<P: RpcSend, R: RpcRecv>(&self, method: &'static str, params: P) -> Result<R, TransportError> {
        self.rpc.request(method, params).await
    }

    fn away(&self, method: &'static str, error: TransportError) -> Error {
        Error::ChainAway { endpoint: self.name, method, source: Box::new(error) }
    }

    async fn get<P: RpcSend, R: RpcRecv>(&self, method: &'static str, params: P) -> Result<R, Error> {
        self.ask(method, params).await.map_err(|error| self.away(method, error))
    }

    pub(super) async fn chain_id(&self) -> Result<u64, Error> {
        Ok(self.get::<_, U64>("eth_chainId", ()).await?.to())
    }

    /// A block; `None` for one that is not there yet.
    pub(super) async fn block(&self, at: At) -> Result<Option<Block>, Error> {
        self.get("eth_getBlockByNumber", (at.text(), false)).await
    }

    /// A block that is always there.
    pub(super) async fn known(&self, at: At) -> Result<Block, Error> {
        let missing =
            || Error::ChainDoubt { reason: format!("the {} endpoint knows no block {}", self.name, at.text()) };
        self.block(at).await?.ok_or_else(missing)
    }

    /// What a contract answers to a call that changes nothing.
    pub(super) async fn call(&self, from: Address, to: Address, data: &[u8], at: At) -> Result<Bytes, NoAnswer> {
        let call = json!({ "from": from, "to": to, "data": Bytes::copy_from_slice(data) });
        self.ask("eth_call", (call, at.text())).await.map_err(|error| self.no_answer("eth_call", error))
    }

    /// What a contract answers to somebody who only asks, as of the newest block.
    pub(super) async fn view<C: SolCall>(&self, to: Address, call: C) -> Result<C::Return, Error> {
        self.view_at(to, call, At::Latest).await
    }

    /// What it answered as of an earlier one.
    pub(super) async fn view_at<C: SolCall>(&self, to: Address, call: C, at: At) -> Result<C::Return, Error> {
        let unread = |reason: String| Error::ChainRefuses { wish: format!("answer {}", C::SIGNATURE), reason };
        match self.call(Address::ZERO, to, &call.abi_encode(), at).await {
            Ok(answer) => C::abi_decode_returns(&answer).map_err(|error| unread(error.to_string())),
            Err(NoAnswer::Refused(data)) => Err(unread(data.to_string())),
            Err(NoAnswer::Away(error)) => Err(error),
        }
    }

    /// The gas a call would use.
    pub(super) async fn estimate(&self, from: Address, to: Address, data: &[u8]) -> Result<u64, NoAnswer> {
        let call = json!({ "from": from, "to": to, "data": Bytes::copy_from_slice(data) });
        let gas: Result<U64, _> = self.ask("eth_estimateGas", (call,)).await;
        gas.map(|gas| gas.to()).map_err(|error| self.no_answer("eth_estimateGas", error))
    }

    fn no_answer(&self, method: &'static str, error: TransportError) -> NoAnswer {
        let refused = error.as_error_resp().and_then(|payload| payload.as_revert_data());
        refused.map_or_else(|| NoAnswer::Away(self.away(method, error)), NoAnswer::Refused)
    }

    /// What blocks are mined for beside the base fee, in wei for a unit of gas.
    pub(super) async fn tip(&self) -> Result<u128, Error> {
        Ok(self.get::<_, U128>("eth_maxPriorityFeePerGas", ()).await?.to())
    }

    /// The next nonce of an account after a block.
    pub(super) async fn nonce(&self, account: Address, at: At) -> Result<u64, Error> {
        Ok(self.get::<_, U64>("eth_getTransactionCount", (account, at.text())).await?.to())
    }

    /// What an account has to pay gas with, in wei.
    pub(super) async fn balance(&self, account: Address, at: At) -> Result<u128, Error> {
        let wei: alloy_primitives::U256 = self.get("eth_getBalance", (account, at.text())).await?;
        Ok(wei.saturating_to())
    }

    /// Hands signed bytes over. `None` when they were taken, else in words why not: it may have them already.
    pub(super) async fn send(&self, raw: &[u8]) -> Result<Option<String>, Error> {
        let sent: Result<B256, _> = self.ask("eth_sendRawTransaction", (Bytes::copy_from_slice(raw),)).await;
        match sent {
            Ok(_) => Ok(None),
            Err(RpcError::ErrorResp(payload)) => Ok(Some(payload.message.into_owned())),
            Err(error) => Err(self.away("eth_sendRawTransaction", error)),
        }
    }

    pub(super) async fn receipt(&self, hash: B256) -> Result<Option<Receipt>, Error> {
        self.get("eth_getTransactionReceipt", (hash,)).await
    }

    /// A contract's logs of some blocks, both ends included.
    pub(super) async fn logs(&self, contract: Address, from: u64, to: u64) -> Result<Vec<Log>, Error> {
        let wanted = json!({ "address": contract, "fromBlock": U64::from(from), "toBlock": U64::from(to) });
        self.get("eth_getLogs", (wanted,)).await
    }

    /// Anything else, as local chains have it.
    pub(super) async fn raw(
        &self,
        method: &'static str,
        params: serde_json::Value,
    ) -> Result<serde_json::Value, Error> {
        self.get(method, params).await
    }
}

impl At {
    fn text(self) -> String {
        match self {
            Self::Latest => "latest".to_owned(),
            Self::Finalized => "finalized".to_owned(),
            Self::Number(number) => format!("{number:#x}"),
        }
    }
}

impl Block {
    pub(super) fn number(&self) -> u64 {
        self.number.to()
    }

    pub(super) fn timestamp(&self) -> u64 {
        self.timestamp.to()
    }

    /// In wei for a unit of gas.
    pub(super) fn base_fee(&self) -> u128 {
        self.base_fee_per_gas.map_or(0, |fee| fee.to())
    }
}

impl Receipt {
    pub(super) fn block(&self) -> u64 {
        self.block_number.to()
    }

    pub(super) fn is_done(&self) -> bool {
        self.status == U64::from(1)
    }

    /// What it cost, in wei.
    pub(super) fn cost(&self) -> u128 {
        u128::from(self.gas_used.to::<u64>()).saturating_mul(self.effective_gas_price.to())
    }
}

impl Log {
    pub(super) fn block(&self) -> u64 {
        self.block_number.to()
    }

    pub(super) fn index(&self) -> u64 {
        self.log_index.to()
    }

    pub(super) fn told(&self) -> Option<LogData> {
        LogData::new(self.topics.clone(), self.data.clone())
    }
}

//! A chain on this machine, with contracts nobody else has: for demonstrations and tests. Its accounts are anvil's, whose
//! keys everybody knows; it signs for them itself.

mod anvil;

use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, U64, U256};
use alloy_sol_types::{SolCall, SolConstructor as _};
use protocol::merkle::Leaf;
use protocol::token::TokenAmount;
use protocol::typed::{Domain, Word};
use protocol::{ProviderId, wallet};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::Error;
use crate::contract::{PayoutDistributor, amount, claim_call, named, ours, theirs, units};
use crate::endpoint::{At, Endpoint, Receipt};

pub use anvil::Anvil;

mod contracts {
    #![allow(missing_docs, reason = "what is generated is described in the contracts")]

    alloy_sol_types::sol!(TestToken, "../contracts/abi/TestToken.json");
    alloy_sol_types::sol!(TimelockController, "../contracts/abi/TimelockController.json");
}

use contracts::{TestToken, TimelockController};

/// The key of the proposer, encrypted under [`PASSWORD`]; known to everybody, as all keys of local chains are.
const KEYSTORE: &str = include_str!("local/keystore.json");
const PASSWORD: &str = "local";

/// Writes the proposer's key into a folder: its keystore, and the file with the password.
///
/// # Errors
/// When it can't be written.
pub fn write_keystore(folder: &Path) -> Result<(PathBuf, PathBuf), std::io::Error> {
    let (keystore, password) = (folder.join("proposer.json"), folder.join("proposer.password"));
    std::fs::write(&keystore, KEYSTORE)?;
    std::fs::write(&password, PASSWORD)?;
    Ok((keystore, password))
}

/// Anvil's accounts, by what they do here.
const TREASURY: usize = 0;
const PROPOSER: usize = 1;
const GUARDIAN: usize = 2;
const ANYBODY: usize = 3;
/// How long a tree waits, in seconds: the least the contract allows.
pub const ACTIVATION_DELAY_S: u64 = 6 * 3_600;
/// How long its administrator waits, in seconds: the least the contract allows.
const TIMELOCK_DELAY_S: u64 = 48 * 3_600;
/// Between two looks at what waits for a block.
const POLL: Duration = Duration::from_millis(5);
/// Looks after which nothing comes any more: some seconds.
const MOST_POLLS: u32 = 2_000;
/// The longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A local chain.
#[derive(Debug, Clone)]
pub struct LocalChain {
    endpoint: Endpoint,
    accounts: Vec<Address>,
}

/// Contracts on a local chain.
#[derive(Debug, Clone)]
pub struct Deployed {
    /// The chain.
    pub chain: LocalChain,
    /// The payout contract.
    pub domain: Domain,
    /// What it pays: a dollar with six digits behind its point.
    pub token: wallet::Address,
}

/// What the contract has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// Its count of epochs.
    pub number: u64,
    /// The active tree.
    pub root: Word,
    /// What it owes and has paid since the beginning.
    pub total: TokenAmount,
    /// What it has paid.
    pub claimed: TokenAmount,
    /// What it holds.
    pub held: TokenAmount,
}

impl LocalChain {
    /// The chain behind an address.
    ///
    /// # Errors
    /// [`Error::Unfit`] for an address that is none; [`Error::Away`].
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let endpoint = Endpoint::new(&SecretString::from(url.to_owned()), "local", TIMEOUT)?;
        let accounts = serde_json::from_value(endpoint.raw("eth_accounts", json!([])).await?).unwrap_or_default();
        Ok(Self { endpoint, accounts })
    }

    /// Asks anything.
    ///
    /// # Errors
    /// [`Error::Away`].
    pub async fn ask(&self, method: &'static str, params: Value) -> Result<Value, Error> {
        self.endpoint.raw(method, params).await
    }

    /// Waits until everything that was sent is in a block, which it soon is unless the chain was told to wait.
    ///
    /// # Errors
    /// [`Error::Away`]; [`Error::Doubt`] when it never is.
    pub async fn settle(&self) -> Result<(), Error> {
        for _ in 0..MOST_POLLS {
            let is_mining = self.ask("anvil_getAutomine", json!([])).await? == json!(true);
            if !is_mining || self.ask("txpool_status", json!([])).await?["pending"] == "0x0" {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        Err(Error::Doubt { reason: "what was sent is in no block".to_owned() })
    }

    /// Adds blocks.
    ///
    /// # Errors
    /// [`Error::Away`].
    pub async fn mine(&self, blocks: u64) -> Result<(), Error> {
        self.ask("anvil_mine", json!([U64::from(blocks)])).await.map(drop)
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// [`Error::Away`].
    pub async fn pass(&self, seconds: u64) -> Result<(), Error> {
        self.ask("evm_increaseTime", json!([U64::from(seconds)])).await?;
        self.mine(1).await
    }

    /// Deploys token, timelock and distributor.
    ///
    /// # Errors
    /// [`Error::Away`]; [`Error::Refuses`].
    pub async fn deploy(&self, epoch_cap: TokenAmount) -> Result<Deployed, Error> {
        let token = self.create(TestToken::BYTECODE.clone(), Vec::new()).await?;
        let timelock = TimelockController::constructorCall {
            minDelay: U256::from(TIMELOCK_DELAY_S),
            proposers: vec![self.account(TREASURY)?],
            executors: vec![Address::ZERO],
            admin: Address::ZERO,
        };
        let timelock = self.create(TimelockController::BYTECODE.clone(), timelock.abi_encode()).await?;
        let distributor = PayoutDistributor::constructorCall {
            token_: token,
            timelock,
            proposer: self.account(PROPOSER)?,
            guardian: self.account(GUARDIAN)?,
            epochCap_: units(epoch_cap),
            activationDelay_: ACTIVATION_DELAY_S,
            epoch_: 0,
        };
        let distributor = self.create(PayoutDistributor::BYTECODE.clone(), distributor.abi_encode()).await?;
        let domain = Domain { chain_id: self.endpoint.chain_id().await?, distributor: ours(distributor) };
        Ok(Deployed { chain: self.clone(), domain, token: ours(token) })
    }

    fn account(&self, at: usize) -> Result<Address, Error> {
        let missing = || Error::Unfit { reason: "this is no local chain: it has no accounts of its own".to_owned() };
        self.accounts.get(at).copied().ok_or_else(missing)
    }

    async fn create(&self, code: Bytes, arguments: Vec<u8>) -> Result<Address, Error> {
        let data = Bytes::from([code.to_vec(), arguments].concat());
        let sent = self.ask("eth_sendTransaction", json!([{ "from": self.account(TREASURY)?, "data": data }])).await?;
        self.settle().await?;
        let receipt = self.ask("eth_getTransactionReceipt", json!([sent])).await?;
        let address = receipt.get("contractAddress").cloned().unwrap_or_default();
        let failed = |_| Error::Refuses { wish: "be deployed".to_owned(), reason: receipt.to_string() };
        serde_json::from_value(address).map_err(failed)
    }

    async fn send<C: SolCall>(&self, from: usize, to: Address, call: C) -> Result<(), Error> {
        let data = Bytes::from(call.abi_encode());
        let call = json!([{ "from": self.account(from)?, "to": to, "data": data }]);
        let hash: B256 = serde_json::from_value(self.ask("eth_sendTransaction", call).await?).unwrap_or_default();
        self.settle().await?;
        let receipt: Option<Receipt> = self.endpoint.receipt(hash).await?;
        let is_done = receipt.is_some_and(|receipt| receipt.is_done());
        let failed = || Error::Refuses { wish: C::SIGNATURE.to_owned(), reason: hash.to_string() };
        is_done.then_some(()).ok_or_else(failed)
    }
}

impl Deployed {
    /// Who has the tokens and funds the contract.
    ///
    /// # Errors
    /// When the chain has no accounts.
    pub fn treasury(&self) -> Result<wallet::Address, Error> {
        self.chain.account(TREASURY).map(ours)
    }

    /// What the proposer has to pay gas with, in wei.
    ///
    /// # Errors
    /// [`Error::Away`].
    pub async fn gas(&self) -> Result<TokenAmount, Error> {
        Ok(self.chain.endpoint.balance(self.chain.account(PROPOSER)?, At::Latest).await?.into())
    }

    /// Puts tokens into the contract, made of nothing.
    ///
    /// # Errors
    /// [`Error::Away`]; [`Error::Refuses`].
    pub async fn fund(&self, amount: TokenAmount) -> Result<(), Error> {
        let (token, contract, amount) = (theirs(self.token), theirs(self.domain.distributor), units(amount));
        let treasury = self.chain.account(TREASURY)?;
        self.chain.send(TREASURY, token, TestToken::mintCall { to: treasury, amount }).await?;
        self.chain.send(TREASURY, token, TestToken::approveCall { spender: contract, value: amount }).await?;
        self.chain.send(TREASURY, contract, PayoutDistributor::fundCall { amount }).await
    }

    /// Gives the contract tokens without its knowledge.
    ///
    /// # Errors
    /// [`Error::Away`]; [`Error::Refuses`].
    pub async fn give(&self, amount: TokenAmount) -> Result<(), Error> {
        let call = TestToken::mintCall { to: theirs(self.domain.distributor), amount: units(amount) };
        self.chain.send(TREASURY, theirs(self.token), call).await
    }

    /// Has the token refuse an account, or no longer.
    ///
    /// # Errors
    /// [`Error::Away`]; [`Error::Refuses`].
    pub async fn set_blocked(&self, account: wallet::Address, is_blocked: bool) -> Result<(), Error> {
        let call = TestToken::setBlockedCall { account: theirs(account), isBlocked: is_blocked };
        self.chain.send(TREASURY, theirs(self.token), call).await
    }

    /// Has the guardian refuse the tree that waits.
    ///
    /// # Errors
    /// [`Error::Away`]; [`Error::Refuses`].
    pub async fn veto(&self) -> Result<(), Error> {
        self.chain.send(GUARDIAN, theirs(self.domain.distributor), PayoutDistributor::vetoCall {}).await
    }

    /// Proposes a tree with the proposer's key, as whoever stole it would.
    ///
    /// # Errors
    /// [`Error::Away`]; [`Error::Refuses`].
    pub async fn propose(&self, number: u64, root: Word, total: TokenAmount) -> Result<(), Error> {
        let call = PayoutDistributor::proposeCall {
            epoch_: number,
            root_: root.0.into(),
            total_: units(total),
            manifestHash: root.0.into(),
            uri: String::new(),
        };
        self.chain.send(PROPOSER, theirs(self.domain.distributor), call).await
    }

    /// Has the tree that waits count, once its delay is over.
    ///
    /// # Errors
    /// [`Error::Away`]; [`Error::Refuses`].
    pub async fn activate(&self) -> Result<(), Error> {
        self.chain.send(ANYBODY, theirs(self.domain.distributor), PayoutDistributor::activateCall {}).await
    }

    /// Spends the proposer's next nonce on nothing, for more gas than anybody else.
    ///
    /// # Errors
    /// [`Error::Away`].
    pub async fn spend_nonce(&self, nonce: u64, gas_price: u128) -> Result<(), Error> {
        let from = self.chain.account(PROPOSER)?;
        let call = json!([{ "from": from, "to": from, "nonce": U64::from(nonce),
                            "gasPrice": U256::from(gas_price), "gas": U64::from(21_000) }]);
        self.chain.ask("eth_sendTransaction", call).await.map(drop)
    }

    /// Claims for a provider, as anybody may.
    ///
    /// # Errors
    /// [`Error::Away`]; [`Error::Refuses`].
    pub async fn claim(&self, root: Word, leaf: &Leaf, proof: &[Word]) -> Result<(), Error> {
        self.chain.send(ANYBODY, theirs(self.domain.distributor), claim_call(root, leaf, proof)).await
    }

    /// What an account has of the token.
    ///
    /// # Errors
    /// [`Error::Away`]; [`Error::Refuses`].
    pub async fn balance(&self, account: wallet::Address) -> Result<TokenAmount, Error> {
        let call = TestToken::balanceOfCall { account: theirs(account) };
        Ok(amount(self.chain.endpoint.view(theirs(self.token), call).await?))
    }

    /// What a provider has been paid since the beginning.
    ///
    /// # Errors
    /// [`Error::Away`]; [`Error::Refuses`].
    pub async fn claimed(&self, provider: ProviderId) -> Result<TokenAmount, Error> {
        let call = PayoutDistributor::claimedCall { provider: named(provider) };
        Ok(amount(self.chain.endpoint.view(theirs(self.domain.distributor), call).await?))
    }

    /// What the contract has come to.
    ///
    /// # Errors
    /// [`Error::Away`]; [`Error::Refuses`].
    pub async fn state(&self) -> Result<State, Error> {
        let (endpoint, contract) = (&self.chain.endpoint, theirs(self.domain.distributor));
        Ok(State {
            number: endpoint.view(contract, PayoutDistributor::epochCall {}).await?,
            root: Word(endpoint.view(contract, PayoutDistributor::rootCall {}).await?.0),
            total: amount(endpoint.view(contract, PayoutDistributor::totalCall {}).await?),
            claimed: amount(endpoint.view(contract, PayoutDistributor::totalClaimedCall {}).await?),
            held: self.balance(self.domain.distributor).await?,
        })
    }
}

//! Claiming what a payout tree says a provider has earned. Anybody may, for anybody: the tokens go to the leaf's payee.
//!
//! A leaf holds everything since the beginning, and the contract pays what that exceeds what it paid before. So a claim
//! that is made twice pays once, whatever happens in between; the second one is refused and costs only gas.

use std::time::Duration;

use alloy_primitives::{Address, B256};
use alloy_sol_types::SolCall as _;
use protocol::merkle::Leaf;
use protocol::token::TokenAmount;
use protocol::typed::{Domain, Word};
use protocol::wallet;

use crate::contract::{Erc20, PayoutDistributor, amount, claim_call, named, ours, refusal, theirs};
use crate::transaction::{Fees, Transaction, gas_limit};
use crate::{At, Endpoint, Error, Key, NoAnswer};

/// A leaf of a contract's tree, and the way from it to the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Which contract, on which chain.
    pub domain: Domain,
    /// The tree it must pay by.
    pub root: Word,
    /// What is claimed.
    pub leaf: Leaf,
    /// The way.
    pub proof: Vec<Word>,
}

/// What a claim would bring now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The token, and how it writes itself.
    pub token: wallet::Address,
    /// Its short name, as it says.
    pub symbol: String,
    /// Digits behind its point.
    pub decimals: u8,
    /// Paid to the provider before.
    pub paid: TokenAmount,
    /// Still to be paid; nothing where everything was.
    pub due: TokenAmount,
}

/// Who pays for the gas of a claim, and how much at most.
#[derive(Debug, Clone)]
pub struct Payer {
    /// Its key.
    pub key: Key,
    /// In wei.
    pub fee_limit: u128,
}

/// How long somebody waits for a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Between two looks.
    pub every: Duration,
    /// So many looks.
    pub looks: u32,
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// There is nothing to claim: it was paid before, or by somebody else meanwhile.
    Nothing,
    /// It is in a block.
    Mined {
        /// Which transaction.
        hash: Word,
        /// In which block.
        block: u64,
        /// What it cost, in wei.
        cost: u128,
    },
}

impl Claim {
    /// The call, for any wallet to send to the contract.
    #[must_use]
    pub fn data(&self) -> Vec<u8> {
        claim_call(self.root, &self.leaf, &self.proof).abi_encode()
    }

    /// Asks the contract what the claim would bring.
    ///
    /// # Errors
    /// [`Error::Unfit`] when the endpoint is of another chain; [`Error::Refuses`] when the contract pays by another tree;
    /// [`Error::Away`].
    pub async fn due(&self, endpoint: &Endpoint) -> Result<Due, Error> {
        let (found, wanted) = (endpoint.chain_id().await?, self.domain.chain_id);
        if found != wanted {
            let reason = format!("the endpoint is of chain {found}, and the leaf is of chain {wanted}");
            return Err(Error::Unfit { reason });
        }
        let contract = theirs(self.domain.distributor);
        let root = Word(endpoint.view(contract, PayoutDistributor::rootCall {}).await?.0);
        if root != self.root {
            let reason = format!("its tree is {root}, and the claim is for {}", self.root);
            return Err(Error::Refuses { wish: "pay by another tree than its own".to_owned(), reason });
        }
        let token = endpoint.view(contract, PayoutDistributor::tokenCall {}).await?;
        let paid = self.paid(endpoint).await?;
        Ok(Due {
            token: ours(token),
            symbol: endpoint.view(token, Erc20::symbolCall {}).await?,
            decimals: endpoint.view(token, Erc20::decimalsCall {}).await?,
            paid,
            due: self.leaf.cumulative.checked_sub(paid).unwrap_or(TokenAmount::ZERO),
        })
    }

    async fn paid(&self, endpoint: &Endpoint) -> Result<TokenAmount, Error> {
        let call = PayoutDistributor::claimedCall { provider: named(self.leaf.provider) };
        Ok(amount(endpoint.view(theirs(self.domain.distributor), call).await?))
    }

    /// Claims, and waits until that is in a block. `sent` is told the transaction before anybody waits for it.
    ///
    /// While a transaction of the payer's is under way nothing is signed: it may be this very claim, made by a process
    /// that died. And the nonce is the first that no block has used, so that of two claims which an endpoint did not tell
    /// of, one at most can be mined.
    ///
    /// # Errors
    /// As [`Claim::due`]; [`Error::Refuses`] when it would not be paid or is too dear; [`Error::Doubt`] when it is in no
    /// block in time. Calling again is harmless then.
    pub async fn send(
        &self,
        endpoint: &Endpoint,
        payer: &Payer,
        patience: Patience,
        sent: impl FnOnce(Word) + Send,
    ) -> Result<Sent, Error> {
        if self.due(endpoint).await?.due.is_zero() {
            return Ok(Sent::Nothing);
        }
        let Some(nonce) = self.nonce(endpoint, payer, patience).await? else { return Ok(Sent::Nothing) };
        let (transaction, hash) = self.sign(endpoint, payer, nonce).await?;
        if let Some(reason) = endpoint.send(&transaction).await?
            && !endpoint.knows(hash).await?
        {
            return Err(Error::Unfit { reason: format!("the endpoint does not take the transaction: {reason}") });
        }
        sent(Word(hash.0));
        for _ in 0..patience.looks {
            if let Some(receipt) = endpoint.receipt(hash).await? {
                return self.end(endpoint, hash, &receipt).await;
            }
            tokio::time::sleep(patience.every).await;
        }
        Err(late(format!("transaction {hash} is in no block yet")))
    }

    async fn end(&self, endpoint: &Endpoint, hash: B256, receipt: &crate::Receipt) -> Result<Sent, Error> {
        if receipt.is_done() {
            return Ok(Sent::Mined { hash: Word(hash.0), block: receipt.block(), cost: receipt.cost() });
        }
        // The broker claims for everybody, and may have been the quicker one.
        if self.due(endpoint).await?.due.is_zero() {
            return Ok(Sent::Nothing);
        }
        Err(Error::Refuses { wish: "pay".to_owned(), reason: format!("transaction {hash} was mined and failed") })
    }

    /// The payer's next nonce, once none of its transactions is under way. `None` when one of them was this claim.
    async fn nonce(&self, endpoint: &Endpoint, payer: &Payer, patience: Patience) -> Result<Option<u64>, Error> {
        let account = theirs(payer.key.account());
        for _ in 0..patience.looks {
            let next = endpoint.nonce(account, At::Latest).await?;
            if endpoint.nonce(account, At::Pending).await? <= next {
                return Ok((self.paid(endpoint).await? < self.leaf.cumulative).then_some(next));
            }
            tokio::time::sleep(patience.every).await;
        }
        Err(late(format!("a transaction of {account} is under way, maybe this claim; nothing was sent")))
    }

    async fn sign(&self, endpoint: &Endpoint, payer: &Payer, nonce: u64) -> Result<(Vec<u8>, B256), Error> {
        let (from, contract, data) = (theirs(payer.key.account()), theirs(self.domain.distributor), self.data());
        let gas_limit = gas_limit(rehearsed(endpoint.estimate(from, contract, &data).await)?);
        let head = endpoint.known(At::Latest).await?;
        let fees = Fees::market(endpoint, &head).await;
        let (most, limit) = (fees.most(gas_limit), payer.fee_limit);
        if most > limit {
            let reason = format!("its gas may cost {most} wei, and {limit} may be spent");
            return Err(Error::Unfit { reason });
        }
        let balance = endpoint.balance(from, At::Latest).await?;
        if balance < most {
            let reason = format!("{from} has {balance} wei, and the gas may cost {most}");
            return Err(Error::Unfit { reason });
        }
        let (chain_id, to) = (self.domain.chain_id, self.domain.distributor);
        let signed = Transaction { chain_id, nonce, gas_limit, fees, to, input: data }.sign(&payer.key).await?;
        Ok((signed.bytes, B256::from(signed.hash)))
    }

    /// What the contract would say if `from` claimed now.
    ///
    /// # Errors
    /// [`Error::Refuses`] in its words; [`Error::Away`].
    pub async fn rehearse(&self, endpoint: &Endpoint, from: Option<wallet::Address>) -> Result<(), Error> {
        let from = from.map_or(Address::ZERO, theirs);
        let contract = theirs(self.domain.distributor);
        rehearsed(endpoint.call(from, contract, &self.data(), At::Latest).await).map(drop)
    }
}

fn rehearsed<T>(answer: Result<T, NoAnswer>) -> Result<T, Error> {
    answer.map_err(|none| match none {
        NoAnswer::Refused(data) => Error::Refuses { wish: "pay".to_owned(), reason: refusal(&data).reason },
        NoAnswer::Away(error) => error,
    })
}

fn late(reason: String) -> Error {
    Error::Doubt { reason }
}

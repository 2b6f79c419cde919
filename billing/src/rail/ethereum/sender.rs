//! One call after the other, each under a nonce of ours, until the chain has it for good.

use alloy_primitives::{B256, Bytes};
use alloy_sol_types::SolCall as _;
use onchain::contract::{PayoutDistributor, Refusal, refusal, theirs};
use onchain::transaction::{Fees, Transaction, gas_limit};
use onchain::{At, NoAnswer, Receipt};
use protocol::token::TokenAmount;
use protocol::typed::Word;
use protocol::{Timestamp, TransferId};

use super::{Ethereum, Horizon};
use crate::Error;
use crate::account::{AccountKind, LedgerAccount};
use crate::ledger::{Cause, Coin, CoinPosting, CoinTransfer};
use crate::store::chain::{self, Intent, IntentState, Open, Signed};
use crate::store::transfers;

/// Blocks after which a transaction that is not in one has its fees raised.
const STUCK_BLOCKS: u64 = 4;
/// Wishes looked at in one turn: one that the contract refuses for now must not hold up those behind it.
const LOOKED_AT: i64 = 20;

/// What became of the wish looked at.
enum Looked {
    Signed,
    Refused(Refusal),
}

impl Ethereum {
    /// Takes the nonce that is open a step further, or opens the next. True when another can be opened at once.
    pub(super) async fn send_next(&self, horizon: &Horizon, now: Timestamp) -> Result<bool, Error> {
        let open = chain::find_open(&mut *self.db().acquire().await?, self.sender()).await?;
        if let Some(open) = open {
            return self.follow(&open, horizon, now).await;
        }
        let waiting = chain::list_waiting(&mut *self.db().acquire().await?, self.sender(), LOOKED_AT).await?;
        metrics::gauge!("steelyard_billing_chain_waiting").set(f64::from(u32::try_from(waiting.len()).unwrap_or(0)));
        for intent in waiting {
            match self.sign_first(&intent, horizon, now).await? {
                Looked::Signed => return Ok(false),
                Looked::Refused(refusal) => self.note(&intent, &refusal, now).await?,
            }
        }
        Ok(false)
    }

    /// What the contract would say to a call now.
    pub(super) async fn rehearse(&self, calldata: &[u8]) -> Result<Result<Bytes, Refusal>, Error> {
        match self.first().call(self.account(), self.contract(), calldata, At::Latest).await {
            Ok(answer) => Ok(Ok(answer)),
            Err(NoAnswer::Refused(data)) => Ok(Err(refusal(&data))),
            Err(NoAnswer::Away(error)) => Err(error.into()),
        }
    }

    async fn note(&self, intent: &Intent, refusal: &Refusal, now: Timestamp) -> Result<(), Error> {
        let state = if refusal.is_for_good { IntentState::Moot } else { IntentState::Waiting };
        if intent.reason.as_deref() != Some(&refusal.reason) || refusal.is_for_good {
            tracing::warn!(purpose = intent.purpose, reason = refusal.reason, "the contract would refuse a call");
            let mut conn = self.db().acquire().await?;
            chain::set_state(&mut conn, intent.id, state, Some(&refusal.reason), now).await?;
        }
        Ok(())
    }

    /// Rehearses a wish, gives it a nonce, signs it and keeps that; then sends it.
    async fn sign_first(&self, intent: &Intent, horizon: &Horizon, now: Timestamp) -> Result<Looked, Error> {
        match self.rehearse(&intent.calldata).await? {
            Err(refusal) => return Ok(Looked::Refused(refusal)),
            Ok(answer) if pays_nobody(intent, &answer) => {
                let reason = "nobody in it could be paid".to_owned();
                return Ok(Looked::Refused(Refusal { reason, is_for_good: true }));
            }
            Ok(_) => {}
        }
        let gas = match self.first().estimate(self.account(), theirs(intent.target), &intent.calldata).await {
            Ok(estimate) => gas_limit(estimate),
            Err(NoAnswer::Refused(data)) => return Ok(Looked::Refused(refusal(&data))),
            Err(NoAnswer::Away(error)) => return Err(error.into()),
        };
        let fees = Fees::market(self.first(), &horizon.head).await;
        if fees.most(gas) > intent.fee_limit {
            let reason = format!("{gas} gas at {} wei is more than may be spent", fees.max);
            return Ok(Looked::Refused(Refusal { reason, is_for_good: false }));
        }
        let nonce = self.next_nonce().await?;
        let signed = self.sign(intent, nonce, gas, fees, horizon.head.number()).await?;
        let mut tx = self.db().begin().await?;
        chain::insert_nonce(&mut tx, self.sender(), nonce, intent.id).await?;
        chain::insert_signed(&mut tx, self.sender(), nonce, &signed, now).await?;
        chain::set_state(&mut tx, intent.id, IntentState::Signed, None, now).await?;
        tx.commit().await?;
        self.broadcast(intent, &signed).await?;
        Ok(Looked::Signed)
    }

    /// After the first it is counted here and not asked for: an endpoint that forgets, or lies, can't make us skip or
    /// repeat one.
    async fn next_nonce(&self) -> Result<u64, Error> {
        let last = chain::find_last_nonce(&mut *self.db().acquire().await?, self.sender()).await?;
        match last {
            Some(last) => Ok(last + 1),
            None => self.agreed_nonce(At::Latest).await,
        }
    }

    /// What all endpoints say. While they differ, nothing is given or taken for used.
    async fn agreed_nonce(&self, at: At) -> Result<u64, Error> {
        let nonce = self.first().nonce(self.account(), at).await?;
        match self.second() {
            Some(second) if second.nonce(self.account(), at).await? != nonce => {
                Err(onchain::Error::Doubt { reason: "the endpoints differ about a nonce".to_owned() }.into())
            }
            _ => Ok(nonce),
        }
    }

    /// Whether the second endpoint says the same of a transaction, and that it stays: the first may lie about either.
    async fn is_confirmed(&self, hash: B256, receipt: &Receipt) -> Result<bool, Error> {
        match self.second() {
            Some(second) if second.receipt(hash).await?.as_ref() == Some(receipt) => {
                self.is_final(second, receipt.block()).await
            }
            Some(_) => Ok(false),
            None => Ok(true),
        }
    }

    /// Whether a nonce was used for good: all endpoints say it was, in a block that none of them can take back.
    async fn is_used(&self, nonce: u64, block: u64) -> Result<bool, Error> {
        if self.agreed_nonce(At::Number(block)).await? <= nonce {
            return Ok(false);
        }
        match self.second() {
            Some(second) => self.is_final(second, block).await,
            None => Ok(true),
        }
    }

    async fn broadcast(&self, intent: &Intent, signed: &Signed) -> Result<(), Error> {
        let hash = Word(signed.hash);
        match self.first().send(&signed.raw).await? {
            None => tracing::info!(purpose = intent.purpose, %hash, "a transaction is on its way"),
            Some(why) => tracing::debug!(purpose = intent.purpose, %hash, why, "a transaction was not taken again"),
        }
        Ok(())
    }

    /// Looks what became of an open nonce.
    async fn follow(&self, open: &Open, horizon: &Horizon, now: Timestamp) -> Result<bool, Error> {
        for signed in open.signed.iter().rev() {
            let hash = B256::from(signed.hash);
            let Some(receipt) = self.first().receipt(hash).await? else { continue };
            if receipt.block() > horizon.last.number() {
                return Ok(false);
            }
            let block = self.first().known(At::Number(receipt.block())).await?;
            if block.hash != receipt.block_hash || !self.is_confirmed(hash, &receipt).await? {
                return Ok(false);
            }
            self.close(open, signed, &receipt, now).await?;
            return Ok(true);
        }
        // None of ours is in a block. Perhaps another is, under the same nonce.
        if self.is_used(open.nonce, horizon.last.number()).await? {
            return self.displaced(open, now).await;
        }
        let Some(newest) = open.signed.last() else { return Ok(false) };
        let waited = horizon.head.number().saturating_sub(newest.at_block);
        metrics::gauge!("steelyard_billing_chain_pending_blocks")
            .set(f64::from(u32::try_from(waited).unwrap_or(u32::MAX)));
        if waited >= STUCK_BLOCKS && self.raise(open, newest, horizon, now).await? {
            return Ok(false);
        }
        // It may have been dropped, or never have left.
        self.broadcast(&open.intent, newest).await?;
        Ok(false)
    }

    /// Signs the same call under the same nonce for more. False when that is more than may be spent.
    async fn raise(&self, open: &Open, newest: &Signed, horizon: &Horizon, now: Timestamp) -> Result<bool, Error> {
        let market = Fees::market(self.first(), &horizon.head).await;
        let fees = Fees { max: newest.max_fee, tip: newest.tip }.raised(market);
        if fees.most(newest.gas_limit) > open.intent.fee_limit {
            tracing::warn!(purpose = open.intent.purpose, "a transaction is stuck, and raising its fees is too dear");
            return Ok(false);
        }
        let signed = self.sign(&open.intent, open.nonce, newest.gas_limit, fees, horizon.head.number()).await?;
        chain::insert_signed(&mut *self.db().acquire().await?, self.sender(), open.nonce, &signed, now).await?;
        self.broadcast(&open.intent, &signed).await?;
        Ok(true)
    }

    /// It is in a block that stays: the intent is settled, and its gas booked.
    async fn close(&self, open: &Open, signed: &Signed, receipt: &Receipt, now: Timestamp) -> Result<(), Error> {
        let state = if receipt.is_done() { IntentState::Done } else { IntentState::Failed };
        let reason = (state == IntentState::Failed).then_some("it was mined, and the contract refused");
        let (expense, wallet) = (AccountKind::GasExpense, AccountKind::GasWallet);
        let cost = TokenAmount::from(receipt.cost());
        let posting = CoinPosting::new(LedgerAccount::platform(expense), LedgerAccount::platform(wallet), cost);
        let id: TransferId = self.env().mint();
        let mut tx = self.db().begin().await?;
        chain::set_state(&mut tx, open.intent.id, state, reason, now).await?;
        chain::consume(&mut tx, self.sender(), open.nonce, Some(signed.hash), now).await?;
        if let Some(posting) = posting {
            let cause = Cause::Gas(Word(signed.hash));
            transfers::book_coins(&mut tx, &CoinTransfer { id, cause, coin: Coin::Ether, postings: vec![posting] })
                .await?;
        }
        tx.commit().await?;
        let outcome = state.as_str();
        tracing::info!(purpose = open.intent.purpose, outcome, hash = %Word(signed.hash), "a transaction is final");
        metrics::counter!("steelyard_billing_chain_final_total", "outcome" => outcome).increment(1);
        Ok(())
    }

    /// The nonce went to somebody else who has the key. The wish stays: its call is rehearsed again before it is signed.
    async fn displaced(&self, open: &Open, now: Timestamp) -> Result<bool, Error> {
        tracing::error!(
            purpose = open.intent.purpose,
            nonce = open.nonce,
            "a transaction that is not ours has our nonce"
        );
        metrics::counter!("steelyard_billing_chain_displaced_total").increment(1);
        let mut tx = self.db().begin().await?;
        chain::set_state(&mut tx, open.intent.id, IntentState::Waiting, Some("its nonce went to another"), now).await?;
        chain::consume(&mut tx, self.sender(), open.nonce, None, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn sign(
        &self,
        intent: &Intent,
        nonce: u64,
        gas_limit: u64,
        fees: Fees,
        at_block: u64,
    ) -> Result<Signed, Error> {
        let (chain_id, to, input) = (self.domain().chain_id, intent.target, intent.calldata.clone());
        let signed = Transaction { chain_id, nonce, gas_limit, fees, to, input }.sign(self.key()).await?;
        Ok(Signed { hash: signed.hash, raw: signed.bytes, gas_limit, max_fee: fees.max, tip: fees.tip, at_block })
    }
}

/// Whether a batch of claims would do nothing but cost gas.
fn pays_nobody(intent: &Intent, answer: &[u8]) -> bool {
    intent.calldata.starts_with(&PayoutDistributor::claimManyCall::SELECTOR)
        && PayoutDistributor::claimManyCall::abi_decode_returns(answer).is_ok_and(|paid| paid.is_zero())
}

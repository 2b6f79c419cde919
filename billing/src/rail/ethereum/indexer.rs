//! Reads what the contract tells. What is new may still change; what is final is read once more, and booked.

use onchain::{At, Block, Endpoint, Log};
use protocol::Timestamp;
use protocol::token::TokenAmount;

use super::facts::fact;
use super::{Ethereum, Horizon};
use crate::Error;
use crate::store::chain_logs::{self, BlockId, Cursor, Fact, Logged};

/// Blocks whose logs are asked for at once: what the large providers allow.
const BLOCKS_AT_ONCE: u64 = 2_000;

impl Ethereum {
    /// The newest block, and the last that stays.
    pub(super) async fn horizon(&self) -> Result<Horizon, Error> {
        self.check_chain().await?;
        let head = self.first().known(At::Latest).await?;
        let last = self.first().known(At::Finalized).await?;
        let margin = self.config().finality_margin;
        let last = match last.number().checked_sub(margin) {
            Some(number) if margin > 0 => self.first().known(At::Number(number)).await?,
            Some(_) => last,
            None => self.first().known(At::Number(0)).await?,
        };
        Ok(Horizon { head, last })
    }

    /// Reads on and books. True when there is more to read.
    pub(super) async fn read_on(&self, horizon: &Horizon, now: Timestamp) -> Result<bool, Error> {
        let mut cursor = match chain_logs::find_cursor(&mut *self.db().acquire().await?, self.domain()).await? {
            Some(cursor) => cursor,
            None => self.beginning().await?,
        };
        self.check_final(&cursor).await?;
        self.go_back(&mut cursor).await?;
        self.read_new(&mut cursor, horizon).await?;
        self.book_final(&mut cursor, horizon, now).await?;
        let behind = horizon.head.number().saturating_sub(cursor.read.number);
        metrics::gauge!("steelyard_billing_chain_blocks_behind")
            .set(f64::from(u32::try_from(behind).unwrap_or(u32::MAX)));
        Ok(behind > 0 || cursor.done.number < horizon.last.number())
    }

    async fn beginning(&self) -> Result<Cursor, Error> {
        let before = self.config().first_block.saturating_sub(1);
        let block = id(&self.first().known(At::Number(before)).await?);
        Ok(Cursor { read: block, done: block })
    }

    /// A block that was final is for ever. If it isn't, somebody lies, and nothing is believed until a person looked.
    async fn check_final(&self, cursor: &Cursor) -> Result<(), Error> {
        match self.first().block(At::Number(cursor.done.number)).await? {
            // An endpoint that is behind says nothing about it.
            None => Ok(()),
            Some(block) if block.hash.0 == cursor.done.hash => Ok(()),
            Some(_) => {
                metrics::counter!("steelyard_billing_chain_doubts_total").increment(1);
                let reason = format!("block {} was final and is another now", cursor.done.number);
                Err(onchain::Error::Doubt { reason }.into())
            }
        }
    }

    /// After a reorganisation, reading begins again behind the last final block.
    async fn go_back(&self, cursor: &mut Cursor) -> Result<(), Error> {
        if cursor.read == cursor.done || self.stands(&cursor.read).await? {
            return Ok(());
        }
        let mut tx = self.db().begin().await?;
        let dropped = chain_logs::drop_after(&mut tx, self.domain(), cursor.done.number).await?;
        cursor.read = cursor.done;
        chain_logs::set_cursor(&mut tx, self.domain(), cursor).await?;
        tx.commit().await?;
        tracing::info!(dropped, from = cursor.done.number, "the chain was reorganised; its logs are read again");
        metrics::counter!("steelyard_billing_chain_reorganisations_total").increment(1);
        Ok(())
    }

    async fn stands(&self, block: &BlockId) -> Result<bool, Error> {
        Ok(self.first().block(At::Number(block.number)).await?.is_some_and(|found| found.hash.0 == block.hash))
    }

    /// What may still change: only looked at, never booked.
    async fn read_new(&self, cursor: &mut Cursor, horizon: &Horizon) -> Result<(), Error> {
        if horizon.head.number() <= cursor.read.number {
            return Ok(());
        }
        let (from, to) = (cursor.read.number + 1, horizon.head.number().min(cursor.read.number + BLOCKS_AT_ONCE));
        let logs = logged(self.first().logs(self.contract(), from, to).await?);
        let end = self.first().known(At::Number(to)).await?;
        // The chain may have moved between the two answers; the next turn finds out, since the block is compared.
        let read = Cursor { read: id(&end), ..*cursor };
        let mut tx = self.db().begin().await?;
        chain_logs::insert(&mut tx, self.domain(), &logs).await?;
        chain_logs::set_cursor(&mut tx, self.domain(), &read).await?;
        tx.commit().await?;
        *cursor = read;
        Ok(())
    }

    /// What can't change any more is read again, by two where it is much, and booked with the place up to where it is.
    async fn book_final(&self, cursor: &mut Cursor, horizon: &Horizon, now: Timestamp) -> Result<(), Error> {
        let to = horizon.last.number().min(cursor.read.number).min(cursor.done.number + BLOCKS_AT_ONCE);
        if to <= cursor.done.number {
            return Ok(());
        }
        let from = cursor.done.number + 1;
        let (logs, end) = self.told(self.first(), from, to).await?;
        if self.is_much(&logs) {
            self.confirm(&logs, &end, from, to).await?;
        }
        let next = Cursor { done: id(&end), ..*cursor };
        let mut tx = self.db().begin().await?;
        chain_logs::forget(&mut tx, self.domain(), from, to).await?;
        chain_logs::insert(&mut tx, self.domain(), &logs).await?;
        for log in &logs {
            self.book(&mut tx, log, now).await?;
        }
        chain_logs::set_booked(&mut tx, self.domain(), to, now).await?;
        chain_logs::set_cursor(&mut tx, self.domain(), &next).await?;
        tx.commit().await?;
        *cursor = next;
        Ok(())
    }

    /// Whether a block stays, by the word of one endpoint.
    pub(super) async fn is_final(&self, by: &Endpoint, block: u64) -> Result<bool, Error> {
        let last = by.known(At::Finalized).await?.number().checked_sub(self.config().finality_margin);
        Ok(last.is_some_and(|last| block <= last))
    }

    async fn told(&self, by: &Endpoint, from: u64, to: u64) -> Result<(Vec<Logged>, Block), Error> {
        let logs = logged(by.logs(self.contract(), from, to).await?);
        Ok((logs, by.known(At::Number(to)).await?))
    }

    /// Whether one endpoint's word is not enough.
    fn is_much(&self, logs: &[Logged]) -> bool {
        let moved = |log: &Logged| match &log.fact {
            Fact::Claimed { amount, .. } | Fact::Funded { amount, .. } => *amount,
            _ => TokenAmount::ZERO,
        };
        // A sum that no amount can hold is much, too.
        let sum = logs.iter().map(moved).try_fold(TokenAmount::ZERO, TokenAmount::checked_add);
        let activates = logs.iter().any(|log| matches!(log.fact, Fact::Activated { .. }));
        // What an activation adds is seen only with what was before it; its total is never less.
        let total = logs.iter().filter_map(|log| match &log.fact {
            Fact::Activated { total, .. } => Some(*total),
            _ => None,
        });
        sum.is_none_or(|sum| sum > self.threshold()) || (activates && total.max().is_some_and(|t| t > self.threshold()))
    }

    async fn confirm(&self, logs: &[Logged], end: &Block, from: u64, to: u64) -> Result<(), Error> {
        let doubt = |reason: &str| {
            metrics::counter!("steelyard_billing_chain_doubts_total").increment(1);
            Err(onchain::Error::Doubt { reason: format!("blocks {from} to {to}: {reason}") }.into())
        };
        let Some(second) = self.second() else {
            return doubt("more than payouts.chain.two_rpc_threshold moved, and there is no second endpoint");
        };
        if !self.is_final(second, to).await? {
            return doubt("they are not final to the second endpoint yet");
        }
        let (theirs, their_end) = self.told(second, from, to).await?;
        if theirs != logs || their_end.hash != end.hash {
            return doubt("the two endpoints tell different things");
        }
        Ok(())
    }
}

fn id(block: &Block) -> BlockId {
    BlockId { number: block.number(), hash: block.hash.0 }
}

fn logged(logs: Vec<Log>) -> Vec<Logged> {
    let told = logs.into_iter().filter_map(|log| {
        let fact = fact(&log.told()?)?;
        Some(Logged {
            block: log.block(),
            block_hash: log.block_hash.0,
            index: log.index(),
            tx: log.transaction_hash.0,
            fact,
        })
    });
    told.collect()
}

//! What a payout contract told, and how far it is read.

use protocol::token::TokenAmount;
use protocol::typed::{Domain, Word};
use protocol::wallet::Address;
use protocol::{ProviderId, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::receipt_keys::corrupt;

/// Something a payout contract told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fact {
    /// A tree waits.
    Proposed {
        /// The contract's count.
        number: u64,
        /// Of the leaves.
        root: Word,
        /// Their sum.
        total: TokenAmount,
        /// Of the manifest.
        manifest_hash: Word,
        /// From when it can be activated, in Unix seconds.
        activatable_at: u64,
    },
    /// A tree counts.
    Activated {
        /// The contract's count.
        number: u64,
        /// Of the leaves.
        root: Word,
        /// Their sum.
        total: TokenAmount,
        /// Of the manifest.
        manifest_hash: Word,
    },
    /// A tree was refused.
    Vetoed {
        /// The contract's count.
        number: u64,
        /// Of the leaves.
        root: Word,
    },
    /// Somebody was paid.
    Claimed {
        /// The contract's count.
        number: u64,
        /// Who earned it.
        provider: ProviderId,
        /// Who has it.
        payee: Address,
        /// How much.
        amount: TokenAmount,
        /// With all that was paid before.
        cumulative: TokenAmount,
    },
    /// A claim among many failed.
    ClaimFailed {
        /// Who earned it.
        provider: ProviderId,
        /// Who was to have it.
        payee: Address,
        /// The start of the reason, in hex.
        reason: String,
    },
    /// Tokens came in.
    Funded {
        /// From whom.
        from: Address,
        /// How much.
        amount: TokenAmount,
    },
}

/// A fact and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// The block's number.
    pub block: u64,
    /// The block.
    pub block_hash: [u8; 32],
    /// Its place among the block's logs.
    pub index: u64,
    /// What caused it.
    pub tx: [u8; 32],
    /// What was told.
    pub fact: Fact,
}

/// A block, by number and hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockId {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: [u8; 32],
}

/// How far a contract is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The last block whose logs are here.
    pub read: BlockId,
    /// The last block whose logs are booked.
    pub done: BlockId,
}

impl Fact {
    /// The name, as stored.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Proposed { .. } => "proposed",
            Self::Activated { .. } => "activated",
            Self::Vetoed { .. } => "vetoed",
            Self::Claimed { .. } => "claimed",
            Self::ClaimFailed { .. } => "claim_failed",
            Self::Funded { .. } => "funded",
        }
    }

    /// The contract's count of epochs, where it is about one.
    #[must_use]
    pub const fn number(&self) -> Option<u64> {
        match self {
            Self::Proposed { number, .. }
            | Self::Activated { number, .. }
            | Self::Vetoed { number, .. }
            | Self::Claimed { number, .. } => Some(*number),
            Self::ClaimFailed { .. } | Self::Funded { .. } => None,
        }
    }
}

/// How far a contract is read; `None` before the first time.
///
/// # Errors
/// When the database call fails.
pub async fn find_cursor(conn: &mut PgConnection, at: &Domain) -> Result<Option<Cursor>, sqlx::Error> {
    let row = sqlx::query!(
        "select read_number, read_hash, final_number, final_hash from chain_cursor
          where chain_id = $1 and contract = $2",
        at.chain_id.cast_signed(),
        at.distributor.bytes().as_slice(),
    )
    .fetch_optional(conn)
    .await?;
    let cursor = row.map(|row| {
        Ok(Cursor { read: block(row.read_number, &row.read_hash)?, done: block(row.final_number, &row.final_hash)? })
    });
    cursor.transpose()
}

/// Writes down how far a contract is read.
pub(crate) async fn set_cursor(conn: &mut PgConnection, at: &Domain, cursor: &Cursor) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into chain_cursor (chain_id, contract, read_number, read_hash, final_number, final_hash)
         values ($1, $2, $3, $4, $5, $6)
         on conflict (chain_id, contract) do update
            set read_number = excluded.read_number, read_hash = excluded.read_hash,
                final_number = excluded.final_number, final_hash = excluded.final_hash",
        at.chain_id.cast_signed(),
        at.distributor.bytes().as_slice(),
        cursor.read.number.cast_signed(),
        cursor.read.hash.as_slice(),
        cursor.done.number.cast_signed(),
        cursor.done.hash.as_slice(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Keeps what a contract told. What is here already stays.
pub(crate) async fn insert(conn: &mut PgConnection, at: &Domain, logs: &[Logged]) -> Result<(), sqlx::Error> {
    let mut facts = Vec::with_capacity(logs.len());
    for log in logs {
        facts.push(serde_json::to_value(&log.fact).map_err(|error| sqlx::Error::Encode(Box::new(error)))?);
    }
    let numbers: Vec<Option<i64>> = logs.iter().map(|log| log.fact.number().map(u64::cast_signed)).collect();
    sqlx::query!(
        "insert into chain_logs (chain_id, contract, block_hash, log_index, block_number, tx_hash, kind, number, fact)
         select $1, $2, * from unnest($3::bytea[], $4::bigint[], $5::bigint[], $6::bytea[], $7::text[], $8::bigint[],
                                      $9::jsonb[])
         on conflict do nothing",
        at.chain_id.cast_signed(),
        at.distributor.bytes().as_slice(),
        &logs.iter().map(|log| log.block_hash.to_vec()).collect::<Vec<_>>(),
        &logs.iter().map(|log| log.index.cast_signed()).collect::<Vec<_>>(),
        &logs.iter().map(|log| log.block.cast_signed()).collect::<Vec<_>>(),
        &logs.iter().map(|log| log.tx.to_vec()).collect::<Vec<_>>(),
        &logs.iter().map(|log| log.fact.kind().to_owned()).collect::<Vec<_>>(),
        &numbers as &[Option<i64>],
        &facts,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Forgets what was told after a block: it is no longer part of the chain. Nothing booked is ever among it.
pub(crate) async fn drop_after(conn: &mut PgConnection, at: &Domain, block: u64) -> Result<u64, sqlx::Error> {
    let dropped = sqlx::query!(
        "delete from chain_logs where chain_id = $1 and contract = $2 and block_number > $3 and booked_at is null",
        at.chain_id.cast_signed(),
        at.distributor.bytes().as_slice(),
        block.cast_signed(),
    )
    .execute(conn)
    .await?;
    Ok(dropped.rows_affected())
}

/// Forgets what was read of blocks before they were final.
pub(crate) async fn forget(conn: &mut PgConnection, at: &Domain, from: u64, to: u64) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from chain_logs
          where chain_id = $1 and contract = $2 and block_number between $3 and $4 and booked_at is null",
        at.chain_id.cast_signed(),
        at.distributor.bytes().as_slice(),
        from.cast_signed(),
        to.cast_signed(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Everything told up to a block is booked now.
pub(crate) async fn set_booked(
    conn: &mut PgConnection,
    at: &Domain,
    upto: u64,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update chain_logs set booked_at = $4
          where chain_id = $1 and contract = $2 and block_number <= $3 and booked_at is null",
        at.chain_id.cast_signed(),
        at.distributor.bytes().as_slice(),
        upto.cast_signed(),
        now as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What was told about one of the contract's epochs, in its order: proposals, refusals and the activation. `is_final`
/// leaves out what may still change.
///
/// # Errors
/// When the database call fails.
pub async fn list_about(
    conn: &mut PgConnection,
    at: &Domain,
    number: u64,
    is_final: bool,
) -> Result<Vec<Logged>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        "select block_number, block_hash, log_index, tx_hash, fact from chain_logs
          where chain_id = $1 and contract = $2 and number = $3 and kind in ('proposed', 'activated', 'vetoed')
            and (booked_at is not null or not $4)
          order by block_number, log_index",
        at.chain_id.cast_signed(),
        at.distributor.bytes().as_slice(),
        number.cast_signed(),
        is_final,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Row::logged).collect()
}

/// The newest proposal, refusal or activation.
pub(crate) async fn find_newest(conn: &mut PgConnection, at: &Domain) -> Result<Option<Logged>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "select block_number, block_hash, log_index, tx_hash, fact from chain_logs
          where chain_id = $1 and contract = $2 and kind in ('proposed', 'activated', 'vetoed')
          order by block_number desc, log_index desc limit 1",
        at.chain_id.cast_signed(),
        at.distributor.bytes().as_slice(),
    )
    .fetch_optional(conn)
    .await?;
    row.map(Row::logged).transpose()
}

struct Row {
    block_number: i64,
    block_hash: Vec<u8>,
    log_index: i64,
    tx_hash: Vec<u8>,
    fact: serde_json::Value,
}

impl Row {
    fn logged(self) -> Result<Logged, sqlx::Error> {
        Ok(Logged {
            block: self.block_number.unsigned_abs(),
            block_hash: self.block_hash.as_slice().try_into().map_err(corrupt)?,
            index: self.log_index.unsigned_abs(),
            tx: self.tx_hash.as_slice().try_into().map_err(corrupt)?,
            fact: serde_json::from_value(self.fact).map_err(corrupt)?,
        })
    }
}

fn block(number: i64, hash: &[u8]) -> Result<BlockId, sqlx::Error> {
    Ok(BlockId { number: number.unsigned_abs(), hash: hash.try_into().map_err(corrupt)? })
}

//! What shall happen on a chain and what was signed for it.

use protocol::Timestamp;
use protocol::wallet::Address;
use sqlx::PgConnection;

use super::receipt_keys::{address, corrupt};

/// Whose nonces: a key on one chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The key's account.
    pub account: Address,
}

/// A call that shall be made once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Names it.
    pub id: i64,
    /// What for, once per sender.
    pub purpose: String,
    /// The contract.
    pub target: Address,
    /// What it is called with.
    pub calldata: Vec<u8>,
    /// The most that may be spent on gas, in wei.
    pub fee_limit: u128,
    /// How far it is.
    pub state: IntentState,
    /// Why it was not done.
    pub reason: Option<String>,
}

/// How far an intent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntentState {
    /// Nothing of it is on its way.
    Waiting,
    /// A transaction of it may be mined.
    Signed,
    /// It happened, for good.
    Done,
    /// It was mined for good, and the contract refused.
    Failed,
    /// The contract would refuse it for ever.
    Moot,
}

/// A nonce that was given and isn't used for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The nonce.
    pub nonce: u64,
    /// What it is for.
    pub intent: Intent,
    /// What was signed, oldest first.
    pub signed: Vec<Signed>,
}

/// A signed transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Its hash.
    pub hash: [u8; 32],
    /// Its bytes.
    pub raw: Vec<u8>,
    /// The most gas it may use.
    pub gas_limit: u64,
    /// The most it pays for a unit of gas, in wei.
    pub max_fee: u128,
    /// Of that to whoever mines it.
    pub tip: u128,
    /// The newest block when it was signed.
    pub at_block: u64,
}

impl IntentState {
    const ALL: [Self; 5] = [Self::Waiting, Self::Signed, Self::Done, Self::Failed, Self::Moot];

    /// The name, as stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Signed => "signed",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Moot => "moot",
        }
    }
}

struct Row {
    intent_id: i64,
    purpose: String,
    target: Vec<u8>,
    calldata: Vec<u8>,
    fee_limit: String,
    state: String,
    reason: Option<String>,
}

impl Row {
    fn intent(self) -> Result<Intent, sqlx::Error> {
        let state = IntentState::ALL.into_iter().find(|state| state.as_str() == self.state);
        Ok(Intent {
            id: self.intent_id,
            purpose: self.purpose,
            target: address(&self.target)?,
            calldata: self.calldata,
            fee_limit: self.fee_limit.parse().map_err(corrupt)?,
            state: state.ok_or_else(|| sqlx::Error::Decode(format!("no intent is {:?}", self.state).into()))?,
            reason: self.reason,
        })
    }
}

macro_rules! intents {
    ($condition:literal $(, $argument:expr)*) => {
        sqlx::query_as!(
            Row,
            r#"select intent_id, purpose, target, calldata, fee_limit_wei::text as "fee_limit!", state, reason
                 from chain_intents "# + $condition
            $(, $argument)*
        )
    };
}

/// Wishes for a call. One of the same purpose that nothing is on its way for takes the new form, and is waiting again if
/// it was refused; one that is under way or done stays as it is. Returned is what is there now.
pub(crate) async fn wish(
    conn: &mut PgConnection,
    by: Sender,
    purpose: &str,
    target: Address,
    calldata: &[u8],
    fee_limit: u128,
    now: Timestamp,
) -> Result<Intent, sqlx::Error> {
    let (chain, signer) = (by.chain_id.cast_signed(), by.account.bytes().as_slice());
    sqlx::query!(
        "insert into chain_intents as i (chain_id, signer, purpose, target, calldata, fee_limit_wei, created_at)
         values ($1, $2, $3, $4, $5, $6::text::numeric, $7)
         on conflict (chain_id, signer, purpose) do update
            set target = excluded.target, calldata = excluded.calldata, fee_limit_wei = excluded.fee_limit_wei,
                state = 'waiting', closed_at = null
          where i.state in ('waiting', 'failed', 'moot')",
        chain,
        signer,
        purpose,
        target.bytes().as_slice(),
        calldata,
        fee_limit.to_string(),
        now as Timestamp,
    )
    .execute(&mut *conn)
    .await?;
    let row = intents!("where chain_id = $1 and signer = $2 and purpose = $3", chain, signer, purpose);
    row.fetch_one(conn).await?.intent()
}

/// An intent, by its purpose.
///
/// # Errors
/// When the database call fails.
pub async fn find(conn: &mut PgConnection, by: Sender, purpose: &str) -> Result<Option<Intent>, sqlx::Error> {
    let (chain, signer) = (by.chain_id.cast_signed(), by.account.bytes().as_slice());
    let row = intents!("where chain_id = $1 and signer = $2 and purpose = $3", chain, signer, purpose);
    row.fetch_optional(conn).await?.map(Row::intent).transpose()
}

/// The newest intents of a sender, newest first.
///
/// # Errors
/// When the database call fails.
pub async fn list(conn: &mut PgConnection, by: Sender, limit: i64) -> Result<Vec<Intent>, sqlx::Error> {
    let (chain, signer) = (by.chain_id.cast_signed(), by.account.bytes().as_slice());
    let rows = intents!("where chain_id = $1 and signer = $2 order by intent_id desc limit $3", chain, signer, limit);
    rows.fetch_all(conn).await?.into_iter().map(Row::intent).collect()
}

/// Intents nothing is on its way for, oldest first.
pub(crate) async fn list_waiting(conn: &mut PgConnection, by: Sender, limit: i64) -> Result<Vec<Intent>, sqlx::Error> {
    let (chain, signer) = (by.chain_id.cast_signed(), by.account.bytes().as_slice());
    let rows = intents!(
        "where chain_id = $1 and signer = $2 and state = 'waiting' order by intent_id limit $3",
        chain,
        signer,
        limit
    );
    rows.fetch_all(conn).await?.into_iter().map(Row::intent).collect()
}

/// Moves an intent on.
pub(crate) async fn set_state(
    conn: &mut PgConnection,
    intent: i64,
    state: IntentState,
    reason: Option<&str>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update chain_intents set state = $2, reason = $3,
                closed_at = case when $2 in ('done', 'failed', 'moot') then $4::timestamptz end
          where intent_id = $1",
        intent,
        state.as_str(),
        reason,
        now as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Nothing comes of waiting intents whose purpose begins so, but for one.
pub(crate) async fn give_up(
    conn: &mut PgConnection,
    by: Sender,
    beginning: &str,
    but: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update chain_intents set state = 'moot', reason = 'another was wished for', closed_at = $5
          where chain_id = $1 and signer = $2 and starts_with(purpose, $3) and purpose <> $4 and state = 'waiting'",
        by.chain_id.cast_signed(),
        by.account.bytes().as_slice(),
        beginning,
        but,
        now as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The nonce that is open, with everything signed for it.
///
/// # Errors
/// When the database call fails.
pub async fn find_open(conn: &mut PgConnection, by: Sender) -> Result<Option<Open>, sqlx::Error> {
    let (chain, signer) = (by.chain_id.cast_signed(), by.account.bytes().as_slice());
    let nonce = sqlx::query!(
        "select nonce, intent_id from chain_nonces where chain_id = $1 and signer = $2 and consumed_at is null",
        chain,
        signer,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(nonce) = nonce else { return Ok(None) };
    let intent = intents!("where intent_id = $1", nonce.intent_id).fetch_one(&mut *conn).await?.intent()?;
    let rows = sqlx::query!(
        r#"select tx_hash, raw, gas_limit, max_fee_wei::text as "max_fee!", tip_wei::text as "tip!", signed_at_block
             from chain_txs where chain_id = $1 and signer = $2 and nonce = $3 order by max_fee_wei"#,
        chain,
        signer,
        nonce.nonce,
    )
    .fetch_all(conn)
    .await?;
    let signed = rows.into_iter().map(|row| {
        Ok(Signed {
            hash: row.tx_hash.as_slice().try_into().map_err(corrupt)?,
            raw: row.raw,
            gas_limit: row.gas_limit.unsigned_abs(),
            max_fee: row.max_fee.parse().map_err(corrupt)?,
            tip: row.tip.parse().map_err(corrupt)?,
            at_block: row.signed_at_block.unsigned_abs(),
        })
    });
    let signed = signed.collect::<Result<_, sqlx::Error>>()?;
    Ok(Some(Open { nonce: nonce.nonce.unsigned_abs(), intent, signed }))
}

/// The last nonce given to a sender.
pub(crate) async fn find_last_nonce(conn: &mut PgConnection, by: Sender) -> Result<Option<u64>, sqlx::Error> {
    let (chain, signer) = (by.chain_id.cast_signed(), by.account.bytes().as_slice());
    let last =
        sqlx::query_scalar!("select max(nonce) from chain_nonces where chain_id = $1 and signer = $2", chain, signer);
    Ok(last.fetch_one(conn).await?.map(i64::unsigned_abs))
}

/// Gives a nonce to an intent.
pub(crate) async fn insert_nonce(
    conn: &mut PgConnection,
    by: Sender,
    nonce: u64,
    intent: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into chain_nonces (chain_id, signer, nonce, intent_id) values ($1, $2, $3, $4)",
        by.chain_id.cast_signed(),
        by.account.bytes().as_slice(),
        nonce.cast_signed(),
        intent,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Keeps what was signed for a nonce.
pub(crate) async fn insert_signed(
    conn: &mut PgConnection,
    by: Sender,
    nonce: u64,
    signed: &Signed,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into chain_txs (tx_hash, chain_id, signer, nonce, raw, gas_limit, max_fee_wei, tip_wei, signed_at,
                                signed_at_block)
         values ($1, $2, $3, $4, $5, $6, $7::text::numeric, $8::text::numeric, $9, $10)",
        signed.hash.as_slice(),
        by.chain_id.cast_signed(),
        by.account.bytes().as_slice(),
        nonce.cast_signed(),
        signed.raw,
        signed.gas_limit.cast_signed(),
        signed.max_fee.to_string(),
        signed.tip.to_string(),
        now as Timestamp,
        signed.at_block.cast_signed(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The chain has used an open nonce for good: by one of our transactions, or by one that is none of ours.
pub(crate) async fn consume(
    conn: &mut PgConnection,
    by: Sender,
    nonce: u64,
    hash: Option<[u8; 32]>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update chain_nonces set consumed_at = $5, tx_hash = $4::bytea, displaced = $4::bytea is null
          where chain_id = $1 and signer = $2 and nonce = $3",
        by.chain_id.cast_signed(),
        by.account.bytes().as_slice(),
        nonce.cast_signed(),
        hash.as_ref().map(<[u8; 32]>::as_slice),
        now as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Makes this transaction the only one that acts for a sender or reads a contract; false when another is.
pub(crate) async fn try_lock(conn: &mut PgConnection, what: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock(hashtextextended($1, 20)) as "locked!""#, what)
        .fetch_one(conn)
        .await
}

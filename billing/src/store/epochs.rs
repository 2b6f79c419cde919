//! Epochs, what they froze, and what they said.

use protocol::issued::Issued;
use protocol::merkle::Leaf;
use protocol::statement::{Adjustment, Document as _, Manifest, PriceRef, Sealed, Statement, Waiting};
use protocol::token::TokenAmount;
use protocol::wallet::{Address, Signed};
use protocol::{Id as _, NanoUsd, ProviderId, ReceiptId, Timestamp};
use sqlx::PgConnection;
use uuid::Uuid;

use super::receipt_keys::{address, corrupt};
use crate::statement::Last;

/// How far an epoch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpochState {
    /// Its time is not over.
    Open,
    /// What it pays is decided.
    Frozen,
    /// So is what a token is worth.
    Priced,
    /// Its documents are made.
    Built,
    /// Its tree is on its way to the contract.
    Proposed,
    /// It counts.
    Active,
    /// Somebody must look first.
    Held,
}

/// One epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Epoch {
    /// Its number.
    pub number: u64,
    /// Where the one before ended.
    pub starts_at: Timestamp,
    /// What is released by then is in it.
    pub ends_at: Timestamp,
    /// Everything released before is paid or void.
    pub floor_at: Timestamp,
    /// How far it is.
    pub state: EpochState,
    /// Why it is held.
    pub held_reason: Option<String>,
    /// What a token is worth in it.
    pub price: Option<PriceRef>,
    /// What it comes to.
    pub manifest: Option<Sealed<Manifest>>,
    /// When it became active.
    pub active_at: Option<Timestamp>,
    /// How often its tree was refused.
    pub vetoes: u32,
}

/// What an epoch froze about one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// Which.
    pub provider: ProviderId,
    /// Its wallet.
    pub wallet: Address,
    /// Who is paid.
    pub account: Option<Address>,
    /// Why nobody is.
    pub blocked: Option<Waiting>,
}

/// A provider's payout of one epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Payout {
    /// Of which epoch.
    pub epoch: u64,
    /// How far that is.
    pub state: EpochState,
    /// Whether the epoch's tree was refused and is not proposed anew.
    pub is_vetoed: bool,
    /// What it owes, once it is built.
    pub statement: Option<Sealed<Statement>>,
    /// When it was paid.
    pub claimed_at: Option<Timestamp>,
}

impl EpochState {
    /// The name, as stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Frozen => "frozen",
            Self::Priced => "priced",
            Self::Built => "built",
            Self::Proposed => "proposed",
            Self::Active => "active",
            Self::Held => "held",
        }
    }

    fn from_stored(text: &str) -> Result<Self, sqlx::Error> {
        use EpochState as S;
        let states = [S::Open, S::Frozen, S::Priced, S::Built, S::Proposed, S::Active, S::Held];
        let found = states.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| sqlx::Error::Decode(format!("no epoch is {text:?}").into()))
    }
}

struct Row {
    epoch: i64,
    starts_at: Timestamp,
    ends_at: Timestamp,
    floor_at: Timestamp,
    state: String,
    held_reason: Option<String>,
    price: Option<serde_json::Value>,
    manifest: Option<serde_json::Value>,
    manifest_signature: Option<Vec<u8>>,
    active_at: Option<Timestamp>,
    vetoes: i32,
}

impl Row {
    fn epoch(self) -> Result<Epoch, sqlx::Error> {
        let sealed = |(document, signature): (serde_json::Value, Vec<u8>)| sealed(document, &signature);
        Ok(Epoch {
            number: self.epoch.unsigned_abs(),
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            floor_at: self.floor_at,
            state: EpochState::from_stored(&self.state)?,
            held_reason: self.held_reason,
            price: self.price.map(serde_json::from_value).transpose().map_err(corrupt)?,
            manifest: self.manifest.zip(self.manifest_signature).map(sealed).transpose()?,
            active_at: self.active_at,
            vetoes: self.vetoes.unsigned_abs(),
        })
    }
}

fn sealed<T: serde::de::DeserializeOwned>(document: serde_json::Value, bytes: &[u8]) -> Result<Sealed<T>, sqlx::Error> {
    let signature = Signed::from_bytes(bytes).map_err(corrupt)?;
    Ok(Sealed { document: serde_json::from_value(document).map_err(corrupt)?, signature })
}

macro_rules! epochs {
    ($condition:literal $(, $argument:expr)*) => {
        sqlx::query_as!(
            Row,
            r#"select epoch, starts_at as "starts_at: Timestamp", ends_at as "ends_at: Timestamp",
                      floor_at as "floor_at: Timestamp", state, held_reason, price, manifest, manifest_signature,
                      active_at as "active_at: Timestamp", vetoes
                 from epochs "# + $condition
            $(, $argument)*
        )
    };
}

/// Opens an epoch, unless one is open.
pub(crate) async fn open(
    conn: &mut PgConnection,
    starts_at: Timestamp,
    ends_at: Timestamp,
    floor_at: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into epochs (epoch, starts_at, ends_at, floor_at)
         select coalesce(max(epoch), 0) + 1, $1, $2, $3 from epochs on conflict do nothing",
        starts_at as Timestamp,
        ends_at as Timestamp,
        floor_at as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// One epoch.
///
/// # Errors
/// When the database call fails.
pub async fn find(conn: &mut PgConnection, epoch: u64) -> Result<Option<Epoch>, sqlx::Error> {
    let row = epochs!("where epoch = $1", epoch.cast_signed()).fetch_optional(conn).await?;
    row.map(Row::epoch).transpose()
}

/// The epoch the contract has under a number of its own.
pub(crate) async fn find_by_proposal(conn: &mut PgConnection, proposal: u64) -> Result<Option<Epoch>, sqlx::Error> {
    let row = epochs!("where proposal = $1", proposal.cast_signed()).fetch_optional(conn).await?;
    row.map(Row::epoch).transpose()
}

/// The newest epochs, newest first.
///
/// # Errors
/// When the database call fails.
pub async fn list(conn: &mut PgConnection, limit: i64) -> Result<Vec<Epoch>, sqlx::Error> {
    let rows = epochs!("order by epoch desc limit $1", limit).fetch_all(conn).await?;
    rows.into_iter().map(Row::epoch).collect()
}

/// Epochs that are not at their end, oldest first.
pub(crate) async fn list_unfinished(conn: &mut PgConnection) -> Result<Vec<Epoch>, sqlx::Error> {
    let rows = epochs!("where state <> 'active' order by epoch limit 100").fetch_all(conn).await?;
    rows.into_iter().map(Row::epoch).collect()
}

/// One epoch, locked: whoever moves it goes first.
pub(crate) async fn claim(conn: &mut PgConnection, epoch: u64) -> Result<Option<Epoch>, sqlx::Error> {
    let row = epochs!("where epoch = $1 for update", epoch.cast_signed()).fetch_optional(conn).await?;
    row.map(Row::epoch).transpose()
}

/// Whether every epoch before is at its end, and the number the contract expects next.
pub(crate) async fn find_next_proposal(conn: &mut PgConnection, epoch: u64) -> Result<Option<u64>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select bool_and(state = 'active') as done, coalesce(max(proposal), 0) + 1 as "next!"
             from epochs where epoch < $1"#,
        epoch.cast_signed(),
    )
    .fetch_one(conn)
    .await?;
    Ok(row.done.unwrap_or(true).then_some(row.next.unsigned_abs()))
}

/// Moves a claimed epoch to another state.
pub(crate) async fn set_state(
    conn: &mut PgConnection,
    epoch: u64,
    state: EpochState,
    held_reason: Option<&str>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update epochs set state = $2, held_reason = $3,
                frozen_at = case when $2 = 'frozen' then $4 else frozen_at end,
                active_at = case when $2 = 'active' then $4 else active_at end
          where epoch = $1",
        epoch.cast_signed(),
        state.as_str(),
        held_reason,
        now as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes down what a token is worth in a claimed epoch.
pub(crate) async fn set_price(conn: &mut PgConnection, epoch: u64, price: &PriceRef) -> Result<(), sqlx::Error> {
    let price = serde_json::to_value(price).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    sqlx::query!("update epochs set price = $2 where epoch = $1", epoch.cast_signed(), price).execute(conn).await?;
    Ok(())
}

/// Forgets what a claimed epoch decided, that it be decided anew: its tree was refused, or it is frozen again.
pub(crate) async fn clear(conn: &mut PgConnection, epoch: u64, is_vetoed: bool) -> Result<(), sqlx::Error> {
    let number = epoch.cast_signed();
    sqlx::query!(
        "update epochs set state = 'frozen', held_reason = null, price = null, manifest = null,
                manifest_signature = null, proposal = null, vetoes = vetoes + case when $2 then 1 else 0 end
          where epoch = $1",
        number,
        is_vetoed,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("delete from artefacts where epoch = $1", number).execute(&mut *conn).await?;
    sqlx::query!("delete from statement_items where epoch = $1", number).execute(&mut *conn).await?;
    sqlx::query!("delete from statements where epoch = $1", number).execute(&mut *conn).await?;
    sqlx::query!("update receipt_cases set epoch = null where epoch = $1", number).execute(conn).await?;
    Ok(())
}

/// Takes into a claimed epoch whatever is released by its end and no other has, but for providers with an open case and
/// receipts found to be fraud. Returns who may be owed something.
pub(crate) async fn take(conn: &mut PgConnection, epoch: &Epoch) -> Result<Vec<Uuid>, sqlx::Error> {
    let number = epoch.number.cast_signed();
    sqlx::query!(
        "insert into statement_items (attempt_id, epoch, provider_id)
         select x.attempt_id, $1, x.provider_id from receipts x
          where x.release_at > $2 and x.release_at <= $3
            and not exists (select from statement_items i where i.attempt_id = x.attempt_id)
            and not exists (select from receipt_cases c
                             where c.provider_id = x.provider_id and c.attempt_id is null
                               and (c.decided_at is null
                                    or (c.kind = 'fraud' and c.verdict = 'upheld' and x.settled_at <= c.decided_at)))
          order by x.attempt_id",
        number,
        epoch.floor_at as Timestamp,
        epoch.ends_at as Timestamp,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "update receipt_cases set epoch = $1 where adjustment_nano_usd > 0 and epoch is null and decided_at <= $2",
        number,
        epoch.ends_at as Timestamp,
    )
    .execute(&mut *conn)
    .await?;
    // Who waits for something else than more money is looked at again each time.
    sqlx::query_scalar!(
        r#"select provider_id as "provider!" from (
             select provider_id from statement_items where epoch = $1
             union select provider_id from receipt_cases where epoch = $1
             union select s.provider_id from statements s
                    where s.epoch < $1 and (s.blocked is not null or s.document ->> 'waiting' is not null)
                      and not exists (select from statements t where t.provider_id = s.provider_id and t.epoch < $1
                                                                 and t.epoch > s.epoch and t.document is not null)) p
            order by 1"#,
        number,
    )
    .fetch_all(conn)
    .await
}

/// Where looking for what is due may begin after a claimed epoch: at what was left behind, else at its end.
pub(crate) async fn find_floor(conn: &mut PgConnection, epoch: &Epoch) -> Result<Timestamp, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select coalesce(min(x.release_at) - interval '1 second', $2) as "floor!: Timestamp" from receipts x
            where x.release_at > $1 and x.release_at <= $2
              and not exists (select from statement_items i where i.attempt_id = x.attempt_id)
              and not exists (select from receipt_cases c
                               where c.provider_id = x.provider_id and c.kind = 'fraud' and c.verdict = 'upheld'
                                 and x.settled_at <= c.decided_at)"#,
        epoch.floor_at as Timestamp,
        epoch.ends_at as Timestamp,
    )
    .fetch_one(conn)
    .await
}

/// Writes down what a claimed epoch froze.
pub(crate) async fn insert_frozen(conn: &mut PgConnection, epoch: u64, frozen: &[Frozen]) -> Result<(), sqlx::Error> {
    let providers: Vec<Uuid> = frozen.iter().map(|one| one.provider.uuid()).collect();
    let wallets: Vec<Vec<u8>> = frozen.iter().map(|one| one.wallet.bytes().to_vec()).collect();
    let accounts: Vec<Option<Vec<u8>>> =
        frozen.iter().map(|one| one.account.map(|account| account.bytes().to_vec())).collect();
    let blocked: Vec<Option<String>> = frozen.iter().map(|one| one.blocked.map(|why| name(why).to_owned())).collect();
    sqlx::query!(
        "insert into statements (epoch, provider_id, wallet, account, blocked)
         select $1, * from unnest($2::uuid[], $3::bytea[], $4::bytea[], $5::text[])",
        epoch.cast_signed(),
        &providers,
        &wallets,
        &accounts as &[Option<Vec<u8>>],
        &blocked as &[Option<String>],
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What an epoch froze, by provider.
pub(crate) async fn list_frozen(conn: &mut PgConnection, epoch: u64) -> Result<Vec<Frozen>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select provider_id as "provider: ProviderId", wallet, account, blocked from statements where epoch = $1
            order by provider_id"#,
        epoch.cast_signed(),
    )
    .fetch_all(conn)
    .await?;
    let frozen = rows.into_iter().map(|row| {
        Ok(Frozen {
            provider: row.provider,
            wallet: address(&row.wallet)?,
            account: row.account.as_deref().map(address).transpose()?,
            blocked: row.blocked.as_deref().and_then(waiting),
        })
    });
    frozen.collect()
}

/// The receipts an epoch pays a provider, by attempt, each with its report.
pub(crate) async fn list_items(
    conn: &mut PgConnection,
    epoch: u64,
    provider: ProviderId,
) -> Result<Vec<Issued>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select x.receipt, x.signature, r.signed as "signed?" from statement_items i
             join receipts x on x.attempt_id = i.attempt_id
             left join usage_reports r on r.attempt_id = i.attempt_id
            where i.epoch = $1 and i.provider_id = $2 order by i.attempt_id"#,
        epoch.cast_signed(),
        provider as ProviderId,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(|row| super::receipts::issued(row.receipt, &row.signature, row.signed)).collect()
}

/// What disputes add to an epoch's statement of a provider, by receipt.
pub(crate) async fn list_adjustments(
    conn: &mut PgConnection,
    epoch: u64,
    provider: ProviderId,
) -> Result<Vec<Adjustment>, sqlx::Error> {
    sqlx::query_as!(
        Adjustment,
        r#"select attempt_id as "receipt!: ReceiptId", adjustment_nano_usd as "amount: NanoUsd" from receipt_cases
            where epoch = $1 and provider_id = $2 order by attempt_id"#,
        epoch.cast_signed(),
        provider as ProviderId,
    )
    .fetch_all(conn)
    .await
}

/// A provider's last statement before an epoch.
pub(crate) async fn find_last(
    conn: &mut PgConnection,
    epoch: u64,
    provider: ProviderId,
) -> Result<Option<Sealed<Statement>>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select document as "document!", signature as "signature!" from statements
            where provider_id = $2 and epoch < $1 and document is not null order by epoch desc limit 1"#,
        epoch.cast_signed(),
        provider as ProviderId,
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| sealed(row.document, &row.signature)).transpose()
}

/// Where a statement ended.
pub(crate) fn last(statement: &Statement) -> Last {
    Last {
        hash: statement.hash(),
        carried_out: statement.carried_out,
        cumulative: statement.cumulative,
        waiting: statement.waiting,
    }
}

/// The tree as it was before an epoch, by provider.
pub(crate) async fn list_leaves(conn: &mut PgConnection, epoch: u64) -> Result<Vec<Leaf>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select distinct on (provider_id) provider_id as "provider: ProviderId", payee as "payee!",
                  cumulative::text as "cumulative!"
             from statements where epoch < $1 and payee is not null order by provider_id, epoch desc"#,
        epoch.cast_signed(),
    )
    .fetch_all(conn)
    .await?;
    let leaf = rows.into_iter().map(|row| {
        let cumulative = row.cumulative.parse::<TokenAmount>().map_err(corrupt)?;
        Ok(Leaf { provider: row.provider, payee: address(&row.payee)?, cumulative })
    });
    leaf.collect()
}

/// Writes down what a claimed epoch comes to.
pub(crate) async fn set_built(
    conn: &mut PgConnection,
    manifest: &Sealed<Manifest>,
    statements: &[Sealed<Statement>],
) -> Result<(), sqlx::Error> {
    let encode = |error: serde_json::Error| sqlx::Error::Encode(Box::new(error));
    let number = manifest.document.epoch.cast_signed();
    sqlx::query!(
        "update epochs set state = 'built', manifest = $2, manifest_signature = $3, proposal = $4 where epoch = $1",
        number,
        serde_json::to_value(&manifest.document).map_err(encode)?,
        manifest.signature.bytes().as_slice(),
        manifest.document.proposal.map(u64::cast_signed),
    )
    .execute(&mut *conn)
    .await?;
    for sealed in statements {
        let statement = &sealed.document;
        sqlx::query!(
            "update statements set document = $3, signature = $4, payee = $5, cumulative = $6::text::numeric
              where epoch = $1 and provider_id = $2",
            number,
            statement.provider as ProviderId,
            serde_json::to_value(statement).map_err(encode)?,
            sealed.signature.bytes().as_slice(),
            statement.payee.map(|payee| payee.bytes().to_vec()),
            statement.cumulative.to_string(),
        )
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// The statements of an epoch, by provider.
pub(crate) async fn list_statements(
    conn: &mut PgConnection,
    epoch: u64,
) -> Result<Vec<Sealed<Statement>>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select document as "document!", signature as "signature!" from statements
            where epoch = $1 and document is not null order by provider_id"#,
        epoch.cast_signed(),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(|row| sealed(row.document, &row.signature)).collect()
}

/// Marks what has been paid out by the contract, up to an epoch. Returns what was not before, by epoch.
pub(crate) async fn set_claimed(
    conn: &mut PgConnection,
    epoch: u64,
    providers: &[ProviderId],
    now: Timestamp,
) -> Result<Vec<(u64, ProviderId)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"update statements set claimed_at = $3
            where epoch <= $1 and provider_id = any($2) and claimed_at is null and payee is not null
              and document ->> 'waiting' is null
        returning epoch, provider_id as "provider: ProviderId""#,
        epoch.cast_signed(),
        providers as &[ProviderId],
        now as Timestamp,
    )
    .fetch_all(conn)
    .await?;
    let mut paid: Vec<_> = rows.into_iter().map(|row| (row.epoch.unsigned_abs(), row.provider)).collect();
    paid.sort_unstable();
    Ok(paid)
}

/// Providers that were paid by a statement up to an epoch, and whose sum nobody has claimed yet.
pub(crate) async fn list_unclaimed(conn: &mut PgConnection, epoch: u64) -> Result<Vec<ProviderId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select distinct provider_id as "provider: ProviderId" from statements
            where epoch <= $1 and payee is not null and claimed_at is null and document ->> 'waiting' is null
            order by 1"#,
        epoch.cast_signed(),
    )
    .fetch_all(conn)
    .await
}

/// A provider's payouts of epochs before `before`, newest first.
///
/// # Errors
/// When the database call fails.
pub async fn list_payouts(
    conn: &mut PgConnection,
    provider: ProviderId,
    before: Option<u64>,
    limit: i64,
) -> Result<Vec<Payout>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select s.epoch, e.state, e.vetoes, s.document, s.signature, s.claimed_at as "claimed_at: Timestamp"
             from statements s join epochs e using (epoch)
            where s.provider_id = $1 and s.epoch < coalesce($2, 9223372036854775807)
              and (s.document is not null or e.state in ('frozen', 'priced', 'held'))
            order by s.epoch desc limit $3"#,
        provider as ProviderId,
        before.map(u64::cast_signed),
        limit,
    )
    .fetch_all(conn)
    .await?;
    let payout = rows.into_iter().map(|row| {
        let state = EpochState::from_stored(&row.state)?;
        let statement = row.document.zip(row.signature);
        Ok(Payout {
            epoch: row.epoch.unsigned_abs(),
            state,
            is_vetoed: row.vetoes > 0 && !matches!(state, EpochState::Proposed | EpochState::Active),
            statement: statement.map(|(document, signature)| sealed(document, &signature)).transpose()?,
            claimed_at: row.claimed_at,
        })
    });
    payout.collect()
}

/// Keeps the digest of a document, of a provider or of nobody in particular.
pub(crate) async fn insert_artefact(
    conn: &mut PgConnection,
    epoch: u64,
    provider: Option<ProviderId>,
    name: &str,
    digest: &[u8; 32],
    bytes: usize,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into artefacts (epoch, provider_id, name, sha256, bytes) values ($1, $2, $3, $4, $5)",
        epoch.cast_signed(),
        provider.map_or(Uuid::nil(), |provider| provider.uuid()),
        name,
        digest.as_slice(),
        i64::try_from(bytes).unwrap_or(i64::MAX),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Name and digest of the documents of an epoch: the public ones, and a provider's own where one is named.
pub(crate) async fn list_artefacts(
    conn: &mut PgConnection,
    epoch: u64,
    provider: Option<ProviderId>,
) -> Result<Vec<(String, [u8; 32])>, sqlx::Error> {
    let owners = [Uuid::nil(), provider.map_or(Uuid::nil(), |provider| provider.uuid())];
    let rows = sqlx::query!(
        "select name, sha256 from artefacts where epoch = $1 and provider_id = any($2) order by name",
        epoch.cast_signed(),
        owners.as_slice(),
    )
    .fetch_all(conn)
    .await?;
    let named = rows.into_iter().map(|row| {
        let digest = row.sha256.as_slice().try_into().map_err(corrupt)?;
        Ok((row.name, digest))
    });
    named.collect()
}

const fn name(why: Waiting) -> &'static str {
    match why {
        Waiting::PayeeChange => "payee_change",
        Waiting::Screening => "screening",
        // An amount is too little only once it is known.
        Waiting::NoPayee | Waiting::BelowMinimum => "no_payee",
    }
}

fn waiting(text: &str) -> Option<Waiting> {
    [Waiting::PayeeChange, Waiting::Screening, Waiting::NoPayee].into_iter().find(|why| name(*why) == text)
}

//! Receipts, as they were given.

use protocol::issued::{Issued, Rates, Receipt};
use protocol::receipt::SignedReport;
use protocol::typed::{Domain, Typed as _, Word};
use protocol::wallet::Signed;
use protocol::{
    AttemptId, Id as _, NanoUsd, NodeId, OfferId, OrganizationId, Price, Prices, ProviderId, ReceiptId, RequestId,
    Timestamp,
};
use sqlx::PgConnection;
use uuid::Uuid;

use super::partitions;
use super::receipt_keys::corrupt;
use super::reports::units;
use crate::outcome::{self, Outcome};

/// A receipt before it is signed.
#[derive(Debug, Clone)]
pub struct Unsigned {
    /// What it will say.
    pub receipt: Receipt,
    /// Who asked for the work.
    pub account: OrganizationId,
    /// When it entered the books.
    pub settled_at: Timestamp,
}

/// A receipt to keep.
#[derive(Debug, Clone)]
pub struct NewReceipt {
    /// What it says.
    pub draft: Unsigned,
    /// The broker's signature.
    pub signature: Signed,
    /// When it may be paid.
    pub release_at: Timestamp,
}

/// A receipt as its provider sees it.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The receipt, its signature and its report.
    pub issued: Issued,
    /// When it may be paid.
    pub release_at: Timestamp,
    /// What became of the provider's word against it, if it gave any: `open`, `upheld` or `rejected`.
    pub dispute: Option<String>,
}

/// Takes the cursor of receipts for this transaction: how far they are given, and how far they may be. `None` while
/// another replica is at it.
pub(crate) async fn claim_cursor(conn: &mut PgConnection) -> Result<Option<(Uuid, Uuid)>, sqlx::Error> {
    let upto = sqlx::query_scalar!("select upto from receipt_cursor for update skip locked");
    let Some(from) = upto.fetch_optional(&mut *conn).await? else { return Ok(None) };
    // Behind the judge, so that it is known which reports are apart.
    let to = sqlx::query_scalar!("select upto from report_cursor").fetch_one(conn).await?;
    Ok(Some((from, to)))
}

/// Moves the cursor.
pub(crate) async fn advance_cursor(conn: &mut PgConnection, upto: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!("update receipt_cursor set upto = $1", upto).execute(conn).await?;
    Ok(())
}

/// Attempts in the books without a receipt, dated after `from` and up to `to`, oldest first.
pub(crate) async fn list_due(
    conn: &mut PgConnection,
    domain: &Domain,
    from: Uuid,
    to: Uuid,
    limit: i64,
) -> Result<Vec<Unsigned>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select a.attempt_id as "attempt: AttemptId", a.request_id as "request: RequestId",
                  a.provider_id as "provider: ProviderId", a.node_id as "node: NodeId", a.offer_id as "offer: OfferId",
                  a.price_version, a.outcome, a.cost_kind, a.earn_nano_usd as "earned: NanoUsd", a.prompt,
                  a.cached_prompt, a.cache_write, a.completion, a.internal_reasoning, a.requests, a.reread,
                  a.reread_nano_usd as "reread_earned: NanoUsd", a.error_code,
                  a.started_at as "started_at: Timestamp", a.finished_at as "finished_at: Timestamp",
                  u.account_id as "account: OrganizationId", u.settled_at as "settled_at: Timestamp",
                  p.model, p.take_bps, p.prompt as "p_prompt: Price", p.cached_prompt as "p_cached_prompt: Price",
                  p.cache_write as "p_cache_write: Price", p.completion as "p_completion: Price",
                  p.internal_reasoning as "p_internal_reasoning: Price", p.request as "p_request: Price",
                  r.signed as "signed?", f.attempt_id is not null as "apart!"
             from attempts a
             join usage u on u.request_id = a.request_id
             join prices p on p.offer_id = a.offer_id and p.price_version = a.price_version
             left join usage_reports r
               on r.attempt_id = a.attempt_id and r.provider_id = a.provider_id and r.node_id = a.node_id
             left join report_flags f on f.attempt_id = a.attempt_id
            where a.attempt_id > $1 and a.attempt_id <= $2
              and not exists (select from receipts x where x.attempt_id = a.attempt_id)
            order by a.attempt_id limit $3"#,
        from,
        to,
        limit,
    )
    .fetch_all(conn)
    .await?;
    let mut due = Vec::with_capacity(rows.len());
    for row in rows {
        let prices = Prices {
            prompt: row.p_prompt,
            cached_prompt: row.p_cached_prompt,
            cache_write: row.p_cache_write,
            completion: row.p_completion,
            internal_reasoning: row.p_internal_reasoning,
            request: row.p_request,
        };
        let columns =
            [row.prompt, row.cached_prompt, row.cache_write, row.completion, row.internal_reasoning, row.requests];
        let report = row.signed.and_then(|signed| serde_json::from_value::<SignedReport>(signed).ok());
        let outcome = Outcome::from_stored(&row.outcome).unwrap_or(Outcome::ProviderFailed);
        let receipt = Receipt {
            domain: *domain,
            attempt: row.attempt,
            request: row.request,
            provider: row.provider,
            node: row.node,
            offer: row.offer,
            price_version: row.price_version.unsigned_abs(),
            model: row.model,
            units: outcome::paid(outcome, row.earned, units(columns)),
            // Read by an attempt that did not get to the end, it earned nothing.
            reread: if row.reread_earned.is_zero() { 0 } else { u32::try_from(row.reread).unwrap_or(u32::MAX) },
            rates: Rates::from(&prices),
            take_bps: row.take_bps.unsigned_abs(),
            outcome: row.outcome,
            cost_kind: row.cost_kind,
            gross: NanoUsd::ZERO,
            fee: NanoUsd::ZERO,
            net: NanoUsd::ZERO,
            started_at_ms: row.started_at.unix_ms(),
            finished_at_ms: row.finished_at.unix_ms(),
            settled_at_ms: row.settled_at.unix_ms(),
            report: report.as_ref().map(|signed| Word(signed.report.digest(domain))),
            is_unsigned: report.is_none(),
            is_apart: row.apart,
            is_recovered: row.error_code.as_deref() == Some(super::reports::RECOVERED),
        };
        let earned = row.earned.saturating_add(row.reread_earned);
        match receipt.with_price().filter(|receipt| receipt.net == earned) {
            Some(receipt) => due.push(Unsigned { receipt, account: row.account, settled_at: row.settled_at }),
            // The books and the price disagree: for reconcile to name, and for a person to mend.
            None => tracing::error!(attempt.id = %row.attempt, "an attempt earned otherwise than its price says"),
        }
    }
    Ok(due)
}

/// Keeps receipts; one that is there already stays as it is. Returns how many are new.
pub(crate) async fn insert(
    conn: &mut PgConnection,
    receipts: &[NewReceipt],
    now: Timestamp,
) -> Result<u64, sqlx::Error> {
    let json = receipts.iter().map(|new| serde_json::to_value(&new.draft.receipt)).collect::<Result<Vec<_>, _>>();
    let json = json.map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    let flags = |of: fn(&Receipt) -> bool| receipts.iter().map(|new| of(&new.draft.receipt)).collect::<Vec<_>>();
    let times = |of: fn(&NewReceipt) -> Timestamp| receipts.iter().map(of).collect::<Vec<_>>();
    let uuids = |of: fn(&NewReceipt) -> Uuid| receipts.iter().map(of).collect::<Vec<_>>();
    let net: Vec<i64> = receipts.iter().map(|new| new.draft.receipt.net.nano()).collect();
    let signatures: Vec<Vec<u8>> = receipts.iter().map(|new| new.signature.bytes().to_vec()).collect();
    let done = sqlx::query!(
        "insert into receipts (attempt_id, request_id, provider_id, account_id, net_nano_usd, is_unsigned, is_apart,
                               is_recovered, receipt, signature, settled_at, release_at, issued_at)
         select r.*, $13 from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::bigint[], $6::bool[],
                                     $7::bool[], $8::bool[], $9::jsonb[], $10::bytea[], $11::timestamptz[],
                                     $12::timestamptz[]) as r (attempt_id)
          order by r.attempt_id on conflict (attempt_id) do nothing",
        &uuids(|new| new.draft.receipt.attempt.uuid()),
        &uuids(|new| new.draft.receipt.request.uuid()),
        &uuids(|new| new.draft.receipt.provider.uuid()),
        &uuids(|new| new.draft.account.uuid()),
        &net,
        &flags(|receipt| receipt.is_unsigned),
        &flags(|receipt| receipt.is_apart),
        &flags(|receipt| receipt.is_recovered),
        &json,
        &signatures,
        &times(|new| new.draft.settled_at) as &[Timestamp],
        &times(|new| new.release_at) as &[Timestamp],
        now as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

struct Row {
    receipt: serde_json::Value,
    signature: Vec<u8>,
    signed: Option<serde_json::Value>,
    release_at: Timestamp,
    dispute: Option<String>,
}

impl Row {
    fn kept(self) -> Result<Kept, sqlx::Error> {
        let issued = issued(self.receipt, &self.signature, self.signed)?;
        Ok(Kept { issued, release_at: self.release_at, dispute: self.dispute })
    }
}

/// A receipt from its columns. The report goes with it only where it was there when the receipt was given.
pub(crate) fn issued(
    receipt: serde_json::Value,
    signature: &[u8],
    signed: Option<serde_json::Value>,
) -> Result<Issued, sqlx::Error> {
    let receipt: Receipt = serde_json::from_value(receipt).map_err(corrupt)?;
    let signed = signed.filter(|_| receipt.report.is_some());
    let report = signed.map(serde_json::from_value::<SignedReport>).transpose().map_err(corrupt)?;
    let report = report.map(|signed| SignedReport { ticket: None, ..signed });
    Ok(Issued { receipt, signature: Signed::from_bytes(signature).map_err(corrupt)?, report })
}

/// A provider's receipts before `before`, newest first.
///
/// # Errors
/// When the database call fails.
pub async fn list_of(
    conn: &mut PgConnection,
    provider: ProviderId,
    before: Option<ReceiptId>,
    limit: i64,
) -> Result<Vec<Kept>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select x.receipt, x.signature, r.signed as "signed?", x.release_at as "release_at: Timestamp",
                  case when c.case_id is not null then coalesce(c.verdict, 'open') end as dispute
             from receipts x
             left join usage_reports r on r.attempt_id = x.attempt_id
             left join receipt_cases c on c.attempt_id = x.attempt_id
            where x.provider_id = $1 and x.attempt_id < coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
            order by x.attempt_id desc limit $3"#,
        provider as ProviderId,
        before.map(|before| before.uuid()),
        limit,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Row::kept).collect()
}

/// One receipt of a provider.
///
/// # Errors
/// When the database call fails.
pub async fn find(
    conn: &mut PgConnection,
    provider: ProviderId,
    receipt: ReceiptId,
) -> Result<Option<Kept>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select x.receipt, x.signature, r.signed as "signed?", x.release_at as "release_at: Timestamp",
                  case when c.case_id is not null then coalesce(c.verdict, 'open') end as dispute
             from receipts x
             left join usage_reports r on r.attempt_id = x.attempt_id
             left join receipt_cases c on c.attempt_id = x.attempt_id
            where x.provider_id = $1 and x.attempt_id = $2"#,
        provider as ProviderId,
        receipt.uuid(),
    )
    .fetch_optional(conn)
    .await?;
    row.map(Row::kept).transpose()
}

/// The receipt of the last of these attempts that has one.
///
/// # Errors
/// When the database call fails.
pub async fn find_last(conn: &mut PgConnection, attempts: &[AttemptId]) -> Result<Option<ReceiptId>, sqlx::Error> {
    let last = sqlx::query_scalar!(
        r#"select attempt_id as "receipt: ReceiptId" from receipts where attempt_id = any($1)
            order by attempt_id desc limit 1"#,
        attempts as &[AttemptId],
    );
    last.fetch_optional(conn).await
}

/// What a provider's receipts of before `now` come to that no epoch has.
pub(crate) async fn sum_unpaid(
    conn: &mut PgConnection,
    provider: ProviderId,
    now: Timestamp,
) -> Result<NanoUsd, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select coalesce(sum(net_nano_usd), 0)::bigint as "sum!: NanoUsd" from receipts x
            where provider_id = $1 and settled_at <= $2
              and not exists (select from statement_items i where i.attempt_id = x.attempt_id)"#,
        provider as ProviderId,
        now as Timestamp,
    )
    .fetch_one(conn)
    .await
}

/// The oldest id of those a sweep looks at.
pub(crate) fn sweep_from(now: Timestamp, back: std::time::Duration) -> Uuid {
    partitions::first_id(now.minus(back))
}

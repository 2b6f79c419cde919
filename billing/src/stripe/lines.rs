//! The processor's own account, line by line, each beside the one transfer it stands for.
//!
//! What was told and what was asked back say what should have moved; the lines are what has. A line without a transfer,
//! or a transfer without a line, is money one of the two has forgotten.

use std::time::Duration;

use protocol::{NanoUsd, Timestamp};
use sqlx::PgConnection;
use stripe_core::balance_transaction::ListBalanceTransaction;
use stripe_shared::BalanceTransaction;
use stripe_types::RangeQueryTs;

use super::list::{self, Listed};
use super::sync::{self, Synced, book_fee};
use super::{Cards, from_cents};
use crate::Error;
use crate::account::{AccountKind, LedgerAccount};
use crate::ledger::{Cause, DisputeStep, PayoutStep, Posting, RefundStep, Transfer};
use crate::store::stripe_cursors::{self, Cursor};
use crate::store::stripe_lines::{self, Line};
use crate::store::{self, refunds};

/// Lines looked at between two questions to the database.
const BATCH: i64 = 100;
/// A line whose transfer was not found is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(1_800);
/// A line this old whose transfer is not found is an operator's business.
const LATE: Duration = Duration::from_secs(86_400);

/// What a line is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Movement {
    Charge,
    Refund(RefundStep),
    Dispute(DisputeStep),
    Payout(PayoutStep),
    Fee,
    Other,
}

/// Reads the lines since those read last. Returns how many are new.
///
/// # Errors
/// What the processor says; [`Error::CardsMisused`] for a day of more lines than are read; [`Error::Database`]. What
/// was read before stays.
pub async fn read(cards: &Cards, now: Timestamp) -> Result<u64, Error> {
    let start = stripe_cursors::find(&mut *cards.db().acquire().await?, Cursor::Lines).await?;
    // Before the first customer nothing there is ours.
    let Some(from) = start else { return Ok(0) };
    list::read::<Lines>(cards, from, now).await
}

struct Lines;

impl Listed for Lines {
    type Entry = BalanceTransaction;
    type Request = ListBalanceTransaction;
    const CURSOR: Cursor = Cursor::Lines;

    fn page(created: RangeQueryTs, after: Option<&str>) -> ListBalanceTransaction {
        let request = ListBalanceTransaction::new().created(created).limit(list::PAGE);
        after.into_iter().fold(request, ListBalanceTransaction::starting_after)
    }

    fn id(line: &BalanceTransaction) -> &str {
        &line.id
    }

    async fn store(conn: &mut PgConnection, line: &BalanceTransaction, now: Timestamp) -> Result<u64, sqlx::Error> {
        // What moves nothing has no transfer to stand for.
        if (line.amount, line.fee) == (0, 0) {
            return Ok(0);
        }
        stripe_lines::insert(conn, &stored(line), now).await
    }
}

/// How the processor's account stands beside the books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Lines without a transfer that are older than a day.
    pub late: i64,
    /// What its lines add up to, less what the books say lies there.
    pub difference_nano_usd: i64,
}

fn stored(line: &BalanceTransaction) -> Line {
    Line {
        id: line.id.to_string(),
        kind: line.type_.as_str().to_owned(),
        category: line.reporting_category.clone(),
        source: line.source.as_ref().map(|source| source.id().to_string()),
        currency: line.currency.to_string(),
        amount_cents: line.amount,
        fee_cents: line.fee,
        created_at: Timestamp::from_unix_seconds(line.created),
    }
}

/// Finds the transfer of each line that has none yet, and books what only a line tells: fees, and payouts to our bank.
/// What a line is of is asked back when it was never told. Returns how the account over there and the books differ,
/// and raises the alarm about lines that are a day old.
///
/// # Errors
/// [`Error::Database`]; a line that can't be matched is looked at again later.
pub async fn tie_all(cards: &Cards, now: Timestamp) -> Result<Standing, Error> {
    loop {
        let open = stripe_lines::list_open(&mut *cards.db().acquire().await?, now, BATCH).await?;
        if open.is_empty() {
            break;
        }
        for line in &open {
            let error = match tie_or_look(cards, line).await {
                Ok(true) => continue,
                Ok(false) => None,
                Err(Error::Database(error)) => return Err(error.into()),
                Err(error) => Some(error),
            };
            stripe_lines::put_off(&mut *cards.db().acquire().await?, &line.id, now.plus(LOOK_AGAIN)).await?;
            let error = error.as_ref().map(tracing::field::display);
            tracing::info!(
                line.id,
                line.kind,
                line.source,
                error,
                "a line of the processor's account has no transfer yet"
            );
        }
    }
    let mut conn = cards.db().acquire().await?;
    let found = stripe_lines::standing(&mut conn, now.minus(LATE)).await?;
    let clearing = LedgerAccount::platform(AccountKind::StripeClearing);
    let ours = store::transfers::turnover(&mut conn, clearing).await?.balance(clearing.kind);
    drop(conn);
    let standing = Standing { late: found.late, difference_nano_usd: found.theirs - ours };
    metrics::gauge!("steelyard_billing_stripe_lines_unmatched").set(standing.late as f64);
    metrics::gauge!("steelyard_billing_clearing_difference_nano_usd").set(standing.difference_nano_usd as f64);
    if standing.late > 0 {
        let oldest = found.oldest.map(Timestamp::rfc3339);
        tracing::error!(
            lines = standing.late,
            oldest,
            "lines of the processor's account have no transfer: see `steelyard reconcile --stripe`"
        );
    }
    Ok(standing)
}

/// Brings the lines of one payout over, as far as there are any.
///
/// # Errors
/// As [`read`].
pub async fn payout(cards: &Cards, id: &str) -> Result<Synced, Error> {
    let list = cards.fetch(&ListBalanceTransaction::new().source(id).limit(list::PAGE)).await?;
    for line in list.data.iter().map(stored) {
        stripe_lines::insert(&mut *cards.db().acquire().await?, &line, cards.env().now()).await?;
        tie(cards, &line).await?;
    }
    Ok(Synced::Applied)
}

/// True once a line has its transfer. What it is of may never have been told, and is looked at then.
async fn tie_or_look(cards: &Cards, line: &Line) -> Result<bool, Error> {
    if tie(cards, line).await? {
        return Ok(true);
    }
    let Some(source) = line.source.as_deref() else { return Ok(false) };
    let looked = match movement(line) {
        Movement::Charge => sync::charge(cards, source).await?,
        Movement::Refund(_) => sync::refund(cards, source).await?,
        Movement::Dispute(_) => sync::dispute(cards, source).await?,
        Movement::Payout(_) | Movement::Fee | Movement::Other => Synced::Ignored,
    };
    if looked == Synced::Ignored { Ok(false) } else { tie(cards, line).await }
}

/// Ties a line to its transfer, when that is there and moved as much. False otherwise, and nothing is changed.
async fn tie(cards: &Cards, line: &Line) -> Result<bool, Error> {
    if line.currency != "usd" {
        return Ok(false);
    }
    let mut tx = cards.db().begin().await?;
    let source = line.source.clone().unwrap_or_default();
    let (clearing, bank) = (AccountKind::StripeClearing, AccountKind::Bank);
    let cause = match movement(line) {
        Movement::Charge => stripe_lines::find_payment(&mut tx, &source).await?.map(Cause::Payment),
        Movement::Refund(step) => {
            refunds::find_theirs(&mut tx, &source).await?.map(|refund| Cause::Refund(refund.id, step))
        }
        Movement::Dispute(step) => Some(Cause::Dispute(source, step)),
        Movement::Payout(step) => {
            let cause = Cause::Payout(source, step);
            book(&mut tx, cards, cause.clone(), [bank, clearing], -line.amount_cents).await?;
            Some(cause)
        }
        Movement::Fee => {
            let cause = Cause::ProcessorFee(line.id.clone());
            book(
                &mut tx,
                cards,
                cause.clone(),
                [AccountKind::StripeFees, clearing],
                line.fee_cents - line.amount_cents,
            )
            .await?;
            Some(cause)
        }
        Movement::Other => None,
    };
    let Some(cause) = cause else { return Ok(false) };
    if !matches!(cause, Cause::Dispute(..) | Cause::ProcessorFee(_)) {
        book_fee(&mut tx, cards, &line.id, line.fee_cents).await?;
    }
    if !stripe_lines::tie(&mut tx, &line.id, &cause).await? {
        return Ok(false);
    }
    tx.commit().await?;
    Ok(true)
}

/// Books cents from one of the platform's accounts to another, the other way round below zero; once.
async fn book(
    conn: &mut sqlx::PgConnection,
    cards: &Cards,
    cause: Cause,
    [debit, credit]: [AccountKind; 2],
    cents: i64,
) -> Result<(), Error> {
    let (debit, credit) = if cents < 0 { (credit, debit) } else { (debit, credit) };
    let amount = from_cents(cents.saturating_abs()).unwrap_or(NanoUsd::ZERO);
    let posting = Posting::new(LedgerAccount::platform(debit), LedgerAccount::platform(credit), amount);
    if let Some(posting) = posting {
        store::transfers::book(conn, &Transfer { id: cards.env().mint(), cause, postings: vec![posting] }).await?;
    }
    Ok(())
}

fn movement(line: &Line) -> Movement {
    match (line.kind.as_str(), line.category.as_str()) {
        ("charge" | "payment", _) => Movement::Charge,
        ("refund" | "payment_refund", _) => Movement::Refund(RefundStep::Paid),
        ("refund_failure", _) => Movement::Refund(RefundStep::Unpaid),
        ("adjustment", "dispute") => Movement::Dispute(DisputeStep::Withdrawn),
        ("adjustment", "dispute_reversal") => Movement::Dispute(DisputeStep::Reinstated),
        ("payout", _) => Movement::Payout(PayoutStep::Sent),
        ("payout_failure" | "payout_cancel", _) => Movement::Payout(PayoutStep::Returned),
        ("stripe_fee" | "stripe_fx_fee" | "tax_fee", _) => Movement::Fee,
        _ => Movement::Other,
    }
}

//! What a person decides about receipts, with what that does to the books.

use protocol::{CaseId, NanoUsd, Timestamp, TransferId};

use super::Receipts;
use crate::Error;
use crate::account::{AccountKind, LedgerAccount};
use crate::ledger::{Cause, Posting, Transfer};
use crate::store::receipt_cases::{self, Case, CaseKind};
use crate::store::{receipts, transfers};

/// Decides a case, once. A dispute that is upheld brings its provider `adjustment` on top, with the next epoch; fraud that
/// is upheld takes back what no epoch has yet.
///
/// # Errors
/// [`Error::NoCase`]; [`Error::Database`], as for an adjustment of a case that is no dispute.
pub async fn decide(
    receipts: &Receipts,
    case: CaseId,
    is_upheld: bool,
    adjustment: NanoUsd,
    now: Timestamp,
) -> Result<Case, Error> {
    let mut tx = receipts.db().begin().await?;
    let decided = receipt_cases::decide(&mut tx, case, is_upheld, adjustment, now).await?;
    let decided = decided.ok_or(Error::NoCase { case })?;
    let payable = LedgerAccount::payable(decided.provider);
    let posting = if is_upheld && decided.kind == CaseKind::Fraud.as_str() {
        let void = receipts::sum_unpaid(&mut tx, decided.provider, now).await?;
        Posting::new(payable, LedgerAccount::platform(AccountKind::ProviderCost), void)
    } else {
        Posting::new(LedgerAccount::platform(AccountKind::FaultCost), payable, adjustment)
    };
    if let Some(posting) = posting {
        let id: TransferId = receipts.env().mint();
        transfers::book(&mut tx, &Transfer { id, cause: Cause::Case(case), postings: vec![posting] }).await?;
    }
    tx.commit().await?;
    Ok(decided)
}

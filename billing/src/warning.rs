//! Early fraud warnings: what a card's issuer holds for fraud, before anybody disputes it.
//!
//! A refund now is cheaper than a dispute later. What was not spent goes back, once, and only if nothing else has
//! happened to the payment; whether the account is stopped, too, is the operator's choice.

use protocol::{NanoUsd, OrganizationId, Timestamp, TopupId};
use stripe_fraud::RadarEarlyFraudWarning as Theirs;

use crate::store::{self, refunds, warnings};
use crate::stripe::{Cards, WarningPolicy};
use crate::{Error, grant, refund};

/// What an issuer said of a payment, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FraudWarning {
    /// The processor's name for it.
    pub id: String,
    /// Whose payment it is.
    pub account: OrganizationId,
    /// For which top-up.
    pub topup: TopupId,
    /// The issuer's word for the fraud.
    pub kind: String,
    /// Whether anything was left to do: the payment was neither refunded nor disputed.
    pub is_actionable: bool,
    /// The credit sent back for it.
    pub refunded: NanoUsd,
    /// Whether the account was suspended for it.
    pub is_suspended: bool,
    /// When the issuer said it.
    pub warned_at: Timestamp,
    /// When it was first seen here.
    pub seen_at: Timestamp,
}

/// Writes a warning down and does what the operator wants done about it, once. Refunds are asked for after that; what
/// has no answer goes on beside.
///
/// # Errors
/// [`Error::Database`]; nothing is done then.
pub(crate) async fn note(cards: &Cards, theirs: &Theirs, intent: &str) -> Result<(), Error> {
    let (now, policy) = (cards.env().now(), cards.config().warning_policy);
    let mut tx = cards.db().begin().await?;
    let Some(account) = refunds::account_of(&mut tx, intent).await? else { return Ok(()) };
    grant::burn(&mut tx, account).await?;
    let Some(purchase) = refunds::find_purchase(&mut tx, intent).await? else { return Ok(()) };
    if warnings::find(&mut tx, theirs.id.as_str()).await?.is_some() {
        return Ok(());
    }
    let parts = if theirs.actionable && policy.refunds() {
        refund::take_rest(&mut tx, cards, account, purchase.topup).await?
    } else {
        Vec::new()
    };
    let is_suspended = policy.suspends() && store::accounts::set_suspended(&mut tx, account, true).await?;
    let warning = FraudWarning {
        id: theirs.id.to_string(),
        account,
        topup: purchase.topup,
        kind: theirs.fraud_type.clone(),
        is_actionable: theirs.actionable,
        refunded: parts.iter().fold(NanoUsd::ZERO, |sum, part| sum.saturating_add(part.credit)),
        is_suspended,
        warned_at: Timestamp::from_unix_seconds(theirs.created),
        seen_at: now,
    };
    warnings::insert(&mut tx, &warning).await?;
    tx.commit().await?;
    metrics::counter!("steelyard_billing_fraud_warnings").increment(1);
    tracing::error!(
        warning.id, account.id = %account, topup.id = %warning.topup, kind = warning.kind, refunded = %warning.refunded,
        is_suspended, "a card's issuer holds a payment for fraud"
    );
    refund::send_all(cards, parts).await;
    Ok(())
}

impl WarningPolicy {
    const fn refunds(self) -> bool {
        matches!(self, Self::Refund | Self::RefundAndSuspend)
    }

    const fn suspends(self) -> bool {
        matches!(self, Self::Suspend | Self::RefundAndSuspend)
    }
}

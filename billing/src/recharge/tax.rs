//! The tax of a charge nobody is asked about: worked out before it, recorded for the state once it is paid.

use protocol::{Id, TopupId};

use super::reread;
use crate::Error;
use crate::store::{stripe_calls, topups};
use crate::stripe::tax::{CalculateTax, RecordTax};
use crate::stripe::{Call, Cards, cents, from_cents};
use crate::topup::Topup;

/// The top-up with its tax worked out, where tax is added.
pub(super) async fn taxed(cards: &Cards, topup: Topup, customer: &str) -> Result<Topup, Error> {
    if !cards.config().has_tax || topup.tax_calculation.is_some() {
        return Ok(topup);
    }
    let call = Call { purpose: "tax", subject: topup.id.uuid() };
    let request = CalculateTax::new(customer, cents(topup.amount).unwrap_or(0), topup.id.to_string());
    let made = match cards.make(call, &request).await {
        Ok(made) => made,
        Err(Error::CardUnknown { key }) => {
            // Working it out twice does no harm.
            cards.lapse(&key, true).await?;
            return Err(Error::CardUnknown { key });
        }
        Err(error) => return Err(error),
    };
    let (id, tax) = (&made.id, made.tax_amount_exclusive);
    let tax = from_cents(tax).ok_or_else(|| Error::PaymentDiffers {
        payment: topup.id.to_string(),
        reason: format!("its tax is {tax} cents"),
    })?;
    let mut tx = cards.db().begin().await?;
    topups::set_tax(&mut tx, topup.id, id, tax).await?;
    stripe_calls::done(&mut tx, call, id).await?;
    tx.commit().await?;
    reread(cards, topup.id).await
}

/// Records the tax of a charge that was paid, once.
///
/// # Errors
/// What the processor says; [`Error::Database`].
pub(crate) async fn record_tax(cards: &Cards, topup: TopupId) -> Result<(), Error> {
    let topup = reread(cards, topup).await?;
    let Some(calculation) = &topup.tax_calculation else { return Ok(()) };
    let call = Call { purpose: "tax_record", subject: topup.id.uuid() };
    let made = match cards.make(call, &RecordTax::new(calculation, topup.id.to_string())).await {
        Ok(made) => made,
        Err(Error::CardRefused { code, message }) => {
            // The books have the tax. A day after an answer was lost this may also be the second time: a reference is
            // recorded once, and there is no list to look it up in.
            tracing::error!(
                topup.id = %topup.id,
                code,
                message,
                "the tax of a charge could not be recorded: look for the top-up's id in the processor's report of tax, \
                 and add its line if there is none"
            );
            topups::set_tax_record(&mut *cards.db().acquire().await?, topup.id, "refused").await?;
            return Ok(());
        }
        Err(Error::CardUnknown { key }) => {
            // One reference is recorded once, whatever the key.
            cards.lapse(&key, false).await?;
            return Err(Error::CardUnknown { key });
        }
        Err(error) => return Err(error),
    };
    let mut tx = cards.db().begin().await?;
    topups::set_tax_record(&mut tx, topup.id, &made.id).await?;
    stripe_calls::done(&mut tx, call, &made.id).await?;
    tx.commit().await?;
    Ok(())
}

//! Tax on what is charged without a page: worked out before, recorded for the state once it is paid.
//!
//! Written by hand after the processor's published interface: its client keeps these two calls in a package with a
//! hundred others, which would be compiled for them. The tests compile it, and hold both against each other.

use miniserde::Deserialize;
use serde::Serialize;
use stripe_client_core::{RequestBuilder, StripeMethod, StripeRequest};

/// Works out the tax that comes on top of an amount.
#[derive(Debug, Serialize)]
pub(crate) struct CalculateTax {
    currency: &'static str,
    customer: String,
    line_items: [Line; 1],
}

#[derive(Debug, Serialize)]
struct Line {
    /// In cents.
    amount: i64,
    reference: String,
}

/// What was worked out.
#[derive(Debug, Deserialize)]
pub(crate) struct TaxCalculation {
    pub id: String,
    /// On top of the amount, in cents.
    pub tax_amount_exclusive: i64,
}

/// Records what was worked out, once for each reference.
#[derive(Debug, Serialize)]
pub(crate) struct RecordTax {
    calculation: String,
    reference: String,
}

/// The record.
#[derive(Debug, Deserialize)]
pub(crate) struct TaxTransaction {
    pub id: String,
}

impl CalculateTax {
    pub(crate) fn new(customer: &str, cents: i64, reference: String) -> Self {
        Self { currency: "usd", customer: customer.to_owned(), line_items: [Line { amount: cents, reference }] }
    }
}

impl RecordTax {
    pub(crate) fn new(calculation: &str, reference: String) -> Self {
        Self { calculation: calculation.to_owned(), reference }
    }
}

impl StripeRequest for CalculateTax {
    type Output = TaxCalculation;

    fn build(&self) -> RequestBuilder {
        RequestBuilder::new(StripeMethod::Post, "/tax/calculations").form(self)
    }
}

impl StripeRequest for RecordTax {
    type Output = TaxTransaction;

    fn build(&self) -> RequestBuilder {
        RequestBuilder::new(StripeMethod::Post, "/tax/transactions/create_from_calculation").form(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stripe_misc::tax_calculation::{CreateTaxCalculation, CreateTaxCalculationLineItems};
    use stripe_misc::tax_transaction::CreateFromCalculationTaxTransaction;

    fn asked(request: &impl StripeRequest) -> (String, Option<String>) {
        let built = request.build();
        (built.path, built.body)
    }

    #[test]
    fn tax_is_asked_for_as_the_processors_own_client_asks() {
        let line = CreateTaxCalculationLineItems {
            reference: Some("one".to_owned()),
            ..CreateTaxCalculationLineItems::new(2_000)
        };
        let theirs = CreateTaxCalculation::new(stripe_types::Currency::USD, vec![line]).customer("cus_1");
        assert_eq!(asked(&CalculateTax::new("cus_1", 2_000, "one".to_owned())), asked(&theirs));
        let theirs = CreateFromCalculationTaxTransaction::new("taxcalc_1", "one");
        assert_eq!(asked(&RecordTax::new("taxcalc_1", "one".to_owned())), asked(&theirs));
    }
}

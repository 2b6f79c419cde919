//! Tax without a page, in the shapes Stripe's own client knows.

use stripe_core::customer::CreateCustomer;
use stripe_misc::tax_calculation::{CreateTaxCalculation, CreateTaxCalculationLineItems};
use stripe_misc::tax_transaction::CreateFromCalculationTaxTransaction;
use stripe_types::Currency;

use crate::support::{World, refusal};

#[tokio::test]
async fn tax_is_worked_out_on_top_and_recorded_once_for_a_reference() {
    let world = World::new().await;
    world.fake.turn(|knobs| knobs.tax_bps = 825);
    let customer = CreateCustomer::new().send(&world.client).await.unwrap();
    let line = CreateTaxCalculationLineItems {
        reference: Some("one".to_owned()),
        ..CreateTaxCalculationLineItems::new(2_002)
    };
    let calculation = CreateTaxCalculation::new(Currency::USD, vec![line]).customer(customer.id.as_str());
    let calculation = calculation.send(&world.client).await.unwrap();
    // 165.165 cents.
    assert_eq!((calculation.tax_amount_exclusive, calculation.amount_total), (165, 2_167));
    assert_eq!(calculation.customer.as_deref(), Some(customer.id.as_str()));
    let id = calculation.id.unwrap().to_string();
    let record = || CreateFromCalculationTaxTransaction::new(id.clone(), "topup_1");
    assert_eq!(record().send(&world.client).await.unwrap().reference, "topup_1");
    let (status, error) = refusal(record().send(&world.client).await);
    assert_eq!((status, error.param.as_deref()), (400, Some("reference")));
}

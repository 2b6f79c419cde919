//! Cards that are saved, and charged while their holder is away.

use stripe_core::payment_intent::{
    CancelPaymentIntent, ConfirmPaymentIntent, CreatePaymentIntent, CreatePaymentIntentOffSession,
    RetrievePaymentIntent,
};
use stripe_core::setup_intent::{ConfirmSetupIntent, CreateSetupIntent, RetrieveSetupIntent};
use stripe_payment::payment_method::{AttachPaymentMethod, DetachPaymentMethod, RetrievePaymentMethod};
use stripe_shared::{Customer, PaymentIntentStatus, SetupIntentStatus};
use stripe_types::Currency;

use crate::support::{World, post, refusal};

/// A charge of 20 dollars while nobody is there.
fn charge(customer: &Customer, card: &str) -> CreatePaymentIntent {
    CreatePaymentIntent::new(2_000, Currency::USD)
        .customer(customer.id.as_str())
        .payment_method(card)
        .confirm(true)
        .off_session(CreatePaymentIntentOffSession::Bool(true))
}

#[tokio::test]
async fn a_card_set_up_by_an_intent_pays_off_session() {
    let world = World::new().await;
    let customer = world.customer().await;
    let setup = CreateSetupIntent::new().customer(customer.id.as_str()).send(&world.client).await.unwrap();
    assert_eq!(setup.status, SetupIntentStatus::RequiresPaymentMethod);
    let confirm = ConfirmSetupIntent::new(&setup.id).payment_method("pm_card_authenticationRequired");
    let asked = confirm.send(&world.client).await.unwrap();
    assert_eq!(asked.status, SetupIntentStatus::RequiresAction);
    let bank = asked.next_action.unwrap().redirect_to_url.unwrap().url.unwrap();
    assert_eq!(post(&bank, "result=complete").await.status, 200);
    let setup = RetrieveSetupIntent::new(&setup.id).send(&world.client).await.unwrap();
    assert_eq!(setup.status, SetupIntentStatus::Succeeded);
    let card = setup.payment_method.unwrap().into_id();
    let saved = RetrievePaymentMethod::new(card.clone()).send(&world.client).await.unwrap();
    assert_eq!(saved.card.unwrap().last4, "3155");
    assert_eq!(saved.customer.unwrap().id(), &customer.id);

    let paid = charge(&customer, card.as_str()).send(&world.client).await.unwrap();
    assert_eq!((paid.status, paid.amount_received), (PaymentIntentStatus::Succeeded, 2_000));
}

#[tokio::test]
async fn a_decline_is_402_with_its_code_and_the_intent_stays_open() {
    let world = World::new().await;
    let customer = world.customer().await;
    for (card, code, word) in [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_authenticationRequired", "authentication_required", "authentication_required"),
    ] {
        let (status, error) = refusal(charge(&customer, card).send(&world.client).await);
        assert_eq!((status, error.code.unwrap().as_str()), (402, code));
        assert_eq!(error.decline_code.as_deref(), Some(word));
        let intent = error.payment_intent.unwrap();
        let intent = RetrievePaymentIntent::new(intent.id).send(&world.client).await.unwrap();
        assert_eq!((intent.status, intent.amount_received), (PaymentIntentStatus::RequiresPaymentMethod, 0));
        let again = ConfirmPaymentIntent::new(intent.id).payment_method("pm_card_visa");
        assert_eq!(again.send(&world.client).await.unwrap().status, PaymentIntentStatus::Succeeded);
    }
}

#[tokio::test]
async fn an_intent_with_its_holder_present_asks_and_can_be_given_up() {
    let world = World::new().await;
    let intent = CreatePaymentIntent::new(2_000, Currency::USD).payment_method("pm_card_authenticationRequiredAlways");
    let asked = intent.confirm(true).send(&world.client).await.unwrap();
    assert_eq!(asked.status, PaymentIntentStatus::RequiresAction);
    let gone = CancelPaymentIntent::new(&asked.id).send(&world.client).await.unwrap();
    assert_eq!(gone.status, PaymentIntentStatus::Canceled);
    let (status, error) = refusal(ConfirmPaymentIntent::new(&asked.id).send(&world.client).await);
    assert_eq!((status, error.code.unwrap().as_str()), (400, "payment_intent_unexpected_state"));
    let (status, error) = refusal(CreatePaymentIntent::new(20, Currency::USD).send(&world.client).await);
    assert_eq!((status, error.code.unwrap().as_str()), (400, "amount_too_small"));
    let (status, _) = refusal(CreatePaymentIntent::new(2_000, Currency::EUR).send(&world.client).await);
    assert_eq!(status, 400);
}

#[tokio::test]
async fn a_card_belongs_to_one_customer_until_it_is_detached() {
    let world = World::new().await;
    let (one, other) = (world.customer().await, world.customer().await);
    let attached =
        AttachPaymentMethod::new("pm_card_visa").customer(one.id.as_str()).send(&world.client).await.unwrap();
    let theirs = AttachPaymentMethod::new(attached.id.as_str()).customer(other.id.as_str());
    assert_eq!(refusal(theirs.send(&world.client).await).0, 400);
    let free = DetachPaymentMethod::new(attached.id.as_str()).send(&world.client).await.unwrap();
    assert!(free.customer.is_none());
    assert!(theirs.send(&world.client).await.is_ok());
}

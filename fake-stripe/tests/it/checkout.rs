//! A session from its page to its papers.

use std::time::Duration;

use stripe_billing::invoice::RetrieveInvoice;
use stripe_checkout::checkout_session::{
    CreateCheckoutSession, CreateCheckoutSessionSetupIntentData, ExpireCheckoutSession, RetrieveCheckoutSession,
};
use stripe_core::charge::RetrieveCharge;
use stripe_core::payment_intent::RetrievePaymentIntent;
use stripe_core::setup_intent::RetrieveSetupIntent;
use stripe_shared::{CheckoutSessionMode, CheckoutSessionPaymentStatus, CheckoutSessionStatus, PaymentIntentStatus};

use crate::support::{World, get, post, refusal, session_request};

#[tokio::test]
async fn a_session_paid_at_its_page_leaves_money_a_receipt_and_an_invoice() {
    let world = World::new().await;
    world.fake.turn(|knobs| knobs.tax_bps = 800);
    let customer = world.customer().await;
    let session = world.session(&customer, 5_000).await;
    let url = session.url.clone().unwrap();
    assert_eq!((session.amount_subtotal, session.amount_total), (Some(5_000), Some(5_400)));
    assert!(session.payment_intent.is_none());
    assert_eq!(get(&url).await.status, 200);

    let paid = post(&url, "card=4242424242424242").await;
    assert_eq!(paid.location.unwrap(), format!("https://example.com/done?session={}", session.id));
    let session = RetrieveCheckoutSession::new(&session.id)
        .expand(["payment_intent.latest_charge".to_owned()])
        .send(&world.client)
        .await
        .unwrap();
    assert_eq!(session.status, Some(CheckoutSessionStatus::Complete));
    assert_eq!(session.payment_status, CheckoutSessionPaymentStatus::Paid);
    assert_eq!(session.total_details.unwrap().amount_tax, 400);
    let intent = session.payment_intent.unwrap().into_object().unwrap();
    assert_eq!((intent.status, intent.amount_received), (PaymentIntentStatus::Succeeded, 5_400));
    assert_eq!(intent.metadata["topup_id"], "t1");
    let charge = intent.latest_charge.unwrap().into_object().unwrap();
    assert_eq!(get(&charge.receipt_url.unwrap()).await.status, 200);
    let invoice = session.invoice.unwrap().into_id().unwrap();
    let invoice = RetrieveInvoice::new(invoice).send(&world.client).await.unwrap();
    assert_eq!((invoice.total, invoice.subtotal), (5_400, 5_000));
    assert!(get(&invoice.invoice_pdf.unwrap()).await.body.starts_with(b"%PDF-"));

    let told = world.told().await;
    for kind in ["charge.succeeded", "payment_intent.succeeded", "invoice.paid", "checkout.session.completed"] {
        assert!(told.iter().any(|one| one == kind), "{kind} in {told:?}");
    }
    assert_eq!(post(&url, "card=4242424242424242").await.status, 400, "it is paid once");
}

#[tokio::test]
async fn a_declined_card_leaves_the_session_open_for_another() {
    let world = World::new().await;
    let session = world.session(&world.customer().await, 5_000).await;
    let url = session.url.clone().unwrap();
    let declined = post(&url, "card=4000000000000002").await;
    assert_eq!(declined.status, 402);
    assert!(String::from_utf8_lossy(&declined.body).contains("generic_decline"));
    assert_eq!(post(&url, "card=4242424242424242").await.status, 303);
    let told = world.told().await;
    assert_eq!(told.iter().filter(|kind| *kind == "payment_intent.created").count(), 1, "one intent for both tries");
    assert!(told.iter().any(|kind| kind == "payment_intent.payment_failed"));
}

#[tokio::test]
async fn three_d_secure_asks_before_it_pays_and_may_be_failed() {
    let world = World::new().await;
    let session = world.session(&world.customer().await, 5_000).await;
    let url = session.url.clone().unwrap();
    let bank = post(&url, "card=4000002760003184").await.location.unwrap();
    let failed = post(&bank, "result=fail").await;
    assert_eq!(failed.status, 402);
    let bank = post(&url, "card=4000002760003184").await.location.unwrap();
    assert_eq!(get(&bank).await.status, 200);
    assert!(post(&bank, "result=complete").await.location.unwrap().starts_with("https://example.com/done"));
    let intent = bank.rsplit_once('/').unwrap().1;
    let intent = RetrievePaymentIntent::new(intent).send(&world.client).await.unwrap();
    assert_eq!(intent.status, PaymentIntentStatus::Succeeded);
    assert_eq!(intent.amount_received, 5_000);
    let charge = RetrieveCharge::new(intent.latest_charge.unwrap().into_id()).send(&world.client).await.unwrap();
    assert!(charge.paid);
}

#[tokio::test]
async fn a_session_closes_when_told_and_when_its_time_is_over() {
    let world = World::new().await;
    let customer = world.customer().await;
    let told = world.session(&customer, 5_000).await;
    let closed = ExpireCheckoutSession::new(&told.id).send(&world.client).await.unwrap();
    assert_eq!(closed.status, Some(CheckoutSessionStatus::Expired));
    let (status, _) = refusal(ExpireCheckoutSession::new(&told.id).send(&world.client).await);
    assert_eq!(status, 400);

    let left = world.session(&customer, 5_000).await;
    world.clock.advance(Duration::from_secs(24 * 3_600));
    assert_eq!(post(&left.url.unwrap(), "card=4242424242424242").await.status, 400);
    let left = RetrieveCheckoutSession::new(&left.id).send(&world.client).await.unwrap();
    assert_eq!(left.status, Some(CheckoutSessionStatus::Expired));
    let told = world.told().await;
    assert_eq!(told.iter().filter(|kind| *kind == "checkout.session.expired").count(), 2);
    assert!(!told.iter().any(|kind| kind == "payment_intent.succeeded"));
}

#[tokio::test]
async fn what_stripe_would_not_take_is_refused_with_the_field_named() {
    let world = World::new().await;
    let customer = world.customer().await;
    let (status, error) = refusal(session_request(&customer, -5).send(&world.client).await);
    assert_eq!((status, error.param.as_deref()), (400, Some("line_items[0][price_data][unit_amount]")));
    let soon = session_request(&customer, 500).expires_at(crate::support::START + 60);
    let (status, error) = refusal(soon.send(&world.client).await);
    assert_eq!((status, error.param.as_deref()), (400, Some("expires_at")));
    let nobody = session_request(&customer, 500).customer("cus_nobody");
    let (status, error) = refusal(nobody.send(&world.client).await);
    assert_eq!((status, error.param.as_deref()), (400, Some("customer")));
    let (status, _) = refusal(RetrieveCheckoutSession::new("pi_1").send(&world.client).await);
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_session_that_saves_a_card_takes_no_money_and_may_ask_the_bank() {
    let world = World::new().await;
    let customer = world.customer().await;
    let metadata = std::collections::HashMap::from([("card_setup_id".to_owned(), "s1".to_owned())]);
    let intent = CreateCheckoutSessionSetupIntentData {
        metadata: Some(metadata.clone()),
        ..CreateCheckoutSessionSetupIntentData::new()
    };
    let request = CreateCheckoutSession::new()
        .mode(CheckoutSessionMode::Setup)
        .customer(customer.id.as_str())
        .setup_intent_data(intent)
        .metadata(metadata)
        .success_url("https://example.com/done");
    let session = request.send(&world.client).await.unwrap();
    let url = session.url.clone().unwrap();
    assert_eq!(get(&url).await.status, 200);
    assert_eq!(post(&url, "card=4000000000000002").await.status, 402);
    let bank = post(&url, "card=4000002760003184").await.location.unwrap();
    assert_eq!(post(&bank, "result=complete").await.location.as_deref(), Some("https://example.com/done"));
    let session = RetrieveCheckoutSession::new(&session.id).send(&world.client).await.unwrap();
    assert_eq!(session.status, Some(CheckoutSessionStatus::Complete));
    assert_eq!(session.payment_status, CheckoutSessionPaymentStatus::NoPaymentRequired);
    let setup = session.setup_intent.unwrap().into_id();
    let setup = RetrieveSetupIntent::new(setup).expand(["payment_method".to_owned()]);
    let setup = setup.send(&world.client).await.unwrap();
    assert_eq!(setup.metadata.unwrap()["card_setup_id"], "s1");
    let card = setup.payment_method.unwrap().into_object().unwrap();
    assert_eq!((card.card.unwrap().last4.as_str(), card.customer.unwrap().id()), ("3184", &customer.id));
    let told = world.told().await;
    assert!(told.iter().any(|kind| kind == "setup_intent.succeeded"));
    assert!(!told.iter().any(|kind| kind.starts_with("payment_intent") || kind.starts_with("invoice")));
}

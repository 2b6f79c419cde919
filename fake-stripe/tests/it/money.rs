//! Money that goes back, by our will or by a bank's.

use stripe_core::balance_transaction::ListBalanceTransaction;
use stripe_core::charge::RetrieveCharge;
use stripe_core::dispute::{RetrieveDispute, UpdateDispute};
use stripe_core::payment_intent::CreatePaymentIntent;
use stripe_core::refund::{CreateRefund, RetrieveRefund};
use stripe_fraud::radar_early_fraud_warning::RetrieveRadarEarlyFraudWarning;
use stripe_shared::{Charge, DisputeStatus};
use stripe_types::Currency;

use fake_stripe::RefundsGo;
use fake_stripe::objects::{disputes, payouts, refunds, warnings};

use crate::support::{World, refusal};

async fn paid(world: &World, cents: i64) -> Charge {
    let intent = CreatePaymentIntent::new(cents, Currency::USD).payment_method("pm_card_visa").confirm(true);
    let intent = intent.send(&world.client).await.unwrap();
    RetrieveCharge::new(intent.latest_charge.unwrap().into_id()).send(&world.client).await.unwrap()
}

/// What the movements come to: amounts and fees.
async fn balance(world: &World) -> (i64, i64) {
    let lines = ListBalanceTransaction::new().limit(100).send(&world.client).await.unwrap().data;
    assert!(lines.iter().all(|line| line.net == line.amount - line.fee));
    lines.iter().fold((0, 0), |(amount, fee), line| (amount + line.amount, fee + line.fee))
}

#[tokio::test]
async fn a_refund_never_passes_what_the_charge_carries() {
    let world = World::new().await;
    let charge = paid(&world, 5_000).await;
    assert_eq!(balance(&world).await, (5_000, 175), "2.9 % and 30 cents");
    let refund = |cents: i64| CreateRefund::new().charge(charge.id.as_str()).amount(cents);
    let first = refund(3_000).send(&world.client).await.unwrap();
    assert_eq!(first.status.as_deref(), Some("succeeded"));
    let (status, error) = refusal(refund(2_001).send(&world.client).await);
    assert_eq!((status, error.param.as_deref()), (400, Some("amount")));
    assert!(refund(2_000).send(&world.client).await.is_ok());
    let (_, error) = refusal(refund(1).send(&world.client).await);
    assert_eq!(error.code.unwrap().as_str(), "charge_already_refunded");
    assert_eq!(balance(&world).await, (0, 175), "the fee is not given back");
    let charge = RetrieveCharge::new(&charge.id).send(&world.client).await.unwrap();
    assert!(charge.refunded && charge.amount_refunded == 5_000);
}

#[tokio::test]
async fn a_pending_refund_may_come_back() {
    let world = World::new().await;
    world.fake.turn(|knobs| knobs.refunds = RefundsGo::Pending);
    let charge = paid(&world, 5_000).await;
    let refund = CreateRefund::new().charge(charge.id.as_str()).send(&world.client).await.unwrap();
    assert_eq!(refund.status.as_deref(), Some("pending"));
    world.fake.with(|books| refunds::settle(books, refund.id.as_str(), false)).unwrap();
    let refund = RetrieveRefund::new(&refund.id).send(&world.client).await.unwrap();
    assert_eq!((refund.status.as_deref(), refund.failure_balance_transaction.is_some()), (Some("failed"), true));
    assert_eq!(balance(&world).await.0, 5_000);
    assert!(world.told().await.iter().any(|kind| kind == "refund.failed"));
    assert!(CreateRefund::new().charge(charge.id.as_str()).send(&world.client).await.is_ok(), "it can be tried again");
}

#[tokio::test]
async fn a_dispute_takes_the_money_and_gives_it_back_when_won() {
    let world = World::new().await;
    for (is_won, left) in [(true, (5_000, 175)), (false, (5_000, 175 + 175 + 1_500))] {
        let charge = paid(&world, 5_000).await;
        let opened = world.fake.with(|books| disputes::open(books, charge.id.as_str(), None, "fraudulent")).unwrap();
        let id = opened["id"].as_str().unwrap();
        let dispute = RetrieveDispute::new(id).send(&world.client).await.unwrap();
        assert_eq!((dispute.amount, dispute.balance_transactions[0].net), (5_000, -6_500));
        let (_, error) = refusal(CreateRefund::new().charge(charge.id.as_str()).send(&world.client).await);
        assert_eq!(error.code.unwrap().as_str(), "charge_disputed");
        let answered = UpdateDispute::new(id).submit(true).send(&world.client).await.unwrap();
        assert_eq!(answered.status, DisputeStatus::UnderReview);
        world.fake.with(|books| disputes::close(books, id, is_won)).unwrap();
        assert_eq!(balance(&world).await, left);
    }
    let told = world.told().await;
    let count = |kind: &str| told.iter().filter(|one| *one == kind).count();
    assert_eq!(count("charge.dispute.closed"), 2);
    assert_eq!((count("charge.dispute.funds_withdrawn"), count("charge.dispute.funds_reinstated")), (2, 1));
}

#[tokio::test]
async fn an_inquiry_takes_money_once_it_is_a_dispute_and_parts_are_disputed_apart() {
    let world = World::new().await;
    let charge = paid(&world, 5_000).await;
    let asked = world.fake.with(|books| disputes::inquire(books, charge.id.as_str(), Some(1_000), "general")).unwrap();
    let id = asked["id"].as_str().unwrap();
    assert_eq!(balance(&world).await, (5_000, 175));
    assert!(CreateRefund::new().charge(charge.id.as_str()).amount(500).send(&world.client).await.is_ok());
    world.fake.with(|books| disputes::escalate(books, id)).unwrap();
    assert_eq!(balance(&world).await, (5_000 - 500 - 1_000, 175 + 1_500));
    let dispute = RetrieveDispute::new(id).send(&world.client).await.unwrap();
    assert_eq!((dispute.status, dispute.is_charge_refundable), (DisputeStatus::NeedsResponse, false));
    let more = |cents| world.fake.with(|books| disputes::open(books, charge.id.as_str(), Some(cents), "duplicate"));
    assert!(more(3_501).is_err(), "never more than the charge carries");
    assert!(more(3_500).is_ok());
}

#[tokio::test]
async fn a_payout_leaves_the_balance_and_comes_back_when_the_bank_will_not_have_it() {
    let world = World::new().await;
    paid(&world, 5_000).await;
    assert!(world.fake.with(|books| payouts::send(books, 5_000)).is_err(), "more than is there");
    let sent = world.fake.with(|books| payouts::send(books, 4_000)).unwrap();
    let id = sent["id"].as_str().unwrap();
    assert_eq!(balance(&world).await.0, 1_000);
    world.fake.with(|books| payouts::fail(books, id)).unwrap();
    assert!(world.fake.with(|books| payouts::fail(books, id)).is_err());
    let lines = ListBalanceTransaction::new().source(id).send(&world.client).await.unwrap().data;
    let kinds: Vec<_> = lines.iter().map(|line| (line.type_.as_str(), line.amount)).collect();
    assert_eq!(kinds, [("payout_failure", 4_000), ("payout", -4_000)]);
}

#[tokio::test]
async fn an_issuer_warns_of_fraud() {
    let world = World::new().await;
    let charge = paid(&world, 5_000).await;
    let warned = world.fake.with(|books| warnings::warn(books, charge.id.as_str())).unwrap();
    let found = RetrieveRadarEarlyFraudWarning::new(warned["id"].as_str().unwrap()).send(&world.client).await.unwrap();
    assert_eq!((found.actionable, found.charge.id()), (true, &charge.id));
    assert!(world.told().await.iter().any(|kind| kind == "radar.early_fraud_warning.created"));
}

#[tokio::test]
async fn lists_come_in_pages_newest_first() {
    let world = World::new().await;
    for _ in 0..3 {
        paid(&world, 1_000).await;
    }
    let first = ListBalanceTransaction::new().limit(2).send(&world.client).await.unwrap();
    assert!(first.has_more && first.data[0].id > first.data[1].id);
    let rest = ListBalanceTransaction::new().starting_after(first.data[1].id.as_str());
    let rest = rest.send(&world.client).await.unwrap();
    assert_eq!((rest.data.len(), rest.has_more), (1, false));
}

//! Payments cardholders want back.

use billing::account::LedgerAccount;
use billing::dispute::DisputeState;
use billing::refund::{self, RefundState};
use billing::stripe::DisputePolicy;
use billing::{Billing, Error, Outcome};
use fake_stripe::objects;
use protocol::{NanoUsd, ProviderId};

use crate::cards::support::{Shop, account, usd};
use crate::fixture::{ask, id, nano, post, quiet, settlement};

/// What a dispute costs, in cents.
const FEE: i64 = objects::balance::DISPUTE_FEE;

#[tokio::test]
async fn a_disputed_purchase_is_frozen_and_its_money_is_owed_by_the_bank() {
    let shop = Shop::open().await;
    let topup = shop.bought(50).await;
    let before = shop.ledger().await;
    let dispute = shop.dispute(&topup, None);
    shop.hear_all().await;
    let ledger = shop.ledger().await;
    assert_eq!((ledger["credits"], ledger["available"]), (5_000, 0), "it is the account's, and out of its reach");
    assert_eq!((ledger["dispute_receivable"], ledger["dispute_fees"]), (5_400, FEE));
    let known = shop.find_dispute(&dispute).await;
    assert_eq!((known.state, known.frozen, known.credit), (DisputeState::Open, usd(50), usd(50)));
    let credits = billing::store::views::credits(&mut shop.db.acquire().await.unwrap(), account()).await.unwrap();
    assert_eq!(credits.total_credits, NanoUsd::ZERO, "nobody is shown what they can't spend");
    shop.assert_green().await;

    shop.decide(&dispute, true);
    shop.hear_all().await;
    assert_eq!(shop.ledger().await, before, "won, it leaves no trace");
    assert_eq!(shop.find_dispute(&dispute).await.state, DisputeState::Won);
    shop.assert_green().await;
}

#[tokio::test]
async fn a_lost_dispute_takes_what_is_left_and_providers_keep_what_they_earned() {
    let shop = Shop::open().await;
    let topup = shop.bought(50).await;
    let price = post(&shop.db, &shop.env).await;
    let billing = Billing::start(shop.db.pool().clone(), shop.env.clone(), quiet(), "one").await.unwrap();
    let hold = billing.hold(ask(&shop.env, account(), 3_000_000_000)).await.unwrap();
    hold.settle(settlement(&shop.env, &price, Outcome::Completed, 2_000_000_000)).await;
    billing.stop().await.unwrap();
    let payable = LedgerAccount::payable(id::<ProviderId>(5));
    assert_eq!(shop.balance(payable).await, 2_000_000_000);

    let dispute = shop.dispute(&topup, None);
    shop.hear_all().await;
    shop.assert_green().await;
    shop.decide(&dispute, false);
    shop.hear_all().await;
    let ledger = shop.ledger().await;
    assert_eq!((ledger["credits"], ledger["available"], ledger["receivable"]), (0, 0, 0));
    assert_eq!((ledger["dispute_receivable"], ledger["dispute_loss"], ledger["dispute_fees"]), (0, 600, FEE));
    assert_eq!(shop.balance(payable).await, 2_000_000_000, "what was earned stays earned");
    let known = shop.find_dispute(&dispute).await;
    assert_eq!((known.taken, known.lost), (usd(48), usd(6)));
    shop.assert_green().await;
}

#[tokio::test]
async fn parts_of_one_payment_are_disputed_and_decided_apart() {
    let shop = Shop::open().await;
    let topup = shop.bought(50).await;
    let (lost, won) = (shop.dispute(&topup, Some(1_080)), shop.dispute(&topup, Some(2_160)));
    shop.hear_all().await;
    let ledger = shop.ledger().await;
    assert_eq!((ledger["available"], ledger["dispute_receivable"]), (2_000, 3_240));
    shop.decide(&lost, false);
    shop.hear_all().await;
    shop.assert_green().await;
    shop.decide(&won, true);
    shop.hear_all().await;
    let ledger = shop.ledger().await;
    assert_eq!((ledger["credits"], ledger["available"]), (4_000, 4_000));
    assert_eq!((ledger["dispute_receivable"], ledger["dispute_loss"]), (0, 80), "its tax is not the customer's credit");
    shop.assert_green().await;
}

#[tokio::test]
async fn a_disputed_purchase_is_not_refunded_and_one_refunded_before_is_disputed_for_the_rest() {
    let shop = Shop::open().await;
    let topup = shop.bought(50).await;
    let part = refund::request(&shop.cards, account(), None, usd(20)).await.unwrap().remove(0);
    assert_eq!(part.state, RefundState::Succeeded);
    shop.clock.advance(std::time::Duration::from_secs(1));
    let dispute = shop.dispute(&topup, Some(1_080));
    shop.hear_all().await;
    let ledger = shop.ledger().await;
    assert_eq!((ledger["credits"], ledger["available"]), (3_000, 2_000));
    let refused = refund::request(&shop.cards, account(), None, usd(5)).await;
    assert!(matches!(refused, Err(Error::NotRefundable { left: NanoUsd::ZERO, .. })), "{refused:?}");
    shop.decide(&dispute, true);
    shop.hear_all().await;
    let part = refund::request(&shop.cards, account(), None, usd(30)).await.unwrap().remove(0);
    assert_eq!(part.state, RefundState::Succeeded);
    shop.hear_all().await;
    assert_eq!(shop.ledger().await["credits"], 0);
    shop.assert_green().await;
}

#[tokio::test]
async fn an_inquiry_moves_no_money_until_it_becomes_a_dispute() {
    let shop = Shop::open().await;
    let topup = shop.bought(50).await;
    let before = shop.ledger().await;
    let charge = shop.charge_of(&topup);
    let asked = shop.fake.with(|books| objects::disputes::inquire(books, &charge, None, "general")).unwrap();
    let dispute = asked["id"].as_str().unwrap();
    shop.hear_all().await;
    assert_eq!(shop.ledger().await, before);
    assert_eq!(shop.find_dispute(dispute).await.state, DisputeState::Inquiry);
    assert!(refund::request(&shop.cards, account(), None, usd(10)).await.is_ok(), "a refund may settle it");
    shop.fake.with(|books| objects::disputes::escalate(books, dispute)).unwrap();
    shop.hear_all().await;
    let ledger = shop.ledger().await;
    assert_eq!((ledger["available"], ledger["dispute_receivable"]), (0, 5_400));
    shop.assert_green().await;

    let quiet = Shop::open().await;
    let charge = quiet.charge_of(&quiet.bought(50).await);
    let asked = quiet.fake.with(|books| objects::disputes::inquire(books, &charge, None, "general")).unwrap();
    quiet.hear_all().await;
    quiet.decide(asked["id"].as_str().unwrap(), false);
    quiet.hear_all().await;
    assert_eq!(quiet.find_dispute(asked["id"].as_str().unwrap()).await.state, DisputeState::Closed);
    assert_eq!(quiet.available().await, usd(50).nano());
}

#[tokio::test]
async fn the_operator_decides_what_a_dispute_means_for_the_account() {
    for policy in [DisputePolicy::None, DisputePolicy::Freeze, DisputePolicy::Suspend] {
        let shop = Shop::with(|config| config.dispute_policy = policy).await;
        let topup = shop.bought(50).await;
        let dispute = shop.dispute(&topup, None);
        shop.hear_all().await;
        let left = if policy == DisputePolicy::None { 5_000 } else { 0 };
        let state = if policy == DisputePolicy::Suspend { "suspended" } else { "active" };
        assert_eq!(shop.ledger().await["available"], left, "{policy:?}");
        assert_eq!(shop.text("select state from accounts").await, state, "{policy:?}");
        let mut tx = shop.db.begin().await.unwrap();
        billing::store::accounts::set_suspended(&mut tx, account(), false).await.unwrap();
        tx.commit().await.unwrap();
        shop.decide(&dispute, false);
        shop.hear_all().await;
        let ledger = shop.ledger().await;
        assert_eq!((ledger["credits"], ledger["dispute_loss"]), (left, 5_400 - (5_000 - left)), "{policy:?}");
        assert_eq!(shop.text("select state from accounts").await, "active", "an operator's word stands");
        shop.assert_green().await;
    }
}

#[tokio::test]
async fn what_a_bank_gives_back_of_a_lost_dispute_makes_the_loss_smaller_first() {
    let shop = Shop::open().await;
    let topup = shop.bought(50).await;
    let dispute = shop.dispute(&topup, None);
    shop.decide(&dispute, false);
    shop.hear_all().await;
    let ledger = shop.ledger().await;
    assert_eq!((ledger["credits"], ledger["dispute_loss"]), (0, 400));
    shop.fake.with(|books| objects::disputes::give_back(books, &dispute, 1_400)).unwrap();
    shop.hear_all().await;
    let ledger = shop.ledger().await;
    assert_eq!((ledger["credits"], ledger["available"], ledger["dispute_loss"]), (1_000, 1_000, 0));
    assert_eq!(ledger["dispute_receivable"], 0);
    shop.assert_green().await;
}

#[tokio::test]
async fn credit_that_was_lent_out_is_frozen_when_it_comes_back() {
    let shop = Shop::open().await;
    let topup = shop.bought(50).await;
    post(&shop.db, &shop.env).await;
    let billing = Billing::start(shop.db.pool().clone(), shop.env.clone(), quiet(), "one").await.unwrap();
    let hold = billing.hold(ask(&shop.env, account(), 1_000_000_000)).await.unwrap();
    let dispute = shop.dispute(&topup, None);
    shop.hear_all().await;
    let frozen = shop.find_dispute(&dispute).await.frozen;
    assert!(frozen < usd(50) && frozen > usd(40), "{frozen}");
    shop.assert_green().await;
    drop(hold);
    billing.stop().await.unwrap();
    shop.resume().await;
    assert_eq!((shop.find_dispute(&dispute).await.frozen, shop.available().await), (usd(50), 0));
    shop.assert_green().await;
}

#[tokio::test]
async fn a_dispute_nobody_understands_waits_for_a_person() {
    let shop = Shop::open().await;
    let topup = shop.bought(50).await;
    let before = shop.ledger().await;
    let dispute = shop.dispute(&topup, None);
    let spoil: [fn(&mut stripe_shared::Dispute); 3] = [
        |dispute| dispute.status = stripe_shared::DisputeStatus::Unknown("arbitrated".to_owned()),
        |dispute| dispute.currency = stripe_types::Currency::EUR,
        |dispute| dispute.balance_transactions.push(dispute.balance_transactions[0].clone()),
    ];
    let good = shop.fake.with(|books| books.disputes[&dispute].clone());
    for spoil in spoil {
        shop.fake.with(|books| spoil(books.disputes.get_mut(&dispute).unwrap()));
        let looked = billing::stripe::sync::dispute(&shop.cards, &dispute).await;
        assert!(matches!(looked, Err(Error::DisputeDiffers { .. })), "{looked:?}");
        assert_eq!(shop.ledger().await, before);
        shop.fake.with(|books| books.disputes.insert(dispute.clone(), good.clone()));
    }
    billing::stripe::sync::dispute(&shop.cards, &dispute).await.unwrap();
    assert_eq!(shop.ledger().await["available"], 0);
}

#[tokio::test]
async fn a_debt_is_paid_with_what_a_won_dispute_gives_back() {
    let shop = Shop::open().await;
    let topup = shop.bought(50).await;
    let dispute = shop.dispute(&topup, None);
    shop.hear_all().await;
    shop.owe(7).await;
    shop.decide(&dispute, true);
    shop.hear_all().await;
    let ledger = shop.ledger().await;
    assert_eq!((ledger["credits"], ledger["available"], ledger["receivable"]), (4_300, 4_300, 0));
    assert_eq!(shop.find_dispute(&dispute).await.frozen, nano(0));
    shop.assert_green().await;
}

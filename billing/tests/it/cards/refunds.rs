//! Bought credit on its way back.

use std::time::Duration;

use billing::refund::{self, RefundState};
use billing::{Billing, Booked, Error, GrantKind, NewGrant, Outcome};
use fake_stripe::form::Form;
use fake_stripe::{RefundsGo, objects};
use protocol::NanoUsd;

use crate::cards::support::{Shop, account, usd};
use crate::fixture::{ask, fund, nano, post, quiet, settlement};

#[tokio::test]
async fn a_refund_takes_the_oldest_purchase_first_and_its_tax_along() {
    let shop = Shop::open().await;
    let first = shop.bought(50).await;
    shop.clock.advance(Duration::from_secs(1));
    let second = shop.bought(100).await;
    let parts = refund::request(&shop.cards, account(), None, usd(70)).await.unwrap();
    let summary: Vec<_> = parts.iter().map(|part| (part.topup, part.credit, part.tax, part.state)).collect();
    let cents = |cents: i64| nano(cents * 10_000_000);
    let expected =
        [(first.id, usd(50), usd(4), RefundState::Succeeded), (second.id, usd(20), cents(160), RefundState::Succeeded)];
    assert_eq!(summary, expected);
    let ledger = shop.ledger().await;
    assert_eq!((ledger["credits"], ledger["available"], ledger["tax_payable"]), (8_000, 8_000, 640));
    let named = refund::request(&shop.cards, account(), Some(second.id), usd(80)).await.unwrap();
    assert_eq!((named[0].topup, named[0].tax), (second.id, cents(640)), "the last of it takes all the tax left");
    let credits = billing::store::views::credits(&mut shop.db.acquire().await.unwrap(), account()).await.unwrap();
    assert_eq!(credits.total_credits, NanoUsd::ZERO);
    shop.hear_all().await;
    shop.assert_green().await;
}

#[tokio::test]
async fn only_unspent_bought_credit_goes_back_and_never_more() {
    let shop = Shop::open().await;
    fund(&shop.db, &shop.env, account(), 30_000_000_000).await;
    let request = |amount| refund::request(&shop.cards, account(), None, amount);
    assert!(matches!(request(usd(1)).await, Err(Error::NotRefundable { left: NanoUsd::ZERO, .. })), "a gift");
    let topup = shop.bought(50).await;
    for amount in [usd(51), NanoUsd::ZERO, nano(1)] {
        let refused = request(amount).await;
        assert!(matches!(refused, Err(Error::NotRefundable { left, .. }) if left == usd(50)), "{refused:?}");
    }
    let (one, other) = tokio::join!(request(usd(30)), request(usd(30)));
    assert!(one.is_ok() != other.is_ok(), "two at once never pass what is there");
    let other = refund::request(&shop.cards, crate::fixture::id(2), Some(topup.id), usd(1)).await;
    assert!(matches!(other, Err(Error::NotRefundable { .. })), "nobody refunds what somebody else bought");
    shop.hear_all().await;
    assert_eq!(shop.ledger().await["credits"], 5_000);
    shop.assert_green().await;
}

#[tokio::test]
async fn what_an_account_owes_does_not_go_back_to_its_card() {
    let shop = Shop::open().await;
    let price = post(&shop.db, &shop.env).await;
    shop.bought(50).await;
    let start = async |name| Billing::start(shop.db.pool().clone(), shop.env.clone(), quiet(), name).await.unwrap();
    let (slow, other) = (start("slow").await, start("other").await);
    let late = slow.hold(ask(&shop.env, account(), 8_000_000_000)).await.unwrap();
    // Its lease is closed as after its death, and the money is with another.
    sqlx::query("update leases set expires_at = now() - interval '1 h'").execute(shop.db.pool()).await.unwrap();
    billing::run::reap(&shop.db, &quiet().lease).await.unwrap();
    let rest = other.hold(ask(&shop.env, account(), 50_000_000_000)).await.unwrap();
    let booked = late.settle(settlement(&shop.env, &price, Outcome::Completed, 4_000_000_000)).await;
    assert_eq!(booked, Booked::Durable);
    drop(rest);
    other.stop().await.unwrap();
    let ledger = shop.ledger().await;
    assert_eq!((ledger["available"], ledger["receivable"]), (5_000, 400));
    let refused = refund::request(&shop.cards, account(), None, usd(47)).await;
    assert!(matches!(refused, Err(Error::NotRefundable { left, .. }) if left == usd(46)), "{refused:?}");
    refund::request(&shop.cards, account(), None, usd(46)).await.unwrap();
    shop.assert_green().await;
}

#[tokio::test]
async fn a_refund_the_bank_sends_back_is_credit_again() {
    let shop = Shop::open().await;
    shop.bought(50).await;
    shop.fake.turn(|knobs| knobs.refunds = RefundsGo::Pending);
    let part = refund::request(&shop.cards, account(), None, usd(50)).await.unwrap().remove(0);
    assert_eq!(part.state, RefundState::Sent);
    assert_eq!(shop.ledger().await["refunds_in_flight"], 5_400);
    let theirs = part.theirs.unwrap();
    shop.fake.with(|books| objects::refunds::settle(books, &theirs, false)).unwrap();
    shop.hear_all().await;
    let ledger = shop.ledger().await;
    assert_eq!((ledger["credits"], ledger["available"], ledger["tax_payable"]), (5_000, 5_000, 400));
    assert_eq!(ledger["refunds_in_flight"], 0);
    shop.assert_green().await;
    assert!(refund::request(&shop.cards, account(), None, usd(50)).await.is_ok(), "it can be asked for again");
}

#[tokio::test]
async fn a_refund_the_processor_will_not_make_is_credit_again() {
    let shop = Shop::open().await;
    let topup = shop.bought(50).await;
    let intent = topup.payment_intent.unwrap();
    let charge = shop.fake.with(|books| books.payment_intents[&intent].latest_charge.clone().unwrap().into_id());
    shop.fake.with(|books| objects::disputes::open(books, charge.as_str(), None, "fraudulent")).unwrap();
    let part = refund::request(&shop.cards, account(), None, usd(20)).await.unwrap().remove(0);
    assert_eq!(part.state, RefundState::Refused);
    let ledger = shop.ledger().await;
    assert_eq!((ledger["credits"], ledger["available"], ledger["refunds_in_flight"]), (5_000, 5_000, 0));
    crate::fixture::assert_green(&shop.db).await;
}

#[tokio::test]
async fn a_refund_made_by_hand_is_taken_from_the_account_and_the_rest_is_owed() {
    let shop = Shop::open().await;
    let topup = shop.bought(50).await;
    // Forty dollars are gone, as by an expiry of everything but ten.
    let mut tx = shop.db.begin().await.unwrap();
    sqlx::query("update accounts set available_nano_usd = 10000000000").execute(&mut *tx).await.unwrap();
    let spent = billing::ledger::Transfer {
        id: shop.env.mint(),
        cause: billing::ledger::Cause::Late(shop.env.mint()),
        postings: vec![
            billing::ledger::Posting::new(
                billing::account::LedgerAccount::credits(account()),
                billing::account::LedgerAccount::platform(billing::account::AccountKind::Revenue),
                usd(40),
            )
            .unwrap(),
        ],
    };
    billing::store::transfers::book(&mut tx, &spent).await.unwrap();
    tx.commit().await.unwrap();

    let form = Form::parse(format!("payment_intent={}", topup.payment_intent.unwrap()).as_bytes());
    shop.fake.with(|books| objects::refunds::create(books, &form)).unwrap();
    shop.hear_all().await;
    let ledger = shop.ledger().await;
    assert_eq!((ledger["credits"], ledger["available"], ledger["receivable"]), (0, 0, 4_000));
    assert_eq!((ledger["tax_payable"], ledger["refunds_in_flight"]), (0, 0));
    shop.assert_green().await;
    shop.hear_all().await;
    assert_eq!(shop.ledger().await, ledger, "told again it changes nothing");
    let new = NewGrant {
        account: account(),
        kind: GrantKind::Goodwill,
        cause: "sorry".to_owned(),
        amount: usd(50),
        expires_at: None,
    };
    let mut tx = shop.db.begin().await.unwrap();
    billing::grant(&mut tx, &shop.env, &new).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(shop.ledger().await["available"], 1_000, "what is owed is paid first");
    shop.assert_green().await;
}

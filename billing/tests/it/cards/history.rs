//! Any history told in any order, any number of times, at any moment of it: the same ledger.

use std::collections::BTreeMap;
use std::time::Duration;

use billing::refund;
use fake_stripe::form::Form;
use fake_stripe::{RefundsGo, objects};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

use crate::cards::support::{DECLINED, PAYS, Shop, account, usd};

/// Histories tried; each has a database of its own.
const CASES: u32 = 12;
/// What happens, one after the other.
const STEPS: usize = 9;

/// How much of what happened so far is told after each step, and in which order.
type Telling = Vec<Vec<Index>>;

/// One step of the history, at the processor and here.
async fn happen(shop: &Shop, step: usize, opened: &mut Option<billing::Topup>) {
    match step {
        0 => {
            let topup = shop.topup(50).await;
            assert!(!shop.pay(&topup, DECLINED));
            assert!(shop.pay(&topup, PAYS));
            *opened = Some(topup);
        }
        1 => {
            // Known to be paid before another page is opened, whatever was told.
            let session = opened.as_ref().and_then(|topup| topup.session.clone()).unwrap();
            billing::stripe::sync::session(&shop.cards, &session).await.unwrap();
            shop.clock.advance(Duration::from_secs(1));
            let topup = shop.topup(100).await;
            assert!(shop.pay(&topup, PAYS));
            billing::stripe::sync::session(&shop.cards, &topup.session.clone().unwrap()).await.unwrap();
        }
        2 => {
            refund::request(&shop.cards, account(), None, usd(20)).await.unwrap();
        }
        3 => {
            shop.fake.turn(|knobs| knobs.refunds = RefundsGo::Pending);
            refund::request(&shop.cards, account(), None, usd(40)).await.unwrap();
        }
        4 => {
            let pending: Vec<String> = shop.fake.with(|books| {
                let is_pending = |refund: &&stripe_shared::Refund| refund.status.as_deref() == Some("pending");
                books.refunds.values().filter(is_pending).map(|refund| refund.id.to_string()).collect()
            });
            assert_eq!(pending.len(), 2);
            shop.fake.with(|books| objects::refunds::settle(books, &pending[0], false)).unwrap();
            shop.fake.with(|books| objects::refunds::settle(books, &pending[1], true)).unwrap();
        }
        5 => {
            shop.fake.turn(|knobs| knobs.refunds = RefundsGo::Through);
            let intent = shop.fake.with(|books| books.payment_intents.keys().last().cloned()).unwrap();
            let form = Form::parse(format!("payment_intent={intent}&amount=1080").as_bytes());
            shop.fake.with(|books| objects::refunds::create(books, &form)).unwrap();
            let topup = shop.topup(30).await;
            let session = topup.session.unwrap();
            shop.fake.with(|books| objects::checkout::expire(books, &session)).unwrap();
        }
        _ => be_disputed(shop, step),
    }
}

/// Both purchases are disputed, one after an inquiry, and decided: one lost, of which a part comes back, and one won.
fn be_disputed(shop: &Shop, step: usize) {
    shop.fake.with(|books| {
        let paid: Vec<String> = books.charges.values().filter(|one| one.paid).map(|one| one.id.to_string()).collect();
        let disputes: Vec<String> = books.disputes.keys().cloned().collect();
        match step {
            6 => {
                objects::disputes::open(books, &paid[1], None, "fraudulent").unwrap();
                objects::disputes::inquire(books, &paid[0], Some(1_080), "general").unwrap();
            }
            7 => {
                objects::disputes::close(books, &disputes[0], false).unwrap();
                objects::disputes::escalate(books, &disputes[1]).unwrap();
                objects::warnings::warn(books, &paid[0]).unwrap();
            }
            _ => {
                objects::disputes::give_back(books, &disputes[0], 1_000).unwrap();
                objects::disputes::close(books, &disputes[1], true).unwrap();
                objects::payouts::send(books, 500).unwrap();
            }
        }
    });
}

async fn run(telling: &Telling) -> BTreeMap<&'static str, i64> {
    let (shop, mut opened) = (Shop::open().await, None);
    for (step, order) in telling.iter().enumerate().take(STEPS) {
        shop.clock.advance(Duration::from_secs(1));
        happen(&shop, step, &mut opened).await;
        let told = shop.told();
        for index in order {
            shop.hear(index.get(&told)).await;
        }
        shop.work().await;
    }
    // In the end all of it is told, from the last to the first.
    for told in shop.told().iter().rev() {
        shop.hear(told).await;
    }
    shop.work().await;
    assert_eq!(shop.count("select count(*) from stripe_events where outcome is null or outcome = 'parked'").await, 0);
    shop.assert_green().await;
    shop.clock.advance(Duration::from_secs(2 * 86_400));
    assert!(billing::reconcile_stripe(&shop.cards).await.unwrap().is_green(), "line by line");
    shop.ledger().await
}

#[test]
fn any_telling_of_a_history_ends_in_the_same_ledger() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let expected = runtime.block_on(run(&vec![Vec::new(); STEPS]));
    // Refunded, and of the eighty dollars that were left of the lost dispute all but three sixty, which came back.
    let credits = 15_000 - 2_000 - 1_000 - 1_000 - 8_000 + 360;
    assert_eq!((expected["credits"], expected["available"], expected["refunds_in_flight"]), (credits, credits, 0));
    assert_eq!((expected["dispute_receivable"], expected["dispute_loss"], expected["bank"]), (0, 0, 500));
    let telling = prop::collection::vec(prop::collection::vec(any::<Index>(), 0..40), STEPS);
    let config = Config { cases: CASES, failure_persistence: None, max_shrink_iters: 8, ..Config::default() };
    TestRunner::new(config)
        .run(&telling, |telling| {
            let ledger = runtime.block_on(run(&telling));
            prop_assert_eq!(&ledger, &expected);
            Ok(())
        })
        .unwrap();
}

//! Answers that are lost after the deed, wherever something is asked: one effect.

use std::time::Duration;

use billing::{Cards, Error, StripeConfig, TopupState};
use fake_stripe::form::Form;
use fake_stripe::{FaultKind, objects};

use crate::cards::support::{PAYS, Shop, account, usd};

/// Longer than any key is known over there.
const DAY: Duration = Duration::from_secs(25 * 3_600);
/// Ways to do what was asked and not say so.
const LOST: [FaultKind; 4] = [
    FaultKind::SilenceAfterCommit,
    FaultKind::CutAfterCommit,
    FaultKind::GarbageAfterCommit,
    FaultKind::ErrorAfterCommit,
];

#[tokio::test]
async fn a_page_whose_answer_was_lost_is_found_and_made_once() {
    for kind in LOST {
        for times in [1, 2] {
            let shop = Shop::open().await;
            shop.fake.fault("POST", "checkout/sessions", times, kind);
            // Told or not, the wish is known; asked again it gets the one page there is.
            let _ = billing::topup::open(&shop.cards, account(), usd(50), None).await;
            let topup = shop.topup(50).await;
            assert_eq!(topup.state, TopupState::Open, "{kind:?} {times}");
            assert_eq!(shop.fake.with(|books| books.sessions.len()), 1, "{kind:?} {times}");
            shop.pay(&topup, PAYS);
            shop.hear_all().await;
            assert_eq!(shop.ledger().await["credits"], 5_000, "{kind:?} {times}");
            assert_eq!(shop.count("select count(*) from stripe_calls where state <> 'done'").await, 0);
            shop.assert_green().await;
        }
    }
}

#[tokio::test]
async fn a_page_nobody_waits_for_any_more_is_made_beside() {
    let shop = Shop::open().await;
    shop.fake.fault("POST", "checkout/sessions", 2, FaultKind::RateLimited);
    let unknown = billing::topup::open(&shop.cards, account(), usd(50), None).await;
    assert!(matches!(unknown, Err(Error::CardUnknown { .. })), "{unknown:?}");
    assert_eq!(shop.count("select count(*) from topups where state = 'opening'").await, 1);
    assert_eq!(shop.count("select tries::bigint from stripe_calls where purpose = 'session'").await, 2);
    shop.resume().await;
    assert_eq!(shop.count("select count(*) from topups where state = 'open'").await, 1);
    assert_eq!(shop.fake.with(|books| books.sessions.len()), 1);
}

#[tokio::test]
async fn a_customer_whose_answer_was_lost_is_found_and_not_made_again() {
    let shop = Shop::open().await;
    // Its key keeps the error, so that only a look tells.
    shop.fake.fault("POST", "customers", 1, FaultKind::ErrorAfterCommit);
    let others = |books: &mut fake_stripe::books::Books| {
        for number in 0..150 {
            let form = format!("metadata[account_id]=another-{number}");
            objects::customers::create(books, &Form::parse(form.as_bytes())).unwrap();
        }
    };
    shop.fake.fault("GET", "customers", 2, FaultKind::SilenceBefore);
    let unknown = billing::topup::open(&shop.cards, account(), usd(50), None).await;
    assert!(matches!(unknown, Err(Error::CardUnknown { .. })), "{unknown:?}");
    // It is on the second page by now.
    shop.fake.with(others);
    assert_eq!(shop.topup(50).await.state, TopupState::Open);
    assert_eq!(shop.fake.with(|books| books.customers.len()), 151);
    assert_eq!(shop.count("select count(*) from stripe_calls where purpose = 'customer' and state = 'done'").await, 1);
    assert_eq!(shop.count("select count(*) from stripe_customers").await, 1);
}

#[tokio::test]
async fn a_customer_nobody_made_for_a_day_is_made_under_the_next_key() {
    let shop = Shop::open().await;
    shop.fake.fault("POST", "customers", 2, FaultKind::SilenceBefore);
    let open = || billing::topup::open(&shop.cards, account(), usd(50), None);
    assert!(matches!(open().await, Err(Error::CardUnknown { .. })));
    shop.clock.advance(DAY);
    assert!(matches!(open().await, Err(Error::CardUnknown { .. })));
    let stale = open().await;
    assert!(
        matches!(stale, Err(Error::CardRefused { .. })),
        "yesterday's page would be over before it is made: {stale:?}"
    );
    assert_eq!(shop.topup(50).await.state, TopupState::Open);
    assert_eq!(shop.fake.with(|books| books.customers.len()), 1);
    let lapsed = "select count(*) from stripe_calls where purpose = 'customer' and state = 'lapsed'";
    assert_eq!(shop.count(lapsed).await, 1);
}

#[tokio::test]
async fn a_key_of_yesterday_under_which_nothing_was_done_makes_room_for_another() {
    let shop = Shop::open().await;
    shop.fake.fault("POST", "checkout/sessions", 2, FaultKind::SilenceBefore);
    assert!(billing::topup::open(&shop.cards, account(), usd(50), None).await.is_err());
    shop.clock.advance(DAY);
    shop.resume().await;
    assert_eq!(shop.count("select count(*) from stripe_calls where purpose = 'session' and state = 'lapsed'").await, 1);
    shop.resume().await;
    assert_eq!(
        shop.text("select state from topups").await,
        "refused",
        "its page would be over before it is made, and the processor says so"
    );
    assert_eq!(shop.topup(50).await.state, TopupState::Open);
}

/// Nobody over there knows a key of yesterday: sent once more it would make a second thing.
#[tokio::test]
async fn what_was_done_a_day_ago_without_an_answer_is_found_and_not_done_again() {
    let shop = Shop::open().await;
    let topup = shop.bought(50).await;
    shop.fake.fault("POST", "refunds", 2, FaultKind::SilenceAfterCommit);
    shop.fake.fault("GET", "refunds", 2, FaultKind::SilenceBefore);
    billing::refund::request(&shop.cards, account(), Some(topup.id), usd(20)).await.unwrap();
    assert_eq!(shop.text("select state from refund_intents").await, "open", "its answer is lost, and nobody looked");
    shop.clock.advance(DAY);
    shop.resume().await;
    shop.resume().await;
    assert_eq!(shop.fake.with(|books| books.refunds.len()), 1);
    assert_eq!(shop.text("select state from refund_intents").await, "succeeded");
    shop.assert_green().await;
}

#[tokio::test]
async fn a_refund_nobody_could_send_for_a_day_goes_out_under_the_next_key() {
    let shop = Shop::open().await;
    shop.bought(50).await;
    shop.fake.fault("POST", "refunds", 2, FaultKind::SilenceBefore);
    billing::refund::request(&shop.cards, account(), None, usd(20)).await.unwrap();
    shop.clock.advance(DAY);
    shop.resume().await;
    assert_eq!(shop.fake.with(|books| books.refunds.len()), 0, "first it is looked for");
    shop.resume().await;
    assert_eq!(shop.fake.with(|books| books.refunds.len()), 1);
    assert_eq!(shop.count("select count(*) from stripe_calls where state = 'open'").await, 0);
    shop.assert_green().await;
}

#[tokio::test]
async fn a_call_is_repeated_in_the_words_it_was_written_down_with() {
    let shop = Shop::open().await;
    shop.fake.fault("POST", "checkout/sessions", 2, FaultKind::RateLimited);
    assert!(billing::topup::open(&shop.cards, account(), usd(50), None).await.is_err());
    // The next version of the broker, as its operator wants it.
    let settings = StripeConfig { return_url: "https://elsewhere.example/".to_owned(), ..shop.cards.config().clone() };
    let next = Cards::new(shop.db.pool().clone(), shop.env.clone(), settings).unwrap().unwrap();
    let topup = billing::topup::open(&next, account(), usd(50), None).await.unwrap();
    assert_eq!(topup.state, TopupState::Open);
    let back = shop.fake.with(|books| books.sessions.values().next().unwrap().success_url.clone());
    assert_eq!(back.as_deref(), Some(shop.cards.config().return_url.as_str()), "what was asked for first");
    assert_eq!(shop.fake.with(|books| books.sessions.len()), 1);
}

/// An alarm that says for ever that something has no outcome hides the next that has none.
#[tokio::test]
async fn what_is_told_before_it_is_looked_for_leaves_no_call_without_an_outcome() {
    let shop = Shop::open().await;
    shop.fake.fault("POST", "checkout/sessions", 2, FaultKind::SilenceAfterCommit);
    shop.fake.fault("GET", "checkout/sessions", 2, FaultKind::SilenceBefore);
    assert!(billing::topup::open(&shop.cards, account(), usd(50), None).await.is_err());
    let page = shop.fake.with(|books| books.sessions.keys().next().cloned()).unwrap();
    shop.fake.with(|books| fake_stripe::objects::checkout::pay(books, &page, PAYS)).unwrap();
    shop.hear_all().await;
    let open = "select count(*) from stripe_calls where state = 'open'";
    assert_eq!((shop.ledger().await["credits"], shop.count(open).await), (5_000, 0), "a page");

    shop.fake.fault("POST", "refunds", 2, FaultKind::SilenceAfterCommit);
    shop.fake.fault("GET", "refunds", 2, FaultKind::SilenceBefore);
    billing::refund::request(&shop.cards, account(), None, usd(20)).await.unwrap();
    assert_eq!(shop.count(open).await, 1);
    shop.hear_all().await;
    assert_eq!(shop.count(open).await, 0, "a refund");

    let page = shop.topup(60).await;
    let closing = format!("checkout/sessions/{}/expire", page.session.unwrap());
    shop.fake.fault("POST", &closing, 2, FaultKind::SilenceAfterCommit);
    let other = shop.topup(70).await;
    assert_eq!((shop.find(page.id).await.state, other.state), (TopupState::Expired, TopupState::Open));
    assert_eq!(shop.count(open).await, 0, "closing a page");
    shop.assert_green().await;
}

#[tokio::test]
async fn a_refund_whose_answer_was_lost_is_made_once() {
    for kind in LOST {
        for times in [1, 2] {
            let shop = Shop::open().await;
            shop.bought(50).await;
            shop.fake.fault("POST", "refunds", times, kind);
            let parts = billing::refund::request(&shop.cards, account(), None, usd(20)).await.unwrap();
            assert_eq!(parts.len(), 1);
            shop.resume().await;
            shop.hear_all().await;
            assert_eq!(shop.fake.with(|books| books.refunds.len()), 1, "{kind:?} {times}");
            let ledger = shop.ledger().await;
            assert_eq!((ledger["credits"], ledger["refunds_in_flight"]), (3_000, 0), "{kind:?} {times}");
            shop.assert_green().await;
        }
    }
}

#[tokio::test]
async fn a_refund_nobody_sent_goes_out_after_a_restart() {
    let shop = Shop::open().await;
    shop.bought(50).await;
    shop.fake.fault("POST", "refunds", 2, FaultKind::SilenceBefore);
    let parts = billing::refund::request(&shop.cards, account(), None, usd(20)).await.unwrap();
    assert_eq!(parts[0].state.as_str(), "open");
    let ledger = shop.ledger().await;
    assert_eq!((ledger["available"], ledger["refunds_in_flight"]), (3_000, 2_160), "taken before it is asked for");
    shop.resume().await;
    assert_eq!(shop.ledger().await["refunds_in_flight"], 0);
    assert_eq!(shop.fake.with(|books| books.refunds.len()), 1);
    shop.assert_green().await;
}

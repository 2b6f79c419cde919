//! Cards that are kept, and let go.

use std::time::Duration;

use billing::Error;
use billing::card::{self, SetupState};
use billing::recharge::{self, NewRule, Stopped};
use fake_stripe::{FaultKind, objects};

use crate::cards::support::{DECLINED, PAYS, Shop, account, usd};
use crate::fixture::id;

const MASTERCARD: &str = "5555555555554444";

#[tokio::test]
async fn a_card_is_saved_with_a_top_up_and_once_however_often_it_pays() {
    let shop = Shop::open().await;
    shop.bought(20).await;
    let first = shop.saved().await;
    assert_eq!(first.len(), 1);
    let card = &first[0];
    assert_eq!((card.brand.as_str(), card.last4.as_str()), ("visa", "4242"));
    assert_eq!((card.exp_month, card.exp_year, card.is_default), (12, 2099, true));
    shop.bought(20).await;
    assert_eq!(shop.saved().await, first, "the same card again is the same card");
    shop.bought_with(20, MASTERCARD).await;
    let cards = shop.saved().await;
    let known: Vec<_> = cards.iter().map(|card| (card.last4.as_str(), card.is_default)).collect();
    assert_eq!(known, [("4444", false), ("4242", true)]);
}

#[tokio::test]
async fn a_card_saved_at_a_page_of_its_own_moves_no_money() {
    let shop = Shop::open().await;
    let setup = card::setup(&shop.cards, account(), Some("https://example.com/back")).await.unwrap();
    assert_eq!(setup.state, SetupState::Open);
    assert!(setup.url.unwrap().contains("/pay/cs_test_"));
    let session = setup.session.unwrap();
    assert!(shop.fake.with(|books| objects::checkout::pay(books, &session, DECLINED)).is_err());
    shop.hear_all().await;
    assert!(shop.saved().await.is_empty(), "a declined card is not kept");
    shop.fake.with(|books| objects::checkout::pay(books, &session, PAYS)).unwrap();
    shop.hear_all().await;
    shop.hear_all().await;
    assert_eq!(shop.saved().await.len(), 1);
    assert_eq!(shop.text("select state from card_setups").await, "saved");
    assert_eq!(shop.count("select count(*) from transfers").await, 0);
    assert_eq!(shop.fake.with(|books| books.payment_intents.len()), 0);
}

#[tokio::test]
async fn a_page_nobody_used_is_over_and_one_whose_answer_was_lost_is_made_once() {
    for kind in [FaultKind::SilenceAfterCommit, FaultKind::CutAfterCommit, FaultKind::ErrorAfterCommit] {
        let shop = Shop::open().await;
        shop.fake.fault("POST", "checkout/sessions", 2, kind);
        let _ = card::setup(&shop.cards, account(), None).await;
        shop.resume().await;
        assert_eq!(shop.text("select state from card_setups").await, "open", "{kind:?}");
        assert_eq!(shop.fake.with(|books| books.sessions.len()), 1, "{kind:?}");
        shop.clock.advance(Duration::from_secs(40 * 60));
        shop.resume().await;
        assert_eq!(shop.text("select state from card_setups").await, "expired", "{kind:?}");
    }
}

#[tokio::test]
async fn the_default_is_chosen_and_passes_on_when_it_leaves() {
    let shop = Shop::open().await;
    let (visa, mastercard) = (shop.save(PAYS).await, shop.save(MASTERCARD).await);
    assert!(visa.is_default && !mastercard.is_default);
    assert!(card::set_default(&shop.cards, account(), mastercard.id).await.unwrap());
    assert!(!card::set_default(&shop.cards, id(2), visa.id).await.unwrap(), "nobody chooses somebody else's card");
    assert!(!card::remove(&shop.cards, id(2), visa.id).await.unwrap(), "or removes it");
    assert!(card::remove(&shop.cards, account(), mastercard.id).await.unwrap());
    assert!(!card::remove(&shop.cards, account(), mastercard.id).await.unwrap());
    let left = shop.saved().await;
    assert_eq!(left.iter().map(|card| (card.id, card.is_default)).collect::<Vec<_>>(), [(visa.id, true)]);
}

#[tokio::test]
async fn a_removed_card_is_forgotten_at_the_processor_with_all_its_copies_and_stays_away() {
    let shop = Shop::open().await;
    shop.bought(20).await;
    shop.bought(20).await;
    let card = shop.saved().await.remove(0);
    assert!(card::remove(&shop.cards, account(), card.id).await.unwrap());
    assert!(shop.saved().await.is_empty());
    assert_eq!(shop.count("select count(*) from cards where state = 'gone'").await, 2);
    let attached = shop.fake.with(|books| books.payment_methods.values().filter(|one| one.customer.is_some()).count());
    assert_eq!(attached, 0);
    shop.hear_all().await;
    assert!(shop.saved().await.is_empty(), "what is told again brings nothing back");
    shop.bought(20).await;
    assert_eq!(shop.saved().await.len(), 1, "saved again it is there again");
}

#[tokio::test]
async fn a_removal_whose_answer_was_lost_goes_on_beside() {
    for kind in [FaultKind::SilenceAfterCommit, FaultKind::ErrorAfterCommit, FaultKind::SilenceBefore] {
        let shop = Shop::open().await;
        let card = shop.save(PAYS).await;
        shop.fake.fault("POST", "payment_methods", 2, kind);
        assert!(card::remove(&shop.cards, account(), card.id).await.unwrap());
        assert!(shop.saved().await.is_empty(), "{kind:?}: gone for its owner at once");
        shop.resume().await;
        assert_eq!(shop.count("select count(*) from cards where state = 'gone'").await, 1, "{kind:?}");
        assert_eq!(shop.count("select count(*) from stripe_calls where state = 'open'").await, 0, "{kind:?}");
    }
}

#[tokio::test]
async fn a_card_taken_away_over_there_is_gone_here_and_its_rule_stops() {
    let shop = Shop::open().await;
    let card = shop.save(PAYS).await;
    let new =
        NewRule { threshold: usd(5), amount: usd(20), daily_cap: usd(20), monthly_cap: usd(20), card: Some(card.id) };
    recharge::set(&shop.cards, account(), new).await.unwrap();
    let stranger = recharge::set(&shop.cards, id(2), new).await;
    assert!(matches!(stranger, Err(Error::NoCard { .. })), "nobody has somebody else's card charged");
    shop.fake.with(|books| objects::payment_methods::detach(books, &card.method)).unwrap();
    shop.hear_all().await;
    shop.resume().await;
    assert!(shop.saved().await.is_empty());
    assert_eq!(shop.count("select count(*) from cards where state = 'gone'").await, 1);
    let rule = billing::store::recharge::find(&mut shop.db.acquire().await.unwrap(), account()).await.unwrap().unwrap();
    assert_eq!(rule.stopped, Some(Stopped::CardRemoved));
    recharge::work(&shop.cards, shop.env.now()).await.unwrap();
    assert_eq!(shop.count("select count(*) from topups").await, 0);
}

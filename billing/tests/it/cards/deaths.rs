//! A process that dies at every point of its work where it can: whoever comes next ends in the same ledger.

use std::time::Duration;

use billing::stripe::{WarningPolicy, inbox, lines};
use fake_stripe::objects;
use platform::testing::die_after;

use crate::cards::support::{PAYS, Shop};

/// A purchase, a refund by hand, two disputes with their ends, and a payout, of which nothing was worked on.
async fn history() -> Shop {
    let shop = Shop::with(|config| config.warning_policy = WarningPolicy::Record).await;
    let topup = shop.topup(50).await;
    assert!(shop.pay(&topup, PAYS));
    let charge = shop.fake.with(|books| books.charges.keys().last().cloned()).unwrap();
    shop.fake.with(|books| objects::warnings::warn(books, &charge)).unwrap();
    shop.clock.advance(Duration::from_secs(1));
    let open = |cents| {
        let made = shop.fake.with(|books| objects::disputes::open(books, &charge, Some(cents), "fraudulent")).unwrap();
        made["id"].as_str().unwrap().to_owned()
    };
    let (lost, won) = (open(2_160), open(1_080));
    shop.decide(&lost, false);
    shop.decide(&won, true);
    shop.fake.with(|books| objects::disputes::give_back(books, &lost, 200)).unwrap();
    shop.fake.with(|books| objects::payouts::send(books, 300)).unwrap();
    for told in shop.told() {
        shop.hear(&told).await;
    }
    shop
}

#[tokio::test]
async fn a_process_that_dies_anywhere_leaves_it_to_the_next() {
    let undisturbed = history().await;
    undisturbed.work().await;
    let expected = undisturbed.ledger().await;
    assert_eq!((expected["credits"], expected["dispute_loss"], expected["bank"]), (3_040, 0, 300));

    let shop = history().await;
    // Every death comes later than the one before it, until one comes too late.
    for steps in 0.. {
        let work = async {
            while inbox::work(&shop.cards, shop.env.now()).await.unwrap() {}
            lines::read(&shop.cards, shop.env.now()).await.unwrap();
            lines::tie_all(&shop.cards, shop.env.now()).await.unwrap();
        };
        let is_done = die_after(steps, work).await.is_some();
        crate::fixture::assert_green(&shop.db).await;
        // What it had claimed is free again.
        shop.clock.advance(Duration::from_secs(120));
        if is_done && shop.count("select count(*) from stripe_events where due_at is not null").await == 0 {
            break;
        }
    }
    assert_eq!(shop.ledger().await, expected);
    assert_eq!(shop.count("select count(*) from stripe_events where outcome = 'parked'").await, 0);
    assert_eq!(shop.count("select count(*) from stripe_balance_txns where cause_kind is null").await, 0);
    shop.assert_green().await;
}

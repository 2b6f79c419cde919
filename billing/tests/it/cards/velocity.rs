//! How fast a young account may buy.

use std::time::Duration;

use billing::recharge::{self, NewRule};
use billing::velocity::Limit;
use billing::{Error, TopupState, card, topup};

use crate::cards::support::{PAYS, Shop, account, usd};

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn a_young_account_asks_for_so_many_top_ups_a_day_and_no_more() {
    let shop = Shop::with(|config| config.young_topups_per_day = 2).await;
    shop.bought(5).await;
    shop.topup(6).await;
    let third = topup::open(&shop.cards, account(), usd(7), None).await;
    assert!(matches!(third, Err(Error::TooMuch { limit: Limit::Topups(2), .. })), "{third:?}");
    assert_eq!(shop.topup(6).await.amount, usd(6), "the page that is open is not asked for again");
    shop.clock.advance(DAY);
    shop.topup(7).await;
}

#[tokio::test]
async fn a_young_account_buys_so_much_a_day_until_it_is_known() {
    let shop = Shop::with(|config| config.young_usd_per_day = 150).await;
    shop.bought(100).await;
    let more = |dollars| topup::open(&shop.cards, account(), usd(dollars), None);
    let refused = more(51).await;
    assert!(matches!(refused, Err(Error::TooMuch { limit: Limit::Amount(most), .. }) if most == usd(150)));
    assert!(refused.unwrap_err().to_string().contains("try again tomorrow"));
    let open = more(50).await.unwrap();
    assert!(shop.pay(&open, PAYS));
    shop.hear_all().await;
    shop.clock.advance(13 * DAY);
    assert!(more(151).await.is_err(), "a day before two weeks are over");
    shop.clock.advance(DAY);
    assert!(more(5_000).await.is_ok());
}

#[tokio::test]
async fn a_young_account_saves_so_many_cards_a_day() {
    let shop = Shop::with(|config| config.young_cards_per_day = 2).await;
    shop.save(PAYS).await;
    card::setup(&shop.cards, account(), None).await.unwrap();
    let third = card::setup(&shop.cards, account(), None).await;
    assert!(matches!(third, Err(Error::TooMuch { limit: Limit::Cards(2), .. })), "{third:?}");
    shop.clock.advance(DAY);
    assert!(card::setup(&shop.cards, account(), None).await.is_ok());
}

#[tokio::test]
async fn a_young_account_is_charged_by_itself_for_no_more_than_it_may_buy() {
    let shop = Shop::with(|config| config.young_usd_per_day = 60).await;
    shop.bought(20).await;
    let rule = NewRule { threshold: usd(25), amount: usd(50), daily_cap: usd(200), monthly_cap: usd(400), card: None };
    recharge::set(&shop.cards, account(), rule).await.unwrap();
    assert_eq!(recharge::consider(&shop.cards, account()).await.unwrap(), None, "20 and 50 are more than 60");
    shop.clock.advance(DAY);
    let charged = recharge::consider(&shop.cards, account()).await.unwrap().unwrap();
    assert_eq!((charged.state, charged.amount), (TopupState::Paid, usd(50)));
    shop.assert_green().await;
}

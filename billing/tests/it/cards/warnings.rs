//! What issuers hold for fraud before anybody disputes it.

use billing::stripe::WarningPolicy;
use fake_stripe::{FaultKind, objects};

use crate::cards::support::{Shop, usd};

async fn warned(policy: WarningPolicy) -> Shop {
    let shop = Shop::with(|config| config.warning_policy = policy).await;
    let topup = shop.bought(50).await;
    let charge = shop.charge_of(&topup);
    shop.fake.with(|books| objects::warnings::warn(books, &charge)).unwrap();
    shop
}

#[tokio::test]
async fn a_warning_is_written_down_and_acted_on_as_the_operator_wants_once() {
    use WarningPolicy::{Record, Refund, RefundAndSuspend, Suspend};
    for (policy, left, state) in [
        (Record, 5_000, "active"),
        (Refund, 0, "active"),
        (Suspend, 5_000, "suspended"),
        (RefundAndSuspend, 0, "suspended"),
    ] {
        let shop = warned(policy).await;
        for _ in 0..2 {
            shop.hear_all().await;
            assert_eq!(shop.ledger().await["credits"], left, "{policy:?}");
            assert_eq!(shop.text("select state from accounts").await, state, "{policy:?}");
        }
        let refunded = shop.count("select refunded_nano_usd from fraud_warnings").await;
        assert_eq!(refunded, usd(50).nano() - left * 10_000_000, "{policy:?}");
        assert_eq!(shop.fake.with(|books| books.refunds.len()), usize::from(left == 0), "{policy:?}");
        shop.assert_green().await;
    }
}

#[tokio::test]
async fn a_warning_of_what_is_disputed_already_refunds_nothing() {
    let shop = Shop::open().await;
    let topup = shop.bought(50).await;
    shop.dispute(&topup, None);
    let charge = shop.charge_of(&topup);
    shop.fake.with(|books| objects::warnings::warn(books, &charge)).unwrap();
    // Told from the last to the first.
    for told in shop.told().iter().rev() {
        shop.hear(told).await;
    }
    shop.work().await;
    assert_eq!(shop.count("select count(*) from fraud_warnings where not is_actionable").await, 1);
    assert_eq!(shop.count("select count(*) from refund_intents").await, 0);
    shop.assert_green().await;
}

#[tokio::test]
async fn a_refund_for_a_warning_goes_out_after_a_restart_when_nobody_sent_it() {
    let shop = warned(WarningPolicy::Refund).await;
    shop.fake.fault("POST", "refunds", 2, FaultKind::SilenceBefore);
    shop.hear_all().await;
    assert_eq!((shop.available().await, shop.fake.with(|books| books.refunds.len())), (0, 0));
    shop.resume().await;
    shop.hear_all().await;
    let ledger = shop.ledger().await;
    assert_eq!((ledger["credits"], ledger["refunds_in_flight"]), (0, 0));
    assert_eq!(shop.fake.with(|books| books.refunds.len()), 1);
    shop.assert_green().await;
}

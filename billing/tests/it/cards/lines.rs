//! The processor's own account, line by line, beside the books.

use std::time::Duration;

use billing::refund;
use billing::store::stripe_lines;
use billing::stripe::lines;
use fake_stripe::form::Form;
use fake_stripe::objects::balance::{Movement, book};
use fake_stripe::{RefundsGo, objects};

use crate::cards::support::{PAYS, Shop, account, usd};

const DAY: Duration = Duration::from_secs(86_400);

/// Lines that raise the alarm, and by how many cents the two accounts differ.
async fn match_all(shop: &Shop) -> (i64, i64) {
    lines::read(&shop.cards, shop.env.now()).await.unwrap();
    let standing = lines::tie_all(&shop.cards, shop.env.now()).await.unwrap();
    (standing.late, standing.difference_nano_usd / 10_000_000)
}

/// What `steelyard reconcile --stripe` finds.
async fn differences(shop: &Shop) -> Vec<String> {
    let report = billing::reconcile_stripe(&shop.cards).await.unwrap();
    report.checks.into_iter().flat_map(|check| check.differences).collect()
}

#[tokio::test]
async fn every_line_stands_for_one_transfer_and_every_transfer_for_a_line() {
    let shop = Shop::open().await;
    let (first, second) = (shop.bought(50).await, shop.bought(100).await);
    refund::request(&shop.cards, account(), Some(first.id), usd(10)).await.unwrap();
    shop.fake.turn(|knobs| knobs.refunds = RefundsGo::Pending);
    let pending = refund::request(&shop.cards, account(), Some(first.id), usd(10)).await.unwrap().remove(0);
    match_all(&shop).await;
    assert_eq!(shop.count("select count(*) from stripe_balance_txns where cause_kind is null").await, 1);
    shop.clock.advance(2 * DAY);
    assert_eq!(differences(&shop).await, Vec::<String>::new(), "a refund under way is not forgotten");
    let theirs = pending.theirs.unwrap();
    shop.fake.with(|books| objects::refunds::settle(books, &theirs, false)).unwrap();
    let (won, lost) = (shop.dispute(&second, Some(1_080)), shop.dispute(&second, Some(2_160)));
    shop.decide(&won, true);
    shop.decide(&lost, false);
    let sent = shop.fake.with(|books| {
        let fee = Movement { kind: "stripe_fee", category: "fee", source: "fee_1", amount: -250, fee: 0 };
        book(books, fee);
        objects::payouts::send(books, 500).unwrap();
        objects::payouts::send(books, 700).unwrap()["id"].as_str().unwrap().to_owned()
    });
    shop.fake.with(|books| objects::payouts::fail(books, &sent)).unwrap();
    shop.hear_all().await;
    shop.clock.advance(2 * DAY);
    assert_eq!(differences(&shop).await, Vec::<String>::new());
    assert_eq!(shop.count("select count(*) from stripe_balance_txns where cause_kind is null").await, 0);
    let there = shop.fake.with(|books| books.balance_transactions.len());
    assert_eq!(shop.count("select count(*) from stripe_balance_txns").await, i64::try_from(there).unwrap());
    assert_eq!(shop.ledger().await["bank"], 500);
    shop.assert_green().await;
    let ledger = shop.ledger().await;
    shop.hear_all().await;
    assert_eq!(match_all(&shop).await, (0, 0));
    assert_eq!(shop.ledger().await, ledger, "read again it changes nothing");
}

#[tokio::test]
async fn what_was_never_told_is_found_by_its_line() {
    let shop = Shop::open().await;
    let topup = shop.topup(50).await;
    assert!(shop.pay(&topup, PAYS));
    let paid = shop.fake.with(|books| books.charges.keys().last().cloned()).unwrap();
    let form = Form::parse(format!("charge={paid}&amount=1080").as_bytes());
    shop.fake.with(|books| objects::refunds::create(books, &form)).unwrap();
    shop.clock.advance(Duration::from_secs(1));
    shop.fake.with(|books| objects::disputes::open(books, &paid, None, "fraudulent")).unwrap();
    match_all(&shop).await;
    let ledger = shop.ledger().await;
    assert_eq!((ledger["credits"], ledger["available"], ledger["dispute_receivable"]), (4_000, 0, 4_320));
    assert_eq!(shop.count("select count(*) from stripe_balance_txns where cause_kind is null").await, 0);
    shop.assert_green().await;
}

#[tokio::test]
async fn a_line_of_nothing_of_ours_is_named_after_a_day() {
    let shop = Shop::open().await;
    shop.bought(50).await;
    let form = Form::parse(b"amount=500&currency=usd&payment_method=pm_card_visa&confirm=true");
    shop.fake.with(|books| objects::payment_intents::create(books, &form)).unwrap();
    shop.fake.with(|books| {
        book(
            books,
            Movement { kind: "reserve_hold", category: "risk_reserved_funds", source: "rh_1", amount: -10, fee: 0 },
        )
    });
    let (late, difference) = match_all(&shop).await;
    assert_eq!(late, 0, "it may not have been told yet");
    assert_ne!(difference, 0);
    assert_eq!(differences(&shop).await, Vec::<String>::new());
    shop.clock.advance(DAY + Duration::from_secs(60));
    assert_eq!(match_all(&shop).await, (2, difference), "now it is an alarm");
    let found = differences(&shop).await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|line| line.contains("has no transfer")), "{found:?}");
    let unmatched = stripe_lines::list_unmatched(&mut shop.db.acquire().await.unwrap(), 10).await.unwrap();
    assert_eq!(unmatched.iter().map(|line| line.kind.as_str()).collect::<Vec<_>>(), ["charge", "reserve_hold"]);
}

#[tokio::test]
async fn a_line_of_another_amount_is_not_its_transfers() {
    let shop = Shop::open().await;
    shop.bought(50).await;
    shop.fake.with(|books| {
        let line = books.balance_transactions.values_mut().last().unwrap();
        (line.amount, line.net) = (line.amount - 1, line.net - 1);
    });
    match_all(&shop).await;
    assert_eq!(shop.count("select count(*) from stripe_balance_txns where cause_kind is null").await, 1);
    crate::fixture::assert_green(&shop.db).await;
}

#[tokio::test]
async fn a_transfer_the_processor_knows_nothing_of_is_named_after_a_day() {
    let shop = Shop::open().await;
    shop.bought(50).await;
    shop.fake.with(|books| books.balance_transactions.clear());
    match_all(&shop).await;
    assert_eq!(differences(&shop).await, Vec::<String>::new());
    // Two days later, by the clock transfers are dated by.
    sqlx::query("update stripe_cursors set upto = now() + interval '2 days'").execute(shop.db.pool()).await.unwrap();
    let found = differences(&shop).await;
    assert_eq!(found.len(), 2, "the payment and its fee: {found:?}");
    assert!(found.iter().all(|line| line.contains("is no line over there")), "{found:?}");
}

#[tokio::test]
async fn lines_are_read_however_long_ago_they_were() {
    let shop = Shop::open().await;
    for _ in 0..3 {
        shop.bought(50).await;
        shop.clock.advance(10 * DAY);
    }
    assert_eq!(lines::read(&shop.cards, shop.env.now()).await.unwrap(), 3);
    assert_eq!(lines::read(&shop.cards, shop.env.now()).await.unwrap(), 0);
    lines::tie_all(&shop.cards, shop.env.now()).await.unwrap();
    assert_eq!(shop.count("select count(*) from stripe_balance_txns where cause_kind is null").await, 0);
}

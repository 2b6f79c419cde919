//! What the processor tells.

use std::time::Duration;

use billing::store::stripe_events;
use billing::stripe::inbox::{self, Untaken};
use fake_stripe::{FaultKind, hooks};
use serde_json::json;

use crate::cards::support::{PAYS, SECRET, Shop, Told};

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn what_is_forged_stale_or_unsigned_leaves_no_trace() {
    let shop = Shop::open().await;
    let topup = shop.topup(50).await;
    shop.pay(&topup, PAYS);
    let Told { body, .. } = shop.told().pop().unwrap();
    let now = shop.env.now().unix_seconds();
    for signature in [
        hooks::sign(&body, "whsec_other", now),
        hooks::sign(&body, SECRET, now - 301),
        hooks::sign(&body, SECRET, now + 301),
        hooks::sign("{}", SECRET, now),
        String::new(),
    ] {
        let taken = inbox::take(&shop.cards, &signature, body.as_bytes()).await;
        assert!(matches!(taken, Err(Untaken::Signature(_))), "{signature}");
    }
    assert_eq!(shop.count("select count(*) from stripe_events").await, 0);
    let former = Shop::with(|config| {
        config.former_webhook_secret = config.webhook_secret.replace("whsec_next".into());
    });
    let former = former.await;
    let signature = hooks::sign(&body, SECRET, former.env.now().unix_seconds());
    assert!(inbox::take(&former.cards, &signature, body.as_bytes()).await.is_ok(), "the former secret still counts");
}

#[tokio::test]
async fn an_event_is_stored_once_and_one_that_cannot_be_read_is_kept() {
    let shop = Shop::open().await;
    shop.topup(50).await;
    let told = shop.told().pop().unwrap();
    for _ in 0..3 {
        shop.hear(&told).await;
    }
    for body in ["not json", "{\"id\":7}", "{\"id\":\"evt_x\",\"type\":\"new.kind\",\"data\":{\"object\":{}}}"] {
        shop.hear(&Told { kind: String::new(), body: body.to_owned() }).await;
    }
    assert_eq!(shop.count("select count(*) from stripe_events").await, 4);
    shop.work().await;
    assert_eq!(shop.count("select count(*) from stripe_events where outcome = 'ignored'").await, 4);
    assert_eq!(shop.count("select count(*) from stripe_events where event_id like 'sha256:%'").await, 2);
    let kept = shop.text("select body from stripe_events where event_id = 'evt_x'").await;
    assert_eq!(kept, "{\"id\":\"evt_x\",\"type\":\"new.kind\",\"data\":{\"object\":{}}}", "as it came");
}

#[tokio::test]
async fn what_was_never_told_is_read_from_the_list() {
    let shop = Shop::open().await;
    let topup = shop.topup(50).await;
    shop.pay(&topup, PAYS);
    let events = shop.told().len() as u64;
    assert_eq!(inbox::backfill(&shop.cards, shop.env.now()).await.unwrap(), events);
    assert_eq!(inbox::backfill(&shop.cards, shop.env.now()).await.unwrap(), 0);
    shop.work().await;
    assert_eq!(shop.ledger().await["credits"], 5_000);
    shop.hear_all().await;
    assert_eq!(shop.ledger().await["credits"], 5_000);
    shop.assert_green().await;
}

#[tokio::test]
async fn the_list_is_read_on_from_where_it_was_read_last_however_long_ago() {
    let shop = Shop::open().await;
    assert_eq!(inbox::backfill(&shop.cards, shop.env.now()).await.unwrap(), 0, "nothing is ours before a customer");
    let mut read = 0;
    for days in [0, 5, 20] {
        shop.clock.advance(days * DAY);
        let topup = shop.topup(50).await;
        shop.pay(&topup, PAYS);
        // More than one page of the list.
        for number in 0..150 {
            shop.fake.with(|books| books.emit("customer.updated", &json!({ "id": format!("cus_{number}") })));
        }
        shop.clock.advance(4 * DAY);
        let events = shop.told().len() as u64 - read;
        assert_eq!(inbox::backfill(&shop.cards, shop.env.now()).await.unwrap(), events, "after {days} days");
        shop.work().await;
        read += events;
    }
    assert_eq!(shop.ledger().await["credits"], 15_000);
    sqlx::query("delete from stripe_events").execute(shop.db.pool()).await.unwrap();
    assert_eq!(inbox::backfill(&shop.cards, shop.env.now()).await.unwrap(), 0, "what was read is not read again");
    assert!(inbox::backfill_all(&shop.cards, shop.env.now()).await.unwrap() > 300, "an operator reads all of it");
    shop.work().await;
    assert_eq!(shop.ledger().await["credits"], 15_000);
    shop.assert_green().await;
}

#[tokio::test]
async fn an_event_without_an_answer_is_put_off_and_parked_after_a_day_of_tries() {
    let shop = Shop::with(|config| config.attempts = 1).await;
    let topup = shop.topup(50).await;
    shop.pay(&topup, PAYS);
    let told = shop.told().into_iter().find(|told| told.kind == "payment_intent.succeeded").unwrap();
    shop.fake.fault("GET", "payment_intents", 3, FaultKind::ErrorBefore);
    shop.hear(&told).await;
    for _ in 0..3 {
        shop.work().await;
        assert_eq!(shop.available().await, 0);
        shop.clock.advance(Duration::from_secs(300));
    }
    shop.work().await;
    assert_eq!(shop.ledger().await["credits"], 5_000, "it comes through once the processor answers");

    shop.fake.fault("GET", "charges", 1_000, FaultKind::ErrorBefore);
    let told = shop.told().into_iter().find(|told| told.kind == "charge.succeeded").unwrap();
    shop.hear(&told).await;
    for _ in 0..300 {
        assert_eq!(shop.count("select count(*) from stripe_events where outcome = 'parked'").await, 0);
        shop.work().await;
        shop.clock.advance(Duration::from_secs(300));
    }
    let mut conn = shop.db.acquire().await.unwrap();
    let parked = stripe_events::list_parked(&mut conn, 10).await.unwrap().remove(0);
    assert_eq!((parked.kind.as_str(), parked.error.is_some()), ("charge.succeeded", true));
    shop.fake.turn(|knobs| knobs.faults.clear());
    assert!(stripe_events::replay(&mut conn, &parked.id, shop.env.now()).await.unwrap());
    assert!(!stripe_events::replay(&mut conn, &parked.id, shop.env.now()).await.unwrap());
    shop.work().await;
    assert_eq!(shop.text("select outcome from stripe_events where kind = 'charge.succeeded'").await, "applied");
}

#[tokio::test]
async fn a_worker_that_died_with_an_event_leaves_it_to_the_next() {
    let shop = Shop::open().await;
    let topup = shop.topup(50).await;
    shop.pay(&topup, PAYS);
    for told in shop.told() {
        shop.hear(&told).await;
    }
    // Claimed, and then nothing: what a killed process leaves.
    let claimed = "update stripe_events set due_at = due_at + interval '120 s', attempts = attempts + 1";
    sqlx::query(claimed).execute(shop.db.pool()).await.unwrap();
    shop.work().await;
    assert_eq!(shop.available().await, 0, "what somebody has claimed is theirs");
    shop.clock.advance(Duration::from_secs(120));
    shop.work().await;
    assert_eq!(shop.ledger().await["credits"], 5_000);
}

//! From the wish to credit.

use std::time::Duration;

use billing::{Error, GrantKind, NewGrant, TopupState};
use protocol::{Id, NanoUsd};
use stripe_shared::PaymentIntentStatus;

use crate::cards::support::{DECLINED, PAYS, Shop, account, usd};
use crate::fixture::{ask, nano, post, quiet, settlement};

#[tokio::test]
async fn a_top_up_becomes_credit_with_its_tax_apart_and_its_papers() {
    let shop = Shop::open().await;
    let topup = shop.topup(50).await;
    assert_eq!((topup.state, topup.tax), (TopupState::Open, usd(4)));
    assert!(topup.checkout_url.unwrap().contains("/pay/cs_test_"));
    assert_eq!(shop.available().await, 0, "an open page is no money");
    let topup = shop.find(topup.id).await;
    assert!(!shop.pay(&topup, DECLINED));
    shop.hear_all().await;
    assert_eq!(shop.available().await, 0, "nor is a declined card");

    assert!(shop.pay(&topup, PAYS));
    shop.hear_all().await;
    let topup = shop.find(topup.id).await;
    assert_eq!(topup.state, TopupState::Paid);
    assert!(topup.receipt_url.unwrap().contains("/receipts/ch_"));
    assert!(topup.invoice_pdf.unwrap().ends_with("/pdf"));
    let ledger = shop.ledger().await;
    assert_eq!((ledger["credits"], ledger["available"], ledger["tax_payable"]), (5_000, 5_000, 400));
    assert_eq!((ledger["stripe_fees"], ledger["stripe_clearing"]), (187, 5_400 - 187));
    shop.assert_green().await;
}

#[tokio::test]
async fn bought_credit_is_spent_after_promo() {
    let shop = Shop::open().await;
    shop.bought(20).await;
    let expires_at = Some(shop.env.now().plus(Duration::from_secs(86_400)));
    let gift =
        NewGrant { account: account(), kind: GrantKind::Promo, cause: "gift".into(), amount: nano(500), expires_at };
    let mut tx = shop.db.begin().await.unwrap();
    billing::grant(&mut tx, &shop.env, &gift).await.unwrap();
    tx.commit().await.unwrap();
    let price = post(&shop.db, &shop.env).await;
    let billing = billing::Billing::start(shop.db.pool().clone(), shop.env.clone(), quiet(), "one").await.unwrap();
    let hold = billing.hold(ask(&shop.env, account(), 1_000)).await.unwrap();
    hold.settle(settlement(&shop.env, &price, billing::Outcome::Completed, 700)).await;
    billing.stop().await.unwrap();
    assert_eq!(billing::run::burn(&shop.db, &shop.env).await.unwrap(), nano(700));
    assert_eq!(shop.available().await, 20_000_000_000 + 500 - 700);
    let left = async |kind| {
        let query = format!("select sum(remaining_nano_usd)::text from grants where kind = '{kind}'");
        sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(query)).fetch_one(shop.db.pool()).await.unwrap()
    };
    assert_eq!((left("promo").await, left("card").await), ("0".to_owned(), (20_000_000_000_i64 - 200).to_string()));
    shop.assert_green().await;
}

#[tokio::test]
async fn what_is_owed_is_paid_first_of_what_is_bought() {
    let shop = Shop::open().await;
    shop.topup(50).await;
    shop.owe(7).await;
    let topup = shop.topup(50).await;
    assert!(shop.pay(&topup, PAYS));
    shop.hear_all().await;
    let ledger = shop.ledger().await;
    assert_eq!((ledger["credits"], ledger["available"], ledger["receivable"]), (4_300, 4_300, 0));
    let refused = billing::refund::request(&shop.cards, account(), Some(topup.id), usd(50)).await;
    assert!(refused.is_err(), "what paid a debt is spent: {refused:?}");
    shop.assert_green().await;
}

#[tokio::test]
async fn two_browsers_get_one_page_and_another_wish_closes_it() {
    let shop = Shop::open().await;
    let open = |dollars| billing::topup::open(&shop.cards, account(), usd(dollars), None);
    let (one, other) = tokio::join!(open(50), open(50));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!((one.id, &one.session), (other.id, &other.session));
    assert_eq!(shop.fake.with(|books| books.sessions.len()), 1);

    let larger = shop.topup(60).await;
    assert_eq!(shop.find(one.id).await.state, TopupState::Expired);
    assert!(!shop.pay(&one, PAYS), "the page that was closed takes nothing");
    assert!(shop.pay(&larger, PAYS));
    let next = shop.topup(70).await;
    assert_eq!(shop.find(larger.id).await.state, TopupState::Paid, "one that was paid meanwhile is not lost");
    assert_ne!(next.id, larger.id);
    shop.hear_all().await;
    assert_eq!(shop.ledger().await["credits"], 6_000);
    shop.assert_green().await;
}

#[tokio::test]
async fn amounts_nobody_sells_are_refused_and_the_first_purchase_is_small() {
    let shop = Shop::open().await;
    let open = |amount| billing::topup::open(&shop.cards, account(), amount, None);
    for amount in [NanoUsd::ZERO, usd(4), usd(101), usd(1_000_000), nano(50_000_000_001)] {
        assert!(matches!(open(amount).await, Err(Error::TopupAmount { is_first: true, .. })), "{amount}");
    }
    assert_eq!(shop.count("select count(*) from stripe_calls").await, 0, "nothing was asked of the processor");
    shop.bought(100).await;
    // Known for long enough to buy any amount that is sold.
    shop.clock.advance(Duration::from_secs(14 * 86_400));
    assert!(open(usd(5_000)).await.is_ok());
    assert!(matches!(open(usd(5_001)).await, Err(Error::TopupAmount { is_first: false, .. })));
}

#[tokio::test]
async fn the_bank_is_asked_at_a_first_purchase_and_wherever_a_card_is_saved_by_itself() {
    let shop = Shop::open().await;
    shop.bought(50).await;
    shop.clock.advance(Duration::from_secs(1));
    shop.bought(60).await;
    shop.save(PAYS).await;
    let asked = "select string_agg((parameters like '%request_three_d_secure%any%')::text, ' ' order by created_at)
                   from stripe_calls where purpose in ('session', 'setup')";
    assert_eq!(shop.text(asked).await, "true false true");
    let others = "select count(*) from stripe_calls where purpose in ('session', 'setup')
                     and parameters not like '%allowed_payment_method_types%card%'";
    assert_eq!(shop.count(others).await, 0, "only cards pay");
}

#[tokio::test]
async fn a_page_past_its_time_is_over_even_when_nobody_says_so() {
    let shop = Shop::open().await;
    let topup = shop.topup(50).await;
    shop.clock.advance(Duration::from_secs(40 * 60));
    shop.resume().await;
    assert_eq!(shop.find(topup.id).await.state, TopupState::Expired);
    let next = shop.topup(50).await;
    assert_ne!(next.id, topup.id);
}

#[tokio::test]
async fn a_payment_that_is_not_what_was_asked_for_is_never_credited() {
    let shop = Shop::open().await;
    let spoil: [fn(&mut stripe_shared::PaymentIntent); 4] = [
        |intent| intent.amount_received -= 1,
        |intent| intent.currency = stripe_types::Currency::EUR,
        |intent| intent.customer = Some(stripe_types::Expandable::Id("cus_somebody".into())),
        |intent| intent.customer = None,
    ];
    let topup = shop.topup(50).await;
    assert!(shop.pay(&topup, PAYS));
    let (id, good) = shop.fake.with(|books| {
        let (id, intent) = books.payment_intents.first_key_value().unwrap();
        (id.clone(), intent.clone())
    });
    for spoil in spoil {
        shop.fake.with(|books| spoil(books.payment_intents.get_mut(&id).unwrap()));
        let looked = billing::stripe::sync::payment(&shop.cards, &id).await;
        assert!(matches!(looked, Err(Error::PaymentDiffers { .. })), "{looked:?}");
        shop.fake.with(|books| books.payment_intents.insert(id.clone(), good.clone()));
    }
    shop.fake.with(|books| books.payment_intents.get_mut(&id).unwrap().status = PaymentIntentStatus::Processing);
    billing::stripe::sync::payment(&shop.cards, &id).await.unwrap();
    assert_eq!(shop.available().await, 0);
    shop.fake.with(|books| books.payment_intents.insert(id.clone(), good));
    billing::stripe::sync::payment(&shop.cards, &id).await.unwrap();
    assert_eq!(shop.ledger().await["credits"], 5_000);
}

#[tokio::test]
async fn a_payment_of_a_top_up_nobody_asked_for_is_left_alone() {
    let shop = Shop::open().await;
    shop.topup(50).await;
    for topup in [protocol::TopupId::from_uuid(uuid::Uuid::from_u128(9)).to_string(), "x".to_owned()] {
        let form =
            format!("amount=500&currency=usd&payment_method=pm_card_visa&confirm=true&metadata[topup_id]={topup}");
        let form = fake_stripe::form::Form::parse(form.as_bytes());
        shop.fake.with(|books| fake_stripe::objects::payment_intents::create(books, &form)).unwrap();
    }
    shop.hear_all().await;
    assert_eq!(shop.count("select count(*) from transfers").await, 0);
    assert_eq!(shop.count("select count(*) from stripe_events where outcome is null").await, 0);
}

//! Credit bought by itself: one charge, whoever calls for it and whatever dies.

use std::time::Duration;

use billing::recharge::{self, NewRule, Rule, Stopped};
use billing::stripe::{run, sync};
use billing::{Topup, TopupState};
use fake_stripe::FaultKind;
use protocol::NanoUsd;

use crate::cards::support::{PAYS, Shop, account, usd};

/// Attaches, and is declined once its holder is away.
const DECLINED_LATER: &str = "4000000000000341";
/// Always wants its holder.
const ASKS: &str = "4000002760003184";
const HOUR: Duration = Duration::from_secs(3_600);

fn rule(threshold: u32, amount: u32) -> NewRule {
    let (threshold, amount) = (usd(threshold), usd(amount));
    NewRule { threshold, amount, daily_cap: usd(200), monthly_cap: usd(400), card: None }
}

impl Shop {
    /// An account with `dollars` of credit bought with this card, to be recharged with 50 below 25.
    async fn low(dollars: u32, number: &str) -> Self {
        let shop = Self::open().await;
        shop.bought_with(dollars, number).await;
        recharge::set(&shop.cards, account(), rule(25, 50)).await.unwrap();
        shop
    }

    async fn recharge(&self) {
        recharge::work(&self.cards, self.env.now()).await.unwrap();
    }

    /// Charges made by themselves, oldest first.
    async fn charges(&self) -> Vec<Topup> {
        let which = billing::store::topups::Which { is_automatic: Some(true), ..Default::default() };
        let mut found = billing::store::topups::list(&mut self.db.acquire().await.unwrap(), which, 100).await.unwrap();
        found.reverse();
        found
    }

    async fn rule(&self) -> Rule {
        billing::store::recharge::find(&mut self.db.acquire().await.unwrap(), account()).await.unwrap().unwrap()
    }

    /// Payments at the processor that took money.
    fn payments(&self) -> usize {
        self.fake.with(|books| books.payment_intents.values().filter(|one| one.amount_received > 0).count())
    }

    /// What was told beside, in order.
    async fn news(&self) -> String {
        self.text("select coalesce(string_agg(body->>'type', ' ' order by seq), '') from outbox_events").await
    }
}

#[tokio::test]
async fn a_low_balance_charges_the_saved_card_once_with_its_tax_apart() {
    let shop = Shop::low(20, PAYS).await;
    shop.recharge().await;
    shop.recharge().await;
    let charges = shop.charges().await;
    assert_eq!(charges.len(), 1);
    assert_eq!((charges[0].state, charges[0].amount, charges[0].tax), (TopupState::Paid, usd(50), usd(4)));
    assert!(charges[0].receipt_url.clone().unwrap().contains("/receipts/ch_"));
    let ledger = shop.ledger().await;
    assert_eq!((ledger["credits"], ledger["available"], ledger["tax_payable"]), (7_000, 7_000, 160 + 400));
    shop.hear_all().await;
    assert_eq!(shop.ledger().await, ledger, "told afterwards it changes nothing");
    shop.assert_green().await;
    shop.resume().await;
    let recorded = shop.fake.with(|books| books.tax_transactions.keys().cloned().collect::<Vec<_>>());
    assert_eq!(recorded, [charges[0].id.to_string()], "its tax is recorded for the state, once");
    shop.resume().await;
    assert_eq!(shop.count("select count(*) from stripe_calls where state <> 'done'").await, 0);
    let back = billing::refund::request(&shop.cards, account(), Some(charges[0].id), usd(50)).await.unwrap();
    assert_eq!((back[0].credit, back[0].tax), (usd(50), usd(4)), "it goes back as any purchase does");
}

#[tokio::test]
async fn tax_whose_record_got_no_answer_is_recorded_once() {
    for (days, record) in [(0, "tax_"), (2, "refused")] {
        let shop = Shop::low(20, PAYS).await;
        shop.fake.fault("POST", "tax/transactions/create_from_calculation", 2, FaultKind::SilenceAfterCommit);
        shop.recharge().await;
        shop.resume().await;
        let records = async || shop.text("select coalesce(string_agg(tax_transaction, ' '), '') from topups").await;
        assert_eq!(records().await, "", "nobody knows yet");
        // A key of the day before yesterday is not sent; under the next one the reference was used, which a person reads.
        shop.clock.advance(days * Duration::from_secs(86_400));
        for _ in 0..3 {
            shop.resume().await;
        }
        assert!(records().await.starts_with(record), "after {days} days: {}", records().await);
        assert_eq!(shop.fake.with(|books| books.tax_transactions.len()), 1);
        assert_eq!(shop.count("select count(*) from stripe_calls where state = 'open'").await, 0);
    }
}

#[tokio::test]
async fn enough_credit_charges_nothing() {
    let shop = Shop::low(25, PAYS).await;
    shop.recharge().await;
    assert!(shop.charges().await.is_empty());
    let mut conn = shop.db.acquire().await.unwrap();
    billing::store::accounts::set_suspended(&mut conn, account(), true).await.unwrap();
    recharge::set(&shop.cards, account(), rule(100, 50)).await.unwrap();
    shop.recharge().await;
    assert!(shop.charges().await.is_empty(), "who may not spend is not charged");
    billing::store::accounts::set_suspended(&mut conn, account(), false).await.unwrap();
    assert!(billing::store::recharge::remove(&mut conn, account()).await.unwrap());
    shop.recharge().await;
    assert!(shop.charges().await.is_empty());
}

#[tokio::test]
async fn nobody_is_charged_by_itself_once_a_payment_is_disputed_and_not_won() {
    let shop = Shop::open().await;
    let topup = shop.bought_with(50, PAYS).await;
    recharge::set(&shop.cards, account(), rule(25, 50)).await.unwrap();
    let dispute = shop.dispute(&topup, None);
    shop.hear_all().await;
    assert_eq!(shop.ledger().await["available"], 0, "frozen, and so below every threshold");
    shop.recharge().await;
    recharge::consider(&shop.cards, account()).await.unwrap();
    assert!(shop.charges().await.is_empty());
    shop.decide(&dispute, false);
    shop.hear_all().await;
    shop.recharge().await;
    assert!(shop.charges().await.is_empty(), "its holder did not want the last one");
    shop.assert_green().await;
}

#[tokio::test]
async fn many_triggers_and_two_browsers_make_one_payment() {
    let shop = Shop::low(20, PAYS).await;
    let browser = |dollars| billing::topup::open(&shop.cards, account(), usd(dollars), None);
    let trigger = || recharge::consider(&shop.cards, account());
    let triggers = async {
        // Some lose the race for a page's end and come again, as the loop would.
        let _ = tokio::join!(trigger(), trigger(), trigger(), trigger(), trigger(), trigger(), trigger(), trigger());
    };
    let _ = tokio::join!(triggers, browser(60), browser(60));
    shop.recharge().await;
    shop.recharge().await;
    shop.hear_all().await;
    assert_eq!(shop.charges().await.len(), 1);
    assert_eq!((shop.payments(), shop.fake.with(|books| books.payment_intents.len())), (2, 2));
    assert_eq!(shop.ledger().await["credits"], 7_000);
    shop.assert_green().await;
}

#[tokio::test]
async fn a_page_that_is_being_paid_is_waited_for_and_one_nobody_pays_is_closed() {
    let shop = Shop::low(20, PAYS).await;
    let page = shop.topup(60).await;
    assert!(shop.pay(&page, PAYS));
    shop.recharge().await;
    assert!(shop.charges().await.is_empty(), "what was paid at the page is enough");
    assert_eq!(shop.find(page.id).await.state, TopupState::Paid);
    recharge::set(&shop.cards, account(), rule(100, 50)).await.unwrap();
    let page = shop.topup(60).await;
    shop.recharge().await;
    assert_eq!(shop.find(page.id).await.state, TopupState::Expired);
    assert_eq!(shop.charges().await.len(), 1);
    assert!(!shop.pay(&page, PAYS));
    shop.assert_green().await;
}

#[tokio::test]
async fn a_charge_whose_answer_was_lost_is_made_once() {
    use FaultKind as K;
    let charge = [
        K::SilenceAfterCommit,
        K::CutAfterCommit,
        K::GarbageAfterCommit,
        K::ErrorAfterCommit,
        K::SilenceBefore,
        K::RateLimited,
    ];
    let tax = [K::SilenceAfterCommit, K::ErrorAfterCommit];
    let charge = charge.into_iter().map(|kind| ("payment_intents", kind));
    for (path, kind) in charge.chain(tax.map(|kind| ("tax/calculations", kind))) {
        for times in [1, 2] {
            let shop = Shop::low(20, PAYS).await;
            shop.fake.fault("POST", path, times, kind);
            shop.recharge().await;
            shop.recharge().await;
            shop.resume().await;
            shop.resume().await;
            shop.hear_all().await;
            assert_eq!(shop.payments(), 2, "{path} {kind:?} {times}");
            assert_eq!(shop.ledger().await["credits"], 7_000, "{path} {kind:?} {times}");
            assert_eq!(shop.count("select count(*) from stripe_calls where state = 'open'").await, 0);
            shop.assert_green().await;
        }
    }
}

#[tokio::test]
async fn a_process_that_dies_anywhere_in_a_charge_leaves_it_to_be_made_once() {
    // Before anything is asked for, while tax is worked out, while the card is charged, and before it is credited.
    for (method, path, kind) in [
        ("POST", "tax/calculations", FaultKind::SilenceBefore),
        ("POST", "tax/calculations", FaultKind::SilenceAfterCommit),
        ("POST", "payment_intents", FaultKind::SilenceBefore),
        ("POST", "payment_intents", FaultKind::SilenceAfterCommit),
        ("GET", "payment_intents", FaultKind::SilenceBefore),
    ] {
        let shop = Shop::low(20, PAYS).await;
        shop.fake.fault(method, path, 1, kind);
        let cards = shop.cards.clone();
        let process = tokio::spawn(async move { recharge::consider(&cards, account()).await });
        // The fault is met, and the process is gone while it waits for an answer.
        while shop.fake.is_due(method, path) {
            tokio::task::yield_now().await;
        }
        process.abort();
        assert!(process.await.unwrap_err().is_cancelled(), "{method} {path} {kind:?}");
        assert_eq!(shop.charges().await.len(), 1, "{method} {path} {kind:?}");
        shop.recharge().await;
        assert_eq!(shop.charges().await.len(), 1, "one is under way already");
        shop.resume().await;
        shop.hear_all().await;
        assert_eq!(shop.payments(), 2, "{method} {path} {kind:?}");
        assert_eq!(shop.ledger().await["credits"], 7_000, "{method} {path} {kind:?}");
        assert_eq!(shop.count("select count(*) from stripe_calls where state = 'open'").await, 0);
        shop.assert_green().await;
    }
}

#[tokio::test]
async fn a_decline_waits_longer_each_time_then_stops_until_the_rule_is_set_again() {
    let shop = Shop::low(20, DECLINED_LATER).await;
    for (hours, declines) in [(1, 1), (6, 2), (24, 3)] {
        shop.recharge().await;
        shop.recharge().await;
        let (rule, charges) = (shop.rule().await, shop.charges().await);
        assert_eq!((rule.declines, rule.stopped, charges.len()), (declines, None, declines as usize));
        let last = charges.last().unwrap();
        assert_eq!((last.state, last.decline_code.as_deref()), (TopupState::Refused, Some("generic_decline")));
        shop.clock.advance(hours * HOUR);
    }
    shop.recharge().await;
    assert_eq!(shop.rule().await.stopped, Some(Stopped::Declined));
    let told = "recharge_declined recharge_declined recharge_declined recharge_stopped";
    assert_eq!(shop.news().await, told);
    shop.clock.advance(1_000 * HOUR);
    shop.recharge().await;
    shop.hear_all().await;
    shop.resume().await;
    assert_eq!((shop.charges().await.len(), shop.payments()), (4, 1), "nothing more is tried");
    assert_eq!(shop.news().await, told, "and nothing told twice");

    let good = shop.save(PAYS).await;
    recharge::set(&shop.cards, account(), NewRule { card: Some(good.id), ..rule(25, 50) }).await.unwrap();
    shop.recharge().await;
    assert_eq!(shop.ledger().await["credits"], 7_000);
    assert_eq!((shop.rule().await.declines, shop.rule().await.decline_code), (0, None));
    shop.assert_green().await;
}

#[tokio::test]
async fn a_bank_that_wants_its_customer_stops_the_rule_and_says_so_at_once() {
    let shop = Shop::low(20, ASKS).await;
    shop.recharge().await;
    let rule = shop.rule().await;
    assert_eq!(rule.stopped, Some(Stopped::AuthenticationRequired));
    assert_eq!(rule.decline_code.as_deref(), Some("authentication_required"));
    assert_eq!(shop.news().await, "recharge_stopped");
    shop.clock.advance(48 * HOUR);
    shop.recharge().await;
    shop.hear_all().await;
    assert_eq!((shop.charges().await.len(), shop.payments()), (1, 1));
    assert_eq!(shop.ledger().await["credits"], 2_000);
}

#[tokio::test]
async fn a_refusal_heard_before_a_death_is_acted_on_and_not_asked_for_again() {
    let shop = Shop::low(20, DECLINED_LATER).await;
    shop.recharge().await;
    let intents = shop.fake.with(|books| books.payment_intents.len());
    // What a process leaves that hears the refusal and dies before it writes down what follows.
    let died = "update topups set state = 'opening', decline_code = null where card_id is not null;
                update recharge_rules set declines = 0, decline_code = null, retry_at = null";
    sqlx::raw_sql(died).execute(shop.db.pool()).await.unwrap();
    shop.resume().await;
    assert_eq!(shop.charges().await[0].decline_code.as_deref(), Some("generic_decline"));
    assert_eq!(shop.rule().await.declines, 1);
    assert_eq!(shop.fake.with(|books| books.payment_intents.len()), intents);
}

#[tokio::test]
async fn a_decline_that_comes_after_the_answer_ends_the_charge_as_well() {
    let shop = Shop::low(20, PAYS).await;
    shop.fake.fault("GET", "payment_intents", 2, FaultKind::ErrorBefore);
    shop.recharge().await;
    let charge = shop.charges().await.remove(0);
    assert_eq!(charge.state, TopupState::Open);
    let intent = charge.payment_intent.unwrap();
    // The bank takes its time, and then says no.
    shop.fake.with(|books| {
        let intent = books.payment_intents.get_mut(&intent).unwrap();
        intent.status = stripe_shared::PaymentIntentStatus::Canceled;
        intent.amount_received = 0;
    });
    sync::payment(&shop.cards, &intent).await.unwrap();
    assert_eq!(shop.charges().await[0].state, TopupState::Refused);
    assert_eq!(shop.ledger().await["credits"], 2_000);
    assert_eq!(shop.news().await, "recharge_declined");
}

#[tokio::test]
async fn caps_hold_by_the_day_and_by_the_month() {
    let shop = Shop::open().await;
    shop.bought(20).await;
    // Never enough, so every look would charge again.
    let new = NewRule { daily_cap: usd(100), monthly_cap: usd(150), ..rule(1_000, 50) };
    recharge::set(&shop.cards, account(), new).await.unwrap();
    let paid_after = async |span: Duration| {
        shop.clock.advance(span);
        for _ in 0..4 {
            shop.recharge().await;
        }
        shop.charges().await.len()
    };
    assert_eq!(paid_after(Duration::ZERO).await, 2, "the first day's");
    assert_eq!(paid_after(24 * HOUR).await, 3, "what the month leaves");
    assert_eq!(paid_after(24 * HOUR).await, 3);
    assert_eq!(paid_after(30 * 24 * HOUR).await, 5, "another month, another day");
    shop.assert_green().await;
}

#[tokio::test]
async fn a_rule_that_cannot_be_meant_is_refused() {
    let shop = Shop::open().await;
    let refused = async |new: NewRule| recharge::set(&shop.cards, account(), new).await.unwrap_err();
    assert!(matches!(refused(rule(25, 50)).await, billing::Error::NoCard { .. }));
    shop.bought(20).await;
    assert!(matches!(refused(rule(25, 4)).await, billing::Error::TopupAmount { .. }));
    for (new, at_fault) in [
        (NewRule { threshold: NanoUsd::ZERO, ..rule(25, 50) }, "threshold_usd"),
        (NewRule { daily_cap: usd(49), ..rule(25, 50) }, "daily_cap_usd"),
        (NewRule { monthly_cap: usd(199), ..rule(25, 50) }, "monthly_cap_usd"),
    ] {
        let refused = refused(new).await;
        assert!(matches!(refused, billing::Error::RechargeRule { field, .. } if field == at_fault), "{refused}");
    }
    assert_eq!(shop.count("select count(*) from recharge_rules").await, 0);
}

#[tokio::test]
async fn a_charge_nobody_could_make_for_a_day_is_given_up() {
    let shop = Shop::low(20, PAYS).await;
    shop.fake.fault("POST", "payment_intents", 2, FaultKind::SilenceBefore);
    shop.recharge().await;
    shop.clock.advance(24 * HOUR);
    run::resume(&shop.cards, shop.env.now()).await.unwrap();
    let charges = shop.charges().await;
    assert_eq!((charges.len(), charges[0].state, shop.payments()), (1, TopupState::Expired, 1));
    shop.recharge().await;
    assert_eq!((shop.charges().await.len(), shop.payments()), (2, 2), "the next one is another");
}

#[tokio::test]
async fn a_charge_of_yesterday_whose_answer_was_lost_is_found_and_not_made_again() {
    let shop = Shop::low(20, PAYS).await;
    shop.fake.fault("POST", "payment_intents", 2, FaultKind::SilenceAfterCommit);
    shop.fake.fault("GET", "payment_intents", 2, FaultKind::SilenceBefore);
    shop.recharge().await;
    assert_eq!((shop.charges().await[0].state, shop.payments()), (TopupState::Opening, 2));
    shop.clock.advance(25 * HOUR);
    shop.resume().await;
    assert_eq!((shop.charges().await[0].state, shop.payments()), (TopupState::Paid, 2));
    shop.hear_all().await;
    assert_eq!(shop.ledger().await["credits"], 7_000);
    assert_eq!(shop.count("select count(*) from stripe_calls where state = 'open'").await, 0);
    shop.assert_green().await;
}

#[tokio::test]
async fn a_charge_whose_tax_nobody_could_work_out_for_a_day_is_not_made_tomorrow() {
    let shop = Shop::low(20, PAYS).await;
    shop.fake.fault("POST", "tax/calculations", 2, FaultKind::SilenceBefore);
    shop.recharge().await;
    shop.clock.advance(24 * HOUR);
    shop.resume().await;
    assert_eq!((shop.charges().await[0].state, shop.payments()), (TopupState::Expired, 1));
    assert_eq!(shop.count("select count(*) from stripe_calls where state = 'open'").await, 0);
}

#[tokio::test]
async fn a_charge_that_is_told_of_before_it_is_looked_for_leaves_no_call_without_an_outcome() {
    for card in [PAYS, DECLINED_LATER] {
        let shop = Shop::low(20, card).await;
        shop.fake.fault("POST", "payment_intents", 2, FaultKind::SilenceAfterCommit);
        shop.fake.fault("GET", "payment_intents", 2, FaultKind::SilenceBefore);
        shop.recharge().await;
        assert_eq!(shop.charges().await[0].state, TopupState::Opening, "{card}");
        shop.hear_all().await;
        assert_ne!(shop.charges().await[0].state, TopupState::Opening, "{card}");
        assert_eq!(shop.payments(), 1 + usize::from(card == PAYS), "{card}");
        assert_eq!(shop.count("select count(*) from stripe_calls where state = 'open'").await, 0, "{card}");
    }
}

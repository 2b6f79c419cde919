//! Saved cards, credit bought by itself, and what moved credit, as their owner meets them.

use api::webhooks::Fanout;
use http::Method;
use platform::worker::Worker as _;
use protocol::TopupId;
use protocol::event::Event;
use serde_json::{Value, json};

use crate::support::{Reply, TestApp, text};
use crate::topups::{Shop, manager};

const CARDS: &str = "/v1/credits/payment_methods";
const RULE: &str = "/v1/credits/auto_recharge";

fn rule() -> Value {
    json!({ "threshold_usd": "15", "amount_usd": "20", "daily_cap_usd": "40", "monthly_cap_usd": "100" })
}

impl Shop {
    async fn put_rule(&self, rule: &Value) -> Reply {
        self.test.call(Method::PUT, RULE).bearer(&self.key).json(rule).send().await
    }

    async fn delete(&self, path: &str) -> Reply {
        self.test.call(Method::DELETE, path).bearer(&self.key).send().await
    }

    /// Saves a card at a page of its own.
    async fn save(&self, card: &str) -> Value {
        let made = self.post(CARDS, json!({ "return_url": "https://example.com/back" })).await;
        assert_eq!((made.status.as_u16(), &made.json["status"]), (201, &json!("open")), "{}", made.json);
        self.fill(&text(&made.json["setup_url"]), card).await;
        self.get(CARDS).await["data"][0].clone()
    }
}

#[tokio::test]
async fn a_card_is_saved_listed_chosen_and_removed() {
    let shop = Shop::open().await;
    let visa = shop.save("4242424242424242").await;
    assert_eq!((&visa["brand"], &visa["last4"], &visa["is_default"]), (&json!("visa"), &json!("4242"), &json!(true)));
    assert_eq!(visa["type"], "card");
    let mastercard = shop.save("5555555555554444").await;
    let path = format!("{CARDS}/{}", text(&mastercard["id"]));
    assert_eq!(shop.get(&path).await, mastercard);
    let chosen = shop.post(&format!("{path}/default"), json!({})).await;
    assert_eq!((chosen.status.as_u16(), &chosen.json["is_default"]), (200, &json!(true)), "{}", chosen.json);
    let page = shop.get(&format!("{CARDS}?limit=1")).await;
    assert_eq!((&page["data"][0]["id"], &page["has_more"]), (&mastercard["id"], &json!(true)));

    let stranger = Shop { key: manager(&shop.test).await, ..shop };
    assert_eq!(stranger.get(CARDS).await["data"], json!([]));
    for reply in [
        stranger.test.get(&path).bearer(&stranger.key).send().await,
        stranger.post(&format!("{path}/default"), json!({})).await,
        stranger.delete(&path).await,
    ] {
        assert_eq!((reply.status.as_u16(), reply.code()), (404, Some("not_found")), "somebody else's card");
    }
    let mut foreign = rule();
    foreign["payment_method"] = mastercard["id"].clone();
    let refused = stranger.put_rule(&foreign).await;
    assert_eq!((refused.status.as_u16(), &refused.json["error"]["param"]), (400, &json!("payment_method")));
}

#[tokio::test]
async fn a_rule_charges_the_card_when_credit_is_low_and_shows_what_stopped_it() {
    let shop = Shop::open().await;
    let none = shop.test.get(RULE).bearer(&shop.key).send().await;
    assert_eq!((none.status.as_u16(), none.code()), (404, Some("not_found")));
    let made = shop.post("/v1/credits/topups", json!({ "amount_usd": "10" })).await.json;
    assert_eq!((&made["payment_method"], &made["decline_code"]), (&Value::Null, &Value::Null));
    shop.pay(&made).await;
    for (field, wrong) in
        [("threshold_usd", "0"), ("amount_usd", "1"), ("daily_cap_usd", "19"), ("monthly_cap_usd", "39")]
    {
        let mut body = rule();
        body[field] = json!(wrong);
        let refused = shop.put_rule(&body).await;
        let at_fault = &refused.json["error"]["param"];
        assert_eq!((refused.status.as_u16(), at_fault), (400, &json!(field)), "{}", refused.json);
    }
    let set = shop.put_rule(&rule()).await;
    assert_eq!((set.status.as_u16(), &set.json["status"]), (200, &json!("active")), "{}", set.json);
    assert_eq!((&set.json["threshold_usd"], &set.json["stopped_by"]), (&json!("15.00"), &Value::Null));
    let cards = shop.test.app.cards.as_ref().unwrap();
    billing::recharge::work(cards, shop.test.app.env.now()).await.unwrap();
    assert_eq!(shop.get("/v1/credits").await["data"]["total_credits"], "30.00");
    let charged = shop.get("/v1/credits/topups").await["data"][0].clone();
    assert_eq!((&charged["status"], &charged["payment_method"]), (&json!("paid"), &set.json["payment_method"]));

    let gone = shop.delete(&format!("{CARDS}/{}", text(&set.json["payment_method"]))).await;
    assert_eq!((gone.status.as_u16(), &gone.json["deleted"]), (200, &json!(true)), "{}", gone.json);
    let rule = shop.get(RULE).await;
    assert_eq!((&rule["status"], &rule["stopped_by"]), (&json!("stopped"), &json!("card_removed")));
    for _ in 0..2 {
        let gone = shop.delete(RULE).await;
        assert_eq!((gone.status.as_u16(), &gone.json["object"]), (200, &json!("auto_recharge")), "{}", gone.json);
    }
}

#[tokio::test]
async fn the_history_shows_each_movement_with_the_balance_after_it() {
    let shop = Shop::open().await;
    let made = shop.post("/v1/credits/topups", json!({ "amount_usd": "50" })).await.json;
    shop.pay(&made).await;
    let back = shop.post("/v1/credits/refunds", json!({ "amount_usd": "20" })).await.json;
    let history = shop.get("/v1/credits/history").await;
    let shown = |line: &Value| {
        let [kind, amount, balance] = ["kind", "amount_usd", "balance_usd"].map(|field| text(&line[field]));
        format!("{kind} {amount} {balance} {}", text(&line["source"]))
    };
    let lines: Vec<String> = history["data"].as_array().unwrap().iter().map(shown).collect();
    let (topup, refund) = (text(&made["id"]), text(&back["data"][0]["id"]));
    assert_eq!(lines, [format!("refund -20.00 30.00 {refund}"), format!("topup 50.00 50.00 {topup}")]);
    let page = shop.get(&format!("/v1/credits/history?limit=1&after={}", text(&history["data"][0]["id"]))).await;
    assert_eq!((&page["data"][0], &page["has_more"]), (&history["data"][1], &json!(false)));
    let wrong = shop.test.get("/v1/credits/history?after=yesterday").bearer(&shop.key).send().await;
    assert_eq!((wrong.status.as_u16(), &wrong.json["error"]["param"]), (400, &json!("after")));
    let stranger = Shop { key: manager(&shop.test).await, ..shop };
    assert_eq!(stranger.get("/v1/credits/history").await["data"], json!([]));
}

#[tokio::test]
async fn a_young_organization_that_asks_for_too_much_is_told_so_and_not_to_try_again() {
    let shop = Shop::open().await;
    for dollars in 10..20 {
        let reply = shop.post("/v1/credits/topups", json!({ "amount_usd": dollars.to_string() })).await;
        assert_eq!(reply.status, 201, "{}", reply.json);
    }
    let reply = shop.post("/v1/credits/topups", json!({ "amount_usd": "20" })).await;
    assert_eq!((reply.status.as_u16(), reply.code()), (429, Some("rate_limit_exceeded")), "{}", reply.json);
    assert_eq!(reply.header("x-should-retry"), Some("false"));
}

#[tokio::test]
async fn an_organization_is_told_that_its_card_was_declined_and_that_nothing_more_is_tried() {
    let test = TestApp::start_with(|config| config.webhooks.allow_private = true).await;
    let organization = text(&test.admin(&["org", "create", "Customer"]).await["organization"]);
    let admin = test.admin(&["key", "create", "--org", &organization, "--kind", "admin"]).await;
    let endpoint = json!({ "url": "http://127.0.0.1:9/hook", "events": [] });
    let made = test.post("/v1/organization/webhooks", &endpoint).bearer(&text(&admin["secret"])).send().await;
    assert_eq!(made.status, 201, "{}", made.json);
    let organization = organization.parse().unwrap();
    let (topup, now): (TopupId, _) = (test.app.env.mint(), test.app.env.now());
    let mut tx = test.app.db.begin().await.unwrap();
    for event in [
        Event::RechargeDeclined { organization, topup, code: "insufficient_funds".to_owned() },
        Event::RechargeStopped { organization, topup, code: "stolen_card".to_owned() },
        Event::RechargeStopped { organization: test.app.env.mint(), topup, code: "stolen_card".to_owned() },
    ] {
        platform::outbox::append(&mut tx, test.app.env.mint(), &event, now).await.unwrap();
    }
    tx.commit().await.unwrap();
    Fanout::new(test.app.db.clone(), test.app.env.clone()).tick(now).await.unwrap();
    let query = "select body from webhook_deliveries order by delivery_id";
    let told: Vec<String> = sqlx::query_scalar(query).fetch_all(&test.app.db).await.unwrap();
    let told: Vec<Value> = told.iter().map(|body| serde_json::from_str(body).unwrap()).collect();
    let types: Vec<&Value> = told.iter().map(|body| &body["type"]).collect();
    assert_eq!(types, ["credits.auto_recharge.declined", "credits.auto_recharge.stopped"], "nobody else's");
    assert!(told.iter().all(|body| body["data"]["id"] == topup.to_string()));
}

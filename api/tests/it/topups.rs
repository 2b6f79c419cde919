//! Credit bought by card, as its buyer meets it.

use api::config::Config;
use fake_stripe::{FakeStripe, Knobs, hooks, objects};
use http::Method;
use serde_json::{Value, json};

use crate::support::{Reply, TestApp, text};

const SECRET: &str = "whsec_test";

/// A broker that takes cards, the processor behind it, and a management key.
pub struct Shop {
    pub test: TestApp,
    pub fake: FakeStripe,
    pub key: String,
}

impl Shop {
    pub async fn open() -> Self {
        let (env, _) = platform::testing::env(8);
        let knobs = Knobs { tax_bps: 800, ..Knobs::default() };
        let fake = FakeStripe::start(([127, 0, 0, 1], 0).into(), env, knobs).await.unwrap();
        let test = TestApp::start_with(|config| takes_cards(config, &fake)).await;
        let key = manager(&test).await;
        Self { test, fake, key }
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.test.post(path, &body).bearer(&self.key).send().await
    }

    pub async fn get(&self, path: &str) -> Value {
        let reply = self.test.get(path).bearer(&self.key).send().await;
        assert_eq!(reply.status, 200, "{}", reply.json);
        reply.json
    }

    async fn hook(&self, body: &Value, secret: &str) -> Reply {
        hook(&self.test, body, secret).await
    }

    /// Pays at the page of a top-up, and the processor tells.
    pub async fn pay(&self, topup: &Value) {
        pay(&self.test, &self.fake, topup).await;
    }

    /// Gives a card at a page, and the processor tells.
    pub async fn fill(&self, url: &str, card: &str) {
        fill(&self.test, &self.fake, url, card).await;
    }
}

/// Settings of a broker that takes cards through `fake`.
pub fn takes_cards(config: &mut Config, fake: &FakeStripe) {
    config.stripe.secret_key = Some("sk_test_1".into());
    config.stripe.webhook_secret = Some(SECRET.into());
    config.stripe.api_base = Some(fake.url());
}

async fn hook(test: &TestApp, body: &Value, secret: &str) -> Reply {
    let signature = hooks::sign(&body.to_string(), secret, test.app.env.now().unix_seconds());
    let call = test.call(Method::POST, "/hooks/stripe").header("stripe-signature", &signature);
    call.json(body).send().await
}

/// Pays at the page of a top-up, and the processor tells.
pub async fn pay(test: &TestApp, fake: &FakeStripe, topup: &Value) {
    fill(test, fake, &text(&topup["checkout_url"]), "4242424242424242").await;
}

/// Gives a card at a page, and the processor tells.
async fn fill(test: &TestApp, fake: &FakeStripe, url: &str, card: &str) {
    let session = url.rsplit_once('/').unwrap().1.to_owned();
    fake.with(|books| objects::checkout::pay(books, &session, card)).unwrap();
    let told: Vec<Value> = fake.with(|books| books.events.values().map(fake_stripe::books::shown).collect());
    for event in told {
        assert_eq!(hook(test, &event, SECRET).await.status, 200);
    }
    let cards = test.app.cards.as_ref().unwrap();
    billing::stripe::inbox::work(cards, test.app.env.now()).await.unwrap();
}

pub async fn manager(test: &TestApp) -> String {
    let organization = text(&test.admin(&["org", "create", "Customer"]).await["organization"]);
    let key = test.admin(&["key", "create", "--org", &organization, "--kind", "management"]).await;
    text(&key["secret"])
}

#[tokio::test]
async fn a_top_up_paid_at_its_page_moves_the_balance_and_can_go_back() {
    let shop = Shop::open().await;
    let made = shop.post("/v1/credits/topups", json!({ "amount_usd": "50" })).await;
    assert_eq!((made.status.as_u16(), &made.json["status"]), (201, &json!("open")), "{}", made.json);
    assert_eq!((&made.json["amount_usd"], &made.json["tax_usd"]), (&json!("50.00"), &json!("4.00")));
    let again = shop.post("/v1/credits/topups", json!({ "amount_usd": "50.000" })).await;
    assert_eq!(again.json["id"], made.json["id"], "the same wish gets the same page");

    shop.pay(&made.json).await;
    assert_eq!(shop.get("/v1/credits").await["data"]["total_credits"], "50.00");
    let path = format!("/v1/credits/topups/{}", text(&made.json["id"]));
    let paid = shop.get(&path).await;
    assert_eq!((&paid["status"], &paid["checkout_url"]), (&json!("paid"), &Value::Null));
    assert!(text(&paid["receipt_url"]).starts_with("http") && text(&paid["invoice_pdf"]).ends_with("/pdf"));
    assert_eq!(shop.get("/v1/credits/topups").await["data"], json!([paid]));

    let back = shop.post("/v1/credits/refunds", json!({ "amount_usd": "20" })).await;
    let part = &back.json["data"][0];
    assert_eq!((back.status.as_u16(), &part["status"], &part["tax_usd"]), (201, &json!("succeeded"), &json!("1.60")));
    assert_eq!(shop.get("/v1/credits").await["data"]["total_credits"], "30.00");
    let more = shop.post("/v1/credits/refunds", json!({ "amount_usd": "31" })).await;
    assert_eq!((more.status.as_u16(), more.code()), (400, Some("invalid_value")), "{}", more.json);
}

/// The answer is gone, as with a broker that died behind the debit or a database that was full for a moment.
#[tokio::test]
async fn a_keyed_refund_whose_answer_was_lost_takes_nothing_twice() {
    let shop = Shop::open().await;
    let made = shop.post("/v1/credits/topups", json!({ "amount_usd": "50" })).await;
    shop.pay(&made.json).await;
    let ask = async |key: &str, amount: &str| {
        let call = shop.test.call(Method::POST, "/v1/credits/refunds").bearer(&shop.key);
        call.header("idempotency-key", key).json(&json!({ "amount_usd": amount })).send().await
    };
    let first = ask("one", "10").await;
    assert_eq!(first.status, 201, "{}", first.json);
    let db = &shop.test.app.db;
    sqlx::query("delete from idempotency_keys").execute(db).await.unwrap();
    let again = ask("one", "10").await;
    assert_eq!((again.status.as_u16(), &again.json["data"]), (201, &first.json["data"]));
    assert_eq!(shop.fake.with(|books| books.refunds.len()), 1);
    let told = "select count(*) from audit_events where action = 'refund.created'";
    assert_eq!(sqlx::query_scalar::<_, i64>(told).fetch_one(db).await.unwrap(), 1);
    assert_ne!(ask("two", "10").await.json["data"], first.json["data"], "another key is another wish");
    assert_eq!(shop.fake.with(|books| books.refunds.len()), 2);
    shop.test.clock.advance(std::time::Duration::from_secs(24 * 3_600));
    assert_eq!(ask("one", "10").await.status, 201);
    assert_eq!(shop.fake.with(|books| books.refunds.len()), 3, "a key is free again after a day");
}

#[tokio::test]
async fn what_cannot_be_bought_is_refused_with_the_field_named() {
    let shop = Shop::open().await;
    for (body, param) in [
        (json!({ "amount_usd": "4.99" }), "amount_usd"),
        (json!({ "amount_usd": "101" }), "amount_usd"),
        (json!({ "amount_usd": "10.001" }), "amount_usd"),
        (json!({ "amount_usd": "-10" }), "amount_usd"),
        (json!({ "amount_usd": "99999999999" }), "amount_usd"),
        (json!({}), "amount_usd"),
        (json!({ "amount_usd": "10", "return_url": "javascript:alert(1)" }), "return_url"),
    ] {
        let reply = shop.post("/v1/credits/topups", body.clone()).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json["error"]["param"]),
            (400, &json!(param)),
            "{body}: {}",
            reply.json
        );
    }
    assert_eq!(shop.fake.with(|books| books.sessions.len()), 0);
}

#[tokio::test]
async fn nobody_sees_or_refunds_what_somebody_else_bought() {
    let shop = Shop::open().await;
    let made = shop.post("/v1/credits/topups", json!({ "amount_usd": "50" })).await.json;
    shop.pay(&made).await;
    let stranger = Shop { key: manager(&shop.test).await, ..shop };
    assert_eq!(stranger.get("/v1/credits/topups").await["data"], json!([]));
    let path = format!("/v1/credits/topups/{}", text(&made["id"]));
    let seen = stranger.test.get(&path).bearer(&stranger.key).send().await;
    assert_eq!(seen.status, 404);
    let back = stranger.post("/v1/credits/refunds", json!({ "topup_id": made["id"], "amount_usd": "5" })).await;
    assert_eq!(back.status, 400);
}

#[tokio::test]
async fn a_webhook_nobody_signed_is_refused_and_one_too_large_is_not_read() {
    let shop = Shop::open().await;
    let event = json!({ "id": "evt_1", "type": "payment_intent.succeeded", "data": { "object": { "id": "pi_1" } } });
    let forged = shop.hook(&event, "whsec_other").await;
    assert_eq!((forged.status.as_u16(), forged.code()), (400, Some("invalid_value")));
    let unsigned = shop.test.call(Method::POST, "/hooks/stripe").json(&event).send().await;
    assert_eq!(unsigned.status, 400);
    let large = json!({ "id": "evt_1", "padding": "x".repeat(300_000) });
    assert_eq!(shop.hook(&large, SECRET).await.status, 413);
    let stored: i64 =
        sqlx::query_scalar("select count(*) from stripe_events").fetch_one(&shop.test.app.db).await.unwrap();
    assert_eq!(stored, 0);
    assert_eq!(shop.hook(&event, SECRET).await.status, 200);
}

#[tokio::test]
async fn a_broker_without_a_card_processor_says_so() {
    let test = TestApp::start().await;
    let key = manager(&test).await;
    let reply = test.post("/v1/credits/topups", &json!({ "amount_usd": "50" })).bearer(&key).send().await;
    assert_eq!((reply.status.as_u16(), reply.code()), (400, Some("invalid_state")));
    assert_eq!(test.call(Method::POST, "/hooks/stripe").json(&json!({})).send().await.status, 400);
}

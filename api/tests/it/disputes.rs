//! What an operator does about payments cardholders want back, and about what the card processor told.

use std::collections::BTreeMap;
use std::io::Read as _;

use api::config::Config;
use api::store::audit::Actor;
use billing::stripe::sync;
use clap::Parser;
use fake_stripe::{FakeStripe, Knobs, hooks, objects};
use protocol::{NanoUsd, OrganizationId};
use serde_json::{Value, json};

use crate::support::{TestApp, text};

const SECRET: &str = "whsec_test";

/// A broker that takes cards, the processor behind it, and a customer who bought fifty dollars.
struct Desk {
    test: TestApp,
    fake: FakeStripe,
    org: String,
    topup: billing::Topup,
}

impl Desk {
    async fn open() -> Self {
        let (env, _) = platform::testing::env(8);
        let fake = FakeStripe::start(([127, 0, 0, 1], 0).into(), env, Knobs::default()).await.unwrap();
        let url = fake.url();
        let test = TestApp::start_with(|config: &mut Config| {
            config.stripe.secret_key = Some("sk_test_1".into());
            config.stripe.webhook_secret = Some(SECRET.into());
            config.stripe.api_base = Some(url);
            config.stripe.has_tax = false;
        })
        .await;
        let (org, _) = test.customer().await;
        let cards = test.app.cards.as_ref().unwrap();
        let account: OrganizationId = org.parse().unwrap();
        let topup = billing::topup::open(cards, account, NanoUsd::from_dollars(50), None).await.unwrap();
        let session = topup.session.clone().unwrap();
        fake.with(|books| objects::checkout::pay(books, &session, "4242424242424242")).unwrap();
        sync::session(cards, &session).await.unwrap();
        Self { test, fake, org, topup }
    }

    /// The cardholder disputes it; the processor's name for that.
    async fn dispute(&self) -> String {
        let made = self.fake.with(|books| {
            let charge = books.charges.keys().last().cloned().unwrap();
            objects::disputes::open(books, &charge, None, "fraudulent").unwrap()
        });
        let id = text(&made["id"]);
        sync::dispute(self.test.app.cards.as_ref().unwrap(), &id).await.unwrap();
        id
    }

    /// `steelyard admin …` with the card processor at hand.
    async fn admin(&self, words: &[&str]) -> Result<Value, String> {
        let line = Line::<api::commands::admin::Args>::parse(words);
        let (db, env, cards) = (self.test.app.db.clone(), self.test.app.env.clone(), self.test.app.cards.clone());
        let done = api::commands::admin::execute_with(line, db, env, operator(), cards, &Config::default()).await;
        done.map_err(|error| error.to_string())
    }

    async fn refund(&self, usd: &str) -> Result<Value, String> {
        self.admin(&["org", "refund", &self.org, "--usd", usd, "--reason", "they asked"]).await
    }

    /// `steelyard webhooks …`.
    async fn webhooks(&self, words: &[&str]) -> Result<Value, String> {
        let line = Line::<api::commands::webhooks::Args>::parse(words);
        let (app, config) = (&self.test.app, self.test.app.cards.as_ref().unwrap().config().clone());
        let done = api::commands::webhooks::execute(line, app.db.clone(), app.env.clone(), operator(), config).await;
        done.map_err(|error| error.to_string())
    }

    async fn audited(&self, action: &str) -> Vec<Value> {
        let query = "select detail from audit_events where action = $1 order by event_id";
        sqlx::query_scalar(query).bind(action).fetch_all(&self.test.app.db).await.unwrap()
    }
}

#[derive(Parser)]
struct Line<T: clap::Args> {
    #[command(flatten)]
    args: T,
}

impl<T: clap::Args> Line<T> {
    fn parse(words: &[&str]) -> T {
        Self::try_parse_from(std::iter::once("steelyard").chain(words.iter().copied())).unwrap().args
    }
}

fn operator() -> Actor {
    Actor::Operator("test".to_owned())
}

/// One request of the customer, settled.
async fn use_some(desk: &Desk) -> protocol::RequestId {
    let (env, account) = (&desk.test.app.env, desk.org.parse::<OrganizationId>().unwrap());
    let (request, now) = (env.mint::<protocol::RequestId>(), env.now());
    sqlx::query(
        "insert into usage (request_id, account_id, project_id, key_id, flush_id, outcome, hold_nano_usd,
                            charge_nano_usd, model, prompt, cached_prompt, cache_write, completion, internal_reasoning,
                            requests, streamed, received_at, finished_at, settled_at)
         values ($1, $2, $2, $2, $2, 'completed', 5000000, 5000000, 'org/name', 10, 2, 0, 7, 0, 1, true, $3, $3, $3)",
    )
    .bind(protocol::Id::uuid(request))
    .bind(protocol::Id::uuid(account))
    .bind(now)
    .execute(&desk.test.app.db)
    .await
    .unwrap();
    request
}

#[tokio::test]
async fn evidence_is_one_file_with_the_purchase_its_usage_and_its_keys() {
    let desk = Desk::open().await;
    let request = use_some(&desk).await;
    let key = text(&desk.admin(&["key", "list", "--org", &desk.org]).await.unwrap()[0]["key"]);
    let app = &desk.test.app;
    let peer = api::addresses::Peer([203, 0, 113, 7].into());
    app.addresses.note(key.parse().unwrap(), peer, &http::HeaderMap::new(), app.env.now());
    app.addresses.write(&app.db).await.unwrap();
    let dispute = desk.dispute().await;
    let listed = desk.admin(&["dispute", "list", "--undecided"]).await.unwrap();
    let row = &listed.as_array().unwrap()[0];
    assert_eq!(
        (&row["dispute"], &row["state"], &row["amount_usd"]),
        (&json!(dispute), &json!("open"), &json!("50.00"))
    );

    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("evidence.tar");
    let words = ["dispute", "evidence", &dispute, "--out", out.to_str().unwrap()];
    let packed = desk.admin(&words).await.unwrap();
    assert_eq!(packed["requests"], 1);
    assert_eq!(text(&packed["submit_at"]), format!("https://dashboard.stripe.com/disputes/{dispute}"));
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(std::fs::File::open(&out).unwrap()).entries().unwrap() {
        let (mut entry, mut content) = (entry.unwrap(), String::new());
        entry.read_to_string(&mut content).unwrap();
        files.insert(entry.path().unwrap().display().to_string(), content);
    }
    let names: Vec<_> = ["README.txt", "addresses.csv", "facts.json", "keys.csv", "usage.csv"]
        .map(|name| format!("dispute-{dispute}/{name}"))
        .into();
    assert_eq!(files.keys().cloned().collect::<Vec<_>>(), names);
    let file = |at: usize| &files[&names[at]];
    assert!(
        file(0).contains("submit that by hand") && file(0).contains("1 requests, which came to 0.005 USD"),
        "{}",
        file(0)
    );
    let facts: Value = serde_json::from_str(file(2)).unwrap();
    assert_eq!(facts["purchase"]["topup"], json!(desk.topup.id));
    assert!(text(&facts["purchase"]["receipt_url"]).starts_with("http"));
    assert!(file(1).lines().nth(1).unwrap().starts_with(&format!("{key},203.0.113.7,")), "{}", file(1));
    assert!(file(3).contains(&key), "{}", file(3));
    let line = file(4).lines().nth(1).unwrap();
    assert!(line.contains(&request.to_string()) && line.ends_with("completed,12,7,0.005"), "{line}");

    let again = desk.admin(&words).await.unwrap_err();
    assert!(again.contains("evidence.tar"), "nothing is written over: {again}");
    assert_eq!(desk.audited("dispute.evidence_packed").await.len(), 1);
    let unknown = desk.admin(&["dispute", "evidence", "du_none"]).await.unwrap_err();
    assert_eq!(unknown, "there is no dispute du_none");
}

#[tokio::test]
async fn an_operator_refunds_what_was_bought_and_says_why() {
    let desk = Desk::open().await;
    let back = desk.refund("20").await.unwrap();
    assert_eq!((&back[0]["state"], &back[0]["amount_usd"]), (&json!("succeeded"), &json!("20.00")));
    let audited = desk.audited("refund.created").await;
    assert_eq!((audited.len(), &audited[0]["reason"]), (1, &json!("they asked")));
    assert!(desk.refund("31").await.unwrap_err().contains("can't be refunded"));
    desk.dispute().await;
    assert!(desk.refund("5").await.unwrap_err().contains("can't be refunded"), "what is disputed is the bank's");
    assert!(billing::reconcile(&desk.test.app.db).await.unwrap().is_green());
}

#[tokio::test]
async fn what_was_told_and_given_up_is_replayed_or_resolved_with_a_trace() {
    let desk = Desk::open().await;
    assert_eq!(desk.webhooks(&["list-parked"]).await.unwrap(), json!({ "events": [] }));
    let cards = desk.test.app.cards.as_ref().unwrap();
    for id in ["evt_1", "evt_2"] {
        let event =
            json!({ "id": id, "type": "charge.updated", "data": { "object": { "id": "ch_none" } } }).to_string();
        let signature = hooks::sign(&event, SECRET, desk.test.app.env.now().unix_seconds());
        billing::stripe::inbox::take(cards, &signature, event.as_bytes()).await.unwrap();
    }
    sqlx::query("update stripe_events set attempts = 9").execute(&desk.test.app.db).await.unwrap();
    billing::stripe::inbox::work(cards, desk.test.app.env.now()).await.unwrap();
    let parked = desk.webhooks(&["list-parked"]).await.unwrap();
    assert_eq!(parked["events"].as_array().unwrap().len(), 2, "{parked}");
    assert!(text(&parked["events"][0]["error"]).contains("No such charge"), "{parked}");

    let resolved = desk.webhooks(&["resolve", "evt_1", "--reason", "paid by wire"]).await.unwrap();
    assert_eq!(resolved, json!({ "event": "evt_1", "resolved": true }));
    assert_eq!(desk.audited("card_event.resolved").await, [json!({ "reason": "paid by wire" })]);
    assert_eq!(desk.webhooks(&["replay", "evt_2"]).await.unwrap()["due"], true);
    assert_eq!(desk.audited("card_event.replayed").await.len(), 1);
    for words in [&["replay", "evt_1"][..], &["resolve", "evt_2", "--reason", "again"], &["replay", "evt_3"]] {
        assert!(desk.webhooks(words).await.unwrap_err().contains("is parked"), "{words:?}");
    }
    assert!(desk.webhooks(&["backfill"]).await.unwrap()["new"].as_u64().unwrap() > 0);
}

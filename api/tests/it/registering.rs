//! What wallets sign, who gets a short name, and that asking for either takes nothing from others.

use std::time::Duration;

use api::run::Pruning;
use http::Method;
use platform::worker::Worker as _;
use protocol::challenge::{Challenge, Expected, Purpose};
use serde_json::{Value, json};

use crate::support::{Reply, TestApp, text, wallet};

fn announcement(slug: &str, seed: u8) -> Value {
    let address = wallet(seed).address();
    json!({
        "name": "Other", "slug": slug, "contact_email": "a@b.example", "country": "FR", "terms_version": "1",
        "payout_account": format!("eip155:1:{address}"), "receipt_address": address,
    })
}

/// A registration of `slug` by the wallet of `seed`.
async fn announce(test: &TestApp, slug: &str, seed: u8) -> Reply {
    test.post("/v1/providers", &announcement(slug, seed)).send().await
}

async fn ask_rotation(test: &TestApp, provider: &str) -> Reply {
    test.post(&format!("/v1/providers/{provider}/challenges"), &json!({ "purpose": "key_rotation" })).send().await
}

#[tokio::test]
async fn a_challenge_names_the_broker_by_its_public_url_whatever_the_caller_calls_it() {
    let test = TestApp::start_with(|config| {
        config.providers.probes_to_activate = 0;
        config.server.public_url = Some("https://broker.example/base".to_owned());
    })
    .await;
    let joined = test.join(1).await;
    let path = format!("/v1/providers/{}/challenges", joined.provider);
    let asking =
        test.call(Method::POST, &path).header("host", "evil.example").header("x-forwarded-host", "evil.example");
    let reply = asking.json(&json!({ "purpose": "key_rotation" })).send().await;
    let challenge = Challenge::parse(&text(&reply.json["message"])).unwrap();
    let wallet = wallet(1).address();
    let expected = Expected {
        origin: "https://broker.example",
        wallet,
        purpose: Purpose::KeyRotation,
        provider: joined.provider.parse().unwrap(),
        slug: "provider-1",
        payout_account: &format!("eip155:8453:{wallet}"),
        terms_version: "1",
    };
    challenge.check(&expected).unwrap();
    assert_eq!(challenge.chain_id, 8_453);
    assert_eq!(challenge.expires_at.unix_seconds(), reply.json["expires_at"].as_i64().unwrap());
}

#[tokio::test]
async fn who_asks_for_challenges_without_end_keeps_nobody_from_rotating_its_key() {
    let test = TestApp::start().await;
    let joined = test.join(1).await;
    let first = ask_rotation(&test, &joined.provider).await;
    assert_eq!(first.status, 201);
    for _ in 0..30 {
        let again = ask_rotation(&test, &joined.provider).await;
        assert_eq!((again.status.as_u16(), &again.json), (200, &first.json));
    }
    test.clock.advance(Duration::from_secs(9 * 60));
    let fresh = ask_rotation(&test, &joined.provider).await;
    assert_eq!(fresh.status, 201, "one about to end is no use to anybody");
    assert_ne!(fresh.json["id"], first.json["id"]);
    assert_eq!(test.verify(&joined.provider, &first.json, 1).await.status, 200, "and still counts until then");
}

#[tokio::test]
async fn two_rotations_leave_one_key_because_each_waits_for_the_other() {
    let test = TestApp::start().await;
    let joined = test.join(1).await;
    let first = ask_rotation(&test, &joined.provider).await.json;
    test.clock.advance(Duration::from_secs(9 * 60));
    let second = ask_rotation(&test, &joined.provider).await.json;
    let mut other = test.app.db.begin().await.unwrap();
    let provider = joined.provider.parse().unwrap();
    scheduler::store::providers::claim(&mut other, provider).await.unwrap();
    let mut rotating = std::pin::pin!(async {
        tokio::join!(test.verify(&joined.provider, &first, 1), test.verify(&joined.provider, &second, 1))
    });
    let early = tokio::time::timeout(Duration::from_millis(300), rotating.as_mut()).await;
    assert!(early.is_err(), "whoever holds the provider is waited for");
    other.rollback().await.unwrap();
    let (one, two) = rotating.await;
    assert_eq!((one.status.as_u16(), two.status.as_u16()), (200, 200));
    let left = sqlx::query_scalar!(
        r#"select count(*) as "count!" from api_keys where kind = 'provider' and revoked_at is null"#,
    );
    assert_eq!(left.fetch_one(&test.app.db).await.unwrap(), 1);
}

#[tokio::test]
async fn a_slug_belongs_to_whoever_first_proves_a_wallet_for_it() {
    let test = TestApp::start().await;
    let squatter = announce(&test, "provider-1", 9).await;
    let another = announce(&test, "provider-1", 8).await;
    assert_eq!((squatter.status.as_u16(), another.status.as_u16()), (201, 201));
    test.join(1).await;
    let late = test.verify(&text(&squatter.json["provider"]["id"]), &squatter.json["challenge"], 9).await;
    assert_eq!((late.status.as_u16(), &late.json["error"]["param"]), (400, &json!("slug")));
    assert_eq!(announce(&test, "provider-1", 9).await.json["error"]["param"], "slug");
}

async fn pending(test: &TestApp) -> i64 {
    scheduler::store::providers::count_pending(&mut test.app.db.acquire().await.unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_provider_that_proves_nothing_within_a_day_is_forgotten() {
    let test = TestApp::start().await;
    let (old, challenge) = test.register(1).await;
    test.join(2).await;
    test.clock.advance(Duration::from_secs(24 * 3_600 - 1));
    let mut pruning = Pruning(test.app.clone());
    pruning.tick(test.app.env.now()).await.unwrap();
    assert_eq!(pending(&test).await, 1);
    test.clock.advance(Duration::from_secs(2));
    pruning.tick(test.app.env.now()).await.unwrap();
    assert_eq!(pending(&test).await, 0);
    assert_eq!(test.verify(&old, &challenge, 1).await.status, 404);
    let left = sqlx::query_scalar!(r#"select count(*) as "count!" from providers"#);
    assert_eq!(left.fetch_one(&test.app.db).await.unwrap(), 1, "who proved its wallet stays");
}

#[tokio::test]
async fn announcements_are_bounded_and_one_that_lapsed_gives_way() {
    let test = TestApp::start().await;
    let (first, _) = test.register(1).await;
    sqlx::query!(
        "insert into providers (provider_id, slug, name, contact_email, country, terms_version, payout_account,
                                receipt_address, state, created_at)
         select gen_random_uuid(), 'flood-' || n, 'Flood', 'a@b.example', 'DE', '1', payout_account, receipt_address,
                'pending', created_at + interval '1 second' from providers, generate_series(1, 999) n",
    )
    .execute(&test.app.db)
    .await
    .unwrap();
    let refused = announce(&test, "too-many", 2).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (503, Some("server_is_overloaded")));
    test.clock.advance(Duration::from_secs(601));
    assert_eq!(announce(&test, "in-time", 2).await.status, 201);
    assert_eq!(pending(&test).await, 1_000);
    let challenge: Value = json!({ "purpose": "register" });
    let gone = test.post(&format!("/v1/providers/{first}/challenges"), &challenge).send().await;
    assert_eq!(gone.status, 404, "the oldest one gave way");
}

#[tokio::test]
async fn one_address_announces_no_more_than_its_share_and_keeps_nobody_out() {
    let test = TestApp::start_with(|config| config.providers.registrations_per_hour = 2).await;
    let from =
        async |slug: &str, address| test.post("/v1/providers", &announcement(slug, 1)).from(address).send().await;
    assert_eq!(from("one", [93, 184, 215, 7]).await.status, 201);
    assert_eq!(from("two", [93, 184, 215, 7]).await.status, 201);
    let refused = from("three", [93, 184, 215, 7]).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (429, Some("rate_limit_exceeded")));
    // A minute is the longest that clients wait by themselves; the words say how long it is.
    assert_eq!(refused.header("retry-after"), Some("60"));
    assert!(refused.text().contains("in 60 minutes"), "{}", refused.text());
    assert_eq!(from("three", [93, 184, 215, 8]).await.status, 201, "the name is still free");
    test.clock.advance(Duration::from_secs(3_600));
    assert_eq!(from("four", [93, 184, 215, 7]).await.status, 201);
}

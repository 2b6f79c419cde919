//! How a provider joins, and what its nodes may and may not do.

use std::time::Duration;

use ed25519_dalek::SigningKey;
use http::Method;
use protocol::receipt::{BodyDigest, ReceiptKey, ReportStatus, UsageReport};
use protocol::typed::{Domain, Typed as _};
use protocol::wallet::Signed;
use protocol::{AttemptId, OfferId, RequestId, Units};
use serde_json::{Value, json};

use crate::support::{Joined, Reply, TestApp, node_body, offer, text, wallet};

const MODEL: &str = "org/name";

async fn with_model() -> TestApp {
    let test = TestApp::start().await;
    test.admin(&["model", "add", "--id", MODEL, "--context-length", "4096"]).await;
    test
}

async fn put_offers(test: &TestApp, node: &Joined, token: &str, offers: Vec<Value>) -> Reply {
    test.call(Method::PUT, &node.path("/offers")).bearer(token).json(&json!({ "offers": offers })).send().await
}

#[tokio::test]
async fn a_provider_gets_its_key_for_its_wallets_signature_and_only_once() {
    let test = TestApp::start().await;
    let (provider, challenge) = test.register(1).await;
    let stranger = test.verify(&provider, &challenge, 2).await;
    assert_eq!((stranger.status.as_u16(), &stranger.json["error"]["param"]), (400, &json!("signature")));

    let verified = test.verify(&provider, &challenge, 1).await;
    assert_eq!(verified.status, 200, "a refused signature leaves the challenge usable");
    assert_eq!(verified.json["provider"]["state"], "active");
    let key = text(&verified.json["key"]);
    let shown = test.get(&format!("/v1/providers/{provider}")).bearer(&key).send().await;
    assert_eq!((shown.status.as_u16(), &shown.json["slug"]), (200, &json!("provider-1")));

    let again = test.verify(&provider, &challenge, 1).await;
    assert_eq!((again.status.as_u16(), &again.json["error"]["param"]), (400, &json!("challenge_id")));
}

#[tokio::test]
async fn a_challenge_dies_after_ten_minutes_and_a_new_one_is_as_good() {
    let test = TestApp::start().await;
    let (provider, challenge) = test.register(1).await;
    test.clock.advance(Duration::from_secs(600));
    assert_eq!(test.verify(&provider, &challenge, 1).await.status, 400);
    let path = format!("/v1/providers/{provider}/challenges");
    let fresh = test.post(&path, &json!({ "purpose": "register" })).send().await;
    assert_eq!(fresh.status, 201);
    assert_eq!(test.verify(&provider, &fresh.json, 1).await.status, 200);
}

#[tokio::test]
async fn two_signatures_at_once_make_one_key() {
    let test = TestApp::start().await;
    let (provider, challenge) = test.register(1).await;
    let (one, two) = tokio::join!(test.verify(&provider, &challenge, 1), test.verify(&provider, &challenge, 1));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
}

#[tokio::test]
async fn a_lost_key_is_replaced_by_the_wallet_and_stops() {
    let test = TestApp::start().await;
    let joined = test.join(1).await;
    let path = format!("/v1/providers/{}", joined.provider);
    let challenge = test.post(&format!("{path}/challenges"), &json!({ "purpose": "key_rotation" })).send().await.json;
    let rotated = test.verify(&joined.provider, &challenge, 1).await;
    assert_eq!(test.get(&path).bearer(&text(&rotated.json["key"])).send().await.status, 200);
    test.clock.advance(Duration::from_secs(1));
    assert_eq!(test.get(&path).bearer(&joined.key).send().await.status, 401);
}

#[tokio::test]
async fn a_slug_is_one_providers() {
    let test = TestApp::start().await;
    test.join(1).await;
    let address = wallet(2).address();
    let body = json!({
        "name": "Other", "slug": "provider-1", "contact_email": "a@b.example", "country": "FR", "terms_version": "1",
        "payout_account": format!("eip155:1:{address}"), "receipt_address": address,
    });
    let reply = test.post("/v1/providers", &body).send().await;
    assert_eq!((reply.status.as_u16(), &reply.json["error"]["param"]), (400, &json!("slug")));
}

#[tokio::test]
async fn the_same_node_key_is_the_same_node_and_never_another_providers() {
    let test = TestApp::start().await;
    let (one, two) = (test.join(1).await, test.join(2).await);
    let again = test
        .post(&format!("/v1/providers/{}/nodes", one.provider), &node_body(&one.node_key))
        .bearer(&one.key)
        .send()
        .await;
    assert_eq!((again.status.as_u16(), text(&again.json["id"])), (200, one.node.clone()));
    let stolen = test
        .post(&format!("/v1/providers/{}/nodes", two.provider), &node_body(&one.node_key))
        .bearer(&two.key)
        .send()
        .await;
    assert_eq!((stolen.status.as_u16(), &stolen.json["error"]["param"]), (400, &json!("public_key")));
}

#[tokio::test]
async fn one_provider_sees_and_moves_nothing_of_another() {
    let test = with_model().await;
    let (mine, theirs) = (test.join(1).await, test.join(2).await);
    let token = mine.open(&test, "0123456789abcdef").await;
    let foreign = theirs.path("");
    // Their path with my key, and my path with their node.
    let mixed = format!("/v1/providers/{}/nodes/{}", mine.provider, theirs.node);
    for path in [&foreign, &mixed] {
        for (method, rest) in [
            (Method::GET, ""),
            (Method::DELETE, ""),
            (Method::GET, "/offers"),
            (Method::PUT, "/offers"),
            (Method::POST, "/drain"),
            (Method::POST, "/resume"),
        ] {
            let body = json!({ "offers": [] });
            let reply = test.call(method.clone(), &format!("{path}{rest}")).bearer(&mine.key).json(&body).send().await;
            assert_eq!(reply.status, 404, "{method} {path}{rest}: {}", reply.json);
        }
        let beat = json!({ "seq": 1, "sent_at_ms": 0, "state": "ready" });
        for (rest, body) in [("/heartbeat", &beat), ("/reports", &json!({ "reports": [] }))] {
            let reply = test.post(&format!("{path}{rest}"), body).bearer(&token).send().await;
            assert_eq!(reply.status, 404, "{path}{rest}: {}", reply.json);
        }
    }
    let listed = test.get(&format!("/v1/providers/{}/nodes", mine.provider)).bearer(&mine.key).send().await;
    assert_eq!(listed.json["data"].as_array().unwrap().len(), 1);
    assert_eq!(listed.json["data"][0]["id"], json!(mine.node));
}

#[tokio::test]
async fn a_session_is_opened_by_the_nodes_own_key_with_a_nonce_used_once() {
    let test = TestApp::start().await;
    let node = test.join(1).await;
    let now_ms = test.app.env.now().unix_ms();
    let body = node.session_body("0123456789abcdef", now_ms);
    let path = node.path("/sessions");
    let stranger = Joined { node_key: SigningKey::from_bytes(&[9; 32]), key: String::new(), ..join_ids(&node) };
    let forged = stranger.session_body("0123456789abcdef", now_ms);
    assert_eq!(test.post(&path, &forged).send().await.status, 401);
    assert_eq!(test.post(&path, &body).send().await.status, 201);
    let replayed = test.post(&path, &body).send().await;
    assert_eq!((replayed.status.as_u16(), &replayed.json["error"]["param"]), (400, &json!("nonce")));
    let late = node.session_body("0123456789abcdeg", now_ms - 31_000);
    let refused = test.post(&path, &late).send().await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json["error"]["metadata"]["offset_ms"], -31_000);
}

fn join_ids(node: &Joined) -> Joined {
    let (provider, id) = (node.provider.clone(), node.node.clone());
    Joined { provider, key: node.key.clone(), node: id, node_key: node.node_key.clone() }
}

#[tokio::test]
async fn a_session_lasts_a_quarter_of_an_hour() {
    let test = TestApp::start().await;
    let node = test.join(1).await;
    let token = node.open(&test, "0123456789abcdef").await;
    let show = || test.get(&node.path("")).bearer(&token).send();
    assert_eq!(show().await.status, 200);
    test.clock.advance(Duration::from_secs(15 * 60));
    assert_eq!(show().await.status, 401);
}

#[tokio::test]
async fn heartbeats_rise_and_a_wrong_clock_is_told_its_offset() {
    let test = TestApp::start().await;
    let node = test.join(1).await;
    let token = node.open(&test, "0123456789abcdef").await;
    let now_ms = test.app.env.now().unix_ms();
    let path = node.path("/heartbeat");
    let beat = |seq: u64, at_ms: i64| {
        let body = json!({ "seq": seq, "sent_at_ms": at_ms, "state": "ready" });
        test.post(&path, &body).bearer(&token).send()
    };
    let first = beat(1, now_ms).await;
    assert_eq!((first.status.as_u16(), &first.json["next_in_ms"]), (200, &json!(5_000)));
    assert_eq!(beat(1, now_ms).await.json["error"]["param"], "seq");
    let off = beat(2, now_ms + 31_000).await;
    assert!(text(&off.json["error"]["message"]).contains("31000"), "{}", off.json);
    assert_eq!(test.get(&node.path("")).bearer(&node.key).send().await.json["state"], "ready");
}

#[tokio::test]
async fn a_drain_stands_until_it_is_taken_back() {
    let test = TestApp::start().await;
    let node = test.join(1).await;
    let token = node.open(&test, "0123456789abcdef").await;
    let beat = |seq: u64, state: &'static str| {
        let body = json!({ "seq": seq, "sent_at_ms": test.app.env.now().unix_ms(), "state": state });
        let path = node.path("/heartbeat");
        let (test, token) = (&test, &token);
        async move { test.post(&path, &body).bearer(token).send().await.json["commands"].clone() }
    };
    let state = || async { text(&test.get(&node.path("")).bearer(&node.key).send().await.json["state"]) };
    assert_eq!(beat(1, "ready").await, json!([]));
    let body = json!({ "deadline_s": 30, "reason": "new driver" });
    let drained = test.post(&node.path("/drain"), &body).bearer(&node.key).send().await;
    assert_eq!((drained.status.as_u16(), &drained.json["state"]), (200, &json!("draining")));
    assert_eq!(beat(2, "ready").await[0]["type"], "drain");
    assert_eq!(state().await, "draining", "what the node says of itself does not undo it");
    assert_eq!(beat(3, "draining").await, json!([]));

    let resumed = test.call(Method::POST, &node.path("/resume")).bearer(&node.key).send().await;
    assert_eq!(resumed.status, 200);
    assert_eq!(beat(4, "draining").await[0]["type"], "resume");
    assert_eq!(beat(5, "ready").await, json!([]));
    assert_eq!(state().await, "ready");
}

#[tokio::test]
async fn offers_are_put_as_one_set_under_their_tag() {
    let test = with_model().await;
    let node = test.join(1).await;
    let token = node.open(&test, "0123456789abcdef").await;
    let put = put_offers(&test, &node, &token, vec![offer(MODEL, "1", "2")]).await;
    assert_eq!(put.status, 200, "{}", put.json);
    let (id, tag) = (put.json["data"][0]["id"].clone(), put.header("etag").unwrap().to_owned());
    assert_eq!(put.json["data"][0]["price_version"], 1);

    let cheaper = json!({ "offers": [offer(MODEL, "0.5", "2")] });
    let put = |tag: &str| {
        test.call(Method::PUT, &node.path("/offers")).bearer(&token).header("if-match", tag).json(&cheaper).send()
    };
    let second = put(&tag).await;
    assert_eq!(second.status, 200);
    assert_eq!(second.json["data"][0]["id"], id, "node and model stayed, so the offer does");
    assert_eq!(second.json["data"][0]["price_version"], 2);
    let stale = put(&tag).await;
    assert_eq!((stale.status.as_u16(), stale.code()), (412, Some("precondition_failed")));

    let read = test.get(&node.path("/offers")).bearer(&node.key).send().await;
    assert_eq!(read.header("etag"), second.header("etag"));
    assert_eq!(put_offers(&test, &node, &token, vec![]).await.json["data"], json!([]));
}

#[tokio::test]
async fn a_price_cut_acts_at_once_and_a_rise_waits_five_minutes() {
    let test = with_model().await;
    let node = test.join(1).await;
    let token = node.open(&test, "0123456789abcdef").await;
    let version = |reply: crate::support::Reply| reply.json["data"][0]["price_version"].clone();
    assert_eq!(version(put_offers(&test, &node, &token, vec![offer(MODEL, "1", "2")]).await), 1);
    assert_eq!(version(put_offers(&test, &node, &token, vec![offer(MODEL, "1", "1")]).await), 2);
    assert_eq!(version(put_offers(&test, &node, &token, vec![offer(MODEL, "3", "3")]).await), 2);
    let read = || test.get(&node.path("/offers")).bearer(&node.key).send();
    test.clock.advance(Duration::from_secs(299));
    assert_eq!(version(read().await), 2);
    test.clock.advance(Duration::from_secs(1));
    assert_eq!(version(read().await), 3);
}

#[tokio::test]
async fn a_model_nobody_listed_is_refused_with_the_way_to_list_it() {
    let test = with_model().await;
    let node = test.join(1).await;
    let token = node.open(&test, "0123456789abcdef").await;
    let offers = vec![offer(MODEL, "1", "1"), offer("org/unknown", "1", "1")];
    let reply = put_offers(&test, &node, &token, offers).await;
    assert_eq!((reply.status.as_u16(), reply.code()), (400, Some("model_not_found")));
    assert_eq!(reply.json["error"]["param"], "offers[1].model");
    assert!(text(&reply.json["error"]["message"]).contains("steelyard admin model add --id org/unknown"));
    let read = test.get(&node.path("/offers")).bearer(&node.key).send().await;
    assert_eq!(read.json["data"], json!([]), "the set is put whole or not at all");
}

#[tokio::test]
async fn a_suspended_provider_loses_its_sessions_and_opens_no_new_one() {
    let test = TestApp::start().await;
    let node = test.join(1).await;
    let token = node.open(&test, "0123456789abcdef").await;
    test.admin(&["provider", "suspend", &node.provider, "--reason", "test"]).await;
    assert_eq!(test.get(&node.path("")).bearer(&token).send().await.status, 401);
    let body = node.session_body("0123456789abcdeg", test.app.env.now().unix_ms());
    assert_eq!(test.post(&node.path("/sessions"), &body).send().await.status, 403);
    test.admin(&["provider", "resume", &node.provider]).await;
    assert_eq!(test.post(&node.path("/sessions"), &body).send().await.status, 201);
}

#[tokio::test]
async fn a_report_is_taken_once_and_only_under_its_nodes_signature() {
    let test = TestApp::start().await;
    let node = test.join(1).await;
    let token = node.open(&test, "0123456789abcdef").await;
    let env = &test.app.env;
    let report = || UsageReport {
        attempt: env.mint::<AttemptId>(),
        request: env.mint::<RequestId>(),
        node: node.node.parse().unwrap(),
        offer: env.mint::<OfferId>(),
        price_version: 1,
        units: Units { prompt: 3, completion: 5, request: 1, ..Units::default() },
        started_at_ms: 1,
        finished_at_ms: 2,
        status: ReportStatus::Completed,
        request_sha256: BodyDigest([0xab; 32]),
        response_sha256: BodyDigest([0xcd; 32]),
    };
    let domain = test.app.config.receipts.domain();
    let good = report().sign(&wallet(80), &domain, None);
    let forged = report().sign(&wallet(81), &domain, None);
    let elsewhere = report().sign(&wallet(80), &Domain { chain_id: 1, ..domain }, None);
    let ancient = UsageReport { attempt: env.mint_at(protocol::Timestamp::EPOCH), ..report() };
    let ancient = ancient.sign(&wallet(80), &domain, None);
    announce(&test, &node, &token, None).await;
    let body = json!({ "reports": [ancient, good, forged, elsewhere] });
    let path = node.path("/reports");
    for _ in 0..2 {
        let reply = test.post(&path, &body).bearer(&token).send().await;
        assert_eq!((reply.status.as_u16(), &reply.json["accepted"]), (200, &json!(1)), "{}", reply.json);
        let refused: Vec<&Value> =
            reply.json["refused"].as_array().unwrap().iter().map(|one| &one["attempt"]).collect();
        let wrong = [&forged, &elsewhere, &ancient].map(|signed| json!(signed.report.attempt));
        assert_eq!(refused, wrong.iter().collect::<Vec<_>>());
    }
    let kept = sqlx::query_scalar!(r#"select count(*) as "count!" from usage_reports"#);
    assert_eq!(kept.fetch_one(&test.app.db).await.unwrap(), 1);
}

/// Announces the receipt key made of 80.
async fn announce(test: &TestApp, node: &Joined, token: &str, delegation: Option<Signed>) -> Reply {
    let body = json!({ "key": wallet(80).address(), "delegation": delegation });
    test.post(&node.path("/receipt_keys"), &body).bearer(token).send().await
}

#[tokio::test]
async fn a_receipt_key_is_vouched_for_by_the_providers_own_wallet_only() {
    let test = TestApp::start().await;
    let node = test.join(1).await;
    let token = node.open(&test, "0123456789abcdef").await;
    let word = ReceiptKey { provider: node.provider.parse().unwrap(), key: wallet(80).address() }.digest_anywhere();
    let strange = announce(&test, &node, &token, Some(wallet(2).sign_digest(&word))).await;
    assert_eq!((strange.status.as_u16(), &strange.json["error"]["param"]), (400, &json!("delegation")));
    let own = announce(&test, &node, &token, Some(wallet(1).sign_digest(&word))).await;
    assert_eq!((own.status.as_u16(), &own.json["delegated"]), (200, &json!(true)), "{}", own.json);
    assert_eq!(own.json["domain"]["chain_id"], 31_337);
    // A start without the wallet's word takes nothing back.
    announce(&test, &node, &token, None).await;
    let mut conn = test.app.db.acquire().await.unwrap();
    let provider = node.provider.parse().unwrap();
    let keys = billing::store::receipt_keys::list_of_provider(&mut conn, provider).await.unwrap();
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].delegation.unwrap().recover(&word), Ok(wallet(1).address()));
}

#[tokio::test]
async fn every_change_leaves_an_audit_event() {
    let test = with_model().await;
    let node = test.join(1).await;
    let token = node.open(&test, "0123456789abcdef").await;
    put_offers(&test, &node, &token, vec![offer(MODEL, "1", "2")]).await;
    test.post(&node.path("/drain"), &json!({})).bearer(&node.key).send().await;
    let actions = sqlx::query_scalar!("select action from audit_events order by event_id");
    let actions = actions.fetch_all(&test.app.db).await.unwrap();
    for action in [
        "model.added",
        "provider.registered",
        "key.created",
        "provider.verified",
        "node.registered",
        "offers.put",
        "node.drained",
    ] {
        assert!(actions.iter().any(|one| one == action), "{action} is missing from {actions:?}");
    }
    let changed = sqlx::query!("delete from audit_events").execute(&test.app.db).await;
    assert!(changed.is_err(), "the trail is never cut");
}

//! Keys: who they let in, and how fast they stop.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;

use crate::support::{TestApp, text};

/// Longest anything here is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn only_a_live_key_of_the_right_kind_gets_in() {
    let test = TestApp::start().await;
    let (org, key) = test.customer().await;
    let ask = |token: Option<String>| {
        let call = test.get("/v1/key");
        token.map_or(test.get("/v1/key"), |token| call.bearer(&token)).send()
    };
    assert_eq!(ask(Some(key.clone())).await.status, 200);
    let none = ask(None).await;
    assert_eq!((none.status.as_u16(), none.code(), none.header("x-should-retry")), (401, None, Some("false")));
    for wrong in ["nonsense".to_owned(), format!("{key}x"), key.to_uppercase()] {
        let reply = ask(Some(wrong)).await;
        assert_eq!((reply.status.as_u16(), reply.code()), (401, Some("invalid_api_key")));
    }
    let admin = test.admin(&["key", "create", "--org", &org, "--kind", "admin"]).await;
    let reply = ask(Some(text(&admin["secret"]))).await;
    assert_eq!((reply.status.as_u16(), reply.code()), (403, Some("insufficient_permissions")));
}

#[tokio::test]
async fn headers_that_name_another_organization_are_refused() {
    let test = TestApp::start().await;
    let (org, key) = test.customer().await;
    let (other, _) = test.customer().await;
    let as_member = |named: &str| test.get("/v1/key").bearer(&key).header("openai-organization", named).send();
    assert_eq!(as_member(&org).await.status, 200);
    assert_eq!(as_member(&other).await.status, 401);
}

#[tokio::test]
async fn a_key_stops_at_its_expiry() {
    let test = TestApp::start().await;
    let (org, _) = test.customer().await;
    let key = text(&test.admin(&["key", "create", "--org", &org, "--expires-days", "1"]).await["secret"]);
    let ask = || test.get("/v1/key").bearer(&key).send();
    assert_eq!(ask().await.status, 200);
    test.clock.advance(Duration::from_secs(86_400));
    assert_eq!(ask().await.status, 401);
}

#[tokio::test]
async fn a_revoked_key_stops_within_a_second_by_notice() {
    let test = TestApp::start().await;
    let (org, key) = test.customer().await;
    let stop = tokio_util::sync::CancellationToken::new();
    // A second listener beside the broker's own is harmless; this one is certain to run.
    let listener = tokio::spawn(test.app.keys.clone().listen(stop.clone()));
    let listed = test.admin(&["key", "list", "--org", &org]).await;
    let ask = || test.get("/v1/key").bearer(&key).send();
    let began = Instant::now();
    // With the clock standing still only the channel can keep an old answer alive or end it.
    while ask().await.status != 200 {
        assert!(began.elapsed() < PATIENCE);
    }
    test.admin(&["key", "revoke", &text(&listed[0]["key"])]).await;
    let revoked = Instant::now();
    while ask().await.status != 401 {
        assert!(revoked.elapsed() < Duration::from_secs(1), "the key still works");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.cancel();
    listener.await.unwrap();
}

#[tokio::test]
async fn what_was_announced_while_the_channel_was_lost_is_not_missed() {
    let test = TestApp::start().await;
    let (_, key) = test.customer().await;
    let keys = api::keys::Keys::new(test.app.db.clone(), test.app.env.clone());
    let stop = tokio_util::sync::CancellationToken::new();
    let listener = tokio::spawn(keys.clone().listen(stop.clone()));
    keys.find(&key).await.unwrap();
    // Revoked behind everybody's back, as by a notice that came while the channel was down.
    sqlx::query!("update api_keys set revoked_at = now()").execute(&test.app.db).await.unwrap();
    let others = "select pg_terminate_backend(pid) from pg_stat_activity
                   where datname = current_database() and pid <> pg_backend_pid()";
    sqlx::query(others).execute(&test.app.db).await.unwrap();
    let lost = Instant::now();
    while keys.find(&key).await.is_ok() {
        assert!(lost.elapsed() < PATIENCE, "the key still works");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.cancel();
    listener.await.unwrap();
}

#[tokio::test]
async fn without_notices_a_revoked_key_stops_within_a_second_too() {
    let test = TestApp::start().await;
    let (org, secret) = test.customer().await;
    // A cache that nobody keeps informed.
    let keys = api::keys::Keys::new(test.app.db.clone(), test.app.env.clone());
    keys.find(&secret).await.unwrap();
    let listed = test.admin(&["key", "list", "--org", &org]).await;
    test.admin(&["key", "revoke", &text(&listed[0]["key"])]).await;
    test.clock.advance(Duration::from_millis(999));
    assert_eq!(keys.find(&secret).await.unwrap_err().status(), 401);
}

#[tokio::test]
async fn fifty_callers_with_a_new_key_all_get_in() {
    let test = TestApp::start().await;
    let (_, secret) = test.customer().await;
    let keys = api::keys::Keys::new(test.app.db.clone(), test.app.env.clone());
    let calls = (0..50).map(|_| {
        let (keys, secret) = (keys.clone(), secret.clone());
        tokio::spawn(async move { keys.find(&secret).await.map(|record| record.id) })
    });
    let mut ids = std::collections::HashSet::new();
    for call in calls {
        ids.insert(call.await.unwrap().unwrap());
    }
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn a_manager_makes_limits_lists_and_revokes_keys_of_its_own_project() {
    let test = TestApp::start().await;
    let (org, _) = test.customer().await;
    let (other, _) = test.customer().await;
    let manager = |org: String| {
        let test = &test;
        async move { text(&test.admin(&["key", "create", "--org", &org, "--kind", "management"]).await["secret"]) }
    };
    let (mine, theirs) = (manager(org).await, manager(other).await);
    // Ids made within one millisecond have no order.
    test.clock.advance(Duration::from_millis(1));
    let body = json!({ "name": "batch", "limit": "2.50", "limit_reset": "daily" });
    let made = test.post("/v1/keys", &body).bearer(&mine).send().await;
    assert_eq!(made.status, 201, "{}", made.json);
    assert_eq!((&made.json["data"]["limit"], &made.json["data"]["limit_reset"]), (&json!("2.50"), &json!("daily")));
    let secret = text(&made.json["key"]);
    let used = test.get("/v1/key").bearer(&secret).send().await;
    assert_eq!((&used.json["data"]["label"], &used.json["data"]["limit_remaining"]), (&json!("batch"), &json!("2.50")));

    let path = format!("/v1/keys/{}", text(&made.json["data"]["id"]));
    assert_eq!(test.get(&path).bearer(&mine).send().await.status, 200);
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(test.call(method, &path).bearer(&theirs).send().await.status, 404);
    }
    let listed = test.get("/v1/keys?limit=1").bearer(&mine).send().await;
    assert_eq!((&listed.json["has_more"], &listed.json["first_id"]), (&json!(true), &made.json["data"]["id"]));
    assert_eq!(test.call(Method::DELETE, &path).bearer(&mine).send().await.status, 200);
    test.clock.advance(Duration::from_secs(1));
    let began = Instant::now();
    while test.get("/v1/key").bearer(&secret).send().await.status != 401 {
        assert!(began.elapsed() < PATIENCE);
    }
}

#[tokio::test]
async fn credit_given_shows_and_is_given_once_per_cause() {
    let test = TestApp::start().await;
    let (org, key) = test.customer().await;
    for _ in 0..2 {
        test.admin(&["grant", "--org", &org, "--usd", "5", "--expires-days", "30", "--cause", "welcome"]).await;
    }
    let credits = test.get("/v1/credits").bearer(&key).send().await;
    assert_eq!(credits.json, json!({ "data": { "total_credits": "5.00", "total_usage": "0.00" } }));
    let shown = test.admin(&["org", "show", &org]).await;
    assert_eq!((&shown["total_credits_usd"], &shown["live_keys"]), (&json!("5.00"), &json!(1)));
}

#[tokio::test]
async fn an_answer_that_is_not_the_callers_is_not_there() {
    let test = TestApp::start().await;
    let (_, key) = test.customer().await;
    let unknown: protocol::RequestId = test.app.env.mint();
    for id in [unknown.to_string(), unknown.chat_completion(), "nonsense".to_owned()] {
        let reply = test.get(&format!("/v1/generation?id={id}")).bearer(&key).send().await;
        assert_eq!((reply.status.as_u16(), reply.code()), (404, Some("not_found")));
    }
    assert_eq!(test.get("/v1/generation").bearer(&key).send().await.status, 400);
}

//! Keys: who they let in, and how fast they stop.

use std::time::{Duration, Instant};

use http::Method;
use platform::testing::START;
use protocol::Timestamp;
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
async fn headers_that_name_another_project_are_refused() {
    let test = TestApp::start().await;
    let (org, key) = test.customer().await;
    let project = text(&test.admin(&["project", "create", "--org", &org, "Other"]).await["project"]);
    let other = test.admin(&["key", "create", "--org", &org, "--project", &project]).await;
    let other = text(&other["secret"]);
    let ask = |key: &str, named: &str| test.get("/v1/key").bearer(key).header("openai-project", named).send();
    assert_eq!(ask(&other, &project).await.status, 200);
    let reply = ask(&key, &project).await;
    assert_eq!((reply.status.as_u16(), reply.code()), (401, Some("invalid_api_key")));
    assert_eq!(ask(&key, "").await.status, 200);
    assert_eq!(ask(&key, "default").await.status, 401);
}

#[tokio::test]
async fn a_key_shows_what_it_used_today_this_week_this_month_and_in_all() {
    let test = TestApp::start().await;
    let (_, key) = test.customer().await;
    // A Wednesday; the week began on Monday the 12th.
    let at =
        |day: i64, hour: i64| Timestamp::from_unix_seconds(START.unix_seconds() + (day - 1) * 86_400 + hour * 3_600);
    test.clock.set(at(14, 5));
    for (day, hour, dollars) in [(14, 0, 1), (13, 23, 2), (12, 0, 4), (11, 23, 8), (1, 0, 16), (0, 23, 32)] {
        sqlx::query!(
            "insert into usage_hours (hour, account_id, project_id, key_id, model, requests, prompt, cached_prompt,
                                      cache_write, completion, internal_reasoning, charge_nano_usd)
             select $1, organization_id, project_id, key_id, 'org/name', 1, 0, 0, 0, 0, 0, $2 from api_keys",
            at(day, hour) as Timestamp,
            dollars * 1_000_000_000_i64,
        )
        .execute(&test.app.db)
        .await
        .unwrap();
    }
    let shown = test.get("/v1/key").bearer(&key).send().await.json;
    let used = |name: &str| text(&shown["data"][name]);
    assert_eq!(used("usage_daily"), "1.00");
    assert_eq!(used("usage_weekly"), "7.00");
    assert_eq!(used("usage_monthly"), "31.00");
    assert_eq!(used("usage"), "63.00");
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
async fn a_clock_set_back_keeps_no_revoked_key_alive() {
    let test = TestApp::start().await;
    let (_, secret) = test.customer().await;
    let keys = api::keys::Keys::new(test.app.db.clone(), test.app.env.clone());
    keys.find(&secret).await.unwrap();
    test.clock.set(START.minus(Duration::from_secs(3_600)));
    // Without a notice, as when the channel is lost.
    sqlx::query!("update api_keys set revoked_at = now()").execute(&test.app.db).await.unwrap();
    tokio::time::sleep(Duration::from_millis(999)).await;
    assert_eq!(keys.find(&secret).await.unwrap_err().status(), 401);
}

#[tokio::test]
async fn fifty_callers_of_a_database_that_says_nothing_are_told_so_together() {
    // Accepts, and is silent.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://nobody@{}/nothing", listener.local_addr().unwrap());
    let db = sqlx::postgres::PgPoolOptions::new().acquire_timeout(PATIENCE).connect_lazy(&url).unwrap();
    let env = protocol::Env::system();
    let secret = api::keys::Secret::mint(&env, api::keys::KeyKind::Inference);
    let keys = api::keys::Keys::new(db, env);
    let ask = || async {
        let began = Instant::now();
        let refused = keys.find(secret.expose()).await.unwrap_err();
        (refused.status().as_u16(), began.elapsed())
    };
    for (status, waited) in futures_util::future::join_all((0..50).map(|_| ask())).await {
        assert_eq!(status, 503);
        assert!(waited < Duration::from_secs(3), "one after another: {waited:?}");
    }
    // What was found out holds for those who come right after.
    let (status, waited) = ask().await;
    assert_eq!(status, 503);
    assert!(waited < Duration::from_millis(250), "{waited:?}");
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

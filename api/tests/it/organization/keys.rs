//! Keys, seen by the organization's admin and by a project's manager.

use http::Method;
use protocol::Units;
use serde_json::json;

use super::{Listening, Organization, Till, id_of, until_status};
use crate::support::{TestApp, text};

#[tokio::test]
async fn an_admin_sees_and_revokes_the_keys_of_a_project() {
    let test = TestApp::start().await;
    let org = Organization::open(&test).await;
    let listed = org.get(&test, &org.path("/api_keys")).await.json;
    let (used, unused) = (id_of(&test, &org.inference).await, id_of(&test, &org.manager).await);
    let mut ids: Vec<_> = listed["data"].as_array().unwrap().iter().map(|key| text(&key["id"])).collect();
    ids.sort();
    let mut expected = vec![used.to_string(), unused.to_string()];
    expected.sort();
    assert_eq!(ids, expected, "admin keys are the organization's, not the project's");

    test.admin(&["grant", "--org", &org.id, "--usd", "5", "--expires-days", "30"]).await;
    let units = Units { completion: 7, ..Units::default() };
    Till::of(&test, "org/name", 9).await.ring(&test, (&org.id, &org.project, used), units).await;
    let path = org.path(&format!("/api_keys/{used}"));
    let shown = org.get(&test, &path).await.json;
    assert!(shown["last_used_at"].is_i64() && shown["redacted_value"].as_str().unwrap().starts_with("sk-"), "{shown}");
    assert_eq!((&shown["owner"], &shown["owner_project_access"]), (&json!({ "type": "user" }), &json!("active")));
    assert_eq!(org.get(&test, &org.path(&format!("/api_keys/{unused}"))).await.json["last_used_at"], json!(null));
    assert_eq!(org.get(&test, &org.path("/api_keys?owner_project_access=inactive")).await.json["data"], json!([]));

    let listening = Listening::start(&test, &org.inference).await;
    let gone = org.delete(&test, &path).await.json;
    assert_eq!(gone, json!({ "id": used, "object": "organization.project.api_key.deleted", "deleted": true }));
    until_status(&test, &org.inference, 401).await;
    listening.stop().await;
    assert_eq!(org.get(&test, &path).await.status, 404);
}

#[tokio::test]
async fn an_admin_key_is_made_by_another_and_ends_at_its_time_or_when_told() {
    let test = TestApp::start().await;
    let org = Organization::open(&test).await;
    let keys = "/v1/organization/admin_api_keys";
    test.clock.advance(std::time::Duration::from_millis(1));
    let made = org.post(&test, keys, &json!({ "name": "deploy", "expires_in_seconds": 60 })).await.json;
    assert_eq!((&made["object"], &made["name"]), (&json!("organization.admin_api_key"), &json!("deploy")));
    assert_eq!(made["expires_at"].as_i64().unwrap(), made["created_at"].as_i64().unwrap() + 60);
    let (secret, path) = (text(&made["value"]), format!("{keys}/{}", text(&made["id"])));
    let with_new = |path: &str| test.get(path).bearer(&secret).send();
    let shown = with_new(&path).await.json;
    assert!(shown.get("value").is_none() && shown["owner"]["id"] == json!(org.id), "{shown}");
    let first = |query: &'static str| {
        let test = &test;
        let org = &org;
        async move { org.get(test, &format!("{keys}?limit=1{query}")).await.json }
    };
    assert_eq!(first("&order=desc").await["first_id"], made["id"]);
    let oldest = first("").await;
    assert_eq!((&oldest["first_id"], &oldest["has_more"]), (&json!(id_of(&test, &org.admin).await), &json!(true)));
    test.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(with_new(&path).await.status, 401);
    assert_eq!(org.delete(&test, &path).await.json["object"], "organization.admin_api_key.deleted");
    assert_eq!(org.get(&test, &path).await.status, 404);
}

#[tokio::test]
async fn a_manager_changes_a_key_and_what_is_absent_stays() {
    let test = TestApp::start().await;
    let org = Organization::open(&test).await;
    let path = format!("/v1/keys/{}", id_of(&test, &org.inference).await);
    let patch = |body: serde_json::Value| test.call(Method::PATCH, &path).json(&body).bearer(&org.manager).send();
    let limited = patch(json!({ "name": "batch", "limit": "2.50", "limit_reset": "daily" })).await;
    assert_eq!(limited.status, 200, "{}", limited.json);
    let fields = |data: &serde_json::Value| {
        json!([data["name"], data["limit"], data["limit_remaining"], data["limit_reset"], data["disabled"]])
    };
    assert_eq!(fields(&limited.json["data"]), json!(["batch", "2.50", "2.50", "daily", false]));
    assert_eq!(
        (&limited.json["data"]["hash"], &limited.json["data"]["usage"]),
        (&limited.json["data"]["id"], &json!("0.00"))
    );
    let raised = patch(json!({ "limit": "3" })).await.json;
    assert_eq!(fields(&raised["data"]), json!(["batch", "3.00", "3.00", "daily", false]));
    let for_life = patch(json!({ "limit_reset": null })).await.json;
    assert_eq!(fields(&for_life["data"]), json!(["batch", "3.00", "3.00", null, false]));
    let free = patch(json!({ "limit": null })).await.json;
    assert_eq!(fields(&free["data"]), json!(["batch", null, null, null, false]));
    let refused = patch(json!({ "limit_reset": "daily" })).await;
    assert_eq!((refused.status.as_u16(), &refused.json["error"]["param"]), (400, &json!("limit_reset")));
    let listed = test.get("/v1/keys").bearer(&org.manager).send().await.json;
    assert_eq!(listed["data"], json!([free["data"]]));
}

#[tokio::test]
async fn a_disabled_key_stops_within_a_second_and_counts_again_when_enabled() {
    let test = TestApp::start().await;
    let org = Organization::open(&test).await;
    let path = format!("/v1/keys/{}", id_of(&test, &org.inference).await);
    let set = |disabled: bool| {
        test.call(Method::PATCH, &path).json(&json!({ "disabled": disabled })).bearer(&org.manager).send()
    };
    let listening = Listening::start(&test, &org.inference).await;
    assert_eq!(set(true).await.json["data"]["disabled"], true);
    until_status(&test, &org.inference, 401).await;
    assert_eq!(set(false).await.json["data"]["disabled"], false);
    until_status(&test, &org.inference, 200).await;
    listening.stop().await;
}

#[tokio::test]
async fn a_revoked_key_is_gone_for_its_manager_and_cannot_be_enabled() {
    let test = TestApp::start().await;
    let org = Organization::open(&test).await;
    let path = format!("/v1/keys/{}", id_of(&test, &org.inference).await);
    for _ in 0..2 {
        assert_eq!(test.call(Method::DELETE, &path).bearer(&org.manager).send().await.status, 200);
    }
    let enable = test.call(Method::PATCH, &path).json(&json!({ "disabled": false })).bearer(&org.manager).send().await;
    assert_eq!((enable.status.as_u16(), test.get(&path).bearer(&org.manager).send().await.status.as_u16()), (404, 404));
    let listed = test.get("/v1/keys").bearer(&org.manager).send().await.json;
    assert_eq!(listed, json!({ "object": "list", "data": [], "first_id": null, "last_id": null, "has_more": false }));
}

#[tokio::test]
async fn a_list_of_keys_says_what_each_has_used() {
    let test = TestApp::start().await;
    let org = Organization::open(&test).await;
    test.admin(&["grant", "--org", &org.id, "--usd", "5", "--expires-days", "30"]).await;
    let till = Till::of(&test, "org/name", 9).await;
    let first = id_of(&test, &org.inference).await;
    test.clock.advance(std::time::Duration::from_millis(1));
    let made = test.post("/v1/keys", &json!({ "name": "second", "limit": "1" })).bearer(&org.manager).send().await.json;
    let second = id_of(&test, &text(&made["key"])).await;
    for (key, tokens) in [(first, 5), (second, 7), (second, 9)] {
        let units = Units { completion: tokens, ..Units::default() };
        till.ring(&test, (&org.id, &org.project, key), units).await;
    }
    let listed = test.get("/v1/keys").bearer(&org.manager).send().await.json;
    let used =
        |at: usize| (&listed["data"][at]["id"], &listed["data"][at]["usage"], &listed["data"][at]["limit_remaining"]);
    assert_eq!(used(0), (&json!(second), &json!("0.000000016"), &json!("0.999999984")));
    assert_eq!(used(1), (&json!(first), &json!("0.000000005"), &json!(null)));
}

#[tokio::test]
async fn a_service_account_that_is_being_deleted_is_given_no_key() {
    let test = TestApp::start().await;
    let org = Organization::open(&test).await;
    let account = org.post(&test, &org.path("/service_accounts"), &json!({ "name": "crawler" })).await.json;
    let path = org.path(&format!("/service_accounts/{}/api_keys", text(&account["id"])));
    let mut deleting = test.app.db.begin().await.unwrap();
    let gone = sqlx::query("update service_accounts set deleted_at = now()").execute(&mut *deleting).await.unwrap();
    assert_eq!(gone.rows_affected(), 1);
    let body = json!({});
    let (asked, ()) = tokio::join!(org.post(&test, &path, &body), async {
        let waiting = "select exists (select from pg_stat_activity
                                       where datname = current_database() and wait_event_type = 'Lock')";
        while !sqlx::query_scalar::<_, bool>(waiting).fetch_one(&test.app.db).await.unwrap() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        deleting.commit().await.unwrap();
    });
    assert_eq!(asked.status, 404, "{}", asked.json);
}

//! Who changed what.

use http::Method;
use serde_json::{Value, json};

use super::{Organization, id_of};
use crate::support::{TestApp, text};

const LOGS: &str = "/v1/organization/audit_logs";

/// The types and targets of events, newest first.
async fn types(test: &TestApp, org: &Organization, query: &str) -> Vec<String> {
    let logs = org.get(test, &format!("{LOGS}?{query}")).await;
    assert_eq!(logs.status, 200, "{}", logs.json);
    logs.json["data"].as_array().unwrap().iter().map(|event| text(&event["type"])).collect()
}

#[tokio::test]
async fn every_change_is_written_down_and_no_reading_is() {
    let test = TestApp::start().await;
    let org = Organization::open(&test).await;
    test.admin(&["model", "add", "--id", "org/name", "--context-length", "4096"]).await;
    let project = org.add_project(&test, "search").await;
    let base = format!("/v1/organization/projects/{project}");
    let account = org.post(&test, &format!("{base}/service_accounts"), &json!({ "name": "crawler" })).await.json;
    let account_path = format!("{base}/service_accounts/{}", text(&account["id"]));
    let admin_key = org.post(&test, "/v1/organization/admin_api_keys", &json!({ "name": "deploy" })).await.json;
    let key = test.post("/v1/keys", &json!({ "name": "batch" })).bearer(&org.manager).send().await.json;
    let key_path = format!("/v1/keys/{}", text(&key["data"]["id"]));
    let admin = |method: Method, path: String, body: Value| (method, path, org.admin.clone(), body);
    let manager = |method: Method, path: String, body: Value| (method, path, org.manager.clone(), body);
    let whole = "/v1/organization/spend_limit".to_owned();
    let changes = [
        (admin(Method::POST, base.clone(), json!({ "name": "find" })), "project.updated"),
        (admin(Method::POST, account_path.clone(), json!({ "name": "spider" })), "service_account.updated"),
        (admin(Method::POST, format!("{account_path}/api_keys"), json!({})), "api_key.created"),
        (
            admin(Method::DELETE, format!("{base}/api_keys/{}", text(&account["api_key"]["id"])), json!({})),
            "api_key.deleted",
        ),
        (
            admin(Method::POST, format!("{base}/rate_limits/rl-*"), json!({ "max_concurrency": 2 })),
            "rate_limit.updated",
        ),
        (
            admin(
                Method::POST,
                format!("{base}/model_permissions"),
                json!({ "mode": "deny_list", "model_ids": ["a"] }),
            ),
            "model_permissions.updated",
        ),
        (admin(Method::DELETE, format!("{base}/model_permissions"), json!({})), "model_permissions.deleted"),
        (admin(Method::POST, format!("{base}/spend_limit"), json!({ "limit_usd": "1" })), "spend_limit.updated"),
        (admin(Method::DELETE, format!("{base}/spend_limit"), json!({})), "spend_limit.deleted"),
        (admin(Method::PUT, whole.clone(), json!({ "limit_usd": "1" })), "spend_limit.updated"),
        (admin(Method::DELETE, whole, json!({})), "spend_limit.deleted"),
        (admin(Method::DELETE, account_path, json!({})), "service_account.deleted"),
        (admin(Method::POST, format!("{base}/archive"), json!({})), "project.archived"),
        (
            admin(Method::DELETE, format!("/v1/organization/admin_api_keys/{}", text(&admin_key["id"])), json!({})),
            "api_key.deleted",
        ),
        (manager(Method::PATCH, key_path.clone(), json!({ "disabled": true })), "api_key.updated"),
        (manager(Method::DELETE, key_path, json!({})), "api_key.deleted"),
    ];
    let count = async || {
        let events = sqlx::query_scalar!(r#"select count(*) as "count!" from audit_events"#);
        events.fetch_one(&test.app.db).await.unwrap()
    };
    for ((method, path, key, body), shown) in changes {
        test.clock.advance(std::time::Duration::from_millis(1));
        let before = count().await;
        let reply = test.call(method.clone(), &path).json(&body).bearer(&key).send().await;
        assert_eq!((reply.status.as_u16(), count().await), (200, before + 1), "{method} {path}: {}", reply.json);
        let newest = org.get(&test, &format!("{LOGS}?limit=1")).await.json["data"][0].clone();
        let by = id_of(&test, &key).await;
        assert_eq!((newest["type"].as_str(), &newest["actor"]["api_key"]["id"]), (Some(shown), &json!(by)), "{path}");
        assert_eq!(count().await, before + 1, "reading is no change");
    }
}

#[tokio::test]
async fn an_event_says_by_whom_to_what_and_where() {
    let test = TestApp::start().await;
    let org = Organization::open(&test).await;
    let project = org.add_project(&test, "search").await;
    let logs = org.get(&test, &format!("{LOGS}?limit=1")).await.json;
    let event = &logs["data"][0];
    let expected = json!({
        "id": logs["first_id"], "type": "project.created", "effective_at": test.app.env.now().unix_seconds(),
        "project": { "id": project, "name": "search" },
        "actor": { "type": "api_key", "api_key": { "id": id_of(&test, &org.admin).await, "type": "user" } },
        "project.created": { "id": project, "data": { "name": "search" } },
    });
    assert_eq!((event, &logs["has_more"]), (&expected, &json!(true)));
    let opened = org.get(&test, &format!("{LOGS}?event_types[]=organization.created")).await.json;
    let session = json!({ "type": "session", "session": { "user": { "id": "operator" } } });
    assert_eq!(opened["data"][0]["actor"], session);
}

#[tokio::test]
async fn events_are_found_by_time_project_type_actor_and_target() {
    let test = TestApp::start().await;
    let org = Organization::open(&test).await;
    test.clock.advance(std::time::Duration::from_secs(100));
    let project = org.add_project(&test, "search").await;
    let at = test.app.env.now().unix_seconds();
    let made = org
        .post(&test, &format!("/v1/organization/projects/{project}/service_accounts"), &json!({ "name": "a" }))
        .await;
    let account = text(&made.json["id"]);
    let by = id_of(&test, &org.admin).await;
    let count = async |query: String| types(&test, &org, &query).await.len();
    assert_eq!(count(format!("effective_at[gte]={at}")).await, 3);
    assert_eq!(count(format!("effective_at[gt]={at}")).await, 0);
    assert_eq!(count(format!("effective_at[lt]={at}")).await, 5);
    assert_eq!(count(format!("effective_at[lte]={at}")).await, 8);
    assert_eq!(count(format!("project_ids[]={project}")).await, 3);
    assert_eq!(
        types(&test, &org, &format!("project_ids={project}&event_types[]=api_key.created")).await,
        ["api_key.created"]
    );
    assert_eq!(types(&test, &org, "event_types=project.created&event_types=service_account.created").await.len(), 3);
    assert_eq!((count(format!("actor_ids[]={by}")).await, count("actor_ids[]=nobody".to_owned()).await), (3, 0));
    assert_eq!(types(&test, &org, &format!("resource_ids[]={account}")).await, ["service_account.created"]);
    assert_eq!(count("actor_emails[]=a@b.example".to_owned()).await, 0);
}

#[tokio::test]
async fn events_can_be_paged_in_both_directions() {
    let test = TestApp::start().await;
    let org = Organization::open(&test).await;
    let all = org.get(&test, &format!("{LOGS}?limit=100")).await.json;
    let ids: Vec<String> = all["data"].as_array().unwrap().iter().map(|event| text(&event["id"])).collect();
    assert_eq!((ids.len(), &all["has_more"]), (5, &json!(false)));
    let page = async |query: String| {
        let page = org.get(&test, &format!("{LOGS}?{query}")).await.json;
        let ids: Vec<String> = page["data"].as_array().unwrap().iter().map(|event| text(&event["id"])).collect();
        (ids, page["has_more"] == json!(true))
    };
    assert_eq!(page("limit=2".to_owned()).await, (ids[..2].to_vec(), true));
    assert_eq!(page(format!("limit=2&after={}", ids[1])).await, (ids[2..4].to_vec(), true));
    assert_eq!(page(format!("limit=2&after={}", ids[3])).await, (ids[4..].to_vec(), false));
    assert_eq!(page(format!("limit=2&before={}", ids[4])).await, (ids[2..4].to_vec(), true));
    assert_eq!(page(format!("limit=2&before={}", ids[2])).await, (ids[..2].to_vec(), false));
    assert_eq!(page(format!("after={}", ids[4])).await, (Vec::new(), false));
}

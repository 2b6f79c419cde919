//! What can't be taken: each refused by name, and nothing changed.

use http::Method;
use serde_json::{Value, json};

use super::{Organization, id_of};
use crate::support::TestApp;

#[tokio::test]
async fn a_field_that_is_missing_wrong_too_large_or_too_long_is_named() {
    let test = TestApp::start().await;
    let org = Organization::open(&test).await;
    let long = "x".repeat(201);
    let project = |rest: &str| org.path(rest);
    let projects = "/v1/organization/projects".to_owned();
    let admin_keys = "/v1/organization/admin_api_keys".to_owned();
    let many: Vec<String> = (0..1_001).map(|n| format!("m{n}")).collect();
    let cases: Vec<(String, Value, &str)> = vec![
        (projects.clone(), json!({}), "name"),
        (projects.clone(), json!({ "name": 5 }), "name"),
        (projects.clone(), json!({ "name": " " }), "name"),
        (projects.clone(), json!({ "name": "a\nb" }), "name"),
        (projects.clone(), json!({ "name": long }), "name"),
        (projects.clone(), json!({ "name": "a", "residency": "EU_STORAGE_PROCESSING" }), "residency"),
        (projects, json!({ "name": "a", "external_key_id": "key" }), "external_key_id"),
        (project(""), json!({ "name": long }), "name"),
        (project(""), json!({ "name": [] }), "name"),
        (project("/service_accounts"), json!({}), "name"),
        (project("/service_accounts"), json!({ "name": "" }), "name"),
        (
            project("/service_accounts"),
            json!({ "name": "a", "create_service_account_only": "yes" }),
            "create_service_account_only",
        ),
        (project("/model_permissions"), json!({ "model_ids": [] }), "mode"),
        (project("/model_permissions"), json!({ "mode": "some", "model_ids": [] }), "mode"),
        (project("/model_permissions"), json!({ "mode": "allow_list" }), "model_ids"),
        (project("/model_permissions"), json!({ "mode": "allow_list", "model_ids": ["a", 5] }), "model_ids[1]"),
        (project("/model_permissions"), json!({ "mode": "allow_list", "model_ids": ["a", ""] }), "model_ids[1]"),
        (project("/model_permissions"), json!({ "mode": "allow_list", "model_ids": [long] }), "model_ids[0]"),
        (project("/model_permissions"), json!({ "mode": "allow_list", "model_ids": many }), "model_ids"),
        (project("/rate_limits/rl-*"), json!({ "max_requests_per_1_minute": 0 }), "max_requests_per_1_minute"),
        (project("/rate_limits/rl-*"), json!({ "max_requests_per_1_minute": -1 }), "max_requests_per_1_minute"),
        (project("/rate_limits/rl-*"), json!({ "max_tokens_per_1_minute": "many" }), "max_tokens_per_1_minute"),
        (project("/rate_limits/rl-*"), json!({ "max_tokens_per_1_minute": 1.5 }), "max_tokens_per_1_minute"),
        (project("/rate_limits/rl-*"), json!({ "max_concurrency": 2_147_483_648_u32 }), "max_concurrency"),
        (project("/rate_limits/rl-*"), json!({ "max_requests_per_1_day": 5 }), "max_requests_per_1_day"),
        (project("/spend_limit"), json!({}), "limit_usd"),
        (project("/spend_limit"), json!({ "limit_usd": 5 }), "limit_usd"),
        (project("/spend_limit"), json!({ "limit_usd": "-1" }), "limit_usd"),
        (project("/spend_limit"), json!({ "limit_usd": "99999999999" }), "limit_usd"),
        (project("/spend_limit"), json!({ "limit_usd": "1", "reset": "yearly" }), "reset"),
        (project("/spend_limit"), json!({ "threshold_amount": 0 }), "threshold_amount"),
        (admin_keys.clone(), json!({}), "name"),
        (admin_keys.clone(), json!({ "name": long }), "name"),
        (admin_keys.clone(), json!({ "name": "a", "expires_in_seconds": 0 }), "expires_in_seconds"),
        (admin_keys, json!({ "name": "a", "expires_in_seconds": 31_536_001 }), "expires_in_seconds"),
    ];
    for (path, body, param) in cases {
        let refused = org.post(&test, &path, &body).await;
        let met = (refused.status.as_u16(), refused.json["error"]["param"].as_str());
        assert_eq!(met, (400, Some(param)), "{path} {body}: {}", refused.json);
    }
    let key = format!("/v1/keys/{}", id_of(&test, &org.inference).await);
    for (method, path, body, param) in [
        (Method::POST, "/v1/keys", json!({}), "name"),
        (Method::POST, "/v1/keys", json!({ "name": long }), "name"),
        (Method::POST, "/v1/keys", json!({ "name": "a", "limit": 5 }), "limit"),
        (Method::POST, "/v1/keys", json!({ "name": "a", "limit_reset": "daily" }), "limit_reset"),
        (Method::POST, "/v1/keys", json!({ "name": "a", "expires_at": 5 }), "expires_at"),
        (Method::PATCH, &key, json!({ "name": "" }), "name"),
        (Method::PATCH, &key, json!({ "disabled": "yes" }), "disabled"),
        (Method::PATCH, &key, json!({ "limit": "-1" }), "limit"),
        (Method::PATCH, &key, json!({ "limit": null, "limit_reset": "daily" }), "limit_reset"),
        (Method::PATCH, &key, json!({ "limit": "1", "limit_reset": "yearly" }), "limit_reset"),
    ] {
        let refused = test.call(method.clone(), path).json(&body).bearer(&org.manager).send().await;
        let met = (refused.status.as_u16(), refused.json["error"]["param"].as_str());
        assert_eq!(met, (400, Some(param)), "{method} {path} {body}: {}", refused.json);
    }
    let events = sqlx::query_scalar!(r#"select count(*) as "count!" from audit_events where actor_kind = 'key'"#);
    assert_eq!(events.fetch_one(&test.app.db).await.unwrap(), 0, "nothing was changed");
}

#[tokio::test]
async fn a_query_that_cannot_be_read_is_refused_by_name() {
    let test = TestApp::start().await;
    let org = Organization::open(&test).await;
    for (path, param) in [
        ("projects?limit=0", "limit"),
        ("projects?limit=101", "limit"),
        ("projects?limit=1&limit=2", "limit"),
        ("projects?after=nonsense", "after"),
        ("projects?include_archived=maybe", "include_archived"),
        ("admin_api_keys?order=up", "order"),
        ("admin_api_keys?after=proj_1", "after"),
        ("audit_logs?effective_at[gt]=yesterday", "effective_at[gt]"),
        ("audit_logs?project_ids[]=nonsense", "project_ids"),
        ("audit_logs?before=nonsense", "before"),
        ("usage/completions", "start_time"),
        ("usage/completions?start_time=x", "start_time"),
        ("usage/completions?start_time=5&end_time=4", "end_time"),
        ("usage/completions?start_time=5&bucket_width=1w", "bucket_width"),
        ("usage/completions?start_time=5&bucket_width=1m&limit=1441", "limit"),
        ("usage/completions?start_time=5&group_by[]=batch", "group_by"),
        ("usage/completions?start_time=5&batch=true", "batch"),
        ("usage/completions?start_time=5&api_key_ids[]=x", "api_key_ids"),
        ("usage/completions?start_time=5&page=page_x", "page"),
        ("usage/embeddings?start_time=5&group_by=line_item", "group_by"),
        ("costs?start_time=5&bucket_width=1h", "bucket_width"),
        ("costs?start_time=5&limit=181", "limit"),
        ("costs?start_time=5&group_by=model", "group_by"),
    ] {
        let refused = org.get(&test, &format!("/v1/organization/{path}")).await;
        let met = (refused.status.as_u16(), refused.json["error"]["param"].as_str());
        assert_eq!(met, (400, Some(param)), "{path}: {}", refused.json);
    }
    for rest in
        ["/rate_limits?after=nonsense", "/rate_limits?after=rl-a&before=rl-b", "/api_keys?owner_project_access=some"]
    {
        assert_eq!(org.get(&test, &org.path(rest)).await.status, 400, "{rest}");
    }
}

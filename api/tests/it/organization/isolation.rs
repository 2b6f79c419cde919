//! One organization's admin and another organization's things.

use api::keys::KeyKind;
use api::routes::{Access, ROUTES};
use http::Method;
use serde_json::{Value, json};

use super::{Organization, id_of};
use crate::support::{TestApp, text};

/// Something of each kind that can be named.
struct Things {
    project: String,
    service_account: String,
    key: String,
    admin_key: String,
}

async fn things(test: &TestApp, org: &Organization) -> Things {
    let account = org.post(test, &org.path("/service_accounts"), &json!({ "name": "program" })).await.json;
    org.post(test, &org.path("/rate_limits/rl-*"), &json!({ "max_concurrency": 1 })).await;
    org.post(test, &org.path("/model_permissions"), &json!({ "mode": "deny_list", "model_ids": ["a"] })).await;
    for path in [org.path("/spend_limit"), "/v1/organization/spend_limit".to_owned()] {
        org.post(test, &path, &json!({ "limit_usd": "7" })).await;
    }
    Things {
        project: org.project.clone(),
        service_account: text(&account["id"]),
        key: text(&account["api_key"]["id"]),
        admin_key: id_of(test, &org.admin).await.to_string(),
    }
}

/// What each call would need to pass, so that only whose things they are can stand in the way.
fn body(path: &str) -> Value {
    match path.rsplit('/').next().unwrap() {
        "spend_limit" => json!({ "limit_usd": "1" }),
        "model_permissions" => json!({ "mode": "deny_list", "model_ids": [] }),
        "{*rate_limit}" => json!({ "max_concurrency": 1 }),
        "archive" | "api_keys" => json!({}),
        _ => json!({ "name": "taken" }),
    }
}

fn filled(path: &str, project: &str, rest: &Things) -> String {
    let key = if path.contains("admin_api_keys") { &rest.admin_key } else { &rest.key };
    let filled = path.replace("{project}", project).replace("{service_account}", &rest.service_account);
    format!("/v1{}", filled.replace("{key}", key).replace("{*rate_limit}", "rl-*"))
}

/// All that is kept for an organization, but what an admin's own calls add.
async fn kept(test: &TestApp, org: &Organization) -> Vec<Value> {
    let mut kept = Vec::new();
    for path in ["", "/api_keys", "/service_accounts", "/rate_limits", "/model_permissions", "/spend_limit"] {
        kept.push(org.get(test, &org.path(path)).await.json);
    }
    for path in ["projects", "admin_api_keys", "spend_limit", "audit_logs"] {
        kept.push(org.get(test, &format!("/v1/organization/{path}")).await.json);
    }
    kept
}

#[tokio::test]
async fn another_organizations_things_are_not_there() {
    let test = TestApp::start().await;
    let (mine, theirs) = (Organization::open(&test).await, Organization::open(&test).await);
    let (own, foreign) = (things(&test, &mine).await, things(&test, &theirs).await);
    let before = kept(&test, &theirs).await;
    let mut walked = 0;
    for &(method, path, access) in ROUTES {
        if access != Access::Key(KeyKind::Admin) || !path.contains('{') {
            continue;
        }
        // All of it theirs; and, where two ids are named, theirs within a project of mine.
        let mut paths = vec![filled(path, &foreign.project, &foreign)];
        if path.contains("{project}") && (path.contains("{key}") || path.contains("{service_account}")) {
            paths.push(filled(path, &own.project, &foreign));
            paths.push(filled(path, &foreign.project, &own));
        }
        for named in paths {
            let call = test.call(method.parse::<Method>().unwrap(), &named).bearer(&mine.admin);
            let reply = if method == "GET" { call } else { call.json(&body(path)) }.send().await;
            assert_eq!(
                (reply.status.as_u16(), reply.code()),
                (404, Some("not_found")),
                "{method} {named}: {}",
                reply.json
            );
            walked += 1;
        }
    }
    assert!(walked > 30, "{walked}");
    for method in [Method::GET, Method::PATCH, Method::DELETE] {
        let path = format!("/v1/keys/{}", foreign.key);
        let reply = test.call(method, &path).json(&json!({ "name": "taken" })).bearer(&mine.manager).send().await;
        assert_eq!((reply.status.as_u16(), reply.code()), (404, Some("not_found")));
    }
    assert_eq!(kept(&test, &theirs).await, before, "nothing of theirs has changed");
}

#[tokio::test]
async fn lists_and_reports_hold_only_what_is_ones_own() {
    let test = TestApp::start().await;
    let (mine, theirs) = (Organization::open(&test).await, Organization::open(&test).await);
    let foreign = things(&test, &theirs).await;
    let own_ids = [&mine.id, &mine.project];
    assert!(own_ids.iter().all(|id| ![&theirs.id, &theirs.project].contains(id)));
    for path in [
        "projects?limit=100".to_owned(),
        "admin_api_keys".to_owned(),
        "audit_logs?limit=100".to_owned(),
        format!("audit_logs?project_ids[]={}", foreign.project),
        format!("audit_logs?actor_ids[]={}", foreign.admin_key),
        format!("usage/completions?start_time=1767225600&project_ids[]={}", foreign.project),
        format!("costs?start_time=1767225600&api_key_ids[]={}", foreign.key),
    ] {
        let reply = mine.get(&test, &format!("/v1/organization/{path}")).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.json);
        let told = reply.json["data"].to_string();
        for id in [&theirs.id, &foreign.project, &foreign.service_account, &foreign.key, &foreign.admin_key] {
            assert!(!told.contains(id.as_str()), "{path} tells of {id}");
        }
    }
    // A cursor into somebody else's list leads nowhere new.
    let page = mine.get(&test, &format!("/v1/organization/projects?after={}", foreign.project)).await.json;
    assert!(page["data"].as_array().unwrap().iter().all(|project| project["id"] == json!(mine.project)));
    assert_eq!(mine.get(&test, "/v1/organization/spend_limit").await.status, 404);
}

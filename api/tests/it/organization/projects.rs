//! Projects and their service accounts.

use serde_json::json;

use super::{Listening, Organization, until_status};
use crate::support::{TestApp, text};

#[tokio::test]
async fn a_project_is_made_renamed_found_and_listed() {
    let test = TestApp::start().await;
    let org = Organization::open(&test).await;
    let id = org.add_project(&test, "search").await;
    let path = format!("/v1/organization/projects/{id}");
    let renamed = org.post(&test, &path, &json!({ "name": "find" })).await;
    let expected = json!({
        "id": id, "object": "organization.project", "name": "find", "status": "active", "is_default": false,
        "created_at": test.app.env.now().unix_seconds(), "archived_at": null,
    });
    assert_eq!((renamed.status.as_u16(), &renamed.json), (200, &expected));
    assert_eq!(org.get(&test, &path).await.json, expected);
    let listed = org.get(&test, "/v1/organization/projects").await.json;
    assert_eq!((&listed["object"], &listed["has_more"]), (&json!("list"), &json!(false)));
    assert_eq!(
        (&listed["data"][0], &listed["first_id"], &listed["last_id"]),
        (&expected, &json!(id), &json!(org.project))
    );
}

#[tokio::test]
async fn pages_of_projects_meet_without_gap_or_overlap() {
    let test = TestApp::start().await;
    let org = Organization::open(&test).await;
    let mut made = vec![org.project.clone()];
    for name in ["a", "b", "c", "d"] {
        made.push(org.add_project(&test, name).await);
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    for more in [true, true, false] {
        let page = org.get(&test, &format!("/v1/organization/projects?limit=2&after={after}")).await.json;
        assert_eq!(page["has_more"], more);
        seen.extend(page["data"].as_array().unwrap().iter().map(|project| text(&project["id"])));
        after = text(&page["last_id"]);
    }
    made.reverse();
    assert_eq!(seen, made);
    let end = org.get(&test, &format!("/v1/organization/projects?after={after}")).await.json;
    assert_eq!(end, json!({ "object": "list", "data": [], "first_id": null, "last_id": null, "has_more": false }));
}

#[tokio::test]
async fn an_archived_project_stops_its_keys_within_a_second_and_takes_no_more_changes() {
    let test = TestApp::start().await;
    let org = Organization::open(&test).await;
    let id = org.add_project(&test, "search").await;
    let path = format!("/v1/organization/projects/{id}");
    let made = org.post(&test, &format!("{path}/service_accounts"), &json!({ "name": "crawler" })).await;
    let key = text(&made.json["api_key"]["value"]);
    let listening = Listening::start(&test, &key).await;
    let archived = org.post(&test, &format!("{path}/archive"), &json!({})).await;
    assert_eq!((&archived.json["status"], archived.json["archived_at"].is_i64()), (&json!("archived"), true));
    until_status(&test, &key, 401).await;
    listening.stop().await;

    let again = org.post(&test, &format!("{path}/archive"), &json!({})).await;
    assert_eq!((again.status.as_u16(), &again.json), (200, &archived.json));
    for (rest, body) in [
        ("", json!({ "name": "other" })),
        ("/service_accounts", json!({ "name": "other" })),
        ("/spend_limit", json!({ "limit_usd": "1" })),
        ("/model_permissions", json!({ "mode": "deny_list", "model_ids": [] })),
        ("/rate_limits/rl-*", json!({ "max_concurrency": 1 })),
    ] {
        let refused = org.post(&test, &format!("{path}{rest}"), &body).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (400, Some("invalid_state")), "{rest}");
    }
    let ids = |reply: crate::support::Reply| {
        reply.json["data"].as_array().unwrap().iter().map(|p| text(&p["id"])).collect::<Vec<_>>()
    };
    assert_eq!(ids(org.get(&test, "/v1/organization/projects").await), [org.project.as_str()]);
    assert_eq!(ids(org.get(&test, "/v1/organization/projects?include_archived=true").await), [id, org.project.clone()]);
    let refused = org.post(&test, &org.path("/archive"), &json!({})).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (400, Some("invalid_state")));
}

#[tokio::test]
async fn a_service_account_shows_its_first_key_once_and_takes_all_of_them_with_it() {
    let test = TestApp::start().await;
    let org = Organization::open(&test).await;
    let accounts = org.path("/service_accounts");
    let made = org.post(&test, &accounts, &json!({ "name": "crawler" })).await.json;
    assert_eq!((&made["object"], &made["role"]), (&json!("organization.project.service_account"), &json!("member")));
    let key = &made["api_key"];
    assert_eq!(
        (&key["object"], &key["name"]),
        (&json!("organization.project.service_account.api_key"), &json!("Secret Key"))
    );
    let path = format!("{accounts}/{}", text(&made["id"]));
    let second = org.post(&test, &format!("{path}/api_keys"), &json!({ "name": "spare" })).await.json;
    let secrets = [text(&key["value"]), text(&second["value"])];
    let listening = Listening::start(&test, &secrets[0]).await;
    until_status(&test, &secrets[1], 200).await;

    let mut shown = made.clone();
    shown.as_object_mut().unwrap().remove("api_key");
    assert_eq!(org.get(&test, &path).await.json, shown);
    assert_eq!(org.get(&test, &accounts).await.json["data"], json!([shown]));
    shown["name"] = json!("spider");
    assert_eq!(org.post(&test, &path, &json!({ "name": "spider", "role": "member" })).await.json, shown);
    let owned = org.get(&test, &org.path(&format!("/api_keys/{}", text(&second["id"])))).await.json;
    assert_eq!(owned["owner"]["service_account"]["id"], made["id"]);

    let gone = org.delete(&test, &path).await.json;
    let expected =
        json!({ "id": made["id"], "object": "organization.project.service_account.deleted", "deleted": true });
    assert_eq!(gone, expected);
    for secret in &secrets {
        until_status(&test, secret, 401).await;
    }
    listening.stop().await;
    assert_eq!(org.get(&test, &path).await.status, 404);
    assert_eq!(org.delete(&test, &path).await.status, 404);
    assert_eq!(org.get(&test, &accounts).await.json["data"], json!([]));
    let bare = org.post(&test, &accounts, &json!({ "name": "none", "create_service_account_only": true })).await.json;
    assert!(bare["api_key"].is_null() && bare.as_object().unwrap().contains_key("api_key"), "{bare}");
}

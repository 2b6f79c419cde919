//! Which models, how fast, and for how much.

use api::store::rate_limits::{self, LimitScope, Limits};
use http::Method;
use protocol::Units;
use serde_json::{Value, json};

use super::{Listening, Organization, Till, id_of};
use crate::support::{Reply, TestApp};

async fn ask(test: &TestApp, org: &Organization, model: &str) -> Reply {
    let body = json!({ "model": model, "messages": [{ "role": "user", "content": "hello" }] });
    test.post("/v1/chat/completions", &body).bearer(&org.inference).send().await
}

#[tokio::test]
async fn a_project_asks_only_for_models_it_may_and_learns_of_a_change_within_a_second() {
    let test = TestApp::start().await;
    let (org, other) = (Organization::open(&test).await, Organization::open(&test).await);
    let listening = Listening::start(&test, &org.inference).await;
    let path = org.path("/model_permissions");
    let open = json!({ "object": "project.model_permissions", "mode": "deny_list", "model_ids": [] });
    assert_eq!(org.get(&test, &path).await.json, open);
    let allow = json!({ "mode": "allow_list", "model_ids": ["org/b", "org/a", "org/b"] });
    let set = org.post(&test, &path, &allow).await.json;
    let expected =
        json!({ "object": "project.model_permissions", "mode": "allow_list", "model_ids": ["org/a", "org/b"] });
    assert_eq!((&set, &org.get(&test, &path).await.json), (&expected, &expected));
    until_code(&test, &org, "org/c", "model_not_permitted").await;
    let refused = ask(&test, &org, "org/c:floor").await;
    assert_eq!((refused.status.as_u16(), refused.code()), (403, Some("model_not_permitted")));
    assert_eq!((&refused.json["error"]["param"], refused.header("x-should-retry")), (&json!("model"), Some("false")));
    // Permitted, and so judged by whether it exists.
    assert_eq!(ask(&test, &org, "org/a:nitro").await.code(), Some("model_not_found"));
    assert_eq!(ask(&test, &other, "org/c").await.code(), Some("model_not_found"));
    let deny = json!({ "mode": "deny_list", "model_ids": ["org/a"] });
    assert_eq!(org.post(&test, &path, &deny).await.status, 200);
    until_code(&test, &org, "org/a", "model_not_permitted").await;
    assert_eq!(ask(&test, &org, "org/c").await.code(), Some("model_not_found"));
    let gone = org.delete(&test, &path).await.json;
    assert_eq!(gone, json!({ "object": "project.model_permissions.deleted", "deleted": true }));
    until_code(&test, &org, "org/a", "model_not_found").await;
    assert_eq!(org.get(&test, &path).await.json, open);
    listening.stop().await;
}

async fn until_code(test: &TestApp, org: &Organization, model: &str, code: &str) {
    let began = std::time::Instant::now();
    while ask(test, org, model).await.code() != Some(code) {
        assert!(began.elapsed() < std::time::Duration::from_secs(1), "{model} is not {code}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_rate_limit_is_set_by_field_and_kept_for_whoever_enforces_it() {
    let test = TestApp::start().await;
    let org = Organization::open(&test).await;
    test.admin(&["model", "add", "--id", "org/name", "--context-length", "4096"]).await;
    let unlimited = json!(2_147_483_647);
    let whole = |model: &str, requests: &Value, tokens: &Value, concurrency: &Value| {
        json!({
            "object": "project.rate_limit", "id": format!("rl-{model}"), "model": model, "max_concurrency": concurrency,
            "max_requests_per_1_minute": requests, "max_tokens_per_1_minute": tokens,
        })
    };
    let listed = org.get(&test, &org.path("/rate_limits")).await.json;
    let free = |model| whole(model, &unlimited, &unlimited, &unlimited);
    assert_eq!(listed["data"], json!([free("*"), free("org/name")]));
    // The slash of a model's id comes either way.
    let set =
        org.post(&test, &org.path("/rate_limits/rl-org%2Fname"), &json!({ "max_requests_per_1_minute": 60 })).await;
    assert_eq!((set.status.as_u16(), &set.json), (200, &whole("org/name", &json!(60), &unlimited, &unlimited)));
    let more = json!({ "max_tokens_per_1_minute": 9_000, "max_concurrency": 4 });
    let set = org.post(&test, &org.path("/rate_limits/rl-org/name"), &more).await;
    assert_eq!(set.json, whole("org/name", &json!(60), &json!(9_000), &json!(4)));
    let kept = |limits: Limits| rate_limits::RateLimit {
        scope: LimitScope::Project(org.project.parse().unwrap()),
        model: "org/name".to_owned(),
        limits,
    };
    let all = async || rate_limits::list_all(&mut test.app.db.acquire().await.unwrap()).await.unwrap();
    let limits =
        Limits { max_requests_per_minute: Some(60), max_tokens_per_minute: Some(9_000), max_concurrency: Some(4) };
    assert_eq!(all().await, [kept(limits)]);
    let fewer = json!({ "max_requests_per_1_minute": null, "max_tokens_per_1_minute": 2_147_483_647 });
    org.post(&test, &org.path("/rate_limits/rl-org/name"), &fewer).await;
    assert_eq!(all().await, [kept(Limits { max_concurrency: Some(4), ..Limits::default() })]);
    org.post(&test, &org.path("/rate_limits/rl-org/name"), &json!({ "max_concurrency": null })).await;
    assert_eq!(all().await, []);
    assert_eq!(org.post(&test, &org.path("/rate_limits/rl-org/unknown"), &json!({})).await.status, 404);

    let page = |query: &str| {
        let path = org.path(&format!("/rate_limits?{query}"));
        let (test, org) = (&test, &org);
        async move { org.get(test, &path).await.json }
    };
    let first = page("limit=1").await;
    assert_eq!((&first["last_id"], &first["has_more"]), (&json!("rl-*"), &json!(true)));
    let next = page("limit=1&after=rl-*").await;
    assert_eq!((&next["first_id"], &next["has_more"]), (&json!("rl-org/name"), &json!(false)));
    assert_eq!(page("before=rl-org/name").await["last_id"], "rl-*");
}

#[tokio::test]
async fn a_spend_limit_binds_what_it_is_set_for_and_says_what_is_left() {
    let test = TestApp::start().await;
    let org = Organization::open(&test).await;
    test.admin(&["grant", "--org", &org.id, "--usd", "5", "--expires-days", "30"]).await;
    let (whole, project) = ("/v1/organization/spend_limit".to_owned(), org.path("/spend_limit"));
    for (path, object) in [(&whole, "organization.spend_limit"), (&project, "project.spend_limit")] {
        assert_eq!(org.get(&test, path).await.status, 404);
        let set = org.post(&test, path, &json!({ "limit_usd": "1.005", "reset": "daily" })).await;
        let expected = json!({
            "object": object, "limit_usd": "1.005", "reset": "daily", "remaining_usd": "1.005", "threshold_amount": 100,
            "currency": "USD", "interval": "day", "enforcement": { "status": "inactive" },
        });
        assert_eq!((set.status.as_u16(), &set.json), (200, &expected));
        assert_eq!(org.get(&test, path).await.json, expected);
    }
    let units = Units { completion: 500, ..Units::default() };
    let key = id_of(&test, &org.inference).await;
    Till::of(&test, "org/name", 9).await.ring(&test, (&org.id, &org.project, key), units).await;
    assert_eq!(org.get(&test, &project).await.json["remaining_usd"], "1.0049995");
    // OpenAI's spelling, by PUT as by POST.
    let cents = json!({ "threshold_amount": 10_000, "currency": "USD", "interval": "month" });
    let set = test.call(Method::PUT, &whole).json(&cents).bearer(&org.admin).send().await.json;
    assert_eq!((&set["limit_usd"], &set["reset"]), (&json!("100.00"), &json!("monthly")));
    let none = org.post(&test, &project, &json!({ "limit_usd": "0", "reset": "daily" })).await.json;
    assert_eq!(none["enforcement"]["status"], "enforcing");
    for (path, object) in [(whole, "organization.spend_limit.deleted"), (project, "project.spend_limit.deleted")] {
        for _ in 0..2 {
            assert_eq!(org.delete(&test, &path).await.json, json!({ "object": object, "deleted": true }));
        }
        assert_eq!(org.get(&test, &path).await.status, 404);
    }
}

#[tokio::test]
async fn changes_made_at_once_all_come_through_and_one_of_them_stands() {
    let test = TestApp::start().await;
    let org = Organization::open(&test).await;
    let key = format!("/v1/keys/{}", id_of(&test, &org.inference).await);
    let calls = (1..=8).map(|n| {
        let (test, org, key) = (&test, &org, &key);
        async move {
            let limit = json!({ "limit_usd": n.to_string(), "reset": if n % 2 == 0 { "daily" } else { "monthly" } });
            let tokens = json!({ "max_tokens_per_1_minute": n });
            let requests = json!({ "max_requests_per_1_minute": n });
            let own = json!({ "limit": n.to_string(), "limit_reset": limit["reset"] });
            let replies = [
                org.post(test, "/v1/organization/spend_limit", &limit).await,
                org.post(test, &org.path("/spend_limit"), &limit).await,
                org.post(test, &org.path("/rate_limits/rl-*"), &tokens).await,
                org.post(test, &org.path("/rate_limits/rl-*"), &requests).await,
                test.call(Method::PATCH, key).json(&own).bearer(&org.manager).send().await,
            ];
            replies.map(|reply| reply.status.as_u16())
        }
    });
    let statuses = futures_util::future::join_all(calls).await;
    assert!(statuses.iter().flatten().all(|status| *status == 200), "{statuses:?}");
    // What one call left alone, none of the others lost.
    let limit = org.get(&test, &org.path("/rate_limits")).await.json["data"][0].clone();
    for field in ["max_tokens_per_1_minute", "max_requests_per_1_minute"] {
        assert!((1..=8).contains(&limit[field].as_i64().unwrap()), "{limit}");
    }
}

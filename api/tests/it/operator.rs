//! What an operator does by hand about money.

use std::time::Duration;

use api::error::ApiError;
use api::store::audit::Actor;
use axum::response::IntoResponse as _;
use clap::Parser;
use serde_json::{Value, json};

use crate::support::{TestApp, text};

/// The audit events of an action, oldest first: actor and detail.
async fn audited(test: &TestApp, action: &str) -> Vec<(String, Value)> {
    sqlx::query_as("select actor, detail from audit_events where action = $1 order by event_id")
        .bind(action)
        .fetch_all(&test.app.db)
        .await
        .unwrap()
}

/// `steelyard admin …` that is refused, and why.
async fn refused(test: &TestApp, words: &[&str]) -> String {
    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: api::commands::admin::Args,
    }
    let line = match Line::try_parse_from(std::iter::once("admin").chain(words.iter().copied())) {
        Ok(line) => line,
        Err(error) => return error.to_string(),
    };
    let actor = Actor::Operator("test".to_owned());
    let done = api::commands::admin::execute(line.args, test.app.db.clone(), test.app.env.clone(), actor).await;
    done.unwrap_err().to_string()
}

#[tokio::test]
async fn limits_are_set_changed_shown_and_removed_for_each_scope() {
    let test = TestApp::start().await;
    let (org, _) = test.customer().await;
    let key = text(&test.admin(&["key", "list", "--org", &org]).await[0]["key"]);
    let project = text(&test.admin(&["project", "list", "--org", &org]).await[0]["project"]);
    for (flag, id) in [("--key", &key), ("--project", &project), ("--org", &org)] {
        let scope = if flag == "--org" { "organization" } else { &flag[2..] };
        let set = test.admin(&["limit", "set", flag, id, "--usd", "5", "--reset", "daily"]).await;
        assert_eq!(set, json!({ scope: id, "limit_usd": "5.00", "reset": "daily" }));
        test.clock.advance(Duration::from_secs(1));
        test.admin(&["limit", "set", flag, id, "--usd", "7.50", "--reset", "daily"]).await;
        let shown = test.admin(&["limit", "show", flag, id]).await;
        assert_eq!(
            (&shown["limit_usd"], &shown["spent_usd"], &shown["left_usd"]),
            (&json!("7.50"), &json!("0.00"), &json!("7.50"))
        );
        assert_eq!(test.admin(&["limit", "remove", flag, id]).await["removed_now"], true);
        assert_eq!(test.admin(&["limit", "remove", flag, id]).await["removed_now"], false);
        assert_eq!(test.admin(&["limit", "show", flag, id]).await, json!({ scope: id, "limit_usd": null }));
        test.clock.advance(Duration::from_secs(1));
    }
    let set = audited(&test, "limit.set").await;
    assert_eq!(set.len(), 6);
    assert_eq!(set[1].0, "test");
    let (before, limit) = (&set[1].1["before"], &set[1].1["limit"]);
    assert_eq!((before, limit), (&json!({"usd": "5.00", "reset": "daily"}), &json!({"usd": "7.50", "reset": "daily"})));
    assert_eq!(audited(&test, "limit.removed").await.len(), 3, "removing nothing is no change");
}

#[tokio::test]
async fn a_limit_names_one_thing_that_is_there_and_can_spend() {
    let test = TestApp::start().await;
    let (org, _) = test.customer().await;
    assert!(
        refused(&test, &["limit", "set", "--usd", "5"]).await.contains("--key <KEY>|--project <PROJECT>|--org <ORG>")
    );
    let nobody: protocol::KeyId = test.app.env.mint();
    let why = refused(&test, &["limit", "set", "--key", &nobody.to_string(), "--usd", "5"]).await;
    assert_eq!(why, format!("there is no key {nobody}"));
    let manager = text(&test.admin(&["key", "create", "--org", &org, "--kind", "management"]).await["key"]);
    assert!(
        refused(&test, &["limit", "set", "--key", &manager, "--usd", "5"]).await.contains("limit an inference key")
    );
    let hourly = refused(&test, &["limit", "set", "--org", &org, "--usd", "5", "--reset", "hourly"]).await;
    assert!(hourly.contains("daily, weekly, monthly, none"), "{hourly}");
}

#[tokio::test]
async fn rate_limits_are_set_changed_shown_and_removed_for_each_scope() {
    let test = TestApp::start().await;
    let (org, _) = test.customer().await;
    test.admin(&["model", "add", "--id", "org/name", "--context-length", "4096"]).await;
    let key = text(&test.admin(&["key", "list", "--org", &org]).await[0]["key"]);
    let project = text(&test.admin(&["project", "list", "--org", &org]).await[0]["project"]);
    let row = |model: &str, requests: Option<u32>, tokens: Option<u32>, concurrency: Option<u32>| json!({ "model": model, "requests_per_minute": requests, "tokens_per_minute": tokens, "concurrency": concurrency });
    for (flag, id) in [("--key", &key), ("--project", &project), ("--org", &org)] {
        let scope = if flag == "--org" { "organization" } else { &flag[2..] };
        assert_eq!(test.admin(&["rate-limit", "show", flag, id]).await, json!([]));
        let set = test.admin(&["rate-limit", "set", flag, id, "--requests", "60", "--concurrency", "4"]).await;
        let mut told = row("*", Some(60), None, Some(4));
        told[scope] = json!(id);
        assert_eq!(set, told);
        test.admin(&["rate-limit", "set", flag, id, "--model", "org/name", "--tokens", "1000"]).await;
        // What is not named stays, and the same again is no change.
        for _ in 0..2 {
            test.clock.advance(Duration::from_secs(1));
            test.admin(&["rate-limit", "set", flag, id, "--tokens", "5000"]).await;
        }
        let shown = test.admin(&["rate-limit", "show", flag, id]).await;
        let own = row("org/name", None, Some(1_000), None);
        assert_eq!(shown, json!([row("*", Some(60), Some(5_000), Some(4)), own]));
        test.admin(&["rate-limit", "remove", flag, id]).await;
        assert_eq!(test.admin(&["rate-limit", "show", flag, id]).await, json!([own]));
        test.clock.advance(Duration::from_secs(1));
    }
    let changes = audited(&test, "rate_limit.updated").await;
    assert_eq!((changes.len(), changes[0].0.as_str()), (3 * 4, "test"));
    let (before, after) = (&changes[2].1["before"], &changes[2].1);
    // Never null, which OpenAI's clients would not read: what does not bind is as in the API.
    assert_eq!((&before["max_tokens_per_1_minute"], &before["max_concurrency"]), (&json!(i32::MAX), &json!(4)));
    assert_eq!((&after["max_tokens_per_1_minute"], &after["max_concurrency"]), (&json!(5_000), &json!(4)));
}

#[tokio::test]
async fn a_rate_limit_binds_the_next_requests_and_no_one_elses() {
    let test = TestApp::start().await;
    let (org, secret) = test.customer().await;
    let (_, other) = test.customer().await;
    test.admin(&["rate-limit", "set", "--org", &org, "--requests", "1"]).await;
    // What the loop beside requests does every two seconds.
    test.app.limits.reload(&test.app.db).await.unwrap();
    let body = json!({ "model": "org/name", "messages": [{ "role": "user", "content": "hello" }] });
    for (secret, status) in [(&secret, 404), (&secret, 429), (&other, 404)] {
        let reply = test.post("/v1/messages/count_tokens", &body).bearer(secret).send().await;
        assert_eq!(reply.status, status, "{}", reply.json);
    }
}

#[tokio::test]
async fn a_rate_limit_says_how_much_and_of_what() {
    let test = TestApp::start().await;
    let (org, _) = test.customer().await;
    let none = refused(&test, &["rate-limit", "set", "--org", &org]).await;
    assert!(none.contains("--requests <N>|--tokens <N>|--concurrency <N>"), "{none}");
    for wrong in ["0", "-1", "1.5", "many", "4294967296"] {
        let why = refused(&test, &["rate-limit", "set", "--org", &org, &format!("--requests={wrong}")]).await;
        assert!(why.contains("--requests <N>"), "{wrong}: {why}");
    }
    let nobody: protocol::ProjectId = test.app.env.mint();
    let why = refused(&test, &["rate-limit", "show", "--project", &nobody.to_string()]).await;
    assert_eq!(why, format!("there is no project {nobody}"));
    let why = refused(&test, &["rate-limit", "set", "--org", &org, "--tokens", "5", "--model", "org/unknown"]).await;
    assert_eq!(why, "there is no model org/unknown");
    let help = refused(&test, &["rate-limit", "set", "--help"]).await;
    for taught in ["within two seconds", "429", "Requests in a minute", "at the same time", "limits.key"] {
        assert!(help.contains(taught), "{help}");
    }
}

#[tokio::test]
async fn an_organization_is_suspended_and_resumed_with_a_trace() {
    let test = TestApp::start().await;
    let (org, _) = test.customer().await;
    for _ in 0..2 {
        let turned = test.admin(&["org", "suspend", &org, "--reason", "chargebacks"]).await;
        assert_eq!(turned["state"], "suspended");
    }
    assert_eq!(test.admin(&["org", "show", &org]).await["state"], "suspended");
    let ask = |ceiling| billing::HoldRequest {
        request: test.app.env.mint(),
        organization: org.parse().unwrap(),
        project: test.app.env.mint(),
        key: test.app.env.mint(),
        ceiling,
    };
    let refusal = test.app.billing.hold(ask(protocol::NanoUsd::from_dollars(1))).await.err().unwrap();
    assert!(matches!(refusal, billing::Error::Suspended { .. }), "{refusal}");
    assert_eq!(test.admin(&["org", "resume", &org]).await["state"], "active");
    assert_eq!(test.admin(&["org", "show", &org]).await["state"], "active");
    let suspended = audited(&test, "organization.suspended").await;
    assert_eq!(suspended, [("test".to_owned(), json!({ "reason": "chargebacks" }))]);
    assert_eq!(audited(&test, "organization.resumed").await.len(), 1);
}

#[tokio::test]
async fn parked_settlements_are_listed_replayed_and_discarded() {
    let test = TestApp::start().await;
    let (org, _) = test.customer().await;
    assert_eq!(test.admin(&["quarantine", "list"]).await, json!([]));
    let mut parked = Vec::new();
    for _ in 0..2 {
        let request: protocol::RequestId = test.app.env.mint();
        park(&test, &org, request).await;
        parked.push(request.to_string());
    }
    let listed = test.admin(&["quarantine", "list"]).await;
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!((&listed[0]["charge_usd"], &listed[0]["error"]), (&json!("0.00"), &json!("refused")));
    let replayed = test.admin(&["quarantine", "replay", &parked[0]]).await;
    assert_eq!((&replayed["organization"], &replayed["booked_now"]), (&json!(org), &json!(true)));
    test.admin(&["quarantine", "discard", &parked[1], "--reason", "a test"]).await;
    assert_eq!(test.admin(&["quarantine", "list"]).await, json!([]));
    let again = refused(&test, &["quarantine", "replay", &parked[1]]).await;
    assert!(again.contains("waits in quarantine"), "{again}");
    assert_eq!(audited(&test, "settlement.replayed").await.len(), 1);
    assert_eq!(audited(&test, "settlement.discarded").await[0].1, json!({ "reason": "a test" }));
    assert!(billing::reconcile(&test.app.db).await.unwrap().is_green());
}

#[tokio::test]
async fn a_provider_is_shown_with_what_became_of_its_reports() {
    let test = TestApp::start().await;
    let joined = test.join(1).await;
    let shown = test.admin(&["provider", "show", &joined.provider]).await;
    assert_eq!(shown["reports_7d"], json!({ "answers": 0, "apart": 0, "missing": 0 }));
    let provider: protocol::ProviderId = joined.provider.parse().unwrap();
    // Yesterday counts, a month ago does not.
    for (day, answers) in [("2025-12-31", 10_i64), ("2025-12-01", 1_000)] {
        sqlx::query(
            "insert into report_days (provider_id, day, attempts, apart, unsigned) values ($1, $2::date, $3, 2, 3)",
        )
        .bind(protocol::Id::uuid(provider))
        .bind(day)
        .bind(answers)
        .execute(&test.app.db)
        .await
        .unwrap();
    }
    let shown = test.admin(&["provider", "show", &joined.provider]).await;
    assert_eq!(shown["reports_7d"], json!({ "answers": 10, "apart": 2, "missing": 3 }));
}

/// Parks the settlement of a request that reached no provider, as the writer would.
async fn park(test: &TestApp, org: &str, request: protocol::RequestId) {
    let organization: protocol::OrganizationId = org.parse().unwrap();
    let (project, key): (protocol::ProjectId, protocol::KeyId) = (test.app.env.mint(), test.app.env.mint());
    let now = test.app.env.now();
    let row = json!({
        "request": request, "account": organization, "project": project, "key": key,
        "lease": null, "key_lease": null, "project_lease": null, "organization_lease": null,
        "outcome": billing::Outcome::GatewayFault, "hold": "1.00", "charge": "0.00", "clamped": "0.00",
        "units": protocol::Units::default(), "model": "org/name", "streamed": false,
        "finish_reason": null, "native_finish_reason": null,
        "received_at": now, "first_output_at": null, "finished_at": now, "attempts": [],
    });
    sqlx::query("insert into settle_quarantine (request_id, account_id, row, error) values ($1, $2, $3, 'refused')")
        .bind(protocol::Id::uuid(request))
        .bind(protocol::Id::uuid(organization))
        .bind(row)
        .execute(&test.app.db)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_statement_that_took_too_long_is_a_matter_of_time() {
    let test = TestApp::start().await;
    let mut tx = test.app.db.begin().await.unwrap();
    sqlx::query("set local statement_timeout = 10").execute(&mut *tx).await.unwrap();
    let error = sqlx::query("select pg_sleep(5)").execute(&mut *tx).await.unwrap_err();
    let answer = ApiError::from(error).into_response();
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
}

//! What callers send that can't be served: each refused in one shape, with words, and for nothing.

mod accounts;
mod cast;
mod census;
mod desk;
mod inference;
mod money;
mod providers;
mod table;

use std::collections::BTreeSet;
use std::time::Duration;

use api::router::dress;
use api::routes::ROUTES;
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::get;
use http::{Method, Request};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use tower::ServiceExt as _;

use self::desk::{CHAT, Desk, Refused};
use crate::support::{TestApp, text};

#[test]
fn every_route_that_takes_a_body_is_in_a_table() {
    let tables = [inference::table(), money::table(), accounts::table(), providers::table()];
    let listed: Vec<(&str, &str)> = tables.iter().flatten().map(|endpoint| (endpoint.method, endpoint.route)).collect();
    let unique: BTreeSet<(&str, &str)> = listed.iter().copied().collect();
    assert_eq!(unique.len(), listed.len(), "an endpoint is in two tables");
    let routes = ROUTES.iter().filter(|(method, ..)| ["POST", "PATCH"].contains(method));
    assert_eq!(unique, routes.map(|(method, route, _)| (*method, *route)).collect());
}

#[tokio::test]
async fn a_body_that_is_too_large_or_not_json_is_not_read() {
    let desk = Desk::open().await;
    let large = desk.post("x".repeat(64 * 1024 + 1)).await;
    assert_eq!((large.status.as_u16(), large.code()), (413, Some("request_too_large")));
    // Without a length to announce it is cut off where it passes the limit.
    let pieces = (0..80).map(|_| Ok::<_, std::io::Error>(bytes::Bytes::from(vec![b' '; 1024])));
    let streamed = desk.post(Body::from_stream(futures_util::stream::iter(pieces))).await;
    assert_eq!((streamed.status.as_u16(), streamed.code()), (413, Some("request_too_large")));
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let request = Request::post(CHAT).header("authorization", format!("Bearer {}", desk.key));
        let refused = desk.send(request.header("content-type", kind).body(Body::from("{}")).unwrap()).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (415, Some("unsupported_media_type")), "{kind}");
    }
    desk.nothing_was_charged().await;
}

#[tokio::test]
async fn a_model_nobody_knows_is_not_found() {
    let desk = Desk::open().await;
    let body = json!({ "model": "org/unknown", "messages": [{ "role": "user", "content": "hello" }] });
    let refused = desk.post(body.to_string()).await;
    assert_eq!(
        (refused.status.as_u16(), refused.code(), refused.param()),
        (404, Some("model_not_found"), Some("model"))
    );
    assert_eq!(refused.error["availability"]["code"], "model_not_found");
    assert_eq!(refused.error["availability"]["retryable"], false);
    desk.nothing_was_charged().await;
}

#[tokio::test]
async fn without_a_key_that_counts_not_even_the_body_is_judged() {
    let desk = Desk::open().await;
    let send = |header: Option<(&'static str, String)>| {
        let mut request = Request::post(CHAT).header("content-type", "application/json");
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        desk.send(request.body(Body::from("nonsense")).unwrap())
    };
    let none = send(None).await;
    assert_eq!((none.status.as_u16(), none.code()), (401, None));
    let authorization = |value: &str| Some(("authorization", value.to_owned()));
    for wrong in [
        authorization("Bearer garbage"),
        authorization("Basic eDp5"),
        authorization("Bearer "),
        Some(("x-api-key", "sk-no".into())),
    ] {
        let refused = send(wrong.clone()).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (401, Some("invalid_api_key")), "{wrong:?}");
        assert_eq!(refused.header("x-should-retry"), Some("false"));
    }
    desk.nothing_was_charged().await;
}

#[tokio::test]
async fn a_url_nobody_serves_is_not_found() {
    let desk = Desk::open().await;
    for path in ["/v1/unknown", "/v1", "/", "/v2/chat/completions", "/v1/chat/completions/extra", "/api/v1/nothing"] {
        let refused = desk.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (404, Some("unknown_url")), "{path}");
    }
}

#[tokio::test]
async fn a_method_a_url_does_not_take_is_refused_with_those_it_takes() {
    let desk = Desk::open().await;
    for (method, path, allow) in [
        (Method::GET, CHAT, "POST"),
        (Method::DELETE, "/api/v1/chat/completions", "POST"),
        (Method::POST, "/v1/credits", "GET,HEAD"),
    ] {
        let refused = desk.send(Request::builder().method(&method).uri(path).body(Body::empty()).unwrap()).await;
        assert_eq!(refused.status, 405, "{method} {path}");
        assert_eq!(refused.header("allow"), Some(allow), "{method} {path}");
    }
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up_on() {
    let test = TestApp::start_with(|config| config.server.body_timeout_ms = 100).await;
    let (organization, key) = test.customer().await;
    let desk = Desk { test, key, organization };
    let endless = futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
    let refused = desk.post(Body::from_stream(endless)).await;
    assert_eq!((refused.status.as_u16(), refused.param()), (400, None));
}

#[tokio::test]
async fn nor_is_one_of_a_caller_without_a_key() {
    let test = TestApp::start_with(|config| config.server.body_timeout_ms = 100).await;
    let (organization, key) = test.customer().await;
    let desk = Desk { test, key, organization };
    let endless = futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
    let request = Request::post("/v1/providers").header("content-type", "application/json");
    let sent = desk.send(request.body(Body::from_stream(endless)).unwrap());
    let refused = tokio::time::timeout(Duration::from_secs(10), sent).await.expect("the body is waited for");
    assert_eq!((refused.status.as_u16(), refused.param()), (400, None));
    let large = Request::post("/v1/providers").header("content-type", "application/json");
    let refused = desk.send(large.body(Body::from(vec![b' '; 3 << 20])).unwrap()).await;
    assert_eq!(refused.status, 413);
}

#[tokio::test]
async fn a_panic_is_answered_like_any_other_fault() {
    let desk = Desk::open().await;
    let routes = Router::new().route("/panic", get(async || -> Response { panic!("a handler of a test") }));
    let response = dress(routes, desk.test.app.clone()).oneshot(Request::get("/panic").body(Body::empty()).unwrap());
    let refused = Refused::read(response.await.unwrap()).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (500, Some("internal_error")));
}

#[tokio::test]
async fn a_clients_own_name_for_a_call_is_taken_if_it_is_one_and_said_back_nowhere() {
    let desk = Desk::open().await;
    let send = |value: &[u8]| {
        let request = Request::get("/v1/unknown").header("x-client-request-id", value);
        let attributed = request.header("http-referer", "https://app.example").header("x-title", "An app");
        desk.send(attributed.body(Body::empty()).unwrap())
    };
    for good in ["my-own-name-7".to_owned(), "x".repeat(512), String::new()] {
        let refused = send(good.as_bytes()).await;
        assert_eq!(refused.code(), Some("unknown_url"));
        let said = format!("{:?} {}", refused.headers, refused.error);
        assert!(good.is_empty() || !said.contains(&good), "{said}");
    }
    for bad in ["x".repeat(513).into_bytes(), "n\u{e4}me".as_bytes().to_vec()] {
        let refused = send(&bad).await;
        assert_eq!((refused.status.as_u16(), refused.param()), (400, Some("X-Client-Request-Id")));
    }
}

#[tokio::test]
async fn no_mangled_body_is_a_fault_of_ours() {
    let desk = Desk::open().await;
    let good = json!({
        "model": "org/unknown:floor", "stream": true, "n": 2, "max_tokens": 5, "stop": ["a"], "seed": 1,
        "stream_options": { "include_usage": true }, "provider": { "order": ["a/b"], "max_price": { "prompt": "0.1" } },
        "messages": [{ "role": "user", "content": [{ "type": "text", "text": "h\u{e9}llo \"\\ \u{1f600}" }] }],
        "tools": [{ "type": "function", "function": { "name": "f", "parameters": {} } }], "tool_choice": "auto",
        "response_format": { "type": "json_object" }, "metadata": { "a": "b" }, "logit_bias": { "1": 1.5 },
    });
    assert_eq!(desk.post(good.to_string()).await.code(), Some("model_not_found"));
    let mut rng = SmallRng::seed_from_u64(7);
    for _ in 0..1_000 {
        let mut body = good.to_string().into_bytes();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..body.len());
            match rng.random_range(0..4) {
                0 => body[at] = rng.random(),
                1 => drop(body.remove(at)),
                2 => body.truncate(at.max(8)),
                _ => body.insert(at, b"{}[]\",:0-e.\\untf"[rng.random_range(0..16)]),
            }
        }
        let refused = desk.post(body.clone()).await;
        assert!(refused.status.is_client_error(), "{} for {:?}", refused.status, String::from_utf8_lossy(&body));
    }
    desk.nothing_was_charged().await;
}

#[tokio::test]
async fn a_character_the_database_cannot_hold_is_the_callers_fault() {
    let test = TestApp::start().await;
    let organization = text(&test.admin(&["org", "create", "Customer"]).await["organization"]);
    let made = test.admin(&["key", "create", "--org", &organization, "--kind", "admin"]).await;
    let admin = text(&made["secret"]);
    for path in [
        "/v1/models/org/na%00me",
        "/v1/organization/audit_logs?actor_ids=%00",
        "/v1/organization/usage/completions?start_time=1&models[]=%00",
    ] {
        let call = test.get(path);
        let reply = if path.contains("organization") { call.bearer(&admin) } else { call }.send().await;
        assert_eq!((reply.status.as_u16(), reply.code()), (400, Some("invalid_value")), "{path}");
    }
    let hook = json!({ "url": "https://customer.example/\u{0}" });
    let reply = test.post("/v1/organization/webhooks", &hook).bearer(&admin).send().await;
    assert_eq!((reply.status.as_u16(), reply.code()), (400, Some("invalid_value")), "{}", reply.json);
}

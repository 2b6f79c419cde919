//! `Idempotency-Key`: one run, one charge, one answer.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use http::Method;
use node::engine::{Fault, Faults};
use serde_json::{Value, json};

use crate::live::{Live, PATIENCE, Setup, Wire, until};
use crate::support::{TestApp, text};

async fn kept(live: &Live) -> i64 {
    let kept = sqlx::query_scalar!(r#"select count(*) as "count!" from idempotency_keys where answer is not null"#);
    kept.fetch_one(&live.app.db).await.unwrap()
}

/// Status, whether it is a repeat, and the bytes.
async fn read(wire: Wire) -> (u16, bool, Bytes) {
    let (status, replayed) = (wire.status.as_u16(), wire.header("idempotent-replayed") == Some("true"));
    (status, replayed, wire.bytes().await)
}

/// Asks until it is answered with success: what failed may not be placed again at once.
async fn until_served(live: &Live, name: &str, fields: &Value) -> (u16, bool, Bytes) {
    let began = Instant::now();
    loop {
        let answer = read(live.keyed(&live.key, name, fields.clone()).await).await;
        if answer.0 == 200 {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer_byte_by_byte_and_is_paid_once() {
    let live = Live::start().await;
    let calls = live.nodes[0].engine.calls();
    let streamed = json!({ "stream": true, "stream_options": { "include_usage": true } });
    for (name, fields) in [("plain", json!({})), ("stream", streamed)] {
        let first = live.keyed(&live.key, name, fields.clone()).await;
        let kind = first.header("content-type").unwrap().to_owned();
        let request = first.request();
        let (status, replayed, answer) = read(first).await;
        assert_eq!((status, replayed), (200, false), "{name}");
        live.billed(request).await;
        for _ in 0..3 {
            let again = live.keyed(&live.key, name, fields.clone()).await;
            assert_eq!(again.header("content-type"), Some(&*kind));
            assert_ne!(again.request(), request, "each call has an id of its own");
            assert_eq!(read(again).await, (200, true, answer.clone()), "{name}");
        }
    }
    // The other mount is the same route.
    let body = crate::live::chat_body(json!({})).to_string();
    let path = "/api/v1/chat/completions";
    let again = live.call_with(Method::POST, path, Some(&live.key), &[("idempotency-key", "plain")], body).await;
    assert!(read(again).await.1);
    assert_eq!((live.settled().await, live.nodes[0].engine.calls() - calls), (2, 2));
    live.books_add_up().await;
}

#[tokio::test]
async fn a_key_belongs_to_one_request() {
    let live = Live::start().await;
    assert_eq!(live.keyed(&live.key, "mine", json!({})).await.reply().await.status, 200);
    let other = live.keyed(&live.key, "mine", json!({ "max_tokens": 3 })).await.reply().await;
    assert_eq!((other.status.as_u16(), other.code()), (422, Some("idempotency_key_reused")));
    assert_eq!(other.json["error"]["type"], "invalid_request_error");
    for (name, value) in [("too long", "x".repeat(256)), ("empty", String::new())] {
        let refused = live.keyed(&live.key, &value, json!({})).await.reply().await;
        assert_eq!(
            (refused.status.as_u16(), &refused.json["error"]["param"]),
            (400, &json!("Idempotency-Key")),
            "{name}"
        );
    }
    assert_eq!(live.settled().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_same_request_sent_many_times_at_once_one_runs() {
    let live = Setup::default().pace(20, 25.0).start().await;
    let calls = live.nodes[0].engine.calls();
    let all = (0..20).map(|_| async { live.keyed(&live.key, "once", json!({})).await.reply().await });
    let replies = join_all(all).await;
    let ran = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(ran, 1);
    for refused in replies.iter().filter(|reply| reply.status != 200) {
        assert_eq!((refused.status.as_u16(), refused.code()), (409, Some("request_in_progress")));
        assert_eq!(refused.json["error"]["type"], "conflict_error");
        assert_eq!(refused.header("retry-after"), Some("1"));
    }
    assert!(read(live.keyed(&live.key, "once", json!({})).await).await.1);
    assert_eq!((live.settled().await, live.nodes[0].engine.calls() - calls), (1, 1));
}

#[tokio::test]
async fn projects_do_not_see_each_others_keys_and_keys_of_one_project_do() {
    let live = Live::start().await;
    let (_, stranger) = live.customer("5.00").await;
    let sibling = text(&live.admin(&["key", "create", "--org", &live.organization]).await["secret"]);
    let first = read(live.keyed(&live.key, "1", json!({})).await).await;
    assert_eq!(read(live.keyed(&sibling, "1", json!({})).await).await, (200, true, first.2.clone()));
    let theirs = read(live.keyed(&stranger, "1", json!({})).await).await;
    assert_eq!((theirs.0, theirs.1), (200, false));
    assert_ne!(theirs.2, first.2);
}

#[tokio::test]
async fn what_failed_or_was_refused_runs_again() {
    let live = Live::start().await;
    live.nodes[0].engine.set_faults(Faults::once(Fault::Refuse { status: 500 }));
    let failed = live.keyed(&live.key, "plain", json!({})).await.reply().await;
    assert!(failed.status.is_server_error(), "{}", failed.json);
    assert!(!until_served(&live, "plain", &json!({})).await.1);

    // A failure told inside a stream, under a status of 200.
    let fields = json!({ "stream": true });
    live.nodes[0].engine.set_faults(Faults::once(Fault::ErrorAfter { chunks: 3 }));
    let (status, _, broken) = read(live.keyed(&live.key, "stream", fields.clone()).await).await;
    assert_eq!(status, 200);
    assert!(String::from_utf8_lossy(&broken).contains("\"error\""), "{broken:?}");
    let (_, replayed, whole) = until_served(&live, "stream", &fields).await;
    assert!(!replayed && whole != broken);

    // Refused, corrected, and sent again under the same key.
    let refused = live.keyed(&live.key, "typo", json!({ "temperature": 9 })).await.reply().await;
    assert_eq!(refused.status, 400);
    assert!(!until_served(&live, "typo", &json!({ "temperature": 1 })).await.1);
    assert_eq!(kept(&live).await, 3);
    live.books_add_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_its_client_left_runs_again() {
    let live = Setup::default().pace(200, 10.0).start().await;
    let fields = json!({ "stream": true });
    let mut wire = live.keyed(&live.key, "left", fields.clone()).await;
    wire.until_text().await;
    let again = live.keyed(&live.key, "left", fields.clone()).await.reply().await;
    assert_eq!(again.status, 409, "it runs");
    drop(wire);
    let (_, replayed, _) = until_served(&live, "left", &fields).await;
    assert!(!replayed);
    assert!(read(live.keyed(&live.key, "left", fields).await).await.1);
    live.until_idle(PATIENCE).await;
    live.books_add_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_too_large_to_keep_is_neither_repeated_nor_paid_again() {
    let live = Setup::default().pace(30_000, 0.0).start().await;
    let fields = json!({ "stream": true, "max_tokens": 30_000 });
    let (status, _, answer) = read(live.keyed(&live.key, "large", fields.clone()).await).await;
    assert_eq!(status, 200);
    assert!(answer.len() > 4 << 20, "{} bytes are not too many", answer.len());
    assert!(answer.ends_with(b"data: [DONE]\n\n"), "it reaches its client all the same");
    let again = live.keyed(&live.key, "large", fields).await.reply().await;
    assert_eq!((again.status.as_u16(), again.code()), (400, Some("invalid_state")));
    assert_eq!(live.settled().await, 1);
}

#[tokio::test]
async fn an_answer_that_was_paid_and_lost_is_not_run_again() {
    let live = Live::start().await;
    let wire = live.keyed(&live.key, "lost", json!({})).await;
    let request = wire.request();
    assert_eq!(wire.reply().await.status, 200);
    live.billed(request).await;
    // As a process leaves it that dies after the books were written and before the answer was.
    let die = "update idempotency_keys set answer = null, lives_until = '-infinity'";
    sqlx::query(die).execute(&live.app.db).await.unwrap();
    for _ in 0..2 {
        let again = live.keyed(&live.key, "lost", json!({})).await.reply().await;
        assert_eq!((again.status.as_u16(), again.code()), (400, Some("invalid_state")), "{}", again.json);
        assert_eq!(again.json["error"]["metadata"]["request_id"], json!(request));
    }
    assert_eq!(live.settled().await, 1);
}

#[tokio::test]
async fn a_run_that_goes_on_is_not_taken_for_dead() {
    let live = Setup::default().pace(400, 20.0).start().await;
    let mut wire = live.keyed(&live.key, "long", json!({ "stream": true })).await;
    wire.until_text().await;
    let age = "update idempotency_keys set lives_until = now() + interval '1 second'";
    sqlx::query(age).execute(&live.app.db).await.unwrap();
    let mut upkeep = api::idempotency::Upkeep::new(live.app.db.clone(), live.app.running.clone());
    platform::worker::Worker::tick(&mut upkeep, live.app.env.now()).await.unwrap();
    let left = r#"select extract(epoch from min(lives_until) - now())::int as "left!" from idempotency_keys"#;
    let left: i32 = sqlx::query_scalar(left).fetch_one(&live.app.db).await.unwrap();
    assert!(left > 60, "{left} s");
    drop(wire);
    let none = async || live.app.running.is_idle();
    until("nothing runs", PATIENCE, none).await;
}

#[tokio::test]
async fn a_key_is_as_good_as_new_after_a_day_and_lies_nowhere_in_the_clear() {
    let test = TestApp::start().await;
    let (org, _) = test.customer().await;
    let manager = text(&test.admin(&["key", "create", "--org", &org, "--kind", "management"]).await["secret"]);
    let make = || {
        let call = test.post("/v1/keys", &json!({ "name": "batch" })).bearer(&manager);
        call.header("idempotency-key", "a-key-of-a-client").send()
    };
    let first = make().await;
    assert_eq!((first.status.as_u16(), first.header("idempotent-replayed")), (201, None));
    let again = make().await;
    assert_eq!((again.status.as_u16(), again.header("idempotent-replayed")), (201, Some("true")));
    assert_eq!(again.json, first.json);
    let rows = "select row_to_json(k)::text || encode(answer, 'escape') from idempotency_keys k";
    let row: String = sqlx::query_scalar(rows).fetch_one(&test.app.db).await.unwrap();
    for secret in [text(&first.json["key"]), "a-key-of-a-client".to_owned(), "batch".to_owned()] {
        assert!(!row.contains(&secret), "{secret} lies in {row}");
    }
    test.clock.advance(Duration::from_secs(24 * 3_600 - 1));
    assert_eq!(make().await.json, first.json);
    test.clock.advance(Duration::from_secs(1));
    let new = make().await;
    assert_eq!((new.status.as_u16(), new.header("idempotent-replayed")), (201, None));
    assert_ne!(new.json["key"], first.json["key"]);
    // And in the end nothing of it is left.
    let mut upkeep = api::idempotency::Upkeep::new(test.app.db.clone(), test.app.running.clone());
    test.clock.advance(Duration::from_secs(24 * 3_600));
    platform::worker::Worker::tick(&mut upkeep, test.app.env.now()).await.unwrap();
    let left: i64 = sqlx::query_scalar("select count(*) from idempotency_keys").fetch_one(&test.app.db).await.unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn who_sent_no_key_of_a_customer_is_let_through() {
    let test = TestApp::start().await;
    let unknown = test.post("/v1/keys", &json!({ "name": "batch" })).header("idempotency-key", "x");
    assert_eq!(unknown.send().await.status, 401);
    let joined = test.join(1).await;
    for _ in 0..2 {
        let body = crate::support::node_body(&ed25519_dalek::SigningKey::from_bytes(&[9; 32]));
        let path = format!("/v1/providers/{}/nodes", joined.provider);
        let reply = test.post(&path, &body).bearer(&joined.key).header("idempotency-key", "x").send().await;
        assert_eq!(reply.header("idempotent-replayed"), None);
    }
    let left: i64 = sqlx::query_scalar("select count(*) from idempotency_keys").fetch_one(&test.app.db).await.unwrap();
    assert_eq!(left, 0);
}

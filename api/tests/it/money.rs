//! Money: who has none gets nothing, nobody spends more than there is, and every answer is in the books once.

use std::time::{Duration, Instant};

use http::Method;
use protocol::NanoUsd;
use serde_json::{Value, json};

use crate::live::{Live, Setup, until};
use crate::support::{Reply, text};

/// What one request of a size sets aside, learned from one that somebody rich has paid for.
async fn price_of_one(live: &Live) -> (NanoUsd, i64) {
    let wire = live.chat(json!({ "max_tokens": 8 })).await;
    let request = wire.request();
    assert_eq!(wire.reply().await.status, 200);
    let billed = live.billed(request).await;
    (NanoUsd::new(billed.hold).unwrap(), billed.charge)
}

fn is_without_money(reply: &Reply) {
    assert_eq!((reply.status.as_u16(), reply.code()), (402, Some("credit_balance_exhausted")), "{}", reply.json);
    assert_eq!(reply.json["error"]["type"], "insufficient_quota");
    match reply.json["error"]["metadata"]["held_usd"].as_str() {
        // Requests in flight stand in the way: worth another try.
        Some(held) => {
            assert!(held.parse::<NanoUsd>().unwrap() > NanoUsd::ZERO);
            assert!(reply.header("retry-after").is_some() && reply.header("x-should-retry").is_none());
        }
        None => assert_eq!(reply.header("x-should-retry"), Some("false")),
    }
}

#[tokio::test]
async fn without_credit_nothing_is_asked_of_anybody() {
    let live = Live::start().await;
    let (_, key) = live.customer("0").await;
    let asked = live.nodes[0].engine.calls();
    for stream in [true, false] {
        let reply = live.chat_as(&key, json!({ "stream": stream })).await.reply().await;
        is_without_money(&reply);
        assert_eq!(reply.header("x-should-retry"), Some("false"));
    }
    assert_eq!(live.nodes[0].engine.calls(), asked);
    live.books_add_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn credit_for_one_request_lets_one_run_at_a_time() {
    let live = Setup { slots: 64, ..Setup::default() }.pace(8, 20.0).start().await;
    let (hold, charge) = price_of_one(&live).await;
    assert!(charge > hold.nano() / 2, "a second request must not fit beside the first");
    let (organization, poor) = live.customer(&hold.to_string()).await;
    let began = live.nodes[0].engine.calls();
    let all = (0..50).map(|_| async { live.chat_as(&poor, json!({ "max_tokens": 8 })).await.reply().await });
    let replies = futures_util::future::join_all(all).await;
    let served = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(served, 1, "credit for one request served {served}");
    replies.iter().filter(|reply| reply.status != 200).for_each(is_without_money);
    assert_eq!(live.nodes[0].engine.calls() - began, 1, "what was refused never left");

    // What is left is less than a request may cost.
    let late = live.chat_as(&poor, json!({ "max_tokens": 8 })).await.reply().await;
    is_without_money(&late);
    let shown = live.admin(&["org", "show", &organization]).await;
    assert_eq!(shown["total_credits_usd"], hold.to_string());
    let balances = sqlx::query_scalar!(r#"select min(available_nano_usd) as "least!" from accounts"#);
    assert!(balances.fetch_one(&live.app.db).await.unwrap() >= 0);
    live.books_add_up().await;
}

#[tokio::test]
async fn an_answer_is_there_for_its_own_organization_only() {
    let live = Live::start().await;
    let wire = live.chat(json!({})).await;
    let (request, reply) = (wire.request(), wire.reply().await);
    live.billed(request).await;
    let (_, stranger) = live.customer("5.00").await;
    for id in [request.to_string(), text(&reply.json["id"])] {
        let path = format!("/v1/generation?id={id}");
        let own = live.call(Method::GET, &path, Some(&live.key), "").await.reply().await;
        assert_eq!((own.status.as_u16(), &own.json["data"]["request_id"]), (200, &json!(request)));
        let theirs = live.call(Method::GET, &path, Some(&stranger), "").await.reply().await;
        assert_eq!((theirs.status.as_u16(), theirs.code()), (404, Some("not_found")));
    }
}

#[tokio::test]
async fn a_revoked_key_is_refused_within_a_second() {
    let live = Live::start().await;
    assert_eq!(live.chat(json!({})).await.reply().await.status, 200);
    let listed = live.admin(&["key", "list", "--org", &live.organization]).await;
    live.admin(&["key", "revoke", &text(&listed[0]["key"])]).await;
    let revoked = Instant::now();
    loop {
        let reply = live.chat(json!({})).await.reply().await;
        if reply.status == 401 {
            assert_eq!((reply.code(), reply.header("x-should-retry")), (Some("invalid_api_key"), Some("false")));
            break;
        }
        assert!(revoked.elapsed() < Duration::from_secs(1), "the key still works");
    }
    live.books_add_up().await;
}

#[tokio::test]
async fn a_key_spends_no_more_than_its_limit() {
    let live = Live::start().await;
    let (hold, charge) = price_of_one(&live).await;
    // Room for three requests: two charges and one more hold.
    let limit = NanoUsd::new(2 * charge + hold.nano()).unwrap().to_string();
    let words = ["key", "create", "--org", &live.organization, "--limit-usd", &limit];
    let key = text(&live.admin(&words).await["secret"]);
    let mut served = 0;
    let refused = loop {
        let reply = live.chat_as(&key, json!({ "max_tokens": 8 })).await.reply().await;
        match reply.status.as_u16() {
            200 => served += 1,
            _ => break reply,
        }
    };
    assert_eq!(served, 3);
    assert_eq!((refused.status.as_u16(), refused.code()), (402, Some("key_limit_exceeded")), "{}", refused.json);
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    assert_eq!(live.chat(json!({ "max_tokens": 8 })).await.reply().await.status, 200, "other keys go on");
    live.books_add_up().await;
}

#[tokio::test]
async fn a_project_and_an_organization_spend_no_more_than_their_limits() {
    let live = Live::start().await;
    let (hold, charge) = price_of_one(&live).await;
    // Room for one request and half of another.
    let limit = NanoUsd::new(charge + hold.nano() - 1).unwrap().to_string();
    for (flag, code) in [("--project", "project_spend_limit_exceeded"), ("--org", "organization_spend_limit_exceeded")]
    {
        let (organization, key) = live.customer("5.00").await;
        let project = text(&live.admin(&["project", "list", "--org", &organization]).await[0]["project"]);
        let whose = if flag == "--org" { &organization } else { &project };
        live.admin(&["limit", "set", flag, whose, "--usd", &limit, "--reset", "monthly"]).await;
        let first = live.chat_as(&key, json!({ "max_tokens": 8 })).await.reply().await;
        assert_eq!(first.status, 200, "{flag}: {}", first.json);
        let refused = live.chat_as(&key, json!({ "max_tokens": 8 })).await.reply().await;
        assert_eq!((refused.status.as_u16(), refused.code()), (402, Some(code)), "{}", refused.json);
        assert_eq!(live.chat(json!({ "max_tokens": 8 })).await.reply().await.status, 200, "others go on");
    }
    live.books_add_up().await;
}

/// A JSON number of dollars as the ledger counts, without going through a float.
fn nano(cost: &Value) -> i64 {
    cost.to_string().parse::<NanoUsd>().unwrap().nano()
}

#[tokio::test]
async fn the_cost_a_client_reads_is_what_the_ledger_took() {
    let live = Live::start().await;
    let (request, frames) = live.told(json!({ "stream_options": { "include_usage": true } })).await;
    let usage = frames[frames.len() - 2].json()["usage"].clone();
    // Already there: the last frame waits for the books.
    assert_eq!(live.rows_of(request).await, 1);
    let billed = live.billed(request).await;
    assert_eq!((nano(&usage["cost"]), usage["completion_tokens"].as_i64()), (billed.charge, Some(billed.completion)));
    // Ten dollars per million and the platform's tenth; the prompt at a dollar and its tenth.
    let prompt = usage["prompt_tokens"].as_i64().unwrap();
    assert_eq!(billed.charge, 8 * 11_000 + prompt * 1_100);
    assert_eq!(billed.attempts[0].earned, 8 * 10_000 + prompt * 1_000);

    let wire = live.chat(json!({})).await;
    let request = wire.request();
    let plain = wire.reply().await;
    assert_eq!(live.rows_of(request).await, 1);
    assert_eq!(nano(&plain.json["usage"]["cost"]), live.billed(request).await.charge);

    let path = format!("/v1/generation?id={}", text(&plain.json["id"]));
    let shown = live.call(Method::GET, &path, Some(&live.key), "").await.reply().await;
    assert_eq!(shown.status, 200, "{}", shown.json);
    let shown = text(&shown.json["data"]["total_cost"]).parse::<NanoUsd>().unwrap();
    assert_eq!(shown.nano(), nano(&plain.json["usage"]["cost"]));
    live.books_add_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_stream_that_was_told_done_is_billed_once() {
    let live = Setup { slots: 64, ..Setup::nodes(2) }.start().await;
    let all = (0..60).map(|_| live.told(json!({})));
    let told = futures_util::future::join_all(all).await;
    for (request, frames) in &told {
        assert!(frames.last().is_some_and(crate::live::Frame::is_done));
        assert_eq!(live.rows_of(*request).await, 1, "a finished stream is not in the books");
    }
    let spent = live.charged().await;
    assert!(spent > 0);
    until("the account shows what was spent", Duration::from_secs(5), async || {
        let credits = live.call(Method::GET, "/v1/credits", Some(&live.key), "").await.reply().await;
        text(&credits.json["data"]["total_usage"]).parse::<NanoUsd>().unwrap().nano() == spent
    })
    .await;
    live.books_add_up().await;
}

//! What providers are told of their work: earnings, and their place among others.

use http::Method;
use protocol::NanoUsd;
use serde_json::{Value, json};

use crate::live::{Live, PATIENCE, Setup, until};
use crate::support::{TestApp, text};

async fn earnings(live: &Live, provider: usize, query: &str) -> Value {
    let path = format!("/v1/providers/{}/earnings?{query}", live.providers[provider]);
    let reply = live.call(Method::GET, &path, Some(&live.provider_keys[provider]), "").await.reply().await;
    assert_eq!(reply.status, 200, "{}", reply.json);
    reply.json
}

fn nano(value: &Value) -> i64 {
    text(value).parse::<NanoUsd>().unwrap().nano()
}

/// All lines of all buckets.
fn lines(page: &Value) -> Vec<Value> {
    let buckets = page["data"].as_array().unwrap();
    buckets.iter().flat_map(|bucket| bucket["results"].as_array().unwrap().clone()).collect()
}

#[tokio::test]
async fn earnings_are_what_was_booked_told_apart_as_asked_and_nobody_elses() {
    let live = Setup::nodes(2).start().await;
    let (mut net, mut charged) = ([0, 0], [0, 0]);
    for (provider, times) in [(0, 3), (1, 1)] {
        for _ in 0..times {
            let only = format!("provider-{}", provider + 1);
            let (request, _) = live.told(json!({ "provider": { "only": [only] } })).await;
            let billed = live.billed(request).await;
            net[provider] += billed.attempts[0].earned;
            charged[provider] += billed.charge;
        }
    }
    let since = format!("start_time={}", live.app.env.now().unix_seconds() - 3_600);
    for provider in 0..2 {
        let page =
            earnings(&live, provider, &format!("{since}&bucket_width=1h&group_by[]=model&group_by[]=node")).await;
        assert_eq!((&page["object"], &page["has_more"]), (&json!("page"), &json!(false)));
        let lines = lines(&page);
        let sum = |field: &str| lines.iter().map(|line| nano(&line[field])).sum::<i64>();
        assert_eq!(sum("net"), net[provider]);
        assert_eq!(sum("gross"), sum("net") + sum("fee"));
        // Each request's charge is rounded once, each attempt's parts on their own.
        assert!((sum("gross") - charged[provider]).abs() <= 3, "{} and {}", sum("gross"), charged[provider]);
        let node = live.nodes[provider].handle.status().node.unwrap();
        assert!(lines.iter().all(|line| line["node_id"] == json!(node) && line["model"] == "org/name"));
        assert!(lines.iter().all(|line| line["offer_id"].is_null()));
        assert_eq!(lines.iter().map(|line| line["attempts"].as_i64().unwrap()).sum::<i64>(), [3, 1][provider]);
    }
    let long_ago = earnings(&live, 0, "start_time=0&end_time=86400").await;
    assert_eq!(lines(&long_ago), Vec::<Value>::new());

    let path = format!("/v1/providers/{}/earnings?{since}", live.providers[0]);
    for (key, status) in [(&live.provider_keys[1], 404), (&live.key, 403)] {
        assert_eq!(live.call(Method::GET, &path, Some(key), "").await.reply().await.status, status);
    }
    live.books_add_up().await;
}

#[tokio::test]
async fn a_node_shows_how_it_fares_among_others() {
    let live = Setup::nodes(2).start().await;
    live.told(json!({ "provider": { "order": ["provider-1"] } })).await;
    let counted = async || live.node_view(0).await["placement"]["won"] == 1;
    until("the ask was looked at again", PATIENCE, counted).await;
    let (won, lost) = (live.node_view(0).await, live.node_view(1).await);
    assert_eq!(won["checks"], Value::Null, "nothing keeps it from work");
    assert_eq!(won["placement"]["demand"][0]["model"], "org/name");
    assert_eq!((&lost["placement"]["sampled"], &lost["placement"]["won"]), (&json!(1), &json!(0)));
    assert_eq!(lost["placement"]["lost"].as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn what_keeps_a_new_node_from_work_is_named_with_its_fix() {
    let test = TestApp::start().await;
    let node = test.join(1).await;
    let view = test.get(&node.path("")).bearer(&node.key).send().await.json;
    let checks = view["checks"].as_array().unwrap();
    let names: Vec<&str> = checks.iter().map(|check| check["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["heartbeat", "offers"]);
    assert!(checks.iter().all(|check| !text(&check["fix"]).is_empty()));
}

#[tokio::test]
async fn a_providers_line_can_be_timed_within_bounds() {
    let test = TestApp::start().await;
    let node = test.join(1).await;
    let path = format!("/v1/providers/{}/bandwidth", node.provider);
    let call = |path: &str, sent: usize| {
        test.call(Method::POST, path).bearer(&node.key).json(&Value::String("x".repeat(sent))).send()
    };
    let down = call(&format!("{path}?download_bytes=1000"), 10).await;
    assert_eq!((down.status.as_u16(), down.header("content-type")), (200, Some("application/octet-stream")));
    assert_eq!(call(&path, 2 << 20).await.status, 413);
    let greedy = call(&format!("{path}?download_bytes=100000000"), 10).await;
    assert_eq!((greedy.status.as_u16(), &greedy.json["error"]["param"]), (400, &json!("download_bytes")));
    let stranger = test.post(&path, &json!({})).send().await;
    assert_eq!(stranger.status, 401);
}

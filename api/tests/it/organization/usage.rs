//! Usage and costs over time.

use std::time::{Duration, Instant};

use protocol::Units;
use serde_json::{Value, json};

use super::{Organization, Till, id_of};
use crate::support::{TestApp, offer, text};

const DAY: i64 = 86_400;
/// Where the clock of every test starts: a midnight.
const START: i64 = 1_767_225_600;

/// What is known of one request: which hour and minute it falls in, and how many tokens it took.
struct Known {
    org: Organization,
    second_project: String,
    second_key: String,
}

/// Usage on three days, in two projects, of a chat and an embeddings model.
async fn known(test: &TestApp) -> Known {
    let org = Organization::open(test).await;
    test.admin(&["grant", "--org", &org.id, "--usd", "5", "--expires-days", "30"]).await;
    let second_project = org.add_project(test, "second").await;
    let path = format!("/v1/organization/projects/{second_project}/service_accounts");
    let made = org.post(test, &path, &json!({ "name": "program" })).await.json;
    let (first_key, second) = (id_of(test, &org.inference).await, text(&made["api_key"]["value"]));
    let second_key = id_of(test, &second).await;
    let (chat, embed) = (Till::of(test, "org/chat", 1).await, Till::of(test, "org/embed", 2).await);
    embeddings_are_offered(test, "org/embed").await;
    let first = (org.id.as_str(), org.project.as_str(), first_key);
    let other = (org.id.as_str(), second_project.as_str(), second_key);
    let spoken = |prompt, cached_prompt, completion| Units { prompt, cached_prompt, completion, ..Units::default() };
    chat.ring(test, first, spoken(10, 4, 5)).await;
    embed.ring(test, first, spoken(100, 0, 0)).await;
    test.clock.advance(Duration::from_secs(3_600));
    chat.ring(test, first, spoken(20, 0, 6)).await;
    chat.ring(test, other, spoken(1, 0, 7)).await;
    // Nothing on the second day.
    test.clock.advance(Duration::from_secs(2 * 86_400));
    chat.ring(test, other, spoken(2, 0, 8)).await;
    Known { org, second_project, second_key: second_key.to_string() }
}

/// A node offers `model` with embeddings as its output.
async fn embeddings_are_offered(test: &TestApp, model: &str) {
    test.admin(&["model", "add", "--id", model, "--context-length", "4096"]).await;
    let joined = test.join(1).await;
    let session = joined.open(test, "nonce-of-sixteen-chars").await;
    let mut embeddings = offer(model, "1", "1");
    embeddings["output_modalities"] = json!(["embeddings"]);
    let put = test.call(http::Method::PUT, &joined.path("/offers")).json(&json!({ "offers": [embeddings] }));
    let put = put.bearer(&session).send().await;
    assert_eq!(put.status, 200, "{}", put.json);
}

async fn buckets(test: &TestApp, org: &Organization, path: &str) -> Vec<Value> {
    let reply = org.get(test, &format!("/v1/organization/{path}")).await;
    assert_eq!((reply.status.as_u16(), &reply.json["object"]), (200, &json!("page")), "{path}: {}", reply.json);
    reply.json["data"].as_array().unwrap().clone()
}

/// The sums of one field, bucket by bucket.
fn each(buckets: &[Value], field: &str) -> Vec<Vec<i64>> {
    let of =
        |bucket: &Value| bucket["results"].as_array().unwrap().iter().map(|r| r[field].as_i64().unwrap()).collect();
    buckets.iter().map(of).collect()
}

/// The same questions whether usage is still in single rows or added up by the hour.
async fn is_told(test: &TestApp, known: &Known) {
    let (org, range) = (&known.org, format!("start_time={START}&end_time={}", START + 3 * DAY));
    let days = buckets(test, org, &format!("usage/completions?{range}")).await;
    let times: Vec<_> = days.iter().map(|day| (day["start_time"].as_i64(), day["end_time"].as_i64())).collect();
    assert_eq!(times, (0..3).map(|n| (Some(START + n * DAY), Some(START + (n + 1) * DAY))).collect::<Vec<_>>());
    assert_eq!(each(&days, "output_tokens"), [vec![18], vec![], vec![8]]);
    let expected = json!({
        "object": "organization.usage.completions.result", "input_tokens": 35, "input_cached_tokens": 4,
        "input_cache_write_tokens": 0, "input_uncached_tokens": 31, "output_tokens": 18, "num_model_requests": 3,
        "project_id": null, "user_id": null, "api_key_id": null, "model": null, "batch": null, "service_tier": null,
    });
    assert_eq!(days[0]["results"], json!([expected]));
    assert_eq!((&days[0]["object"], &days[1]["results"]), (&json!("bucket"), &json!([])));

    let hours = buckets(test, org, &format!("usage/completions?{range}&bucket_width=1h&limit=2")).await;
    assert_eq!(each(&hours, "output_tokens"), [vec![5], vec![13]]);
    let embedded = buckets(test, org, &format!("usage/embeddings?{range}&group_by[]=model")).await;
    assert_eq!(
        (each(&embedded, "input_tokens"), &embedded[0]["results"][0]["model"]),
        (vec![vec![100], vec![], vec![]], &json!("org/embed"))
    );
    for (filter, output) in [
        (format!("project_ids[]={}", known.second_project), vec![vec![7], vec![], vec![8]]),
        (format!("project_ids={}&project_ids={}", known.second_project, org.project), vec![vec![18], vec![], vec![8]]),
        (format!("api_key_ids[]={}", known.second_key), vec![vec![7], vec![], vec![8]]),
        ("models[]=org/chat".to_owned(), vec![vec![18], vec![], vec![8]]),
        ("models[]=org/embed".to_owned(), vec![vec![], vec![], vec![]]),
        ("user_ids[]=user-1".to_owned(), vec![vec![], vec![], vec![]]),
    ] {
        let filtered = buckets(test, org, &format!("usage/completions?{range}&{filter}")).await;
        assert_eq!(each(&filtered, "output_tokens"), output, "{filter}");
    }
    let split =
        buckets(test, org, &format!("usage/completions?{range}&group_by[]=project_id&group_by[]=api_key_id")).await;
    let of = |result: &Value| (text(&result["project_id"]), result["output_tokens"].as_i64().unwrap());
    let mut split: Vec<_> = split[0]["results"].as_array().unwrap().iter().map(of).collect();
    split.sort_by_key(|(_, tokens)| *tokens);
    assert_eq!(split, [(known.second_project.clone(), 7), (org.project.clone(), 11)]);

    let costs = buckets(test, org, &format!("costs?{range}&group_by=line_item")).await;
    let spent = &costs[0]["results"];
    let expected = json!({
        "object": "organization.costs.result", "amount": { "value": 1.8e-8, "currency": "usd" }, "line_item": "org/chat",
        "project_id": null, "api_key_id": null,
    });
    assert_eq!((&spent[0], &spent[1]["amount"]["value"]), (&expected, &json!(0.0)));
}

#[tokio::test]
async fn usage_is_told_before_it_is_added_up_and_after() {
    let test = TestApp::start_with(|config| {
        config.providers.probes_to_activate = 0;
        config.billing.loops.fold_ms = 3_600_000;
    })
    .await;
    let known = known(&test).await;
    is_told(&test, &known).await;
    let minutes = format!("usage/completions?start_time={}&end_time={}&bucket_width=1m", START + 3_540, START + 3_720);
    assert_eq!(each(&buckets(&test, &known.org, &minutes).await, "output_tokens"), [vec![], vec![13], vec![]]);

    // The same database under a broker that adds up at once.
    let mut config = billing::Config::default();
    config.loops.fold_ms = 10;
    let folding = billing::Billing::start(test.app.db.clone(), test.app.env.clone(), config, "folding").await.unwrap();
    let began = Instant::now();
    let folded = async || {
        let sum = sqlx::query_scalar!(r#"select coalesce(sum(requests), 0)::bigint as "sum!" from usage_hours"#);
        sum.fetch_one(&test.app.db).await.unwrap()
    };
    while folded().await < 5 {
        assert!(began.elapsed() < Duration::from_secs(10), "usage is not added up");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    is_told(&test, &known).await;
    assert_eq!(each(&buckets(&test, &known.org, &minutes).await, "output_tokens"), [vec![], vec![13], vec![]]);
    // What is added up is not added up again: an hour that says something else is believed.
    sqlx::query("update usage_hours set completion = completion + 1000").execute(&test.app.db).await.unwrap();
    let hours = format!("usage/completions?start_time={START}&end_time={}&bucket_width=1h", START + 7_200);
    let told: Vec<Vec<i64>> = each(&buckets(&test, &known.org, &hours).await, "output_tokens");
    assert!(told.iter().flatten().all(|tokens| *tokens > 1_000), "{told:?}");
    folding.stop().await.unwrap();
}

#[tokio::test]
async fn pages_of_usage_cover_the_range_without_gap_or_overlap() {
    let test = TestApp::start().await;
    let known = known(&test).await;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/organization/usage/completions?start_time={START}&limit=2{cursor}");
        let page = known.org.get(&test, &path).await.json;
        seen.extend(page["data"].as_array().unwrap().iter().map(|bucket| bucket["start_time"].as_i64().unwrap()));
        assert_eq!(page["has_more"], page["next_page"].is_string());
        let Some(next) = page["next_page"].as_str() else { break };
        cursor = format!("&page={next}");
    }
    // Until now, which is in the third day.
    assert_eq!(seen, [START, START + DAY, START + 2 * DAY]);
}

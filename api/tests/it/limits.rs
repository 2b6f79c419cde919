//! What may be asked for at a time: counted before dispatch, trued up after, told on every answer.

use api::store::rate_limits::{self, LimitScope, Limits};
use http::Method;
use node::engine::Fault;
use protocol::{KeyId, OrganizationId, ProjectId};
use serde_json::{Value, json};

use crate::live::{Live, MODEL, PATIENCE, Setup, Wire, until};
use crate::support::{Reply, text};

/// Somebody with money and no limits yet.
struct Customer {
    secret: String,
    key: KeyId,
    project: ProjectId,
    organization: OrganizationId,
}

fn requests(most: u32) -> Limits {
    Limits { max_requests_per_minute: Some(most), ..Limits::default() }
}

fn tokens(most: u32) -> Limits {
    Limits { max_tokens_per_minute: Some(most), ..Limits::default() }
}

fn places(most: u32) -> Limits {
    Limits { max_concurrency: Some(most), ..Limits::default() }
}

async fn customer(live: &Live) -> Customer {
    let (organization, secret) = live.customer("1.00").await;
    let key = text(&live.admin(&["key", "list", "--org", &organization]).await[0]["key"]);
    let project = text(&live.admin(&["project", "list", "--org", &organization]).await[0]["project"]);
    let (key, project) = (key.parse().unwrap(), project.parse().unwrap());
    Customer { secret, key, project, organization: organization.parse().unwrap() }
}

async fn limit(live: &Live, scope: LimitScope, model: &str, limits: Limits) {
    let mut conn = live.app.db.acquire().await.unwrap();
    rate_limits::set(&mut conn, scope, model, limits).await.unwrap();
    live.app.limits.reload(&live.app.db).await.unwrap();
}

async fn ask(live: &Live, customer: &Customer, fields: Value) -> Reply {
    live.chat_as(&customer.secret, fields).await.reply().await
}

fn number(reply: &Reply, name: &str) -> u64 {
    let text = reply.header(name).unwrap_or_else(|| panic!("no {name}: {:?}", reply.headers));
    text.parse().unwrap_or_else(|_| panic!("{name} is {text}"))
}

fn assert_limited(reply: &Reply) {
    assert_eq!((reply.status.as_u16(), reply.code()), (429, Some("rate_limit_exceeded")), "{}", reply.json);
    assert_eq!(reply.json["error"]["type"], "rate_limit_error");
    assert!((1..=60).contains(&number(reply, "retry-after")));
    assert!((1_000..=60_000).contains(&number(reply, "retry-after-ms")));
    assert_eq!(reply.header("x-should-retry"), None);
}

/// The customer's key has a place again.
async fn until_free(live: &Live, customer: &Customer) {
    until("the place is free", PATIENCE, async || ask(live, customer, json!({ "max_tokens": 1 })).await.status == 200)
        .await;
}

#[tokio::test]
async fn every_answer_of_every_dialect_says_where_its_limits_stand() {
    let live = Live::start().await;
    let message = json!([{ "role": "user", "content": "hello" }]);
    let calls = [
        ("/v1/chat/completions", json!({ "model": MODEL, "messages": message })),
        ("/v1/chat/completions", json!({ "model": MODEL, "messages": message, "stream": true })),
        ("/v1/completions", json!({ "model": MODEL, "prompt": "hello" })),
        ("/v1/responses", json!({ "model": MODEL, "input": "hello" })),
        ("/v1/messages", json!({ "model": MODEL, "messages": message, "max_tokens": 5 })),
        ("/v1/messages/count_tokens", json!({ "model": MODEL, "messages": message })),
        ("/v1/embeddings", json!({ "model": "org/unknown", "input": "hello" })),
    ];
    let mut left = 600_000;
    for (path, body) in calls {
        let wire = live.call(Method::POST, path, Some(&live.key), body.to_string()).await;
        let header = |wire: &Wire, name: &str| wire.header(name).unwrap_or_else(|| panic!("{path}: {name}")).to_owned();
        assert_eq!(header(&wire, "x-ratelimit-limit-requests"), "600000");
        assert_eq!(header(&wire, "x-ratelimit-limit-tokens"), "1000000000");
        let remaining: u64 = header(&wire, "x-ratelimit-remaining-requests").parse().unwrap();
        assert!(remaining <= left, "{path}");
        left = 600_000;
        assert!(header(&wire, "x-ratelimit-remaining-tokens").parse::<u64>().unwrap() <= 1_000_000_000);
        for kind in ["requests", "tokens"] {
            assert!(header(&wire, &format!("x-ratelimit-reset-{kind}")).ends_with('s'));
        }
        wire.reply().await;
    }
}

#[tokio::test]
async fn requests_are_limited_for_a_key_a_project_and_an_organization() {
    let live = Live::start().await;
    for which in 0..3 {
        let customer = customer(&live).await;
        let scopes = [
            LimitScope::Key(customer.key),
            LimitScope::Project(customer.project),
            LimitScope::Organization(customer.organization),
        ];
        limit(&live, scopes[which], rate_limits::ALL_MODELS, requests(3)).await;
        for left in [2, 1, 0] {
            let reply = ask(&live, &customer, json!({})).await;
            assert_eq!(reply.status, 200, "{}", reply.json);
            assert_eq!(number(&reply, "x-ratelimit-limit-requests"), 3);
            assert_eq!(number(&reply, "x-ratelimit-remaining-requests"), left);
        }
        let refused = ask(&live, &customer, json!({ "stream": true })).await;
        assert_limited(&refused);
        assert_eq!(number(&refused, "x-ratelimit-remaining-requests"), 0);
        assert!(number(&refused, "retry-after") <= 20, "one of three a minute is back within twenty seconds");
        let told = text(&refused.json["error"]["message"]);
        assert!(told.contains(["key", "project", "organization"][which]), "{told}");
    }
}

#[tokio::test]
async fn counting_tokens_and_embedding_are_requests_too() {
    let live = Live::start().await;
    let customer = customer(&live).await;
    limit(&live, LimitScope::Project(customer.project), rate_limits::ALL_MODELS, requests(2)).await;
    let body = json!({ "model": MODEL, "messages": [{ "role": "user", "content": "hello" }] }).to_string();
    let path = "/v1/messages/count_tokens";
    for status in [200, 200, 429] {
        let reply = live.call(Method::POST, path, Some(&customer.secret), body.clone()).await.reply().await;
        assert_eq!(reply.status, status, "{}", reply.json);
        if status == 429 {
            assert_eq!(reply.json["error"]["type"], "rate_limit_error");
            assert!(number(&reply, "retry-after") >= 1);
        }
    }
    let body = json!({ "model": MODEL, "input": "hello" }).to_string();
    assert_limited(&live.call(Method::POST, "/v1/embeddings", Some(&customer.secret), body).await.reply().await);
}

#[tokio::test]
async fn tokens_are_set_aside_in_full_and_trued_up_at_the_end() {
    let live = Setup::default().pace(40, 20.0).start().await;
    let customer = customer(&live).await;
    limit(&live, LimitScope::Key(customer.key), rate_limits::ALL_MODELS, tokens(3_000)).await;

    let mut first = live.chat_as(&customer.secret, json!({ "max_tokens": 2_000, "stream": true })).await;
    assert_eq!(first.status, 200);
    let left: u64 = first.header("x-ratelimit-remaining-tokens").unwrap().parse().unwrap();
    assert!(left < 1_000, "{left} are left beside an answer of up to 2000");
    first.until_text().await;
    let refused = ask(&live, &customer, json!({ "max_tokens": 2_000 })).await;
    assert_limited(&refused);
    assert!(number(&refused, "x-ratelimit-remaining-tokens") < 1_000);

    first.frames().await;
    let second = ask(&live, &customer, json!({ "max_tokens": 2_000 })).await;
    assert_eq!(second.status, 200, "the first used some forty: {}", second.json);
    let third = ask(&live, &customer, json!({ "max_tokens": 1 })).await;
    let used = second.json["usage"]["total_tokens"].as_u64().unwrap() * 2;
    let left = number(&third, "x-ratelimit-remaining-tokens");
    assert!((3_000 - 2 * used - 300..3_000).contains(&left), "{left} left after two answers of {used} together");
}

#[tokio::test]
async fn a_request_larger_than_its_limit_is_not_to_be_retried() {
    let live = Live::start().await;
    let customer = customer(&live).await;
    limit(&live, LimitScope::Organization(customer.organization), rate_limits::ALL_MODELS, tokens(500)).await;
    let refused = ask(&live, &customer, json!({ "max_tokens": 1_000 })).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (429, Some("rate_limit_exceeded")));
    assert_eq!((refused.header("x-should-retry"), refused.header("retry-after")), (Some("false"), None));
    assert_eq!(number(&refused, "x-ratelimit-limit-tokens"), 500);
    assert_eq!(ask(&live, &customer, json!({ "max_tokens": 20 })).await.status, 200);
}

#[tokio::test]
async fn a_place_comes_back_however_a_request_ends() {
    let live = Setup::default().pace(400, 20.0).start().await;
    let customer = customer(&live).await;
    limit(&live, LimitScope::Key(customer.key), rate_limits::ALL_MODELS, places(1)).await;

    let mut left = live.chat_as(&customer.secret, json!({ "stream": true })).await;
    left.until_text().await;
    assert_limited(&ask(&live, &customer, json!({ "max_tokens": 1 })).await);
    drop(left);
    until_free(&live, &customer).await;

    let whole = live.chat_as(&customer.secret, json!({ "stream": true, "max_tokens": 3 })).await;
    assert_eq!(whole.status, 200);
    whole.frames().await;
    assert_eq!(ask(&live, &customer, json!({ "max_tokens": 1 })).await.status, 200, "free when the last byte is here");

    for refused in
        [json!({ "model": "org/unknown" }), json!({ "messages": "none" }), json!({ "max_tokens": 30_000_000 })]
    {
        assert!(ask(&live, &customer, refused).await.status.is_client_error());
        assert_eq!(ask(&live, &customer, json!({ "max_tokens": 1 })).await.status, 200);
    }
    live.break_node(0, Fault::Refuse { status: 500 });
    assert!(ask(&live, &customer, json!({ "max_tokens": 1 })).await.status.is_server_error());
    assert!(ask(&live, &customer, json!({ "max_tokens": 1 })).await.status.is_server_error(), "and not 429");
}

#[tokio::test]
async fn what_an_admin_sets_for_a_project_is_kept_at_once() {
    let live = Live::start().await;
    let customer = customer(&live).await;
    let (organization, project) = (customer.organization.to_string(), customer.project);
    let made = live.admin(&["key", "create", "--org", &organization, "--kind", "admin"]).await;
    let admin = text(&made["secret"]);
    let set = async |id: &str, body: Value| {
        let path = format!("/v1/organization/projects/{project}/rate_limits/{id}");
        let reply = live.call(Method::POST, &path, Some(&admin), body.to_string()).await.reply().await;
        assert_eq!(reply.status, 200, "{}", reply.json);
    };
    set(&format!("rl-{MODEL}"), json!({ "max_requests_per_1_minute": 1 })).await;
    assert_eq!(ask(&live, &customer, json!({})).await.status, 200);
    let refused = ask(&live, &customer, json!({})).await;
    assert_limited(&refused);
    assert!(text(&refused.json["error"]["message"]).contains(MODEL));
    set(&format!("rl-{MODEL}"), json!({ "max_requests_per_1_minute": null })).await;
    assert_eq!(ask(&live, &customer, json!({})).await.status, 200);
    set("rl-*", json!({ "max_requests_per_1_minute": 1 })).await;
    assert_eq!(ask(&live, &customer, json!({})).await.status, 200);
    assert_limited(&ask(&live, &customer, json!({})).await);
}

const OTHER: &str = "org/other";

/// Two models, and a node that fails for the first before it has said a word.
async fn two_models() -> Live {
    let mut live = Live::start().await;
    live.admin(&["model", "add", "--id", OTHER, "--context-length", "32768"]).await;
    live.app.refresh_catalogue().await.unwrap();
    let price = |usd| protocol::Price::per_million(usd).unwrap();
    let setup = Setup::default().pace(400, 20.0);
    live.launch_offer(2, &setup, node::config::OfferConfig::new(OTHER, price("1"), price("10"))).await;
    live.until_ready(&setup).await;
    live.break_node(0, Fault::Refuse { status: 500 });
    live
}

#[tokio::test]
async fn a_model_that_is_fallen_back_to_is_counted_and_limited_as_itself() {
    let live = two_models().await;
    let customer = customer(&live).await;
    limit(&live, LimitScope::Project(customer.project), OTHER, requests(1)).await;
    let first = ask(&live, &customer, json!({ "models": [OTHER], "max_tokens": 5 })).await;
    assert_eq!((first.status.as_u16(), &first.json["model"]), (200, &json!(OTHER)), "{}", first.json);
    assert_eq!(number(&first, "x-ratelimit-limit-requests"), 1, "its own limit is the tightest");
    let again = ask(&live, &customer, json!({ "model": OTHER })).await;
    assert_limited(&again);
    assert!(text(&again.json["error"]["message"]).contains(OTHER));
    // One whose limit is used up is passed over: what is told is why the first could not answer.
    let failed = ask(&live, &customer, json!({ "models": [OTHER] })).await;
    assert_eq!((failed.status.as_u16(), failed.code()), (502, Some("provider_error")), "{}", failed.json);
    live.books_add_up().await;
}

#[tokio::test]
async fn what_a_model_took_of_its_limits_is_free_again_when_another_is_turned_to() {
    let live = two_models().await;
    let customer = customer(&live).await;
    limit(&live, LimitScope::Key(customer.key), MODEL, places(1)).await;
    // Room for one answer of this length, not for two.
    limit(&live, LimitScope::Key(customer.key), rate_limits::ALL_MODELS, tokens(3_000)).await;
    let fields = json!({ "models": [OTHER], "max_tokens": 2_000, "stream": true });
    let mut first = live.chat_as(&customer.secret, fields).await;
    assert_eq!(first.status, 200);
    first.until_text().await;
    let left: u64 = first.header("x-ratelimit-remaining-tokens").unwrap().parse().unwrap();
    assert!((500..1_000).contains(&left), "{left} are left beside one answer of up to 2000");
    let second = ask(&live, &customer, json!({ "models": [OTHER], "max_tokens": 5 })).await;
    assert_eq!(second.status, 200, "the place of the first model is free: {}", second.json);
    assert_limited(&ask(&live, &customer, json!({ "model": OTHER, "max_tokens": 2_000 })).await);
    drop(first);
    live.until_idle(PATIENCE).await;
    live.books_add_up().await;
}

#[tokio::test]
async fn a_fallback_that_is_larger_than_its_limit_is_passed_over_for_the_next() {
    let live = two_models().await;
    let customer = customer(&live).await;
    live.admin(&["model", "add", "--id", "org/third", "--context-length", "32768"]).await;
    live.app.refresh_catalogue().await.unwrap();
    limit(&live, LimitScope::Organization(customer.organization), OTHER, tokens(500)).await;
    let small = ask(&live, &customer, json!({ "models": ["org/third", OTHER], "max_tokens": 5 })).await;
    assert_eq!((small.status.as_u16(), &small.json["model"]), (200, &json!(OTHER)), "{}", small.json);
    let large = ask(&live, &customer, json!({ "models": [OTHER], "max_tokens": 1_000 })).await;
    assert_eq!((large.status.as_u16(), large.code()), (502, Some("provider_error")), "{}", large.json);
}

#[tokio::test]
async fn what_an_idempotency_key_answers_says_where_limits_stand_too() {
    let live = Live::start().await;
    let customer = customer(&live).await;
    limit(&live, LimitScope::Key(customer.key), rate_limits::ALL_MODELS, requests(2)).await;
    let first = live.keyed(&customer.secret, "one", json!({})).await.reply().await;
    let again = live.keyed(&customer.secret, "one", json!({})).await.reply().await;
    assert_eq!((first.status.as_u16(), again.header("idempotent-replayed")), (200, Some("true")));
    let reused = live.keyed(&customer.secret, "one", json!({ "max_tokens": 1 })).await.reply().await;
    let unusable = live.keyed(&customer.secret, &"x".repeat(256), json!({})).await.reply().await;
    assert_eq!((reused.status.as_u16(), unusable.status.as_u16()), (422, 400));
    for reply in [first, again, reused, unusable] {
        assert_eq!(number(&reply, "x-ratelimit-remaining-requests"), 1, "only the first took one");
    }
}

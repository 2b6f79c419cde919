//! Webhooks: signed, again until they are taken, in order, and to nobody inside.

mod receiver;

use std::time::Duration;

use api::webhooks::{Deliverer, Fanout};
use http::Method;
use platform::worker::Worker;
use protocol::event::Event;
use protocol::{EventId, NodeId, Units};
use serde_json::{Value, json};

use self::receiver::{Receiver, is_signed_by};
use crate::live::{PATIENCE, until};
use crate::organization::{Organization, Till, id_of};
use crate::support::{Joined, TestApp, offer, text};

const HOUR: Duration = Duration::from_secs(3_600);

/// A broker, a provider with a node, and somebody who listens.
struct Post {
    test: TestApp,
    joined: Joined,
    receiver: Receiver,
    fanout: Fanout,
    deliverer: Deliverer,
}

impl Post {
    async fn open() -> Self {
        let test = TestApp::start_with(|config| config.webhooks.allow_private = true).await;
        let joined = test.join(1).await;
        let fanout = Fanout::new(test.app.db.clone(), test.app.env.clone());
        let deliverer = Deliverer::new(test.app.clone());
        Self { test, joined, receiver: Receiver::start().await, fanout, deliverer }
    }

    fn path(&self, rest: &str) -> String {
        format!("/v1/providers/{}/webhooks{rest}", self.joined.provider)
    }

    /// Registers the receiver; the endpoint as it was shown.
    async fn register(&self, events: Value) -> Value {
        let body = json!({ "url": self.receiver.url("/hook?of=provider"), "events": events });
        let made = self.test.post(&self.path(""), &body).bearer(&self.joined.key).send().await;
        assert_eq!(made.status, 201, "{}", made.json);
        made.json
    }

    /// The node goes offline, once more.
    async fn happen(&self) -> EventId {
        let (id, now) = (self.test.app.env.mint(), self.test.app.env.now());
        let node: NodeId = self.joined.node.parse().unwrap();
        let mut tx = self.test.app.db.begin().await.unwrap();
        platform::outbox::append(&mut tx, id, &Event::NodeOffline { node }, now).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    /// One round of both workers, until nothing is under way.
    async fn round(&mut self) {
        let now = self.test.app.env.now();
        self.fanout.tick(now).await.unwrap();
        self.deliverer.tick(now).await.unwrap();
        self.settled().await;
    }

    async fn settled(&self) {
        let claimed = "select count(*) from webhook_endpoints where claimed_until is not null";
        until("every turn is over", PATIENCE, async || {
            let left: i64 = sqlx::query_scalar(claimed).fetch_one(&self.test.app.db).await.unwrap();
            left == 0
        })
        .await;
    }

    async fn shown(&self, id: &Value) -> Value {
        self.test.get(&self.path(&format!("/{}", text(id)))).bearer(&self.joined.key).send().await.json
    }
}

#[tokio::test]
async fn a_fact_reaches_its_provider_signed_and_once() {
    let mut post = Post::open().await;
    let endpoint = post.register(json!([])).await;
    let secret = text(&endpoint["secret"]);
    assert_eq!(post.shown(&endpoint["id"]).await["secret"], Value::Null, "a secret is shown once");
    let event = post.happen().await;
    post.round().await;
    post.round().await;
    let [got] = &post.receiver.taken()[..] else { panic!("not one delivery: {:?}", post.receiver.taken()) };
    assert_eq!(got.path, "/hook?of=provider");
    assert_eq!(got.header("webhook-id"), event.to_string());
    let now = post.test.app.env.now().unix_seconds();
    assert_eq!(got.header("webhook-timestamp"), now.to_string());
    assert_eq!(got.header("content-type"), "application/json");
    let body: Value = serde_json::from_str(&got.body).unwrap();
    let expected = json!({
        "id": event, "object": "event", "created_at": now, "type": "provider.node.offline",
        "data": { "id": post.joined.node },
    });
    assert_eq!(body, expected);
    assert!(is_signed_by(got, &secret));
    assert!(!is_signed_by(got, "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="));

    // A new secret, and the one before beside it for a day.
    let rotate = post.path(&format!("/{}/rotate_secret", text(&endpoint["id"])));
    let rotated = post.test.post(&rotate, &json!({})).bearer(&post.joined.key).send().await;
    let new = text(&rotated.json["secret"]);
    assert_ne!(new, secret);
    post.happen().await;
    post.round().await;
    post.test.clock.advance(24 * HOUR);
    post.happen().await;
    post.round().await;
    let signed: Vec<_> =
        post.receiver.taken().iter().map(|got| (is_signed_by(got, &secret), is_signed_by(got, &new))).collect();
    assert_eq!(signed, [(true, false), (true, true), (false, true)]);
}

#[tokio::test]
async fn what_is_not_taken_comes_again_under_the_same_id() {
    let mut post = Post::open().await;
    let endpoint = post.register(json!(["provider.node.offline"])).await;
    post.receiver.answer_next(&[500, 302, 429]);
    let event = post.happen().await;
    for round in 1..=4 {
        post.round().await;
        assert_eq!(post.receiver.taken().len(), round);
        assert_eq!(post.shown(&endpoint["id"]).await["failing_since"].is_i64(), round < 4);
        // Not before its time.
        post.round().await;
        assert_eq!(post.receiver.taken().len(), round, "again at once");
        post.test.clock.advance(HOUR);
    }
    post.round().await;
    let taken = post.receiver.taken();
    assert_eq!(taken.len(), 4, "taken once, it comes no more, and no redirect is followed");
    for got in &taken {
        assert_eq!((got.header("webhook-id"), &got.body), (event.to_string(), &taken[0].body));
        assert!(is_signed_by(got, &text(&endpoint["secret"])));
    }
    let times: Vec<i64> = taken.iter().map(|got| got.header("webhook-timestamp").parse().unwrap()).collect();
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "each attempt says when it is made: {times:?}");
}

#[tokio::test]
async fn facts_come_in_order_and_to_those_who_asked() {
    let mut post = Post::open().await;
    post.register(json!(["provider.node.offline"])).await;
    let other = post.register(json!(["provider.payout.paid"])).await;
    let mut events = Vec::new();
    for _ in 0..20 {
        events.push(post.happen().await.to_string());
    }
    // Two replicas at once.
    let now = post.test.app.env.now();
    post.fanout.tick(now).await.unwrap();
    let mut second = Deliverer::new(post.test.app.clone());
    let (one, two) = tokio::join!(post.deliverer.tick(now), second.tick(now));
    one.and(two).unwrap();
    post.settled().await;
    let got: Vec<_> = post.receiver.taken().iter().map(|got| got.header("webhook-id")).collect();
    assert_eq!(got, events);
    assert_eq!(post.shown(&other["id"]).await["enabled"], true);
}

#[tokio::test]
async fn an_endpoint_that_takes_nothing_is_given_up_on_and_can_begin_anew() {
    let mut post = Post::open().await;
    let endpoint = post.register(json!([])).await;
    post.receiver.answer_always(503);
    post.happen().await;
    for _ in 0..80 {
        post.round().await;
        post.test.clock.advance(HOUR);
    }
    let tried = post.receiver.taken().len();
    assert!((12..=20).contains(&tried), "{tried} attempts in 72 h");
    let open = "select count(*) from webhook_deliveries where next_at is not null";
    let open: i64 = sqlx::query_scalar(open).fetch_one(&post.test.app.db).await.unwrap();
    assert_eq!(open, 0, "given up after 72 h");
    assert_eq!(post.shown(&endpoint["id"]).await["enabled"], true);
    post.test.clock.advance(48 * HOUR);
    post.happen().await;
    post.round().await;
    let shown = post.shown(&endpoint["id"]).await;
    assert_eq!(shown["enabled"], false);
    let audited = "select count(*) from audit_events where action = 'webhook.disabled' and target = $1";
    let audited = sqlx::query_scalar(audited).bind(text(&endpoint["id"]));
    let audited: i64 = audited.fetch_one(&post.test.app.db).await.unwrap();
    assert_eq!(audited, 1);

    // Nothing more, until its owner switches it on.
    let tried = post.receiver.taken().len();
    post.receiver.answer_always(200);
    post.test.clock.advance(HOUR);
    post.round().await;
    assert_eq!(post.receiver.taken().len(), tried);
    let path = post.path(&format!("/{}", text(&endpoint["id"])));
    let on = post.test.post(&path, &json!({ "enabled": true })).bearer(&post.joined.key).send().await;
    assert_eq!((&on.json["enabled"], on.json.get("failing_since")), (&json!(true), None));
    post.round().await;
    assert_eq!(post.receiver.taken().len(), tried + 1);
}

#[tokio::test]
async fn nobody_inside_is_called() {
    let test = TestApp::start().await;
    let joined = test.join(1).await;
    let receiver = Receiver::start().await;
    let path = format!("/v1/providers/{}/webhooks", joined.provider);
    let register = |url: String| test.post(&path, &json!({ "url": url })).bearer(&joined.key).send();
    for url in [receiver.url("/"), "https://169.254.169.254/latest".to_owned(), "https://user:x@example.com".to_owned()]
    {
        let refused = register(url.clone()).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (400, Some("invalid_value")), "{url}");
        assert_eq!(refused.json["error"]["param"], "url");
    }
    // A name is judged by where it leads, at each call.
    let named = receiver.url("/").replace("http://127.0.0.1", "https://localhost");
    assert_eq!(register(named).await.status, 201);
    let node: NodeId = joined.node.parse().unwrap();
    let mut tx = test.app.db.begin().await.unwrap();
    let now = test.app.env.now();
    platform::outbox::append(&mut tx, test.app.env.mint(), &Event::NodeOffline { node }, now).await.unwrap();
    tx.commit().await.unwrap();
    Fanout::new(test.app.db.clone(), test.app.env.clone()).tick(now).await.unwrap();
    Deliverer::new(test.app.clone()).tick(now).await.unwrap();
    until("it was tried", PATIENCE, async || {
        let tried = "select coalesce(max(attempts), 0) from webhook_deliveries";
        sqlx::query_scalar::<_, i32>(tried).fetch_one(&test.app.db).await.unwrap() == 1
    })
    .await;
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn endpoints_are_managed_by_their_owner_only() {
    let post = Post::open().await;
    let (organization, inference) = post.test.customer().await;
    let admin = post.test.admin(&["key", "create", "--org", &organization, "--kind", "admin"]).await;
    let admin = text(&admin["secret"]);
    let base = "/v1/organization/webhooks";
    let create = |key: &str, body: Value| post.test.post(base, &body).bearer(key).send();
    let url = post.receiver.url("/customer");
    assert_eq!(create(&inference, json!({ "url": url })).await.status, 403);
    let wrong = create(&admin, json!({ "url": url, "events": ["batch.completed", "provider.node.offline"] })).await;
    assert_eq!((wrong.status.as_u16(), &wrong.json["error"]["param"]), (400, &json!("events[1]")));
    let made = create(&admin, json!({ "url": url, "events": ["batch.completed"], "description": "ours" })).await;
    assert_eq!((made.status.as_u16(), &made.json["object"]), (201, &json!("webhook_endpoint")), "{}", made.json);
    let path = format!("{base}/{}", text(&made.json["id"]));
    let changed = post.test.post(&path, &json!({ "events": [] })).bearer(&admin).send().await;
    assert_eq!((&changed.json["events"], &changed.json["description"]), (&json!([]), &json!("ours")));
    let listed = post.test.get(base).bearer(&admin).send().await;
    assert_eq!((&listed.json["data"][0]["id"], &listed.json["has_more"]), (&made.json["id"], &json!(false)));

    // Neither a provider nor another organization sees it.
    let (other, _) = post.test.customer().await;
    let other = text(&post.test.admin(&["key", "create", "--org", &other, "--kind", "admin"]).await["secret"]);
    let id = text(&made.json["id"]);
    for (path, key) in [(path.clone(), &other), (post.path(&format!("/{id}")), &post.joined.key)] {
        for method in [Method::GET, Method::DELETE] {
            assert_eq!(post.test.call(method, &path).bearer(key).send().await.status, 404);
        }
    }
    let deleted = post.test.call(Method::DELETE, &path).bearer(&admin).send().await;
    assert_eq!((deleted.status.as_u16(), &deleted.json["deleted"]), (200, &json!(true)));
    assert_eq!(post.test.get(&path).bearer(&admin).send().await.status, 404);
    let most = 20;
    for _ in 0..most {
        assert_eq!(create(&admin, json!({ "url": url })).await.status, 201);
    }
    assert_eq!(create(&admin, json!({ "url": url })).await.code(), Some("invalid_state"));
}

#[tokio::test]
async fn a_node_that_falls_silent_is_told_of() {
    let mut post = Post::open().await;
    post.register(json!([])).await;
    let (test, joined) = (&post.test, &post.joined);
    test.admin(&["model", "add", "--id", "org/name", "--context-length", "4096"]).await;
    let token = joined.open(test, "0123456789abcdef").await;
    let offers = json!({ "offers": [offer("org/name", "1", "1")] });
    let offered = test.call(Method::PUT, &joined.path("/offers")).json(&offers).bearer(&token).send().await;
    assert_eq!(offered.status, 200, "{}", offered.json);
    let beat = json!({ "seq": 1, "sent_at_ms": test.app.env.now().unix_ms(), "state": "ready" });
    assert_eq!(test.post(&joined.path("/heartbeat"), &beat).bearer(&token).send().await.status, 200);
    test.app.scheduler.reload(&mut test.app.db.acquire().await.unwrap()).await.unwrap();
    test.clock.advance(HOUR);
    for _ in 0..2 {
        api::run::take_offline(&test.app, test.app.env.now()).await.unwrap();
    }
    post.round().await;
    let taken = post.receiver.taken();
    assert_eq!(taken.len(), 1, "told, and once");
    let body: Value = serde_json::from_str(&taken[0].body).unwrap();
    assert_eq!((&body["type"], &body["data"]["id"]), (&json!("provider.node.offline"), &json!(post.joined.node)));
}

#[tokio::test]
async fn a_limit_half_spent_is_told_to_its_organization_once() {
    let mut post = Post::open().await;
    let test = &post.test;
    let org = Organization::open(test).await;
    test.admin(&["grant", "--org", &org.id, "--usd", "1", "--expires-days", "30"]).await;
    let body = json!({ "url": post.receiver.url("/customer"), "events": ["project.spend_limit.threshold_reached"] });
    assert_eq!(org.post(test, "/v1/organization/webhooks", &body).await.status, 201);
    for path in [org.path("/spend_limit"), "/v1/organization/spend_limit".to_owned()] {
        let limited = org.post(test, &path, &json!({ "limit_usd": "0.002", "reset": "daily" })).await;
        assert_eq!(limited.status, 200, "{}", limited.json);
    }
    let key = id_of(test, &org.inference).await;
    let till = Till::of(test, "org/chat", 1).await;
    till.ring(test, (&org.id, &org.project, key), Units { completion: 1_000_000, ..Units::default() }).await;
    let noticed = "select count(*) from spend_alerts";
    until("a fold has noticed it", PATIENCE, async || {
        billing::run::fold(&test.app.db).await.unwrap();
        sqlx::query_scalar::<_, i64>(noticed).fetch_one(&test.app.db).await.unwrap() == 2
    })
    .await;
    for _ in 0..2 {
        billing::run::tell(&test.app.db, &test.app.env, test.app.env.now()).await.unwrap();
    }
    post.round().await;
    let [got] = &post.receiver.taken()[..] else { panic!("not one delivery: {:?}", post.receiver.taken()) };
    let body: Value = serde_json::from_str(&got.body).unwrap();
    assert_eq!(body["type"], "project.spend_limit.threshold_reached");
    let expected = json!({
        "id": org.project, "threshold_percent": 50, "limit_usd": "0.002", "spent_usd": "0.001",
        "window_starts_at": post.test.app.env.now().unix_seconds(),
    });
    assert_eq!(body["data"], expected);
}

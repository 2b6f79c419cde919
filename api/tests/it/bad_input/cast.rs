//! Everybody who may send something, and the engine that sends what is in the tables.

use api::keys::KeyKind;
use api::router::router;
use api::routes::{Access, ROUTES};
use axum::body::{Body, to_bytes};
use fake_stripe::{FakeStripe, Knobs};
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::census::census;
use super::table::{Case, Endpoint};
use crate::documented::Asked;
use crate::support::{TestApp, node_body, text};
use crate::topups;

/// A broker with a customer, a provider and whatever they have, so that only what is sent can be at fault.
pub struct Cast {
    pub test: TestApp,
    keys: Vec<(KeyKind, String)>,
    session: String,
    /// What stands for what in paths and bodies.
    names: Vec<(&'static str, String)>,
    fake: FakeStripe,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    json: Value,
}

impl Cast {
    pub async fn start() -> Self {
        let (env, _) = platform::testing::env(8);
        let fake = FakeStripe::start(([127, 0, 0, 1], 0).into(), env, Knobs::default()).await.unwrap();
        let test = TestApp::start_with(|config| {
            config.gateway.max_body_bytes = 64 * 1024;
            topups::takes_cards(config, &fake);
        })
        .await;
        let (organization, inference) = test.customer().await;
        test.admin(&["grant", "--org", &organization, "--usd", "5.00", "--expires-days", "30"]).await;
        test.admin(&["model", "add", "--id", "org/name", "--context-length", "4096"]).await;
        let mut keys = vec![(KeyKind::Inference, inference)];
        for (kind, name) in [(KeyKind::Management, "management"), (KeyKind::Admin, "admin")] {
            let made = test.admin(&["key", "create", "--org", &organization, "--kind", name]).await;
            keys.push((kind, text(&made["secret"])));
        }
        let joined = test.join(1).await;
        keys.push((KeyKind::Provider, joined.key.clone()));
        let session = joined.open(&test, "0123456789abcdef").await;
        let (pending, challenge) = test.register(2).await;
        let now = test.app.env.now().unix_ms().to_string();
        let names = vec![
            ("{provider}/challenges", format!("{pending}/challenges")),
            ("{provider}/verify", format!("{pending}/verify")),
            ("{provider}", joined.provider.clone()),
            ("{node}", joined.node.clone()),
            ("{challenge}", text(&challenge["id"])),
            ("{receipt}", "rcpt_00000000000000000000000000000001".to_owned()),
            ("{*rate_limit}", "rl-org/name".to_owned()),
            ("{public_key}", text(&node_body(&joined.node_key)["public_key"])),
            ("\"{now}\"", now),
        ];
        let mut cast = Self { test, keys, session, names, fake };
        cast.found().await;
        cast
    }

    /// Makes what endpoints change.
    async fn found(&mut self) {
        let hook = json!({ "url": "https://customer.example/hook" });
        for (name, route, body) in [
            ("{key}", "/keys", json!({ "name": "a key" })),
            ("{project}", "/organization/projects", json!({ "name": "a project" })),
            ("{service_account}", "/organization/projects/{project}/service_accounts", json!({ "name": "a program" })),
            ("/organization/webhooks/{webhook}", "/organization/webhooks", hook.clone()),
            ("/webhooks/{webhook}", "/providers/{provider}/webhooks", hook),
            ("{topup}", "/credits/topups", json!({ "amount_usd": "50" })),
        ] {
            let path = self.path(route);
            let reply = self.test.post(&path, &body).bearer(self.bearer("POST", route).unwrap()).send().await;
            assert!(reply.status.is_success(), "{route}: {}", reply.json);
            if name == "{topup}" {
                topups::pay(&self.test, &self.fake, &reply.json).await;
            }
            let made = if name == "{key}" { &reply.json["data"] } else { &reply.json };
            self.names.push((name, name.rsplit_once('{').unwrap().0.to_owned() + &text(&made["id"])));
        }
        let saved = self.test.get("/v1/credits/payment_methods").bearer(&self.keys[1].1).send().await;
        self.names.push(("{payment_method}", text(&saved.json["data"][0]["id"])));
    }

    fn fill(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    fn path(&self, route: &str) -> String {
        let path = self.fill(route);
        assert!(!path.contains('{'), "{path} has a name nobody knows");
        if path.starts_with("/hooks/") { path } else { format!("/v1{path}") }
    }

    fn bearer(&self, method: &str, route: &str) -> Option<&str> {
        let found = ROUTES.iter().find(|(listed, path, _)| (*listed, *path) == (method, route));
        match found.unwrap_or_else(|| panic!("{method} {route} is no route")).2 {
            Access::Anyone => None,
            Access::Node => Some(&self.session),
            Access::Key(kind) => self.keys.iter().find(|(own, _)| *own == kind).map(|(_, key)| key.as_str()),
            other => panic!("{method} {route}: nobody here is {other:?}"),
        }
    }

    /// Sends all that is wrong, then what is right. Only the last leaves a trace.
    pub async fn play(&self, endpoints: &[Endpoint]) {
        let mut complaints = Vec::new();
        for endpoint in endpoints {
            let name = format!("{} {}", endpoint.method, endpoint.route);
            let before = census(&self.test.app.db).await;
            for case in endpoint.all() {
                let answer = self.send(endpoint, &case).await;
                let wrong = answer.complaint(endpoint, &case);
                complaints.extend(wrong.map(|wrong| {
                    format!("{name}, {}: {wrong}: {} {}", case.what, answer.status, answer.json["error"])
                }));
            }
            if census(&self.test.app.db).await != before {
                complaints.push(format!("{name}: what was refused left a trace"));
            }
            let good = Case::invalid("a good one", endpoint.good.to_string(), None);
            let taken = self.send(endpoint, &good).await;
            if taken.status.as_u16() != endpoint.taken {
                complaints.push(format!("{name}, a good one: {} {}", taken.status, taken.json));
            }
        }
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
        assert!(billing::reconcile::reconcile(&self.test.app.db).await.unwrap().is_green());
    }

    async fn send(&self, endpoint: &Endpoint, case: &Case) -> Answer {
        let path = self.path(endpoint.route) + case.query;
        let method: Method = endpoint.method.parse().unwrap();
        let asked = Asked::find(&method, &path);
        let mut request = Request::builder().method(method).uri(path);
        if case.headers.iter().all(|(name, _)| *name != "content-type") {
            request = request.header("content-type", "application/json");
        }
        if let Some(bearer) = self.bearer(endpoint.method, endpoint.route) {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        for (name, value) in &case.headers {
            request = request.header(*name, *value);
        }
        // What is no text has no names in it.
        let body = match std::str::from_utf8(&case.body) {
            Ok(text) => self.fill(text).into_bytes(),
            Err(_) => case.body.clone(),
        };
        let response = router(self.test.app.clone()).oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 1 << 20).await.unwrap();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        asked.inspect(|asked| asked.check(parts.status, &parts.headers, &json));
        Answer { status: parts.status, headers: parts.headers, json }
    }
}

impl Answer {
    /// What is wrong with a refusal, if anything is.
    fn complaint(&self, endpoint: &Endpoint, case: &Case) -> Option<&'static str> {
        let error = &self.json["error"];
        let message = error["message"].as_str().unwrap_or_default();
        if self.status.as_u16() != case.status {
            return Some("not the status");
        }
        if message.is_empty() {
            return Some("no words");
        }
        if endpoint.route.starts_with("/messages") {
            // Anthropic's shape has no place for the field: the words name it.
            if self.json["type"] != "error" || case.param.as_ref().is_some_and(|param| !message.contains(param)) {
                return Some("not in Anthropic's shape, or the field is not named");
            }
        } else if error["type"] != "invalid_request_error" || error.get("code").is_none() {
            return Some("not in shape");
        } else if error["param"].as_str() != case.param.as_deref() {
            return Some("not the field");
        }
        let told = self.headers.contains_key("x-ratelimit-limit-requests");
        (told != is_limited(endpoint)).then_some("who is limited, and nobody else, is told where the limits stand")
    }
}

fn is_limited(endpoint: &Endpoint) -> bool {
    ROUTES.contains(&(endpoint.method, endpoint.route, Access::Key(KeyKind::Inference)))
}

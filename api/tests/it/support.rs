//! A whole broker on a fresh database, called without sockets.

use api::commands::admin;
use api::config::Config;
use api::router::router;
use api::state::{App, AppState};
use api::store::audit::Actor;
use axum::Router;
use axum::body::{Body, to_bytes};
use clap::Parser;
use ed25519_dalek::{Signer, SigningKey};
use http::{HeaderMap, Method, Request, StatusCode};
use platform::shutdown::Shutdown;
use platform::testing::TestDb;
use protocol::NodeId;
use protocol::session::session_challenge_bytes;
use protocol::time::ManualClock;
use protocol::wallet::Wallet;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::documented::Asked;

/// A broker with a clock that moves when told.
pub struct TestApp {
    /// Its parts.
    pub app: AppState,
    /// The hand of its clock.
    pub clock: ManualClock,
    router: Router,
    _db: TestDb,
}

/// An answer, read whole.
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; null when that is not JSON.
    pub json: Value,
    /// Its body as it came.
    pub body: Vec<u8>,
}

/// A provider that joined, with one node.
pub struct Joined {
    /// `prov_…`.
    pub provider: String,
    /// The provider key.
    pub key: String,
    /// `node_…`.
    pub node: String,
    /// The node's own key.
    pub node_key: SigningKey,
}

/// A call in the making.
pub struct Call<'a> {
    test: &'a TestApp,
    request: http::request::Builder,
    body: Body,
}

impl TestApp {
    /// Starts one with default settings, staged offers skipped.
    pub async fn start() -> Self {
        Self::start_with(|config| config.providers.probes_to_activate = 0).await
    }

    /// Starts one with settings of its own.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let db = platform::testing::database().await;
        let (env, clock) = platform::testing::env(7);
        let mut config = Config::default();
        change(&mut config);
        let metrics = platform::telemetry::metrics_handle();
        let built = App::build(config, env, db.pool().clone(), metrics, Shutdown::new()).await;
        let app = AppState(std::sync::Arc::new(built.expect("the broker's parts can be built")));
        let router = router(app.clone());
        Self { app, clock, router, _db: db }
    }

    /// A call of `path`.
    pub fn call(&self, method: Method, path: &str) -> Call<'_> {
        Call { test: self, request: Request::builder().method(method).uri(path), body: Body::empty() }
    }

    /// A GET.
    pub fn get(&self, path: &str) -> Call<'_> {
        self.call(Method::GET, path)
    }

    /// A POST of JSON.
    pub fn post(&self, path: &str, body: &Value) -> Call<'_> {
        self.call(Method::POST, path).json(body)
    }

    /// `steelyard admin …`.
    pub async fn admin(&self, words: &[&str]) -> Value {
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            args: admin::Args,
        }
        let line = Line::try_parse_from(std::iter::once("admin").chain(words.iter().copied())).unwrap();
        let actor = Actor::Operator("test".to_owned());
        admin::execute(line.args, self.app.db.clone(), self.app.env.clone(), actor).await.unwrap()
    }

    /// An organization with an inference key: `(org-…, sk-…)`.
    pub async fn customer(&self) -> (String, String) {
        let organization = text(&self.admin(&["org", "create", "Customer"]).await["organization"]);
        let key = self.admin(&["key", "create", "--org", &organization]).await;
        (organization, text(&key["secret"]))
    }

    /// Registers a provider whose wallet is made of `seed`; returns its id and challenge.
    pub async fn register(&self, seed: u8) -> (String, Value) {
        let wallet = wallet(seed);
        let body = json!({
            "name": format!("Provider {seed}"), "slug": format!("provider-{seed}"),
            "contact_email": "ops@provider.example", "country": "DE", "terms_version": "1",
            "payout_account": format!("eip155:8453:{}", wallet.address()), "receipt_address": wallet.address(),
        });
        let reply = self.post("/v1/providers", &body).send().await;
        assert_eq!(reply.status, 201, "{}", reply.json);
        assert_eq!(reply.json["provider"]["state"], "pending");
        (text(&reply.json["provider"]["id"]), reply.json["challenge"].clone())
    }

    /// Signs a challenge with the wallet of `seed`.
    pub async fn verify(&self, provider: &str, challenge: &Value, seed: u8) -> Reply {
        let signature = wallet(seed).sign(&text(&challenge["message"]));
        let body = json!({ "challenge_id": challenge["id"], "signature": signature });
        self.post(&format!("/v1/providers/{provider}/verify"), &body).send().await
    }

    /// A provider made of `seed` that joined with one node.
    pub async fn join(&self, seed: u8) -> Joined {
        let (provider, challenge) = self.register(seed).await;
        let verified = self.verify(&provider, &challenge, seed).await;
        assert_eq!(verified.status, 200, "{}", verified.json);
        let key = text(&verified.json["key"]);
        let node_key = SigningKey::from_bytes(&[seed; 32]);
        let path = format!("/v1/providers/{provider}/nodes");
        let made = self.post(&path, &node_body(&node_key)).bearer(&key).send().await;
        assert_eq!(made.status, 201, "{}", made.json);
        Joined { provider, key, node: text(&made.json["id"]), node_key }
    }
}

impl Joined {
    /// The path of the node.
    pub fn path(&self, rest: &str) -> String {
        format!("/v1/providers/{}/nodes/{}{rest}", self.provider, self.node)
    }

    /// What a node sends to open a session.
    pub fn session_body(&self, nonce: &str, timestamp_ms: i64) -> Value {
        let node: NodeId = self.node.parse().unwrap();
        let signature = self.node_key.sign(&session_challenge_bytes(node, nonce, timestamp_ms));
        json!({ "nonce": nonce, "timestamp_ms": timestamp_ms, "signature": hex::encode(signature.to_bytes()) })
    }

    /// Opens a session.
    pub async fn open(&self, test: &TestApp, nonce: &str) -> String {
        let body = self.session_body(nonce, test.app.env.now().unix_ms());
        let reply = test.post(&self.path("/sessions"), &body).send().await;
        assert_eq!(reply.status, 201, "{}", reply.json);
        text(&reply.json["token"])
    }
}

impl Call<'_> {
    /// With a bearer.
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// With a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// Over a connection from this address.
    pub fn from(mut self, address: [u8; 4]) -> Self {
        self.request = self.request.extension(api::addresses::Peer(address.into()));
        self
    }

    /// With a JSON body.
    pub fn json(mut self, body: &Value) -> Self {
        self.body = Body::from(body.to_string());
        self.header("content-type", "application/json")
    }

    /// The answer.
    pub async fn send(self) -> Reply {
        let request = self.request.body(self.body).unwrap();
        let asked = Asked::find(request.method(), &request.uri().to_string());
        let response = self.test.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 1 << 20).await.unwrap();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        asked.inspect(|asked| asked.check(parts.status, &parts.headers, &json));
        Reply { status: parts.status, headers: parts.headers, json, body: bytes.to_vec() }
    }
}

impl Reply {
    /// The error's code.
    pub fn code(&self) -> Option<&str> {
        self.json["error"]["code"].as_str()
    }

    /// Its body as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// The text of a JSON string.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

/// A wallet made of one byte.
pub fn wallet(seed: u8) -> Wallet {
    Wallet::from_bytes(&[seed; 32]).unwrap()
}

/// What registers a node.
pub fn node_body(key: &SigningKey) -> Value {
    json!({
        "public_key": hex::encode(key.verifying_key().to_bytes()), "mode": "tunnel",
        "hardware": { "gpus": [], "cpu_cores": 2, "ram_mib": 4096 },
        "location": { "country_code": "DE", "region": "fra1" }, "engine": { "name": "llama.cpp" },
    })
}

/// One offer of a model at a price per million tokens of prompt and of output.
pub fn offer(model: &str, prompt: &str, completion: &str) -> Value {
    let per_token = |usd: &str| protocol::Price::per_million(usd).unwrap().to_string();
    json!({
        "model": model, "upstream_model": "engine-name", "context_length": 4096,
        "pricing": [
            { "type": "prompt", "unit": "token", "cost_usd": per_token(prompt) },
            { "type": "completion", "unit": "token", "cost_usd": per_token(completion) },
        ],
        "capacity": [{ "type": "concurrency", "value": 4 }],
    })
}

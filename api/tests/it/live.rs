//! A whole broker on a real socket: simulated nodes behind real tunnels, and a customer who can pay.

mod books;
mod cable;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::commands::admin;
use api::config::Config;
use api::state::{App, AppState};
use api::store::audit::Actor;
use clap::Parser;
use http::Method;
use node::engine::{Fault, Faults, Latency};
use node::fleet::{self, Member};
use platform::shutdown::Shutdown;
use platform::testing::TestDb;
use protocol::{Env, Price, ProviderId};
use scheduler::pool::snapshot::ModelPool;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use books::Billed;
pub use cable::Cable;
pub use wire::{Frame, Wire, chat_body, content, finish, last_error};

use crate::support::{text, wallet};

/// The one model there is.
pub const MODEL: &str = "org/name";
/// Longest wait for what should take milliseconds, on a machine that is busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What a test can choose.
pub struct Setup {
    /// Settings of the broker.
    pub config: Config,
    /// Nodes, each of a provider of its own: `provider-1` has the first.
    pub nodes: u8,
    /// Requests each answers at once.
    pub slots: u32,
    /// Tunnels of each.
    pub tunnels: u32,
    /// How each answers.
    pub latency: Latency,
    /// What the customer may spend.
    pub usd: &'static str,
}

/// The broker, its nodes, its customer.
pub struct Live {
    /// The broker's parts.
    pub app: AppState,
    /// Where it listens.
    pub address: SocketAddr,
    /// The nodes.
    pub nodes: Vec<Member>,
    /// Who pays.
    pub organization: String,
    /// With what.
    pub key: String,
    /// The provider of each node.
    pub providers: Vec<ProviderId>,
    /// And its key.
    pub provider_keys: Vec<String>,
    serving: JoinHandle<()>,
    config: Config,
    db: TestDb,
}

impl Default for Setup {
    fn default() -> Self {
        let mut config = Config::default();
        config.providers.allow_private = true;
        config.providers.probes_to_activate = 1;
        let latency = Latency { ttft_ms: 5.0, tpot_ms: 2.0, tokens: 8, ..Latency::default() };
        Self { config, nodes: 1, slots: 16, tunnels: 2, latency, usd: "5.00" }
    }
}

impl Setup {
    /// So many nodes, otherwise as usual.
    pub fn nodes(nodes: u8) -> Self {
        Self { nodes, ..Self::default() }
    }

    /// With other settings of the broker.
    pub fn with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// With answers of this many tokens, this many milliseconds apart.
    pub fn pace(mut self, tokens: u32, tpot_ms: f64) -> Self {
        self.latency = Latency { tokens, tpot_ms, ..self.latency };
        self
    }

    /// Starts everything and waits until every node takes customers.
    pub async fn start(self) -> Live {
        let db = platform::testing::database().await;
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (app, address, serving) = broker(self.config.clone(), &db, any).await;
        let mut live = Live {
            app,
            address,
            nodes: Vec::new(),
            organization: String::new(),
            key: String::new(),
            providers: Vec::new(),
            provider_keys: Vec::new(),
            serving,
            config: self.config.clone(),
            db,
        };
        live.admin(&["model", "add", "--id", MODEL, "--context-length", "32768"]).await;
        live.app.refresh_catalogue().await.unwrap();
        (live.organization, live.key) = live.customer(self.usd).await;
        for seed in 1..=self.nodes {
            live.launch(seed, &self, live.address).await;
        }
        live.until_ready(&self).await;
        live
    }
}

impl Live {
    /// One node and no wishes.
    pub async fn start() -> Self {
        Setup::default().start().await
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

    /// An organization that was granted so much, and a key of it.
    pub async fn customer(&self, usd: &str) -> (String, String) {
        let organization = text(&self.admin(&["org", "create", "Customer"]).await["organization"]);
        if usd != "0" {
            self.admin(&["grant", "--org", &organization, "--usd", usd, "--expires-days", "30"]).await;
        }
        let key = text(&self.admin(&["key", "create", "--org", &organization]).await["secret"]);
        (organization, key)
    }

    /// Starts a node of a provider made of `seed` that dials `broker`.
    pub async fn launch(&mut self, seed: u8, setup: &Setup, broker: SocketAddr) {
        let plan = self.plan(seed, setup, broker).await;
        self.start_node(&plan);
    }

    fn start_node(&mut self, plan: &fleet::Plan) {
        self.providers.push(plan.provider);
        self.provider_keys.push(plan.key.expose_secret().to_owned());
        self.nodes.extend(fleet::launch(plan, 1, &Env::system()));
    }

    /// The same with prices of its own: US dollars per million tokens in and out.
    pub async fn launch_at(&mut self, seed: u8, setup: &Setup, prompt: &str, completion: &str) {
        let price = |usd| Price::per_million(usd).unwrap();
        self.launch_offer(seed, setup, node::config::OfferConfig::new(MODEL, price(prompt), price(completion))).await;
    }

    /// The same with an offer of its own.
    pub async fn launch_offer(&mut self, seed: u8, setup: &Setup, offer: node::config::OfferConfig) {
        let plan = fleet::Plan { offer, ..self.plan(seed, setup, self.address).await };
        self.start_node(&plan);
    }

    /// One node as its provider sees it; nodes count from zero.
    pub async fn node_view(&self, node: usize) -> Value {
        let (provider, key) = (self.providers[node], &self.provider_keys[node]);
        let id = self.nodes[node].handle.status().node.unwrap();
        let path = format!("/v1/providers/{provider}/nodes/{id}");
        self.call(Method::GET, &path, Some(key), "").await.reply().await.json
    }

    async fn plan(&self, seed: u8, setup: &Setup, broker: SocketAddr) -> fleet::Plan {
        let wallet = wallet(seed);
        let body = json!({
            "name": format!("Provider {seed}"), "slug": format!("provider-{seed}"),
            "contact_email": "ops@provider.example", "country": "DE", "terms_version": "1",
            "payout_account": format!("eip155:8453:{}", wallet.address()), "receipt_address": wallet.address(),
        });
        let made = self.call(Method::POST, "/v1/providers", None, body.to_string()).await.reply().await;
        assert_eq!(made.status, 201, "{}", made.json);
        let (provider, challenge) = (text(&made.json["provider"]["id"]), &made.json["challenge"]);
        let signature = wallet.sign(&text(&challenge["message"]));
        let body = json!({ "challenge_id": challenge["id"], "signature": signature }).to_string();
        let path = format!("/v1/providers/{provider}/verify");
        let verified = self.call(Method::POST, &path, None, body).await.reply().await;
        let price = |usd| Price::per_million(usd).unwrap();
        fleet::Plan {
            broker: format!("http://{broker}").parse().unwrap(),
            provider: provider.parse().unwrap(),
            key: text(&verified.json["key"]).into(),
            offer: node::config::OfferConfig::new(MODEL, price("1"), price("10")),
            slots: setup.slots,
            tunnels: setup.tunnels,
            latency: setup.latency,
        }
    }

    /// Waits until every node has its tunnels and its offer takes customers.
    pub async fn until_ready(&mut self, setup: &Setup) {
        let ready = fleet::ready(&mut self.nodes, setup.tunnels);
        tokio::time::timeout(PATIENCE, ready).await.expect("the nodes are ready in time").unwrap();
        self.until_taking(self.nodes.len()).await;
    }

    /// Waits until so many offers take customers. An active offer takes none before its node was heard of.
    pub async fn until_taking(&self, offers: usize) {
        let taking = || {
            let snapshot = self.app.scheduler.snapshot();
            let of_model = |pool: &ModelPool| (0..pool.offers.len()).filter(|index| pool.is_up(*index)).count();
            snapshot.models().map(of_model).sum::<usize>()
        };
        until("every offer takes customers", PATIENCE, async || taking() == offers).await;
    }

    /// What goes wrong at a node from now on; nodes count from zero.
    pub fn break_node(&self, node: usize, fault: Fault) {
        self.nodes[node].engine.set_faults(Faults::always(fault));
    }

    /// Answers being made by all engines.
    pub fn active(&self) -> u32 {
        self.nodes.iter().map(|node| node.engine.active()).sum()
    }

    /// Waits until no engine works any more.
    pub async fn until_idle(&self, within: Duration) {
        until("every engine is idle", within, async || self.active() == 0).await;
    }

    /// Tells the broker to stop, as a signal does; answers in flight go on.
    pub fn begin_stop(&self) {
        self.app.shutdown.begin();
    }

    /// Stops the broker in order: answers, books, then everything beside them.
    pub async fn stop(&mut self) {
        self.begin_stop();
        (&mut self.serving).await.unwrap();
        self.app.upstreams.close();
        self.app.billing.stop().await.unwrap();
        self.app.shutdown.drain(Duration::from_secs(5)).await;
        self.app.db.close().await;
    }

    /// Stops the broker for good and starts another one on the same address and database.
    pub async fn restart(&mut self) {
        self.stop().await;
        (self.app, self.address, self.serving) = broker(self.config.clone(), &self.db, self.address).await;
    }
}

async fn broker(config: Config, db: &TestDb, listen: SocketAddr) -> (AppState, SocketAddr, JoinHandle<()>) {
    let pool = platform::db::connect(db.config()).await.unwrap();
    let (env, metrics) = (Env::system(), platform::telemetry::metrics_handle());
    let app = Box::pin(App::build(config, env, pool, metrics, Shutdown::new()))
        .await
        .expect("the broker's parts can be built");
    let app = AppState(Arc::new(app));
    api::run::spawn_all(&app);
    let listener = TcpListener::bind(listen).await.unwrap();
    let address = listener.local_addr().unwrap();
    app.address.set(address).unwrap();
    let (router, server) = (api::router::router(app.clone()), app.config.server.clone());
    let stop = app.shutdown.token().clone();
    let cut = app.upstreams.closing().clone();
    let lanes = api::lanes::Lanes::start(0).unwrap();
    let serving = tokio::spawn(async move { api::serve::serve(listener, router, &server, &lanes, stop, &cut).await });
    (app, address, serving)
}

/// Asks again and again, for at most `within`.
pub async fn until(what: &str, within: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < within, "{what}: not within {within:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

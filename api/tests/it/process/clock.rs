//! The machine's clock jumps while an answer streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use api::config::Config;
use api::state::{App, AppState};
use node::config::{NodeConfig, OfferConfig};
use node::engine::Latency;
use node::register::{self, Applicant};
use node::{Handle, Simulated};
use platform::shutdown::Shutdown;
use protocol::Price;
use protocol::env::{Env, SystemEntropy};
use protocol::time::{Clock, SystemClock, Timestamp};
use tokio::net::TcpListener;

use super::caller::Caller;
use super::spawn::until;
use super::world::{MODEL, PATIENCE, command, customer};
use crate::support::wallet;

/// The wall clock, and how far it was set wrong.
#[derive(Clone, Default)]
struct Jumping(Arc<AtomicI64>);

impl Jumping {
    fn set(&self, offset: i64) {
        self.0.store(offset, Ordering::SeqCst);
    }
}

impl Clock for Jumping {
    fn now(&self) -> Timestamp {
        let offset = self.0.load(Ordering::SeqCst);
        let span = Duration::from_secs(offset.unsigned_abs());
        if offset < 0 { SystemClock.now().minus(span) } else { SystemClock.now().plus(span) }
    }
}

/// Seconds of an hour.
const HOUR: i64 = 3_600;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jump_of_the_clock_ends_no_stream() {
    let db = platform::testing::database().await;
    let (clock, shutdown) = (Jumping::default(), Shutdown::new());
    let env = Env::new(clock.clone(), SystemEntropy);
    let mut config = Config::default();
    config.providers.probes_to_activate = 0;
    let metrics = platform::telemetry::metrics_handle();
    let built = App::build(config.clone(), env.clone(), db.pool().clone(), metrics, shutdown.clone()).await;
    let app = AppState(Arc::new(built.unwrap()));
    command(db.url(), &["admin", "model", "add", "--id", MODEL, "--context-length", "8192"]).await;
    app.refresh_catalogue().await.unwrap();
    api::run::spawn_all(&app);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    app.address.set(address).unwrap();
    let url = format!("http://{address}");
    let router = api::router::router(app.clone());
    let stop = shutdown.token().clone();
    let cut = app.upstreams.closing().clone();
    let lanes = api::lanes::Lanes::start(0).unwrap();
    let serving =
        tokio::spawn(async move { api::serve::serve(listener, router, &config.server, &lanes, stop, &cut).await });

    let key = customer(db.url()).await.key;
    let mut node = join(&url, env).await;
    tokio::time::timeout(PATIENCE, node.ready(2)).await.expect("the node joins").unwrap();
    let caller = Caller { url, key, model: MODEL.to_owned(), progress: Arc::default() };
    until("an answer comes whole", PATIENCE, async || caller.counted().stream(2).await.is_whole().then_some(())).await;

    // 3 s of answer, with a jump in each: an hour ahead, two back, and right again.
    let caller = caller.counted();
    let streams: Vec<_> = (0..4).map(|_| caller.spawn_stream(100)).collect();
    until("all have begun", PATIENCE, async || (caller.progress.begun.load(Ordering::SeqCst) == 4).then_some(())).await;
    let mut answers = Vec::new();
    for offset in [HOUR, -HOUR, 0] {
        clock.set(offset);
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    for stream in streams {
        answers.push(stream.await.unwrap());
    }
    // And work that comes while the clock is wrong, for longer than one heartbeat, finds a place.
    let mut waits = Vec::new();
    for offset in [HOUR, -HOUR, 0] {
        clock.set(offset);
        let (answer, waited) = until("an answer comes whole after the jump", PATIENCE, async || {
            let answer = caller.counted().stream(5).await;
            answer.is_whole().then_some(answer)
        })
        .await;
        answers.push(answer);
        waits.push(waited);
    }
    for answer in &answers {
        assert!(answer.is_whole(), "{answer:?}");
    }
    node.stop().await.unwrap();
    shutdown.begin();
    serving.await.unwrap();
    app.billing.stop().await.unwrap();
    let report = billing::reconcile::reconcile(db.pool()).await.unwrap();
    assert!(report.is_green(), "{report:?}");
    println!("served again {waits:?} after jumps of +1 h, -2 h and back");
}

/// A node in this process, under the same clock.
async fn join(url: &str, env: Env) -> Handle {
    let (folder, broker) = (tempfile::tempdir().unwrap(), url.parse().unwrap());
    let applicant = Applicant {
        name: "Provider".to_owned(),
        slug: "provider".to_owned(),
        contact_email: "ops@provider.example".to_owned(),
        country: "DE".to_owned(),
        terms_version: "1".to_owned(),
        payout_account: None,
    };
    let made =
        register::register(&broker, applicant, &wallet(9), folder.path(), &protocol::Env::system()).await.unwrap();
    let key = std::fs::read_to_string(made.key_file).unwrap();
    let price = |usd| Price::per_million(usd).unwrap();
    let mut offer = OfferConfig::new(MODEL, price("0.10"), price("0.40"));
    offer.context_length = Some(8_192);
    let config = NodeConfig::simulated(broker, made.provider, key.trim().to_owned().into(), offer);
    let latency = Latency { ttft_ms: 20.0, tpot_ms: 30.0, tokens: 400, ..Latency::default() };
    node::start(config, Arc::new(Simulated::new(MODEL, 16, latency)), env)
}

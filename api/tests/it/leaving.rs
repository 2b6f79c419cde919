//! What becomes of an answer when its client leaves, or the broker stops.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use node::engine::Latency;
use serde_json::json;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use crate::live::{Frame, Live, PATIENCE, Setup, chat_body, finish, last_error, until};

#[tokio::test]
async fn a_client_that_leaves_stops_the_engine_and_pays_for_what_it_got() {
    let live = Setup::default().pace(400, 10.0).start().await;
    let mut wire = live.chat(json!({ "stream": true })).await;
    let request = wire.request();
    for _ in 0..5 {
        wire.until_text().await;
    }
    drop(wire);
    live.until_idle(Duration::from_secs(1)).await;
    let billed = live.billed(request).await;
    assert_eq!(billed.outcome, "client_left");
    assert!((5..=110).contains(&billed.completion), "{billed:?}");
    assert!(billed.charge >= billed.completion * 11_000 && billed.attempts[0].earned > 0, "{billed:?}");
    live.books_add_up().await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_first_text_pays_nothing() {
    let mut setup = Setup::default();
    setup.latency = Latency { ttft_ms: 5_000.0, ..setup.latency };
    setup.config.providers.probes_to_activate = 0;
    let live = setup.start().await;
    for stream in [true, false] {
        let asking = live.chat(json!({ "stream": stream }));
        assert!(tokio::time::timeout(Duration::from_millis(200), asking).await.is_err());
        live.until_idle(Duration::from_secs(1)).await;
    }
    assert_eq!(live.charged().await, 0);
    live.books_add_up().await;
}

#[tokio::test]
async fn a_client_that_leaves_a_plain_call_stops_the_engine_too() {
    let live = Setup::default().pace(400, 10.0).start().await;
    let asking = live.chat(json!({}));
    assert!(tokio::time::timeout(Duration::from_millis(400), asking).await.is_err());
    live.until_idle(Duration::from_secs(1)).await;
    let there = async || live.charged().await > 0;
    until("what came until then is billed", Duration::from_secs(2), there).await;
    assert!(live.charged().await < 150 * 11_000);
    live.books_add_up().await;
}

#[tokio::test]
async fn a_broker_that_stops_lets_running_streams_finish() {
    let live = Setup::default().pace(40, 20.0).start().await;
    let mut wire = live.chat(json!({ "stream": true })).await;
    let request = wire.request();
    wire.until_text().await;
    live.begin_stop();
    let frames = wire.frames().await;
    assert_eq!(finish(&frames), ["stop"]);
    assert!(frames.last().is_some_and(Frame::is_done));
    assert_eq!(live.billed(request).await.completion, 40);
    assert!(TcpStream::connect(live.address).await.is_err(), "nothing new is taken");
    live.books_add_up().await;
}

#[tokio::test]
async fn a_client_that_leaves_during_the_keep_alives_stops_the_engine_for_nothing() {
    let mut setup = Setup::default().with(|config| config.gateway.commit_after_ms = 50);
    setup.latency = Latency { ttft_ms: 3_000.0, ..setup.latency };
    setup.config.providers.probes_to_activate = 0;
    let live = setup.start().await;
    let wire = live.chat(json!({ "stream": true })).await;
    let request = wire.request();
    until("the engine works", PATIENCE, async || live.active() == 1).await;
    drop(wire);
    live.until_idle(Duration::from_secs(1)).await;
    let billed = live.billed(request).await;
    assert_eq!((billed.outcome.as_str(), billed.charge), ("cancelled", 0));
    live.books_add_up().await;
}

/// A connection that carries several streams at once.
struct Shared<'a> {
    live: &'a Live,
    sender: http2::SendRequest<Full<Bytes>>,
    _driver: AbortOnDropHandle<()>,
}

impl<'a> Shared<'a> {
    async fn connect(live: &'a Live) -> Self {
        let socket = TcpStream::connect(live.address).await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
        let driver = AbortOnDropHandle::new(tokio::spawn(async move { connection.await.unwrap_or_default() }));
        Self { live, sender, _driver: driver }
    }

    async fn ask(&self, mut fields: serde_json::Value) -> Response<Incoming> {
        fields["stream"] = true.into();
        let request = Request::post(format!("http://{}/v1/chat/completions", self.live.address))
            .header("authorization", format!("Bearer {}", self.live.key))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(chat_body(fields).to_string())));
        self.sender.clone().send_request(request.unwrap()).await.unwrap()
    }
}

#[tokio::test]
async fn a_stream_nobody_reads_on_a_shared_connection_is_cut_off_and_frees_its_engine() {
    let setup = Setup { usd: "500.00", ..Setup::default() }.pace(30_000, 0.0);
    let live = setup.with(|config| config.server.client_stall_timeout_ms = 400).start().await;
    let shared = Shared::connect(&live).await;
    let unread = shared.ask(json!({ "max_tokens": 30_000 })).await;
    let request = unread.headers()["x-request-id"].to_str().unwrap().parse().unwrap();
    until("the engine works", PATIENCE, async || live.active() == 1).await;
    live.until_idle(Duration::from_secs(3)).await;
    let billed = live.billed(request).await;
    assert_eq!(billed.outcome, "client_left");
    assert!((1..30_000).contains(&billed.completion), "{billed:?}");
    // What comes late sees that the stream was cut, not a clean end.
    assert!(unread.into_body().collect().await.is_err());
    live.books_add_up().await;
}

#[tokio::test]
async fn a_stream_cancelled_on_a_shared_connection_leaves_its_neighbours_alone() {
    let live = Setup::default().pace(60, 20.0).start().await;
    let shared = Shared::connect(&live).await;
    let (kept, mut left) = tokio::join!(shared.ask(json!({})), shared.ask(json!({})));
    left.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(live.active(), 2);
    drop(left);
    until("the engine stops one", Duration::from_secs(1), async || live.active() == 1).await;
    let text = kept.into_body().collect().await.unwrap().to_bytes();
    assert!(text.ends_with(b"data: [DONE]\n\n"));
    until("both are in the books", PATIENCE, async || live.settled().await == 2).await;
    live.books_add_up().await;
}

#[tokio::test]
async fn an_answer_that_outlasts_the_stop_is_told_so_in_band_and_the_books_add_up() {
    let setup = Setup::default().with(|config| config.server.drain_timeout_ms = 200);
    let mut live = setup.pace(2_000, 10.0).start().await;
    let mut wire = live.chat(json!({ "stream": true })).await;
    let request = wire.request();
    wire.until_text().await;
    let (frames, ()) = tokio::join!(wire.frames(), live.stop());
    assert_eq!(last_error(&frames)["type"], "server_error");
    let db = live.reopened().await;
    let billed = sqlx::query!(
        r#"select usage.outcome, charge_nano_usd, earn_nano_usd from usage join attempts using (request_id)
            where request_id = $1"#,
        protocol::Id::uuid(request),
    );
    let billed = billed.fetch_one(&db).await.unwrap();
    assert_eq!((billed.outcome.as_str(), billed.charge_nano_usd), ("cancelled", 0));
    assert!(billed.earn_nano_usd > 0, "the node did no wrong");
    let report = billing::reconcile::reconcile(&db).await.unwrap();
    assert!(report.is_green(), "{report:#?}");
}

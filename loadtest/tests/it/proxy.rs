use std::time::{Duration, Instant};

use loadtest::client::{Client, Ended};
use loadtest::engine::{self, ModelSpec, Models};
use loadtest::proxy;
use loadtest::scenario::Ask;
use node::engine::Faults;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::server::{DONE, ROLE, STOP, STREAM_HEAD, Server, WORD, chunk};

pub struct Running {
    pub url: Url,
    stop: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub async fn proxy(upstream: Url) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move { proxy::run(listener, &upstream, token).await.unwrap() });
    Running { url, stop }
}

pub async fn engine(model: &[&str], faults: Faults) -> (Running, Models) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let stop = CancellationToken::new();
    let models = Models::new(&models(model), 64, faults);
    tokio::spawn(engine::run(listener, models.clone(), stop.clone()));
    (Running { url, stop }, models)
}

fn models(texts: &[&str]) -> Vec<ModelSpec> {
    texts.iter().map(|text| ModelSpec::parse(text).unwrap()).collect()
}

/// The upstream sends the next chunk only after the test has seen the one before: a proxy that
/// collected chunks would wait for ever.
#[tokio::test]
async fn each_chunk_passes_before_the_next_is_sent() {
    let (tell, told) = tokio::sync::mpsc::channel::<()>(1);
    let told = std::sync::Arc::new(tokio::sync::Mutex::new(told));
    let server = Server::start(move |_, mut stream| {
        let told = told.clone();
        async move {
            stream.write_all(STREAM_HEAD.as_bytes()).await.unwrap();
            for event in [ROLE, WORD, WORD, STOP, DONE] {
                chunk(&mut stream, event).await;
                told.lock().await.recv().await;
            }
            stream.write_all(b"0\r\n\r\n").await.unwrap();
            Some(stream)
        }
    })
    .await;
    let proxy = proxy(server.url()).await;
    let mut socket = tokio::net::TcpStream::connect(proxy.url.socket_addrs(|| None).unwrap()[0]).await.unwrap();
    socket.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
    let mut text = String::new();
    for event in [ROLE, WORD, WORD, STOP, DONE] {
        let before = text.len();
        while !text[before..].contains(event) {
            let mut piece = [0; 4096];
            let read = tokio::io::AsyncReadExt::read(&mut socket, &mut piece);
            let count = tokio::time::timeout(Duration::from_secs(5), read).await.unwrap().unwrap();
            assert!(count > 0, "closed after {text}");
            text.push_str(std::str::from_utf8(&piece[..count]).unwrap());
        }
        tell.send(()).await.unwrap();
    }
}

#[tokio::test]
async fn an_engine_behind_the_proxy_streams_and_answers() {
    let (engine, models) = engine(&["m,ttft_ms=0,tpot_ms=2"], Faults::default()).await;
    let proxy = proxy(engine.url.clone()).await;
    let client = Client::connect(&proxy.url, None, 8).await.unwrap();
    let streamed = client.chat(&Ask::chat("m", "hello", 20, true), Instant::now()).await;
    assert_eq!(streamed.ended, Ended::Complete { finish_reason: "length".into() });
    assert_eq!(streamed.chunks, 20);
    let whole = client.chat(&Ask::chat("m", "hello", 20, false), Instant::now()).await;
    assert_eq!(whole.ended, Ended::Complete { finish_reason: "length".into() });
    assert!(matches!(
        client.chat(&Ask::chat("other", "x", 1, false), Instant::now()).await.ended,
        Ended::Refused { .. }
    ));
    assert_eq!(models.get("m").unwrap().calls(), 2);
}

#[tokio::test]
async fn a_client_that_leaves_frees_the_engine_behind_the_proxy() {
    let (engine, models) = engine(&["m,ttft_ms=0,tpot_ms=5"], Faults::default()).await;
    let proxy = proxy(engine.url.clone()).await;
    let client = Client::connect(&proxy.url, None, 8).await.unwrap();
    let mut ask = Ask::chat("m", "hello", 100_000, true);
    ask.leave_after = Some(3);
    assert_eq!(client.chat(&ask, Instant::now()).await.ended, Ended::Left);
    let deadline = Instant::now() + Duration::from_secs(5);
    while models.get("m").unwrap().active() > 0 {
        assert!(Instant::now() < deadline, "the engine still works for nobody");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_stream_the_engine_cuts_is_counted_as_broken() {
    let faults = engine::faults(Some(r#"{"kind":"close_after","chunks":3}"#), 1).unwrap();
    let (engine, _) = engine(&["m,ttft_ms=0,tpot_ms=1"], faults).await;
    let proxy = proxy(engine.url.clone()).await;
    let client = Client::connect(&proxy.url, None, 8).await.unwrap();
    let answer = client.chat(&Ask::chat("m", "hello", 20, true), Instant::now()).await;
    assert!(matches!(answer.ended, Ended::Broken { .. }), "{:?}", answer.ended);
    // What was written just before the cut may be lost with the connection; nothing after it can come.
    assert!(answer.chunks <= 3, "{}", answer.chunks);
}

#[test]
fn a_model_says_what_is_wrong_with_it() {
    let spec = ModelSpec::parse("org/name,tpot_ms=5,tokens=7").unwrap();
    assert_eq!((spec.name.as_str(), spec.latency.tokens), ("org/name", 7));
    assert!((spec.latency.tpot_ms - 5.0).abs() < f64::EPSILON);
    for (text, part) in [("", "name"), ("m,speed=1", "speed"), ("m,tokens=x", "tokens"), ("m,fast", "fast")] {
        let error = ModelSpec::parse(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}

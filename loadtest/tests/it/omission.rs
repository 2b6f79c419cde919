//! Times count from the intended start.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use loadtest::client::Client;
use loadtest::run;
use loadtest::scenario::{Ask, Scenario};

use crate::server::{Server, json};

const STALL: Duration = Duration::from_millis(600);
const BODY: &str = r#"{"id":"a","choices":[{"finish_reason":"stop"}]}"#;

/// Answers at once, but for one stall during which nothing is answered.
async fn stalling(at_request: u32) -> Server {
    let count = Arc::new(AtomicU32::new(0));
    let gate = Arc::new(tokio::sync::Mutex::new(()));
    Server::start(move |_, mut stream| {
        let (count, gate) = (Arc::clone(&count), Arc::clone(&gate));
        async move {
            let held = gate.lock().await;
            if count.fetch_add(1, Ordering::Relaxed) == at_request {
                tokio::time::sleep(STALL).await;
            }
            drop(held);
            json(&mut stream, "200 OK", BODY).await;
            Some(stream)
        }
    })
    .await
}

fn scenario(connections: usize) -> Scenario {
    Scenario::parse(&format!(
        r#"
        name = "stall"
        model = "m"
        duration_s = 2
        connections = {connections}
        arrivals = {{ kind = "constant", rate_per_s = 200 }}
        [[mix]]
        share = 1
        stream = false
        prompt_words = 3
        output_tokens = 1
        "#
    ))
    .unwrap()
}

/// A third of the run is stalled: who came then waited, on average, half the stall.
#[tokio::test]
async fn a_stall_shows_in_the_tail_of_an_open_loop() {
    // With one connection everything queues inside the client: that must not hide it either.
    for connections in [256, 1] {
        let server = stalling(100).await;
        let client = Arc::new(Client::connect(&server.url(), None, connections).await.unwrap());
        let record = run::open_loop(&client, &scenario(connections)).await;
        assert_eq!((record.complete, record.failures()), (399, 0), "{record:?}");
        // 120 of 400 requests were meant to start in the stall.
        assert!(record.total.percentile_us(90.0) > 150_000, "p90 {}", record.total.percentile_us(90.0));
        assert!(record.total.max_us() > 500_000, "max {}", record.total.max_us());
    }
}

/// The same stall as a polite client sees it: one slow answer. That is why rates and percentiles come from different loops.
#[tokio::test]
async fn a_closed_loop_hardly_sees_the_stall() {
    let server = stalling(100).await;
    let client = Arc::new(Client::connect(&server.url(), None, 1).await.unwrap());
    let record = run::closed_loop(&client, &Ask::chat("m", "x", 1, false), 1, Duration::from_millis(1_500)).await;
    assert!(record.complete > 300, "{}", record.complete);
    assert!(record.total.percentile_us(90.0) < 150_000);
}

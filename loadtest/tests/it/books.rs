//! The money check against a ledger that is right, late or wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use loadtest::books;
use loadtest::client::Client;
use loadtest::decimal;
use loadtest::record::Record;
use protocol::NanoUsd;

use crate::server::{Server, json};

/// A ledger that reports each of `totals` once and then keeps to the last, and knows one generation.
async fn ledger(totals: &'static [&'static str]) -> Server {
    let asked = Arc::new(AtomicU32::new(0));
    Server::start(move |request, mut stream| {
        let asked = Arc::clone(&asked);
        async move {
            let line = request.lines().next().unwrap().to_owned();
            if line.starts_with("GET /v1/credits ") {
                let turn = asked.fetch_add(1, Ordering::Relaxed) as usize;
                let total = totals[turn.min(totals.len() - 1)];
                let body = format!(r#"{{"data":{{"total_credits":"5.00","total_usage":"{total}"}}}}"#);
                json(&mut stream, "200 OK", &body).await;
            } else if line.starts_with("GET /v1/generation?id=chatcmpl-known ") {
                json(&mut stream, "200 OK", r#"{"data":{"id":"chatcmpl-known","total_cost":"0.000000003"}}"#).await;
            } else {
                json(&mut stream, "404 Not Found", r#"{"error":{"code":"not_found"}}"#).await;
            }
            Some(stream)
        }
    })
    .await
}

fn seen() -> Record {
    let cost = decimal::parse("0.000000010").unwrap();
    Record { cost, unpriced: vec!["chatcmpl-known".into(), "chatcmpl-refused".into()], ..Record::default() }
}

#[tokio::test]
async fn costs_seen_and_costs_looked_up_add_up_to_what_was_booked() {
    // The books trail the answers for a while.
    let server = ledger(&["1.00", "1.000000004", "1.000000013"]).await;
    let client = Client::connect(&server.url(), Some("sk"), 4).await.unwrap();
    let before = books::total_usage(&client).await.unwrap();
    assert_eq!(before, NanoUsd::from_dollars(1));
    let verdict = books::check(&client, before, &seen()).await.unwrap();
    assert!(verdict.agrees(), "{verdict}");
    assert_eq!((verdict.looked_up_count, verdict.unknown), (2, 1));
    assert!(verdict.to_string().starts_with("money PASS"), "{verdict}");
}

#[test]
fn a_billionth_too_much_is_a_failure() {
    let nano = |nano| NanoUsd::new(nano).unwrap();
    let verdict =
        books::Verdict { seen: nano(10), looked_up: nano(3), looked_up_count: 1, unknown: 0, booked: nano(14) };
    assert!(!verdict.agrees());
    assert!(verdict.to_string().starts_with("money FAIL"), "{verdict}");
}

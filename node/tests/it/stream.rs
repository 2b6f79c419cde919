//! Requests through the tunnel: chunk by chunk, cancelled, refused, reported.

use std::time::{Duration, Instant};

use http::StatusCode;
use http_body_util::BodyExt;
use node::engine::{Fault, Faults};
use protocol::load::ReplicaFrame;
use protocol::receipt::ReportStatus;
use protocol::{Units, header};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::broker::{Broker, say};
use crate::eventually;
use crate::join::{config, engine, joined};

#[tokio::test]
async fn an_answer_comes_chunk_by_chunk_and_is_reported_signed() {
    let broker = Broker::start().await;
    let engine = engine(4, 10, 30.0);
    let handle = joined(&broker, config(&broker), &engine, 4).await;
    let chat = json!({"messages": [{"role": "user", "content": "hello"}], "stream": true,
        "stream_options": {"include_usage": true}});
    let (attempt, request) = broker.chat(&chat);
    let mut response = broker.tunnel().send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    let (mut text, mut arrivals) = (Vec::new(), Vec::new());
    while let Some(frame) = response.body_mut().frame().await {
        let data = frame.unwrap().into_data().unwrap();
        let tokens = data.windows(11).filter(|w| w == b"\"content\":\"").count();
        assert!(tokens <= 1, "chunks come one by one, not in lumps");
        arrivals.extend((tokens == 1).then(Instant::now));
        text.extend_from_slice(&data);
    }
    assert_eq!(arrivals.len(), 10);
    let span = arrivals[9] - arrivals[0];
    assert!(span >= Duration::from_millis(200), "spread over their time, not sent at the end: {span:?}");
    assert!(text.ends_with(b"data: [DONE]\n\n"));
    eventually("the report", || broker.report(attempt).is_some()).await;
    let report = broker.report(attempt).unwrap().report;
    assert_eq!(report.status, ReportStatus::Completed);
    assert_eq!((report.units.completion, report.units.request), (10, 1));
    assert!(report.units.prompt > 0 && report.finished_at_ms > report.started_at_ms);
    assert_eq!(report.request_sha256.to_string(), hex::encode(Sha256::digest(chat.to_string())));
    assert_eq!(report.response_sha256.to_string(), hex::encode(Sha256::digest(&text)));
    handle.stop().await.unwrap();
}

#[tokio::test]
async fn a_plain_answer_is_counted_too() {
    let broker = Broker::start().await;
    let engine = engine(4, 6, 1.0);
    let handle = joined(&broker, config(&broker), &engine, 4).await;
    let (attempt, request) = broker.chat(&json!({"messages": [], "max_tokens": 3}));
    let response = broker.tunnel().send_request(request).await.unwrap();
    let body: serde_json::Value =
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(body["choices"][0]["finish_reason"], "length");
    assert_eq!(body["choices"][0]["message"]["content"], "This answer is");
    eventually("the report", || broker.report(attempt).is_some()).await;
    assert_eq!(broker.report(attempt).unwrap().report.units.completion, 3);
    handle.stop().await.unwrap();
}

#[tokio::test]
async fn letting_go_of_a_stream_reaches_the_engine() {
    let broker = Broker::start().await;
    let engine = engine(64, 10_000, 10.0);
    let handle = joined(&broker, config(&broker), &engine, 64).await;
    let mut open = Vec::new();
    for _ in 0..20 {
        let (attempt, request) = broker.chat(&json!({"messages": [], "stream": true}));
        let mut response = broker.tunnel().send_request(request).await.unwrap();
        response.body_mut().frame().await.unwrap().unwrap();
        open.push((attempt, response));
    }
    assert_eq!(engine.active(), 20);
    let attempts: Vec<_> = open.into_iter().map(|(attempt, _)| attempt).collect();
    let let_go = Instant::now();
    eventually("an idle engine", || engine.active() == 0).await;
    assert!(let_go.elapsed() < Duration::from_secs(1), "{:?}", let_go.elapsed());
    eventually("all reports", || attempts.iter().all(|attempt| broker.report(*attempt).is_some())).await;
    assert_eq!(broker.report(attempts[0]).unwrap().report.status, ReportStatus::Cancelled);
    handle.stop().await.unwrap();
}

#[tokio::test]
async fn letting_go_before_the_first_byte_reaches_the_engine_too() {
    let broker = Broker::start().await;
    let engine = engine(4, 10, 10.0);
    engine.set_faults(Faults::once(Fault::HangBeforeHeaders));
    let handle = joined(&broker, config(&broker), &engine, 4).await;
    let (attempt, request) = broker.chat(&json!({"messages": [], "stream": true}));
    let mut tunnel = broker.tunnel();
    let asking = tokio::spawn(async move { tunnel.send_request(request).await });
    eventually("the request at the engine", || engine.active() == 1).await;
    asking.abort();
    eventually("an idle engine", || engine.active() == 0).await;
    eventually("the report", || broker.report(attempt).is_some()).await;
    assert_eq!(broker.report(attempt).unwrap().report.units, Units::default());
    handle.stop().await.unwrap();
}

#[tokio::test]
async fn beyond_its_slots_a_node_refuses_at_once() {
    let broker = Broker::start().await;
    let engine = engine(2, 10_000, 10.0);
    let handle = joined(&broker, config(&broker), &engine, 2).await;
    let chat = json!({"messages": [], "stream": true});
    let mut running = Vec::new();
    for _ in 0..2 {
        running.push(broker.tunnel().send_request(broker.chat(&chat).1).await.unwrap());
    }
    let refused = broker.tunnel().send_request(broker.chat(&chat).1).await.unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()[header::REFUSED], "credit");
    running.pop();
    eventually("a free slot", || engine.active() == 1).await;
    let again = broker.tunnel().send_request(broker.chat(&chat).1).await.unwrap();
    assert_eq!(again.status(), StatusCode::OK);
    drop((running, again));
    handle.stop().await.unwrap();
}

#[tokio::test]
async fn credits_flow_over_the_control_stream() {
    let broker = Broker::start().await;
    let engine = engine(3, 10_000, 10.0);
    let handle = joined(&broker, config(&broker), &engine, 3).await;
    let (to_node, mut frames) = broker.control("replica-a").await;
    say(&to_node, &ReplicaFrame::Hello { running: 0 });
    assert_eq!(frames.limit().await, 3);
    let dispatch = |number: u64| {
        let (_, mut request) = broker.chat(&json!({"messages": [], "stream": true}));
        request.headers_mut().insert(header::REPLICA, "replica-a".parse().unwrap());
        request.headers_mut().insert(header::DISPATCH, number.into());
        request
    };
    let mut running = Vec::new();
    for number in 1..=3 {
        let response = broker.tunnel().send_request(dispatch(number)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        running.push(response);
    }
    let refused = broker.tunnel().send_request(dispatch(4)).await.unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    running.clear();
    // Three finished and one was refused: all four come back as credit.
    while frames.limit().await < 7 {}
    let load = loop {
        if let protocol::load::NodeFrame::Load(load) = frames.next().await
            && load.running == 0
        {
            break load;
        }
    };
    assert_eq!((load.seen, load.kv_free_permille), (4, 1_000));
    handle.stop().await.unwrap();
}

#[tokio::test]
async fn an_engine_in_trouble_is_reported_as_failed() {
    let broker = Broker::start().await;
    let engine = engine(4, 10, 1.0);
    let handle = joined(&broker, config(&broker), &engine, 4).await;
    let chat = json!({"messages": [], "stream": true});
    for (fault, status, breaks) in [
        (Fault::Refuse { status: 503 }, 503, false),
        (Fault::CloseAfter { chunks: 3 }, 200, true),
        (Fault::ErrorAfter { chunks: 3 }, 200, false),
        (Fault::GarbageAfter { chunks: 2 }, 200, false),
        (Fault::Die { after_chunks: 0 }, 502, false),
    ] {
        engine.set_faults(Faults::once(fault));
        let (attempt, request) = broker.chat(&chat);
        let response = broker.tunnel().send_request(request).await.unwrap();
        assert_eq!(response.status(), status, "{fault:?}");
        assert_eq!(response.into_body().collect().await.is_err(), breaks, "{fault:?}");
        eventually("the report", || broker.report(attempt).is_some()).await;
        assert_eq!(broker.report(attempt).unwrap().report.status, ReportStatus::Failed, "{fault:?}");
    }
    eventually("the broker knows that it is dead", || !broker.seen.lock().offers[0].spec.is_ready).await;
    engine.revive();
    eventually("the broker knows that it lives", || broker.seen.lock().offers[0].spec.is_ready).await;
    handle.stop().await.unwrap();
}

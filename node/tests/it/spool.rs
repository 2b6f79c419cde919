//! Reports outlive everything but their delivery.

use std::fs;
use std::io::Write;

use node::spool::Spool;
use protocol::receipt::{BodyDigest, ReportStatus, SignedReport, UsageReport};
use protocol::wallet::Wallet;
use protocol::{AttemptId, Id, NodeId, OfferId, RequestId, Units};
use uuid::Uuid;

use crate::broker::{Broker, DOMAIN};
use crate::eventually;
use crate::join::{config, engine, joined};

fn report(n: u128) -> SignedReport {
    let report = UsageReport {
        attempt: AttemptId::from_uuid(Uuid::from_u128(n)),
        request: RequestId::from_uuid(Uuid::from_u128(n)),
        node: NodeId::from_uuid(Uuid::from_u128(1)),
        offer: OfferId::from_uuid(Uuid::from_u128(1)),
        price_version: 1,
        units: Units::default(),
        started_at_ms: 1,
        finished_at_ms: 2,
        status: ReportStatus::Completed,
        request_sha256: BodyDigest::default(),
        response_sha256: BodyDigest::default(),
    };
    report.sign(&Wallet::from_bytes(&[1; 32]).unwrap(), &DOMAIN, None)
}

fn attempts(spool: &mut Spool, most: usize) -> Vec<u128> {
    spool.peek(most).unwrap().reports.iter().map(|signed| signed.report.attempt.uuid().as_u128()).collect()
}

#[test]
fn what_was_kept_is_there_after_a_crash_and_leaves_only_when_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path()).unwrap();
    spool.append(&[report(1), report(2), report(3)]).unwrap();
    // A crash in the middle of a line: never acknowledged, so it may go.
    let segment = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    fs::File::options().append(true).open(&segment).unwrap().write_all(b"{\"report\":{\"att").unwrap();
    drop(spool);

    let mut spool = Spool::open(folder.path()).unwrap();
    spool.append(&[report(4)]).unwrap();
    assert_eq!(attempts(&mut spool, 10), [1, 2, 3, 4]);
    let batch = spool.peek(2).unwrap();
    spool.delivered(&batch).unwrap();
    drop(spool);

    let mut spool = Spool::open(folder.path()).unwrap();
    assert_eq!(attempts(&mut spool, 10), [3, 4]);
    let batch = spool.peek(10).unwrap();
    spool.delivered(&batch).unwrap();
    assert!(attempts(&mut spool, 10).is_empty());
    spool.append(&[report(5)]).unwrap();
    assert_eq!(attempts(&mut spool, 10), [5]);
}

#[test]
fn delivered_segments_free_their_disk() {
    let folder = tempfile::tempdir().unwrap();
    let segments = || {
        fs::read_dir(folder.path())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with("reports-"))
            .count()
    };
    for round in 0..4 {
        let mut spool = Spool::open(folder.path()).unwrap();
        spool.append(&[report(round)]).unwrap();
    }
    assert_eq!(segments(), 4);
    let mut spool = Spool::open(folder.path()).unwrap();
    let batch = spool.peek(500).unwrap();
    assert_eq!(batch.reports.len(), 4);
    spool.delivered(&batch).unwrap();
    assert!(segments() <= 2);
}

#[tokio::test]
async fn a_killed_node_delivers_its_reports_at_its_next_start() {
    let broker = Broker::start().await;
    broker.seen.lock().refuse_reports = true;
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&broker);
    config.state_dir = Some(folder.path().to_owned());
    let engine = engine(4, 2, 1.0);
    let first = joined(&broker, config.clone(), &engine, 4).await;
    let (attempt, request) = broker.chat(&serde_json::json!({"messages": [], "stream": true}));
    let response = broker.tunnel().send_request(request).await.unwrap();
    http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
    let reports = folder.path().join("reports");
    let kept = || fs::read_dir(&reports).unwrap().any(|e| e.unwrap().metadata().unwrap().len() > 0);
    eventually("the report on disk", kept).await;
    let key = broker.seen.lock().node.unwrap().1;
    first.kill();

    broker.seen.lock().refuse_reports = false;
    broker.seen.lock().tunnels.clear();
    let second = joined(&broker, config, &engine, 4).await;
    assert_eq!(broker.seen.lock().node.unwrap().1, key, "the same key, so the same node");
    eventually("the report", || broker.report(attempt).is_some()).await;
    second.stop().await.unwrap();
}

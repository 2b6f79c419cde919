//! Each attempt has its receipt once, whoever dies; and what is wrong waits for a person.

use std::time::Duration;

use billing::receipt::{cases, issue, run};
use billing::store::receipts::Kept;
use billing::store::{payees, receipt_cases, receipts, reports};
use billing::{Booked, Outcome, Receipts, ReceiptsConfig, Settlement, Ticket};
use protocol::receipt::{BodyDigest, ReportStatus, SignedReport, UsageReport};
use protocol::typed::Typed as _;
use protocol::{AttemptId, CaseId, NanoUsd, ProviderId, RequestId, Units};

use crate::fixture::{World, id, nano, wallet};

const HOUR: Duration = Duration::from_secs(3_600);

/// Receipts under a secret of their own.
pub fn receipts_of(world: &World) -> Receipts {
    let config = ReceiptsConfig { secret: Some("07".repeat(32).into()), ..ReceiptsConfig::default() };
    Receipts::new(world.db.pool().clone(), world.env.clone(), config).unwrap().unwrap()
}

/// The provider of the fixture, known to payouts for a hundred days.
pub async fn known(world: &World) {
    let mut conn = world.db.acquire().await.unwrap();
    let since = world.env.now().minus(HOUR * 2_400);
    payees::open(&mut conn, provider(), wallet(1).address(), since).await.unwrap();
}

pub fn provider() -> ProviderId {
    id(5)
}

/// What the fixture's node says of an attempt, under the key made of 6.
pub fn reported(attempt: AttemptId, request: RequestId, completion: u32, ticket: Option<String>) -> SignedReport {
    let report = UsageReport {
        attempt,
        request,
        node: id(6),
        offer: id(9),
        price_version: 1,
        units: Units { completion, request: 1, ..Units::default() },
        started_at_ms: 1_700_000_000_000,
        finished_at_ms: 1_700_000_001_000,
        status: ReportStatus::Completed,
        request_sha256: BodyDigest::default(),
        response_sha256: BodyDigest::default(),
    };
    report.sign(&wallet(6), &ReceiptsConfig::default().domain(), ticket)
}

/// Settles an attempt that earns `cost` nano-USD, which its node reports as `told`.
pub async fn work(world: &World, cost: u32, told: Option<u32>) -> AttemptId {
    // Days may have passed by this clock, and a lease lives a minute.
    world.billing.renew().await.unwrap();
    let hold = world.hold(i64::from(cost)).await.unwrap();
    let settled: Settlement = world.settlement(cost);
    let attempt = settled.attempts[0].attempt;
    if let Some(told) = told {
        let mut conn = world.db.acquire().await.unwrap();
        let report = reported(attempt, hold.request(), told, None);
        reports::keep(&mut conn, provider(), &report, world.env.now()).await.unwrap();
    }
    assert_eq!(hold.settle(settled).await, Booked::Durable);
    attempt
}

/// Judges and gives what is due after an hour.
pub async fn give(world: &World, receipts: &Receipts) -> issue::Given {
    world.clock.advance(HOUR);
    billing::run::judge_reports(&world.db, world.env.now()).await.unwrap();
    issue::advance(receipts, world.env.now()).await.unwrap()
}

async fn all(world: &World) -> Vec<Kept> {
    let mut conn = world.db.acquire().await.unwrap();
    receipts::list_of(&mut conn, provider(), None, 100).await.unwrap()
}

#[tokio::test]
async fn every_attempt_has_its_receipt_once_with_both_signatures() {
    let world = World::new(180).await;
    world.fund(id(1), 1_000_000).await;
    known(&world).await;
    let receipts = receipts_of(&world);
    let silent = work(&world, 100, None).await;
    world.clock.advance(Duration::from_secs(1));
    let apart = work(&world, 1_000, Some(1_100)).await;
    world.clock.advance(Duration::from_secs(1));
    let good = work(&world, 200, Some(200)).await;
    assert_eq!(issue::advance(&receipts, world.env.now()).await.unwrap().receipts, 0, "nodes have their time");
    assert_eq!(give(&world, &receipts).await.receipts, 3);
    assert_eq!(give(&world, &receipts).await.receipts, 0, "each once");
    let given = all(&world).await;
    let flags: Vec<_> = given
        .iter()
        .map(|kept| &kept.issued.receipt)
        .map(|receipt| (receipt.attempt, receipt.is_unsigned, receipt.is_apart, receipt.net.nano()))
        .collect();
    assert_eq!(flags, [(good, false, false, 200), (apart, false, true, 1_000), (silent, true, false, 100)]);
    for kept in &given {
        let receipt = &kept.issued.receipt;
        assert_eq!(kept.issued.signature.recover(&receipt.digest(receipts.domain())), Ok(receipts.signer()));
        assert_eq!(kept.issued.report.is_some(), !receipt.is_unsigned);
        assert_eq!(kept.release_at.unix_ms() - receipt.settled_at_ms, 72 * 3_600_000);
    }
    world.assert_green().await;
}

#[tokio::test]
async fn an_attempt_that_comes_late_has_its_receipt_too() {
    let world = World::new(181).await;
    world.fund(id(1), 1_000_000).await;
    known(&world).await;
    let receipts = receipts_of(&world);
    // Asked for now, and in the books only after the cursor has passed it, as when the database was away.
    let hold = world.hold(500).await.unwrap();
    let late = world.settlement(500);
    world.clock.advance(HOUR);
    work(&world, 10, None).await;
    assert_eq!(give(&world, &receipts).await.receipts, 1);
    assert_eq!(hold.settle(late).await, Booked::Durable);
    assert_eq!(give(&world, &receipts).await.receipts, 0);
    assert_eq!(issue::sweep(&receipts, world.env.now()).await.unwrap().receipts, 1);
    assert_eq!(issue::sweep(&receipts, world.env.now()).await.unwrap().receipts, 0);
    world.assert_green().await;
}

#[tokio::test]
async fn what_a_dead_replica_had_under_way_is_paid_by_report_and_ticket_and_costs_its_user_nothing() {
    let world = World::new(182).await;
    world.fund(id(1), 1_000_000).await;
    known(&world).await;
    let receipts = receipts_of(&world);
    let (request, now) = (world.env.mint::<RequestId>(), world.env.now());
    let ticket = |attempt| Ticket {
        attempt,
        request,
        provider: provider(),
        node: id(6),
        offer: id(9),
        price_version: 1,
        organization: id(1),
        project: id(1),
        key: id(1),
        prompt: 0,
        output: 60,
        streamed: true,
        requests: 1,
    };
    // The node says 80 where 60 could be asked for; another report has a ticket of its own making, one has none.
    let lost: AttemptId = world.env.mint();
    let sealed = receipts.seal(&ticket(lost), now);
    let forged: AttemptId = world.env.mint();
    let bare: AttemptId = world.env.mint();
    let mut conn = world.db.acquire().await.unwrap();
    for report in [
        reported(lost, request, 80, Some(sealed.clone())),
        reported(forged, world.env.mint(), 80, Some(sealed)),
        reported(bare, world.env.mint(), 80, None),
    ] {
        reports::keep(&mut conn, provider(), &report, world.env.now()).await.unwrap();
    }
    let given = give(&world, &receipts).await;
    assert_eq!((given.recovered, given.receipts), (1, 1));
    let kept = &all(&world).await[0];
    let receipt = &kept.issued.receipt;
    assert!(receipt.is_recovered && receipt.outcome == Outcome::GatewayFault.as_str());
    assert_eq!((receipt.units.completion, receipt.net.nano(), receipt.fee), (60, 60, NanoUsd::ZERO));
    assert_eq!(world.available(id(1)).await, 1_000_000, "the user pays nothing");
    assert_eq!(world.count("unrecovered_reports").await, 2);
    // A settle that comes after all inserts nothing.
    assert_eq!(issue::sweep(&receipts, world.env.now()).await.unwrap(), issue::Given::default());
    world.assert_green().await;
}

#[tokio::test]
async fn figures_that_are_no_chance_open_one_case() {
    let world = World::new(183).await;
    world.fund(id(1), 10_000_000).await;
    known(&world).await;
    let receipts = receipts_of(&world);
    for _ in 0..10 {
        work(&world, 1_000, Some(2_000)).await;
    }
    give(&world, &receipts).await;
    assert_eq!(run::suspect(&receipts, world.env.now()).await.unwrap(), 1);
    assert_eq!(run::suspect(&receipts, world.env.now()).await.unwrap(), 0);
    let mut conn = world.db.acquire().await.unwrap();
    let open = receipt_cases::list_open(&mut conn, 10).await.unwrap();
    assert_eq!((open.len(), open[0].kind.as_str()), (1, "apart"));
    assert!(open[0].reason.starts_with("10 of 10"), "{}", open[0].reason);
}

#[tokio::test]
async fn a_dispute_that_is_upheld_is_owed_on_top_and_decided_once() {
    let world = World::new(184).await;
    world.fund(id(1), 1_000_000).await;
    known(&world).await;
    let receipts = receipts_of(&world);
    work(&world, 100, None).await;
    give(&world, &receipts).await;
    let receipt = all(&world).await[0].issued.receipt.id();
    let mut conn = world.db.acquire().await.unwrap();
    let (case, now) = (world.env.mint::<CaseId>(), world.env.now());
    let opened = receipt_cases::dispute(&mut conn, case, provider(), receipt, "150 were made", now).await.unwrap();
    assert_eq!(opened, Some(case));
    let again = receipt_cases::dispute(&mut conn, world.env.mint(), provider(), receipt, "more", now).await.unwrap();
    assert_eq!(again, None, "one word against each");
    let decided = cases::decide(&receipts, case, true, nano(50), now).await.unwrap();
    assert_eq!((decided.receipt, decided.adjustment), (Some(receipt), nano(50)));
    assert!(matches!(cases::decide(&receipts, case, false, nano(0), now).await, Err(billing::Error::NoCase { .. })));
    let payable = billing::account::LedgerAccount::payable(provider());
    let turnover = billing::store::transfers::turnover(&mut conn, payable).await.unwrap();
    assert_eq!(turnover.balance(payable.kind), 150);
    world.assert_green().await;
}

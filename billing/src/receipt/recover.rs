//! Pays attempts whose replica died before it could settle them: by the node's report and the broker's own ticket.

use std::collections::BTreeMap;

use protocol::receipt::{ReportStatus, SignedReport};
use protocol::{CaseId, NanoUsd, RequestId, Timestamp, Units};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Receipts, Ticket};
use crate::Error;
use crate::outcome::{CostKind, CountedBy, Earning, Outcome};
use crate::store::receipt_cases::{self, CaseKind};
use crate::store::reports::{self, RECOVERED};
use crate::store::rows::{AttemptRow, UsageRow};
use crate::store::{flush, prices};

/// Reports looked at in one transaction.
const AT_ONCE: i64 = 500;

/// A report that counts for an attempt nobody settled.
struct Found {
    ticket: Ticket,
    row: AttemptRow,
    model: String,
}

/// Books what is known only by reports of attempts between two ids. The user pays nothing: no such answer was seen
/// whole. Returns how many attempts.
pub(super) async fn recover(
    receipts: &Receipts,
    conn: &mut PgConnection,
    from: Uuid,
    to: Uuid,
    now: Timestamp,
) -> Result<u64, Error> {
    let orphans = reports::list_orphans(conn, from, to, now, AT_ONCE).await?;
    let mut requests = BTreeMap::<RequestId, Vec<Found>>::new();
    for signed in orphans {
        match read(receipts, conn, &signed, now).await? {
            Ok(found) => requests.entry(found.ticket.request).or_default().push(found),
            // Looked at once: a pile of them must not hide one that counts.
            Err(reason) => reports::note_unrecovered(conn, signed.report.attempt, reason, now).await?,
        }
    }
    if requests.is_empty() {
        return Ok(0);
    }
    let rows: Vec<UsageRow> = requests.into_values().filter_map(usage).collect();
    let attempts: Vec<&AttemptRow> = rows.iter().flat_map(|row| &row.attempts).collect();
    flush::flush(conn, receipts.env().mint(), &rows.iter().collect::<Vec<_>>(), now, false).await?;
    let counted = reports::count_recovered(conn, &attempts).await?;
    for (provider, share) in counted {
        let reason = format!("{share} of the attempts of one day are known only by their reports");
        receipt_cases::open(conn, receipts.env().mint::<CaseId>(), provider, CaseKind::Recovered, &reason, now).await?;
    }
    metrics::counter!("steelyard_billing_reports_recovered").increment(attempts.len() as u64);
    tracing::warn!(attempts = attempts.len(), "attempts of a replica that died are paid by their reports");
    Ok(attempts.len() as u64)
}

/// What a report comes to, or why it does not count.
async fn read(
    receipts: &Receipts,
    conn: &mut PgConnection,
    signed: &SignedReport,
    now: Timestamp,
) -> Result<Result<Found, &'static str>, Error> {
    let report = &signed.report;
    let Some(text) = &signed.ticket else { return Ok(Err("it came without a ticket")) };
    let Ok(ticket) = receipts.open(report.attempt, text, now) else { return Ok(Err("its ticket is not ours")) };
    let told = (report.request, report.node, report.offer, report.price_version);
    if told != (ticket.request, ticket.node, ticket.offer, ticket.price_version) {
        return Ok(Err("its ticket is about something else"));
    }
    let Some(price) = prices::find(conn, ticket.offer, ticket.price_version).await? else {
        return Ok(Err("its price is not known"));
    };
    // A failed attempt earns nothing, whoever saw it.
    let (outcome, units) = match report.status {
        ReportStatus::Failed => (Outcome::ProviderFailed, Units::default()),
        ReportStatus::Completed | ReportStatus::Cancelled => (Outcome::GatewayFault, ticket.within(&report.units)),
    };
    let earned = price.provider.earning(&units).unwrap_or(NanoUsd::MAX);
    let cost_kind = if outcome == Outcome::GatewayFault { CostKind::FaultCost } else { CostKind::ProviderCost };
    let row = AttemptRow {
        attempt: report.attempt,
        provider: ticket.provider,
        node: ticket.node,
        offer: ticket.offer,
        price_version: ticket.price_version,
        outcome,
        earning: Earning { earned, cost_kind, reread: NanoUsd::ZERO },
        counted_by: CountedBy::Upstream,
        units,
        reread: 0,
        status: None,
        error_code: Some(RECOVERED.to_owned()),
        started_at: Timestamp::from_unix_ms(report.started_at_ms),
        first_output_at: None,
        finished_at: Timestamp::from_unix_ms(report.finished_at_ms),
    };
    Ok(Ok(Found { ticket, row, model: price.model.to_string() }))
}

/// The request of these attempts, which costs its user nothing.
fn usage(mut found: Vec<Found>) -> Option<UsageRow> {
    found.sort_by_key(|one| one.row.attempt);
    let (ticket, model) = found.first().map(|first| (first.ticket, first.model.clone()))?;
    let received_at = found.iter().map(|one| one.row.started_at).min()?;
    let finished_at = found.iter().map(|one| one.row.finished_at).max()?;
    Some(UsageRow {
        request: ticket.request,
        account: ticket.organization,
        project: ticket.project,
        key: ticket.key,
        lease: None,
        key_lease: None,
        project_lease: None,
        organization_lease: None,
        outcome: Outcome::GatewayFault,
        hold: NanoUsd::ZERO,
        charge: NanoUsd::ZERO,
        clamped: NanoUsd::ZERO,
        units: Units::default(),
        model,
        streamed: ticket.streamed,
        finish_reason: None,
        native_finish_reason: None,
        received_at,
        first_output_at: None,
        finished_at,
        service_tier: None,
        routing: None,
        attempts: found.into_iter().map(|one| one.row).collect(),
    })
}

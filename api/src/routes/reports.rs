//! What nodes say their attempts used, signed.

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use billing::store::reports::Kept;
use protocol::receipt::SignedReport;
use protocol::session::{MAX_REPORTS, PutReports, RefusedReport, ReportsReply};
use protocol::typed::Domain;
use protocol::wallet::Address;
use protocol::{NodeId, ProviderId, Timestamp};

use sqlx::{Connection as _, PgConnection};

use super::nodes;
use crate::error::ApiError;
use crate::extract::{Json, NodeCaller};
use crate::state::AppState;

/// Why a report about somebody else's attempt is refused.
const NOT_YOURS: &str = "the attempt is another node's";

/// The routes of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/providers/{provider}/nodes/{node}/reports", post(put))
}

/// Takes reports, each once by its attempt. One that can't be believed is refused for good and does not hold
/// up the others.
#[tracing::instrument(name = "api.reports.put", skip_all, fields(node.id = %caller.node))]
async fn put(
    State(app): State<AppState>,
    caller: NodeCaller,
    Json(body): Json<PutReports>,
) -> Result<Json<ReportsReply>, ApiError> {
    if body.reports.len() > MAX_REPORTS {
        return Err(ApiError::invalid("reports", format!("at most {MAX_REPORTS}")));
    }
    let mut conn = app.db.acquire().await?;
    let node = nodes::owned(&mut conn, caller.provider, caller.node).await?;
    let keys = billing::store::receipt_keys::list_of_node(&mut conn, node.id).await?;
    drop(conn);
    let domain = app.config.receipts.domain();
    // A full call is some 50 ms of signatures: not on a thread that relays streams.
    let sorting = tokio::task::spawn_blocking(move || sort(&keys, &domain, node.id, body.reports));
    let (believed, mut refused) = sorting.await.map_err(|error| ApiError::internal(&error))?;
    let mut tx = app.db.begin().await?;
    let unkept = keep_all(&mut tx, caller.provider, &believed, app.env.now()).await?;
    tx.commit().await?;
    let accepted = u32::try_from(believed.len() - unkept.len()).unwrap_or(u32::MAX);
    refused.extend(unkept);
    Ok(Json(ReportsReply { accepted, refused }))
}

/// Keeps them all in one statement; one that has no place sends each on its own way. Returns what was not kept.
async fn keep_all(
    conn: &mut PgConnection,
    provider: ProviderId,
    believed: &[SignedReport],
    now: Timestamp,
) -> Result<Vec<RefusedReport>, sqlx::Error> {
    let mut savepoint = conn.begin().await?;
    match billing::store::reports::keep_all(&mut savepoint, provider, believed, now).await {
        Ok(foreign) => {
            savepoint.commit().await?;
            Ok(foreign.into_iter().map(|attempt| RefusedReport { attempt, reason: NOT_YOURS.to_owned() }).collect())
        }
        Err(error) if is_out_of_range(&error) => {
            savepoint.rollback().await?;
            let mut unkept = Vec::new();
            for report in believed {
                if let Some(reason) = keep(conn, provider, report, now).await? {
                    unkept.push(RefusedReport { attempt: report.report.attempt, reason: reason.to_owned() });
                }
            }
            Ok(unkept)
        }
        Err(error) => Err(error),
    }
}

/// Keeps one report; the reason when it can't be kept. The savepoint keeps one that has no place (an attempt
/// dated where no partition is, which none of ours can be) from taking the others with it.
async fn keep(
    conn: &mut PgConnection,
    provider: ProviderId,
    report: &SignedReport,
    now: Timestamp,
) -> Result<Option<&'static str>, sqlx::Error> {
    let mut savepoint = conn.begin().await?;
    match billing::store::reports::keep(&mut savepoint, provider, report, now).await {
        Ok(Kept::New | Kept::Earlier) => {
            savepoint.commit().await?;
            Ok(None)
        }
        Ok(Kept::NotYours) => Ok(Some(NOT_YOURS)),
        Err(error) if is_out_of_range(&error) => Ok(Some("the attempt's id is dated too far from now")),
        Err(error) => Err(error),
    }
}

/// "No partition of relation found for row" is reported as a check violation.
fn is_out_of_range(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_check_violation())
}

/// Parts reports that this node signed about its own work from those it did not.
fn sort(
    keys: &[Address],
    domain: &Domain,
    node: NodeId,
    reports: Vec<SignedReport>,
) -> (Vec<SignedReport>, Vec<RefusedReport>) {
    let (mut believed, mut refused) = (Vec::with_capacity(reports.len()), Vec::new());
    for report in reports {
        let reason = if report.report.node != node {
            Some("the report is about another node")
        } else if report.signer(domain).is_ok_and(|signer| keys.contains(&signer)) {
            None
        } else {
            Some("the report is not signed by a receipt key of this node")
        };
        match reason {
            None => believed.push(report),
            Some(reason) => {
                refused.push(RefusedReport { attempt: report.report.attempt, reason: reason.to_owned() });
            }
        }
    }
    (believed, refused)
}

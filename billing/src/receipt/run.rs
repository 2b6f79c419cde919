//! The loops beside the requests: receipts for what is due, and for what came late.

use std::time::Duration;

use platform::shutdown::Shutdown;
use platform::worker::{self, Next, Worker};
use protocol::{CaseId, Timestamp};

use super::{Receipts, issue};
use crate::Error;
use crate::store::receipt_cases::{self, CaseKind};
use crate::store::reports;

/// Days of reports looked at for those that are no chance: today's is not over, and yesterday's is still judged.
const LOOKED_AT: Duration = Duration::from_secs(2 * 24 * 3_600);

/// Starts the loops, owned by `shutdown`.
pub fn spawn(receipts: &Receipts, shutdown: &Shutdown) {
    for job in [Job::Issue, Job::Sweep] {
        worker::spawn(receipts.env().clone(), Beat { receipts: receipts.clone(), job }, shutdown);
    }
}

/// Opens a case about each provider whose nodes lately counted otherwise than the gateway more often than by chance.
/// Returns how many are new.
///
/// # Errors
/// When a database call fails.
pub async fn suspect(receipts: &Receipts, now: Timestamp) -> Result<usize, Error> {
    let mut conn = receipts.db().acquire().await?;
    let mut opened = 0;
    for (provider, share) in reports::list_apart(&mut conn, now.minus(LOOKED_AT)).await? {
        let reason = format!("{share} reports of one day are more than 2 % from the gateway's count");
        let id: CaseId = receipts.env().mint();
        if receipt_cases::open(&mut conn, id, provider, CaseKind::Apart, &reason, now).await? {
            tracing::warn!(provider.id = %provider, %reason, "a case is open, and nothing is paid until it is decided");
            opened += 1;
        }
    }
    Ok(opened)
}

#[derive(Debug, Clone, Copy)]
enum Job {
    Issue,
    Sweep,
}

struct Beat {
    receipts: Receipts,
    job: Job,
}

impl Worker for Beat {
    type Error = Error;

    fn name(&self) -> &'static str {
        match self.job {
            Job::Issue => "billing.receipts.issue",
            Job::Sweep => "billing.receipts.sweep",
        }
    }

    fn interval(&self) -> Duration {
        let config = self.receipts.config();
        Duration::from_millis(match self.job {
            Job::Issue => config.issue_ms,
            Job::Sweep => config.sweep_ms,
        })
    }

    async fn tick(&mut self, now: Timestamp) -> Result<Next, Error> {
        let given = match self.job {
            Job::Issue => issue::advance(&self.receipts, now).await?,
            Job::Sweep => {
                suspect(&self.receipts, now).await?;
                issue::sweep(&self.receipts, now).await?
            }
        };
        metrics::counter!("steelyard_billing_receipts_issued").increment(given.receipts);
        Ok(if given.is_full { Next::Again } else { Next::Wait })
    }
}

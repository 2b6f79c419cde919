//! From finished attempts to the broker's books: signed, kept on disk, delivered in batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Method;
use parking_lot::Mutex;
use protocol::receipt::{BodyDigest, ReportStatus, SignedReport, UsageReport};
use protocol::session::{MAX_REPORTS, PutReports, ReportsReply};
use protocol::typed::Domain;
use protocol::{AttemptId, Env, NodeId, OfferId, RequestId, Units};
use tokio::sync::{Notify, mpsc, watch};

use crate::Error;
use crate::client::Client;
use crate::session::{Backoff, Token};
use crate::spool::{Batch, Spool};
use crate::vouch::ReportKey;

/// Finished attempts waiting for signature and disk. A disk that hangs for so many is broken, and an
/// answer must not wait for it: what comes then is counted and left to the broker's own count.
const QUEUE: usize = 65_536;
/// Batches leave this far apart at least: reports may be minutes late, and each call costs the broker.
const LINGER: Duration = Duration::from_millis(500);

/// An attempt that ended, not yet signed.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) attempt: AttemptId,
    pub(crate) request: RequestId,
    pub(crate) offer: OfferId,
    pub(crate) price_version: u32,
    pub(crate) units: Units,
    pub(crate) started_at_ms: i64,
    pub(crate) status: ReportStatus,
    pub(crate) request_sha256: [u8; 32],
    pub(crate) response_sha256: [u8; 32],
    /// What the broker sealed into the dispatch, for itself.
    pub(crate) ticket: Option<String>,
}

/// Where finished attempts are handed in. Clones share the queue.
#[derive(Clone)]
pub(crate) struct Reporter(Arc<Desk>);

struct Desk {
    env: Env,
    queue: mpsc::Sender<(Draft, i64)>,
    lost: AtomicU64,
    pending: Arc<AtomicU64>,
}

/// The other end: signs and keeps.
pub(crate) struct Writer {
    queue: mpsc::Receiver<(Draft, i64)>,
    key: ReportKey,
    store: Store,
    /// Where reports count, once the broker has said so.
    domain: watch::Receiver<Option<Domain>>,
}

/// The spool and the bell that says something is in it. Clones share both.
#[derive(Clone)]
pub(crate) struct Store {
    spool: Arc<Mutex<Spool>>,
    filled: Arc<Notify>,
    /// Handed in, and not on disk yet.
    pending: Arc<AtomicU64>,
}

impl Reporter {
    pub(crate) fn new(
        env: Env,
        key: ReportKey,
        spool: Spool,
        domain: watch::Receiver<Option<Domain>>,
    ) -> (Self, Writer, Store) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let pending = Arc::<AtomicU64>::default();
        let store = Store { spool: Arc::new(Mutex::new(spool)), filled: Arc::default(), pending: pending.clone() };
        let writer = Writer { queue, key, store: store.clone(), domain };
        (Self(Arc::new(Desk { env, queue: sender, lost: AtomicU64::new(0), pending })), writer, store)
    }

    /// Hands in an attempt that just ended. Never waits.
    pub(crate) fn report(&self, draft: Draft) {
        self.0.pending.fetch_add(1, Ordering::Relaxed);
        if self.0.queue.try_send((draft, self.0.env.now().unix_ms())).is_err() {
            self.0.pending.fetch_sub(1, Ordering::Relaxed);
            let lost = self.0.lost.fetch_add(1, Ordering::Relaxed) + 1;
            if lost.is_power_of_two() {
                tracing::error!(lost, "usage reports are lost: the disk does not keep up, or the node is stopping");
            }
        }
    }
}

impl Store {
    /// Runs `action` on the spool, off the threads that serve.
    async fn with<T: Send + 'static>(
        &self,
        action: impl FnOnce(&mut Spool) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let spool = self.spool.clone();
        let done = tokio::task::spawn_blocking(move || action(&mut spool.lock())).await;
        done.unwrap_or_else(|error| Err(Error::Config(format!("work on the spool was cut off: {error}"))))
    }
}

/// Waits until everything handed in is kept, then delivers what there is. For the end of a node's life.
pub(crate) async fn flush(store: &Store, client: &Client, path: &str, token: &Token) {
    while store.pending.load(Ordering::Relaxed) > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    loop {
        match round(store, client, path, token).await {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "usage reports are kept for the next start");
                return;
            }
        }
    }
}

impl Writer {
    /// Signs and keeps what is handed in, in batches as large as the disk's pace makes them.
    pub(crate) async fn run(mut self, node: NodeId) {
        let mut drafts = Vec::new();
        while self.queue.recv_many(&mut drafts, MAX_REPORTS).await > 0 {
            let taken = drafts.len() as u64;
            let Ok(Some(domain)) = self.domain.wait_for(Option::is_some).await.map(|domain| *domain) else { return };
            let key = self.key.clone();
            // Some 50 µs each: not on a thread that serves.
            let signing = tokio::task::spawn_blocking(move || {
                let sign = |(draft, now_ms): (Draft, i64)| sign(&key, &domain, node, draft, now_ms);
                (drafts.drain(..).map(sign).collect::<Vec<SignedReport>>(), drafts)
            });
            let Ok((signed, emptied)) = signing.await else { return };
            drafts = emptied;
            let count = signed.len();
            match self.store.with(move |spool| spool.append(&signed)).await {
                Ok(()) => self.store.filled.notify_one(),
                Err(error) => tracing::error!(%error, count, "usage reports could not be kept"),
            }
            self.store.pending.fetch_sub(taken, Ordering::Relaxed);
        }
    }
}

fn sign(key: &ReportKey, domain: &Domain, node: NodeId, draft: Draft, finished_at_ms: i64) -> SignedReport {
    let report = UsageReport {
        attempt: draft.attempt,
        request: draft.request,
        node,
        offer: draft.offer,
        price_version: draft.price_version,
        units: draft.units,
        started_at_ms: draft.started_at_ms,
        finished_at_ms: finished_at_ms.max(draft.started_at_ms),
        status: draft.status,
        request_sha256: BodyDigest(draft.request_sha256),
        response_sha256: BodyDigest(draft.response_sha256),
    };
    report.sign(key.key(), domain, draft.ticket)
}

/// Delivers kept reports for as long as it is polled.
pub(crate) async fn deliver(store: Store, client: Client, path: String, token: Token, env: Env) {
    let mut backoff = Backoff::new(env.seed(), Duration::from_secs(1), Duration::from_secs(30));
    loop {
        match round(&store, &client, &path, &token).await {
            Ok(0) => store.filled.notified().await,
            Ok(_) => backoff.reset(),
            Err(error) => {
                tracing::warn!(%error, "usage reports wait for the broker");
                backoff.wait().await;
            }
        }
        tokio::time::sleep(LINGER).await;
    }
}

/// Delivers one batch; returns how many reports it held.
pub(crate) async fn round(store: &Store, client: &Client, path: &str, token: &Token) -> Result<usize, Error> {
    let batch = store.with(|spool| spool.peek(MAX_REPORTS)).await?;
    let count = batch.reports.len();
    if count == 0 {
        return Ok(0);
    }
    let bearer = token.get().await;
    let body = PutReports { reports: batch.reports.clone() };
    let sent = client.call(Method::POST, path).bearer(&bearer).json(&body)?.send::<ReportsReply>().await;
    if let Err(error) = &sent
        && error.is_status(http::StatusCode::UNAUTHORIZED)
    {
        token.refuse(&bearer);
    }
    let (_, reply) = sent?;
    store.with(move |spool| settle(spool, &batch, &reply)).await?;
    Ok(count)
}

fn settle(spool: &mut Spool, batch: &Batch, reply: &ReportsReply) -> Result<(), Error> {
    for refused in &reply.refused {
        tracing::warn!(attempt = %refused.attempt, reason = %refused.reason, "the broker refused a usage report");
        if let Some(report) = batch.reports.iter().find(|signed| signed.report.attempt == refused.attempt) {
            spool.set_aside(report, &refused.reason)?;
        }
    }
    spool.delivered(batch)
}

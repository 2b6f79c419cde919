//! The one buffer every settled request goes through, and the one task that writes it.
//!
//! There is no timer: the writer takes what is there, commits it, and takes again. An idle broker adds no
//! wait, a loaded one batches by itself.

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use protocol::{Env, FlushId, NanoUsd, RequestId, Timestamp};
use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::config::{AckMode, Settling};
use crate::hold::Parts;
use crate::lease::keeper::Keeper;
use crate::store::flush::{self, Flushed};
use crate::store::rows::UsageRow;

/// First and longest pause between tries while the database is away.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// A settled request on its way into the books.
pub(crate) struct Entry {
    row: UsageRow,
    parts: Parts,
    settled_at: Timestamp,
    ack: Option<oneshot::Sender<Booked>>,
}

/// What became of a settled request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Booked {
    /// It is in the books.
    Durable,
    /// Nobody waits for the books: the configured mode is fast.
    Unawaited,
    /// Its request was booked before; this settlement changed nothing.
    Duplicate,
    /// The books refused it; it waits for a person, and the user was not charged.
    Quarantined,
    /// It is not in the books yet. It will be, unless this process dies first.
    TimedOut,
}

/// Resolves when a settled request is in the books, or the time to wait for that is over.
/// Dropping it changes nothing.
#[must_use = "under the durable mode the end of an answer waits for this"]
pub struct Ack {
    charge: NanoUsd,
    booked: Option<oneshot::Receiver<Booked>>,
    timeout: Duration,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
}

/// Where holds put what they settled.
pub(crate) struct Buffer {
    config: Settling,
    sender: mpsc::UnboundedSender<Entry>,
    queued: AtomicUsize,
    /// When the oldest row being written was settled, in microseconds; 0 when none is.
    writing_since: AtomicI64,
}

impl Entry {
    pub fn new(row: UsageRow, parts: Parts, settled_at: Timestamp) -> Self {
        Self { row, parts, settled_at, ack: None }
    }
}

impl Ack {
    /// What the user pays for the request.
    #[must_use]
    pub fn charge(&self) -> NanoUsd {
        self.charge
    }
}

impl Future for Ack {
    type Output = Booked;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Booked> {
        let this = &mut *self;
        let Some(booked) = &mut this.booked else { return Poll::Ready(Booked::Unawaited) };
        if let Poll::Ready(result) = Pin::new(booked).poll(cx) {
            // The writer is gone without an answer only when the process stops past its deadline.
            return Poll::Ready(result.unwrap_or(Booked::TimedOut));
        }
        let timeout = this.timeout;
        let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        timer.as_mut().poll(cx).map(|()| {
            metrics::counter!("steelyard_billing_ack_timeouts").increment(1);
            Booked::TimedOut
        })
    }
}

impl Buffer {
    /// The receiver belongs to the writer. The queue has no bound of its own: what is settled must be kept,
    /// and [`Buffer::admit`] stops new requests long before memory is short.
    pub fn new(config: Settling) -> (Self, mpsc::UnboundedReceiver<Entry>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { config, sender, queued: AtomicUsize::new(0), writing_since: AtomicI64::new(0) }, receiver)
    }

    /// Whether a new request may be served.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when what it settles could not be written in time.
    pub fn admit(&self, now: Timestamp) -> Result<(), Error> {
        let queued = self.queued.load(Ordering::Relaxed);
        if queued > self.config.max_queued_rows || self.oldest(now) > Duration::from_millis(self.config.max_queued_ms) {
            return Err(Error::Overloaded { queued });
        }
        Ok(())
    }

    /// How long the oldest row being written has waited.
    pub fn oldest(&self, now: Timestamp) -> Duration {
        match self.writing_since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => now.since(Timestamp::from_unix_micros(since)),
        }
    }

    /// Rows not written yet.
    pub fn queued(&self) -> usize {
        self.queued.load(Ordering::Acquire)
    }

    pub fn push(&self, mut entry: Entry) -> Ack {
        let charge = entry.row.charge;
        let booked = (self.config.ack == AckMode::Durable).then(|| {
            let (sender, receiver) = oneshot::channel();
            entry.ack = Some(sender);
            receiver
        });
        self.queued.fetch_add(1, Ordering::AcqRel);
        if let Err(refused) = self.sender.send(entry) {
            self.queued.fetch_sub(1, Ordering::AcqRel);
            tracing::error!(request.id = %refused.0.row.request, "settled after the writer stopped: not booked");
        }
        let timeout = Duration::from_millis(self.config.ack_timeout_ms);
        Ack { charge, booked, timeout, timer: None }
    }
}

/// Writes the buffer until told to stop.
pub(crate) struct Writer {
    pub db: PgPool,
    pub env: Env,
    pub buffer: Arc<Buffer>,
    pub keeper: Arc<Keeper>,
    pub queue: mpsc::UnboundedReceiver<Entry>,
}

impl Writer {
    /// Ends when `stop` is cancelled; what is still queued then is lost to the platform, so cancel it
    /// only once the buffer is empty or the deadline for that is over.
    pub async fn run(mut self, stop: CancellationToken) {
        let most = self.buffer.config.batch_rows.max(1);
        let mut batch = Vec::with_capacity(most);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                taken = self.queue.recv_many(&mut batch, most) => if taken == 0 { return },
            }
            self.gather(&mut batch, most).await;
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.write(std::mem::take(&mut batch)) => {}
            }
        }
    }

    /// Where nobody waits for the commit, lets a batch grow for a moment before it is written.
    async fn gather(&mut self, batch: &mut Vec<Entry>, most: usize) {
        let config = &self.buffer.config;
        if config.ack == AckMode::Durable || config.fast_gather_ms == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(config.fast_gather_ms)).await;
        while batch.len() < most
            && let Ok(entry) = self.queue.try_recv()
        {
            batch.push(entry);
        }
    }

    async fn write(&self, batch: Vec<Entry>) {
        let (rows, started) = (batch.len(), tokio::time::Instant::now());
        let oldest = batch.iter().map(|entry| entry.settled_at).min().unwrap_or_default();
        self.buffer.writing_since.store(oldest.unix_micros(), Ordering::Relaxed);
        // Halves of a batch that holds a bad row; a stack, so a bad row costs its batch a logarithm of tries.
        let mut work = vec![batch];
        while let Some(group) = work.pop() {
            if let Some((left, right)) = self.write_group(group).await {
                work.extend([right, left]);
            }
        }
        self.buffer.writing_since.store(0, Ordering::Relaxed);
        self.buffer.queued.fetch_sub(rows, Ordering::AcqRel);
        metrics::histogram!("steelyard_billing_settle_rows").record(f64::from(u32::try_from(rows).unwrap_or(u32::MAX)));
        metrics::histogram!("steelyard_billing_settle_seconds").record(started.elapsed().as_secs_f64());
    }

    /// Writes a group, or hands it back in two halves when one of its rows is refused.
    async fn write_group(&self, group: Vec<Entry>) -> Option<(Vec<Entry>, Vec<Entry>)> {
        let flush: FlushId = self.env.mint();
        let mut pause = BACKOFF.0;
        for attempt in 0_u32.. {
            let tried = self.try_flush(flush, &distinct(&group), attempt > 0).await;
            match tried {
                Ok(booked) => {
                    self.acknowledge(group, &booked);
                    return None;
                }
                Err(error) if is_refusal(&error) => {
                    if group.len() > 1 {
                        let mut left = group;
                        let right = left.split_off(left.len() / 2);
                        return Some((left, right));
                    }
                    if self.quarantine(&group, &error).await {
                        group.into_iter().for_each(|entry| self.done(entry, Booked::Quarantined));
                        return None;
                    }
                }
                Err(error) => {
                    metrics::counter!("steelyard_billing_settle_retries").increment(1);
                    tracing::warn!(%error, attempt, rows = group.len(), "settled requests could not be written, trying again");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
        None
    }

    /// Returns which requests are booked by this flush, now or in an earlier try whose reply was lost.
    async fn try_flush(&self, id: FlushId, rows: &[&UsageRow], again: bool) -> Result<HashSet<RequestId>, sqlx::Error> {
        let mut tx = self.db.begin().await?;
        let Flushed { mut fresh, late } = flush::flush(&mut tx, id, rows, self.env.now()).await?;
        if again && fresh.len() < rows.len() {
            let requests: Vec<RequestId> = rows.iter().map(|row| row.request).collect();
            fresh.extend(flush::list_booked_by(&mut tx, id, &requests).await?);
        }
        tx.commit().await?;
        if late > 0 {
            metrics::counter!("steelyard_billing_late_usage").increment(late);
            tracing::warn!(late, flush.id = %id, "usage came after its lease was closed and was charged to the account");
        }
        Ok(fresh)
    }

    fn acknowledge(&self, group: Vec<Entry>, booked: &HashSet<RequestId>) {
        let mut seen = HashSet::with_capacity(group.len());
        for entry in group {
            // The second of two settlements of one request in one batch is as much a duplicate as a later one.
            let counted = seen.insert(entry.row.request) && booked.contains(&entry.row.request);
            self.done(entry, if counted { Booked::Durable } else { Booked::Duplicate });
        }
    }

    fn done(&self, entry: Entry, booked: Booked) {
        let counted = booked == Booked::Durable;
        if booked == Booked::Duplicate {
            metrics::counter!("steelyard_billing_settle_duplicates").increment(1);
        }
        for (purse, lease) in entry.parts.iter().flatten() {
            if purse.written(*lease, entry.row.charge.nano(), counted) {
                self.keeper.call(purse);
            }
        }
        if let Some(ack) = entry.ack {
            // The waiter may have timed out or left.
            let _ = ack.send(booked);
        }
    }

    /// Parks the one row of a group. False when even that failed, to be tried again.
    async fn quarantine(&self, group: &[Entry], error: &sqlx::Error) -> bool {
        let Some(entry) = group.first() else { return true };
        let parked = async {
            let mut conn = self.db.acquire().await?;
            flush::quarantine(&mut conn, &entry.row, &error.to_string()).await
        };
        if let Err(error) = parked.await {
            tracing::error!(%error, request.id = %entry.row.request, "a refused row could not be parked");
            return false;
        }
        metrics::counter!("steelyard_billing_settle_quarantined").increment(1);
        tracing::error!(%error, request.id = %entry.row.request, "the books refused a settled request, it is parked");
        true
    }
}

/// The rows of a group, each request once.
fn distinct(group: &[Entry]) -> Vec<&UsageRow> {
    let mut seen = HashSet::with_capacity(group.len());
    group.iter().map(|entry| &entry.row).filter(|row| seen.insert(row.request)).collect()
}

/// True for an answer about the rows (a broken constraint, a value out of range, a type that does not
/// fit), false for one about the database (away, shutting down, deadlock, serialization).
fn is_refusal(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(database) => {
            database.code().is_some_and(|code| code.starts_with("23") || code.starts_with("22"))
        }
        sqlx::Error::Encode(_) => true,
        _ => false,
    }
}

//! The one buffer every settled request goes through, and the one task that writes it.
//!
//! There is no timer: the writer takes what is there, commits it, and takes again. An idle broker adds no
//! wait, a loaded one batches by itself.

mod writer;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use protocol::{NanoUsd, Timestamp};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::Error;
use crate::config::{AckMode, Settling};
use crate::hold::Parts;
use crate::store::rows::UsageRow;

pub(crate) use writer::Writer;

/// Flushes under way at once. The second begins only where a whole batch waits: a flush keeps one core of the
/// database busy, and flushes of fewer rows would only cost more commits.
const MOST_FLUSHES: usize = 2;

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
    /// Those of them that no flush has taken.
    waiting: AtomicUsize,
    /// For each flush under way, when the oldest of its rows was settled, in microseconds; 0 stands for none.
    writing_since: [AtomicI64; MOST_FLUSHES],
    /// Told when a whole batch waits.
    crowd: Notify,
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
        let writing_since = [const { AtomicI64::new(0) }; MOST_FLUSHES];
        let (queued, waiting) = (AtomicUsize::new(0), AtomicUsize::new(0));
        (Self { config, sender, queued, waiting, writing_since, crowd: Notify::new() }, receiver)
    }

    /// Whether a whole batch waits.
    fn is_crowded(&self) -> bool {
        self.waiting.load(Ordering::Acquire) >= self.batch_rows()
    }

    /// Says that so many rows wait no longer.
    fn taken(&self, rows: usize) {
        self.waiting.fetch_sub(rows, Ordering::AcqRel);
    }

    /// Most rows of one flush.
    fn batch_rows(&self) -> usize {
        self.config.batch_rows.max(1)
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
        let under_way =
            self.writing_since.iter().map(|since| since.load(Ordering::Relaxed)).filter(|since| *since != 0);
        under_way.min().map_or(Duration::ZERO, |since| now.since(Timestamp::from_unix_micros(since)))
    }

    /// Rows not written yet.
    pub fn queued(&self) -> usize {
        self.queued.load(Ordering::Acquire)
    }

    /// Counts rows as being written until the guard is dropped, however that comes about.
    fn writing(&self, batch: &[Entry]) -> Writing<'_> {
        let oldest = batch.iter().map(|entry| entry.settled_at).min().unwrap_or_default();
        let free = |slot: &&AtomicI64| {
            let taken = slot.compare_exchange(0, oldest.unix_micros(), Ordering::Relaxed, Ordering::Relaxed);
            taken.is_ok()
        };
        Writing { buffer: self, rows: batch.len(), since: self.writing_since.iter().find(free) }
    }

    pub fn push(&self, mut entry: Entry) -> Ack {
        let charge = entry.row.charge;
        let booked = (self.config.ack == AckMode::Durable).then(|| {
            let (sender, receiver) = oneshot::channel();
            entry.ack = Some(sender);
            receiver
        });
        self.queued.fetch_add(1, Ordering::AcqRel);
        // Counted before it is sent: a flush never takes what is not counted.
        let waiting = self.waiting.fetch_add(1, Ordering::AcqRel) + 1;
        if let Err(refused) = self.sender.send(entry) {
            self.queued.fetch_sub(1, Ordering::AcqRel);
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            tracing::error!(request.id = %refused.0.row.request, "settled after the writer stopped: not booked");
        }
        if waiting == self.batch_rows() {
            self.crowd.notify_one();
        }
        let timeout = Duration::from_millis(self.config.ack_timeout_ms);
        Ack { charge, booked, timeout, timer: None }
    }
}

/// A batch under way.
struct Writing<'a> {
    buffer: &'a Buffer,
    rows: usize,
    since: Option<&'a AtomicI64>,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if let Some(since) = self.since {
            since.store(0, Ordering::Relaxed);
        }
        self.buffer.queued.fetch_sub(self.rows, Ordering::AcqRel);
    }
}

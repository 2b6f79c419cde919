//! The one task that writes the buffer: it takes what is there, commits it, and takes again. Where a whole batch
//! waits meanwhile, that is written beside the one under way: the database uses a core for each.
//!
//! Nothing stops it for long: a database that is away is waited for, a connection without another end is given up,
//! a day without partitions gets them, a row the books refuse is isolated and parked, and a panic costs a retry.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use protocol::{Env, FlushId, RequestId};
use sqlx::{Connection as _, PgPool};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Booked, Buffer, Entry, MOST_FLUSHES};
use crate::calendar;
use crate::config::AckMode;
use crate::lease::keeper::Keeper;
use crate::store::flush::{self, Flushed};
use crate::store::line::{Line, answer};
use crate::store::rows::UsageRow;
use crate::store::{partitions, quarantine};

/// First and longest pause between tries while the database is away.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// First and longest wait for one flush: hundreds of times what it takes, so that only a connection without
/// another end runs into it. It grows, so that a server that is merely slow is not asked the same for ever.
const FLUSH_TIMEOUT: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(60));
/// A row whose writing panics this often by itself is parked: one row must not stop all others.
const MAX_PANICS: u32 = 3;

/// Writes the buffer until told to stop.
pub(crate) struct Writer {
    pub db: PgPool,
    pub env: Env,
    pub buffer: Arc<Buffer>,
    pub keeper: Arc<Keeper>,
}

/// What came of a group of rows.
enum Written {
    /// These of them are in the books by it.
    Booked(HashSet<RequestId>),
    /// One of them can't be booked.
    Refused(String),
}

impl Writer {
    /// Ends when `stop` is cancelled; what is still queued then is lost to the platform, so cancel it
    /// only once the buffer is empty or the deadline for that is over.
    pub async fn run(self, mut queue: mpsc::UnboundedReceiver<Entry>, stop: CancellationToken) {
        let most = self.buffer.batch_rows();
        let mut batch = Vec::with_capacity(most);
        let mut flushes = FuturesUnordered::new();
        loop {
            let crowded = self.buffer.is_crowded();
            let takes = flushes.is_empty() || (crowded && flushes.len() < MOST_FLUSHES);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(done) = flushes.next() => tell(&done),
                taken = queue.recv_many(&mut batch, most), if takes => {
                    if taken == 0 {
                        return;
                    }
                    self.gather(&mut queue, &mut batch, most).await;
                    self.buffer.taken(batch.len());
                    flushes.push(AssertUnwindSafe(self.write(std::mem::take(&mut batch))).catch_unwind());
                }
                () = self.buffer.crowd.notified(), if !takes && !crowded => {}
            }
        }
    }

    /// Where nobody waits for the commit, lets a batch grow for a moment before it is written.
    async fn gather(&self, queue: &mut mpsc::UnboundedReceiver<Entry>, batch: &mut Vec<Entry>, most: usize) {
        let config = &self.buffer.config;
        if config.ack == AckMode::Durable || config.fast_gather_ms == 0 || batch.len() >= most {
            return;
        }
        tokio::time::sleep(Duration::from_millis(config.fast_gather_ms)).await;
        while batch.len() < most
            && let Ok(entry) = queue.try_recv()
        {
            batch.push(entry);
        }
    }

    async fn write(&self, batch: Vec<Entry>) {
        let (rows, started) = (batch.len(), tokio::time::Instant::now());
        let writing = self.buffer.writing(&batch);
        // Halves of a batch that holds a bad row; a stack, so a bad row costs its batch a logarithm of tries.
        let mut work = vec![batch];
        while let Some(mut group) = work.pop() {
            match self.write_group(&group).await {
                Written::Booked(booked) => self.acknowledge(group, &booked),
                Written::Refused(_) if group.len() > 1 => {
                    let right = group.split_off(group.len() / 2);
                    work.extend([right, group]);
                }
                Written::Refused(error) => {
                    for entry in group {
                        self.park(&entry.row, &error).await;
                        self.done(entry, Booked::Quarantined);
                    }
                }
            }
        }
        drop(writing);
        metrics::histogram!("steelyard_billing_settle_rows").record(f64::from(u32::try_from(rows).unwrap_or(u32::MAX)));
        metrics::histogram!("steelyard_billing_settle_seconds").record(started.elapsed().as_secs_f64());
    }

    /// Writes a group, however long the database is away. Ends early only when one of its rows is refused.
    async fn write_group(&self, group: &[Entry]) -> Written {
        let (rows, mut flush) = (distinct(group), None);
        let (mut pause, mut limit) = (BACKOFF.0, FLUSH_TIMEOUT.0);
        let (mut panics, mut made_partitions) = (0, false);
        let mut attempt = 0_u32;
        loop {
            let again = attempt > 0;
            attempt = attempt.saturating_add(1);
            // Minted inside the net as well: whatever a flush needs may panic.
            let flushing = async {
                let id = *flush.get_or_insert_with(|| self.env.mint());
                self.try_flush(id, &rows, again, limit).await
            };
            let error = match AssertUnwindSafe(flushing).catch_unwind().await {
                Ok(Ok(booked)) => return Written::Booked(booked),
                Ok(Err(error)) => error,
                Err(_panic) => {
                    panics += 1;
                    metrics::counter!("steelyard_billing_settle_panics").increment(1);
                    tracing::error!(panics, rows = group.len(), "writing settled requests panicked");
                    if group.len() > 1 || panics >= MAX_PANICS {
                        return Written::Refused("writing it panicked".to_owned());
                    }
                    tokio::time::sleep(pause).await;
                    continue;
                }
            };
            if lacks_partition(&error) && !std::mem::replace(&mut made_partitions, true) {
                match self.make_partitions(group).await {
                    Ok(()) => continue,
                    Err(error) => tracing::error!(%error, "partitions for settled requests could not be made"),
                }
            }
            if is_refusal(&error) {
                return Written::Refused(error.to_string());
            }
            metrics::counter!("steelyard_billing_settle_retries").increment(1);
            tracing::warn!(%error, attempt, rows = group.len(), "settled requests could not be written, trying again");
            tokio::time::sleep(pause).await;
            (pause, limit) = ((pause * 2).min(BACKOFF.1), (limit * 2).min(FLUSH_TIMEOUT.1));
        }
    }

    /// Returns which requests are booked by this flush, now or in an earlier try whose reply was lost.
    async fn try_flush(
        &self,
        id: FlushId,
        rows: &[&UsageRow],
        again: bool,
        limit: Duration,
    ) -> Result<HashSet<RequestId>, sqlx::Error> {
        let mut line = Line::open(&self.db).await?;
        let written = answer(limit, async {
            let mut tx = line.begin().await?;
            let Flushed { mut fresh, late } = flush::flush(&mut tx, id, rows, self.env.now(), false).await?;
            if again && fresh.len() < rows.len() {
                let requests: Vec<RequestId> = rows.iter().map(|row| row.request).collect();
                fresh.extend(flush::list_booked_by(&mut tx, id, &requests).await?);
            }
            tx.commit().await?;
            Ok((fresh, late))
        });
        let written = written.await;
        let (fresh, late) = line.hang_up(written)?;
        if late > 0 {
            metrics::counter!("steelyard_billing_late_usage").increment(late);
            tracing::warn!(late, flush.id = %id, "usage came after its lease was closed and was charged to the account");
        }
        Ok(fresh)
    }

    /// Makes the partitions around the moments these rows were settled, as after a jump of the clock. An id
    /// dated elsewhere than its settlement gets none: it was never admitted.
    async fn make_partitions(&self, group: &[Entry]) -> Result<(), sqlx::Error> {
        let days: HashSet<i64> = group.iter().map(|entry| calendar::day_of(entry.settled_at)).collect();
        let mut tx = self.db.begin().await?;
        for day in days {
            let made = partitions::ensure(&mut tx, calendar::midnight(day), 1).await?;
            tracing::warn!(?made, "requests were settled on days without partitions; the clock may have jumped");
        }
        tx.commit().await
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

    /// Parks a row the books refuse, trying until it is.
    async fn park(&self, row: &UsageRow, error: &str) {
        let mut pause = BACKOFF.0;
        while let Err(error) = self.try_park(row, error).await {
            tracing::error!(%error, request.id = %row.request, "a refused row could not be parked");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
        metrics::counter!("steelyard_billing_settle_quarantined").increment(1);
        tracing::error!(error, request.id = %row.request, "the books refused a settled request, it is parked");
    }

    async fn try_park(&self, row: &UsageRow, error: &str) -> Result<(), sqlx::Error> {
        let mut line = Line::open(&self.db).await?;
        let parked = answer(FLUSH_TIMEOUT.0, quarantine::insert(&mut line, row, error)).await;
        line.hang_up(parked)
    }
}

/// Flushing has its own net: only saying what became of rows can panic past it.
fn tell(done: &std::thread::Result<()>) {
    if done.is_err() {
        metrics::counter!("steelyard_billing_settle_panics").increment(1);
        tracing::error!("the settle writer panicked over a batch and goes on with the next");
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

/// True when a row fell between the daily partitions. A constraint that is broken has a name; this has none.
fn lacks_partition(error: &sqlx::Error) -> bool {
    let database = error.as_database_error();
    database.is_some_and(|error| error.code().is_some_and(|code| code == "23514") && error.constraint().is_none())
}

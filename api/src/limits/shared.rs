//! Limits that several replicas keep together through Redis.
//!
//! Requests are admitted from what this replica holds, under a lock of moments. One task exchanges with Redis:
//! what was used goes there and fresh stock comes back, many limits in one round trip. Only a request that finds no
//! stock waits for an exchange, which happens to the first one after a pause and near the end of a limit.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use protocol::{Env, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bucket::{Bucket, BucketId, Shards};
use super::gcra::Standing;
use super::line::Line;
use super::share::{Share, Told, Weather};
use super::shares::{Attempt, Pending, Shares};

/// What was used is told at least this often; an earlier exchange is for who waits or runs low.
const TELL_EVERY: Duration = Duration::from_millis(25);
/// Everything held is told anew this often, well within the lease that [`super::line`] takes on it.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// Pause before a Redis that was away is asked again.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Limits told in one round trip.
const BATCH: usize = 256;
/// Added to the longest exchange, for a request that came just after one had begun.
const TURNS: u32 = 3;

/// The part of one replica. Clones are the same one.
#[derive(Clone)]
pub struct Shared(Arc<Inner>);

struct Inner {
    env: Env,
    timeout: Duration,
    shares: Shards<Share>,
    /// Limits to tell Redis about.
    dirty: Mutex<HashSet<BucketId>>,
    soon: Notify,
    away: AtomicBool,
    replicas: AtomicU32,
    line: tokio::sync::Mutex<Line>,
}

impl Shared {
    /// The part of the replica of that name. Waits for Redis once; where it is away the replica begins by itself.
    pub async fn start(client: redis::Client, timeout: Duration, replica: &str, env: Env) -> Self {
        let inner = Inner {
            env,
            timeout,
            shares: Shards::default(),
            dirty: Mutex::default(),
            soon: Notify::new(),
            away: AtomicBool::new(false),
            replicas: AtomicU32::new(1),
            line: tokio::sync::Mutex::new(Line::new(client, timeout, replica)),
        };
        let shared = Self(Arc::new(inner));
        shared.exchange(&[]).await;
        shared
    }

    /// Exchanges with Redis until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.exchanges()).await;
    }

    async fn exchanges(&self) {
        let mut renewed_at = Instant::now();
        loop {
            if self.0.away.load(Ordering::Relaxed) {
                tokio::time::sleep(RETRY_AFTER).await;
            } else {
                let _ = tokio::time::timeout(TELL_EVERY, self.0.soon.notified()).await;
            }
            if renewed_at.elapsed() >= RENEW_EVERY || self.0.away.load(Ordering::Relaxed) {
                self.mark_used();
                renewed_at = Instant::now();
                self.exchange(&[]).await;
            }
            let dirty: Vec<BucketId> = std::mem::take(&mut *self.0.dirty.lock()).into_iter().collect();
            for batch in dirty.chunks(BATCH) {
                self.exchange(batch).await;
            }
        }
    }

    /// One round trip: says that this replica is there, or tells about some limits.
    async fn exchange(&self, batch: &[BucketId]) {
        let (now, replicas) = (self.0.env.now(), self.0.weather().replicas);
        let mut told: Vec<(BucketId, Told)> = Vec::with_capacity(batch.len());
        for id in batch {
            told.extend(self.0.shares.find(id, |share| share.tell(replicas, now)).map(|about| (id.clone(), about)));
        }
        let mut line = self.0.line.lock().await;
        let answer = if told.is_empty() {
            line.present().await.map(|replicas| {
                self.0.replicas.store(replicas.max(1), Ordering::Relaxed);
                Vec::new()
            })
        } else {
            line.exchange(&told).await
        };
        drop(line);
        match answer {
            Ok(heard) => {
                let now = self.0.env.now();
                for ((id, about), heard) in told.iter().zip(heard) {
                    if self.0.shares.find(id, |share| share.hear(about, heard, now)) == Some(true) {
                        self.0.dirty.lock().insert(id.clone());
                    }
                }
                self.found(true);
            }
            Err(error) => {
                for (id, _) in &told {
                    self.0.shares.find(id, Share::lose);
                }
                self.0.dirty.lock().extend(told.into_iter().map(|(id, _)| id));
                if self.found(false) {
                    tracing::warn!(%error, "Redis is away: each replica keeps its share of every limit");
                }
            }
        }
    }

    /// Notes whether Redis answers; `true` when that is news.
    fn found(&self, there: bool) -> bool {
        metrics::gauge!("steelyard_limits_redis_up").set(if there { 1.0 } else { 0.0 });
        let news = self.0.away.swap(!there, Ordering::Relaxed) == there;
        if news && there {
            tracing::info!("Redis is back: limits are shared again");
        }
        if news && !there {
            // Nobody waits for who does not answer.
            self.0.shares.retain(|_, share| {
                share.lose();
                true
            });
        }
        news
    }

    fn mark_used(&self) {
        let mut used = Vec::new();
        self.0.shares.retain(|id, share| {
            if share.is_in_use() {
                used.push(id.clone());
            }
            true
        });
        self.0.dirty.lock().extend(used);
    }

    fn mark(&self, id: &BucketId, soon: bool) {
        let new = {
            let mut dirty = self.0.dirty.lock();
            !dirty.contains(id) && dirty.insert(id.clone())
        };
        if soon && (new || !self.0.away.load(Ordering::Relaxed)) {
            self.0.soon.notify_one();
        }
    }

    fn with<R>(&self, bucket: &Bucket, now: Timestamp, work: impl FnOnce(&mut Share) -> R) -> R {
        self.0.shares.with(&bucket.id, || Share::new(bucket.quota, now), work)
    }
}

impl Inner {
    fn weather(&self) -> Weather {
        Weather { away: self.away.load(Ordering::Relaxed), replicas: self.replicas.load(Ordering::Relaxed) }
    }
}

impl Shares for Shared {
    fn try_reserve(&self, bucket: &Bucket, amount: u64, now: Timestamp) -> Attempt {
        let weather = self.0.weather();
        let (attempt, runs_low) = self.with(bucket, now, |share| {
            let attempt = share.try_reserve(bucket.quota, amount, weather, now);
            (attempt, share.runs_low())
        });
        if matches!(attempt, Attempt::Taken(_)) {
            self.mark(&bucket.id, runs_low);
        }
        attempt
    }

    fn refill<'a>(&'a self, bucket: &'a Bucket, amount: u64) -> Pending<'a> {
        let woken = self.with(bucket, self.0.env.now(), |share| share.ask(amount));
        self.mark(&bucket.id, true);
        metrics::counter!("steelyard_limits_waits_total").increment(1);
        Box::pin(async move {
            let _ = tokio::time::timeout(self.0.timeout * TURNS, woken).await;
        })
    }

    fn settle(&self, bucket: &Bucket, reserved: u64, used: u64, now: Timestamp) {
        let weather = self.0.weather();
        self.with(bucket, now, |share| share.settle(reserved, used, weather, now));
        self.mark(&bucket.id, false);
    }

    fn standing(&self, bucket: &Bucket, now: Timestamp) -> Standing {
        let weather = self.0.weather();
        self.0.shares.find(&bucket.id, |share| share.standing(weather, now)).unwrap_or(Standing {
            limit: bucket.quota.burst,
            remaining: bucket.quota.burst,
            reset: Duration::ZERO,
        })
    }

    fn tidy(&self, now: Timestamp) {
        self.0.shares.retain(|_, share| !share.is_idle(now));
    }

    fn stop(&self) -> Pending<'_> {
        Box::pin(async move {
            self.mark_used();
            let dirty: Vec<BucketId> = std::mem::take(&mut *self.0.dirty.lock()).into_iter().collect();
            for batch in dirty.chunks(BATCH) {
                self.exchange(batch).await;
            }
            self.0.line.lock().await.leave().await;
        })
    }
}

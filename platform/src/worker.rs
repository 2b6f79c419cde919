//! The one loop around everything that happens again and again.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use protocol::{Env, Timestamp};
use tokio::sync::Notify;
use tracing::Instrument;

use crate::shutdown::Shutdown;

/// A worker that keeps failing tries at least this often: an outage must not outlast its cause by much.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Something to do at intervals. All of its behaviour is in `tick`, so tests call that and no loop.
pub trait Worker: Send + 'static {
    /// What a tick fails with.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Names it in logs and metrics, as `crate.what`.
    fn name(&self) -> &'static str;

    /// Pause between the end of one tick and the start of the next.
    fn interval(&self) -> Duration;

    /// Does what is due at `now`.
    ///
    /// # Errors
    /// Logged and counted once, by the loop; the next tick follows after a growing pause.
    fn tick(&mut self, now: Timestamp) -> impl Future<Output = Result<Next, Self::Error>> + Send;
}

/// What a tick found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing more to do now.
    Wait,
    /// A bound was reached with work left: tick again at once.
    Again,
}

/// Lets others cut a worker's pause short. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Waker(Arc<Notify>);

impl Waker {
    /// Ticks as soon as possible; once, however often this is called before.
    pub fn wake(&self) {
        self.0.notify_one();
    }
}

/// Runs `worker` until stopping begins, the first tick at once. A tick under way is let finish.
pub fn spawn<W: Worker>(env: Env, mut worker: W, shutdown: &Shutdown) -> Waker {
    let waker = Waker::default();
    let (notify, stop) = (Arc::clone(&waker.0), shutdown.token().clone());
    shutdown.spawn(async move {
        let mut failures = 0;
        while !stop.is_cancelled() {
            let pause = match run_tick(&mut worker, env.now()).await {
                Ok(Next::Again) => {
                    failures = 0;
                    // One full worker must not starve its neighbours on this thread.
                    tokio::task::yield_now().await;
                    continue;
                }
                Ok(Next::Wait) => {
                    failures = 0;
                    worker.interval()
                }
                Err(()) => {
                    failures += 1;
                    pause_after(failures, worker.interval())
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = notify.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    });
    waker
}

/// The interval, doubled for every failure after the first.
fn pause_after(failures: u32, interval: Duration) -> Duration {
    let factor = 2_u32.saturating_pow(failures.saturating_sub(1).min(16));
    interval.saturating_mul(factor).min(LONGEST_PAUSE.max(interval))
}

/// One tick with its span, its metrics and its failure handled. A panic is a failure like any other:
/// the loop is the owner, and a worker that silently ended would be missed too late.
async fn run_tick<W: Worker>(worker: &mut W, now: Timestamp) -> Result<Next, ()> {
    let (name, begun) = (worker.name(), Instant::now());
    let span = tracing::debug_span!("worker.tick", worker = name);
    let done = AssertUnwindSafe(worker.tick(now).instrument(span)).catch_unwind().await;
    metrics::histogram!("steelyard_worker_tick_seconds", "worker" => name).record(begun.elapsed().as_secs_f64());
    match done {
        Ok(Ok(next)) => Ok(next),
        Ok(Err(error)) => {
            metrics::counter!("steelyard_worker_failures_total", "worker" => name).increment(1);
            tracing::error!(worker = name, error = %Chain(&error), "tick failed");
            Err(())
        }
        Err(_panic) => {
            metrics::counter!("steelyard_worker_failures_total", "worker" => name).increment(1);
            tracing::error!(worker = name, "tick panicked");
            Err(())
        }
    }
}

/// An error with its causes on one line.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        std::iter::successors(self.0.source(), |cause| cause.source()).try_for_each(|cause| write!(f, ": {cause}"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    /// Does as the script says, one line per tick, and reports each tick's number.
    struct Scripted {
        script: Vec<Line>,
        ticks: usize,
        report: mpsc::UnboundedSender<usize>,
    }

    #[derive(Clone, Copy)]
    enum Line {
        Wait,
        Again,
        Fail,
        Panic,
    }

    impl Worker for Scripted {
        type Error = std::io::Error;

        fn name(&self) -> &'static str {
            "test.scripted"
        }

        fn interval(&self) -> Duration {
            // Long: only what the loop does without waiting can happen in a test.
            Duration::from_secs(3_600)
        }

        async fn tick(&mut self, _now: Timestamp) -> Result<Next, std::io::Error> {
            let line = self.script.get(self.ticks).copied().unwrap_or(Line::Wait);
            self.ticks += 1;
            self.report.send(self.ticks).unwrap();
            match line {
                Line::Wait => Ok(Next::Wait),
                Line::Again => Ok(Next::Again),
                Line::Fail => Err(std::io::Error::other("scripted")),
                Line::Panic => panic!("scripted"),
            }
        }
    }

    fn scripted(script: &[Line]) -> (Scripted, mpsc::UnboundedReceiver<usize>) {
        let (report, reports) = mpsc::unbounded_channel();
        (Scripted { script: script.to_vec(), ticks: 0, report }, reports)
    }

    #[tokio::test]
    async fn work_left_over_is_done_at_once_and_a_wake_cuts_the_pause_short() {
        let (worker, mut reports) = scripted(&[Line::Again, Line::Again, Line::Wait]);
        let shutdown = Shutdown::new();
        let waker = spawn(Env::system(), worker, &shutdown);
        for tick in 1..=3 {
            assert_eq!(reports.recv().await, Some(tick));
        }
        waker.wake();
        assert_eq!(reports.recv().await, Some(4));
        assert_eq!(shutdown.drain(Duration::from_secs(10)).await, crate::shutdown::Drain::Clean);
    }

    #[tokio::test]
    async fn neither_a_failure_nor_a_panic_ends_the_loop() {
        let (worker, mut reports) = scripted(&[Line::Fail, Line::Panic, Line::Wait]);
        let shutdown = Shutdown::new();
        let waker = spawn(Env::system(), worker, &shutdown);
        for tick in 1..=3 {
            assert_eq!(reports.recv().await, Some(tick));
            waker.wake();
        }
        shutdown.drain(Duration::from_secs(10)).await;
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        let second = Duration::from_secs(1);
        assert_eq!(pause_after(1, second), second);
        assert_eq!(pause_after(3, second), 4 * second);
        assert_eq!(pause_after(60, second), LONGEST_PAUSE);
        assert_eq!(pause_after(2, 2 * LONGEST_PAUSE), 2 * LONGEST_PAUSE);
    }
}

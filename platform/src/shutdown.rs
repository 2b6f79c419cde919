//! Stopping in order: first no new work, then what is under way, then whatever is left, by force.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Owner of every task in the process. Cheap to clone; all clones are the same owner.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Cancelled when stopping begins: take no new work.
    soft: CancellationToken,
    /// Cancelled when the deadline has passed: tasks are dropped where they stand.
    hard: CancellationToken,
    tracker: TaskTracker,
}

/// How stopping ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// Every task came to its own end.
    Clean,
    /// So many had to be dropped.
    Abandoned(usize),
}

impl Shutdown {
    /// An owner without tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when stopping begins.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.soft
    }

    /// Waits until stopping begins.
    pub async fn begun(&self) {
        self.soft.cancelled().await;
    }

    /// Whether stopping has begun.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Begins to stop. Repeating it changes nothing.
    pub fn begin(&self) {
        self.soft.cancel();
    }

    /// Runs `task` under this owner. It is dropped where it stands when the drain's deadline passes, so
    /// guards in it still do their work.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let hard = self.hard.clone();
        self.tracker.spawn(async move { hard.run_until_cancelled_owned(task).await })
    }

    /// Tasks that have not ended.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.tracker.len()
    }

    /// Begins to stop, waits up to `deadline` for every task to end, then drops the rest.
    pub async fn drain(&self, deadline: Duration) -> Drain {
        self.begin();
        self.tracker.close();
        if tokio::time::timeout(deadline, self.tracker.wait()).await.is_ok() {
            return Drain::Clean;
        }
        let left = self.tracker.len();
        tracing::warn!(tasks = left, "deadline passed, tasks are dropped");
        self.hard.cancel();
        // Dropping takes no time of its own, but work that only was tracked may ignore us.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.tracker.wait()).await;
        Drain::Abandoned(left)
    }

    /// Begins to stop at the first SIGTERM or Ctrl-C. A second one ends the process on the spot: what a
    /// crash would lose is lost, and nothing more.
    ///
    /// # Errors
    /// When the system does not let signals be handled.
    pub fn on_signals(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let soft = self.soft.clone();
        // Not tracked: it waits for the second signal until the process is gone.
        tokio::spawn(async move {
            let mut next = async || {
                tokio::select! {
                    _ = term.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                }
            };
            let first = next().await;
            tracing::info!(signal = first, "stopping; a second signal stops at once");
            soft.cancel();
            let second = next().await;
            tracing::warn!(signal = second, "stopping at once");
            std::process::exit(130);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    struct SetOnDrop(Arc<AtomicBool>);

    impl Drop for SetOnDrop {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn tasks_that_listen_end_by_themselves() {
        let shutdown = Shutdown::new();
        let listener = shutdown.clone();
        shutdown.spawn(async move { listener.begun().await });
        assert_eq!(shutdown.in_flight(), 1);
        assert_eq!(shutdown.drain(Duration::from_secs(10)).await, Drain::Clean);
        assert!(shutdown.is_stopping());
    }

    #[tokio::test]
    async fn tasks_that_do_not_are_dropped_with_their_guards() {
        let shutdown = Shutdown::new();
        let dropped = Arc::new(AtomicBool::new(false));
        let guard = SetOnDrop(Arc::clone(&dropped));
        shutdown.spawn(async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        });
        assert_eq!(shutdown.drain(Duration::from_millis(1)).await, Drain::Abandoned(1));
        assert!(dropped.load(Ordering::SeqCst));
    }
}

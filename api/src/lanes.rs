//! Threads that each serve connections of their own.
//!
//! A connection stays on its lane with all that answers it, its calls to direct nodes included: nothing of an answer
//! wakes another thread, and none is stolen. What belongs to no connection, such as the books, runs on the shared
//! runtime as it does without lanes.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

thread_local! {
    static LANE: Cell<usize> = const { Cell::new(0) };
}

/// The lane this thread serves, counted from 1; 0 on the shared runtime.
#[must_use]
pub fn here() -> usize {
    LANE.get()
}

/// The lanes of one server. Dropped, they stop with whatever is left on them.
pub struct Lanes {
    handles: Vec<Handle>,
    next: AtomicUsize,
    stop: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

impl Lanes {
    /// Starts `count` lanes; with none, connections are served on the runtime that is current.
    ///
    /// # Errors
    /// When the system gives no thread or no event queue.
    pub fn start(count: usize) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let mut lanes = Self { handles: vec![], next: AtomicUsize::new(0), stop, threads: vec![] };
        for lane in 1..=count {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            lanes.handles.push(runtime.handle().clone());
            let stop = lanes.stop.clone();
            let thread = std::thread::Builder::new().name(format!("lane-{lane}")).spawn(move || {
                LANE.set(lane);
                runtime.block_on(stop.cancelled());
            });
            lanes.threads.push(thread?);
        }
        if lanes.handles.is_empty() {
            lanes.handles.push(Handle::current());
        }
        Ok(lanes)
    }

    /// Where the next connection is served: each lane in turn.
    #[must_use]
    pub fn next(&self) -> &Handle {
        &self.handles[self.next.fetch_add(1, Ordering::Relaxed) % self.handles.len()]
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a lane panicked");
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_goes_to_each_lane_in_turn_and_stays_there() {
        let lanes = Lanes::start(2).unwrap();
        let mut seen = Vec::new();
        for _ in 0..4 {
            let here = lanes.next().spawn(async {
                let before = here();
                tokio::task::yield_now().await;
                (before, here(), tokio::spawn(async { here() }).await.unwrap())
            });
            seen.push(here.await.unwrap());
        }
        assert_eq!(seen, [(1, 1, 1), (2, 2, 2), (1, 1, 1), (2, 2, 2)]);
        assert_eq!(here(), 0);
    }

    #[tokio::test]
    async fn without_lanes_the_shared_runtime_serves() {
        let lanes = Lanes::start(0).unwrap();
        assert_eq!(lanes.next().spawn(async { here() }).await.unwrap(), 0);
    }
}

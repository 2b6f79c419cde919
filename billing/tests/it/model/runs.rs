//! Many histories: several at once, each of them alone with its seed, until all are gone through, enough have
//! failed, or somebody presses Ctrl-C.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// What a change is tried with: few enough to check the books after every step.
const CHECKED_THROUGHOUT: u64 = 2;
/// Beyond that the books are checked once in this many steps: one check costs as much as several steps.
const CHECK_STEPS: u32 = 20;
/// Histories at once for each core: a history waits for much of its time, as after a cut connection.
const PER_CORE: usize = 2;
/// The server has room for two hundred connections, and a history takes twenty.
const MOST_AT_ONCE: usize = 8;
/// Failures that end a run: more would say the same.
const MOST_FAILURES: usize = 10;

/// Histories of consecutive seeds.
struct Runs {
    first: u64,
    count: u64,
    began: Instant,
    begun: AtomicU64,
    over: Arc<AtomicBool>,
    tally: Mutex<Tally>,
}

#[derive(Default)]
struct Tally {
    done: u64,
    failed: Vec<u64>,
}

/// Goes through as many histories as the environment asks for. `history` gets a seed and how many steps to take
/// between two checks; it fails by panicking.
pub fn go_through(history: fn(u64, u32)) {
    let number = |name| std::env::var(name).ok().and_then(|n| n.parse().ok());
    let first = number("STEELYARD_MODEL_SEED").unwrap_or(1);
    let count = number("STEELYARD_MODEL_RUNS").unwrap_or(CHECKED_THROUGHOUT);
    let check_steps = if count > CHECKED_THROUGHOUT { CHECK_STEPS } else { 1 };
    let (began, over) = (Instant::now(), interrupted());
    let runs = Runs { first, count, began, begun: AtomicU64::new(0), over, tally: Mutex::default() };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..(cores * PER_CORE).min(MOST_AT_ONCE) {
            scope.spawn(|| {
                while let Some(seed) = runs.begin() {
                    // A thread's name is part of what it says when it panics.
                    let named = std::thread::Builder::new().name(format!("seed {seed}"));
                    let thread = named.spawn(move || history(seed, check_steps)).unwrap();
                    runs.end(seed, thread.join().is_ok());
                }
            });
        }
    });
    let Tally { done, failed } = runs.tally.into_inner().unwrap();
    if done < count {
        println!("ended early: {done} of {count} histories from seed {first} on, {} failed", failed.len());
    }
    assert!(failed.is_empty(), "{} of {done} histories failed: seeds {failed:?}", failed.len());
}

impl Runs {
    /// The next seed, while there are any and nothing ended the run.
    fn begin(&self) -> Option<u64> {
        if self.over.load(Ordering::Relaxed) {
            return None;
        }
        let nth = self.begun.fetch_add(1, Ordering::Relaxed);
        (nth < self.count).then(|| self.first + nth)
    }

    fn end(&self, seed: u64, in_order: bool) {
        let mut tally = self.tally.lock().unwrap();
        tally.done += 1;
        let (done, count, took) = (tally.done, self.count, self.began.elapsed());
        let left = (took * u32::try_from(count - done).unwrap() / u32::try_from(done).unwrap()).as_secs();
        let how = if in_order { "in order" } else { "FAILED" };
        println!("seed {seed}: {how}; {done} of {count} in {} s, {left} s to go", took.as_secs());
        if in_order {
            return;
        }
        println!("STEELYARD_MODEL_SEED={seed} STEELYARD_MODEL_RUNS=1 repeats it with a check after every step");
        tally.failed.push(seed);
        if tally.failed.len() >= MOST_FAILURES {
            self.over.store(true, Ordering::Relaxed);
        }
    }
}

/// Becomes true with Ctrl-C: histories under way are gone through to their end, so that what is known is kept.
fn interrupted() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&flag);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            told.store(true, Ordering::Relaxed);
        }
    });
    flag
}

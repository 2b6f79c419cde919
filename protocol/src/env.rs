//! Time and chance, handed in: the edge reads the clock and mints ids, everything below takes values.

use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use crate::id::Id;
use crate::time::{Clock, ManualClock, SystemClock, Timestamp};

/// A source of random bytes.
pub trait Entropy: Send + Sync + 'static {
    /// Fills all of `buffer`.
    fn fill(&self, buffer: &mut [u8]);
}

/// The operating system's generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        // Without randomness no key or id can be made safely; stopping is the only honest answer.
        getrandom::fill(buffer).expect("the operating system's random generator works");
    }
}

/// The same bytes for the same seed, for tests: an extendable hash read on and on.
pub struct SeededEntropy(Mutex<blake3::OutputReader>);

impl SeededEntropy {
    /// Bytes that depend on `seed` only.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof()))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(buffer);
    }
}

/// Clock and entropy together. Cheap to clone.
#[derive(Clone)]
pub struct Env {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Env {
    /// Any clock with any source of randomness.
    #[must_use]
    pub fn new(clock: impl Clock, entropy: impl Entropy) -> Self {
        Self { clock: Arc::new(clock), entropy: Arc::new(entropy) }
    }

    /// The machine's clock and generator.
    #[must_use]
    pub fn system() -> Self {
        Self::new(SystemClock, SystemEntropy)
    }

    /// A clock that moves when told, and bytes fixed by `seed`.
    #[must_use]
    pub fn manual(start: Timestamp, seed: u64) -> (Self, ManualClock) {
        let clock = ManualClock::new(start);
        (Self::new(clock.clone(), SeededEntropy::new(seed)), clock)
    }

    /// The current instant.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Fills `buffer` with random bytes.
    pub fn fill(&self, buffer: &mut [u8]) {
        self.entropy.fill(buffer);
    }

    /// `N` random bytes.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// A seed for a generator that makes many cheap draws.
    #[must_use]
    pub fn seed(&self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }

    /// A new id dated now: UUIDv7, milliseconds first, so ids sort by age.
    #[must_use]
    pub fn mint<T: Id>(&self) -> T {
        self.mint_at(self.now())
    }

    /// A new id dated `at`.
    #[must_use]
    pub fn mint_at<T: Id>(&self, at: Timestamp) -> T {
        let ms = u64::try_from(at.unix_ms()).unwrap_or(0);
        T::from_uuid(uuid::Builder::from_unix_timestamp_millis(ms, &self.bytes()).into_uuid())
    }
}

impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Env")
    }
}

/// When a UUIDv7 was made, to the millisecond; `None` for any other UUID.
#[must_use]
pub fn minted_at(uuid: Uuid) -> Option<Timestamp> {
    if uuid.get_version_num() != 7 {
        return None;
    }
    let (high, _) = uuid.as_u64_pair();
    i64::try_from(high >> 16).ok().map(Timestamp::from_unix_ms)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::RequestId;

    #[test]
    fn the_same_seed_mints_the_same_ids() {
        let start = Timestamp::from_unix_seconds(1_700_000_000);
        let (one, _) = Env::manual(start, 7);
        let (two, _) = Env::manual(start, 7);
        assert_eq!(one.mint::<RequestId>(), two.mint::<RequestId>());
        assert_ne!(one.mint::<RequestId>(), two.mint_at::<RequestId>(start.plus(std::time::Duration::from_secs(1))));
    }

    #[test]
    fn an_id_tells_when_it_was_minted() {
        let start = Timestamp::from_unix_ms(1_700_000_000_123);
        let (env, _) = Env::manual(start, 1);
        assert_eq!(minted_at(env.mint::<RequestId>().uuid()).unwrap(), start);
        assert_eq!(minted_at(Uuid::nil()), None);
    }
}

//! The sampling seed sent with an answer whose caller gave none.
//!
//! With it, sampled text can be judged token by token afterwards, at no cost to the node.

use protocol::{Id, RequestId};

/// A key from which seeds are derived; replaced daily by who holds it.
#[derive(Clone)]
pub struct SeedKey([u8; 32]);

impl SeedKey {
    /// Wraps 32 secret bytes.
    #[must_use]
    pub const fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The seed of one attempt: 31 bits, which every engine accepts.
    #[must_use]
    pub fn seed(&self, generation: RequestId, attempt: u32) -> u32 {
        let mut input = [0_u8; 20];
        input[..16].copy_from_slice(generation.uuid().as_bytes());
        input[16..].copy_from_slice(&attempt.to_be_bytes());
        let hash = blake3::keyed_hash(&self.0, &input);
        let [a, b, c, d, ..] = *hash.as_bytes();
        u32::from_be_bytes([a, b, c, d]) >> 1
    }
}

impl std::fmt::Debug for SeedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SeedKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn seeds_differ_by_key_generation_and_attempt_and_fit_31_bits() {
        let generation = |n| RequestId::from_uuid(Uuid::from_u128(n));
        let (one, two) = (SeedKey::new([1; 32]), SeedKey::new([2; 32]));
        let seeds = [
            one.seed(generation(1), 0),
            one.seed(generation(1), 1),
            one.seed(generation(2), 0),
            two.seed(generation(1), 0),
        ];
        for (index, seed) in seeds.iter().enumerate() {
            assert!(*seed < 1 << 31 && !seeds[..index].contains(seed));
        }
        assert_eq!(seeds[0], one.seed(generation(1), 0));
    }
}

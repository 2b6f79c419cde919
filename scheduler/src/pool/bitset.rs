//! Sets of offers by index: combined a machine word at a time.

/// A set of indices below a fixed length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bitset {
    words: Vec<u64>,
    len: usize,
}

impl Bitset {
    /// Nothing, of indices below `len`.
    #[must_use]
    pub fn empty(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)], len }
    }

    /// All indices below `len`.
    #[must_use]
    pub fn full(len: usize) -> Self {
        let mut set = Self { words: vec![u64::MAX; len.div_ceil(64)], len };
        if let Some(last) = set.words.last_mut()
            && !len.is_multiple_of(64)
        {
            *last = (1 << (len % 64)) - 1;
        }
        set
    }

    /// The indices for which `test` holds.
    #[must_use]
    pub fn from_fn(len: usize, mut test: impl FnMut(usize) -> bool) -> Self {
        let mut set = Self::empty(len);
        (0..len).filter(|index| test(*index)).for_each(|index| set.insert(index));
        set
    }

    /// One past the largest index it may hold.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// True when it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Adds an index below [`Bitset::len`].
    pub fn insert(&mut self, index: usize) {
        self.words[index / 64] |= 1 << (index % 64);
    }

    /// Takes an index out.
    pub fn remove(&mut self, index: usize) {
        self.words[index / 64] &= !(1 << (index % 64));
    }

    /// Whether it holds `index`.
    #[must_use]
    pub fn contains(&self, index: usize) -> bool {
        self.words[index / 64] >> (index % 64) & 1 == 1
    }

    /// How many it holds.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Keeps what `other` holds too.
    pub fn intersect(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(own, other)| *own &= other);
    }

    /// Drops what `other` holds.
    pub fn subtract(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(own, other)| *own &= !other);
    }

    /// Adds what `other` holds.
    pub fn union(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(own, other)| *own |= other);
    }

    /// Keeps the members for which `test` holds.
    pub fn retain(&mut self, mut test: impl FnMut(usize) -> bool) {
        for (at, word) in self.words.iter_mut().enumerate() {
            let mut rest = *word;
            while rest != 0 {
                let bit = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                if !test(at * 64 + bit) {
                    *word &= !(1 << bit);
                }
            }
        }
    }

    /// Its members, rising.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.iter_from(0)
    }

    /// Its members from `start` on, then those before it.
    pub fn iter_wrapping(&self, start: usize) -> impl Iterator<Item = usize> + '_ {
        self.iter_from(start).chain(self.iter_from(0).take_while(move |index| *index < start))
    }

    fn iter_from(&self, start: usize) -> impl Iterator<Item = usize> + '_ {
        let first = start / 64;
        let mask = move |at: usize| if at == first { u64::MAX << (start % 64) } else { u64::MAX };
        self.words.iter().enumerate().skip(first).flat_map(move |(at, word)| Ones(*word & mask(at), at * 64))
    }
}

/// The set bits of one word, with the index of its lowest.
struct Ones(u64, usize);

impl Iterator for Ones {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(self.1 + bit)
    }
}

/// The offers that share one value of a constraint: dense where many do, a list where few do, so
/// that ten thousand providers do not cost ten thousand bitsets.
#[derive(Debug, Clone)]
pub enum Postings {
    /// Most offers.
    Dense(Bitset),
    /// Few offers.
    Sparse(Vec<u32>),
}

impl Postings {
    /// Picks the smaller form. `indices` must be below `len`.
    #[must_use]
    pub fn new(indices: Vec<u32>, len: usize) -> Self {
        // A list entry takes 32 bits, a bitset one bit per offer.
        if indices.len() * 32 < len {
            return Self::Sparse(indices);
        }
        let mut set = Bitset::empty(len);
        indices.iter().for_each(|index| set.insert(*index as usize));
        Self::Dense(set)
    }

    /// Adds these offers to `set`.
    pub fn add_to(&self, set: &mut Bitset) {
        match self {
            Self::Dense(own) => set.union(own),
            Self::Sparse(own) => own.iter().for_each(|index| set.insert(*index as usize)),
        }
    }

    /// Takes these offers out of `set`.
    pub fn remove_from(&self, set: &mut Bitset) {
        match self {
            Self::Dense(own) => set.subtract(own),
            Self::Sparse(own) => own.iter().for_each(|index| set.remove(*index as usize)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn a_bitset_is_a_set(len in 1..200_usize, a in prop::collection::vec(any::<prop::sample::Index>(), 0..50),
                             b in prop::collection::vec(any::<prop::sample::Index>(), 0..50), start in any::<prop::sample::Index>()) {
            let pick = |v: &[prop::sample::Index]| v.iter().map(|i| i.index(len)).collect::<BTreeSet<_>>();
            let (a, b, start) = (pick(&a), pick(&b), start.index(len));
            let of = |s: &BTreeSet<usize>| Bitset::from_fn(len, |i| s.contains(&i));
            let mut set = of(&a);
            prop_assert_eq!(set.iter().collect::<BTreeSet<_>>(), a.clone());
            prop_assert_eq!(set.count() as usize, a.len());
            let wrapped: Vec<_> = set.iter_wrapping(start).collect();
            let expected: Vec<_> = a.range(start..).chain(a.range(..start)).copied().collect();
            prop_assert_eq!(wrapped, expected);
            Postings::new(b.iter().map(|i| *i as u32).collect(), len).add_to(&mut set);
            prop_assert_eq!(&set, &of(&a.union(&b).copied().collect()));
            Postings::new(b.iter().map(|i| *i as u32).collect(), len).remove_from(&mut set);
            prop_assert_eq!(&set, &of(&a.difference(&b).copied().collect()));
            prop_assert_eq!(Bitset::full(len).count() as usize, len);
        }
    }
}

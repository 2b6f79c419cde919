//! Pieces of text that are one token.

use std::hash::Hasher;

use hashbrown::HashTable;

/// A set of byte strings in one allocation: a vocabulary has two hundred thousand of them, of six bytes each.
#[derive(Default)]
pub(super) struct Pieces {
    bytes: Vec<u8>,
    /// Where each piece ends and the next one begins.
    ends: Vec<u32>,
    table: HashTable<u32>,
}

impl Pieces {
    /// Adds a piece that is not there yet.
    pub(super) fn insert(&mut self, piece: &[u8]) {
        let at = u32::try_from(self.ends.len()).expect("a vocabulary is smaller than that");
        self.bytes.extend_from_slice(piece);
        self.ends.push(u32::try_from(self.bytes.len()).expect("a vocabulary is smaller than that"));
        let Self { bytes, ends, table } = self;
        table.insert_unique(hash(piece), at, |at| hash(piece_at(bytes, ends, *at)));
    }

    /// Whether a piece is in the set.
    pub(super) fn contains(&self, piece: &[u8]) -> bool {
        self.table.find(hash(piece), |at| piece_at(&self.bytes, &self.ends, *at) == piece).is_some()
    }

    /// Gives back what was allocated for more.
    pub(super) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
    }
}

fn piece_at<'a>(bytes: &'a [u8], ends: &[u32], at: u32) -> &'a [u8] {
    let at = at as usize;
    let start = if at == 0 { 0 } else { ends[at - 1] };
    &bytes[start as usize..ends[at] as usize]
}

fn hash(piece: &[u8]) -> u64 {
    let mut mixer = Mixer::default();
    mixer.write(piece);
    mixer.finish()
}

/// A quick hash. The tables are filled from a vocabulary and never from requests, so nobody can
/// aim at a slow case that lasts.
#[derive(Default)]
pub(super) struct Mixer(u64);

impl Mixer {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u32(&mut self, word: u32) {
        self.mix(u64::from(word));
    }

    fn finish(&self) -> u64 {
        // The table takes its bits from both ends.
        self.0 ^ (self.0 >> 32)
    }
}

//! Counting tokens without making them.
//!
//! The library builds offsets, alignments and texts for every token, at about 1.5 µs each. A bill
//! needs their number, and most words are one token, found with one look-up.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::BuildHasherDefault;

use super::chars;
use super::cut::Cut;
use super::pieces::{Mixer, Pieces};

/// Pieces up to this many bytes are merged by scanning, longer ones with a heap, which costs more
/// to set up and keeps a megabyte of one letter from taking quadratic time.
const SCAN_BYTES: usize = 48;
/// No token, in [`Encoder::bytes`].
const NONE: u32 = u32::MAX;

/// A byte-level vocabulary, arranged for counting.
pub(super) struct Encoder {
    cut: Cut,
    /// The token of each byte. Some vocabularies lack a few bytes, which then count nothing.
    bytes: [u32; 256],
    /// For two neighbouring tokens, the rank of their merge and what it makes.
    merges: HashMap<(u32, u32), (u32, u32), BuildHasherDefault<Mixer>>,
    /// Pieces that are one token.
    whole: Pieces,
    /// Tokens matched before anything else, longest first.
    added: Vec<Box<[u8]>>,
    /// Which bytes such a token can begin with.
    begins_added: [bool; 256],
}

impl Encoder {
    /// One that knows no token yet.
    pub(super) fn empty(cut: Cut) -> Self {
        Self {
            cut,
            bytes: [NONE; 256],
            merges: HashMap::default(),
            whole: Pieces::default(),
            added: Vec::new(),
            begins_added: [false; 256],
        }
    }

    /// A byte is this token.
    pub(super) fn add_byte(&mut self, byte: u8, token: u32) {
        self.bytes[usize::from(byte)] = token;
    }

    /// Two neighbouring tokens become one. Of a repeated merge the last holds, as in the library.
    pub(super) fn add_merge(&mut self, pair: (u32, u32), rank: u32, made: u32) {
        self.merges.insert(pair, (rank, made));
    }

    /// A piece is one token.
    pub(super) fn add_whole(&mut self, piece: &[u8]) {
        self.whole.insert(piece);
    }

    /// These are tokens wherever they appear.
    pub(super) fn add_everywhere(&mut self, tokens: impl IntoIterator<Item = String>) {
        self.added.extend(tokens.into_iter().map(|token| Box::from(token.into_bytes())));
        self.added.retain(|token| !token.is_empty());
        self.added.sort_by_key(|token| Reverse(token.len()));
        self.added.iter().for_each(|token| self.begins_added[usize::from(token[0])] = true);
    }

    /// Ends the arranging.
    pub(super) fn ready(mut self) -> Self {
        self.whole.shrink();
        self.merges.shrink_to_fit();
        chars::prepare();
        self
    }

    /// How many tokens a text is.
    pub(super) fn count(&self, text: &str) -> u64 {
        let bytes = text.as_bytes();
        let (mut total, mut start, mut at) = (0, 0, 0);
        while let Some(skip) = bytes[at..].iter().position(|byte| self.begins_added[usize::from(*byte)]) {
            at += skip;
            let Some(token) = self.added.iter().find(|token| bytes[at..].starts_with(token)) else {
                at += 1;
                continue;
            };
            total += self.count_plain(&text[start..at]) + 1;
            at += token.len();
            start = at;
        }
        total + self.count_plain(&text[start..])
    }

    fn count_plain(&self, text: &str) -> u64 {
        let mut total = 0;
        self.cut.pieces(text, |piece| {
            let piece = piece.as_bytes();
            total += if self.whole.contains(piece) { 1 } else { self.merged(piece) };
        });
        total
    }

    /// How many tokens are left of a piece when nothing more merges. The lowest rank goes first,
    /// and of equal ranks the leftmost.
    pub(super) fn merged(&self, piece: &[u8]) -> u64 {
        let ids = piece.iter().map(|byte| self.bytes[usize::from(*byte)]).filter(|id| *id != NONE);
        if piece.len() <= SCAN_BYTES { self.scan(ids.collect()) } else { self.heap(ids.collect()) }
    }

    fn rank(&self, left: u32, right: u32) -> Option<(u32, u32)> {
        self.merges.get(&(left, right)).copied()
    }

    fn scan(&self, mut ids: Vec<u32>) -> u64 {
        const NEVER: (u32, u32) = (NONE, NONE);
        let merge = |left: u32, right: u32| self.rank(left, right).unwrap_or(NEVER);
        let mut merges: Vec<_> = ids.windows(2).map(|pair| merge(pair[0], pair[1])).collect();
        while let Some((at, &(rank, made))) = merges.iter().enumerate().min_by_key(|(_, (rank, _))| *rank) {
            if rank == NONE {
                break;
            }
            ids[at] = made;
            ids.remove(at + 1);
            merges.remove(at);
            if at < merges.len() {
                merges[at] = merge(made, ids[at + 1]);
            }
            if at > 0 {
                merges[at - 1] = merge(ids[at - 1], made);
            }
        }
        ids.len() as u64
    }

    fn heap(&self, mut ids: Vec<u32>) -> u64 {
        let count = ids.len();
        // Neighbours by position; a token that was merged into its left neighbour has the id NONE.
        let mut left: Vec<usize> = (0..count).map(|at| at.wrapping_sub(1)).collect();
        let mut right: Vec<usize> = (1..=count).collect();
        let mut waiting = BinaryHeap::new();
        let offer = |waiting: &mut BinaryHeap<_>, ids: &[u32], at: usize, next: usize| {
            if let (Some(&one), Some(&other)) = (ids.get(at), ids.get(next))
                && let Some((rank, made)) = self.rank(one, other)
            {
                waiting.push(Reverse((rank, at, one, other, made)));
            }
        };
        for at in 0..count {
            offer(&mut waiting, &ids, at, at + 1);
        }
        let mut total = count as u64;
        while let Some(Reverse((_, at, one, other, made))) = waiting.pop() {
            let next = right[at];
            // Either may have been merged with something else since.
            if ids[at] != one || ids.get(next) != Some(&other) {
                continue;
            }
            ids[at] = made;
            ids[next] = NONE;
            right[at] = right[next];
            if let Some(after) = left.get_mut(right[next]) {
                *after = at;
            }
            total -= 1;
            offer(&mut waiting, &ids, at, right[at]);
            offer(&mut waiting, &ids, left[at], at);
        }
        total
    }
}

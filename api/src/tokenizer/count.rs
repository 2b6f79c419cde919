//! Counting tokens without making them.
//!
//! The library builds offsets, alignments and texts for every token, at about 1.5 µs each. A bill
//! needs their number, and most words are one token, found with one look-up.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use serde::Deserialize;
use serde_json::Value;

use super::cut::Cut;
use super::{Error, bpe};

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
    whole: HashSet<Box<[u8]>, BuildHasherDefault<Mixer>>,
    /// Tokens matched before anything else, longest first.
    added: Vec<Box<[u8]>>,
    /// Which bytes such a token can begin with.
    begins_added: [bool; 256],
}

/// The part of a `tokenizer.json` that decides counts.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    added_tokens: Vec<Added>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    model: Model,
}

#[derive(Deserialize)]
struct Added {
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    dropout: Option<f32>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    vocab: HashMap<String, u32>,
    merges: Vec<Merge>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Text(String),
}

impl Encoder {
    /// Arranges a `tokenizer.json`, or says with `None` that it is of a kind left to the library.
    ///
    /// # Errors
    /// [`Error::Vocabulary`] when a merge makes a token that isn't there.
    pub(super) fn read(json: &[u8]) -> Result<Option<Self>, Error> {
        // Vocabularies of other kinds have other fields; the library knows them all.
        let Ok(document) = serde_json::from_slice::<Document>(json) else { return Ok(None) };
        let Some(cut) = document.pre_tokenizer.as_ref().and_then(bpe::recognise) else { return Ok(None) };
        let plain = |added: &Added| !(added.single_word || added.lstrip || added.rstrip || added.normalized);
        if document.normalizer.is_some() || !document.added_tokens.iter().all(plain) || !document.model.is_plain() {
            return Ok(None);
        }
        let mut added: Vec<Box<[u8]>> =
            document.added_tokens.into_iter().map(|one| one.content.into_bytes().into()).collect();
        added.retain(|token| !token.is_empty());
        added.sort_by_key(|token| Reverse(token.len()));
        let mut begins_added = [false; 256];
        added.iter().for_each(|token| begins_added[usize::from(token[0])] = true);
        let model = document.model;
        let mut encoder = Self {
            cut,
            bytes: [NONE; 256],
            merges: HashMap::default(),
            whole: HashSet::default(),
            added,
            begins_added,
        };
        encoder.learn(&model)?;
        // The tables of characters are made on first use: now, rather than in somebody's request.
        encoder.count("é");
        Ok(Some(encoder))
    }

    fn learn(&mut self, model: &Model) -> Result<(), Error> {
        let byte_of: HashMap<char, u8> = (0..=255).map(|byte| (letter_of(byte), byte)).collect();
        for byte in 0..=255 {
            self.bytes[usize::from(byte)] =
                model.vocab.get(letter_of(byte).to_string().as_str()).copied().unwrap_or(NONE);
        }
        for (rank, merge) in (0..).zip(&model.merges) {
            let (left, right) = match merge {
                Merge::Pair(left, right) => (left.as_str(), right.as_str()),
                Merge::Text(text) => text.split_once(' ').unwrap_or_default(),
            };
            let id = |token: &str| {
                let id = model.vocab.get(token).copied();
                id.ok_or_else(|| Error::Vocabulary(format!("a merge names {token:?}, which is no token")))
            };
            let made = id(&format!("{left}{right}"))?;
            // Of a repeated merge the library keeps the last.
            self.merges.insert((id(left)?, id(right)?), (rank, made));
        }
        for token in model.vocab.keys() {
            let Some(bytes) = token.chars().map(|c| byte_of.get(&c).copied()).collect::<Option<Vec<u8>>>() else {
                continue;
            };
            if model.ignore_merges || self.merged(&bytes) == 1 {
                self.whole.insert(bytes.into());
            }
        }
        Ok(())
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
    fn merged(&self, piece: &[u8]) -> u64 {
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

impl Model {
    /// Whether this is byte-level merging and nothing else.
    fn is_plain(&self) -> bool {
        let unset = |text: &Option<String>| text.as_deref().unwrap_or_default().is_empty();
        self.kind.as_deref().unwrap_or("BPE") == "BPE"
            && self.dropout.is_none_or(|chance| chance == 0.0)
            && self.unk_token.is_none()
            && unset(&self.continuing_subword_prefix)
            && unset(&self.end_of_word_suffix)
            && !self.byte_fallback
    }
}

/// The letter that stands for a byte in byte-level vocabularies: itself where it can be printed,
/// else the next one from U+0100.
fn letter_of(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|byte| !printable(*byte)).count();
    char::from_u32(0x100 + u32::try_from(before).unwrap_or(0)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// A quick hash. The tables are filled from a vocabulary and never from requests, so nobody can
/// aim at a slow case that lasts.
#[derive(Default)]
struct Mixer(u64);

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

    fn write_usize(&mut self, word: usize) {
        self.mix(word as u64);
    }

    fn finish(&self) -> u64 {
        // The table takes its bits from both ends.
        self.0 ^ (self.0 >> 32)
    }
}

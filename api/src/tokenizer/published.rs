//! The vocabularies that are published as ranked byte strings, and found by name.
//!
//! Their own library finds the next merge by looking up the joined bytes of every two neighbours. It comes to the
//! same merges as tables of pairs do: what happens between two ends that nothing is merged across depends on
//! nothing else, so a token is always made of the two that it is made of alone.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use tiktoken_rs::CoreBPE;

use super::count::Encoder;
use super::cut::Cut;

/// The encoder of a vocabulary: `o200k_base` or `cl100k_base`. Arranged at the first call, which takes a good part
/// of a second.
pub(super) fn find(name: &str) -> Option<Arc<Encoder>> {
    static CL100K: LazyLock<Arc<Encoder>> = LazyLock::new(|| arrange(tiktoken_rs::cl100k_base(), Cut::Cl100k));
    static O200K: LazyLock<Arc<Encoder>> = LazyLock::new(|| arrange(tiktoken_rs::o200k_base(), Cut::O200k));
    match name {
        "cl100k_base" => Some(Arc::clone(&CL100K)),
        "o200k_base" => Some(Arc::clone(&O200K)),
        _ => None,
    }
}

fn arrange<E: std::fmt::Debug>(published: Result<CoreBPE, E>, cut: Cut) -> Arc<Encoder> {
    let published = published.expect("the vocabulary is part of the program");
    // The ranks end with a gap. Beyond it are control tokens, which no text is made of.
    let tokens: Vec<Vec<u8>> = (0..).map_while(|rank| published.decode_bytes(&[rank]).ok()).collect();
    let ranks: HashMap<&[u8], u32> = tokens.iter().map(Vec::as_slice).zip(0..).collect();
    let mut encoder = Encoder::empty(cut);
    for (token, rank) in tokens.iter().zip(0..) {
        encoder.add_whole(token);
        if let [byte] = token[..] {
            encoder.add_byte(byte, rank);
        }
        if let Some(pair) = halves(token, &ranks) {
            encoder.add_merge(pair, rank, rank);
        }
    }
    Arc::new(encoder.ready())
}

/// The two tokens that a token is merged from. `None` for a byte, and for what no merging comes to: that is a token
/// only where it is a whole piece.
fn halves(token: &[u8], ranks: &HashMap<&[u8], u32>) -> Option<(u32, u32)> {
    let mut ends: Vec<usize> = (0..=token.len()).collect();
    while ends.len() > 3 {
        let joined = |(at, ends): (usize, &[usize])| Some((*ranks.get(&token[ends[0]..ends[2]])?, at));
        let (_, at) = ends.windows(3).enumerate().filter_map(joined).min()?;
        ends.remove(at + 1);
    }
    let [start, middle, end] = ends[..] else { return None };
    Some((*ranks.get(&token[start..middle])?, *ranks.get(&token[middle..end])?))
}

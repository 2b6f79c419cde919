//! Counting an answer while it passes.

use std::sync::Arc;

use super::{Count, ModelTokenizer};
use crate::dialect::Channel;

/// Counts a generated answer as it passes by.
///
/// The pieces of a token may come in different chunks, so only the whole text has a count; until
/// then there are [`Counter::bounds`]. What is kept is the text as it came (the insides of JSON
/// string literals), so that the hot path only copies.
#[derive(Debug)]
pub struct Counter {
    tokenizer: Option<Arc<ModelTokenizer>>,
    /// One text for each choice and channel; nearly always one or two.
    lanes: Vec<Lane>,
    last: usize,
    pieces: u64,
    bytes: u64,
    /// Tokens of what was counted so far, piece by piece: hardly ever fewer than they are together.
    estimate: u64,
    /// Bytes that came since.
    uncounted: u64,
}

#[derive(Debug)]
struct Lane {
    choice: u32,
    channel: Channel,
    literal: Vec<u8>,
    /// How much of it is in the estimate.
    counted: usize,
}

impl Counter {
    /// A counter for one answer; without a tokenizer its result is [`Count::Unverified`].
    pub fn new(tokenizer: Option<Arc<ModelTokenizer>>) -> Self {
        Self { tokenizer, lanes: Vec::new(), last: 0, pieces: 0, bytes: 0, estimate: 0, uncounted: 0 }
    }

    /// Adds text that belongs to the first choice's content.
    pub fn push(&mut self, text: &str) {
        let literal = serde_json::to_string(text).expect("text is always representable as JSON");
        self.push_literal(0, Channel::Content, &literal.as_bytes()[1..literal.len() - 1]);
    }

    /// Adds the inside of a JSON string literal.
    pub fn push_literal(&mut self, choice: u32, channel: Channel, literal: &[u8]) {
        if literal.is_empty() {
            return;
        }
        self.pieces += 1;
        self.bytes += literal.len() as u64;
        self.uncounted += literal.len() as u64;
        let matches = |lane: &Lane| lane.choice == choice && lane.channel == channel;
        if !self.lanes.get(self.last).is_some_and(matches) {
            self.last = self.lanes.iter().position(matches).unwrap_or_else(|| {
                self.lanes.push(Lane { choice, channel, literal: Vec::with_capacity(1024), counted: 0 });
                self.lanes.len() - 1
            });
        }
        self.lanes[self.last].literal.extend_from_slice(literal);
    }

    /// How many pieces came, and how many bytes they were as JSON.
    ///
    /// Engines send at most one piece per token, and a token is at least one byte of text, so the
    /// count lies about between the two; several tokens to a piece are common, the reverse is not.
    pub fn bounds(&self) -> (u64, u64) {
        (self.pieces, self.bytes)
    }

    /// Whether more than `limit` tokens have come. Without a vocabulary a piece counts as one token, since
    /// engines send at most one piece for each.
    ///
    /// Cheap to ask after every piece: no token is less than a byte, so what has come is counted only where its
    /// bytes could pass the limit, and then only what is new. Close to the limit everything is counted together.
    pub fn passes(&mut self, limit: u64) -> bool {
        let Some(tokenizer) = &self.tokenizer else { return self.pieces > limit };
        if self.estimate + self.uncounted <= limit {
            return false;
        }
        for lane in &mut self.lanes {
            self.estimate += tokenizer.count_text(&unescape(&lane.literal[lane.counted..]));
            lane.counted = lane.literal.len();
        }
        self.uncounted = 0;
        if self.estimate > limit {
            self.estimate = self.lanes.iter().map(|lane| tokenizer.count_text(&unescape(&lane.literal))).sum();
        }
        self.estimate > limit
    }

    /// The text of one choice and channel so far.
    pub fn text(&self, choice: u32, channel: Channel) -> String {
        let lane = self.lanes.iter().find(|lane| lane.choice == choice && lane.channel == channel);
        lane.map(|lane| unescape(&lane.literal)).unwrap_or_default()
    }

    /// Counts everything that came.
    pub fn finish(self) -> Count {
        let Some(tokenizer) = &self.tokenizer else { return Count::Unverified };
        Count::Verified(self.lanes.iter().map(|lane| tokenizer.count_text(&unescape(&lane.literal))).sum())
    }

    /// Counts what came on one channel, of all choices.
    pub fn count_channel(&self, channel: Channel) -> Count {
        let Some(tokenizer) = &self.tokenizer else { return Count::Unverified };
        let lanes = self.lanes.iter().filter(|lane| lane.channel == channel);
        Count::Verified(lanes.map(|lane| tokenizer.count_text(&unescape(&lane.literal))).sum())
    }
}

/// The text of the inside of a JSON string literal. Half a surrogate pair becomes a replacement
/// character: a stream may end between the halves.
fn unescape(literal: &[u8]) -> String {
    let mut text = String::with_capacity(literal.len());
    let mut rest = literal;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        text.push_str(&String::from_utf8_lossy(&rest[..at]));
        let escape = rest.get(at + 1).copied().unwrap_or(b'\\');
        rest = rest.get(at + 2..).unwrap_or_default();
        match escape {
            b'n' => text.push('\n'),
            b't' => text.push('\t'),
            b'r' => text.push('\r'),
            b'b' => text.push('\u{8}'),
            b'f' => text.push('\u{c}'),
            b'u' => {
                let first = hex4(rest).unwrap_or(0xfffd);
                rest = rest.get(4..).unwrap_or_default();
                let second = rest.strip_prefix(b"\\u").and_then(hex4).filter(|low| (0xdc00..0xe000).contains(low));
                let whole = match second {
                    Some(low) if (0xd800..0xdc00).contains(&first) => {
                        rest = &rest[6..];
                        0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00)
                    }
                    _ => first,
                };
                text.push(char::from_u32(whole).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            other => text.push(char::from(other)),
        }
    }
    text.push_str(&String::from_utf8_lossy(rest));
    text
}

fn hex4(digits: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(digits.get(..4)?).ok()?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::tests::tokenizer;

    #[test]
    fn a_counter_counts_the_joined_text() {
        let tokenizer = Arc::new(tokenizer("smollm"));
        let mut counter = Counter::new(Some(tokenizer.clone()));
        for piece in ["h", "el", "lo \"", "😀\n", "he12"] {
            counter.push(piece);
        }
        assert_eq!(counter.bounds().0, 5);
        assert_eq!(counter.text(0, Channel::Content), "hello \"😀\nhe12");
        assert_eq!(counter.finish(), Count::Verified(tokenizer.count_text("hello \"😀\nhe12")));
        // Choices and channels are texts of their own.
        let mut counter = Counter::new(Some(tokenizer));
        counter.push_literal(0, Channel::Content, b"h");
        counter.push_literal(1, Channel::Content, b"e");
        counter.push_literal(0, Channel::Content, b"e");
        counter.push_literal(0, Channel::Reasoning, b"he");
        assert_eq!(counter.count_channel(Channel::Reasoning), Count::Verified(1));
        assert_eq!(counter.finish(), Count::Verified(3));
        assert_eq!(Counter::new(None).finish(), Count::Unverified);
    }

    #[test]
    fn escapes_cut_anywhere_are_read_once_joined() {
        let text = "\u{1}\"\\/\u{8}\u{c}\n\r\té😀";
        let literal = br#"\u0001\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00"#;
        assert_eq!(unescape(literal), text);
        assert_eq!(unescape(br"\ud83d"), "\u{fffd}");
        assert_eq!(unescape(br"\ud83dx\ude00"), "\u{fffd}x\u{fffd}");
    }
}

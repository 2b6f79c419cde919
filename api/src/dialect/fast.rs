//! Recognising chunks that differ from an earlier one only in their text.

use bytes::{Bytes, BytesMut};

use super::wire::Channel;

/// How many shapes are remembered: a few interleaved choices, each with reasoning and content.
const MAX_SHAPES: usize = 16;

/// Shapes of chunks seen so far in one stream.
///
/// A chunk that equals a parsed one up to its text and after it means the same, so only the text
/// needs a look. Engines keep these bytes constant for a whole answer or, where they stamp each
/// chunk with the second, for a second.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    shapes: Vec<Shape>,
    /// The one that matched last: nearly always the next to match.
    last: usize,
    /// The one to replace when all places are taken.
    oldest: usize,
}

/// A chunk's bytes around its text, and ours.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) choice: u32,
    pub(super) channel: Channel,
    before: Box<[u8]>,
    after: Box<[u8]>,
    /// Our own frame around the text, where the voice has one that is always the same.
    pub(super) out: Option<Around>,
}

/// A frame of ours that differs from piece to piece in its text only.
#[derive(Clone, Debug)]
pub struct Around {
    /// The bytes before the text.
    pub before: Bytes,
    /// Where the text is said a second time, the bytes between.
    pub between: Option<Bytes>,
    /// The bytes after it.
    pub after: Bytes,
}

impl Around {
    /// Appends the frame with `text` in it.
    pub(super) fn fill(&self, text: &[u8], out: &mut BytesMut) {
        out.extend_from_slice(&self.before);
        out.extend_from_slice(text);
        if let Some(between) = &self.between {
            out.extend_from_slice(between);
            out.extend_from_slice(text);
        }
        out.extend_from_slice(&self.after);
    }
}

impl Shapes {
    /// Finds the shape of a chunk and the inside of its text literal.
    pub(super) fn find<'d>(&mut self, data: &'d [u8]) -> Option<(&Shape, &'d [u8])> {
        let count = self.shapes.len();
        for step in 0..count {
            let index = (self.last + step) % count;
            if let Some(text) = self.shapes[index].text(data) {
                self.last = index;
                return Some((&self.shapes[index], text));
            }
        }
        None
    }

    /// Remembers the shape of a parsed chunk whose text literal has its inside at `text`, a slice
    /// of `data`.
    pub(super) fn learn(&mut self, choice: u32, channel: Channel, data: &[u8], text: &str, out: Option<Around>) {
        let start = (text.as_ptr() as usize).wrapping_sub(data.as_ptr() as usize);
        let (Some(before), Some(after)) = (data.get(..start), data.get(start + text.len()..)) else {
            return;
        };
        let shape = Shape { choice, channel, before: before.into(), after: after.into(), out };
        let same = self.shapes.iter().position(|known| (known.choice, known.channel) == (choice, channel));
        match same {
            Some(index) => self.shapes[index] = shape,
            None if self.shapes.len() < MAX_SHAPES => self.shapes.push(shape),
            None => {
                self.shapes[self.oldest] = shape;
                self.oldest = (self.oldest + 1) % MAX_SHAPES;
            }
        }
    }

    /// Forgets the shapes of a choice, so that its later chunks are parsed.
    pub(super) fn forget(&mut self, choice: u32) {
        self.shapes.retain(|shape| shape.choice != choice);
        (self.last, self.oldest) = (0, 0);
    }
}

impl Shape {
    fn text<'d>(&self, data: &'d [u8]) -> Option<&'d [u8]> {
        let end = data.len().checked_sub(self.after.len())?;
        let text = data.get(self.before.len()..end)?;
        let same = data[..self.before.len()] == *self.before && data[end..] == *self.after;
        (same && !text.is_empty() && is_literal(text)).then_some(text)
    }
}

/// Whether these bytes may stand between the quotes of a JSON string.
fn is_literal(text: &[u8]) -> bool {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += match byte {
            b'"' | 0..0x20 => return false,
            b'\\' => match text.get(at + 1) {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                Some(b'u') if is_hex(text.get(at + 2..at + 6)) => 6,
                _ => return false,
            },
            _ => 1,
        };
    }
    std::str::from_utf8(text).is_ok()
}

fn is_hex(digits: Option<&[u8]>) -> bool {
    digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

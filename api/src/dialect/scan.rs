//! Server-sent events out of a byte stream that may be cut anywhere.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

use super::Error;

/// The largest event accepted: a chunk with 20 log probabilities for each of 128 tokens stays far
/// below it, and a provider that never ends an event can't fill memory.
pub const MAX_EVENT_BYTES: usize = 1 << 20;

/// Cuts an upstream body into the data of its events.
///
/// An event that lies within one piece of the body is handed out as a slice of that piece; only
/// one that straddles pieces is copied together. Lines end with LF or CRLF. Comments and fields
/// other than `data` are skipped; several `data` lines are joined by a line feed.
#[derive(Debug, Default)]
pub struct EventScanner {
    /// What was pushed last and not yet read, when nothing was left over before it.
    piece: Bytes,
    /// The start of an unfinished event and what followed; empty while `piece` is in use.
    carry: BytesMut,
    /// Where the line being read starts, from the start of the event.
    line: usize,
    /// How far that line has been searched, from the start of the event.
    searched: usize,
    data: Data,
}

#[derive(Debug, Default)]
enum Data {
    #[default]
    None,
    /// One line, as a range from the start of the event.
    One(Range<usize>),
    Many(BytesMut),
}

impl EventScanner {
    /// A scanner at the start of a body.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next piece of the body. Read all events with [`Self::next_event`] before the next.
    pub fn push(&mut self, piece: Bytes) {
        if self.carry.is_empty() && self.piece.is_empty() {
            self.piece = piece;
            return;
        }
        if !self.piece.is_empty() {
            self.carry.extend_from_slice(&self.piece);
            self.piece = Bytes::new();
        }
        self.carry.extend_from_slice(&piece);
    }

    /// The data of the next complete event, or `None` until more is pushed.
    ///
    /// # Errors
    /// [`Error::EventTooLarge`]; the stream can't be read further.
    pub fn next_event(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let buffer: &[u8] = if self.carry.is_empty() { &self.piece } else { &self.carry };
            let Some(found) = memchr(b'\n', &buffer[self.searched..]) else {
                self.searched = buffer.len();
                if self.searched > MAX_EVENT_BYTES {
                    return Err(Error::EventTooLarge);
                }
                self.keep_rest();
                return Ok(None);
            };
            let next = self.searched + found + 1;
            if next > MAX_EVENT_BYTES {
                return Err(Error::EventTooLarge);
            }
            let mut line = self.line..next - 1;
            if buffer[line.clone()].last() == Some(&b'\r') {
                line.end -= 1;
            }
            (self.line, self.searched) = (next, next);
            if line.is_empty() {
                if let Some(event) = self.dispatch(next) {
                    return Ok(Some(event));
                }
                continue;
            }
            match data_value(&buffer[line.clone()]) {
                Some(skip) => {
                    let value = line.start + skip..line.end;
                    self.data.add(buffer, value);
                }
                // Keep-alive comments may go on for hours between two events.
                None if matches!(self.data, Data::None) => self.drop_front(next),
                None => {}
            }
        }
    }

    /// Whether an event has begun and not ended: at the end of a body this means it was cut off.
    pub fn is_mid_event(&self) -> bool {
        !matches!(self.data, Data::None) || !self.carry.is_empty() || !self.piece.is_empty()
    }

    /// The last event of a body that ends after a whole `data` line but without an empty one.
    pub fn finish(&mut self) -> Option<Bytes> {
        let read = self.line;
        self.dispatch(read)
    }

    /// Ends the event whose bytes reach up to `end`.
    fn dispatch(&mut self, end: usize) -> Option<Bytes> {
        let event = match std::mem::take(&mut self.data) {
            Data::None => None,
            Data::Many(joined) => Some(joined.freeze()),
            Data::One(range) if self.carry.is_empty() => Some(self.piece.slice(range)),
            Data::One(range) => {
                let event = self.carry.split_to(end).freeze().slice(range);
                (self.line, self.searched) = (0, 0);
                return Some(event);
            }
        };
        self.drop_front(end);
        event
    }

    fn drop_front(&mut self, count: usize) {
        if self.carry.is_empty() {
            self.piece.advance(count);
        } else {
            self.carry.advance(count);
        }
        (self.line, self.searched) = (0, 0);
    }

    /// Copies an unfinished event, so that the piece it came in can be freed.
    fn keep_rest(&mut self) {
        if !self.piece.is_empty() {
            self.carry.extend_from_slice(&self.piece);
            self.piece = Bytes::new();
        }
    }
}

impl Data {
    fn add(&mut self, buffer: &[u8], value: Range<usize>) {
        match self {
            Self::None => *self = Self::One(value),
            Self::One(first) => {
                let mut joined = BytesMut::from(&buffer[first.clone()]);
                joined.extend_from_slice(b"\n");
                joined.extend_from_slice(&buffer[value]);
                *self = Self::Many(joined);
            }
            Self::Many(joined) => {
                joined.extend_from_slice(b"\n");
                joined.extend_from_slice(&buffer[value]);
            }
        }
    }
}

/// Where the value of a `data` line starts.
fn data_value(line: &[u8]) -> Option<usize> {
    match line.strip_prefix(b"data")? {
        [] => Some(4),
        [b':', b' ', ..] => Some(6),
        [b':', ..] => Some(5),
        _ => None,
    }
}

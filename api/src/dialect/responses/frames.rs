//! Events on the wire, numbered.

use std::fmt::Arguments;

use bytes::BytesMut;

use super::super::render::{Usage, put};
use super::object::Answer;

/// Writes events and counts them.
#[derive(Debug, Default)]
pub(super) struct Frames {
    written: u64,
}

impl Frames {
    /// Whether no event was written yet.
    pub(super) fn is_empty(&self) -> bool {
        self.written == 0
    }

    /// Writes an event; `members` are those of its object besides its type and number.
    pub(super) fn event(&mut self, out: &mut BytesMut, kind: Arguments<'_>, members: Arguments<'_>) {
        let number = self.written;
        self.written += 1;
        put(
            out,
            format_args!("event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":{number},{members}}}\n\n"),
        );
    }

    /// Writes an event that carries the whole object.
    pub(super) fn response(&mut self, out: &mut BytesMut, kind: &str, answer: &Answer, usage: Option<&Usage>) {
        self.event(out, format_args!("{kind}"), format_args!("\"response\":{}", answer.object(usage)));
    }
}

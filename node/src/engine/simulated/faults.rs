//! What can be made to go wrong, on purpose and by configuration only: a request can't ask for it.

use serde::Deserialize;

/// One way to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Answers with this status at once.
    Refuse {
        /// HTTP status.
        status: u16,
    },
    /// Refuses as llama.cpp does what is longer than its context.
    TooLong,
    /// Takes the request and never answers.
    HangBeforeHeaders,
    /// Sends status and headers, then nothing.
    HangAfterHeaders,
    /// Closes the stream without an end.
    CloseAfter {
        /// Content chunks sent before.
        chunks: u32,
    },
    /// Sends an error event inside the 200, then ends.
    ErrorAfter {
        /// Content chunks sent before.
        chunks: u32,
    },
    /// Sends bytes that are no events, then ends.
    GarbageAfter {
        /// Content chunks sent before.
        chunks: u32,
    },
    /// Stops talking in the middle.
    StallAfter {
        /// Content chunks sent before.
        chunks: u32,
    },
    /// Says all it has, whatever the request's limit on tokens.
    IgnoreLimit,
    /// Says all it has, this many tokens to a chunk.
    Lump {
        /// Tokens in each chunk.
        tokens: u32,
    },
    /// Breaks the stream and refuses every later call.
    Die {
        /// Content chunks sent before; none at all with zero.
        after_chunks: u32,
    },
}

/// Which requests a fault hits. By default, none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// What goes wrong.
    pub fault: Option<Fault>,
    /// One request in this many is hit, the first among them; zero and one mean every request.
    pub every: u32,
    /// How many requests are hit in all; without it, no end.
    pub limit: Option<u32>,
    #[serde(skip)]
    asked: u32,
}

impl Faults {
    /// Every request fails this way.
    #[must_use]
    pub fn always(fault: Fault) -> Self {
        Self { fault: Some(fault), ..Self::default() }
    }

    /// The next request fails this way, later ones don't.
    #[must_use]
    pub fn once(fault: Fault) -> Self {
        Self { fault: Some(fault), limit: Some(1), ..Self::default() }
    }

    /// The fault for the next request.
    pub(super) fn draw(&mut self) -> Option<Fault> {
        let fault = self.fault?;
        let turn = self.asked;
        self.asked = self.asked.wrapping_add(1);
        if self.every > 1 && !turn.is_multiple_of(self.every) {
            return None;
        }
        match &mut self.limit {
            Some(0) => None,
            Some(left) => {
                *left -= 1;
                Some(fault)
            }
            None => Some(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_hits_one_in_every_and_stops_at_its_limit() {
        let mut faults =
            Faults { fault: Some(Fault::HangBeforeHeaders), every: 3, limit: Some(2), ..Faults::default() };
        let hit: Vec<bool> = (0..9).map(|_| faults.draw().is_some()).collect();
        assert_eq!(hit, [true, false, false, true, false, false, false, false, false]);
        assert_eq!(Faults::default().draw(), None);
    }
}

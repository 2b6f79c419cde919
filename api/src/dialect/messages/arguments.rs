//! When the arguments of a call are whole.

/// Follows the JSON object in a call's arguments to its closing brace, fed the insides of string literals.
///
/// After that brace nothing can come that means anything, so the call is known to be over before its answer is.
#[derive(Debug, Default)]
pub(super) struct Progress {
    state: State,
    depth: u32,
    in_string: bool,
    escaped: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Before,
    Inside,
    Complete,
    /// Not an object, and so never known to be over.
    Other,
}

impl Progress {
    /// Whether the object has been closed.
    pub(super) fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// Takes in a piece, the inside of a string literal.
    pub(super) fn push(&mut self, literal: &str) {
        let bytes = literal.as_bytes();
        let mut at = 0;
        while let (Some(byte), State::Before | State::Inside) = (bytes.get(at), &self.state) {
            let (byte, length) = match (byte, bytes.get(at + 1)) {
                (b'\\', Some(b'u')) => (code_unit(bytes.get(at + 2..at + 6)), 6),
                (b'\\', Some(b'n' | b'r' | b't')) => (b' ', 2),
                (b'\\', Some(escaped)) => (*escaped, 2),
                (byte, _) => (*byte, 1),
            };
            self.byte(byte);
            at += length;
        }
    }

    fn byte(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'{' if self.state == State::Before => (self.state, self.depth) = (State::Inside, 1),
            b' ' | b'\n' | b'\r' | b'\t' => {}
            _ if self.state == State::Before => self.state = State::Other,
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth -= 1;
                if self.depth == 0 {
                    self.state = State::Complete;
                }
            }
            _ => {}
        }
    }
}

/// The byte four hex digits stand for; any letter for what is not ASCII.
fn code_unit(digits: Option<&[u8]>) -> u8 {
    let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
    let unit = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
    unit.filter(u8::is_ascii).unwrap_or(b'x')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(pieces: &[&str]) -> bool {
        let mut progress = Progress::default();
        pieces.iter().for_each(|piece| progress.push(piece));
        progress.is_complete()
    }

    #[test]
    fn an_object_is_over_at_its_own_brace() {
        assert!(after(&["{}"]));
        assert!(after(&[" \\n{", "\\\"a\\\":", "{\\\"b\\\":[1,{}]}", "}"]));
        assert!(after(&[r"{\u0022a\u0022:1\u007d"]));
        for unfinished in ["", "{", r#"{\"a\":{}"#, r#"{\"a\":[}"#, r#"{\"a\":\"}"#] {
            assert!(!after(&[unfinished]), "{unfinished}");
        }
    }

    #[test]
    fn braces_in_strings_do_not_count() {
        // {"a":"}\"}"  and, in the other, a string that ends in a backslash.
        assert!(!after(&[r#"{\"a\":\"}\\\"}"#]));
        assert!(after(&[r#"{\"a\":\"}\\\"}"#, r#"\"}"#]));
        assert!(after(&[r#"{\"a\":\"\\\\\"}"#]));
        assert!(!after(&[r#"{\"a\":\"é\u00e9}"#]));
    }

    #[test]
    fn what_is_no_object_is_never_known_to_be_over() {
        for other in ["[]", "5", r#"\"x\""#, "null", "x{}"] {
            assert!(!after(&[other]), "{other}");
        }
    }
}

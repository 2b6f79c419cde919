//! One pass over a JSON text: checks it, and hands out borrowed slices of it.
//!
//! A request body is read once, so this cursor both validates and finds: a caller descends into
//! the values it knows and skips the rest, and everything it gets back is a slice of the text.

use std::borrow::Cow;

use memchr::memchr2;

use super::Invalid;

/// How deeply arrays and objects may nest. Schemas in real tools stay below 30; the bound keeps
/// every later recursive reader (ours, the template engine, the provider's) off a deep stack.
pub const MAX_DEPTH: u32 = 128;

/// A position in a JSON text.
pub(crate) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// A cursor on a value that will stand inside `depth` others.
    pub(crate) fn nested(text: &'a str, depth: u32) -> Self {
        Self { text, at: 0, depth }
    }

    /// The byte offset reached so far.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    /// The text between an earlier offset and here.
    pub(crate) fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.at]
    }

    /// The first byte of the value ahead, with the white space before it skipped.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(self.at) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    /// Checks that nothing but white space is left.
    pub(crate) fn end(&mut self) -> Result<(), Invalid> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.malformed("more text after the value")),
        }
    }

    /// Skips one value and returns its exact text.
    pub(crate) fn value(&mut self) -> Result<&'a str, Invalid> {
        let first = self.peek();
        let start = self.at;
        match first {
            Some(b'"') => return self.string(),
            Some(b'{') => self.object(|cursor, _| cursor.value().map(drop))?,
            Some(b'[') => self.array(|cursor, _| cursor.value().map(drop))?,
            Some(b't') => self.literal("true")?,
            Some(b'f') => self.literal("false")?,
            Some(b'n') => self.literal("null")?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(_) => return Err(self.malformed("expected a value")),
            None => return Err(self.malformed("the text ends early")),
        }
        Ok(&self.text[start..self.at])
    }

    /// Reads an object, giving each key to `member`, which must consume exactly one value.
    pub(crate) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), Invalid>,
    ) -> Result<(), Invalid> {
        self.open(b'{', "expected an object")?;
        if self.peek() == Some(b'}') {
            return self.close();
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.malformed("expected a key in double quotes"));
            }
            let key = self.string()?;
            let key = decode(key).ok_or_else(|| self.malformed("a key is not valid text"))?;
            if self.peek() != Some(b':') {
                return Err(self.malformed("expected a colon"));
            }
            self.at += 1;
            member(self, key)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => return self.close(),
                _ => return Err(self.malformed("expected a comma or the end of an object")),
            }
        }
    }

    /// Reads an array, giving each index to `element`, which must consume exactly one value.
    pub(crate) fn array(
        &mut self,
        mut element: impl FnMut(&mut Self, usize) -> Result<(), Invalid>,
    ) -> Result<(), Invalid> {
        self.open(b'[', "expected an array")?;
        if self.peek() == Some(b']') {
            return self.close();
        }
        for index in 0.. {
            element(self, index)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return Err(self.malformed("expected a comma or the end of an array")),
            }
        }
        self.close()
    }

    fn open(&mut self, bracket: u8, wanted: &str) -> Result<(), Invalid> {
        if self.peek() != Some(bracket) {
            return Err(self.malformed(wanted));
        }
        if self.depth == MAX_DEPTH {
            return Err(self.malformed(&format!("nested more than {MAX_DEPTH} levels deep")));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    fn close(&mut self) -> Result<(), Invalid> {
        self.depth -= 1;
        self.at += 1;
        Ok(())
    }

    /// Skips a string and returns it with its quotes.
    fn string(&mut self) -> Result<&'a str, Invalid> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut at = start + 1;
        loop {
            let Some(found) = memchr2(b'"', b'\\', &bytes[at..]) else {
                return Err(self.malformed("a string does not end"));
            };
            if bytes[at..at + found].iter().any(|byte| *byte < 0x20) {
                return Err(self.malformed("a control character in a string"));
            }
            at += found;
            if bytes[at] == b'"' {
                self.at = at + 1;
                return Ok(&self.text[start..self.at]);
            }
            at += match bytes.get(at + 1) {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                Some(b'u') if is_hex(bytes.get(at + 2..at + 6)) => 6,
                _ => return Err(self.malformed("an unknown escape in a string")),
            };
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), Invalid> {
        if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(());
        }
        Err(self.malformed("expected a value"))
    }

    fn number(&mut self) -> Result<(), Invalid> {
        let bytes = self.text.as_bytes();
        let mut at = self.at + usize::from(bytes[self.at] == b'-');
        let whole = digits(bytes, at);
        if whole == 0 || (whole > 1 && bytes[at] == b'0') {
            return Err(self.malformed("a malformed number"));
        }
        at += whole;
        if bytes.get(at) == Some(&b'.') {
            let fraction = digits(bytes, at + 1);
            if fraction == 0 {
                return Err(self.malformed("a malformed number"));
            }
            at += 1 + fraction;
        }
        if let Some(b'e' | b'E') = bytes.get(at) {
            at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            let exponent = digits(bytes, at);
            if exponent == 0 {
                return Err(self.malformed("a malformed number"));
            }
            at += exponent;
        }
        self.at = at;
        Ok(())
    }

    fn malformed(&self, what: &str) -> Invalid {
        Invalid::new(None, format!("the request body is not valid JSON: {what} (byte {})", self.at))
    }
}

/// The text of a JSON string literal (with its quotes); borrowed unless it holds escapes.
///
/// `None` for anything else, and for escapes that are no text (half a surrogate pair).
pub(crate) fn decode(literal: &str) -> Option<Cow<'_, str>> {
    let inner = literal.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(literal).ok().map(Cow::Owned)
}

fn digits(bytes: &[u8], from: usize) -> usize {
    bytes[from.min(bytes.len())..].iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn is_hex(digits: Option<&[u8]>) -> bool {
    digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn accepts(text: &str) -> bool {
        let mut cursor = Cursor::new(text);
        cursor.value().is_ok() && cursor.end().is_ok()
    }

    #[test]
    fn values_come_back_exactly_as_written() {
        for text in ["{\"a\" : [1, 2.50e+3 ,\"\\u00e9\\n\"] }", "-0.0", "\"é\"", "[ ]", "{}", "null"] {
            let padded = format!(" \n{text}\t");
            assert_eq!(Cursor::new(&padded).value().unwrap(), text);
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(accepts(&nested(128)));
        assert!(!accepts(&nested(129)));
        assert!(!accepts(&"[".repeat(4_000_000)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever this cursor accepts, an ordinary JSON parser accepts, and the other way round.
        #[test]
        fn agrees_with_an_ordinary_parser(
            text in r#"([\[\]{},:"\\ 0-9.eE+\-aun/é\n\t]|true|false|null|"a":|\\u00e9|\\n){0,14}"#,
        ) {
            // A raw value is checked for form only, so huge exponents are no error on either side.
            let ordinary = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            // Keys alone must also be text: half a surrogate pair is refused there, and is not generated.
            prop_assert_eq!(accepts(&text), ordinary, "{}", text);
        }
    }
}
